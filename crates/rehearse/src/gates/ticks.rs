//! Every tick of the old crontab is run exactly once, and runs of one entry do not overlap.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_model::cutover::{Action, Side};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::account::{Account, Finding};
use super::view::{Turn, View};
use super::words::{counted, lasting};
use super::{Gate, Invariant};
use crate::cron::{Dialect, Schedule, disagreements};
use crate::observation::{Observation, RunEvent, StepPhase, Time};
use crate::timetable::ticks;

/// Clocks of two machines may differ by so much: a run may seem to start before its tick.
const EARLY: SignedDuration = SignedDuration::from_secs(1);

/// How long after it was switched on a controller makes up for what it missed.
const CATCHING_UP: Duration = Duration::from_secs(15);

/// Time zones are at most so far apart.
const ZONES: i64 = 26 * 3600;

/// How far ahead the two dialects are compared: a year has every change of the clock.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366);

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "timetableReadable", check: timetable_readable },
        Invariant { name: "noneMissed", check: none_missed },
        Invariant { name: "noneDoubled", check: none_doubled },
        Invariant { name: "onTime", check: |view| strays(view, Stray::Late) },
        Invariant { name: "rightTimeZone", check: |view| strays(view, Stray::OtherZone) },
        Invariant { name: "noCatchUp", check: |view| strays(view, Stray::CatchUp) },
        Invariant { name: "onlyAtTicks", check: |view| strays(view, Stray::NoTick) },
        Invariant { name: "runsSucceed", check: runs_succeed },
    ],
    inputs,
};

pub(super) const OVERLAP: Gate =
    Gate { invariants: &[Invariant { name: "oneAtATime", check: one_at_a_time }], inputs: overlap_inputs };

/// The start of a run.
#[derive(Debug, Clone, Copy)]
struct Start<'a> {
    at: Time,
    wall: Timestamp,
    entry: &'a str,
    run: &'a str,
    side: Side,
}

fn starts<'a>(view: &View<'a>) -> Vec<Start<'a>> {
    let mut starts: Vec<_> = view
        .all()
        .filter_map(|seen| match seen {
            Observation::Run { at, entry, run, event: RunEvent::Started, side, wall, .. }
                if *at < view.window.to =>
            {
                Some(Start { at: *at, wall: *wall, entry, run, side: *side })
            }
            _ => None,
        })
        .collect();
    starts.sort_by_key(|start| start.wall);
    starts
}

/// How many ticks since the step holds are judged in this window.
pub(super) fn judged_since_verified(view: &View<'_>) -> usize {
    let Some(timetable) = &view.plan.timetable else { return 0 };
    let to = view.recording.wall(view.window.to) - tolerance(view);
    // Of one that cannot be read, the gate of ticks says so.
    ticks(timetable, view.recording.wall(view.verified()), to).map_or(0, |ticks| ticks.len())
}

/// How a start that is at no tick is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stray {
    /// Of the tick before it, beyond the tolerance.
    Late,
    /// By whole hours beside a tick.
    OtherZone,
    /// One of several as the new side was switched on.
    CatchUp,
    /// Of no tick at all.
    NoTick,
}

/// What was expected, and what came.
#[derive(Default)]
struct Matched<'a> {
    /// Each tick that is judged, with its entry and its starts.
    ticks: Vec<(&'a str, Timestamp, Vec<Start<'a>>)>,
    /// Starts at no tick, and by how much they are beside one.
    strays: Vec<(Stray, Start<'a>, Option<SignedDuration>)>,
}

fn tolerance(view: &View<'_>) -> SignedDuration {
    let tolerance = view.plan.timetable.as_ref().map(|timetable| timetable.tolerance).unwrap_or_default();
    SignedDuration::try_from(tolerance).unwrap_or(SignedDuration::MAX)
}

