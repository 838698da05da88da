//! Puts jobs into the worker's queue as they are named on standard input, a line of JSON each, and answers each with a
//! line. All are for the sample's photo.

use super::sample::{self, FIRST};
use super::tell;
use crate::aws::Aws;
use crate::db::Db;
use crate::queue::Queue;
use crate::storage::Storage;
use crate::worker::{Kind, Order};
use crate::{Result, config};
use serde::Deserialize;
use serde_json::{Value, json};

/// A job as it is named.
#[derive(Deserialize)]
struct Wanted {
    job: String,
    class: Kind,
    seconds: f64,
}

/// Answers until standard input ends.
pub async fn run() -> Result<()> {
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let queue = Queue::new(aws.clone(), config::thumbnail_queue(&config::environment)?);
    let storage = Storage::new(aws, config::Storage::from(&config::environment)?);
    let db = Db::new(config::Database::from(&config::environment)?);
    sample::make(&db, &storage).await?;
    db.close().await?;
    let mut line = String::new();
    loop {
        // Nothing else is to be done meanwhile.
        line.clear();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Wanted { job, class, seconds } = serde_json::from_str(&line)?;
        let order = Order { photo: FIRST, kind: class, job: Some(job.clone()), seconds: Some(seconds) };
        tell(&answer(&job, queue.send(&order).await))?;
    }
}

fn answer(job: &str, sent: Result<()>) -> Value {
    match sent {
        Ok(()) => json!({"job": job, "enqueued": true}),
        Err(error) => json!({"job": job, "error": error.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_class_that_there_is_becomes_an_order() {
        let wanted: Wanted =
            serde_json::from_str(r#"{"job":"7-17","class":"poster","seconds":3.2}"#).unwrap();
        assert_eq!((wanted.job.as_str(), wanted.class, wanted.seconds), ("7-17", Kind::Poster, 3.2));
        assert!(serde_json::from_str::<Wanted>(r#"{"job":"7-17","class":"film","seconds":1}"#).is_err());
    }

    #[test]
    fn each_job_has_its_answer() {
        assert_eq!(answer("7-1", Ok(())).to_string(), r#"{"enqueued":true,"job":"7-1"}"#);
        let error = answer("7-1", Err("no queue".into()));
        assert_eq!(error.to_string(), r#"{"error":"no queue","job":"7-1"}"#);
    }
}
