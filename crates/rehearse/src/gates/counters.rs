//! Gates over counters of requests that somebody else keeps.

use std::time::Duration;

use envctl_model::cutover::Side;
use envctl_model::cutover::production::Production;

use super::account::{Account, Finding};
use super::share;
use super::view::{SETTLING, View};
use super::words::{counted, lasting, percent};
use super::{Gate, Invariant};
use crate::observation::{Observation, Time};
use crate::recording::Recording;
use crate::statistics::{shared_alpha, tolerated};

/// By how much the part of a side may be off beside what chance explains: sessions that stay where they were, and
/// counters that are not read at the same moment.
const SLACK: f64 = 0.02;

pub(super) const FAILED: Gate = Gate {
    invariants: &[
        Invariant { name: "withinAvailability", check: within_availability },
        Invariant { name: "countersRead", check: counters_read },
    ],
    inputs,
};

pub(super) const LATENCY: Gate = Gate {
    invariants: &[
        Invariant { name: "p99Holds", check: p99_holds },
        Invariant { name: "p99Known", check: p99_known },
    ],
    inputs,
};

pub(super) const SHARE: Gate = Gate {
    invariants: &[
        Invariant { name: "weightAsPlanned", check: share::weight_as_planned },
        Invariant { name: "shareOfRequests", check: share_of_requests },
        Invariant { name: "emptySideGetsNothing", check: empty_side_gets_nothing },
        Invariant { name: "nameAsPlanned", check: share::name_as_planned },
    ],
    inputs,
};

pub(super) const SILENT: Gate = Gate {
    invariants: &[
        Invariant { name: "oldGetsNothing", check: old_gets_nothing },
        Invariant { name: "countersRead", check: counters_read },
    ],
    inputs,
};

pub(super) const SAMPLES: Gate = Gate {
    invariants: &[
        Invariant { name: "enoughPerSide", check: enough_per_side },
        Invariant { name: "countersRead", check: counters_read },
    ],
    inputs,
};

/// How old a reading may be from which it is counted on.
const STALE: Duration = Duration::from_secs(30);

/// A reading of one side.
#[derive(Clone, Copy)]
struct Reading {
    at: Time,
    requests: u64,
    failed: u64,
    p99: Option<f64>,
}

/// What a side counted in a while.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

fn readings(recording: &Recording, side: Side, to: Time) -> Vec<Reading> {
    let reading = |seen: &Observation| match seen {
        Observation::Counted { at, side: of, requests, failed, p99 } if *of == side && *at < to => {
            Some(Reading { at: *at, requests: *requests, failed: *failed, p99: *p99 })
        }
        _ => None,
    };
    let mut readings: Vec<_> = recording.observations.iter().filter_map(reading).collect();
    readings.sort_by_key(|reading| reading.at);
    readings
}

/// What a side counted from a moment to the window's end; none if it was not read often enough to tell.
fn counts(view: &View<'_>, side: Side, from: Time) -> Option<Counts> {
    counted_between(view.recording, side, from, view.window.to)
}

/// What a side counted from one moment to another; none if it was not read often enough to tell.
pub(crate) fn counted_between(recording: &Recording, side: Side, from: Time, to: Time) -> Option<Counts> {
    let readings = readings(recording, side, to);
    let after = readings.iter().position(|reading| reading.at > from).unwrap_or(readings.len());
    // What was read before somebody stopped for a night says nothing of now.
    let is_fresh = |reading: &Reading| from.since(reading.at) <= STALE;
    let before = after.checked_sub(1).filter(|before| is_fresh(&readings[*before])).unwrap_or(after);
    let [first, rest @ ..] = &readings[before..] else { return None };
    if rest.is_empty() {
        return None;
    }
    let mut sums = Counts::default();
    let mut last = first;
    for reading in rest {
        // Who counts was restarted, or one of several was: what it counts now is in part of before.
        sums.requests += reading.requests.saturating_sub(last.requests);
        sums.failed += reading.failed.saturating_sub(last.failed);
        last = reading;
    }
    Some(sums)
}

