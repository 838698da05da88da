//! Waits for what a role needs, and says which part of it is not there.

use crate::aws::Aws;
use crate::db::Db;
use crate::queue::Queue;
use crate::storage::Storage;
use crate::{Result, config, log, migrations};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);

/// Ends when database, schema, queue and bucket are there.
pub async fn run() -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let queue = Queue::new(aws.clone(), config::thumbnail_queue(&config::environment)?);
    let storage = Storage::new(aws, config::Storage::from(&config::environment)?);
    until("schema", LIMIT, || migrations::current(&db, migrations::ALBUM)).await?;
    until("queue", LIMIT, || queue.check()).await?;
    until("bucket", LIMIT, || storage.check()).await?;
    db.close().await
}

/// Tries until it succeeds; after `limit` the last error is the answer.
pub async fn until<F: Future<Output = Result<()>>>(
    what: &str,
    limit: Duration,
    probe: impl Fn() -> F,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut said = String::new();
    loop {
        let Err(error) = probe().await else {
            log::info("ready", &[("what", what)]);
            return Ok(());
        };
        let error = error.to_string();
        if Instant::now() >= deadline {
            return Err(format!("{what} is not there after {} s: {error}", limit.as_secs()).into());
        }
        if error != said {
            log::info("waiting", &[("what", what), ("error", &error)]);
            said = error;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn tries_again() {
        let tries = Cell::new(0);
        let probe = || {
            tries.set(tries.get() + 1);
            let enough = tries.get() == 3;
            async move { enough.then_some(()).ok_or_else(|| "not yet".into()) }
        };
        until("it", LIMIT, probe).await.unwrap();
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test]
    async fn names_what_is_missing() {
        let error = until("queue", Duration::ZERO, || async { Err("404".into()) }).await.unwrap_err();
        assert_eq!(error.to_string(), "queue is not there after 0 s: 404");
    }
}
