//! The plans of what is made up.

use std::time::Duration;

use envctl_model::cutover::plan::{
    Adapter, Bake, ClientKind, Drill, Fault, JobClass, NewSide, OldSide, Rollback, Router, Slo, Timetable,
    TimetableEntry, Tool, Traffic, Work,
};
use envctl_model::cutover::{Action, CutoverPlan, FaultKind, GateKind, Step};
use envctl_model::stack::ComponentKind;

use GateKind::{
    BacklogSLO, CrossConsume, EveryJobOnce, EveryReplicaServes, EveryTickOnce, LatencySLO, NoFailedRequest,
    NoOverlap, NothingStranded, ObservedShare, OldSilent, SameAnswer,
};

/// Requests each second.
pub(super) const RATE: u32 = 60;

const SECOND: Duration = Duration::from_secs(1);

fn step(action: Action, min_samples_per_side: u32, gates: &[GateKind]) -> Step {
    let bake = Bake { at_least: SECOND, min_samples_per_side, min_ticks: 0 };
    Step { action, bake, gates: gates.to_vec(), line: 1 }
}

fn tool(command: &str) -> Tool {
    Tool { service: "tools".into(), command: vec![command.into()] }
}

fn plan(component: &str, kind: ComponentKind, steps: Vec<Step>) -> CutoverPlan {
    CutoverPlan {
        component: component.into(),
        kind,
        old: OldSide {
            compose: "old.yaml".into(),
            service: component.into(),
            port: Some(8080),
            instances: 2,
        },
        new: NewSide { target: "rehearsal".into(), values: Vec::new() },
        shared: vec!["mysql".into()],
        router: None,
        divergence: Vec::new(),
        traffic: None,
        work: None,
        timetable: None,
        slo: Slo { availability: 0.999, p99: Duration::from_millis(400) },
        steps,
        faults: Vec::new(),
        rollback: Rollback { drill: Drill::LastStep, max_duration: 10 * SECOND, after_writes: true },
        production: None,
    }
}

fn answering(component: &str, kind: ComponentKind, clients: &[ClientKind], steps: Vec<Step>) -> CutoverPlan {
    CutoverPlan {
        router: Some(Router {
            adapter: Adapter::Haproxy,
            max_body: Some(10_485_760),
            idle_timeout: 60 * SECOND,
        }),
        traffic: Some(Traffic { rate: RATE.into(), clients: clients.to_vec(), mix: "requests.yaml".into() }),
        ..plan(component, kind, steps)
    }
}

pub(super) fn service() -> CutoverPlan {
    let clients = [ClientKind::Fresh, ClientKind::Keepalive, ClientKind::Sticky, ClientKind::TtlIgnoring];
    let steps = vec![
        step(Action::ScaleUpNew, 0, &[NoFailedRequest]),
        step(Action::SameAnswer { sample: 20 }, 0, &[SameAnswer, NoFailedRequest]),
        step(Action::SetWeight { percent: 20 }, 100, &[NoFailedRequest, LatencySLO, ObservedShare]),
        step(
            Action::SetWeight { percent: 50 },
            200,
            &[NoFailedRequest, LatencySLO, ObservedShare, EveryReplicaServes],
        ),
        step(
            Action::SetWeight { percent: 100 },
            400,
            &[NoFailedRequest, LatencySLO, ObservedShare, EveryReplicaServes, OldSilent],
        ),
        step(Action::Drain { timeout: 5 * SECOND }, 0, &[NoFailedRequest, OldSilent]),
        step(Action::StopOld { idle_for: SECOND }, 0, &[NoFailedRequest, OldSilent]),
    ];
    let kill =
        Fault { at: 3, inject: FaultKind::KillNewPod, with: None, failed_requests: 5, recovery: 3 * SECOND };
    CutoverPlan { faults: vec![kill], ..answering("api", ComponentKind::Service, &clients, steps) }
}

pub(super) fn endpoint() -> CutoverPlan {
    let steps = vec![
        step(Action::ScaleUpNew, 0, &[NoFailedRequest]),
        step(Action::SameAnswer { sample: 20 }, 0, &[SameAnswer]),
        step(
            Action::SwitchName { ttl: 2 * SECOND },
            200,
            &[NoFailedRequest, LatencySLO, ObservedShare, OldSilent],
        ),
        step(Action::StopOld { idle_for: SECOND }, 0, &[NoFailedRequest, OldSilent]),
    ];
    answering("admin", ComponentKind::Endpoint, &[ClientKind::Fresh, ClientKind::Keepalive], steps)
}

pub(super) fn worker() -> CutoverPlan {
    let steps = vec![
        step(Action::ScaleUpNew, 5, &[EveryJobOnce, BacklogSLO]),
        step(Action::Handover { old: 1 }, 10, &[EveryJobOnce, BacklogSLO, CrossConsume, NothingStranded]),
        step(
            Action::Handover { old: 0 },
            20,
            &[EveryJobOnce, BacklogSLO, NothingStranded, OldSilent, EveryReplicaServes],
        ),
        step(Action::StopOld { idle_for: SECOND }, 0, &[EveryJobOnce, NothingStranded, OldSilent]),
    ];
    let class =
        |class: &str, weight, longest_seconds| JobClass { class: class.into(), weight, longest_seconds };
    CutoverPlan {
        work: Some(Work {
            rate: 5.0,
            jobs: vec![class("thumbnail", 3, 2.0), class("mail", 2, 1.0)],
            enqueue: tool("enqueue"),
            ledger: tool("jobs"),
            backlog: 20,
        }),
        faults: vec![Fault {
            at: 1,
            inject: FaultKind::QueueRedelivery,
            failed_requests: 3,
            with: None,
            recovery: 3 * SECOND,
        }],
        ..plan("worker", ComponentKind::Worker, steps)
    }
}

pub(super) fn schedule() -> CutoverPlan {
    let steps = vec![
        step(Action::ScaleUpNew, 0, &[EveryTickOnce, NoOverlap]),
        step(Action::DisarmOld, 0, &[EveryTickOnce]),
        step(Action::ArmNew, 0, &[EveryTickOnce, NoOverlap]),
        step(Action::StopOld { idle_for: SECOND }, 0, &[EveryTickOnce, NoOverlap, OldSilent]),
    ];
    let entry = |name: &str, schedule: &str| TimetableEntry { name: name.into(), schedule: schedule.into() };
    CutoverPlan {
        timetable: Some(Timetable {
            entries: vec![entry("sweep", "*/5 * * * *"), entry("digest", "0 3 * * *")],
            time_zone: "Asia/Tokyo".into(),
            ledger: tool("runs"),
            tolerance: 10 * SECOND,
            disarm: tool("disarm"),
            arm: tool("arm"),
        }),
        ..plan("batch", ComponentKind::Schedule, steps)
    }
}
