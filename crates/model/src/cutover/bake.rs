//! How long a step is watched.

use std::time::Duration;

use serde_yaml::Spanned;

use super::check::{Reader, Wrong, a};
use super::file::Text;
use super::load::Given;
use super::plan::{Action, Bake, CutoverPlan, GateKind, Step};
use super::samples::{LEAST_FOR_P99, LONGEST, proof, proven, rate, rounded, time_for};
use super::standing::Standing;
use super::step_file::StepFile;
use crate::stack::ComponentKind;
use crate::units::{self, show_duration, show_percentage, show_rate};

/// For how long the first steps wait for samples, if the plan does not say.
const USUAL: Duration = Duration::from_secs(30);
/// Jobs that each side has to end, if the plan does not say.
const JOBS: u32 = 20;

/// How long the last step of the plan is watched.
pub(super) fn read(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    given: Given,
    at: &Text,
    item: &Spanned<StepFile>,
) -> Result<Bake, Wrong> {
    let Some(step) = plan.steps.last() else { return Ok(Bake::default()) };
    let text = item.value.bake.as_ref();
    let at_least = match text.and_then(|bake| bake.at_least.as_ref()) {
        Some(text) => reader.quantity(text, units::duration)?,
        None => usual_time(plan, &step.action),
    };
    let samples_text = text.and_then(|bake| bake.min_samples_per_side.as_ref());
    if let (Some(text), ComponentKind::Schedule) = (samples_text, plan.kind) {
        let message = format!("{} has ticks, and no samples", a(plan.kind));
        return Err(reader.at(text, message, "write `minTicks`, how many are to be seen"));
    }
    let ticks_text = text.and_then(|bake| bake.min_ticks.as_ref());
    let min_ticks = match ticks_text {
        Some(text) if plan.timetable.is_none() => {
            let message = format!("{} has no ticks", a(plan.kind));
            return Err(reader.at(text, message, "write `minSamplesPerSide`, or `atLeast`"));
        }
        Some(text) if step.action == Action::DisarmOld => {
            let message =
                "while the step `disarmOld` is watched neither side runs anything: its tick would be lost";
            return Err(reader.at(text, message, "write `minTicks` at `armNew`"));
        }
        Some(text) => reader.whole(text, "`minTicks`", 0..=10)?,
        // Who says how long says it instead.
        None if text.is_some_and(|bake| bake.at_least.is_some()) => 0,
        None => usual_ticks(plan, &step.action),
    };
    let samples = match samples_text {
        Some(text) => reader.whole(text, "`minSamplesPerSide`", 1..=100_000_000)?,
        None => usual_samples(plan, step),
    };
    let place = samples_text.unwrap_or(at);
    if step.gates.contains(&GateKind::LatencySLO) && samples < LEAST_FOR_P99 {
        let message = format!(
            "the p99 of a side is not known from fewer than {LEAST_FOR_P99} requests, and {samples} are waited for here"
        );
        let help = format!("write `minSamplesPerSide: {LEAST_FOR_P99}`, or a `gate` without `latencySLO`");
        return Err(reader.at(place, message, &help));
    }
    let whole = matches!(step.action, Action::SetWeight { percent: 100 } | Action::SwitchName { .. });
    let needed = proof(plan.slo.availability);
    if given.availability && whole && samples < needed {
        let message = format!(
            "{samples} requests without a failure prove that less than {} fail, and `slo.availability` allows {}",
            show_percentage(proven(samples)),
            show_percentage(1.0 - plan.slo.availability),
        );
        let help = format!("write `minSamplesPerSide: {needed}`, or promise less");
        return Err(reader.at(place, message, &help));
    }
    let time = time_for(plan, plan.steps.len(), samples);
    if time > LONGEST {
        let part = Standing::after(plan, plan.steps.len()).smaller_part();
        let (what, key) =
            if plan.work.is_some() { ("jobs", "work.rate") } else { ("requests", "traffic.rate") };
        let of_them = match part {
            1.0 => String::new(),
            part => format!(", of which a side gets {}", show_percentage(part)),
        };
        let message =
            format!("{samples} {what} per side take {} at {}{of_them}", rounded(time), show_rate(rate(plan)));
        let enough = (f64::from(samples) / LONGEST.as_secs_f64() / part).ceil();
        let help = format!(
            "a step waits at most {} for them: raise `{key}` to {}, or ask for fewer",
            show_duration(LONGEST),
            show_rate(enough)
        );
        return Err(reader.at(place, message, &help));
    }
    Ok(Bake { at_least, min_samples_per_side: samples, min_ticks })
}

/// How long a step is watched at least, if the plan does not say.
fn usual_time(plan: &CutoverPlan, action: &Action) -> Duration {
    let seconds = Duration::from_secs;
    match (plan.kind, action) {
        (_, Action::SameAnswer { .. }) => Duration::ZERO,
        // Between the two nobody runs: it is to be short.
        (_, Action::DisarmOld) => Duration::ZERO,
        (ComponentKind::Schedule, Action::ScaleUpNew) => seconds(5),
        // In which controllers make up for what they missed.
        (ComponentKind::Schedule, _) => seconds(15),
        // What was begun before the step has ended after it.
        (ComponentKind::Worker, _) => {
            let jobs = plan.work.iter().flat_map(|work| &work.jobs);
            let longest = jobs.map(|job| job.longest_seconds).fold(0.0, f64::max);
            Duration::from_secs_f64(longest) + seconds(5)
        }
        (_, Action::SetWeight { .. }) => seconds(10),
        // Resolvers that keep to the TTL have all asked again.
        (_, Action::SwitchName { ttl }) => seconds(10).max(*ttl * 3),
        _ => seconds(5),
    }
}

/// How many ticks a step waits for, if the plan says neither that nor how long.
fn usual_ticks(plan: &CutoverPlan, action: &Action) -> u32 {
    let runs = !matches!(action, Action::ScaleUpNew | Action::DisarmOld);
    u32::from(plan.kind == ComponentKind::Schedule && runs)
}

/// How many samples a step waits for, if the plan does not say: where the new side gets everything as many as prove
/// the availability, before that at most what comes in [`USUAL`]; and as many as a p99 needs where one is judged.
fn usual_samples(plan: &CutoverPlan, step: &Step) -> u32 {
    let needed = proof(plan.slo.availability);
    let least = if step.gates.contains(&GateKind::LatencySLO) { LEAST_FOR_P99 } else { 0 };
    let usual = match (plan.kind, &step.action) {
        (_, Action::SetWeight { percent: 100 } | Action::SwitchName { .. }) => needed,
        (_, Action::SetWeight { .. }) => {
            let part = Standing::after(plan, plan.steps.len()).smaller_part();
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and saturates"
            )]
            let coming = (rate(plan) * part * USUAL.as_secs_f64()) as u32;
            coming.min(needed)
        }
        (ComponentKind::Worker, _) => JOBS,
        _ => 0,
    };
    usual.max(least)
}