/// Puts starts to ticks. A tick is judged when its tolerance is over: in the window in which that is.
fn matched<'a>(view: &View<'a>) -> Matched<'a> {
    let mut matched = Matched::default();
    let Some(timetable) = &view.plan.timetable else { return matched };
    let Ok(zone) = TimeZone::get(&timetable.time_zone) else { return matched };
    let tolerance = tolerance(view);
    let (from, to) =
        (view.recording.wall(view.window.from) - tolerance, view.recording.wall(view.window.to) - tolerance);
    let starts = starts(view);
    for entry in &timetable.entries {
        let Ok(schedule) = Schedule::parse(&entry.schedule, Dialect::Vixie) else { continue };
        let day = SignedDuration::from_hours(27);
        let ticks = schedule.ticks(&zone, from - day, to + day);
        let mut expected: BTreeMap<Timestamp, (usize, Vec<Start<'_>>)> = BTreeMap::new();
        for tick in &ticks {
            expected.entry(*tick).or_default().0 += 1;
        }
        let mut strays = Vec::new();
        for start in starts.iter().filter(|start| start.entry == entry.name) {
            let tick = expected.range_mut(..=start.wall + EARLY).next_back();
            match tick.filter(|(tick, _)| start.wall.duration_since(**tick) <= tolerance) {
                Some((_, (_, starts))) => starts.push(*start),
                None => strays.push(*start),
            }
        }
        for start in strays {
            let (stray, by) = understood(view, &expected, start, tolerance);
            if stray == Stray::Late
                && let Some((_, (_, starts))) = expected.range_mut(..=start.wall).next_back()
            {
                // It is told as late, and not as missed beside that.
                starts.push(start);
            }
            if from <= start.wall && start.wall < to {
                matched.strays.push((stray, start, by));
            }
        }
        let judged = expected.into_iter().filter(|(tick, _)| from <= *tick && *tick < to);
        // What is made up for twice at one moment is expected twice: the first starts are those of the first tick.
        for (tick, (times, starts)) in judged {
            let mut shares = vec![Vec::new(); times];
            for (index, start) in starts.into_iter().enumerate() {
                shares[index.min(times - 1)].push(start);
            }
            matched.ticks.extend(shares.into_iter().map(|starts| (&*entry.name, tick, starts)));
        }
    }
    let known = |start: &Start<'_>| timetable.entries.iter().any(|entry| entry.name == start.entry);
    let strangers = starts.iter().filter(|start| !known(start) && from <= start.wall && start.wall < to);
    matched.strays.extend(strangers.map(|start| (Stray::NoTick, *start, None)));
    matched
}

fn understood(
    view: &View<'_>,
    expected: &BTreeMap<Timestamp, (usize, Vec<Start<'_>>)>,
    start: Start<'_>,
    tolerance: SignedDuration,
) -> (Stray, Option<SignedDuration>) {
    let armed = |turn: &&Turn| {
        turn.2 == StepPhase::Begun
            && turn.0 <= start.at
            && matches!(view.plan.steps.get(turn.1).map(|step| &step.action), Some(Action::ArmNew))
    };
    let armed = view.turns().iter().rev().find(armed).map(|turn| turn.0);
    if start.side == Side::New && armed.is_some_and(|armed| start.at.since(armed) <= CATCHING_UP) {
        return (Stray::CatchUp, None);
    }
    let hours_beside = |tick: &Timestamp| {
        let by = start.wall.duration_since(*tick);
        let over = by.as_secs().rem_euclid(3600);
        let hours = (by.as_secs() - over) / 3600;
        (hours != 0 && by.as_secs().abs() <= ZONES && SignedDuration::from_secs(over) <= tolerance)
            .then_some(SignedDuration::from_hours(hours))
    };
    // An entry of each day is beside yesterday's tick as well: the nearest tells the zone.
    let beside = expected.keys().filter_map(hours_beside).min_by_key(|by| by.abs());
    let before = expected.range(..=start.wall).next_back();
    let late =
        before.filter(|(_, (_, starts))| starts.is_empty()).map(|(tick, _)| start.wall.duration_since(*tick));
    match (beside, late) {
        (Some(by), _) => (Stray::OtherZone, Some(by)),
        (None, Some(late)) => (Stray::Late, Some(late)),
        (None, None) => (Stray::NoTick, None),
    }
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let Some(timetable) = &view.plan.timetable else { return Vec::new() };
    let matched = matched(view);
    let mut inputs = vec![
        ("time zone".to_owned(), timetable.time_zone.clone()),
        ("ticks".to_owned(), matched.ticks.len().to_string()),
        ("starts".to_owned(), matched.ticks.iter().map(|tick| tick.2.len()).sum::<usize>().to_string()),
    ];
    let Ok(zone) = TimeZone::get(&timetable.time_zone) else { return inputs };
    let now = view.recording.wall(view.window.from);
    for entry in &timetable.entries {
        let name = format!("{}: cron and Kubernetes", entry.name);
        let found = match disagreements(
            &entry.schedule,
            &zone,
            now,
            now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX),
        ) {
            Err(error) => format!("do not both accept it: {error}"),
            Ok(found) => match found.first() {
                None => "agree for a year".to_owned(),
                Some(first) => {
                    let who = match first.runs {
                        Dialect::Vixie => "only cron",
                        Dialect::Kubernetes => "only Kubernetes",
                    };
                    let local = zone.to_datetime(first.at);
                    format!("disagree {}: first at {local}, when {who} runs", counted(found.len(), "time"))
                }
            },
        };
        inputs.push((name, found));
    }
    inputs
}

