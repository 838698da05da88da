//! What a cutover is about to do, in words, and the question whether it may.

use std::io::BufRead as _;

use envctl_model::cutover::catalogue;
use envctl_model::cutover::production::Production;
use envctl_model::cutover::{CutoverPlan, not_exercised};
use envctl_rehearse::evidence::Verified;
use envctl_rehearse::gates::is_judged_in_production;
use jiff::Timestamp;

use super::admit::Admitted;
use super::preflight::Parts;
use crate::flows::interrupts::Interrupts;
use crate::ui::{Failure, ago, notice};

/// Tells it, on standard error: standard output is for what happens.
pub(super) fn tell(plan: &CutoverPlan, production: &Production, admitted: &Admitted, parts: &Parts) {
    let row = |name: &str, value: &str| notice(&format!("  {name:<12} {value}"));
    let facts = admitted.target.facts();
    row("component", &format!("{}, a {}", plan.component, plan.kind.as_str()));
    row(
        "production",
        &format!(
            "target {}: account {}, cluster {}, namespace {}, as {}",
            production.target, facts.account, facts.cluster, production.namespace, facts.arn
        ),
    );
    row("evidence", &evidence(admitted.admission.evidence()));
    for what in not_exercised(plan) {
        row("not tried", &what);
    }
    row("old side", &format!("{} machines, by {}", plan.old.instances, production.old.command.join(" ")));
    let replicas = parts.new.replicas.iter().map(|(workload, n)| format!("{n} × {workload}"));
    let new: Vec<_> =
        replicas.chain(parts.new.cron_jobs.iter().map(|job| format!("CronJob/{job}"))).collect();
    row("new side", &new.join(", "));
    let steps: Vec<_> = plan.steps.iter().enumerate().filter(|(_, step)| step.action.changes()).collect();
    for (index, step) in &steps {
        let Some(entry) = catalogue::step(step.action.word()) else { continue };
        row(&format!("step {}", index + 1), &format!("{}: {}", step.name(), entry.does));
        row("", &format!("undo: {}", entry.undo.unwrap_or("nothing to undo")));
        let gates: Vec<_> = step
            .gates
            .iter()
            .filter(|gate| is_judged_in_production(plan.kind, **gate))
            .map(|gate| gate.as_str())
            .collect();
        let ticks = if step.bake.min_ticks > 0 { ", and until a tick is over" } else { "" };
        let watched = format!("watched for {} s{ticks}", step.bake.at_least.as_secs());
        row("", &if gates.is_empty() { watched } else { format!("{watched}; gates {}", gates.join(", ")) });
        if production.stop_after.contains(index) {
            row("", "stops here until somebody goes on");
        }
    }
}

fn evidence(verified: &Verified) -> String {
    let rehearsal = verified.rehearsal();
    format!(
        "rehearsal, {}, ended {} ago, signed by {}, id {}",
        rehearsal.verdict.as_str(),
        ago(rehearsal.ended, Timestamp::now()),
        verified.signer(),
        verified.id().short()
    )
}

/// Wants the component's name typed.
pub(super) async fn ask(component: &str, interrupts: &Interrupts) -> Result<(), Failure> {
    notice(&format!("type the component's name, {component}, to begin:"));
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let typed = tokio::select! {
        typed = typed => typed.map_err(Failure::failed)?.map_err(Failure::failed)?,
        () = interrupts.token.cancelled() => return Err(Failure::Interrupted),
    };
    if typed.trim() == component {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "`{}` was typed, and the component is {component}: nothing was changed",
        typed.trim()
    )))
}
