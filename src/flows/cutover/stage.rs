//! What each step and each undo does to production, and how it is read back.

use std::time::Duration;

use envctl_model::cutover::plan::{Action, Fault, Timetable};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::{Judged, Stage, Trouble};
use envctl_rehearse::haproxy::Router;
use envctl_rehearse::{Observation, Recorder};

use super::kept::Held;
use super::operator::Operator;
use crate::flows::rehearse::sides::trouble;
use crate::flows::rehearse::timetable::between_ticks;
use crate::flows::rehearse::turning;
use crate::flows::rehearse::workloads::Workloads;

/// Production, as the director has it.
pub(super) struct Production<'a> {
    /// The plan, with production's figures.
    pub(super) plan: &'a CutoverPlan,
    /// The new side.
    pub(super) new: Workloads,
    /// The old side.
    pub(super) old: Operator,
    /// What sends requests to either.
    pub(super) router: Option<Router>,
    /// Where all is written down.
    pub(super) recorder: &'a Recorder,
    /// Where verdicts are kept.
    pub(super) held: &'a Held,
}

impl Production<'_> {
    fn router(&self) -> Result<&Router, Trouble> {
        self.router.as_ref().ok_or_else(|| Trouble("the plan has no router".to_owned()))
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
            ComponentKind::Worker => self.old.keep(0).await,
            ComponentKind::Endpoint | ComponentKind::Schedule => {
                turning::idle(self.recorder, Duration::from_secs(1), within).await
            }
        }
    }
}

impl Stage for Production<'_> {
    async fn act(&self, step: usize) -> Result<(), Trouble> {
        match &self.plan.steps[step].action {
            Action::ScaleUpNew if self.plan.kind == ComponentKind::Schedule => self.new.disarm().await,
            Action::ScaleUpNew => self.new.scale_up().await,
            // Nobody's requests are made up in production: this was rehearsed.
            Action::SameAnswer { .. } => Ok(()),
            Action::SetWeight { percent } => self.weigh(*percent).await,
            Action::SwitchName { .. } => self.switch(Side::New).await,
            Action::Handover { old } => self.old.keep(*old).await,
            Action::DisarmOld => {
                between_ticks(self.timetable()?).await?;
                self.old.arm(false).await
            }
            Action::ArmNew => self.new.arm().await,
            Action::Drain { timeout } => self.drain(*timeout).await,
            Action::StopOld { idle_for } => {
                turning::idle(self.recorder, *idle_for, *idle_for * 3 + Duration::from_secs(5)).await?;
                self.old.keep(0).await
            }
        }
    }

    async fn half(&self, step: usize) -> Result<(), Trouble> {
        self.act(step).await
    }

    async fn undo(&self, step: usize) -> Result<(), Trouble> {
        match &self.plan.steps[step].action {
            Action::ScaleUpNew if self.plan.kind == ComponentKind::Schedule => self.new.disarm().await,
            Action::ScaleUpNew => self.new.scale_down().await,
            Action::SameAnswer { .. } => Ok(()),
            Action::SetWeight { .. } => self.weigh(self.plan.weight_before(step)).await,
            Action::SwitchName { .. } => self.switch(Side::Old).await,
            Action::DisarmOld => self.old.arm(true).await,
            // From here on nobody is armed until the old side is.
            Action::ArmNew => {
                between_ticks(self.timetable()?).await?;
                self.new.disarm().await
            }
            Action::Drain { .. } if self.plan.kind == ComponentKind::Service => {
                self.router()?.undrain(Side::Old).await.map_err(|e| Trouble(e.to_string()))
            }
            Action::Drain { .. } if self.plan.kind != ComponentKind::Worker => Ok(()),
            Action::Handover { .. } | Action::Drain { .. } | Action::StopOld { .. } => {
                self.old.keep(self.plan.old_instances_before(step)).await
            }
        }
    }

    async fn inject(&self, _: &Fault) -> Result<(), Trouble> {
        Err(Trouble("nothing is broken on purpose in production".to_owned()))
    }

    async fn lift(&self, _: &Fault) -> Result<(), Trouble> {
        Ok(())
    }

    fn keep(&self, judged: &[Judged]) -> Result<(), Trouble> {
        self.held.keep(judged).map_err(trouble)
    }
}
