//! Listings are kept in Redis. The cache is allowed to be absent: then everything is read from the
//! database.

use crate::{Result, config, log};
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::time::Duration;

const LISTING_SECONDS: u64 = 60;
/// Outlives every listing that was stored under a generation, so that no number comes back early.
const GENERATION_SECONDS: i64 = 3600;

/// Cached listings, by album.
#[derive(Clone)]
pub struct Cache {
    connection: ConnectionManager,
    prefix: String,
}

/// Where a listing may be stored. It is taken *before* the database is read: a listing that was
/// read before a change then lands under a generation that nobody asks for any more.
pub struct Slot(String);

impl Cache {
    /// A cache at this address; it connects when it is first used.
    pub fn new(config: config::Cache) -> Result<Self> {
        let client = redis::Client::open(config.url).map_err(|error| format!("REDIS_URL: {error}"))?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(Duration::from_millis(500)))
            .set_response_timeout(Some(Duration::from_millis(500)));
        let connection = ConnectionManager::new_lazy_with_config(client, settings)?;
        Ok(Cache { connection, prefix: config.prefix })
    }

    /// The listing's slot, and the listing if it is there. No slot when there is no cache.
    pub async fn find(&self, album: u64) -> (Option<Slot>, Option<String>) {
        match self.try_find(album).await {
            Ok((slot, listing)) => (Some(slot), listing),
            Err(error) => {
                log::warn("no cache", &[("error", &error.to_string())]);
                (None, None)
            }
        }
    }

    async fn try_find(&self, album: u64) -> redis::RedisResult<(Slot, Option<String>)> {
        let mut connection = self.connection.clone();
        let generation: Option<u64> = connection.get(self.generation(album)).await?;
        let slot = format!("{}:listing:{album}:{}", self.prefix, generation.unwrap_or(0));
        let listing = connection.get(&slot).await?;
        Ok((Slot(slot), listing))
    }

    /// Keeps a listing for the next who asks.
    pub async fn keep(&self, slot: Slot, listing: &str) {
        let result: redis::RedisResult<()> =
            self.connection.clone().set_ex(slot.0, listing, LISTING_SECONDS).await;
        report(result);
    }

    /// The album changed: what was kept is no longer true.
    pub async fn forget(&self, album: u64) {
        let key = self.generation(album);
        let mut pipe = redis::pipe();
        pipe.atomic().incr(&key, 1).ignore().expire(&key, GENERATION_SECONDS).ignore();
        report(pipe.query_async::<()>(&mut self.connection.clone()).await);
    }

    fn generation(&self, album: u64) -> String {
        format!("{}:generation:{album}", self.prefix)
    }
}

fn report(result: redis::RedisResult<()>) {
    if let Err(error) = result {
        log::warn("no cache", &[("error", &error.to_string())]);
    }
}
