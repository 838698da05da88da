//! What judges where the plan does not say.

use super::plan::{Action, GateKind};
use crate::stack::ComponentKind::{self, Endpoint, Schedule, Service, Worker};

/// What judges a step that names no gates. `latencySLO` is among them only where the plan has an objective.
#[must_use]
pub fn usual_gates(kind: ComponentKind, action: &Action) -> &'static [GateKind] {
    use GateKind::{
        BacklogSLO, CrossConsume, EveryJobOnce, EveryReplicaServes, EveryTickOnce, LatencySLO,
        NoFailedRequest, NoOverlap, NothingStranded, ObservedShare, OldSilent, SameAnswer, Samples,
    };
    match (kind, action) {
        (_, Action::SameAnswer { .. }) => &[SameAnswer],
        (Service | Endpoint, Action::ScaleUpNew) => &[NoFailedRequest],
        (Service, Action::SetWeight { .. }) => {
            &[NoFailedRequest, LatencySLO, ObservedShare, EveryReplicaServes, Samples]
        }
        (Endpoint, Action::SwitchName { .. }) => &[NoFailedRequest, LatencySLO, EveryReplicaServes, Samples],
        (Service | Endpoint, _) => &[NoFailedRequest, OldSilent],
        (Worker, Action::ScaleUpNew) => &[EveryJobOnce, BacklogSLO, CrossConsume, EveryReplicaServes],
        (Worker, Action::Handover { old: 1.. }) => &[EveryJobOnce, BacklogSLO, CrossConsume],
        (Worker, _) => &[EveryJobOnce, BacklogSLO, NothingStranded, OldSilent],
        (Schedule, Action::StopOld { .. }) => &[EveryTickOnce, NoOverlap, OldSilent],
        (Schedule, _) => &[EveryTickOnce, NoOverlap],
    }
}

/// What judges every attempt to go back.
#[must_use]
pub fn drill_gates(kind: ComponentKind) -> &'static [GateKind] {
    match kind {
        Service | Endpoint => &[GateKind::RollbackLossless, GateKind::NoFailedRequestDuringRollback],
        Worker | Schedule => &[GateKind::RollbackLossless],
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{gate_of, step};
    use super::*;

    #[test]
    fn usual_gates_make_sense_for_their_kind() {
        let second = std::time::Duration::from_secs(1);
        let actions = [
            Action::ScaleUpNew,
            Action::SameAnswer { sample: 1 },
            Action::SetWeight { percent: 5 },
            Action::SwitchName { ttl: second },
            Action::Handover { old: 1 },
            Action::Handover { old: 0 },
            Action::DisarmOld,
            Action::ArmNew,
            Action::Drain { timeout: second },
            Action::StopOld { idle_for: second },
        ];
        for action in &actions {
            let entry =
                step(action.word()).unwrap_or_else(|| panic!("{} is not in the table", action.word()));
            for kind in entry.kinds {
                for gate in usual_gates(*kind, action).iter().chain(drill_gates(*kind)) {
                    let entry = gate_of(gate.as_str()).unwrap();
                    assert!(entry.kinds.contains(kind), "{action}: {} for {}", entry.word, kind.as_str());
                }
            }
        }
    }
}
