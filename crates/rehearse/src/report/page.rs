//! What the template is filled with: everything in words already.

use std::time::Duration;

use envctl_model::cutover::Side;
use serde::Serialize;

use super::Run;
use super::figures::{Sample, samples, summary};
use super::ledger::{self, Table};
use super::timeline::{Timeline, spans};
use super::words::{clock, latency, number, seconds, word};
use crate::Observation;
use crate::evidence::{Conclusion, Digest, DrillRecord, FaultRecord, GateOutcome};
use crate::gates::{Failure, Outcome, Verdict};
use crate::observation::StepPhase;

/// The page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    component: String,
    kind: String,
    verdict: Mark,
    /// Why the verdict is what it is.
    because: String,
    draft: bool,
    began: String,
    ended: String,
    figures: Vec<Named>,
    timeline: Timeline,
    has_requests: bool,
    steps: Vec<Step>,
    ledgers: Vec<Table>,
    gates: Vec<Gate>,
    faults: Vec<Row>,
    drills: Vec<Row>,
    not_exercised: Vec<String>,
    identities: Vec<Named>,
}

/// How something came out: a word, and the sign and the colour that go with it.
#[derive(Debug, Clone, Copy, Serialize)]
struct Mark {
    class: &'static str,
    sign: &'static str,
    word: &'static str,
}

const GOOD: Mark = Mark { class: "good", sign: "✓", word: "passed" };
const BAD: Mark = Mark { class: "bad", sign: "✕", word: "failed" };
const UNSURE: Mark = Mark { class: "unsure", sign: "?", word: "inconclusive" };

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Step {
    number: usize,
    name: String,
    began: String,
    took: String,
    sides: Vec<[String; 4]>,
    gates: Vec<(Mark, String)>,
}

#[derive(Debug, Serialize)]
struct Gate {
    step: String,
    gate: String,
    mark: Mark,
    inputs: Vec<Named>,
    failures: Vec<Objection>,
}

#[derive(Debug, Serialize)]
struct Objection {
    invariant: String,
    what: String,
    ids: String,
    when: String,
    cause: String,
    change: String,
}

#[derive(Debug, Serialize)]
struct Row {
    mark: Mark,
    cells: Vec<String>,
}

impl Page {
    pub(super) fn of(run: &Run<'_>) -> Self {
        let facts = run.facts;
        // What is learnt late is drawn where it happened.
        let mut seen: Vec<_> = run.recording.observations.iter().collect();
        seen.sort_by_key(|observation| observation.at());
        let samples = samples(&seen);
        let verdict = match facts.verdict {
            Conclusion::Successful => Mark { word: "successful", ..GOOD },
            Conclusion::Failed => BAD,
            Conclusion::Inconclusive => UNSURE,
        };
        Self {
            component: facts.component.clone(),
            kind: word(facts.kind),
            verdict,
            because: because(run),
            draft: facts.is_draft(),
            began: moment(facts.began),
            ended: moment(facts.ended),
            figures: figures(run, &samples),
            timeline: Timeline::of(run.plan, &seen, &samples),
            has_requests: !samples.is_empty(),
            steps: steps(run, &seen, &samples),
            ledgers: ledger::of(run.plan, &seen),
            gates: judged(run).map(|(step, verdict)| gate(run, step, verdict)).collect(),
            faults: facts.faults.iter().map(fault).collect(),
            drills: facts.drills.iter().map(|drill| self::drill(run, drill)).collect(),
            not_exercised: facts.not_exercised.clone(),
            identities: identities(run),
        }
    }
}

fn named(name: impl Into<String>, value: impl Into<String>) -> Named {
    Named { name: name.into(), value: value.into() }
}

fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn where_judged(run: &Run<'_>, index: usize) -> String {
    match run.plan.steps.get(index) {
        Some(step) => format!("step {} ({})", index + 1, step.name()),
        None => format!("step {}", index + 1),
    }
}

