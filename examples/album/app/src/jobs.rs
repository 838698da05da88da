//! Who has which job, and what jobs have done, in the database.

use crate::db::Db;
use crate::worker::Kind;
use crate::{Result, log};
use mysql_async::prelude::Queryable;
use mysql_async::{TxOpts, params};
use std::time::Duration;

/// Whose a job is.
#[derive(Debug, PartialEq)]
pub enum Claim {
    /// Ours, for as long as was asked.
    Ours,
    /// Somebody else's for this long, if nobody gives it up before.
    Taken(Duration),
    /// Nobody's any more: it is done.
    Done,
}

impl Db {
    /// Makes a job ours for a while, unless it is somebody else's or done. A claim that ended is
    /// anybody's: whoever had it may be dead.
    pub async fn claim(&self, job: &str, kind: Kind, lease: Duration) -> Result<Claim> {
        let mut connection = self.connection().await?;
        let values = params! {
            "job" => job,
            "kind" => kind.name(),
            "instance" => log::instance(),
            "lease" => u64::try_from(lease.as_micros())?,
        };
        let insert = "INSERT IGNORE INTO jobs (job, kind, instance, until) \
                      VALUES (:job, :kind, :instance, NOW(3) + INTERVAL :lease MICROSECOND)";
        connection.exec_drop(insert, values.clone()).await?;
        if connection.affected_rows() == 1 {
            return Ok(Claim::Ours);
        }
        let update = "UPDATE jobs SET instance = :instance, until = NOW(3) + INTERVAL :lease MICROSECOND \
                      WHERE job = :job AND state = 'running' AND until <= NOW(3)";
        connection.exec_drop(update, values).await?;
        if connection.affected_rows() == 1 {
            return Ok(Claim::Ours);
        }
        let query =
            "SELECT state, GREATEST(TIMESTAMPDIFF(MICROSECOND, NOW(3), until), 0) FROM jobs WHERE job = ?";
        let row: Option<(String, u64)> = connection.exec_first(query, (job,)).await?;
        Ok(match row {
            Some((state, _)) if state == "done" => Claim::Done,
            Some((_, left)) => Claim::Taken(Duration::from_micros(left)),
            None => Claim::Taken(Duration::ZERO),
        })
    }

    /// Gives a job up, so that the next delivery may have it at once.
    pub async fn give_up(&self, job: &str) -> Result<()> {
        let update = "UPDATE jobs SET until = NOW(3) WHERE job = ? AND instance = ? AND state = 'running'";
        Ok(self.connection().await?.exec_drop(update, (job, log::instance())).await?)
    }

    /// The picture is stored, and nobody has to do it again: both or neither, whenever the process dies.
    /// Each time that this happens is a row of its own: there must be one for each job, and nothing here
    /// sees to it.
    pub async fn made(&self, job: &str, kind: Kind, photo: u64, key: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.start_transaction(TxOpts::default()).await?;
        let picture = match kind {
            Kind::Thumbnail => {
                "UPDATE photos SET state = 'ready', error = NULL, thumbnail_key = :key WHERE id = :photo"
            }
            Kind::Poster => {
                "INSERT INTO posters (photo_id, object_key) VALUES (:photo, :key) \
                 ON DUPLICATE KEY UPDATE object_key = :key"
            }
        };
        transaction.exec_drop(picture, params! { "key" => key, "photo" => photo }).await?;
        let run = "INSERT INTO thumbnail_runs (job, kind, instance) VALUES (?, ?, ?)";
        transaction.exec_drop(run, (job, kind.name(), log::instance())).await?;
        transaction.exec_drop("UPDATE jobs SET state = 'done' WHERE job = ?", (job,)).await?;
        Ok(transaction.commit().await?)
    }

    /// Where a photo's poster is kept, if there is one.
    pub async fn poster(&self, photo: u64) -> Result<Option<String>> {
        let query = "SELECT object_key FROM posters WHERE photo_id = ?";
        Ok(self.connection().await?.exec_first(query, (photo,)).await?)
    }
}
