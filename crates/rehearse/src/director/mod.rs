//! In which order a rehearsal does, undoes, breaks and judges.
//!
//! The [`course`] is a plan for the runner, a leg a step of it: the journal, the failpoints, the events and the first
//! Ctrl-C are those of `up` and `down`. What has to be undone after a death is read from the recording ([`standing`]).

mod course;
mod settle;
mod stage;
mod standing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use envctl_model::cutover::{CutoverPlan, FaultKind, GateKind};
use envctl_model::plan::PlanError;
use envctl_model::{Plan, Step, StepId};
use envctl_runner::{Context, Done, StepError, World};
use serde::{Deserialize, Serialize};

pub use course::{Leg, course};
pub use settle::watched_for;
pub use stage::{Stage, Trouble};
pub use standing::{judged, standing};

use crate::gates::{During, Outcome, Verdict, Window};
use crate::observation::{DrillPhase, FaultPhase, Observation, StepPhase, Time};
use crate::recorder::Recorder;
use crate::recording::Recording;

/// How a window is judged: [`crate::gates::judge_window`], or what a test puts in its place.
pub type Judge = fn(&CutoverPlan, &Recording, &Window) -> Vec<Verdict>;

/// What was judged, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Index of the step that holds, or held, into the plan's steps.
    pub step: usize,
    /// Which observations were looked at, and why.
    pub window: Window,
    /// A verdict for each gate.
    pub verdicts: Vec<Verdict>,
}

impl Judged {
    /// Whether every gate passed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.outcome == Outcome::Passed)
    }
}

/// Leads a rehearsal through its course.
pub struct Director<'a, S> {
    /// What is rehearsed.
    pub plan: &'a CutoverPlan,
    /// The two sides.
    pub stage: &'a S,
    /// Where all is written down.
    pub recorder: &'a Recorder,
    /// Who judges.
    pub judge: Judge,
    judged: Mutex<Vec<Judged>>,
    looks: bool,
}

impl<'a, S: Stage> Director<'a, S> {
    /// A director who has judged nothing yet.
    pub fn new(plan: &'a CutoverPlan, stage: &'a S, recorder: &'a Recorder, judge: Judge) -> Self {
        Self { plan, stage, recorder, judge, judged: Mutex::default(), looks: false }
    }

    /// Who looks again and again whether a step that is watched has failed already, and then ends it: people feel it.
    #[must_use]
    pub fn looking(mut self) -> Self {
        self.looks = true;
        self
    }

    /// With what was judged before a death.
    #[must_use]
    pub fn after(mut self, judged: Vec<Judged>) -> Self {
        self.judged = Mutex::new(judged);
        self
    }

    fn judged_so_far(&self) -> MutexGuard<'_, Vec<Judged>> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was judged up to now, in order.
    pub fn judged(&self) -> Vec<Judged> {
        self.judged_so_far().clone()
    }

    /// The legs as a plan for the runner.
    ///
    /// # Errors
    /// Never for legs that [`course`] made.
    pub fn legs(&self, legs: &[Leg]) -> Result<Plan<Leg>, PlanError> {
        let mut steps: Vec<Step<Leg>> = Vec::new();
        for (number, leg) in legs.iter().enumerate() {
            let (topic, subject, word) = self.words(*leg);
            steps.push(Step {
                // The number keeps legs apart that do the same twice.
                id: StepId::new(format!("{:02}-{word}", number + 1)),
                topic,
                subject,
                after: steps.last().map(|before| before.id.clone()).into_iter().collect(),
                things: Vec::new(),
                action: *leg,
            });
        }
        Plan::new(steps)
    }

    /// What remains to be done of the course after a death, from the old side in charge: steps that were judged are not
    /// judged again, but what follows on the last of them is, and builds on it. A failure latches: after one nothing
    /// remains.
    #[must_use]
    pub fn remaining(&self) -> Vec<Leg> {
        if self.judged_so_far().iter().any(|judged| !judged.is_good()) {
            return Vec::new();
        }
        let judged = self.recorder.read(|recording| judged(&recording.observations));
        let all = course(self.plan);
        let Some(last) = judged.last() else { return all };
        let judged = all.iter().position(|leg| matches!(leg, Leg::Judge { step } if step == last));
        let rest = judged.map_or(&[][..], |at| &all[at + 1..]);
        std::iter::once(Leg::Again { to: *last }).chain(rest.iter().copied()).collect()
    }

