//! Runs the steps of a plan, ready ones in parallel.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use envctl_model::{Event, Plan, Step, StepId, Thing};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::failpoint::{Failpoints, Killed, Moment};
use crate::journal::{Child, Entry, Journal, JournalError};

/// What steps act on.
pub trait World: Sync {
    /// What a step says to do.
    type Action: Sync;

    /// Performs a step. It may have been performed before, in whole or in part, by a process that
    /// died: it observes first, and does what is missing.
    fn perform(
        &self,
        step: &Step<Self::Action>,
        context: &Context,
    ) -> impl Future<Output = Result<Done, StepError>> + Send;
}

/// Whether we are still the only writer. Asked before each step.
pub trait Lock: Sync {
    /// # Errors
    /// A sentence that says who took the lock.
    fn still_held(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// No lock: for plans that share nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unlocked;

impl Lock for Unlocked {
    async fn still_held(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A step that is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What came of it, for the screen.
    pub summary: String,
    /// What exists now because of it (also when an earlier run made it).
    pub things: Vec<Thing>,
    /// Whether it deserves a line on the screen.
    pub show: bool,
}

impl Done {
    /// Done, with a line on the screen.
    #[must_use]
    pub fn shown(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), things: Vec::new(), show: true }
    }

    /// Done, and not worth a line on the screen.
    #[must_use]
    pub fn quiet(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), things: Vec::new(), show: false }
    }

    /// With what exists because of it.
    #[must_use]
    pub fn with(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.things.extend(things);
        self
    }
}

/// A step that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// It failed; trying again may help.
    Failed(String),
    /// It cannot go on until somebody has acted.
    Stuck(String),
    /// A guard refused it.
    Refused(String),
    /// The user interrupted it.
    Interrupted,
    /// A failpoint of a test.
    Killed,
}

impl From<Killed> for StepError {
    fn from(Killed: Killed) -> Self {
        Self::Killed
    }
}

/// What a step needs of the executor while it runs.
#[derive(Debug, Clone)]
pub struct Context {
    step: StepId,
    events: UnboundedSender<Event>,
    journal: Arc<Mutex<Journal>>,
    failpoints: Failpoints,
    /// Cancelled at the first interrupt.
    pub interrupted: CancellationToken,
}

impl Context {
    /// Says what the step is doing now.
    pub fn progress(&self, message: impl Into<String>) {
        // Nobody listens any more: then nobody wants to know.
        let _ = self.events.send(Event::StepProgress { step: self.step.clone(), message: message.into() });
    }

    /// Says something that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        let _ = self.events.send(Event::Warning { message: message.into() });
    }

    /// Writes down that a program was started.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn child_started(&self, child: Child) -> Result<(), JournalError> {
        lock(&self.journal).append(&Entry::Child(child))
    }

    /// Writes down that a program ended.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn child_ended(&self, pid: u32) -> Result<(), JournalError> {
        lock(&self.journal).append(&Entry::ChildEnded { pid })
    }

    /// A named moment in the middle of the effect, where a test can have the process die.
    ///
    /// # Errors
    /// [`Killed`] where the failpoint is set.
    pub fn failpoint(&self, name: &str) -> Result<(), Killed> {
        self.failpoints.hit(&self.step, &Moment::During(name.to_owned()))
    }
}

fn lock(journal: &Mutex<Journal>) -> std::sync::MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that did not end well. What each failed step said was published as an event.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Steps failed.
    #[error("{} failed", list(.0))]
    Failed(Vec<StepId>),
    /// A guard refused a step.
    #[error("{0} was refused")]
    Refused(StepId),
    /// The user interrupted it.
    #[error("interrupted")]
    Interrupted,
    /// Somebody else took the lock.
    #[error("{0}")]
    LockLost(String),
    /// The journal cannot be written, so nothing more may be done.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A failpoint of a test.
    #[error("killed")]
    Killed,
}

fn list(steps: &[StepId]) -> String {
    steps.iter().map(|s| s.0.as_str()).collect::<Vec<_>>().join(", ")
}

/// Runs plans.
#[derive(Debug)]
pub struct Executor<'a, W, L> {
    /// What steps act on.
    pub world: &'a W,
    /// Whether we are the only writer.
    pub lock: &'a L,
    /// The log.
    pub journal: Arc<Mutex<Journal>>,
    /// Where to publish what happens.
    pub events: UnboundedSender<Event>,
    /// Where a test has the process die.
    pub failpoints: Failpoints,
    /// Cancelled at the first interrupt: no further step begins.
    pub interrupted: CancellationToken,
}

