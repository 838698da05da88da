//! What runs at certain times. Each run is a row of its own: when it began, where, and what came of
//! it. Nothing here keeps two runs apart: that one tick is one run is for the schedule to see to.

use crate::aws::Aws;
use crate::cache::Cache;
use crate::db::Db;
use crate::shutdown::Shutdown;
use crate::storage::Storage;
use crate::{Result, config, log};
use mysql_async::params;
use mysql_async::prelude::Queryable;
use std::time::Instant;

/// Photos that one run removes at most; the next one goes on.
const MOST: usize = 500;

/// A batch.
#[derive(Clone, Copy)]
pub enum Batch {
    /// Counts what came since the digest before.
    Digest,
    /// Removes photos that are too old.
    Expire,
}

impl Batch {
    fn name(self) -> &'static str {
        match self {
            Batch::Digest => "digest",
            Batch::Expire => "expire",
        }
    }
}

/// Runs a batch once.
pub async fn run(batch: Batch) -> Result<()> {
    let started = Instant::now();
    let mut stop = Shutdown::listen()?;
    let floor = config::Floors::from(&config::environment)?.job;
    let db = Db::new(config::Database::from(&config::environment)?);
    let id = db.begin_run(batch.name()).await?;
    let run = id.to_string();
    let fields = [("batch", batch.name()), ("run", &run), ("instance", log::instance())];
    log::info("batch started", &fields);
    let work = async {
        let result = match batch {
            Batch::Digest => db.digest(id).await?,
            Batch::Expire => expire(&db).await?,
        };
        tokio::time::sleep(floor.saturating_sub(started.elapsed())).await;
        Ok(result)
    };
    let result: Result<String> = tokio::select! {
        result = work => result,
        () = stop.wait() => Err("asked to stop before the end".into()),
    };
    let (outcome, text) = match &result {
        Ok(text) => ("succeeded", text.clone()),
        Err(error) => ("failed", error.to_string()),
    };
    db.end_run(id, outcome, &text).await?;
    db.close().await?;
    let ended = [("outcome", outcome), ("result", &text)];
    log::info("batch ended", &[&fields[..], &ended].concat());
    result.map(drop)
}

async fn expire(db: &Db) -> Result<String> {
    let Some(days) = config::expire_days(&config::environment)? else {
        return Ok("photos are kept for ever".to_owned());
    };
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let storage = Storage::new(aws, config::Storage::from(&config::environment)?);
    let cache = Cache::new(config::Cache::from(&config::environment)?)?;
    let photos = db.older_photos(days, MOST).await?;
    for photo in &photos {
        // The row goes last: a run that ends in between is repeated, not forgotten.
        let poster = db.poster(photo.id).await?;
        let keys = [Some(&photo.original_key), photo.thumbnail_key.as_ref(), poster.as_ref()];
        for key in keys.into_iter().flatten() {
            storage.remove(key).await?;
        }
        db.remove_photo(photo.id).await?;
        cache.forget(photo.album_id).await;
    }
    Ok(format!("photos removed: {}", photos.len()))
}

impl Db {
    async fn begin_run(&self, name: &str) -> Result<u64> {
        let mut connection = self.connection().await?;
        let insert = "INSERT INTO batch_runs (name, instance) VALUES (?, ?)";
        connection.exec_drop(insert, (name, log::instance())).await?;
        connection.last_insert_id().ok_or_else(|| "database: the new run has no number".into())
    }

    async fn end_run(&self, id: u64, outcome: &str, result: &str) -> Result<()> {
        let update =
            "UPDATE batch_runs SET ended_at = NOW(6), outcome = ?, result = LEFT(?, 500) WHERE id = ?";
        Ok(self.connection().await?.exec_drop(update, (outcome, result, id)).await?)
    }

    /// What came since the last digest that succeeded, or on the last day. Rows tell whole seconds; that
    /// in which a digest begins belongs to the next one, so that everything is counted once.
    async fn digest(&self, run: u64) -> Result<String> {
        let second = "DATE_FORMAT(started_at, '%Y-%m-%d %H:%i:%s')";
        let window = format!(
            "SELECT {second}, COALESCE((SELECT MAX({second}) FROM batch_runs AS earlier \
             WHERE name = 'digest' AND outcome = 'succeeded' AND id < this.id), \
             CAST({second} - INTERVAL 1 DAY AS CHAR)) FROM batch_runs AS this WHERE id = ?"
        );
        let mut connection = self.connection().await?;
        let window: Option<(String, String)> = connection.exec_first(window, (run,)).await?;
        let (until, since) = window.ok_or("database: the run is gone")?;
        let count = "SELECT (SELECT COUNT(*) FROM albums WHERE created_at >= :since AND created_at < :until), \
                     COUNT(*), COUNT(IF(state = 'failed', 1, NULL)) \
                     FROM photos WHERE created_at >= :since AND created_at < :until";
        let values = params! { "since" => since, "until" => until };
        let counts: Option<(u64, u64, u64)> = connection.exec_first(count, values).await?;
        let (albums, photos, failed) = counts.unwrap_or_default();
        Ok(format!("albums: {albums}, photos: {photos}, without thumbnail: {failed}"))
    }
}
