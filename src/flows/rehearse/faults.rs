//! Faults of a sandbox: what is broken on purpose, and made whole again.

use std::time::Duration;

use envctl_cluster::live::pods;
use envctl_model::cutover::FaultKind;
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::proxy::Proxy;

use super::sandbox::Sandbox;
use super::sides::PATIENCE;
use crate::flows::cluster::target::explain;

/// Faults that a sandbox can have now.
pub(super) fn possible(kind: ComponentKind) -> &'static [FaultKind] {
    use FaultKind::{KillNewPod, KillOldPod, ReconvergeOld, SlowNew};
    match kind {
        ComponentKind::Service | ComponentKind::Endpoint => &[KillNewPod, KillOldPod, SlowNew, ReconvergeOld],
        ComponentKind::Worker => &[KillNewPod, KillOldPod, ReconvergeOld],
        ComponentKind::Schedule => &[],
    }
}

/// How much later what a slow new side says arrives.
const SLOW: Duration = Duration::from_millis(500);

/// Breaks something.
pub(super) async fn inject(sandbox: &Sandbox, kind: FaultKind) -> Result<(), Trouble> {
    match kind {
        FaultKind::KillNewPod => kill_new(sandbox).await,
        FaultKind::KillOldPod => {
            let running = sandbox.old.list().await?.into_iter().find(|machine| machine.is_running);
            let Some(machine) = running else {
                return Err(Trouble("no machine of the old side runs that could be killed".to_owned()));
            };
            let killed = sandbox.old.machines.kill(&machine.instance).await;
            killed.map_err(|e| Trouble(e.to_string()))
        }
        FaultKind::SlowNew => {
            proxy(sandbox)?.delay(SLOW);
            Ok(())
        }
        // What a configuration manager does that still has the machines on its list: what should run, it starts.
        FaultKind::ReconvergeOld => {
            let all = sandbox.old.list().await?.len();
            sandbox.old.keep(all).await
        }
        _ => Err(Trouble(format!("the fault {kind:?} cannot be injected into this sandbox"))),
    }
}

/// Makes it whole again.
pub(super) async fn lift(sandbox: &Sandbox, kind: FaultKind) -> Result<(), Trouble> {
    match kind {
        FaultKind::KillOldPod => {
            for machine in sandbox.old.list().await?.into_iter().filter(|machine| !machine.is_running) {
                let started = sandbox.old.machines.start(&machine.instance, PATIENCE).await;
                started.map_err(|e| Trouble(e.to_string()))?;
            }
            Ok(())
        }
        FaultKind::SlowNew => {
            proxy(sandbox)?.restore();
            Ok(())
        }
        // Controllers mend the new side.
        _ => Ok(()),
    }
}

fn proxy(sandbox: &Sandbox) -> Result<&Proxy, Trouble> {
    sandbox
        .proxy
        .as_ref()
        .ok_or_else(|| Trouble("nothing stands before the new side that could be slow".to_owned()))
}

async fn kill_new(sandbox: &Sandbox) -> Result<(), Trouble> {
    let new = &sandbox.new;
    let all = pods::all(new.cluster.reader(), &new.namespace).await.map_err(|e| Trouble(e.to_string()))?;
    let mut ours = all
        .iter()
        .filter(|pod| new.workloads.replicas.contains_key(&pod.workload) && pod.ready && !pod.ending);
    let Some(pod) = ours.next() else {
        return Err(Trouble("no pod of the new side is ready that could be killed".to_owned()));
    };
    let killed = pods::kill(&new.cluster, &new.namespace, &pod.name).await;
    killed.map_err(|e| super::sides::trouble(explain(&e)))
}
