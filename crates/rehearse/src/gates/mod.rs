//! Judges what was observed; pure.
//!
//! A gate is a list of invariants. Each looks at the observations of a window and says what contradicts it, or what
//! is lacking to tell. A gate passes only when none of its invariants says anything.

mod account;
mod answers;
mod causes;
pub(crate) mod counters;
mod crossing;
mod jobs;
mod latency;
pub mod made_up;
mod permits;
mod production;
mod queue;
mod replicas;
mod requests;
mod rollback;
mod samples;
mod share;
mod silence;
#[cfg(test)]
mod tests;
mod ticks;
mod view;
mod window;
mod words;

use envctl_model::cutover::{CutoverPlan, GateKind};
use serde::{Deserialize, Serialize};

use crate::observation::Time;
use crate::recording::Recording;
use account::Finding;
pub use production::{is_judged_in_production, judge_production};
use view::View;
pub use window::{During, Window};

/// Ids of requests that the rehearsal sends beside the load, such as those that compare both sides, begin so. They
/// are not reconciled: no client of the load waits for them.
pub const BESIDE_THE_LOAD: &str = "beside-";

/// How a gate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Every invariant holds.
    Passed,
    /// What was seen contradicts an invariant.
    Failed,
    /// Nothing contradicts, but something is lacking to tell. This never passes.
    Inconclusive,
}

/// What an invariant says against a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The invariant: a short name that stays the same, such as `clientEqualsRouter`.
    pub invariant: String,
    /// What was seen, in one plain sentence with figures.
    pub what: String,
    /// Ids of the requests, jobs, runs, clients or settings concerned: the first ten at most.
    pub ids: Vec<String>,
    /// How many there are of these in all.
    pub count: u64,
    /// From when to when this was seen.
    pub at: Option<(Time, Time)>,
    /// The likely cause, in plain words.
    pub cause: String,
    /// The setting to change, with a value where one can be computed.
    pub change: String,
}

/// What a gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The gate.
    pub gate: GateKind,
    /// How it came out.
    pub outcome: Outcome,
    /// What contradicts, then what is lacking.
    pub failures: Vec<Failure>,
    /// The figures that it was judged by: name and value, for report and screen.
    pub inputs: Vec<(String, String)>,
}

/// What has to hold, and how to see whether it does.
struct Invariant {
    name: &'static str,
    check: fn(&View<'_>) -> Vec<Finding>,
}

/// The invariants of a gate, and the figures that it shows.
struct Gate {
    invariants: &'static [Invariant],
    inputs: fn(&View<'_>) -> Vec<(String, String)>,
}

fn gate(kind: GateKind) -> &'static Gate {
    match kind {
        GateKind::NoFailedRequest => &requests::GATE,
        GateKind::NoFailedRequestDuringRollback => &requests::DURING_ROLLBACK,
        GateKind::LatencySLO => &latency::GATE,
        GateKind::ObservedShare => &share::GATE,
        GateKind::SameAnswer => &answers::GATE,
        GateKind::EveryJobOnce => &jobs::GATE,
        GateKind::BacklogSLO => &queue::BACKLOG,
        GateKind::NothingStranded => &queue::STRANDED,
        GateKind::CrossConsume => &crossing::GATE,
        GateKind::EveryTickOnce => &ticks::GATE,
        GateKind::NoOverlap => &ticks::OVERLAP,
        GateKind::OldSilent => &silence::GATE,
        GateKind::EveryReplicaServes => &replicas::GATE,
        GateKind::RollbackLossless => &rollback::GATE,
        GateKind::Samples => &samples::GATE,
    }
}

/// Judges a window by all gates that are due in it: see [`Window::gates`].
#[must_use]
pub fn judge_window(plan: &CutoverPlan, recording: &Recording, window: &Window) -> Vec<Verdict> {
    let view = View::new(plan, recording, window);
    window.gates(plan).into_iter().map(|gate| verdict(gate, &view, |_| true)).collect()
}

/// Judges a window by all invariants of a gate.
#[must_use]
pub fn judge(kind: GateKind, plan: &CutoverPlan, recording: &Recording, window: &Window) -> Verdict {
    verdict(kind, &View::new(plan, recording, window), |_| true)
}

/// Judges a window by one invariant of a gate alone: shows that it is what catches a mistake. A name that the gate
/// does not have contradicts nothing.
#[must_use]
pub fn judge_by(
    invariant: &str,
    kind: GateKind,
    plan: &CutoverPlan,
    recording: &Recording,
    window: &Window,
) -> Verdict {
    verdict(kind, &View::new(plan, recording, window), |name| name == invariant)
}

/// Judges a window by all invariants of a gate but one: shows what would pass without it.
#[must_use]
pub fn judge_without(
    invariant: &str,
    kind: GateKind,
    plan: &CutoverPlan,
    recording: &Recording,
    window: &Window,
) -> Verdict {
    verdict(kind, &View::new(plan, recording, window), |name| name != invariant)
}

/// The names of a gate's invariants.
#[must_use]
pub fn invariants(kind: GateKind) -> Vec<&'static str> {
    gate(kind).invariants.iter().map(|invariant| invariant.name).collect()
}

fn verdict(kind: GateKind, view: &View<'_>, taken: impl Fn(&str) -> bool) -> Verdict {
    verdict_by(gate(kind), kind, view, taken)
}

fn verdict_by(gate: &Gate, kind: GateKind, view: &View<'_>, taken: impl Fn(&str) -> bool) -> Verdict {
    let (mut wrong, mut lacking) = (Vec::new(), Vec::new());
    for invariant in gate.invariants.iter().filter(|invariant| taken(invariant.name)) {
        for finding in (invariant.check)(view) {
            match finding {
                Finding::Wrong(account) => wrong.push(account.of(invariant.name)),
                Finding::Lacking(account) => lacking.push(account.of(invariant.name)),
            }
        }
    }
    let outcome = match (wrong.is_empty(), lacking.is_empty()) {
        (false, _) => Outcome::Failed,
        (true, false) => Outcome::Inconclusive,
        (true, true) => Outcome::Passed,
    };
    wrong.append(&mut lacking);
    Verdict { gate: kind, outcome, failures: wrong, inputs: (gate.inputs)(view) }
}
