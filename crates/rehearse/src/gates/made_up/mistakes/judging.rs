//! Rehearsals that cannot be trusted: something is hidden, missing, or too little.

use envctl_model::cutover::{GateKind, Side};
use jiff::SignedDuration;

use super::super::{Kind, Mistake};
use crate::observation::{Observation, Outcome, Routed, Time};

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "the router tries again what failed",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(3), |_| true);
            let again = made.recording.observations.iter().filter(
                |seen| matches!(seen, Observation::Served(served) if ids[30..33].contains(&served.id)),
            );
            let again: Vec<Observation> = again.cloned().collect();
            made.recording.observations.extend(again);
        },
        gate: GateKind::NoFailedRequest,
        invariant: "servedOnce",
    },
    Mistake {
        name: "a mirror repeats requests while going back",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_drill(), |_| true);
            let again = made.recording.observations.iter().filter(
                |seen| matches!(seen, Observation::Served(served) if ids[200..203].contains(&served.id)),
            );
            let again: Vec<Observation> = again.cloned().collect();
            made.recording.observations.extend(again);
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingDoubledGoingBack",
    },
    Mistake {
        name: "somebody else uses the component",
        kind: Kind::Service,
        make: |made| {
            let (at, side) = (Time(made.of_step(3).from.0 + 5_000_000), Some(Side::Old));
            let (id, termination) = ("7f3a".into(), "--".into());
            made.add(Observation::Routed(Routed { at, id, side, status: 200, termination }));
        },
        gate: GateKind::NoFailedRequest,
        invariant: "nobodyElseSends",
    },
    Mistake {
        name: "instances end in the middle of answers",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(4), |_| true);
            made.routed(|routed| {
                if ids[200..204].contains(&routed.id) {
                    routed.termination = "SD".into();
                }
            });
        },
        gate: GateKind::NoFailedRequest,
        invariant: "sessionsEndWell",
    },
    Mistake {
        name: "clients reach the component beside the router",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(3), |_| true);
            made.keep(
                |seen| !matches!(seen, Observation::Routed(routed) if ids[100..110].contains(&routed.id)),
            );
        },
        gate: GateKind::NoFailedRequest,
        invariant: "clientEqualsRouter",
    },
    Mistake {
        name: "a cache answers in the application's place",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(3), |_| true);
            made.keep(
                |seen| !matches!(seen, Observation::Served(served) if ids[100..110].contains(&served.id)),
            );
        },
        gate: GateKind::NoFailedRequest,
        invariant: "routerEqualsApplication",
    },
    Mistake {
        name: "the application's log is not read",
        kind: Kind::Service,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Served(_))),
        gate: GateKind::NoFailedRequest,
        invariant: "routerEqualsApplication",
    },
    Mistake {
        name: "an error page has the status that is right",
        kind: Kind::Service,
        make: |made| {
            made.each(|seen| {
                if let Observation::Request(request) = seen
                    && request.control
                {
                    request.outcome = Outcome::Answered { status: 200 };
                }
            });
        },
        gate: GateKind::NoFailedRequest,
        invariant: "controlFails",
    },
    Mistake {
        name: "failures are not counted",
        kind: Kind::Service,
        make: |made| {
            made.each(|seen| {
                if let Observation::Control { counted, .. } = seen {
                    *counted = counted.saturating_sub(1);
                }
            });
        },
        gate: GateKind::Samples,
        invariant: "controlCounted",
    },
    Mistake {
        name: "no known bad request is sent",
        kind: Kind::Endpoint,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Control { .. })),
        gate: GateKind::Samples,
        invariant: "controlCounted",
    },
    Mistake {
        name: "the load sends nothing",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_step(3);
            made.keep(|seen| {
                let of_load =
                    matches!(seen, Observation::Request(_) | Observation::Routed(_) | Observation::Served(_));
                !(of_load && window.contains(seen.at()))
            });
        },
        gate: GateKind::Samples,
        invariant: "loadSent",
    },
    Mistake {
        name: "the router's log is not read",
        kind: Kind::Service,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Routed(_))),
        gate: GateKind::Samples,
        invariant: "nothingMissing",
    },
    Mistake {
        name: "the router's weights are not read back",
        kind: Kind::Service,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Weight { .. })),
        gate: GateKind::ObservedShare,
        invariant: "weightAsPlanned",
    },
    Mistake {
        name: "the machine that makes the load is busy",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(3), |_| true);
            made.each(|seen| {
                if let Observation::Request(request) = seen
                    && ids[..30].contains(&request.id)
                {
                    request.sent.0 += 30_000;
                    request.done.0 += 30_000;
                }
            });
        },
        gate: GateKind::Samples,
        invariant: "generatorOnTime",
    },
    Mistake {
        name: "somebody sets the clock",
        kind: Kind::Service,
        make: |made| {
            let from = made.of_step(3).from.0 + 5_000_000;
            made.each(|seen| {
                if let Observation::Clock { at, wall } = seen
                    && at.0 >= from
                {
                    *wall += SignedDuration::from_secs(90);
                }
            });
        },
        gate: GateKind::Samples,
        invariant: "clockSteady",
    },
    Mistake {
        name: "a step is watched for too short a time",
        kind: Kind::Service,
        make: |made| made.plan.steps[3].bake.min_samples_per_side = 3000,
        gate: GateKind::Samples,
        invariant: "enoughPerSide",
    },
    Mistake {
        name: "a p99 is told from fewer than a hundred",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(2));
            made.keep(
                |seen| !matches!(seen, Observation::Request(request) if ids[20..].contains(&request.id)),
            );
        },
        gate: GateKind::LatencySLO,
        invariant: "p99Known",
    },
    Mistake {
        name: "the comparison of answers ends early",
        kind: Kind::Endpoint,
        make: |made| {
            let mut left = 3;
            made.keep(|seen| {
                let compared = matches!(seen, Observation::Compared { .. });
                left -= i32::from(compared);
                !compared || left > 0
            });
        },
        gate: GateKind::SameAnswer,
        invariant: "enoughCompared",
    },
    Mistake {
        name: "nobody reads how replicas are configured",
        kind: Kind::Service,
        make: |made| made.keep(|seen| !matches!(seen, Observation::Configured { .. })),
        gate: GateKind::EveryReplicaServes,
        invariant: "settingsKnown",
    },
    Mistake {
        name: "the old side's silence is asked for before it is emptied",
        kind: Kind::Endpoint,
        make: |made| made.plan.steps[0].gates.push(GateKind::OldSilent),
        gate: GateKind::OldSilent,
        invariant: "sideIsEmptied",
    },
];