impl<W: World, L: Lock> Executor<'_, W, L> {
    /// Runs all steps of a plan. After a failure no further step begins, and those that run are
    /// waited for: half an effect is worse than a late message.
    ///
    /// # Errors
    /// Which steps failed, or why none can go on.
    pub async fn run(&self, verb: &str, plan: &Plan<W::Action>) -> Result<(), RunError> {
        lock(&self.journal).append(&Entry::Begun { verb: verb.to_owned(), at: Timestamp::now() })?;
        let result = self.run_steps(plan).await;
        if !matches!(result, Err(RunError::Killed | RunError::Journal(_))) {
            lock(&self.journal).append(&Entry::Ended { ok: result.is_ok(), at: Timestamp::now() })?;
        }
        result
    }

    async fn run_steps(&self, plan: &Plan<W::Action>) -> Result<(), RunError> {
        let mut waiting: Vec<&Step<W::Action>> = plan.steps.iter().collect();
        let mut done: BTreeSet<&StepId> = BTreeSet::new();
        let mut failed = Vec::new();
        let mut stop: Option<RunError> = None;
        let mut running = FuturesUnordered::new();
        loop {
            if failed.is_empty() && stop.is_none() {
                if self.interrupted.is_cancelled() {
                    stop = Some(RunError::Interrupted);
                    continue;
                }
                let (ready, rest): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|s| s.after.iter().all(|a| done.contains(a)));
                waiting = rest;
                running.extend(ready.into_iter().map(|step| async move { (step, self.step(step).await) }));
            }
            let Some((step, result)) = running.next().await else { break };
            match result {
                Ok(()) => {
                    done.insert(&step.id);
                }
                Err(Ended::Step) => failed.push(step.id.clone()),
                // The process counts as dead: what runs is dropped where it stands.
                Err(Ended::Run(RunError::Killed)) => return Err(RunError::Killed),
                Err(Ended::Run(error)) => stop = stop.or(Some(error)),
            }
        }
        match stop {
            Some(error) => Err(error),
            None if failed.is_empty() => Ok(()),
            None => Err(RunError::Failed(failed)),
        }
    }

    async fn step(&self, step: &Step<W::Action>) -> Result<(), Ended> {
        self.lock.still_held().await.map_err(RunError::LockLost)?;
        lock(&self.journal).append(&Entry::Intent {
            step: step.id.clone(),
            things: step.things.clone(),
            at: Timestamp::now(),
        })?;
        self.hit(step, &Moment::AfterIntent)?;
        self.publish(Event::StepStarted {
            step: step.id.clone(),
            topic: step.topic.clone(),
            subject: step.subject.clone(),
        });
        let context = Context {
            step: step.id.clone(),
            events: self.events.clone(),
            journal: self.journal.clone(),
            failpoints: self.failpoints.clone(),
            interrupted: self.interrupted.clone(),
        };
        let begun = Instant::now();
        let result = self.world.perform(step, &context).await;
        let seconds = begun.elapsed().as_secs_f64();
        let (error, stuck, end) = match result {
            Ok(done) => return self.step_done(step, done, seconds),
            Err(StepError::Killed) => return Err(RunError::Killed.into()),
            Err(StepError::Failed(error)) => (error, false, Ended::Step),
            Err(StepError::Stuck(error)) => (error, true, Ended::Step),
            Err(StepError::Refused(error)) => (error, true, RunError::Refused(step.id.clone()).into()),
            Err(StepError::Interrupted) => ("interrupted".to_owned(), false, RunError::Interrupted.into()),
        };
        lock(&self.journal).append(&Entry::Failed {
            step: step.id.clone(),
            error: error.clone(),
            stuck,
            at: Timestamp::now(),
        })?;
        self.publish(Event::StepFailed {
            step: step.id.clone(),
            topic: step.topic.clone(),
            subject: step.subject.clone(),
            error,
            seconds,
            stuck,
        });
        Err(end)
    }

    fn step_done(&self, step: &Step<W::Action>, done: Done, seconds: f64) -> Result<(), Ended> {
        self.hit(step, &Moment::AfterEffect)?;
        lock(&self.journal).append(&Entry::Done {
            step: step.id.clone(),
            things: done.things,
            summary: done.summary.clone(),
            at: Timestamp::now(),
        })?;
        self.hit(step, &Moment::AfterOutcome)?;
        self.publish(Event::StepDone {
            step: step.id.clone(),
            topic: step.topic.clone(),
            subject: step.subject.clone(),
            summary: done.summary,
            seconds,
            show: done.show,
        });
        Ok(())
    }

    fn hit(&self, step: &Step<W::Action>, moment: &Moment) -> Result<(), Ended> {
        self.failpoints.hit(&step.id, moment).map_err(|Killed| RunError::Killed.into())
    }

    fn publish(&self, event: Event) {
        // Nobody listens any more: then nobody wants to know.
        let _ = self.events.send(event);
    }
}

/// How a step ended that was not done: it alone, or the whole run.
enum Ended {
    Step,
    Run(RunError),
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<JournalError> for Ended {
    fn from(error: JournalError) -> Self {
        Self::Run(error.into())
    }
}
