//! What the tool was told, and what it answered.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use serde::Serialize;

use super::answer::{self, Answer};
use super::schedule::Due;
use super::{KEPT, WorkError, Worked};
use crate::observation::{JobEvent, Observation};
use crate::recorder::Recorder;

/// What the tool is told.
#[derive(Serialize)]
struct Order<'a> {
    job: &'a str,
    class: &'a str,
    seconds: f64,
}

/// The jobs between the recording and the tool.
pub(super) struct Feed<'a> {
    recorder: &'a Recorder,
    /// What the pipe has not taken yet. A tool that stands still makes no job late.
    unwritten: Vec<u8>,
    /// Classes of jobs without an answer, by id.
    open: HashMap<String, String>,
    worked: Worked,
}

impl<'a> Feed<'a> {
    pub(super) fn new(recorder: &'a Recorder) -> Self {
        Self { recorder, unwritten: Vec::new(), open: HashMap::new(), worked: Worked::default() }
    }

    /// Writes a job down, so much after the beginning, and then has it told to the tool.
    pub(super) fn intend(&mut self, due: Due, now: Duration) -> Result<(), WorkError> {
        let Due { after, id, class, seconds } = due;
        self.see(id.clone(), class.clone(), JobEvent::Intended);
        self.recorder.flush().map_err(WorkError::Recording)?;
        self.worked.intended += 1;
        self.worked.latest = self.worked.latest.max(now.saturating_sub(after));
        let order = Order { job: &id, class: &class, seconds };
        serde_json::to_writer(&mut self.unwritten, &order)
            .map_err(|error| WorkError::Recording(error.to_string()))?;
        self.unwritten.push(b'\n');
        self.open.insert(id, class);
        Ok(())
    }

    pub(super) fn unwritten(&self) -> &[u8] {
        &self.unwritten
    }

    /// The pipe has taken so many bytes.
    pub(super) fn written(&mut self, count: usize) {
        self.unwritten.drain(..count);
    }

    /// Nobody reads the rest.
    pub(super) fn abandon(&mut self) {
        self.unwritten.clear();
    }

    /// Takes a line of the tool.
    pub(super) fn hear(&mut self, line: &str) -> Result<(), WorkError> {
        let Some(Answer { job, refused }) = answer::read(line)? else { return Ok(()) };
        let class = self.open.remove(&job).ok_or_else(|| answer::unasked(line))?;
        match refused {
            None => {
                self.worked.enqueued += 1;
                self.see(job, class, JobEvent::Enqueued);
            }
            Some(why) => {
                self.worked.refused += 1;
                if self.worked.refusals.len() < KEPT {
                    self.worked.refusals.push((job, why));
                }
            }
        }
        Ok(())
    }

    /// Whether every job has its answer.
    pub(super) fn is_answered(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn worked(self) -> Worked {
        let mut unanswered: Vec<String> = self.open.into_keys().collect();
        unanswered.sort_unstable();
        Worked { unanswered, ..self.worked }
    }

    pub(super) fn ended(self, error: Option<io::Error>) -> WorkError {
        WorkError::Ended { intended: self.worked.intended, unanswered: self.open.len(), error }
    }

    fn see(&self, id: String, class: String, event: JobEvent) {
        let at = self.recorder.now();
        self.recorder.see(Observation::Job { at, id, class, event, side: None, instance: None });
    }
}
