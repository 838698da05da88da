//! What each step of a cutover does and how it is undone: the same in a sandbox and in production, so that what was
//! drilled is what is done. They differ only in who operates the machines, and the new side.
//!
//! ```text
//! turning    what steps do to a router, and what they wait for
//! workloads  how much of the new side runs, in a cluster
//! ticks      when a crontab may be changed
//! ```

mod ticks;
pub(super) mod turning;
pub(super) mod workloads;

use std::time::Duration;

use envctl_model::cutover::plan::{Action, Timetable};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::{Director, Leg, Stage, Trouble, watched_for};
use envctl_rehearse::haproxy::Router;
use envctl_rehearse::{Observation, Recorder};
use envctl_runner::Lock;

use super::run::Run;
use crate::ui::Failure;
pub(super) use ticks::{between_ticks, makes_up_for_none};

/// How long one instance may take to be ready, or to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Who operates the machines. Each answers when it is done, and was read back.
pub(super) trait OldSide: Sync {
    /// How long whoever changes the crontab may take to do it, and to say that it is done.
    const ARMS_WITHIN: Duration;

    /// Has so many machines run and do their part, and ends the others gracefully.
    fn keep(&self, count: u16) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// The same on the way back, which goes on with those that are there: one machine that does not come back must not
    /// leave everything on the side that is gone back from.
    fn restore(&self, count: u16) -> impl Future<Output = Result<(), Trouble>> + Send {
        self.keep(count)
    }

    /// Takes the entries out of the crontab, or puts them back.
    fn arm(&self, armed: bool) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Has the component's name lead to a side.
    fn lead(&self, to: Side) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// How much of the new side runs. Each answers when it is so, and was read back.
pub(super) trait NewSide: Sync {
    /// Has all replicas run, and be ready.
    fn scale_up(&self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Has no replica run.
    fn scale_down(&self) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Lets the CronJobs run, or suspends them. A run that is under way goes on to its end.
    fn arm(&self, armed: bool) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// The two sides of a component that moves, and what is between them.
#[derive(Debug)]
pub(super) struct Moving<'a, O, N> {
    /// The plan, with the figures of where it moves.
    pub(super) plan: &'a CutoverPlan,
    /// The new side.
    pub(super) new: &'a N,
    /// The old side.
    pub(super) old: &'a O,
    /// What sends requests to either; for services and endpoints.
    pub(super) router: Option<&'a Router>,
    /// Where all is written down.
    pub(super) recorder: &'a Recorder,
}

impl<O: OldSide, N: NewSide> Moving<'_, O, N> {
    /// Does a step, and reads it back. Answers are compared by whoever has somebody to ask for them.
    pub(super) async fn act(&self, step: usize) -> Result<(), Trouble> {
        match &self.plan.steps[step].action {
            Action::ScaleUpNew if self.plan.kind == ComponentKind::Schedule => self.new.arm(false).await,
            Action::ScaleUpNew => self.new.scale_up().await,
            Action::SameAnswer { .. } => Ok(()),
            Action::SetWeight { percent } => self.weigh(*percent).await,
            Action::SwitchName { .. } => self.switch(Side::New).await,
            Action::Handover { old } => self.old.keep(*old).await,
            Action::DisarmOld => {
                // Nobody is armed while this step is judged.
                let judged = watched_for(self.plan.steps[step].bake, true);
                between_ticks(self.timetable()?, judged + O::ARMS_WITHIN).await?;
                self.old.arm(false).await
            }
            Action::ArmNew => self.new.arm(true).await,
            Action::Drain { timeout } => self.drain(*timeout).await,
            Action::StopOld { idle_for } => {
                turning::idle(self.recorder, *idle_for, *idle_for * 3 + Duration::from_secs(5)).await?;
                self.old.keep(0).await
            }
        }
    }

    /// Has it again as it was before a step, whether that was done, or begun.
    pub(super) async fn undo(&self, step: usize) -> Result<(), Trouble> {
        match &self.plan.steps[step].action {
            Action::ScaleUpNew if self.plan.kind == ComponentKind::Schedule => self.new.arm(false).await,
            Action::ScaleUpNew => self.new.scale_down().await,
            Action::SameAnswer { .. } => Ok(()),
            Action::SetWeight { .. } => self.weigh(self.plan.weight_before(step)).await,
            Action::SwitchName { .. } => self.switch(Side::Old).await,
            Action::DisarmOld => self.old.arm(true).await,
            // From here on nobody is armed until the old side is.
            Action::ArmNew => {
                between_ticks(self.timetable()?, O::ARMS_WITHIN).await?;
                self.new.arm(false).await
            }
            Action::Drain { .. } if self.plan.kind == ComponentKind::Service => {
                self.router()?.undrain(Side::Old).await.map_err(|e| Trouble(e.to_string()))
            }
            Action::Drain { .. } if self.plan.kind != ComponentKind::Worker => Ok(()),
            Action::Handover { .. } | Action::Drain { .. } | Action::StopOld { .. } => {
                self.old.restore(self.plan.old_instances_before(step)).await
            }
        }
    }

    pub(super) fn router(&self) -> Result<&Router, Trouble> {
        self.router.ok_or_else(|| Trouble("the plan has no router".to_owned()))
    }

    fn timetable(&self) -> Result<&Timetable, Trouble> {
        self.plan.timetable.as_ref().ok_or_else(|| Trouble("the plan has no timetable".to_owned()))
    }

    async fn weigh(&self, percent: u8) -> Result<(), Trouble> {
        turning::weigh(self.router()?, self.recorder, percent).await
    }

    /// A router that stands at the old address sends on who still goes there.
    async fn switch(&self, side: Side) -> Result<(), Trouble> {
        self.weigh(if side == Side::New { 100 } else { 0 }).await?;
        self.old.lead(side).await?;
        self.recorder.see(Observation::Name { at: self.recorder.now(), side });
        Ok(())
    }

    async fn drain(&self, within: Duration) -> Result<(), Trouble> {
        match self.plan.kind {
            ComponentKind::Service => turning::drain(self.router()?, within).await,
            // Machines that are asked to end finish what they have.
            ComponentKind::Worker => self.old.keep(0).await,
            // Nothing leads there any more: what is under way ends by itself.
            ComponentKind::Endpoint | ComponentKind::Schedule => {
                turning::idle(self.recorder, Duration::from_secs(1), within).await
            }
        }
    }
}

/// Goes through legs. Going back is done though nothing of it can be written down.
pub(super) async fn go<S: Stage, L: Lock>(
    run: Run<'_, L>,
    director: &Director<'_, S>,
    legs: &[Leg],
) -> Result<(), Failure> {
    let run = if legs.iter().all(|leg| leg.goes_back()) { run.whatever_the_disk_says() } else { run };
    run.execute(director, &director.legs(legs).map_err(Failure::failed)?).await
}

/// A failure as what the director is told.
pub(super) fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::Failed(text)
        | Failure::Usage(text)
        | Failure::Refused(text)
        | Failure::Taken(text)
        | Failure::Gate(text) => Trouble(text),
        Failure::Interrupted => Trouble("interrupted".to_owned()),
        other => Trouble(other.text(false).unwrap_or_else(|| "it failed; why stands above".to_owned())),
    }
}
