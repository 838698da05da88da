//! Answers of the tool that puts jobs into the queue.

use serde::Deserialize;
use serde_json::Value;

use crate::ledger::{self, LineError};

const EXPECTED: &str =
    r#"{"job": "ID", "enqueued": true} or {"job": "ID", "error": "WHY"}, once for each job that it read"#;

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) job: String,
    /// Why the queue did not take it; none if it did.
    pub(super) refused: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    job: String,
    #[serde(default)]
    enqueued: bool,
    error: Option<String>,
}

/// Reads a line. None if it is no JSON object.
pub(super) fn read(line: &str) -> Result<Option<Answer>, LineError> {
    let Some(object) = ledger::object(line, EXPECTED)? else { return Ok(None) };
    let wrong = |problem: &str| ledger::wrong(line, problem, EXPECTED);
    let Line { job, enqueued, error } =
        serde_json::from_value(Value::Object(object)).map_err(|error| wrong(&error.to_string()))?;
    match (enqueued, error) {
        (true, None) => Ok(Some(Answer { job, refused: None })),
        (false, Some(why)) => Ok(Some(Answer { job, refused: Some(why) })),
        (true, Some(_)) => Err(wrong("the job was put into the queue, or there is an error, not both")),
        (false, None) => Err(wrong("the job was not put into the queue, and there is no `error`")),
    }
}

/// An answer about a job that waits for none.
pub(super) fn unasked(line: &str) -> LineError {
    ledger::wrong(line, "it was not given this job, or has answered it before", EXPECTED)
}