fn timetable_readable(view: &View<'_>) -> Vec<Finding> {
    let Some(timetable) = &view.plan.timetable else { return Vec::new() };
    let lacking = |what: String| {
        Account::new(what)
            .because("without it no tick is known")
            .change("write the crontab's five fields and an IANA name such as Asia/Tokyo")
            .lacking()
    };
    let zone = TimeZone::get(&timetable.time_zone)
        .err()
        .map(|_| lacking(format!("the time zone `{}` is not known", timetable.time_zone)));
    let entries = timetable.entries.iter().filter_map(|entry| {
        let error = Schedule::parse(&entry.schedule, Dialect::Vixie).err()?;
        Some(lacking(format!("{}: {error}", entry.name)))
    });
    zone.into_iter().chain(entries).collect()
}

/// `digest 2026-03-01T09:00:00`, in the crontab's zone.
fn name_of(view: &View<'_>, entry: &str, wall: Timestamp) -> String {
    let zone = view.plan.timetable.as_ref().and_then(|timetable| TimeZone::get(&timetable.time_zone).ok());
    format!("{entry} {}", zone.unwrap_or(TimeZone::UTC).to_datetime(wall))
}

pub(super) fn none_missed(view: &View<'_>) -> Vec<Finding> {
    let ticks = matched(view).ticks;
    let missed: Vec<_> = ticks.iter().filter(|(_, _, starts)| starts.is_empty()).collect();
    let Some((_, first, _)) = missed.first() else { return Vec::new() };
    let at = view.recording.time(*first);
    let disarmed = view.in_force(at, |action| matches!(action, Action::DisarmOld)).is_some();
    let armed = view.in_force(at, |action| matches!(action, Action::ArmNew)).is_some();
    let zone = view.plan.timetable.as_ref().map(|timetable| &*timetable.time_zone).unwrap_or_default();
    let spans = spans(view);
    let was_busy = missed.iter().all(|(entry, tick, _)| {
        let at = view.recording.time(*tick);
        spans.iter().any(|(start, end)| start.entry == *entry && start.at < at && *end > at)
    });
    let (cause, change) = match (disarmed, armed) {
        _ if was_busy => (
            "the run before was still going on, and `concurrencyPolicy: Forbid` lets no other begin meanwhile".to_owned(),
            "have runs take less than the time to the next tick, or let them run less often".to_owned(),
        ),
        (true, false) => (
            "neither side was armed at that time".to_owned(),
            "let armNew follow disarmOld at once, at a time between two ticks".to_owned(),
        ),
        (_, true) => (
            "the new side was to run it and did not: it is suspended, in another time zone, or its deadline was over"
                .to_owned(),
            format!("set `timeZone: {zone}`, `suspend: false` and a `startingDeadlineSeconds` of more than 10"),
        ),
        (false, false) => (
            "the old side was in charge and did not run it: its entry is gone, or its daemon does not run".to_owned(),
            "let disarmOld be what takes entries out, and nothing before it".to_owned(),
        ),
    };
    let names: Vec<String> = missed.iter().map(|(entry, tick, _)| name_of(view, entry, *tick)).collect();
    let what = format!("{} of {} had no run", missed.len(), counted(ticks.len(), "tick"));
    let account = Account::new(what)
        .of_ids(names.iter().map(String::as_str))
        .between(missed.iter().map(|(_, tick, _)| view.recording.time(*tick)));
    vec![account.because(cause).change(change).wrong()]
}

pub(super) fn none_doubled(view: &View<'_>) -> Vec<Finding> {
    let ticks = matched(view).ticks;
    let doubled: Vec<_> = ticks.iter().filter(|(_, _, starts)| starts.len() > 1).collect();
    if doubled.is_empty() {
        return Vec::new();
    }
    let across = doubled.iter().any(|(_, _, starts)| {
        starts.iter().any(|start| start.side == Side::Old)
            && starts.iter().any(|start| start.side == Side::New)
    });
    let names: Vec<String> = doubled.iter().map(|(entry, tick, _)| name_of(view, entry, *tick)).collect();
    let what = format!("{} of {} ran more than once", doubled.len(), counted(ticks.len(), "tick"));
    let account = Account::new(what)
        .of_ids(names.iter().map(String::as_str))
        .between(doubled.iter().flat_map(|(_, _, starts)| starts.iter().map(|start| start.at)));
    vec![if across {
        account
            .because("both sides were armed at that time")
            .change(
                "put disarmOld before armNew, and keep configuration managers from putting the entry back",
            )
            .wrong()
    } else {
        account
            .because("two instances of one side both have the entry")
            .change("let one machine have the entry, or one CronJob with `concurrencyPolicy: Forbid`")
            .wrong()
    }]
}

