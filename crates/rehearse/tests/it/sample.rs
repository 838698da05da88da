//! Rehearsals of the four kinds, made up, for the report.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_model::cutover::plan::{
    Adapter, Bake, ClientKind, Drill, Fault, JobClass, NewSide, OldSide, Rollback, Router, Slo, Timetable,
    TimetableEntry, Tool, Traffic, Work,
};
use envctl_model::cutover::{Action, CutoverPlan, FaultKind, GateKind, Side, Step};
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::Judged;
use envctl_rehearse::evidence::*;
use envctl_rehearse::gates::{During, Failure, Outcome, Verdict, Window};
use envctl_rehearse::observation::{
    DrillPhase, FaultPhase, InstanceState, JobEvent, Outcome as Answer, Request, Routed, RunEvent, Served,
    StepPhase,
};
use envctl_rehearse::recording::Header;
use envctl_rehearse::report::Run;
use envctl_rehearse::{Observation, Recording, Time};

#[path = "../../src/evidence/sample.rs"]
mod facts;

pub(crate) use facts::rehearsal;

/// What a report is drawn from, owned.
pub(crate) struct Sample {
    pub(crate) plan: CutoverPlan,
    pub(crate) recording: Recording,
    pub(crate) judged: Vec<Judged>,
    pub(crate) facts: Rehearsal,
}

impl Sample {
    pub(crate) fn html(&self) -> String {
        let Self { plan, recording, judged, facts } = self;
        Run { plan, recording, judged, facts }.html().unwrap()
    }

    fn new(kind: ComponentKind, component: &str, steps: Vec<Action>) -> Self {
        let tool = || Tool { service: "old".to_owned(), command: vec!["true".to_owned()] };
        let step = |action| Step { action, bake: Bake::default(), gates: Vec::new(), line: 1 };
        let traffic = matches!(kind, ComponentKind::Service | ComponentKind::Endpoint);
        let plan = CutoverPlan {
            component: component.to_owned(),
            kind,
            old: OldSide {
                compose: "old.yaml".into(),
                service: component.to_owned(),
                port: traffic.then_some(3000),
                instances: 2,
            },
            new: NewSide { target: "rehearsal".to_owned(), values: Vec::new() },
            shared: vec!["mysql".to_owned()],
            router: traffic.then_some(Router {
                adapter: Adapter::Haproxy,
                max_body: None,
                idle_timeout: Duration::from_secs(60),
            }),
            divergence: Vec::new(),
            traffic: traffic.then(|| Traffic {
                rate: 60.0,
                clients: vec![ClientKind::Fresh, ClientKind::Keepalive],
                mix: "requests.yaml".into(),
            }),
            work: (kind == ComponentKind::Worker).then(|| Work {
                rate: 20.0,
                jobs: vec![JobClass { class: "resize".to_owned(), weight: 1, longest_seconds: 9.1 }],
                enqueue: tool(),
                ledger: tool(),
                backlog: 60,
            }),
            timetable: (kind == ComponentKind::Schedule).then(|| Timetable {
                entries: vec![
                    TimetableEntry { name: "daily-digest".to_owned(), schedule: "*/1 * * * *".to_owned() },
                    TimetableEntry {
                        name: "expire-old-albums".to_owned(),
                        schedule: "*/2 * * * *".to_owned(),
                    },
                ],
                time_zone: "Asia/Tokyo".to_owned(),
                ledger: tool(),
                tolerance: Duration::from_secs(10),
                disarm: tool(),
                arm: tool(),
            }),
            slo: Slo { availability: 0.999, p99: Duration::from_millis(400) },
            steps: steps.into_iter().map(step).collect(),
            faults: Vec::new(),
            rollback: Rollback {
                drill: Drill::EveryStep,
                max_duration: Duration::from_secs(10),
                after_writes: true,
            },
            production: None,
        };
        let mut facts = rehearsal();
        (facts.component, facts.kind) = (component.to_owned(), kind);
        if !traffic {
            facts.router = None;
        }
        facts.steps.clear();
        facts.faults.clear();
        facts.drills.clear();
        let recording = Recording::new(Header { began: facts.began, seed: 7 });
        Self { plan, recording, judged: Vec::new(), facts }
    }

    fn see(&mut self, observation: Observation) {
        self.recording.observations.push(observation);
    }

    fn step(&mut self, index: usize, from: f64, to: f64) {
        for (seconds, phase) in
            [(from, StepPhase::Begun), (from + 0.5, StepPhase::Verified), (to, StepPhase::Judged)]
        {
            self.see(Observation::Step { at: Time::from_secs(seconds), step: index, phase });
        }
        self.facts.steps.push(StepRecord {
            step: self.plan.steps[index].name(),
            took_ms: Time::from_secs(to - from).0 / 1000,
            gates: Vec::new(),
        });
    }

