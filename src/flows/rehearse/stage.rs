//! A sandbox, as the director has it: what is done there only, and who operates its machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use envctl_model::cutover::plan::{Action, Fault};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_rehearse::Recorder;
use envctl_rehearse::director::{Judged, Stage, Trouble};
use http::HeaderValue;

use super::kept::Held;
use super::new::{New, reached};
use super::plan::Loaded;
use super::sandbox::Sandbox;
use super::{answers, faults};
use crate::flows::moving::{Moving, OldSide, trouble};

/// A sandbox.
pub(super) struct SandboxStage<'a> {
    /// What is rehearsed.
    pub(super) loaded: &'a Loaded,
    /// Both sides.
    pub(super) sandbox: &'a Sandbox,
    /// Where all is written down.
    pub(super) recorder: &'a Recorder,
    /// What requests ask for in `Host`.
    pub(super) host: HeaderValue,
    /// The seed of everything that is drawn at random.
    pub(super) seed: u64,
    /// What the component's name leads to; for endpoints.
    pub(super) name: Name,
    /// Where verdicts are kept.
    pub(super) held: &'a Held,
}

/// What the component's name leads to. The load resolves it for each connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Name(Arc<AtomicU8>);

impl Name {
    /// The side it leads to.
    pub(super) fn side(&self) -> Side {
        if self.0.load(Ordering::Acquire) == 0 { Side::Old } else { Side::New }
    }

    fn lead_to(&self, side: Side) {
        self.0.store(u8::from(side == Side::New), Ordering::Release);
    }
}

impl SandboxStage<'_> {
    fn plan(&self) -> &CutoverPlan {
        &self.loaded.plan
    }

    fn action(&self, step: usize) -> &Action {
        &self.plan().steps[step].action
    }

    fn moving(&self) -> Moving<'_, Self, New> {
        Moving {
            plan: self.plan(),
            new: &self.sandbox.new,
            old: self,
            router: self.sandbox.router.as_ref().map(|router| &router.router),
            recorder: self.recorder,
        }
    }

    /// That the router's way to the new side leads to each of its pods.
    async fn reached(&self) -> Result<(), Trouble> {
        match self.sandbox.exposed {
            Some(address) => reached(address, self.sandbox.new.replicas().values().sum()).await,
            None => Ok(()),
        }
    }
}

impl OldSide for SandboxStage<'_> {
    const ARMS_WITHIN: Duration = Duration::ZERO;

    /// A machine that was started again may have another address.
    async fn keep(&self, count: u16) -> Result<(), Trouble> {
        self.sandbox.old.keep(usize::from(count)).await?;
        match &self.sandbox.router {
            Some(router) if count > 0 => {
                let addresses = self.sandbox.old.addresses().await?;
                let set = router.router.set_addresses(Side::Old, &addresses).await;
                set.map_err(|e| Trouble(e.to_string()))
            }
            _ => Ok(()),
        }
    }

    async fn arm(&self, armed: bool) -> Result<(), Trouble> {
        let timetable = self.plan().timetable.as_ref();
        let timetable = timetable.ok_or_else(|| Trouble("the plan has no timetable".to_owned()))?;
        self.sandbox.old.run(if armed { &timetable.arm } else { &timetable.disarm }).await
    }

    async fn lead(&self, to: Side) -> Result<(), Trouble> {
        self.name.lead_to(to);
        Ok(())
    }
}

impl Stage for SandboxStage<'_> {
    async fn act(&self, step: usize) -> Result<(), Trouble> {
        match self.action(step) {
            Action::SameAnswer { sample } => {
                answers::compare(self.loaded, self.sandbox, self.recorder, *sample, &self.host, self.seed)
                    .await
            }
            Action::ScaleUpNew => {
                self.moving().act(step).await?;
                self.reached().await
            }
            _ => self.moving().act(step).await,
        }
    }

    async fn half(&self, step: usize) -> Result<(), Trouble> {
        match self.action(step) {
            // The configuration has it, HAProxy does not do it yet: as one who dies between the two.
            Action::SetWeight { percent } => {
                let configured = self.moving().router()?.configure_share(*percent).await;
                configured.map(drop).map_err(|e| Trouble(e.to_string()))
            }
            Action::Handover { old } => {
                let now = self.plan().old_instances_before(step);
                OldSide::keep(self, *old + (now - *old) / 2).await
            }
            _ => self.act(step).await,
        }
    }

    async fn undo(&self, step: usize) -> Result<(), Trouble> {
        self.moving().undo(step).await
    }

    async fn inject(&self, fault: &Fault) -> Result<(), Trouble> {
        faults::inject(self.plan(), self.sandbox, fault).await
    }

    fn keep(&self, judged: &[Judged]) -> Result<(), Trouble> {
        self.held.keep(judged).map_err(trouble)
    }

    async fn lift(&self, fault: &Fault) -> Result<(), Trouble> {
        faults::lift(self.sandbox, fault.inject).await
    }
}