    /// Two columns for the screen, and the word for the journal.
    fn words(&self, leg: Leg) -> (String, String, String) {
        let of = self.plan.steps.len();
        let step = |step: usize| (format!("step {}/{of}", step + 1), self.plan.steps[step].name());
        let word = |word: &str, step: usize| format!("{word}-{}", self.plan.steps[step].action.word());
        match leg {
            Leg::Do { step: at } => (step(at).0, step(at).1, word("do", at)),
            Leg::Judge { step: at } => (step(at).0, step(at).1, word("judge", at)),
            Leg::Half { step: at } => (step(at).0, format!("half of {}", step(at).1), word("half", at)),
            Leg::Fault { fault } => {
                let kind = self.plan.faults[fault].inject.as_str();
                ("fault".to_owned(), kind.to_owned(), format!("fault-{kind}"))
            }
            Leg::Back { from, middle } => {
                let place = if middle { "the middle of step" } else { "step" };
                ("drill".to_owned(), format!("rollback from {place} {}", from + 1), word("back-from", from))
            }
            Leg::Undo { from } => {
                ("undo".to_owned(), format!("everything from step {}", from + 1), word("undo-from", from))
            }
            Leg::Again { to } => {
                ("drill".to_owned(), format!("forward again to step {}", to + 1), word("again", to))
            }
        }
    }

    fn see(&self, observation: Observation) {
        self.recorder.see(observation);
    }

    fn flush(&self) -> Result<(), StepError> {
        let broken = |error| {
            StepError::Failed(format!(
                "the recording cannot be written: {error}\nwithout it nothing can be proven: make room on the disk, \
                 then begin again"
            ))
        };
        self.recorder.flush().map_err(broken)
    }

    fn step_seen(&self, step: usize, phase: StepPhase) -> Result<(), StepError> {
        self.see(Observation::Step { at: self.recorder.now(), step, phase });
        self.flush()
    }

    async fn act(&self, step: usize) -> Result<(), StepError> {
        self.step_seen(step, StepPhase::Begun)?;
        self.stage.act(step).await.map_err(trouble)?;
        self.step_seen(step, StepPhase::Verified)
    }

    async fn half(&self, step: usize) -> Result<(), StepError> {
        self.step_seen(step, StepPhase::Begun)?;
        self.stage.half(step).await.map_err(trouble)
    }

    async fn undo(&self, step: usize) -> Result<(), StepError> {
        // A disk that is full does not hold up going back: that it is, is told when all is undone.
        let _ = self.step_seen(step, StepPhase::Undoing);
        self.stage.undo(step).await.map_err(trouble)?;
        let _ = self.step_seen(step, StepPhase::Undone);
        Ok(())
    }

    async fn undo_all(&self) -> Result<(), StepError> {
        for step in self.standing().into_iter().rev() {
            self.undo(step).await?;
        }
        self.flush()
    }

    /// Indices of the steps that are to be undone, in the order in which they were begun.
    #[must_use]
    pub fn standing(&self) -> Vec<usize> {
        let mut held = self.recorder.read(|recording| standing(&recording.observations));
        held.retain(|step| self.plan.steps[*step].action.changes());
        held
    }

    async fn again(&self, to: usize) -> Result<(), StepError> {
        let standing = self.standing();
        for step in (0..=to).filter(|step| !standing.contains(step)) {
            if self.plan.steps[step].action.changes() {
                self.act(step).await?;
            }
        }
        Ok(())
    }

    /// When a step had its last turn of this phase.
    fn last(&self, step: usize, phase: StepPhase) -> Time {
        let last = |recording: &Recording| {
            recording.observations.iter().rev().find_map(|seen| match seen {
                Observation::Step { at, step: of, phase: seen } if *of == step && *seen == phase => Some(*at),
                _ => None,
            })
        };
        self.recorder.read(last).unwrap_or_else(|| self.recorder.now())
    }

