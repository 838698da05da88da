//! Traffic on the wrong side, and sides that are not as they should be.

use std::net::IpAddr;

use envctl_model::cutover::plan::ClientKind;
use envctl_model::cutover::{GateKind, Side};

use super::super::change::Fate;
use super::super::{Kind, MadeUp, Mistake};
use crate::observation::{DrillPhase, InstanceState, Observation, Outcome, Time};

/// Has requests go to the old side, which answers them well.
fn stay_on_old(made: &mut MadeUp, ids: &[String]) {
    made.end_otherwise(ids, &Fate::answered(Side::Old, 200));
}

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "cookies lead to a group without an instance",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_step(4);
            let ids =
                made.requests(window, |request| request.client == ClientKind::Sticky && request.number == 1);
            let last = made.requests(window, |_| true);
            let outcome = Outcome::Answered { status: 503 };
            made.end_otherwise(&ids, &Fate { outcome, routed: ("SC", 503), side: None, served: None });
            // Nobody of them sends more after that.
            made.keep(|seen| !matches!(seen, Observation::Request(request)
                if request.client == ClientKind::Sticky && request.number == 1 && window.contains(request.done)
                    && !ids.contains(&request.id) && Some(&request.id) > last.last()));
        },
        gate: GateKind::ObservedShare,
        invariant: "noClientStuck",
    },
    Mistake {
        name: "open connections stay with the side that they began with",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_of(ClientKind::Keepalive, made.of_step(3));
            stay_on_old(made, &ids);
        },
        gate: GateKind::ObservedShare,
        invariant: "shareOfEachKind",
    },
    Mistake {
        name: "cookies keep clients on the emptied side",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_of(ClientKind::Sticky, made.of_step(4));
            stay_on_old(made, &ids[ids.len() / 2..]);
        },
        gate: GateKind::ObservedShare,
        invariant: "emptySideGetsNothing",
    },
    Mistake {
        name: "a name is cached for longer than its TTL",
        kind: Kind::Endpoint,
        make: |made| {
            let ids = made.requests(made.of_step(2), |_| true);
            stay_on_old(made, &ids[ids.len() - 20..]);
        },
        gate: GateKind::ObservedShare,
        invariant: "emptySideGetsNothing",
    },
    Mistake {
        name: "a configuration manager writes the name's record back",
        kind: Kind::Endpoint,
        make: |made| {
            let at = Time(made.of_step(2).from.0 + 9_000_000);
            made.add(Observation::Name { at, side: Side::Old });
        },
        gate: GateKind::ObservedShare,
        invariant: "nameAsPlanned",
    },
    Mistake {
        name: "the weight is set in the running router only",
        kind: Kind::Service,
        make: |made| {
            made.each(|seen| {
                if let Observation::Weight { running: 50, configured, .. } = seen {
                    *configured = 0;
                }
            });
        },
        gate: GateKind::ObservedShare,
        invariant: "weightAsPlanned",
    },
    Mistake {
        name: "weights do not add up over instances",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(3));
            let part: Vec<String> = ids.into_iter().step_by(3).collect();
            stay_on_old(made, &part);
        },
        gate: GateKind::ObservedShare,
        invariant: "shareOfRequests",
    },
    Mistake {
        name: "a load balancer elsewhere still sends to the drained side",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(6), |_| true);
            stay_on_old(made, &ids[ids.len() - 3..]);
        },
        gate: GateKind::OldSilent,
        invariant: "nothingServed",
    },
    Mistake {
        name: "a caller has the old address in its settings",
        kind: Kind::Endpoint,
        make: |made| {
            let at = Time(made.of_step(3).from.0 + 2_000_000);
            let (address, agent) = (IpAddr::from([10, 0, 3, 7]), Some("billing/2.4".into()));
            made.add(Observation::Caller { at, address, agent, request: "GET /export".into() });
        },
        gate: GateKind::OldSilent,
        invariant: "nobodyCalls",
    },
    Mistake {
        name: "a configuration manager starts the old side again",
        kind: Kind::Service,
        make: |made| {
            let at = Time(made.of_step(6).to.0 - 2_000_000);
            made.becomes(at, Side::Old, "old-1", InstanceState::Started);
        },
        gate: GateKind::OldSilent,
        invariant: "staysStopped",
    },
    Mistake {
        name: "one replica has another environment",
        kind: Kind::Service,
        make: |made| {
            made.each(|seen| {
                if let Observation::Configured { instance, settings, .. } = seen
                    && instance == "new-7"
                {
                    settings.insert("REDIS_URL".into(), "0000".into());
                }
            });
        },
        gate: GateKind::EveryReplicaServes,
        invariant: "settingsEqual",
    },
    Mistake {
        name: "one replica's labels are not those of the Service",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_step(4);
            made.served(|served| {
                if served.instance == "new-6" && window.contains(served.at) {
                    served.instance = "new-7".into();
                }
            });
        },
        gate: GateKind::EveryReplicaServes,
        invariant: "everyReplicaTakesPart",
    },
    Mistake {
        name: "going back takes the new side away before its traffic",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_drill();
            made.each(|seen| {
                if let Observation::Instance { at, side: Side::New, state: InstanceState::Ending, .. } = seen
                    && window.contains(*at)
                {
                    *at = Time(window.from.0 + 100);
                }
            });
        },
        gate: GateKind::RollbackLossless,
        invariant: "newOutlivesTraffic",
    },
    Mistake {
        name: "going back leads to an old side that is cold",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::Old, made.of_drill());
            made.slow_down(&ids[10..60], 900_000);
        },
        gate: GateKind::RollbackLossless,
        invariant: "oldSideWarm",
    },
    Mistake {
        name: "going back leads to an old side that is not up yet",
        kind: Kind::Endpoint,
        make: |made| {
            let window = made.of_drill();
            made.becomes(Time(window.from.0 + 10), Side::Old, "old-2", InstanceState::Started);
            made.becomes(Time(window.to.0 - 10), Side::Old, "old-2", InstanceState::Ready);
        },
        gate: GateKind::RollbackLossless,
        invariant: "oldSideWarm",
    },
    Mistake {
        name: "going back takes longer than it may",
        kind: Kind::Service,
        make: |made| made.plan.rollback.max_duration = std::time::Duration::from_millis(800),
        gate: GateKind::RollbackLossless,
        invariant: "backInTime",
    },
    Mistake {
        name: "going back comes to no end",
        kind: Kind::Endpoint,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Drill { phase: DrillPhase::Back, .. })),
        gate: GateKind::RollbackLossless,
        invariant: "backInTime",
    },
];
