//! One line of a ledger.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::moment;
use crate::observation::{JobEvent, RunEvent};

const JOB: &str = r#"{"job": "ID", "event": "received|effect|failed|deadLettered", "at": TIME, "instance": "HOSTNAME", "class": "CLASS"} or {"waiting": N, "inFlight": N}"#;
const RUN: &str = r#"{"entry": "NAME", "run": "ID", "event": "started|succeeded|failed", "at": TIME, "instance": "HOSTNAME"}"#;

/// What a line of `work.ledger` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobLine {
    /// Something happened to a job.
    Job(JobEntry),
    /// How much waits.
    Queue(QueueLine),
}

/// Something happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct JobEntry {
    /// Its id.
    pub job: String,
    /// What happened.
    #[serde(deserialize_with = "event_of_instance")]
    pub event: JobEvent,
    /// When, on the clock of who wrote it.
    #[serde(deserialize_with = "moment::read")]
    pub at: Timestamp,
    /// On which instance: its host name. None only for a job that was given up.
    pub instance: Option<String>,
    /// The job's class.
    pub class: String,
}

/// How much waits in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueLine {
    /// Jobs that nobody works on yet.
    pub waiting: u64,
    /// Jobs that somebody received and has not finished.
    pub in_flight: u64,
    /// When the queue was asked, if the tool says it.
    #[serde(default, deserialize_with = "moment::read_optional")]
    pub at: Option<Timestamp>,
}

/// A run began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunLine {
    /// The timetable's entry.
    pub entry: String,
    /// The run's own id.
    pub run: String,
    /// Which of the two, and how.
    pub event: RunEvent,
    /// When, on the clock of who wrote it.
    #[serde(deserialize_with = "moment::read")]
    pub at: Timestamp,
    /// On which instance: its host name.
    pub instance: String,
}

/// A line of a tool that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// An object that says nothing that is known.
    #[error("a tool printed `{}`: {problem}\n  expected: {expected}", cut(.line))]
    Wrong {
        /// The line.
        line: String,
        /// What is wrong with it.
        problem: String,
        /// What a right one is.
        expected: &'static str,
    },
    /// A run on an instance of neither side.
    #[error(
        "a tool printed `{}`, and `{instance}` is an instance of neither side\n  expected: the host name of the \
         container or pod in which it ran",
        cut(.line)
    )]
    Stranger {
        /// The instance.
        instance: String,
        /// The line.
        line: String,
    },
}

/// Enough of a line to find it by.
fn cut(line: &str) -> String {
    const LONGEST: usize = 200;
    let mut signs = line.trim().chars();
    let begin: String = signs.by_ref().take(LONGEST).collect();
    if signs.next().is_some() { begin + "…" } else { begin }
}

/// Reads a line of `work.ledger`. None if it is no JSON object.
///
/// # Errors
/// When it is an object and says nothing that is known.
pub fn job_line(line: &str) -> Result<Option<JobLine>, LineError> {
    let Some(object) = object(line, JOB)? else { return Ok(None) };
    if object.contains_key("waiting") {
        return read(object, line, JOB).map(|queue| Some(JobLine::Queue(queue)));
    }
    let job: JobEntry = read(object, line, JOB)?;
    if job.instance.is_none() && job.event != JobEvent::DeadLettered {
        return Err(wrong(line, "it does not say on which `instance`", JOB));
    }
    Ok(Some(JobLine::Job(job)))
}

/// Reads a line of `timetable.ledger`. None if it is no JSON object.
///
/// # Errors
/// When it is an object and says nothing that is known.
pub fn run_line(line: &str) -> Result<Option<RunLine>, LineError> {
    object(line, RUN)?.map(|object| read(object, line, RUN)).transpose()
}

/// The object that a line is. A line that breaks off within one is none: its tool was killed as it wrote, and prints
/// it again when it is started again.
pub(crate) fn object(line: &str, expected: &'static str) -> Result<Option<Map<String, Value>>, LineError> {
    let text = line.trim();
    if !text.starts_with('{') {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_eof() => Ok(None),
        Err(error) => Err(wrong(line, &error.to_string(), expected)),
    }
}

fn read<T: DeserializeOwned>(
    object: Map<String, Value>,
    line: &str,
    expected: &'static str,
) -> Result<T, LineError> {
    serde_json::from_value(Value::Object(object)).map_err(|error| wrong(line, &error.to_string(), expected))
}

pub(crate) fn wrong(line: &str, problem: &str, expected: &'static str) -> LineError {
    LineError::Wrong { line: line.to_owned(), problem: problem.to_owned(), expected }
}

/// What was meant for the queue, and what the queue took, only the load knows.
fn event_of_instance<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<JobEvent, D::Error> {
    match JobEvent::deserialize(deserializer)? {
        JobEvent::Intended | JobEvent::Enqueued => Err(serde::de::Error::custom(
            "a ledger tells what happened to a job after it was put into the queue",
        )),
        event => Ok(event),
    }
}
