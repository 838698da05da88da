//! What the ledgers of a plan's tools say: what became of jobs, and which runs began and ended.
//!
//! A tool prints one JSON object a line. For workers (`work.ledger`):
//!
//! ```json
//! {"job": "ID", "event": "received", "at": "2026-03-01T09:00:00.25Z", "instance": "worker-1", "class": "thumbnail"}
//! {"job": "ID", "event": "deadLettered", "at": 1772355600.5, "class": "thumbnail"}
//! {"waiting": 12, "inFlight": 3}
//! ```
//!
//! For schedules (`timetable.ledger`):
//!
//! ```json
//! {"entry": "digest", "run": "ID", "event": "started", "at": "2026-03-01T09:00:00+09:00", "instance": "batch-1"}
//! ```
//!
//! Events of jobs are `received`, `effect`, `failed` and `deadLettered`, those of runs `started`, `succeeded` and
//! `failed`. A time is RFC 3339 with an offset, or seconds since 1970. Who gives a job up needs no instance, and what
//! waits needs no time: it is that of reading. Further members are passed over, and so are lines that are no objects.
//!
//! A tool that is started again prints all from the beginning. [`Ledger`] knows what was told before.

mod line;
mod moment;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};

use envctl_model::cutover::Side;
use jiff::Timestamp;

pub use line::{JobEntry, JobLine, LineError, QueueLine, RunLine, job_line, run_line};
pub(crate) use line::{object, wrong};

use crate::observation::{JobEvent, Observation, RunEvent, Time};
use crate::recording::{Recording, time_since};

/// What a tool told up to now, over all its starts.
#[derive(Debug)]
pub struct Ledger {
    began: Timestamp,
    told: Counts,
    /// When a run began, by entry and run.
    starts: HashMap<(String, String), Timestamp>,
}

/// One reading of what a tool prints, from its start to its end.
///
/// The same line twice in one reading is two events: two effects within one tick of a coarse clock are a doubled
/// effect. So a line is known only if earlier readings had it as often.
#[derive(Debug)]
pub struct Reading<'a> {
    ledger: &'a mut Ledger,
    here: Counts,
}

type Counts = HashMap<Key, u32>;

/// What makes an event the same in another reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Job(String, Discriminant<JobEvent>, Time, Option<String>),
    Run(String, String, Discriminant<RunEvent>, Time, String),
    Queue(Time, u64, u64),
}

impl Key {
    fn of(observation: &Observation) -> Option<Self> {
        match observation {
            Observation::Job { at, id, event, instance, .. } => {
                Some(Self::Job(id.clone(), discriminant(event), *at, instance.clone()))
            }
            Observation::Run { at, entry, run, event, instance, .. } => {
                Some(Self::Run(entry.clone(), run.clone(), discriminant(event), *at, instance.clone()))
            }
            Observation::Backlog { at, waiting, in_flight } => Some(Self::Queue(*at, *waiting, *in_flight)),
            _ => None,
        }
    }
}

impl Ledger {
    /// Nothing told yet, in a recording that began then.
    #[must_use]
    pub fn new(began: Timestamp) -> Self {
        Self { began, told: Counts::new(), starts: HashMap::new() }
    }

    /// Goes on where an earlier process left a recording: what stands in it was told.
    #[must_use]
    pub fn resume(recording: &Recording) -> Self {
        let mut ledger = Self::new(recording.header.began);
        for observation in &recording.observations {
            if let Some(key) = Key::of(observation) {
                *ledger.told.entry(key).or_default() += 1;
            }
            if let Observation::Run { entry, run, event: RunEvent::Started, wall, .. } = observation {
                ledger.starts.insert((entry.clone(), run.clone()), *wall);
            }
        }
        ledger
    }

    /// Begins to read: the tool was started, and prints all from the beginning.
    pub fn reading(&mut self) -> Reading<'_> {
        Reading { ledger: self, here: Counts::new() }
    }
}

impl Reading<'_> {
    /// What a line of `work.ledger` tells that is new, read at `now`. `whose` says of a host name which instance of
    /// which side has it; one that it does not know is told by its host name, without a side.
    ///
    /// # Errors
    /// When the line is an object and tells nothing that is known.
    pub fn job_line(
        &mut self,
        line: &str,
        now: Time,
        whose: impl Fn(&str) -> Option<(Side, String)>,
    ) -> Result<Option<Observation>, LineError> {
        let time = |at| time_since(self.ledger.began, at);
        let observation = match job_line(line)? {
            None => return Ok(None),
            Some(JobLine::Queue(QueueLine { waiting, in_flight, at: None })) => {
                // A look of now was in no earlier reading.
                return Ok(Some(Observation::Backlog { at: now, waiting, in_flight }));
            }
            Some(JobLine::Queue(QueueLine { waiting, in_flight, at: Some(at) })) => {
                Observation::Backlog { at: time(at), waiting, in_flight }
            }
            Some(JobLine::Job(JobEntry { job, event, at, instance, class })) => {
                // The queue gives a job up, whichever instance says so.
                let instance = instance.filter(|_| event != JobEvent::DeadLettered);
                let known = instance.as_deref().and_then(whose);
                let (side, instance) =
                    known.map_or((None, instance), |(side, instance)| (Some(side), Some(instance)));
                Observation::Job { at: time(at), id: job, class, event, side, instance }
            }
        };
        Ok(self.if_new(observation))
    }

    /// What a line of `timetable.ledger` tells that is new. `whose` says of a host name which instance of which side
    /// has it.
    ///
    /// # Errors
    /// When the line is an object and tells nothing that is known, or of a host name that `whose` does not know: a
    /// run that belongs to no side cannot be judged.
    pub fn run_line(
        &mut self,
        line: &str,
        whose: impl Fn(&str) -> Option<(Side, String)>,
    ) -> Result<Option<Observation>, LineError> {
        let Some(RunLine { entry, run, event, at, instance }) = run_line(line)? else { return Ok(None) };
        let (side, instance) =
            whose(&instance).ok_or_else(|| LineError::Stranger { instance, line: line.to_owned() })?;
        let of_it = (entry.clone(), run.clone());
        // An end without a start is all that is known of when it was.
        let wall = match event {
            RunEvent::Started => *self.ledger.starts.entry(of_it).insert_entry(at).get(),
            RunEvent::Succeeded | RunEvent::Failed => self.ledger.starts.get(&of_it).copied().unwrap_or(at),
        };
        let at = time_since(self.ledger.began, at);
        Ok(self.if_new(Observation::Run { at, entry, run, event, side, instance, wall }))
    }

    fn if_new(&mut self, observation: Observation) -> Option<Observation> {
        let key = Key::of(&observation)?;
        let here = self.here.entry(key.clone()).or_default();
        *here += 1;
        let told = self.ledger.told.entry(key).or_default();
        let is_new = *here > *told;
        *told = (*told).max(*here);
        is_new.then_some(observation)
    }
}
