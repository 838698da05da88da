//! The load of a worker: jobs that are put into the queue when they are due, whether or not earlier ones are done.
//!
//! The plan's tool `work.enqueue` puts them there. It reads `{"job": "ID", "class": "CLASS", "seconds": 1.5}` on its
//! standard input, has the job take so many seconds, and answers `{"job": "ID", "enqueued": true}` or
//! `{"job": "ID", "error": "WHY"}`. It ends when its standard input does.

mod answer;
mod feed;
mod schedule;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use schedule::{Due, Schedule};

use crate::ledger::LineError;
use crate::recorder::Recorder;
use feed::Feed;

/// How long answers are waited for when nothing more is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Refusals that are kept. More of them say nothing that these do not.
const KEPT: usize = 20;

/// What the load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Worked {
    /// Jobs that were written down as meant for the queue.
    pub intended: u64,
    /// Of these, such that the queue took.
    pub enqueued: u64,
    /// Of these, such that the tool refused.
    pub refused: u64,
    /// The first jobs that were refused, each with why.
    pub refusals: Vec<(String, String)>,
    /// Jobs without an answer, by id.
    pub unanswered: Vec<String>,
    /// By how much the latest job was written down later than it was due.
    pub latest: Duration,
}

/// Why the load cannot go on. What was written down stays in the recording.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The tool is gone.
    #[error(
        "the tool that puts jobs into the queue (`work.enqueue`) ended before it was told to, with {unanswered} of \
         {intended} jobs unanswered{}: see what it printed; it has to read until its standard input ends",
        .error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    Ended {
        /// Jobs that it was given, or was to be given.
        intended: u64,
        /// Of these, such without an answer.
        unanswered: usize,
        /// Why nothing can be written to it, if that was tried.
        error: Option<io::Error>,
    },
    /// What it prints cannot be read.
    #[error("what the tool that puts jobs into the queue (`work.enqueue`) prints cannot be read: {0}")]
    Unreadable(io::Error),
    /// What it prints is no answer.
    #[error("{0}")]
    Answer(#[from] LineError),
    /// What is meant for the queue cannot be written down, so that it must not be sent.
    #[error("the recording cannot be written: {0}")]
    Recording(String),
}

/// Puts jobs into the queue as they are due, until it is stopped or the schedule ends, and waits for the tool's
/// answers, ten seconds at most after the last job. `writer` is the tool's standard input, `lines` are those of its
/// standard output. The writer must not hold anything back.
///
/// Each job stands in the recording before the tool learns of it: whoever dies in between leaves a job that was meant
/// for the queue, never one that nobody knows of.
///
/// # Errors
/// When the tool ends early or answers what is no answer, or the recording cannot be written.
pub async fn run(
    schedule: impl Iterator<Item = Due>,
    recorder: &Recorder,
    writer: impl AsyncWrite + Unpin,
    mut lines: impl Stream<Item = io::Result<String>> + Unpin,
    stopped: CancellationToken,
) -> Result<Worked, WorkError> {
    let began = Instant::now();
    let mut feed = Feed::new(recorder);
    let (mut writer, mut broken) = (Some(writer), None);
    let mut schedule = schedule.fuse();
    let mut next = schedule.next();
    // When no more answers are waited for: known when nothing more is sent.
    let mut until = None;
    loop {
        if next.is_none() {
            until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if feed.unwritten().is_empty() {
                // A pipe is closed when it is dropped.
                writer = None;
            }
            if feed.is_answered() {
                break;
            }
        }
        tokio::select! {
            () = stopped.cancelled(), if next.is_some() => next = None,
            () = sleep_until(due(began, next.as_ref())), if next.is_some() => {
                if let Some(due) = next.take() {
                    feed.intend(due, began.elapsed())?;
                    next = schedule.next();
                }
            }
            written = write(&mut writer, feed.unwritten()), if !feed.unwritten().is_empty() => match written {
                Ok(count) => feed.written(count),
                Err(error) => {
                    // What it answered before it died still counts.
                    (next, writer, broken) = (None, None, Some(error));
                    feed.abandon();
                }
            },
            line = lines.next() => match line {
                Some(line) => feed.hear(&line.map_err(WorkError::Unreadable)?)?,
                None if next.is_some() || broken.is_some() || !feed.unwritten().is_empty() => {
                    return Err(feed.ended(broken));
                }
                None => break,
            },
            () = sleep_until(until.unwrap_or(began)), if until.is_some() => break,
        }
    }
    if broken.is_some() { Err(feed.ended(broken)) } else { Ok(feed.worked()) }
}

fn due(began: Instant, next: Option<&Due>) -> Instant {
    began + next.map_or(Duration::ZERO, |due| due.after)
}

/// Nothing is lost if this is dropped before it is done.
async fn write(writer: &mut Option<impl AsyncWrite + Unpin>, text: &[u8]) -> io::Result<usize> {
    match writer {
        Some(writer) => match writer.write(text).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        },
        None => std::future::pending().await,
    }
}
