//! Ledgers: what became of jobs and of runs, a line of JSON for each thing that happened, from the first that ever
//! happened on, and then as more happens. What they tell is in tables that nothing here writes.

use super::tell;
use crate::aws::Aws;
use crate::db::Db;
use crate::queue::Queue;
use crate::shutdown::Shutdown;
use crate::worker::{Kind, Order};
use crate::{Result, config};
use mysql_async::prelude::Queryable;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often there is looked for more.
const OFTEN: Duration = Duration::from_millis(250);

/// Numbers are given before rows can be seen: so many below the highest one may still come.
const LATE: u64 = 1000;

/// For how long a message that was given up is not looked at again.
const SEEN: Duration = Duration::from_secs(30);

/// Something that happened to a job.
#[derive(Debug, PartialEq, Serialize)]
struct JobEvent {
    job: String,
    class: String,
    event: String,
    at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

/// How much waits in the queue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    waiting: u64,
    in_flight: u64,
}

/// The start or the end of a run.
#[derive(Debug, PartialEq, Serialize)]
struct RunEvent {
    entry: String,
    run: String,
    event: String,
    at: f64,
    instance: String,
}

/// Rows of a table that were not told yet.
#[derive(Default)]
struct Untold(BTreeSet<u64>);

impl Untold {
    /// From which number on rows are to be read.
    fn from(&self) -> u64 {
        self.0.last().map_or(0, |highest| highest.saturating_sub(LATE))
    }

    /// Whether this is the first time.
    fn is_new(&mut self, id: u64) -> bool {
        self.0.insert(id)
    }
}

/// Tells of the worker's jobs until asked to stop.
pub async fn jobs() -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    let aws = Aws::new(config::Aws::from(&config::environment)?)?;
    let queue = Queue::new(aws.clone(), config::thumbnail_queue(&config::environment)?);
    let given_up = Queue::new(aws, config::dead_letter_queue(&config::environment)?);
    let (mut deliveries, mut effects, mut dead) = (Untold::default(), Untold::default(), HashSet::new());
    again_and_again(async || {
        for (id, told) in db.deliveries(deliveries.from()).await? {
            if deliveries.is_new(id) {
                tell(&told)?;
            }
        }
        for (id, told) in db.effects(effects.from()).await? {
            if effects.is_new(id) {
                tell(&told)?;
            }
        }
        if let Some(message) = given_up.receive(Duration::ZERO, SEEN).await?
            && let Some(told) = dead_lettered(&message.body)
            && dead.insert(told.job.clone())
        {
            tell(&told)?;
        }
        let (waiting, in_flight) = queue.depth().await?;
        tell(&Waiting { waiting, in_flight })
    })
    .await
}

/// Tells of the runs of batches until asked to stop.
pub async fn runs() -> Result<()> {
    let db = Db::new(config::Database::from(&config::environment)?);
    let (mut begun, mut ended) = (Untold::default(), Untold::default());
    again_and_again(async || {
        for run in db.runs(ended.from()).await? {
            if begun.is_new(run.id) {
                tell(&run.begin())?;
            }
            if let Some(end) = run.end()
                && ended.is_new(run.id)
            {
                tell(&end)?;
            }
        }
        Ok(())
    })
    .await
}

/// Looks until asked to stop. Where it cannot now, it says so beside the ledger, and tells later what there was.
async fn again_and_again(mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let mut stop = Shutdown::listen()?;
    while !stop.requested() {
        if let Err(error) = look().await {
            eprintln!("{error}");
        }
        tokio::select! {
            () = tokio::time::sleep(OFTEN) => {}
            () = stop.wait() => {}
        }
    }
    Ok(())
}

/// What a message says that nobody will work on any more; when it was given up, nobody noted.
fn dead_lettered(body: &str) -> Option<JobEvent> {
    let order: Order = serde_json::from_str(body).ok()?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let class = order.kind.name().to_owned();
    Some(JobEvent { job: order.job(), class, event: "deadLettered".to_owned(), at, instance: None })
}

