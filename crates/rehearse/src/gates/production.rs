//! The same gates in production, where nobody sends a load of ours: requests are counted by somebody else, and jobs and
//! runs stand in a ledger.
//!
//! What needs a load of our own, or faults, was rehearsed and is not judged again: see [`is_judged_in_production`].

use envctl_model::cutover::{CutoverPlan, GateKind};
use envctl_model::stack::ComponentKind;

use super::view::View;
use super::window::{During, Window};
use super::{Gate, Verdict, counters, gate, verdict_by};
use crate::recording::Recording;

/// Whether a gate has anything to be judged by in production, for components of this kind.
#[must_use]
pub fn is_judged_in_production(kind: ComponentKind, gate: GateKind) -> bool {
    by(kind, gate).is_some()
}

/// Judges a window of the recording of a cutover by all gates that are due in it and that can be judged there.
#[must_use]
pub fn judge_production(plan: &CutoverPlan, recording: &Recording, window: &Window) -> Vec<Verdict> {
    let view = View::new(plan, recording, window);
    let mut gates = window.gates(plan);
    if window.during == During::Drill && matches!(plan.kind, ComponentKind::Worker | ComponentKind::Schedule)
    {
        // What going back lost or doubled shows in the ledger as anything else does.
        gates.extend(match plan.kind {
            ComponentKind::Worker => [GateKind::EveryJobOnce].as_slice(),
            _ => [GateKind::EveryTickOnce, GateKind::NoOverlap].as_slice(),
        });
    }
    let judged = gates.into_iter().filter_map(|kind| {
        let (gate, taken) = by(plan.kind, kind)?;
        Some(verdict_by(gate, kind, &view, |name| taken.is_none_or(|taken| taken.contains(&name))))
    });
    judged.collect()
}

/// What judges in production, and which invariants of it; all where none are named.
fn by(kind: ComponentKind, judged: GateKind) -> Option<(&'static Gate, Option<&'static [&'static str]>)> {
    let counted = match (kind, judged) {
        (ComponentKind::Service | ComponentKind::Endpoint, judged) => match judged {
            GateKind::NoFailedRequest | GateKind::NoFailedRequestDuringRollback => &counters::FAILED,
            GateKind::LatencySLO => &counters::LATENCY,
            GateKind::ObservedShare => &counters::SHARE,
            GateKind::OldSilent => &counters::SILENT,
            GateKind::Samples => &counters::SAMPLES,
            _ => return None,
        },
        (ComponentKind::Worker, GateKind::EveryJobOnce) => {
            // Who puts jobs there is not us: what was intended is not known.
            return Some((gate(judged), Some(&["oneEffect"])));
        }
        (ComponentKind::Worker, GateKind::BacklogSLO) | (_, GateKind::OldSilent) => gate(judged),
        (ComponentKind::Schedule, GateKind::EveryTickOnce | GateKind::NoOverlap) => gate(judged),
        (ComponentKind::Schedule, GateKind::Samples) => {
            return Some((gate(judged), Some(&["enoughTicks"])));
        }
        _ => return None,
    };
    Some((counted, None))
}
