use jiff::SignedDuration;

use super::*;
use crate::recording::Header;

fn began() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn whose(host: &str) -> Option<(Side, String)> {
    match host.split_once('-')? {
        ("vm", number) => Some((Side::Old, format!("machine-{number}"))),
        ("pod", _) => Some((Side::New, host.to_owned())),
        _ => None,
    }
}

fn job(event: &str, at: &str, instance: &str) -> String {
    format!(
        r#"{{"job": "a-1", "event": "{event}", "at": {at}, "instance": "{instance}", "class": "mail", "pid": 7}}"#
    )
}

fn run(event: &str, seconds: u32, instance: &str) -> String {
    format!(
        r#"{{"entry": "digest", "run": "r1", "event": "{event}", "at": "2026-03-01T00:00:{seconds:02}Z", "instance": "{instance}"}}"#
    )
}

/// What one reading of these lines tells.
fn jobs(ledger: &mut Ledger, lines: &[String]) -> Vec<Observation> {
    let mut reading = ledger.reading();
    lines.iter().filter_map(|line| reading.job_line(line, Time(5), whose).unwrap()).collect()
}

#[test]
fn events_of_jobs_become_observations_on_the_recordings_clock() {
    let lines = [
        "connected to the queue".to_owned(),
        job("received", "\"2026-03-01T09:00:01.25+09:00\"", "vm-1"),
        job("failed", "1772323202", "pod-2"),
        job("effect", "1772323203.000001", "laptop"),
        job("deadLettered", "1772323204", "pod-2"),
        r#"{"waiting": 3, "inFlight": 2, "oldest": 9}"#.to_owned(),
        r#"{"waiting": 1, "inFlight": 0, "at": 1772323205}"#.to_owned(),
    ];
    let seen = |at, event, side: Option<Side>, instance: Option<&str>| Observation::Job {
        at: Time(at),
        id: "a-1".into(),
        class: "mail".into(),
        event,
        side,
        instance: instance.map(ToOwned::to_owned),
    };
    assert_eq!(
        jobs(&mut Ledger::new(began()), &lines),
        [
            seen(1_250_000, JobEvent::Received, Some(Side::Old), Some("machine-1")),
            seen(2_000_000, JobEvent::Failed, Some(Side::New), Some("pod-2")),
            seen(3_000_001, JobEvent::Effect, None, Some("laptop")),
            seen(4_000_000, JobEvent::DeadLettered, None, None),
            Observation::Backlog { at: Time(5), waiting: 3, in_flight: 2 },
            Observation::Backlog { at: Time(5_000_000), waiting: 1, in_flight: 0 },
        ]
    );
}

#[test]
fn a_tool_that_is_started_again_tells_only_what_is_new() {
    let mut ledger = Ledger::new(began());
    let first = [job("received", "1772323201", "vm-1"), job("effect", "1772323202", "vm-1")];
    assert_eq!(jobs(&mut ledger, &first).len(), 2);
    let [received, effect] = first;
    let later = job("effect", "1772323203", "pod-1");
    let told = jobs(&mut ledger, &[received.clone(), effect.clone(), later.clone()]);
    assert!(matches!(&told[..], [Observation::Job { at: Time(3_000_000), .. }]), "{told:?}");
    assert_eq!(jobs(&mut ledger, &[received, effect, later]), []);
}

#[test]
fn two_effects_on_one_tick_of_a_coarse_clock_are_two() {
    let mut ledger = Ledger::new(began());
    let effect = job("effect", "1772323202", "vm-1");
    assert_eq!(jobs(&mut ledger, std::slice::from_ref(&effect)).len(), 1);
    assert_eq!(jobs(&mut ledger, &[effect.clone(), effect.clone()]).len(), 1);
    assert_eq!(jobs(&mut ledger, &[effect.clone(), effect.clone(), effect]).len(), 1);
}

