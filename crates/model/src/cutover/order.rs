//! Which steps may follow which, and whether they lead to the end.

use super::check::{Reader, Wrong};
use super::file::Text;
use super::plan::{Action, CutoverPlan};
use super::samples::{LONGEST, rate, rounded, time_for};
use super::standing::Standing;
use crate::stack::ComponentKind;
use crate::units::show_rate;

/// Whether a step may come after those of the plan.
pub(super) fn follows(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    at: &Text,
    action: &Action,
) -> Result<(), Wrong> {
    let so = Standing::after(plan, plan.steps.len());
    let wrong = |message: String, help: &str| Err(reader.at(at, message, help));
    if so.had("stopOld") {
        let help = "`stopOld` is the point of no return: put it last";
        return wrong(format!("`{action}` comes after `stopOld`, when there is no way back any more"), help);
    }
    if let Some(earlier) = plan.steps.iter().find(|step| step.action.word() == action.word()) {
        match (&earlier.action, action) {
            (Action::SetWeight { .. }, Action::SetWeight { percent }) if *percent <= so.weight() => {
                let message =
                    format!("weights rise, and {percent} is not above the {} of before", so.weight());
                return wrong(message, "going back is what the undo is for; drills try it from every step");
            }
            (Action::Handover { .. }, Action::Handover { old }) if *old >= so.old_instances() => {
                let message =
                    format!("a handover leaves fewer old instances, and {} run here", so.old_instances());
                return wrong(message, "going back is what the undo is for; drills try it from every step");
            }
            (Action::SetWeight { .. }, _) | (Action::Handover { .. }, _) => {}
            _ => {
                let message = format!("`{}` is done already in line {}", action.word(), earlier.line);
                return wrong(message, "remove one of them");
            }
        }
    }
    let needs_new = !matches!(action, Action::ScaleUpNew | Action::DisarmOld);
    if needs_new && !so.had("scaleUpNew") {
        let message = format!("`{action}` needs the new side, which is not up yet");
        return wrong(message, "put `- scaleUpNew` before it");
    }
    match action {
        Action::SameAnswer { .. } if so.weight() == 100 => {
            wrong("answers are compared after all requests went to the new side".to_owned(), "compare before")
        }
        Action::SameAnswer { sample } => {
            let time = time_for(plan, 0, *sample);
            if time > LONGEST {
                let message =
                    format!("{sample} pairs of requests take {} at {}", rounded(time), show_rate(rate(plan)));
                return wrong(message, "raise `traffic.rate`, or compare fewer");
            }
            Ok(())
        }
        Action::Handover { old } if *old >= plan.old.instances => {
            let message = format!("`handover: {old}` ends none of the {} old instances", plan.old.instances);
            wrong(message, "write how many go on, fewer than there are")
        }
        Action::ArmNew if !so.had("disarmOld") => {
            let message = "both sides would run every tick: the old one is still armed";
            wrong(message.to_owned(), "put `- disarmOld` before it")
        }
        Action::Drain { .. } if plan.kind != ComponentKind::Worker && so.old_works() => {
            let message = format!("the old side cannot be drained: {} of the requests go there", left(&so));
            wrong(message, all_to_new(plan.kind))
        }
        Action::StopOld { .. } if so.old_works() => {
            let message = match plan.kind {
                ComponentKind::Service | ComponentKind::Endpoint => {
                    format!("the old side is stopped while {} of the requests go there", left(&so))
                }
                ComponentKind::Worker => "the old side is stopped while it takes jobs".to_owned(),
                ComponentKind::Schedule => "the old side is stopped while its crontab is armed".to_owned(),
            };
            wrong(message, all_to_new(plan.kind))
        }
        Action::StopOld { .. }
            if matches!(plan.kind, ComponentKind::Service | ComponentKind::Endpoint) && !so.had("drain") =>
        {
            let message = "the old side is stopped before it finished what it has";
            wrong(message.to_owned(), "put `- drain: {side: old, timeout: 20s}` before it")
        }
        _ => Ok(()),
    }
}

fn left(so: &Standing<'_>) -> String {
    if so.weight() == 0 { "all".to_owned() } else { format!("{} %", 100 - so.weight()) }
}

fn all_to_new(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Service => "put `- setWeight: 100` before it",
        ComponentKind::Endpoint => "put `- switchName` before it",
        ComponentKind::Worker => "put `- drain` before it, or `- handover: 0`",
        ComponentKind::Schedule => "put `- disarmOld` before it",
    }
}

/// Whether the steps lead to the end.
pub(super) fn complete(reader: &Reader<'_>, plan: &CutoverPlan) -> Result<(), Wrong> {
    let so = Standing::after(plan, plan.steps.len());
    let (message, help) = if !so.had("scaleUpNew") {
        ("no step brings the new side up".to_owned(), "begin with `- scaleUpNew`")
    } else if !so.new_works() && plan.kind == ComponentKind::Schedule {
        ("nobody runs the ticks after these steps".to_owned(), "add `- armNew` after `- disarmOld`")
    } else if so.old_works() {
        let message = match plan.kind {
            ComponentKind::Service | ComponentKind::Endpoint => {
                format!("these steps end with {} of the requests on the old side", left(&so))
            }
            ComponentKind::Worker => "these steps end with an old side that still takes jobs".to_owned(),
            ComponentKind::Schedule => "these steps end with both sides armed".to_owned(),
        };
        let help = match plan.kind {
            ComponentKind::Service => "end with `- setWeight: 100`",
            ComponentKind::Endpoint => "add `- switchName`",
            ComponentKind::Worker => "end with `- drain`, or `- handover: 0`",
            ComponentKind::Schedule => "add `- disarmOld`",
        };
        (message, help)
    } else {
        return Ok(());
    };
    Err(reader.at_key("steps", message, help))
}
