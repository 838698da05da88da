//! Production, as the director has it.

use envctl_model::cutover::CutoverPlan;
use envctl_model::cutover::plan::{Action, Fault};
use envctl_rehearse::Recorder;
use envctl_rehearse::director::{Judged, Stage, Trouble};
use envctl_rehearse::haproxy::Router;
use jiff::Timestamp;

use super::kept::Held;
use super::operator::Operator;
use super::watching::Silent;
use crate::flows::moving::workloads::Workloads;
use crate::flows::moving::{Moving, makes_up_for_none, trouble};

/// Production.
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
    /// Whether the ledger, where there is one, tells anything.
    pub(super) silent: Silent,
}

impl Production<'_> {
    fn moving(&self) -> Moving<'_, Operator, Workloads> {
        Moving {
            plan: self.plan,
            new: &self.new,
            old: &self.old,
            router: self.router.as_ref(),
            recorder: self.recorder,
        }
    }
}

impl Stage for Production<'_> {
    async fn act(&self, step: usize) -> Result<(), Trouble> {
        // Since this was looked at first there may have been a tick.
        if let (Action::ArmNew, Some(timetable)) = (&self.plan.steps[step].action, &self.plan.timetable) {
            makes_up_for_none(timetable, &self.new.catching_up().await?, Timestamp::now())?;
        }
        self.moving().act(step).await
    }

    async fn half(&self, step: usize) -> Result<(), Trouble> {
        self.act(step).await
    }

    async fn undo(&self, step: usize) -> Result<(), Trouble> {
        self.moving().undo(step).await
    }

    async fn inject(&self, _: &Fault) -> Result<(), Trouble> {
        Err(Trouble("nothing is broken on purpose in production".to_owned()))
    }

    async fn lift(&self, _: &Fault) -> Result<(), Trouble> {
        Ok(())
    }

    /// What nobody has told of is not judged to be well.
    fn keep(&self, judged: &[Judged]) -> Result<(), Trouble> {
        self.held.keep(judged).map_err(trouble)?;
        self.silent.too_long().map_or(Ok(()), |why| Err(Trouble(why)))
    }
}