    fn drill(&mut self, index: usize, from: f64) {
        let at = |seconds| Time::from_secs(from + seconds);
        for (seconds, phase) in [(0.0, DrillPhase::Begun), (4.1, DrillPhase::Back), (8.0, DrillPhase::Over)] {
            self.see(Observation::Drill { at: at(seconds), from: index, middle: false, phase });
        }
        for (seconds, phase) in [(0.0, StepPhase::Undoing), (4.0, StepPhase::Undone)] {
            self.see(Observation::Step { at: at(seconds), step: index, phase });
        }
        let from = self.plan.steps[index].name();
        self.facts.drills.push(DrillRecord { from, middle: false, took_ms: 4_100, lost: 0, doubled: 0 });
    }

    fn judge(&mut self, step: usize, gate: GateKind, inputs: &[(&str, &str)]) {
        let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let verdict = Verdict { gate, outcome: Outcome::Passed, failures: Vec::new(), inputs };
        self.judged.push(judged(step, verdict));
        self.facts.steps[step].gates.push(GateRecord { gate, outcome: GateOutcome::Passed });
    }

    /// Has a gate fail, and with it the rehearsal.
    pub(crate) fn fail(&mut self, step: usize, gate: GateKind, failure: Failure) {
        let verdict = Verdict { gate, outcome: Outcome::Failed, failures: vec![failure], inputs: Vec::new() };
        self.judged.push(judged(step, verdict));
        self.facts.steps[step].gates.push(GateRecord { gate, outcome: GateOutcome::Failed });
        self.facts.verdict = Conclusion::Failed;
    }
}

fn judged(step: usize, verdict: Verdict) -> Judged {
    let window = Window { from: Time(0), to: Time(0), step: Some(step), during: During::Step };
    Judged { step, window, verdicts: vec![verdict] }
}

/// Numbers from 0 to 1 that look drawn at random, and are the same each time.
fn noise(index: u64) -> f64 {
    let mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from(u32::try_from((mixed ^ (mixed >> 32)) >> 32).unwrap()) / f64::from(u32::MAX)
}

fn instances(sample: &mut Sample, ready: f64) {
    for (side, at) in [(Side::Old, 0.0), (Side::New, ready)] {
        for number in 0..2 {
            sample.see(Observation::Instance {
                at: Time::from_secs(at + f64::from(number)),
                side,
                instance: format!("{side}-{number}"),
                state: InstanceState::Ready,
            });
        }
    }
}

fn requests(sample: &mut Sample, end: f64, share: impl Fn(f64) -> f64, fails: impl Fn(f64) -> bool) {
    for index in 0..(end * 60.0) as u64 {
        let intended = index as f64 / 60.0;
        let side = if noise(index * 3) < share(intended) { Side::New } else { Side::Old };
        let base = if side == Side::Old { 0.045 } else { 0.028 };
        let slow = if noise(index * 5) > 0.97 { 4.0 } else { 1.0 };
        let done = Time::from_secs(intended + base * slow * (0.6 + noise(index * 7)));
        let (id, well) =
            (format!("r{index}"), !(fails(intended) && side == Side::New && noise(index * 11) < 0.2));
        sample.see(Observation::Request(Request {
            id: id.clone(),
            name: "photos".to_owned(),
            client: ClientKind::Fresh,
            number: 0,
            intended: Time::from_secs(intended),
            sent: Time::from_secs(intended),
            done,
            outcome: if well { Answer::Answered { status: 200 } } else { Answer::Reset },
            expected: 200,
            control: false,
        }));
        let termination = "--".to_owned();
        sample.see(Observation::Routed(Routed {
            at: done,
            id: id.clone(),
            side: Some(side),
            status: 200,
            termination,
        }));
        if well {
            let instance = format!("{side}-0");
            sample.see(Observation::Served(Served { at: done, id, side, instance, status: 200 }));
        }
    }
}