    async fn judge_step(&self, step: usize, context: &Context) -> Result<Done, StepError> {
        let verified = self.last(step, StepPhase::Verified);
        let from = self.last(step, StepPhase::Begun);
        let failed = tokio::select! {
            baked = settle::bake(self.plan, self.recorder, step, verified, context) => baked.map(|()| None)?,
            why = self.failing(step, from), if self.looks => Some(why),
            never = self.tell(from, context) => match never {},
        };
        let to = self.recorder.now();
        let window = Window { from, to, step: Some(step), during: During::Step };
        let done = self.judge(step, window).await?;
        if let Some(why) = failed {
            return Err(StepError::Failed(why));
        }
        self.step_seen(step, StepPhase::Judged)?;
        Ok(done)
    }

    /// Waits until what was seen lately fails, twice in a row, at a gate that more watching does not mend; then says why.
    async fn failing(&self, step: usize, begun: Time) -> String {
        let mut failed_before = false;
        loop {
            tokio::time::sleep(LOOKS_EVERY).await;
            let now = self.recorder.now();
            let lately = Time(now.0.saturating_sub(u64::try_from(LATELY.as_micros()).unwrap_or(u64::MAX)));
            let window = Window { from: begun.max(lately), to: now, step: Some(step), during: During::Step };
            let recording = self.recorder.read(Recording::clone);
            let verdicts = (self.judge)(self.plan, &recording, &window);
            let fails = |verdict: &&Verdict| {
                verdict.outcome == Outcome::Failed && FELT_AT_ONCE.contains(&verdict.gate)
            };
            let bad: Vec<_> = verdicts.iter().filter(fails).map(told).collect();
            if failed_before && !bad.is_empty() {
                return bad.join("\n");
            }
            failed_before = !bad.is_empty();
        }
    }

    /// Says what was counted up to now, again and again.
    async fn tell(&self, from: Time, context: &Context) -> Infallible {
        let mut often = tokio::time::interval(TOLD_EVERY);
        loop {
            often.tick().await;
            let window = Window { from, to: self.recorder.now(), step: None, during: During::Step };
            context.progress(self.recorder.read(|recording| settle::figures(self.plan, recording, &window)));
        }
    }

    /// Judges a window, and fails unless all of its gates pass.
    async fn judge(&self, step: usize, window: Window) -> Result<Done, StepError> {
        settle::logs(self.recorder, window.to).await;
        self.flush()?;
        // Whoever records waits while the recording is read: judging takes longer than copying it.
        let recording = self.recorder.read(Recording::clone);
        let verdicts = (self.judge)(self.plan, &recording, &window);
        let figures = settle::figures(self.plan, &recording, &window);
        self.judged_so_far().push(Judged { step, window, verdicts: verdicts.clone() });
        self.stage.keep(&self.judged()).map_err(trouble)?;
        let bad: Vec<_> = verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Passed).collect();
        if bad.is_empty() {
            let marks: Vec<_> =
                verdicts.iter().map(|verdict| format!("✔ {}", verdict.gate.as_str())).collect();
            return Ok(Done::shown(format!("{figures}  {}", marks.join(" ")).trim().to_owned()));
        }
        Err(StepError::Failed(bad.iter().map(|verdict| told(verdict)).collect::<Vec<_>>().join("\n")))
    }

    async fn fault(&self, fault: usize, context: &Context) -> Result<Done, StepError> {
        let described = &self.plan.faults[fault];
        let kind = described.inject;
        let from = self.recorder.now();
        let seen = |phase| self.see(Observation::Fault { at: self.recorder.now(), fault, kind, phase });
        seen(FaultPhase::Injected);
        self.flush()?;
        let injected = self.stage.inject(described).await.map_err(trouble);
        if injected.is_ok() {
            pause(lasts(kind), context).await;
        }
        // What was broken is mended, whatever else happened.
        let lifted = self.stage.lift(described).await.map_err(trouble);
        injected.and(lifted)?;
        seen(FaultPhase::Lifted);
        pause(described.recovery + AFTER_RECOVERY, context).await;
        tokio::select! {
            () = settle::given_up(self.plan, self.recorder, self.recorder.now()) => {}
            () = context.interrupted.cancelled() => {}
        }
        let window =
            Window { from, to: self.recorder.now(), step: Some(described.at), during: During::Fault(fault) };
        self.judge(described.at, window).await
    }

    async fn back(&self, from: usize, middle: bool, context: &Context) -> Result<Done, StepError> {
        let began = Instant::now();
        let begun = self.recorder.now();
        let drill = |at, phase| self.see(Observation::Drill { at, from, middle, phase });
        drill(begun, DrillPhase::Begun);
        self.undo_all().await?;
        let seconds = began.elapsed().as_secs_f64();
        drill(self.recorder.now(), DrillPhase::Back);
        pause(AFTER_DRILL, context).await;
        settle::answered(self.plan, self.recorder, begun).await;
        drill(self.recorder.now(), DrillPhase::Over);
        let window = Window { from: begun, to: self.recorder.now(), step: Some(from), during: During::Drill };
        let mut done = self.judge(from, window).await?;
        done.summary = format!("{seconds:.1} s  {}", done.summary);
        Ok(done)
    }
}