/// Every verdict, with the step that held when it was asked for.
fn judged<'a>(run: &Run<'a>) -> impl Iterator<Item = (usize, &'a Verdict)> + use<'a> {
    run.judged.iter().flat_map(|judged| judged.verdicts.iter().map(|verdict| (judged.step, verdict)))
}

/// The first thing that speaks against, in one sentence.
fn because(run: &Run<'_>) -> String {
    let decides = match run.facts.verdict {
        Conclusion::Successful => return "Every gate passed.".to_owned(),
        Conclusion::Failed => Outcome::Failed,
        Conclusion::Inconclusive => Outcome::Inconclusive,
    };
    let Some((step, verdict)) = judged(run).find(|(_, verdict)| verdict.outcome == decides) else {
        return "It ended before its gates could be judged.".to_owned();
    };
    let what = verdict.failures.first().map(|failure| failure.what.clone()).unwrap_or_default();
    format!("At {}, gate {}: {what}", where_judged(run, step), word(verdict.gate))
}

fn figures(run: &Run<'_>, samples: &[Sample]) -> Vec<Named> {
    let facts = run.facts;
    let took = Duration::try_from(facts.ended.duration_since(facts.began)).unwrap_or_default();
    let unit = match facts.kind {
        envctl_model::stack::ComponentKind::Worker => "Jobs",
        envctl_model::stack::ComponentKind::Schedule => "Runs",
        _ => "Requests",
    };
    let per_side = |side: &str, count| named(format!("{unit}, {side} side"), number(count));
    let mut figures = vec![
        named("Took", seconds(took)),
        per_side("old", facts.load.samples.old),
        per_side("new", facts.load.samples.new),
    ];
    if !samples.is_empty() {
        let all = summary(samples.iter());
        figures.push(named("Failed requests", number(all.failed)));
        figures.push(named("p99", latency(all.p99)));
    }
    let slowest = facts.drills.iter().map(|drill| drill.took_ms).max();
    let slowest = slowest.map(|ms| format!(", slowest {}", seconds(Duration::from_millis(ms))));
    figures
        .push(named("Rollbacks drilled", format!("{}{}", facts.drills.len(), slowest.unwrap_or_default())));
    figures.push(named("Faults injected", number(facts.faults.len() as u64)));
    figures
}

fn steps(run: &Run<'_>, seen: &[&Observation], samples: &[Sample]) -> Vec<Step> {
    let windows = spans(seen, |observation| match observation {
        Observation::Step { step, phase: StepPhase::Begun, .. } => Some((*step, true)),
        Observation::Step { step, phase: StepPhase::Judged | StepPhase::Undoing, .. } => Some((*step, false)),
        _ => None,
    });
    let step = |(index, step): (usize, &envctl_model::cutover::Step)| {
        let own: Vec<_> = windows.iter().filter(|window| window.index == index).collect();
        let inside =
            |sample: &&Sample| own.iter().any(|window| (window.from..window.to).contains(&sample.at));
        let side = |side: Side| {
            let all = summary(samples.iter().filter(inside).filter(|sample| sample.side == Some(side)));
            let time = |time| if all.count > all.failed { latency(time) } else { "–".to_owned() };
            [number(all.count), number(all.failed), time(all.p50), time(all.p99)]
        };
        let record = run.facts.steps.get(index);
        let gates = record.iter().flat_map(|record| &record.gates);
        Step {
            number: index + 1,
            name: step.name(),
            began: own.first().map_or_else(|| "not begun".to_owned(), |window| clock(window.from)),
            took: record
                .map_or_else(|| "–".to_owned(), |record| seconds(Duration::from_millis(record.took_ms))),
            sides: if samples.is_empty() { Vec::new() } else { [Side::Old, Side::New].map(side).into() },
            gates: gates.map(|record| (recorded(record.outcome), word(record.gate))).collect(),
        }
    };
    run.plan.steps.iter().enumerate().map(step).collect()
}

fn recorded(outcome: GateOutcome) -> Mark {
    match outcome {
        GateOutcome::Passed => GOOD,
        GateOutcome::Failed => BAD,
        GateOutcome::Inconclusive => UNSURE,
    }
}

fn gate(run: &Run<'_>, step: usize, verdict: &Verdict) -> Gate {
    Gate {
        step: where_judged(run, step),
        gate: word(verdict.gate),
        mark: match verdict.outcome {
            Outcome::Passed => GOOD,
            Outcome::Failed => BAD,
            Outcome::Inconclusive => UNSURE,
        },
        inputs: verdict.inputs.iter().map(|(name, value)| named(name, value)).collect(),
        failures: verdict.failures.iter().map(objection).collect(),
    }
}

fn objection(failure: &Failure) -> Objection {
    let more = failure.count.saturating_sub(failure.ids.len() as u64);
    let more = if more == 0 || failure.ids.is_empty() {
        String::new()
    } else {
        format!(" and {} more", number(more))
    };
    Objection {
        invariant: failure.invariant.clone(),
        what: failure.what.clone(),
        ids: format!("{}{more}", failure.ids.join(", ")),
        when: failure.at.map(|(from, to)| format!("{} to {}", clock(from), clock(to))).unwrap_or_default(),
        cause: failure.cause.clone(),
        change: failure.change.clone(),
    }
}

fn fault(fault: &FaultRecord) -> Row {
    let time = |ms| seconds(Duration::from_millis(ms));
    let in_time = fault.recovery_ms.is_some_and(|ms| ms <= fault.permitted_recovery_ms);
    let mark = if in_time && fault.failures <= fault.permitted_failures { GOOD } else { BAD };
    let recovery = fault.recovery_ms.map_or_else(|| "never".to_owned(), time);
    let cells = vec![
        word(fault.fault),
        fault.at.clone(),
        format!("{} of {}", number(fault.failures), number(fault.permitted_failures)),
        format!("{recovery} of {}", time(fault.permitted_recovery_ms)),
    ];
    Row { mark, cells }
}

fn drill(run: &Run<'_>, drill: &DrillRecord) -> Row {
    let took = Duration::from_millis(drill.took_ms);
    let well = drill.lost == 0 && drill.doubled == 0 && took <= run.plan.rollback.max_duration;
    let from = if drill.middle { format!("the middle of {}", drill.from) } else { drill.from.clone() };
    let cells = vec![
        from,
        format!("{} of {}", seconds(took), seconds(run.plan.rollback.max_duration)),
        number(drill.lost),
        number(drill.doubled),
    ];
    Row { mark: if well { GOOD } else { BAD }, cells }
}

fn identities(run: &Run<'_>) -> Vec<Named> {
    let facts = run.facts;
    let digest = |name: &str, digest: &Digest| named(name, digest.to_string());
    let dirty = if facts.git.dirty { ", with files that differ from it" } else { "" };
    let mut all = vec![
        digest(&format!("Plan {}", facts.plan.name), &facts.plan.digest),
        named("Commit", format!("{}{dirty}", facts.git.commit)),
        named("Old side, revision", facts.old.revision.clone()),
        digest("Old side, host packages", &facts.old.packages),
    ];
    all.extend(
        facts.new.images.iter().map(|(name, image)| digest(&format!("New side, image {name}"), image)),
    );
    all.push(named("New side, target", word(facts.new.target)));
    all.push(digest("Chart", &facts.new.chart));
    all.push(digest("Values, keyed", &facts.new.values));
    all.push(named("Rendered objects", number(facts.new.manifests.len() as u64)));
    if let Some(terraform) = &facts.terraform {
        all.push(digest("Terraform root", &terraform.configuration));
        all.extend(terraform.plan.as_ref().map(|plan| digest("Terraform plan", plan)));
    }
    all.extend(facts.router.map(|router| named("Router", router.as_str())));
    all.extend(facts.tools.iter().map(|(name, tool)| digest(&format!("Program {name}"), tool)));
    all.push(named("Seed", facts.seed.to_string()));
    all
}