fn strays(view: &View<'_>, wanted: Stray) -> Vec<Finding> {
    let matched = matched(view);
    let found: Vec<_> = matched.strays.iter().filter(|(stray, ..)| *stray == wanted).collect();
    if found.is_empty() {
        return Vec::new();
    }
    let n = counted(found.len(), "run");
    let most = found.iter().filter_map(|(_, _, by)| *by).max_by_key(|by| by.abs()).unwrap_or_default();
    let zone = view.plan.timetable.as_ref().map(|timetable| &*timetable.time_zone).unwrap_or_default();
    let (what, cause, change) = match wanted {
        Stray::Late => (
            format!(
                "{n} started late, up to {}; {} are allowed",
                lasting(most.unsigned_abs()),
                lasting(tolerance(view).unsigned_abs())
            ),
            "starting a pod takes longer than a process, or nothing was free to run it".to_owned(),
            "have the image on the nodes before, or raise `timetable.tolerance`".to_owned(),
        ),
        Stray::OtherZone => (
            format!("{n} started {} h beside the tick", most.as_hours()),
            "the side reads the schedule in another time zone".to_owned(),
            format!("set `timeZone: {zone}` in the CronJob"),
        ),
        Stray::CatchUp => (
            format!("{n} started at no tick as the new side was armed"),
            "a CronJob that is no longer suspended makes up for the ticks that it missed".to_owned(),
            format!(
                "set `startingDeadlineSeconds` to {} at most, or make the CronJob when it is armed",
                tolerance(view).as_secs().max(11)
            ),
        ),
        Stray::NoTick => (
            format!("{n} started at no tick"),
            "somebody started it by hand, or a side has another schedule than the old crontab".to_owned(),
            "compare the schedules of both sides with the plan's timetable".to_owned(),
        ),
    };
    let names: Vec<String> =
        found.iter().map(|(_, start, _)| name_of(view, start.entry, start.wall)).collect();
    let account = Account::new(what)
        .of_ids(names.iter().map(String::as_str))
        .between(found.iter().map(|(_, start, _)| start.at));
    vec![account.because(cause).change(change).wrong()]
}

fn runs_succeed(view: &View<'_>) -> Vec<Finding> {
    let failed: Vec<(Time, &str)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Run { at, run, event: RunEvent::Failed, .. } => Some((*at, &**run)),
            _ => None,
        })
        .collect();
    if failed.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("{} ended badly", counted(failed.len(), "run")))
        .of_ids(failed.iter().map(|failed| failed.1))
        .between(failed.iter().map(|failed| failed.0));
    vec![account.because("the job itself failed").change("look at the run's log").wrong()]
}

/// From its start to its end, or to the end of the window.
fn spans<'a>(view: &View<'a>) -> Vec<(Start<'a>, Time)> {
    let mut ends: BTreeMap<&str, Time> = BTreeMap::new();
    for seen in view.all() {
        if let Observation::Run { at, run, event: RunEvent::Succeeded | RunEvent::Failed, .. } = seen {
            ends.insert(run, *at);
        }
    }
    let end = |start: &Start<'_>| ends.get(start.run).copied().unwrap_or(view.window.to);
    starts(view).into_iter().map(|start| (start, end(&start))).collect()
}

fn overlap_inputs(view: &View<'_>) -> Vec<(String, String)> {
    let spans = spans(view);
    let longest = spans.iter().map(|(start, end)| end.since(start.at)).max().unwrap_or_default();
    vec![("runs".into(), spans.len().to_string()), ("longest run".into(), lasting(longest))]
}

fn one_at_a_time(view: &View<'_>) -> Vec<Finding> {
    let mut spans = spans(view);
    spans.sort_by_key(|(start, _)| (start.entry, start.at));
    let mut over: Vec<(Start<'_>, Start<'_>)> = Vec::new();
    let mut open: Option<(Start<'_>, Time)> = None;
    for (start, end) in spans {
        match open {
            Some((first, until)) if first.entry == start.entry => {
                if start.at < until && view.window.contains(start.at) {
                    over.push((first, start));
                }
                open = if end > until { Some((start, end)) } else { Some((first, until)) };
            }
            _ => open = Some((start, end)),
        }
    }
    if over.is_empty() {
        return Vec::new();
    }
    let across = over.iter().any(|(first, second)| first.side != second.side);
    let names: Vec<String> = over
        .iter()
        .map(|(first, second)| format!("{} {} and {}", first.entry, first.run, second.run))
        .collect();
    let account =
        Account::new(format!("{} began before the one before it ended", counted(over.len(), "run")))
            .of_ids(names.iter().map(String::as_str))
            .between(over.iter().map(|(_, second)| second.at));
    vec![if across {
        account
            .because("a run of one side was still going on when the other side began its own")
            .change("let disarmOld wait until runs under way are over, before armNew")
            .wrong()
    } else {
        account
            .because("a run takes longer than the time to the next tick")
            .change("set `concurrencyPolicy: Forbid`, as a lock file does on the old side")
            .wrong()
    }]
}