/// A row of `batch_runs`.
struct Run {
    id: u64,
    name: String,
    instance: String,
    started: f64,
    ended: Option<f64>,
    outcome: String,
}

impl Run {
    fn begin(&self) -> RunEvent {
        self.event("started", self.started)
    }

    fn end(&self) -> Option<RunEvent> {
        self.ended.map(|at| self.event(&self.outcome, at))
    }

    fn event(&self, event: &str, at: f64) -> RunEvent {
        RunEvent {
            entry: self.name.clone(),
            run: self.id.to_string(),
            event: event.to_owned(),
            at,
            instance: self.instance.clone(),
        }
    }
}

impl Db {
    /// A delivery of a job's message, or its failure. It is a row each time.
    pub async fn delivered(&self, job: &str, kind: Kind, event: &str, instance: &str) -> Result<()> {
        let insert = "INSERT INTO deliveries (job, kind, event, instance) VALUES (?, ?, ?, ?)";
        Ok(self.connection().await?.exec_drop(insert, (job, kind.name(), event, instance)).await?)
    }

    async fn deliveries(&self, from: u64) -> Result<Vec<(u64, JobEvent)>> {
        self.job_events("SELECT id, job, kind, event, UNIX_TIMESTAMP(at), instance FROM deliveries", from)
            .await
    }

    async fn effects(&self, from: u64) -> Result<Vec<(u64, JobEvent)>> {
        let query = "SELECT id, job, kind, 'effect', UNIX_TIMESTAMP(at), instance FROM thumbnail_runs";
        self.job_events(query, from).await
    }

    async fn job_events(&self, select: &str, from: u64) -> Result<Vec<(u64, JobEvent)>> {
        let query = format!("{select} WHERE id >= ? ORDER BY id");
        let event = |(id, job, class, event, at, instance): (u64, _, _, _, f64, String)| {
            (id, JobEvent { job, class, event, at, instance: Some(instance) })
        };
        Ok(self.connection().await?.exec_map(query, (from,), event).await?)
    }

    async fn runs(&self, from: u64) -> Result<Vec<Run>> {
        let query = "SELECT id, name, instance, UNIX_TIMESTAMP(started_at), UNIX_TIMESTAMP(ended_at), outcome \
                     FROM batch_runs WHERE id >= ? ORDER BY id";
        let run = |(id, name, instance, started, ended, outcome)| Run {
            id,
            name,
            instance,
            started,
            ended,
            outcome,
        };
        Ok(self.connection().await?.exec_map(query, (from,), run).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_once_also_if_it_is_seen_late() {
        let mut untold = Untold::default();
        assert_eq!(untold.from(), 0);
        assert!(untold.is_new(3000) && !untold.is_new(3000));
        assert_eq!(untold.from(), 2000);
        assert!(untold.is_new(2999));
    }

    #[test]
    fn a_run_is_told_when_it_begins_and_when_it_ends() {
        let mut run = Run {
            id: 4,
            name: "digest".to_owned(),
            instance: "batch-1".to_owned(),
            started: 1_772_355_600.25,
            ended: None,
            outcome: "running".to_owned(),
        };
        let line = serde_json::to_string(&run.begin()).unwrap();
        assert_eq!(
            line,
            r#"{"entry":"digest","run":"4","event":"started","at":1772355600.25,"instance":"batch-1"}"#
        );
        assert!(run.end().is_none());
        run.ended = Some(1_772_355_603.5);
        run.outcome = "succeeded".to_owned();
        assert_eq!(run.end().unwrap().event, "succeeded");
    }

    #[test]
    fn a_message_that_was_given_up_tells_its_job() {
        let told = dead_lettered(r#"{"photo":1,"kind":"poster","job":"7-3"}"#).unwrap();
        assert_eq!((told.job.as_str(), told.class.as_str()), ("7-3", "poster"));
        assert!(told.instance.is_none() && told.at > 1_700_000_000.0);
        assert!(dead_lettered("nonsense").is_none());
    }
}
