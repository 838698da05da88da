//! Clean recordings give no alarm; each mistake is caught by the gate and the invariant that are named beside it.

use std::collections::BTreeSet;

use super::made_up::{self, Kind, MadeUp, Mistake, mistakes};
use super::*;

const ALL: [GateKind; 15] = [
    GateKind::NoFailedRequest,
    GateKind::LatencySLO,
    GateKind::ObservedShare,
    GateKind::SameAnswer,
    GateKind::EveryJobOnce,
    GateKind::BacklogSLO,
    GateKind::NothingStranded,
    GateKind::CrossConsume,
    GateKind::EveryTickOnce,
    GateKind::NoOverlap,
    GateKind::OldSilent,
    GateKind::EveryReplicaServes,
    GateKind::RollbackLossless,
    GateKind::NoFailedRequestDuringRollback,
    GateKind::Samples,
];

/// All windows of a recording.
fn windows(made: &MadeUp) -> Vec<Window> {
    let mut windows = Window::all(&made.plan, &made.recording);
    windows.push(Window::whole(&made.recording));
    windows
}

fn no_alarm(kind: Kind) {
    for seed in 0..50 {
        let made = made_up::clean(kind, seed);
        let windows = windows(&made);
        assert!(windows.iter().any(|window| window.during == During::Drill), "{windows:#?}");
        for window in windows {
            for verdict in judge_window(&made.plan, &made.recording, &window) {
                assert_eq!(
                    verdict.outcome,
                    Outcome::Passed,
                    "{kind:?}, seed {seed}, {window:?}: {verdict:#?}"
                );
            }
        }
    }
}

#[test]
fn clean_services_give_no_alarm_whatever_the_seed() {
    no_alarm(Kind::Service);
}

#[test]
fn clean_endpoints_give_no_alarm_whatever_the_seed() {
    no_alarm(Kind::Endpoint);
}

#[test]
fn clean_workers_give_no_alarm_whatever_the_seed() {
    no_alarm(Kind::Worker);
}

#[test]
fn clean_schedules_give_no_alarm_whatever_the_seed() {
    no_alarm(Kind::Schedule);
}

/// The verdicts of a mistake's gate that are not passed, with their windows.
fn alarms(mistake: &Mistake, made: &MadeUp) -> Vec<(Window, Verdict)> {
    let asked = windows(made).into_iter().filter(|window| window.gates(&made.plan).contains(&mistake.gate));
    let judged = asked.map(|window| (window, judge(mistake.gate, &made.plan, &made.recording, &window)));
    judged.filter(|(_, verdict)| verdict.outcome != Outcome::Passed).collect()
}

fn names(verdict: &Verdict) -> BTreeSet<&str> {
    verdict.failures.iter().map(|failure| &*failure.invariant).collect()
}

#[test]
fn each_mistake_is_caught_by_its_gate_and_that_invariant_alone_catches_it() {
    let (mut only, mut wrong) = (0, Vec::new());
    for mistake in mistakes() {
        let mut made = made_up::clean(mistake.kind, 7);
        (mistake.make)(&mut made);
        let alarms = alarms(mistake, &made);
        let Some((window, verdict)) =
            alarms.iter().find(|(_, verdict)| names(verdict).contains(mistake.invariant))
        else {
            wrong.push(format!(
                "{}: {:?}",
                mistake.name,
                alarms.iter().map(|alarm| names(&alarm.1)).collect::<Vec<_>>()
            ));
            continue;
        };
        let (invariant, gate) = (mistake.invariant, mistake.gate);
        let alone = judge_by(invariant, gate, &made.plan, &made.recording, window);
        assert_ne!(alone.outcome, Outcome::Passed, "{}", mistake.name);
        let without = judge_without(invariant, gate, &made.plan, &made.recording, window);
        let mut others = names(verdict);
        others.remove(invariant);
        assert_eq!(names(&without), others, "{}", mistake.name);
        if others.is_empty() {
            assert_eq!(without.outcome, Outcome::Passed, "{}", mistake.name);
            only += 1;
        }
        for failure in &verdict.failures {
            let told = [&failure.what, &failure.cause, &failure.change];
            assert!(told.iter().all(|text| !text.is_empty()), "{}: {failure:#?}", mistake.name);
            assert!(failure.ids.len() <= 10 && failure.count >= failure.ids.len() as u64, "{failure:#?}");
        }
    }
    assert!(wrong.is_empty(), "not caught by the invariant named:\n{}", wrong.join("\n"));
    assert!(only >= 40, "{only} mistakes are caught by one invariant and no other");
}

