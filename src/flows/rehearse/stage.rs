//! What each step, each undo and each fault does to a sandbox, and how it is read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use envctl_model::cutover::plan::{Action, Fault, Timetable};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_rehearse::Recorder;
use envctl_rehearse::director::{Judged, Stage, Trouble};
use envctl_rehearse::observation::Observation;
use http::HeaderValue;

use super::kept::Held;
use super::plan::Loaded;
use super::router::SandboxRouter;
use super::sandbox::Sandbox;
use super::sides::{reached, trouble};
use super::timetable::between_ticks;
use super::{answers, faults, turning};

/// A sandbox, as the director has it.
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

    fn router(&self) -> Result<&SandboxRouter, Trouble> {
        self.sandbox.router.as_ref().ok_or_else(|| Trouble("the plan has no router".to_owned()))
    }

    fn timetable(&self) -> Result<&Timetable, Trouble> {
        self.plan().timetable.as_ref().ok_or_else(|| Trouble("the plan has no timetable".to_owned()))
    }

    async fn scale_up(&self) -> Result<(), Trouble> {
        let new = &self.sandbox.new;
        new.workloads.scale_up().await?;
        match self.sandbox.exposed {
            Some(address) => reached(address, new.workloads.replicas.values().sum()).await,
            None => Ok(()),
        }
    }

    async fn weigh(&self, percent: u8) -> Result<(), Trouble> {
        turning::weigh(&self.router()?.router, self.recorder, percent).await
    }

    /// Has the component's name lead to a side. A router that stands at the old address sends on who still goes there.
    async fn switch(&self, side: Side) -> Result<(), Trouble> {
        if self.sandbox.router.is_some() {
            self.weigh(if side == Side::New { 100 } else { 0 }).await?;
        }
        self.name.lead_to(side);
        self.recorder.see(Observation::Name { at: self.recorder.now(), side });
        Ok(())
    }

    async fn drain(&self, timeout: Duration) -> Result<(), Trouble> {
        match self.plan().kind {
            ComponentKind::Service => turning::drain(&self.router()?.router, timeout).await,
            // Machines that are asked to end finish what they have.
            ComponentKind::Worker => self.sandbox.old.keep(0).await,
            // Nothing leads there any more: what is under way ends by itself.
            ComponentKind::Endpoint | ComponentKind::Schedule => {
                turning::idle(self.recorder, Duration::from_secs(1), timeout).await
            }
        }
    }

    async fn stop_old(&self, idle_for: Duration) -> Result<(), Trouble> {
        turning::idle(self.recorder, idle_for, idle_for * 3 + Duration::from_secs(5)).await?;
        self.sandbox.old.keep(0).await
    }

    /// Has all machines that worked before the step work again, at the addresses that they have now.
    async fn start_old(&self, step: usize) -> Result<(), Trouble> {
        self.sandbox.old.keep(usize::from(self.plan().old_instances_before(step))).await?;
        if let Some(router) = &self.sandbox.router {
            let addresses = self.sandbox.old.addresses().await?;
            let set = router.router.set_addresses(Side::Old, &addresses).await;
            set.map_err(|e| Trouble(e.to_string()))?;
        }
        Ok(())
    }
}

impl Stage for SandboxStage<'_> {
    async fn act(&self, step: usize) -> Result<(), Trouble> {
        match self.action(step) {
            Action::ScaleUpNew if self.plan().kind == ComponentKind::Schedule => {
                self.sandbox.new.workloads.disarm().await
            }
            Action::ScaleUpNew => self.scale_up().await,
            Action::SameAnswer { sample } => {
                answers::compare(self.loaded, self.sandbox, self.recorder, *sample, &self.host, self.seed)
                    .await
            }
            Action::SetWeight { percent } => self.weigh(*percent).await,
            Action::SwitchName { .. } => self.switch(Side::New).await,
            Action::Handover { old } => self.sandbox.old.keep(usize::from(*old)).await,
            Action::DisarmOld => {
                let timetable = self.timetable()?;
                between_ticks(timetable).await?;
                self.sandbox.old.run(&timetable.disarm).await
            }
            Action::ArmNew => self.sandbox.new.workloads.arm().await,
            Action::Drain { timeout } => self.drain(*timeout).await,
            Action::StopOld { idle_for } => self.stop_old(*idle_for).await,
        }
    }

    async fn half(&self, step: usize) -> Result<(), Trouble> {
        match self.action(step) {
            // The configuration has it, HAProxy does not do it yet: as one who dies between the two.
            Action::SetWeight { percent } => {
                let configured = self.router()?.router.configure_share(*percent).await;
                configured.map(drop).map_err(|e| Trouble(e.to_string()))
            }
            Action::Handover { old } => {
                let now = usize::from(self.plan().old_instances_before(step));
                self.sandbox.old.keep(usize::from(*old) + (now - usize::from(*old)) / 2).await
            }
            _ => self.act(step).await,
        }
    }

    async fn undo(&self, step: usize) -> Result<(), Trouble> {
        match self.action(step) {
            Action::ScaleUpNew if self.plan().kind == ComponentKind::Schedule => {
                self.sandbox.new.workloads.disarm().await
            }
            Action::ScaleUpNew => self.sandbox.new.workloads.scale_down().await,
            Action::SameAnswer { .. } => Ok(()),
            Action::SetWeight { .. } => self.weigh(self.plan().weight_before(step)).await,
            Action::SwitchName { .. } => self.switch(Side::Old).await,
            Action::DisarmOld => self.sandbox.old.run(&self.timetable()?.arm).await,
            // From here on nobody is armed until the old side is.
            Action::ArmNew => {
                between_ticks(self.timetable()?).await?;
                self.sandbox.new.workloads.disarm().await
            }
            Action::Drain { .. } if self.plan().kind == ComponentKind::Service => {
                self.router()?.router.undrain(Side::Old).await.map_err(|e| Trouble(e.to_string()))
            }
            Action::Drain { .. } if self.plan().kind != ComponentKind::Worker => Ok(()),
            Action::Handover { .. } | Action::Drain { .. } | Action::StopOld { .. } => {
                self.start_old(step).await
            }
        }
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
