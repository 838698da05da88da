//! Faults of a sandbox: what is broken on purpose, and made whole again.

use std::time::Duration;

use envctl_model::cutover::plan::Fault;
use envctl_model::cutover::{CutoverPlan, FaultKind};
use envctl_rehearse::director::Trouble;
use envctl_rehearse::proxy::Proxy;

use super::sandbox::Sandbox;
use crate::flows::moving::PATIENCE;

/// How much later what a slow new side says arrives.
const SLOW: Duration = Duration::from_millis(500);

/// How long a command of the plan's may take that breaks something.
const BREAKS_WITHIN: Duration = Duration::from_secs(120);

/// Breaks something.
pub(super) async fn inject(plan: &CutoverPlan, sandbox: &Sandbox, fault: &Fault) -> Result<(), Trouble> {
    match fault.inject {
        FaultKind::KillNewPod => sandbox.new.kill_one().await,
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
        FaultKind::NetworkPartition => {
            proxy(sandbox)?.blackhole();
            Ok(())
        }
        // What a configuration manager does that still has the machines on its list: what should run, it starts, and
        // what should be in their crontabs, it puts there.
        FaultKind::ReconvergeOld => {
            let all = sandbox.old.list().await?.len();
            sandbox.old.keep(all).await?;
            match &plan.timetable {
                Some(timetable) => sandbox.old.run(&timetable.arm).await,
                None => Ok(()),
            }
        }
        FaultKind::DbFailover | FaultKind::LongTransaction | FaultKind::QueueRedelivery => {
            by_command(sandbox, fault).await
        }
    }
}

/// Has the plan's command break what is outside of a sandbox's hands.
async fn by_command(sandbox: &Sandbox, fault: &Fault) -> Result<(), Trouble> {
    let word = fault.inject.as_str();
    let Some(tool) = &fault.with else {
        return Err(Trouble(format!("the fault `{word}` has no command")));
    };
    match tokio::time::timeout(BREAKS_WITHIN, sandbox.old.run(tool)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Trouble(why))) => Err(Trouble(format!("the fault `{word}` was not had: {why}"))),
        Err(_) => Err(Trouble(format!(
            "the fault `{word}` was not over after {} s: `{}` in the service `{}` still runs\n  have the command end \
             by itself when what it broke is well again",
            BREAKS_WITHIN.as_secs(),
            tool.command.join(" "),
            tool.service
        ))),
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
        FaultKind::SlowNew | FaultKind::NetworkPartition => {
            proxy(sandbox)?.restore();
            Ok(())
        }
        // Controllers mend the new side, a command is over when it has ended, and nobody mends what a configuration
        // manager did.
        FaultKind::KillNewPod
        | FaultKind::ReconvergeOld
        | FaultKind::DbFailover
        | FaultKind::LongTransaction
        | FaultKind::QueueRedelivery => Ok(()),
    }
}

fn proxy(sandbox: &Sandbox) -> Result<&Proxy, Trouble> {
    sandbox.proxy.as_ref().ok_or_else(|| {
        Trouble("nothing stands before the new side that could hold up what goes there".to_owned())
    })
}
