//! Makes the pictures that were ordered. An order can come twice (queues deliver at least once), and
//! to two workers at the same time: the claim on its job keeps them apart.

use crate::aws::Aws;
use crate::cache::Cache;
use crate::consume::{Outcome, Work, consume};
use crate::db::{Db, Photo};
use crate::jobs::Claim;
use crate::queue::{Message, Queue};
use crate::shutdown::Shutdown;
use crate::storage::Storage;
use crate::thumbnail::{self, Picture};
use crate::{Result, config, log};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What can be made of a photo.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A small picture, for listings.
    #[default]
    Thumbnail,
    /// A large picture, to be looked at on a whole screen.
    Poster,
}

impl Kind {
    /// As orders write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Thumbnail => "thumbnail",
            Kind::Poster => "poster",
        }
    }

    /// Neither side of the picture is longer, in pixels.
    fn side(self) -> u32 {
        match self {
            Kind::Thumbnail => 320,
            Kind::Poster => 1280,
        }
    }
}

/// An order for a picture, as it travels through the queue.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// The photo's number.
    pub photo: u64,
    /// What is to be made of it.
    #[serde(default)]
    pub kind: Kind,
    /// What names the job. Without it the photo and the kind do: ordered twice, it is made once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// How long it takes at least, in seconds, whatever there is to do. For rehearsals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Order {
    /// An order for what has not been ordered before.
    pub fn new(photo: u64, kind: Kind) -> Self {
        Order { photo, kind, job: None, seconds: None }
    }

    /// What names the job.
    pub fn job(&self) -> String {
        self.job.clone().unwrap_or_else(|| format!("{}-{}", self.kind.name(), self.photo))
    }
}

struct Worker {
    db: Db,
    storage: Storage,
    cache: Cache,
    jobs: config::Jobs,
    floors: config::Floors,
}

/// Works until asked to stop; the job in hand is finished or given back first.
pub async fn run() -> Result<()> {
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let queue = Queue::new(aws.clone(), config::thumbnail_queue(&config::environment)?);
    let worker = Worker {
        db: Db::new(config::Database::from(&config::environment)?),
        storage: Storage::new(aws, config::Storage::from(&config::environment)?),
        cache: Cache::new(config::Cache::from(&config::environment)?)?,
        jobs: config::Jobs::from(&config::environment)?,
        floors: config::Floors::from(&config::environment)?,
    };
    let shutdown = Shutdown::listen()?;
    log::info("worker started", &[]);
    consume(&queue, &worker.jobs, shutdown, &worker).await;
    worker.db.close().await?;
    log::info("worker stopped", &[]);
    Ok(())
}

impl Work for Worker {
    async fn attempt(&self, message: &Message, mut stop: Shutdown) -> Result<Outcome> {
        let started = Instant::now();
        let order: Order = serde_json::from_str(&message.body)?;
        let job = order.job();
        self.db.delivered(&job, order.kind, "received", log::instance()).await?;
        match self.db.claim(&job, order.kind, self.jobs.visibility).await? {
            Claim::Ours => {}
            Claim::Done => return Ok(Outcome::Done),
            Claim::Taken(left) => return Ok(Outcome::Later(left)),
        }
        let photo = self.db.photo(order.photo).await?.ok_or("there is no such photo")?;
        let floor = match (order.seconds, order.kind) {
            (Some(seconds), _) => Duration::try_from_secs_f64(seconds)?,
            (None, Kind::Thumbnail) => self.floors.job,
            (None, Kind::Poster) => self.floors.poster,
        };
        let made = async {
            let picture = self.picture(&photo, order.kind).await?;
            tokio::time::sleep(floor.saturating_sub(started.elapsed())).await;
            Ok::<_, crate::Error>(picture)
        };
        let picture = tokio::select! {
            picture = made => picture?,
            () = stop.overdue(self.jobs.patience) => {
                self.db.give_up(&job).await?;
                return Ok(Outcome::Later(Duration::ZERO));
            }
        };
        // From here on nothing is broken off by us. Who is killed before the last of it has done nothing that
        // doing it again would double: the picture has the same name, and the row comes with the job's end.
        let folder = photo.original_key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let key = format!("{folder}/{}.{}", order.kind.name(), picture.extension);
        self.storage.put(&key, picture.content_type, picture.bytes).await?;
        self.db.made(&job, order.kind, photo.id, &key).await?;
        self.cache.forget(photo.album_id).await;
        Ok(Outcome::Done)
    }

    /// Lets the uploader see why; the message itself ends in the dead-letter queue.
    async fn failed(&self, message: &Message, error: &str) {
        let Ok(order) = serde_json::from_str::<Order>(&message.body) else {
            return;
        };
        if let Err(error) = self.remember(&order, error).await {
            log::warn("the failure is not recorded", &[("error", &error.to_string())]);
        }
    }
}

impl Worker {
    async fn picture(&self, photo: &Photo, kind: Kind) -> Result<Picture> {
        let original = self.storage.get(&photo.original_key).await?;
        tokio::task::spawn_blocking(move || thumbnail::make(&original, kind.side())).await?
    }

    async fn remember(&self, order: &Order, error: &str) -> Result<()> {
        self.db.delivered(&order.job(), order.kind, "failed", log::instance()).await?;
        self.db.give_up(&order.job()).await?;
        if order.kind != Kind::Thumbnail {
            return Ok(());
        }
        self.db.thumbnail_failed(order.photo, error).await?;
        if let Some(photo) = self.db.photo(order.photo).await? {
            self.cache.forget(photo.album_id).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_of_the_release_before_is_understood() {
        let order: Order = serde_json::from_str(r#"{"photo": 7}"#).unwrap();
        assert_eq!(order, Order::new(7, Kind::Thumbnail));
        assert_eq!(order.job(), "thumbnail-7");
        assert_eq!(serde_json::to_string(&order).unwrap(), r#"{"photo":7,"kind":"thumbnail"}"#);
    }

    #[test]
    fn an_order_may_name_its_job_and_how_long_it_takes() {
        let order = r#"{"photo":7,"kind":"poster","job":"again","seconds":2.5}"#;
        let read: Order = serde_json::from_str(order).unwrap();
        assert_eq!((read.kind, read.job().as_str(), read.seconds), (Kind::Poster, "again", Some(2.5)));
        assert_eq!(serde_json::to_string(&read).unwrap(), order);
        assert!(serde_json::from_str::<Order>(r#"{"photo": 7, "kind": "film"}"#).is_err());
    }
}
