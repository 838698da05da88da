//! Faults of a sandbox: what is broken on purpose, and made whole again.

use envctl_cluster::live::pods;
use envctl_model::cutover::FaultKind;
use envctl_rehearse::director::Trouble;

use super::sandbox::Sandbox;
use super::sides::PATIENCE;
use crate::flows::cluster::target::explain;

/// Faults that a sandbox can have now.
pub(super) const POSSIBLE: [FaultKind; 3] =
    [FaultKind::KillNewPod, FaultKind::KillOldPod, FaultKind::ReconvergeOld];

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
        // Controllers mend the new side.
        _ => Ok(()),
    }
}

async fn kill_new(sandbox: &Sandbox) -> Result<(), Trouble> {
    let new = &sandbox.new;
    let all = pods::all(new.cluster.reader(), &new.namespace).await.map_err(|e| Trouble(e.to_string()))?;
    let mut ours = all.iter().filter(|pod| new.replicas.contains_key(&pod.workload) && pod.ready && !pod.ending);
    let Some(pod) = ours.next() else {
        return Err(Trouble("no pod of the new side is ready that could be killed".to_owned()));
    };
    let killed = pods::kill(&new.cluster, &new.namespace, &pod.name).await;
    killed.map_err(|e| super::sides::trouble(explain(&e)))
}