fn sides_that_get_any(view: &View<'_>) -> Vec<Side> {
    let share = view.planned_share();
    let gets = [(Side::Old, share < 100), (Side::New, share > 0)];
    gets.into_iter().filter(|(_, gets)| *gets).map(|(side, _)| side).collect()
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let mut inputs = vec![
        ("planned for the new side".to_owned(), format!("{} %", view.planned_share())),
        ("promised: answered well".to_owned(), percent(view.plan.slo.availability)),
        ("objective: p99".to_owned(), lasting(view.plan.slo.p99)),
    ];
    for side in [Side::Old, Side::New] {
        if let Some(counts) = counts(view, side, view.window.from) {
            inputs.push((format!("{side}: requests"), counts.requests.to_string()));
            inputs.push((format!("{side}: failed"), counts.failed.to_string()));
        }
        if let Some(p99) = latest_p99(view, side) {
            inputs.push((format!("{side}: p99"), format!("{p99:.3} s")));
        }
    }
    inputs
}

fn within_availability(view: &View<'_>) -> Vec<Finding> {
    let alpha = shared_alpha(view.plan);
    let of = |side: Side| {
        let Counts { requests, failed } = counts(view, side, view.window.from)?;
        let most = *tolerated(requests, 1.0 - view.plan.slo.availability, alpha).end();
        if failed <= most {
            return None;
        }
        let promised = percent(view.plan.slo.availability);
        let what = format!(
            "{failed} of {} to the {side} side failed; with {promised} answered well, {most} at most would",
            counted(requests, "request")
        );
        Some(
            Account::new(what)
                .between([view.window.from, view.window.to])
                .because(match side {
                    Side::New => "the new side answers worse than it did in the rehearsal",
                    Side::Old => "the old side suffers, too: from what both share, or from something else",
                })
                .change("find out from the logs of this time what failed, before this is tried again")
                .wrong(),
        )
    };
    [Side::Old, Side::New].into_iter().filter_map(of).collect()
}

/// Who gets requests has to be counted in the window.
fn counters_read(view: &View<'_>) -> Vec<Finding> {
    let silent = |side: &Side| {
        !readings(view.recording, *side, view.window.to).iter().any(|reading| reading.at >= view.window.from)
    };
    let lacking = |side: Side| {
        Account::new(format!("the counters of the {side} side were not read in this window"))
            .because("metric missing: who counts does not answer, or knows no such counter")
            .change(
                "see that `production.metrics` tells counters of both sides, also of one that gets nothing",
            )
            .lacking()
    };
    sides_that_get_any(view).into_iter().filter(silent).map(lacking).collect()
}

fn latest_p99(view: &View<'_>, side: Side) -> Option<f64> {
    let verified = view.verified();
    readings(view.recording, side, view.window.to)
        .iter()
        .rev()
        .take_while(|reading| reading.at >= verified)
        .find_map(|reading| reading.p99)
}

fn p99_holds(view: &View<'_>) -> Vec<Finding> {
    let objective = view.plan.slo.p99;
    let slow = |side: Side| {
        let p99 = latest_p99(view, side)?;
        (p99 > objective.as_secs_f64()).then(|| {
            Account::new(format!(
                "99 of 100 requests to the {side} side take up to {p99:.3} s, not {}",
                lasting(objective)
            ))
            .between([view.window.from, view.window.to])
            .because("the side has too few instances or too little of what they need, or waits for a lock")
            .change("raise `replicas`, or `resources.limits.cpu`; look for locks and full pools")
            .wrong()
        })
    };
    sides_that_get_any(view).into_iter().filter_map(slow).collect()
}

fn p99_known(view: &View<'_>) -> Vec<Finding> {
    let unknown = |side: &Side| latest_p99(view, *side).is_none();
    let lacking = |side: Side| {
        Account::new(format!("the latency of the {side} side was not told in this window"))
            .because("metric missing: who counts tells no `p99` of it")
            .change("see that `production.metrics` tells the p99 of each side that gets requests")
            .lacking()
    };
    sides_that_get_any(view).into_iter().filter(unknown).map(lacking).collect()
}