#[test]
fn each_invariant_of_each_gate_has_a_mistake_that_it_catches() {
    let shared = [GateKind::NoFailedRequestDuringRollback];
    let caught: BTreeSet<(GateKind, &str)> =
        mistakes().map(|mistake| (mistake.gate, mistake.invariant)).collect();
    for gate in ALL.into_iter().filter(|gate| !shared.contains(gate)) {
        for invariant in invariants(gate) {
            assert!(caught.contains(&(gate, invariant)), "{gate:?}: nothing shows what {invariant} is for");
        }
    }
}

#[test]
fn mistakes_have_names_of_their_own() {
    let names: BTreeSet<&str> = mistakes().map(|mistake| mistake.name).collect();
    assert_eq!(names.len(), mistakes().count());
    assert!(names.len() >= 40, "{}", names.len());
}

#[test]
fn a_verdict_survives_being_written_and_read() {
    let made = made_up::clean(Kind::Service, 1);
    for verdict in windows(&made).iter().flat_map(|window| judge_window(&made.plan, &made.recording, window))
    {
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
    }
}

#[test]
fn the_grace_that_was_too_short_is_named_with_the_one_to_set() {
    let mistake = mistakes().find(|mistake| mistake.name.starts_with("the grace period")).unwrap();
    let mut made = made_up::clean(mistake.kind, 7);
    (mistake.make)(&mut made);
    let (_, verdict) = alarms(mistake, &made).remove(0);
    let failure = &verdict.failures[0];
    assert!(failure.what.ends_with("grace period ran twice"), "{failure:#?}");
    assert!(failure.cause.contains("was killed at"), "{failure:#?}");
    assert_eq!(
        failure.change,
        "raise the grace period above 2.1 s (longest job 2.0 s) or extend visibility while working"
    );
}

#[test]
fn a_fault_that_costs_too_much_is_told_with_what_was_permitted() {
    let mistake = mistakes().find(|mistake| mistake.name.starts_with("a fault costs")).unwrap();
    let mut made = made_up::clean(mistake.kind, 7);
    (mistake.make)(&mut made);
    let (window, verdict) = alarms(mistake, &made).remove(0);
    assert_eq!(window.during, During::Fault(0));
    let what = &verdict.failures[0].what;
    assert!(
        what.contains("within the time to recover, 5 permitted") && what.ends_with("3.0 s permitted"),
        "{what}"
    );
}

#[test]
fn a_setting_that_differs_is_named_and_its_value_never() {
    let mistake = mistakes().find(|mistake| mistake.invariant == "settingsEqual").unwrap();
    let mut made = made_up::clean(mistake.kind, 7);
    (mistake.make)(&mut made);
    let (_, verdict) = alarms(mistake, &made).remove(0);
    let text = serde_json::to_string(&verdict).unwrap();
    assert!(text.contains("REDIS_URL") && text.contains("new-7"), "{text}");
    assert!(!text.contains("0000") && !text.contains("c44f"), "{text}");
}

#[test]
fn another_time_zone_is_told_by_the_hours_it_is_away() {
    let mistake = mistakes().find(|mistake| mistake.invariant == "rightTimeZone").unwrap();
    let mut made = made_up::clean(mistake.kind, 7);
    (mistake.make)(&mut made);
    let (window, _) = alarms(mistake, &made).remove(0);
    let verdict = judge_by("rightTimeZone", mistake.gate, &made.plan, &made.recording, &window);
    assert_eq!(verdict.failures[0].what, "1 run started 1 h beside the tick");
    assert_eq!(verdict.failures[0].change, "set `timeZone: Asia/Tokyo` in the CronJob");
}

#[test]
fn a_request_that_an_instance_dropped_long_after_another_ended_is_not_that_ones() {
    let mistake = mistakes().find(|mistake| mistake.name.contains("closes idle connections")).unwrap();
    let mut made = made_up::clean(mistake.kind, 7);
    (mistake.make)(&mut made);
    let (_, verdict) = alarms(mistake, &made).remove(0);
    let change =
        "raise the side's keep-alive time-out above 60.0 s, after which the router gives a connection up";
    assert_eq!(verdict.failures[0].change, change);
}
