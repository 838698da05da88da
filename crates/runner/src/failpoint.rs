//! Places where a test can have the process die.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use envctl_model::StepId;

/// A moment in the life of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The intent is in the journal; nothing has been done.
    AfterIntent,
    /// The effect is done; the outcome is not in the journal.
    AfterEffect,
    /// The outcome is in the journal; nobody has been told.
    AfterOutcome,
    /// A named moment in the middle of the effect.
    During(String),
}

impl Moment {
    fn name(&self) -> &str {
        match self {
            Self::AfterIntent => "after-intent",
            Self::AfterEffect => "after-effect",
            Self::AfterOutcome => "after-outcome",
            Self::During(name) => name,
        }
    }
}

/// The process is to be considered dead: nothing more may be done or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

/// Where the process dies, if anywhere.
#[derive(Debug, Clone, Default)]
pub struct Failpoints {
    at: Option<String>,
    in_process: bool,
    log: Option<PathBuf>,
}

impl Failpoints {
    /// Nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The process gets SIGKILL at `STEP@MOMENT`, such as `terraform/apply@after-effect`.
    #[must_use]
    pub fn kill_at(place: &str) -> Self {
        Self { at: Some(place.to_owned()), ..Self::default() }
    }

    /// The executor stops as if it had died, for tests on an in-memory world.
    #[must_use]
    pub fn abort_at(place: &str) -> Self {
        Self { at: Some(place.to_owned()), in_process: true, log: None }
    }

    /// Appends each place that is reached to a file, a line each: so tests know which there are.
    #[must_use]
    pub fn logged_to(mut self, file: &Path) -> Self {
        self.log = Some(file.to_owned());
        self
    }

    /// Dies in this moment of a step if that is the place.
    ///
    /// # Errors
    /// [`Killed`], for failpoints made by [`Failpoints::abort_at`].
    pub fn hit(&self, step: &StepId, moment: &Moment) -> Result<(), Killed> {
        self.reach(&step.0, moment.name())
    }

    /// Dies here if here is the place: a moment before, between or after the steps of a verb.
    ///
    /// # Errors
    /// As [`Failpoints::hit`].
    pub fn reach(&self, what: &str, moment: &str) -> Result<(), Killed> {
        if let Some(log) = &self.log {
            let appended = File::options().create(true).append(true).open(log);
            // A test that misses a place in it says so.
            let _ = appended.and_then(|mut file| file.write_all(format!("{what}@{moment}\n").as_bytes()));
        }
        if self.at.as_ref().and_then(|at| at.split_once('@')) != Some((what, moment)) {
            return Ok(());
        }
        if !self.in_process {
            // Cannot fail for one's own process; were it to, the test would see a process that lives.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        Err(Killed)
    }
}
