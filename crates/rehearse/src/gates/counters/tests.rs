//! What somebody else counted: good readings pass, and each mistake is caught by the invariant that is named.

use envctl_model::cutover::{Action, CutoverPlan, GateKind, Side};
use jiff::Timestamp;

use crate::gates::made_up::{self, Kind};
use crate::gates::{During, Outcome, Verdict, Window, judge_production};
use crate::observation::{Observation, StepPhase, Time};
use crate::recording::{Header, Recording};

/// Readings of 20 s, each second, at a step that holds from 5 s on.
struct Readings {
    plan: CutoverPlan,
    step: usize,
    /// Requests per second of old and new side, before and after the step.
    rates: [[u64; 2]; 2],
    /// So many of 1000 fail on the new side.
    failing: u64,
    p99: Option<f64>,
    /// The new side's part as it is read back.
    weight: u8,
    /// Sides that are counted.
    counted: &'static [Side],
    /// The counter begins again at this second.
    restarts: Option<u64>,
}

impl Readings {
    fn at(percent: u8) -> Self {
        let plan = made_up::clean(Kind::Service, 0).plan;
        let step = plan.steps.iter().position(|step| step.action == Action::SetWeight { percent }).unwrap();
        let of = |percent: u64| [100 - percent, percent];
        Self {
            rates: [of(plan.weight_before(step).into()), of(percent.into())],
            plan,
            step,
            failing: 0,
            p99: Some(0.2),
            weight: percent,
            counted: &[Side::Old, Side::New],
            restarts: None,
        }
    }

    fn judge(&self, during: During) -> Vec<Verdict> {
        let mut recording = Recording::new(Header { began: Timestamp::UNIX_EPOCH, seed: 0 });
        let seen = &mut recording.observations;
        let second = |second: u64| Time(second * 1_000_000);
        for (at, phase) in [(4, StepPhase::Begun), (5, StepPhase::Verified)] {
            seen.push(Observation::Step { at: second(at), step: self.step, phase });
        }
        let mut sums = [[0, 0]; 2];
        for now in 0..=20 {
            let (running, configured) = (self.weight, self.weight);
            seen.push(Observation::Weight { at: second(now), running, configured });
            if self.restarts == Some(now) {
                sums = [[0, 0]; 2];
            }
            for side in self.counted {
                let of = usize::from(*side == Side::New);
                let [requests, failed] = &mut sums[of];
                let rate = self.rates[usize::from(now > 5)][of];
                *requests += rate;
                *failed += if *side == Side::New && now > 5 { rate * self.failing / 1000 } else { 0 };
                let (at, requests, failed, p99) = (second(now), *requests, *failed, self.p99);
                seen.push(Observation::Counted { at, side: *side, requests, failed, p99 });
            }
        }
        let window = Window { from: second(4), to: second(20), step: Some(self.step), during };
        judge_production(&self.plan, &recording, &window)
    }
}

/// What did not pass, with the invariants that said so.
fn bad(verdicts: &[Verdict]) -> Vec<(GateKind, Outcome, Vec<&str>)> {
    let bad = verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Passed);
    bad.map(|verdict| {
        let said = verdict.failures.iter().map(|failure| failure.invariant.as_str()).collect();
        (verdict.gate, verdict.outcome, said)
    })
    .collect()
}

#[test]
fn good_readings_pass_at_every_weight_and_while_going_back() {
    for percent in [20, 50, 100] {
        let readings = Readings::at(percent);
        let verdicts = readings.judge(During::Step);
        assert_eq!(bad(&verdicts), [], "{percent}");
        // What needs a load of our own is not judged, and what can be judged is.
        let gates: Vec<_> = verdicts.iter().map(|verdict| verdict.gate).collect();
        assert!(
            gates.contains(&GateKind::ObservedShare) && !gates.contains(&GateKind::EveryReplicaServes),
            "{gates:?}"
        );
        let back = readings.judge(During::Drill);
        assert_eq!(bad(&back), []);
        assert!(back.iter().any(|verdict| verdict.gate == GateKind::NoFailedRequestDuringRollback));
    }
    // A counter that begins again has counted nothing bad.
    let restarted = Readings { restarts: Some(12), ..Readings::at(50) };
    assert_eq!(bad(&restarted.judge(During::Step)), []);
}

#[test]
fn each_mistake_is_caught_by_its_invariant() {
    use GateKind::{LatencySLO, NoFailedRequest, ObservedShare, OldSilent, Samples};
    let at = Readings::at;
    let cases: [(&str, Readings, GateKind, Outcome, &str); 9] = [
        (
            "errors",
            Readings { failing: 20, ..at(50) },
            NoFailedRequest,
            Outcome::Failed,
            "withinAvailability",
        ),
        ("slow", Readings { p99: Some(0.41), ..at(50) }, LatencySLO, Outcome::Failed, "p99Holds"),
        ("no latency", Readings { p99: None, ..at(50) }, LatencySLO, Outcome::Inconclusive, "p99Known"),
        (
            "sticky",
            Readings { rates: [[80, 20], [80, 20]], ..at(50) },
            ObservedShare,
            Outcome::Failed,
            "shareOfRequests",
        ),
        (
            "weight changed",
            Readings { weight: 20, ..at(50) },
            ObservedShare,
            Outcome::Failed,
            "weightAsPlanned",
        ),
        (
            "stuck",
            Readings { rates: [[50, 50], [1, 99]], ..at(100) },
            OldSilent,
            Outcome::Failed,
            "oldGetsNothing",
        ),
        (
            "stuck",
            Readings { rates: [[50, 50], [1, 99]], ..at(100) },
            ObservedShare,
            Outcome::Failed,
            "emptySideGetsNothing",
        ),
        (
            "not counted",
            Readings { counted: &[Side::Old], ..at(50) },
            NoFailedRequest,
            Outcome::Inconclusive,
            "countersRead",
        ),
        ("few", Readings { rates: [[5, 5]; 2], ..at(50) }, Samples, Outcome::Inconclusive, "enoughPerSide"),
    ];
    for (what, readings, gate, outcome, invariant) in cases {
        let verdicts = readings.judge(During::Step);
        let bad = bad(&verdicts);
        let caught =
            bad.iter().any(|(of, how, said)| (*of, *how) == (gate, outcome) && said.contains(&invariant));
        assert!(caught, "{what}: {bad:?}");
    }
}

#[test]
fn what_was_read_long_before_is_no_base_and_a_smaller_counter_adds_nothing() {
    let mut recording = Recording::new(Header { began: Timestamp::UNIX_EPOCH, seed: 0 });
    let readings = [(0, 1000), (100, 5000), (101, 5010), (102, 2000), (103, 2007)];
    let second = |second: u64| Time(second * 1_000_000);
    recording.observations.extend(readings.map(|(at, requests)| Observation::Counted {
        at: second(at),
        side: Side::Old,
        requests,
        failed: 0,
        p99: None,
    }));
    let counted = |from, to| {
        super::counted_between(&recording, Side::Old, second(from), second(to)).map(|counts| counts.requests)
    };
    assert_eq!(counted(99, 102), Some(10), "of the night before");
    assert_eq!(counted(20, 102), Some(4010), "that is in the window");
    assert_eq!(counted(100, 200), Some(17), "one of several was restarted");
    assert_eq!(counted(103, 200), None);
}