#[test]
fn what_a_killed_process_recorded_is_not_told_again() {
    let mut recording = Recording::new(Header { began: began(), seed: 1 });
    let jobs_told = [job("received", "1772323201", "vm-1"), job("effect", "1772323202", "vm-1")];
    recording.observations = jobs(&mut Ledger::new(began()), &jobs_told[..1]);
    let mut ledger = Ledger::new(began());
    recording.observations.extend(ledger.reading().run_line(&run("started", 1, "vm-1"), whose).unwrap());

    let mut resumed = Ledger::resume(&recording);
    let told = jobs(&mut resumed, &jobs_told);
    assert!(matches!(&told[..], [Observation::Job { event: JobEvent::Effect, .. }]), "{told:?}");
    // The start was in the recording alone, and its end still knows of it.
    let ended = resumed.reading().run_line(&run("succeeded", 9, "vm-1"), whose).unwrap().unwrap();
    let Observation::Run { wall, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(wall, began() + SignedDuration::from_secs(1));
    assert_eq!(resumed.reading().run_line(&run("started", 1, "vm-1"), whose).unwrap(), None);
}

#[test]
fn an_end_of_a_run_says_when_the_run_began() {
    let mut ledger = Ledger::new(began());
    let mut reading = ledger.reading();
    let seen = |at: u32, event| Observation::Run {
        at: Time(u64::from(at) * 1_000_000),
        entry: "digest".into(),
        run: "r1".into(),
        event,
        side: Side::New,
        instance: "pod-1".into(),
        wall: began() + SignedDuration::from_secs(2),
    };
    let mut told = |event, at| reading.run_line(&run(event, at, "pod-1"), whose).unwrap();
    assert_eq!(told("started", 2), Some(seen(2, RunEvent::Started)));
    assert_eq!(told("failed", 7), Some(seen(7, RunEvent::Failed)));
    assert_eq!(reading.run_line("Digest sent.", whose).unwrap(), None);
}

#[test]
fn a_run_on_neither_side_is_an_error() {
    let error = Ledger::new(began()).reading().run_line(&run("started", 2, "laptop"), whose).unwrap_err();
    assert!(error.to_string().contains("`laptop` is an instance of neither side"), "{error}");
}

#[test]
fn what_is_no_object_is_passed_over() {
    for line in ["", "ready", "[1]", "12", "null", r#"{"job": "a-1", "event": "rece"#, "  "] {
        assert_eq!(job_line(line), Ok(None), "{line}");
        assert_eq!(run_line(line), Ok(None), "{line}");
    }
}

#[test]
fn an_object_that_says_nothing_known_is_refused_with_what_is_expected() {
    for (line, problem) in [
        (job("recieved", "1", "vm-1"), "unknown variant `recieved`"),
        (job("enqueued", "1", "vm-1"), "after it was put into the queue"),
        (
            job("effect", "\"yesterday\"", "vm-1"),
            "invalid value: string \"yesterday\", expected a time: RFC 3339",
        ),
        (job("effect", "\"2026-03-01T09:00:00\"", "vm-1"), "RFC 3339 with an offset"),
        // Milliseconds are a usual mistake.
        (job("effect", "1772323202000", "vm-1"), "or seconds since 1970"),
        (job("effect", "1772323202000.5", "vm-1"), "or seconds since 1970"),
        (job("effect", "true", "vm-1"), "expected a time"),
        (r#"{"job": "a-1", "event": "effect", "at": 1, "class": "mail"}"#.to_owned(), "on which `instance`"),
        (
            r#"{"job": "a-1", "event": "effect", "at": 1, "instance": "vm-1"}"#.to_owned(),
            "missing field `class`",
        ),
        (r#"{"waiting": 3}"#.to_owned(), "missing field `inFlight`"),
        (r#"{"waiting": -3, "inFlight": 0}"#.to_owned(), "invalid value: integer `-3`"),
        (r#"{"level": "info"}"#.to_owned(), "missing field `job`"),
        (r#"{"job": a-1}"#.to_owned(), "expected value at line 1 column 9"),
    ] {
        let error = job_line(&line).unwrap_err().to_string();
        let first = error.lines().next().unwrap();
        assert!(
            first.starts_with(&format!("a tool printed `{line}`: ")) && first.contains(problem),
            "{error}"
        );
        assert!(error.contains("\n  expected: {\"job\": \"ID\""), "{error}");
    }
    let error = run_line(r#"{"entry": "digest", "event": "started"}"#).unwrap_err().to_string();
    assert!(
        error.contains("missing field `run`") && error.contains("expected: {\"entry\": \"NAME\""),
        "{error}"
    );
}