/// A service that moves well, one pod of it killed on the way.
pub(crate) fn service() -> Sample {
    let weight = |percent| Action::SetWeight { percent };
    let mut sample = Sample::new(
        ComponentKind::Service,
        "api",
        vec![
            Action::ScaleUpNew,
            Action::SameAnswer { sample: 2000 },
            weight(5),
            weight(50),
            weight(100),
            Action::Drain { timeout: Duration::from_secs(20) },
            Action::StopOld { idle_for: Duration::from_secs(10) },
        ],
    );
    sample.plan.faults.push(Fault {
        at: 3,
        inject: FaultKind::KillNewPod,
        failed_requests: 20,
        with: None,
        recovery: Duration::from_secs(5),
    });
    instances(&mut sample, 8.0);
    let ends = [
        (0.0, 12.0),
        (12.0, 20.0),
        (20.0, 46.0),
        (56.0, 92.0),
        (102.0, 140.0),
        (150.0, 158.0),
        (158.0, 175.0),
    ];
    for (index, (from, to)) in ends.into_iter().enumerate() {
        sample.step(index, from, to);
    }
    for (index, from) in [(2, 46.5), (3, 92.5), (4, 140.5)] {
        sample.drill(index, from);
    }
    let turns = [
        (0.0, 0),
        (20.0, 5),
        (47.0, 0),
        (54.0, 5),
        (56.0, 50),
        (93.0, 0),
        (100.0, 50),
        (102.0, 100),
        (141.0, 0),
        (148.0, 100),
        (175.0, 100),
    ];
    for (at, percent) in turns {
        sample.see(Observation::Weight { at: Time::from_secs(at), running: percent, configured: percent });
    }
    for (at, phase) in [(70.0, FaultPhase::Injected), (73.0, FaultPhase::Lifted)] {
        sample.see(Observation::Fault {
            at: Time::from_secs(at),
            fault: 0,
            kind: FaultKind::KillNewPod,
            phase,
        });
    }
    for (at, state) in [(70.0, InstanceState::Killed), (76.0, InstanceState::Ready)] {
        let instance = "new-1".to_owned();
        sample.see(Observation::Instance { at: Time::from_secs(at), side: Side::New, instance, state });
    }
    let share = move |at: f64| {
        turns.iter().rfind(|(from, _)| *from <= at).map_or(0.0, |(_, p)| f64::from(*p) / 100.0)
    };
    requests(&mut sample, 175.0, share, |at| (70.0..71.8).contains(&at));
    sample.facts.faults = vec![FaultRecord { failures: 11, ..rehearsal().faults[0].clone() }];
    sample.judge(
        2,
        GateKind::NoFailedRequest,
        &[("requests", "1,560"), ("failed", "0"), ("can prove", "0.19 % at 95 %")],
    );
    sample.judge(
        2,
        GateKind::LatencySLO,
        &[("old p99", "182 ms"), ("new p99", "110 ms"), ("objective", "400 ms")],
    );
    sample.judge(2, GateKind::ObservedShare, &[("wanted", "5 %"), ("seen", "5.2 %")]);
    sample.judge(
        3,
        GateKind::NoFailedRequest,
        &[("requests", "2,160"), ("failed", "11"), ("permitted", "20")],
    );
    sample.judge(
        3,
        GateKind::LatencySLO,
        &[("old p99", "185 ms"), ("new p99", "112 ms"), ("objective", "400 ms")],
    );
    sample.judge(4, GateKind::EveryReplicaServes, &[("replicas", "2"), ("least share", "48 %")]);
    sample.judge(6, GateKind::OldSilent, &[("idle for", "12.0 s")]);
    sample
}

/// A worker whose jobs outlive its grace period.
pub(crate) fn worker() -> Sample {
    let mut sample = Sample::new(
        ComponentKind::Worker,
        "worker",
        vec![
            Action::ScaleUpNew,
            Action::Handover { old: 1 },
            Action::Handover { old: 0 },
            Action::StopOld { idle_for: Duration::from_secs(10) },
        ],
    );
    instances(&mut sample, 6.0);
    for (index, (from, to)) in [(0.0, 12.0), (12.0, 40.0), (50.0, 74.0), (74.0, 95.0)].into_iter().enumerate()
    {
        sample.step(index, from, to);
    }
    sample.drill(1, 40.5);
    let job = |at: f64, id: &str, event, side| Observation::Job {
        at: Time::from_secs(at),
        id: id.to_owned(),
        class: if id.ends_with('7') { "video".to_owned() } else { "resize".to_owned() },
        event,
        side,
        instance: None,
    };
    for index in 0..1800_u32 {
        let at = f64::from(index) / 20.0;
        let id = (4000 + index).to_string();
        let side = if at > 50.0 || (at > 12.0 && index % 2 == 0) { Side::New } else { Side::Old };
        sample.see(job(at, &id, JobEvent::Intended, None));
        sample.see(job(at + 0.01, &id, JobEvent::Enqueued, None));
        if index < 1795 {
            sample.see(job(at + 0.4 + noise(u64::from(index)), &id, JobEvent::Effect, Some(side)));
        }
    }
    for id in ["4980", "5011", "5013"] {
        sample.see(job(80.0, id, JobEvent::Effect, Some(Side::New)));
    }
    for second in 0..95_u32 {
        let waiting =
            8 + (noise(u64::from(second)) * 12.0) as u64 + if (74..84).contains(&second) { 25 } else { 0 };
        sample.see(Observation::Backlog { at: Time::from_secs(f64::from(second)), waiting, in_flight: 4 });
    }
    sample.judge(1, GateKind::EveryJobOnce, &[("enqueued", "820"), ("effects", "820"), ("doubled", "0")]);
    sample.judge(1, GateKind::BacklogSLO, &[("most", "20"), ("permitted", "60")]);
    sample.fail(
        3,
        GateKind::EveryJobOnce,
        Failure {
            invariant: "oneEffectPerJob".to_owned(),
            what: "3 jobs that outlived the 5 s grace period ran twice".to_owned(),
            ids: vec!["4980".to_owned(), "5011".to_owned(), "5013".to_owned()],
            count: 3,
            at: Some((Time::from_secs(78.0), Time::from_secs(81.0))),
            cause:
                "the old process was killed at 1:18 while it held them, and the queue delivered them again"
                    .to_owned(),
            change:
                "raise the grace period above 9.5 s (longest job 9.1 s), or extend visibility while working"
                    .to_owned(),
        },
    );
    sample
}

