//! What judges a step.

use serde_yaml::Spanned;

use super::catalogue::GATES;
use super::check::{Reader, Wrong, repeated};
use super::file::Text;
use super::load::Given;
use super::plan::{Action, CutoverPlan, Drill, GateKind};
use super::standing::Standing;
use super::step_file::StepFile;
use super::usual::usual_gates;

/// What judges the last step of the plan.
pub(super) fn read(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    given: Given,
    at: &Text,
    item: &Spanned<StepFile>,
) -> Result<Vec<GateKind>, Wrong> {
    let Some(step) = plan.steps.last() else { return Ok(Vec::new()) };
    let usual = || {
        let usual = usual_gates(plan.kind, &step.action).iter().copied();
        usual.filter(|gate| given.p99 || *gate != GateKind::LatencySLO)
    };
    let Some(list) = &item.value.gate else { return Ok(usual().collect()) };
    if list.value.is_empty() && !matches!(step.action, Action::SameAnswer { .. }) {
        let words: Vec<_> = usual().map(GateKind::as_str).collect();
        let message = format!("`{}` changes who does the work, and nothing judges it", step.action);
        let help = format!("leave `gate` out for the usual ones: {}", words.join(", "));
        return Err(reader.at(at, message, &help));
    }
    if let Some(twice) = repeated(&list.value) {
        return Err(reader.at(twice, format!("gate `{}` is named twice", twice.value), "remove one of them"));
    }
    let so = Standing::after(plan, plan.steps.len());
    let mut gates = Vec::new();
    for word in &list.value {
        let gate = reader.entry(word, &word.value, plan.kind, GATES)?.gate;
        if let Some((missing, help)) = missing(gate, given, &so) {
            return Err(reader.at(word, format!("gate `{}` {missing}", word.value), help));
        }
        gates.push(gate);
    }
    Ok(gates)
}

/// What a gate would need and does not have, and what to do about it.
fn missing(gate: GateKind, given: Given, so: &Standing<'_>) -> Option<(&'static str, &'static str)> {
    let nobody = "has nothing to judge: the new side gets no work yet";
    match gate {
        GateKind::LatencySLO if !given.p99 => Some(("has no objective", "add `slo: {p99: 400ms}`")),
        GateKind::SameAnswer if !so.had("sameAnswer") => Some((
            "has nothing to judge: no step compared answers",
            "put `- sameAnswer: {sample: 200}` before it",
        )),
        GateKind::ObservedShare | GateKind::EveryReplicaServes if !so.new_works() => {
            Some((nobody, "name it at a later step"))
        }
        GateKind::CrossConsume if !so.old_works() => {
            Some(("has nothing to judge: the old side takes no jobs any more", "name it at an earlier step"))
        }
        GateKind::OldSilent if so.old_works() => {
            Some(("cannot pass: the old side is still given work", "name it at a later step"))
        }
        _ => None,
    }
}

/// Whether gates on going back have a drill that they can judge.
pub(super) fn drilled(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    index: usize,
    item: &Spanned<StepFile>,
) -> Result<(), Wrong> {
    let nothing = matches!(plan.steps[index].action, Action::SameAnswer { .. });
    let last = plan.rollback.drill == Drill::LastStep && index + 1 < plan.steps.len();
    let Some(list) = item.value.gate.as_ref().filter(|_| nothing || last) else { return Ok(()) };
    let of_drills =
        [GateKind::RollbackLossless, GateKind::NoFailedRequestDuringRollback].map(GateKind::as_str);
    let Some(word) = list.value.iter().find(|word| of_drills.contains(&word.value.as_str())) else {
        return Ok(());
    };
    let message =
        format!("gate `{}` has nothing to judge: going back is not tried from this step", word.value);
    let help = if nothing { "name it at another step" } else { "write `rollback: {drill: everyStep}`" };
    Err(reader.at(word, message, help))
}
