//! Takes orders from the queue and makes thumbnails. A job can run twice (queues deliver at least
//! once) and then does the same again.

use crate::aws::{Aws, Message, Order};
use crate::cache::Cache;
use crate::db::Db;
use crate::shutdown::Shutdown;
use crate::{Result, config, log, thumbnail};
use std::time::{Duration, Instant};

/// How much longer than the longest job a message stays hidden from other workers.
const MARGIN: Duration = Duration::from_secs(15);

struct Worker {
    db: Db,
    aws: Aws,
    cache: Cache,
    jobs: config::Jobs,
}

/// Works until asked to stop; the job in hand is finished first.
pub async fn run() -> Result<()> {
    let worker = Worker {
        db: Db::new(config::Database::from(&config::environment)?),
        aws: Aws::new(config::Aws::from(&config::environment)?)?,
        cache: Cache::new(config::Cache::from(&config::environment)?)?,
        jobs: config::Jobs::from(&config::environment)?,
    };
    let mut shutdown = Shutdown::listen()?;
    log::info("worker started", &[]);
    while !shutdown.requested() {
        // A poll under way is not broken off: a message that the queue hands to a closed connection
        // stays hidden until its visibility times out. So keep QUEUE_WAIT_SECONDS short.
        match worker.aws.receive(worker.jobs.poll, worker.jobs.longest + MARGIN).await {
            Ok(Some(message)) => worker.handle(message).await,
            Ok(None) => {}
            Err(error) => {
                log::error("no answer from the queue", &[("error", &error.to_string())]);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(2)) => {}
                    () = shutdown.wait() => {}
                }
            }
        }
    }
    worker.db.close().await?;
    log::info("worker stopped", &[]);
    Ok(())
}

impl Worker {
    async fn handle(&self, message: Message) {
        let started = Instant::now();
        let job = tokio::time::timeout(self.jobs.longest, self.work(&message.body));
        let outcome = match job.await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("took longer than {} s", self.jobs.longest.as_secs()).into()),
        };
        let deliveries = message.deliveries();
        let milliseconds = started.elapsed().as_millis().to_string();
        let mut fields = vec![("order", message.body.as_str()), ("milliseconds", &milliseconds)];
        // Not giving back costs only time: the message comes again when its visibility times out.
        let answered = match outcome {
            Ok(()) => {
                log::info("thumbnail made", &fields);
                self.aws.done(&message).await
            }
            Err(error) => {
                let (error, count) = (error.to_string(), deliveries.to_string());
                fields.extend([("error", error.as_str()), ("delivery", &count)]);
                log::error("job failed", &fields);
                self.remember(&message.body, &error).await;
                self.aws.give_back(&message, pause(deliveries)).await
            }
        };
        if let Err(error) = answered {
            log::warn("the queue did not take the outcome", &[("error", &error.to_string())]);
        }
    }

    async fn work(&self, body: &str) -> Result<()> {
        let order: Order = serde_json::from_str(body)?;
        let photo = self.db.photo(order.photo).await?.ok_or("there is no such photo")?;
        let original = self.aws.get(&photo.original_key).await?;
        let thumbnail = tokio::task::spawn_blocking(move || thumbnail::make(&original)).await??;
        let folder = photo.original_key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let key = format!("{folder}/thumbnail.{}", thumbnail.extension);
        self.aws.put(&key, thumbnail.content_type, thumbnail.bytes).await?;
        self.db.thumbnail_ready(photo.id, &key).await?;
        self.cache.forget(photo.album_id).await;
        Ok(())
    }

    /// Lets the uploader see why; the message itself ends in the dead-letter queue.
    async fn remember(&self, body: &str, error: &str) {
        let Ok(order) = serde_json::from_str::<Order>(body) else {
            return;
        };
        if let Err(error) = self.db.thumbnail_failed(order.photo, error).await {
            log::warn("the failure is not recorded", &[("error", &error.to_string())]);
        }
        if let Ok(Some(photo)) = self.db.photo(order.photo).await {
            self.cache.forget(photo.album_id).await;
        }
    }
}

/// 1, 2, 4 ... at most 60 seconds before the next attempt.
fn pause(deliveries: u32) -> Duration {
    Duration::from_secs((1u64 << deliveries.saturating_sub(1).min(6)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 7, 1000].map(|count| pause(count).as_secs()).to_vec();
        assert_eq!(seconds, [1, 1, 2, 4, 60, 60]);
    }
}
