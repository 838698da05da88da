//! Requests that fail, or are answered otherwise than before.

use envctl_model::cutover::plan::ClientKind;
use envctl_model::cutover::{GateKind, Side};

use super::super::change::Fate;
use super::super::{Kind, Mistake};
use crate::observation::{InstanceState, Outcome, Time};

const FAILED: &str = "everyRequestWell";

pub(super) const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "the old side is stopped while it has traffic",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(6), |_| true);
            made.end_otherwise(&ids[..7], &Fate::broken(Side::Old, Outcome::Refused));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "an instance ends before it is out of the endpoints",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_step(4);
            made.becomes(Time(window.from.0 + 1_000_000), Side::New, "new-6", InstanceState::Ending);
            let ids = made.requests_to(Side::New, window);
            made.end_otherwise(&ids[60..70], &Fate::broken(Side::New, Outcome::Reset));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "the new side closes idle connections before the router does",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_of(ClientKind::Keepalive, made.of_step(4));
            made.end_otherwise(&ids[30..34], &Fate::broken(Side::New, Outcome::Reset));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "the new ingress accepts smaller bodies than uploads have",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(3));
            made.end_otherwise(&ids[..9], &Fate::answered(Side::New, 413));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "forwarded headers are lost: a loop of redirects",
        kind: Kind::Endpoint,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(2));
            made.end_otherwise(&ids, &Fate::answered(Side::New, 301));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "forwarded headers are lost: the list of addresses allows nobody",
        kind: Kind::Endpoint,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(2));
            made.end_otherwise(&ids[5..9], &Fate::answered(Side::New, 403));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "a side gets weight before anybody is there",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_of(ClientKind::Fresh, made.of_step(2));
            let outcome = Outcome::Answered { status: 503 };
            made.end_otherwise(&ids[..4], &Fate { outcome, routed: ("SC", 503), side: None, served: None });
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "a migration locks a table",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests(made.of_step(3), |_| true);
            made.end_otherwise(&ids[20..30], &Fate::broken(Side::Old, Outcome::TimedOut));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "both sides together take more connections than there are: some requests wait",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::New, made.of_step(3));
            made.slow_down(&ids[50..80], 1_500_000);
        },
        gate: GateKind::LatencySLO,
        invariant: "p99Holds",
    },
    Mistake {
        name: "both sides together take more connections than there are: some requests fail",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::Old, made.of_step(3));
            made.end_otherwise(&ids[..20], &Fate::answered(Side::Old, 500));
        },
        gate: GateKind::LatencySLO,
        invariant: "availabilityHolds",
    },
    Mistake {
        name: "a fault costs more requests than it may",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_fault();
            let ids = made.requests(window, |request| request.done.0 < window.from.0 + 2_000_000);
            made.end_otherwise(&ids[..20], &Fate::broken(Side::New, Outcome::Reset));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "a fault is felt for longer than it may",
        kind: Kind::Service,
        make: |made| {
            let window = made.of_fault();
            let ids = made.requests(window, |request| request.done.0 > window.from.0 + 5_500_000);
            made.end_otherwise(&ids[..1], &Fate::broken(Side::New, Outcome::Reset));
        },
        gate: GateKind::NoFailedRequest,
        invariant: FAILED,
    },
    Mistake {
        name: "old code cannot read what the new side wrote",
        kind: Kind::Service,
        make: |made| {
            let ids = made.requests_to(Side::Old, made.of_drill());
            made.end_otherwise(&ids[ids.len() - 9..], &Fate::answered(Side::Old, 500));
        },
        gate: GateKind::NoFailedRequestDuringRollback,
        invariant: FAILED,
    },
    Mistake {
        name: "requests are lost while going back",
        kind: Kind::Endpoint,
        make: |made| {
            let ids = made.requests(made.of_drill(), |_| true);
            made.end_otherwise(&ids[..3], &Fate::broken(Side::New, Outcome::Reset));
        },
        gate: GateKind::RollbackLossless,
        invariant: "nothingLostGoingBack",
    },
    Mistake {
        name: "the sides are in different time zones",
        kind: Kind::Service,
        make: |made| made.differ("body /photos/0/taken", "2026-03-01T09:00:00", "2026-03-01T00:00:00"),
        gate: GateKind::SameAnswer,
        invariant: "answersAlike",
    },
    Mistake {
        name: "the sides have different locales",
        kind: Kind::Service,
        make: |made| made.differ("body /total", "1,234.50", "1.234,50"),
        gate: GateKind::SameAnswer,
        invariant: "answersAlike",
    },
    Mistake {
        name: "the sides have different libraries for images",
        kind: Kind::Endpoint,
        make: |made| made.differ("body", "sha256:1c7a", "sha256:90fe"),
        gate: GateKind::SameAnswer,
        invariant: "answersAlike",
    },
];