impl<S: Stage> World for Director<'_, S> {
    type Action = Leg;

    async fn perform(&self, step: &Step<Leg>, context: &Context) -> Result<Done, StepError> {
        match step.action {
            Leg::Do { step } => self.act(step).await.map(|()| Done::quiet("done")),
            Leg::Half { step } => self.half(step).await.map(|()| Done::quiet("begun")),
            Leg::Judge { step } => self.judge_step(step, context).await,
            Leg::Fault { fault } => self.fault(fault, context).await,
            Leg::Back { from, middle } => self.back(from, middle, context).await,
            Leg::Undo { .. } => self.undo_all().await.map(|()| Done::shown("the old side is in charge")),
            Leg::Again { to } => self.again(to).await.map(|()| Done::quiet("done")),
        }
    }
}

/// Gates that fail because of what people feel. The others say that something is not as it was planned.
const FELT_AT_ONCE: [GateKind; 3] = [GateKind::NoFailedRequest, GateKind::EveryJobOnce, GateKind::NoOverlap];

/// How often it is looked whether a step has failed already.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// What is looked at then: in a longer time what fails now is lost among what went well before.
const LATELY: Duration = Duration::from_secs(60);

/// How often the screen is told what was counted.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// How long the load goes on after going back, so that what going back broke shows.
const AFTER_DRILL: Duration = Duration::from_secs(1);

/// How long it goes on after the time that a fault may be felt.
const AFTER_RECOVERY: Duration = Duration::from_secs(2);

/// How long something stays broken.
fn lasts(kind: FaultKind) -> Duration {
    Duration::from_secs(match kind {
        FaultKind::KillNewPod | FaultKind::KillOldPod | FaultKind::ReconvergeOld => 0,
        // As long as the plan's command takes, which has ended.
        FaultKind::DbFailover | FaultKind::LongTransaction | FaultKind::QueueRedelivery => 0,
        FaultKind::NetworkPartition => 3,
        FaultKind::SlowNew => 5,
    })
}

/// Waits for this long, or until an interrupt.
async fn pause(time: Duration, context: &Context) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = context.interrupted.cancelled() => {}
    }
}

fn trouble(trouble: Trouble) -> StepError {
    StepError::Failed(trouble.0)
}

/// A verdict that is not good, in lines.
fn told(verdict: &Verdict) -> String {
    let word = match verdict.outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Inconclusive => "cannot be judged",
    };
    let mut text = format!("gate {} {word}", verdict.gate.as_str());
    for failure in &verdict.failures {
        text.push_str(&format!("\n  {}: {}", failure.invariant, failure.what));
        if !failure.ids.is_empty() {
            text.push_str(&format!("\n    ids {}", failure.ids.join(", ")));
        }
        text.push_str(&format!("\n    {}; {}", failure.cause, failure.change));
    }
    text
}