/// A schedule that moves well.
pub(crate) fn schedule() -> Sample {
    let mut sample = Sample::new(
        ComponentKind::Schedule,
        "batch",
        vec![
            Action::ScaleUpNew,
            Action::DisarmOld,
            Action::ArmNew,
            Action::StopOld { idle_for: Duration::from_secs(60) },
        ],
    );
    for (index, (from, to)) in
        [(0.0, 70.0), (70.0, 75.0), (75.0, 330.0), (330.0, 420.0)].into_iter().enumerate()
    {
        sample.step(index, from, to);
    }
    for minute in 0..7_u32 {
        for (entry, every) in [("daily-digest", 1), ("expire-old-albums", 2)] {
            if minute % every != 0 {
                continue;
            }
            let side = if minute < 2 { Side::Old } else { Side::New };
            let failed = minute == 4 && every == 2;
            for (after, event) in
                [(1.0, RunEvent::Started), (9.0, if failed { RunEvent::Failed } else { RunEvent::Succeeded })]
            {
                sample.see(Observation::Run {
                    at: Time::from_secs(f64::from(minute * 60) + after),
                    entry: entry.to_owned(),
                    run: format!("{entry}-{minute}"),
                    event,
                    side,
                    instance: format!("{side}-0"),
                    wall: sample.facts.began,
                });
            }
        }
    }
    sample.judge(2, GateKind::EveryTickOnce, &[("ticks", "7"), ("runs", "7")]);
    sample
}

/// An endpoint with somebody who still calls the old name. Not enough was seen to tell that it is silent.
pub(crate) fn endpoint() -> Sample {
    let mut sample = Sample::new(
        ComponentKind::Endpoint,
        "admin",
        vec![
            Action::ScaleUpNew,
            Action::SwitchName { ttl: Duration::from_secs(5) },
            Action::StopOld { idle_for: Duration::from_secs(15) },
        ],
    );
    for (index, (from, to)) in [(0.0, 10.0), (10.0, 45.0), (45.0, 60.0)].into_iter().enumerate() {
        sample.step(index, from, to);
    }
    for (at, side) in [(0.0, Side::Old), (10.5, Side::New)] {
        sample.see(Observation::Name { at: Time::from_secs(at), side });
    }
    requests(&mut sample, 60.0, |at| ((at - 10.0) / 6.0).clamp(0.0, 1.0), |_| false);
    for at in [3.0, 31.0] {
        sample.see(Observation::Caller {
            at: Time::from_secs(at),
            address: "10.0.3.9".parse().unwrap(),
            agent: Some("<b>nagios</b> & co".to_owned()),
            request: "GET /health".to_owned(),
        });
    }
    sample.facts.new.target = envctl_model::stack::TargetKind::Compose;
    sample.facts.verdict = Conclusion::Inconclusive;
    sample.judged.push(judged(
        1,
        Verdict {
            gate: GateKind::OldSilent,
            outcome: Outcome::Inconclusive,
            failures: vec![Failure {
                invariant: "nobodyElseCalls".to_owned(),
                what: "10.0.3.9 called the old name 21 s after the switch".to_owned(),
                ids: vec!["10.0.3.9".to_owned()],
                count: 1,
                at: None,
                cause: "<script>alert(1)</script> in a user agent".to_owned(),
                change: "find who owns 10.0.3.9, and watch for 3 x TTL".to_owned(),
            }],
            inputs: vec![("ttl".to_owned(), "5 s".to_owned())],
        },
    ));
    sample
}

/// Each with its name.
pub(crate) fn all() -> BTreeMap<&'static str, Sample> {
    [("service", service()), ("worker", worker()), ("schedule", schedule()), ("endpoint", endpoint())].into()
}
