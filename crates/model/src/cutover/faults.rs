//! The faults of a plan, and how going back is tried.

use std::time::Duration;

use super::catalogue::FAULTS;
use super::check::{Reader, Wrong, meant};
use super::file::{FaultText, RollbackText};
use super::load;
use super::plan::{CutoverPlan, Drill, Fault, FaultKind, Rollback, Step, Tool};
use super::standing::Standing;
use crate::stack::ComponentKind;
use crate::units;

/// How long going back may take, if the plan does not say.
const MAX_DURATION: Duration = Duration::from_secs(30);

pub(super) fn read(
    reader: &mut Reader<'_>,
    plan: &CutoverPlan,
    list: &[FaultText],
) -> Result<Vec<Fault>, Wrong> {
    let mut faults: Vec<Fault> = Vec::new();
    for text in list {
        let names: Vec<_> = plan.steps.iter().map(Step::name).collect();
        let Some(at) = names.iter().position(|name| *name == text.at.value) else {
            let help = meant(&text.at.value, names.iter().map(String::as_str), "steps of this plan");
            return Err(reader.at(&text.at, format!("there is no step `{}`", text.at.value), &help));
        };
        let inject = reader.entry(&text.inject, &text.inject.value, plan.kind, FAULTS)?.fault;
        if let Some((message, help)) = senseless(inject, plan, &Standing::after(plan, at + 1)) {
            return Err(reader.at(&text.inject, format!("fault `{}` {message}", text.inject.value), help));
        }
        if faults.iter().any(|fault| fault.at == at && fault.inject == inject) {
            let message = format!("fault `{}` is injected at `{}` already", text.inject.value, text.at.value);
            return Err(reader.at(&text.inject, message, "remove one of them"));
        }
        let with = command(reader, inject, text)?;
        let example = "say what it may cost: `permits: {failedRequests: 0, recovery: 5s}`";
        let Some(permits) = &text.permits else {
            let message = format!("fault `{}` has no `permits`", text.inject.value);
            return Err(reader.at(&text.inject, message, example));
        };
        let (Some(failed), Some(recovery)) = (&permits.failed_requests, &permits.recovery) else {
            let message =
                format!("`permits` of `{}` needs `failedRequests` and `recovery`", text.inject.value);
            return Err(reader.at(&text.inject, message, example));
        };
        let failed_requests = reader.whole(failed, "`failedRequests`", 0..=1_000_000_000)?;
        if failed_requests > 0 && plan.kind == ComponentKind::Schedule {
            let help = "write `failedRequests: 0`: no run may be missed or doubled, whatever breaks";
            return Err(reader.at(failed, "a schedule gets no requests that could fail", help));
        }
        let time = reader.quantity(recovery, units::duration)?;
        if time.is_zero() {
            return Err(reader.at(recovery, "nothing is well again within 0s", "write such as `5s`"));
        }
        faults.push(Fault { at, inject, with, failed_requests, recovery: time });
    }
    Ok(faults)
}

/// The command that breaks it: where a sandbox cannot do so itself, and only there.
fn command(reader: &mut Reader<'_>, inject: FaultKind, text: &FaultText) -> Result<Option<Tool>, Wrong> {
    let word = inject.as_str();
    match (inject.command(), &text.with) {
        (Some(_), Some(with)) => load::tool(reader, "with", &with.value).map(Some),
        (Some(does), None) => {
            let message =
                format!("fault `{word}` needs a command: what breaks is outside of a sandbox's hands");
            let help = format!(
                "add `with: {{service: SERVICE, command: [...]}}`, a command in a service of `old.compose` that {does}"
            );
            Err(reader.at(&text.inject, message, &help))
        }
        (None, Some(with)) => {
            let message = format!("fault `{word}` takes no command: a sandbox does this itself");
            Err(reader.at(with, message, "remove `with`"))
        }
        (None, None) => Ok(None),
    }
}

/// Why a fault breaks nothing at its step, and what to do.
fn senseless(
    fault: FaultKind,
    plan: &CutoverPlan,
    so: &Standing<'_>,
) -> Option<(&'static str, &'static str)> {
    use FaultKind::{
        DbFailover, KillNewPod, KillOldPod, LongTransaction, NetworkPartition, ReconvergeOld, SlowNew,
    };
    let later = "inject it at a later step";
    let changed = ["handover", "disarmOld", "drain", "stopOld"].iter().any(|word| so.had(word));
    match fault {
        KillNewPod | SlowNew | NetworkPartition if !so.had("scaleUpNew") => {
            Some(("breaks nothing: the new side is not up at this step", later))
        }
        SlowNew | NetworkPartition if !so.new_works() => {
            Some(("breaks nothing: the new side gets no requests at this step", later))
        }
        KillOldPod if so.had("stopOld") => {
            Some(("breaks nothing: the old side is stopped at this step", "inject it at an earlier step"))
        }
        ReconvergeOld if !changed => {
            Some(("breaks nothing: the old side is as it always was at this step", later))
        }
        DbFailover | LongTransaction if plan.shared.is_empty() => {
            Some(("breaks nothing: nothing is `shared`", "name what both sides use in `shared`"))
        }
        _ => None,
    }
}

pub(super) fn rollback(reader: &Reader<'_>, text: &RollbackText) -> Result<Rollback, Wrong> {
    let known = [("everyStep", Drill::EveryStep), ("lastStep", Drill::LastStep)];
    let drill = text.drill.as_ref().map(|word| reader.word(word, "drill", &known)).transpose()?;
    let time = text.max_duration.as_ref().map(|time| reader.quantity(time, units::duration)).transpose()?;
    if let (Some(Duration::ZERO), Some(text)) = (time, &text.max_duration) {
        return Err(reader.at(text, "going back takes longer than 0s", "write such as `10s`"));
    }
    Ok(Rollback {
        drill: drill.unwrap_or(Drill::EveryStep),
        max_duration: time.unwrap_or(MAX_DURATION),
        after_writes: text.after_writes.unwrap_or(true),
    })
}