/// How long what is read may still be of before.
fn lag(view: &View<'_>) -> u64 {
    let lag = view.plan.production.as_ref().map_or(Duration::ZERO, Production::lag);
    u64::try_from(lag.as_micros()).unwrap_or(u64::MAX / 2)
}

/// When what is read is of the step's effect alone.
fn settled(view: &View<'_>) -> Time {
    Time(share::settled(view).0 + lag(view))
}

/// What each side counted since the step's effect holds.
fn placed(view: &View<'_>) -> Option<[u64; 2]> {
    let settled = settled(view);
    Some([counts(view, Side::Old, settled)?.requests, counts(view, Side::New, settled)?.requests])
}

fn share_of_requests(view: &View<'_>) -> Vec<Finding> {
    let share = f64::from(view.planned_share()) / 100.0;
    if share <= 0.0 || share >= 1.0 {
        return Vec::new();
    }
    let Some([old, new]) = placed(view) else {
        return vec![
            Account::new("the counters of both sides were not read since the weight is set")
                .because("metric missing: one of both sides is not counted")
                .change("see that `production.metrics` tells counters of both sides")
                .lacking(),
        ];
    };
    let n = old + new;
    let alpha = shared_alpha(view.plan);
    let (least, most) = (
        *tolerated(n, (share - SLACK).max(0.0), alpha).start(),
        *tolerated(n, (share + SLACK).min(1.0), alpha).end(),
    );
    if (least..=most).contains(&new) {
        return Vec::new();
    }
    let what = format!(
        "{new} of {} went to the new side; {least} to {most} are what {} % explains",
        counted(n, "request"),
        view.planned_share()
    );
    vec![
        Account::new(what)
            .between([view.verified(), view.window.to])
            .because("the router does not do what its weights say, or sessions keep clients where they were")
            .change("read the weights of all routers, and look for cookies and open connections that stick")
            .wrong(),
    ]
}

fn gets_nothing(view: &View<'_>, side: Side, from: Time) -> Vec<Finding> {
    let Some(Counts { requests: n @ 1.., .. }) = counts(view, side, from) else { return Vec::new() };
    vec![
        Account::new(format!(
            "{} still went to the {side} side, which gets nothing any more",
            counted(n, "request")
        ))
        .between([from, view.window.to])
        .because("a cached name, an open connection or another router still leads there")
        .change("find out from that side's access log who calls it, and move these callers first")
        .wrong(),
    ]
}

fn empty_side_gets_nothing(view: &View<'_>) -> Vec<Finding> {
    match view.planned_share() {
        0 => gets_nothing(view, Side::New, settled(view)),
        100 => gets_nothing(view, Side::Old, settled(view)),
        _ => Vec::new(),
    }
}

fn old_gets_nothing(view: &View<'_>) -> Vec<Finding> {
    gets_nothing(view, Side::Old, Time(view.verified().0 + SETTLING / 2 + lag(view)))
}

fn enough_per_side(view: &View<'_>) -> Vec<Finding> {
    let Some(step) = view.window.step.and_then(|step| view.plan.steps.get(step)) else { return Vec::new() };
    let wanted = u64::from(step.bake.min_samples_per_side);
    let few = |side: Side| {
        let n = counts(view, side, view.window.from).map_or(0, |counts| counts.requests);
        (n < wanted).then(|| {
            Account::new(format!(
                "{} to the {side} side, and {wanted} are to be judged by",
                counted(n, "request")
            ))
            .because("too few requests in this window")
            .change("raise `production.bake`, or do it at an hour at which more is asked for")
            .lacking()
        })
    };
    if view.window.during != super::During::Step {
        return Vec::new();
    }
    sides_that_get_any(view).into_iter().filter_map(few).collect()
}

#[cfg(test)]
mod tests;
