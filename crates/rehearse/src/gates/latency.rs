//! The latency objective, on each side.

use std::time::Duration;

use envctl_model::cutover::{LEAST_FOR_P99, Side};
use hdrhistogram::Histogram;

use super::account::{Account, Finding};
use super::view::View;
use super::window::During;
use super::words::{counted, lasting, percent};
use super::{Gate, Invariant, permits};
use crate::observation::Request;

const LEAST: u64 = LEAST_FOR_P99 as u64;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "p99Holds", check: p99_holds },
        Invariant { name: "availabilityHolds", check: availability_holds },
        Invariant { name: "p99Known", check: p99_known },
    ],
    inputs,
};

/// Latencies of a side, and how much of them is the generator's own lateness.
struct Latencies {
    side: Side,
    from_intended: Histogram<u64>,
    lateness: Histogram<u64>,
}

impl Latencies {
    fn p99(&self) -> Duration {
        Duration::from_micros(self.from_intended.value_at_quantile(0.99))
    }
}

fn latencies(view: &View<'_>) -> Vec<Latencies> {
    let permits = permits::permits(view);
    let of = |side| {
        let (mut from_intended, mut lateness) = (microseconds()?, microseconds()?);
        for request in view.requests() {
            if view.side_of(&request.id) == Some(side) && !permits::excused(&permits, request.done) {
                from_intended.saturating_record(micros(request.done.since(request.intended)));
                lateness.saturating_record(micros(request.sent.since(request.intended)));
            }
        }
        Some(Latencies { side, from_intended, lateness })
    };
    [Side::Old, Side::New].into_iter().filter_map(of).filter(|side| !side.from_intended.is_empty()).collect()
}

/// An empty histogram of times up to an hour, three figures exact: longer ones count as an hour.
pub(super) fn microseconds() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).ok()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let mut inputs = vec![("objective: p99".to_owned(), lasting(view.plan.slo.p99))];
    for latencies in latencies(view) {
        let side = latencies.side;
        let quantile = |part| lasting(Duration::from_micros(latencies.from_intended.value_at_quantile(part)));
        inputs.push((format!("{side}: requests"), latencies.from_intended.len().to_string()));
        inputs.push((format!("{side}: p50"), quantile(0.5)));
        inputs.push((format!("{side}: p95"), quantile(0.95)));
        inputs.push((format!("{side}: p99"), quantile(0.99)));
        let late = Duration::from_micros(latencies.lateness.value_at_quantile(0.99));
        inputs.push((format!("{side}: p99 of the generator's lateness, which is part of it"), lasting(late)));
    }
    inputs
}

fn p99_holds(view: &View<'_>) -> Vec<Finding> {
    let objective = view.plan.slo.p99;
    let slow = |latencies: Latencies| {
        let side = latencies.side;
        let p99 = latencies.p99();
        let late = Duration::from_micros(latencies.lateness.value_at_quantile(0.99));
        let requests = view.requests().filter(|request| {
            request.done.since(request.intended) > objective && view.side_of(&request.id) == Some(side)
        });
        let requests: Vec<&Request> = requests.collect();
        Account::new(format!(
            "99 of 100 requests to the {side} side took up to {}, not {}; the generator's own lateness is {} of it",
            lasting(p99),
            lasting(objective),
            lasting(late)
        ))
        .of_requests(&requests)
        .because(if late > objective / 20 {
            "the generator is late itself: the machine it runs on has too little left"
        } else {
            "the side has too few instances or too little of what they need, or waits for a lock or a connection"
        })
        .change(match side {
            Side::New => "raise `replicas`, or `resources.limits.cpu`, of the new side; look for locks and full pools",
            Side::Old => "give the old side less to do, or more instances; look for locks and full pools",
        })
        .wrong()
    };
    latencies(view)
        .into_iter()
        .filter(|side| side.from_intended.len() >= LEAST && side.p99() > objective)
        .map(slow)
        .collect()
}

fn availability_holds(view: &View<'_>) -> Vec<Finding> {
    let permits = permits::permits(view);
    let judged: Vec<&Request> =
        view.requests().filter(|request| !permits::excused(&permits, request.done)).collect();
    let failed: Vec<&Request> = judged.iter().copied().filter(|request| !request.is_well()).collect();
    #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
    let part = failed.len() as f64 / judged.len().max(1) as f64;
    if part <= 1.0 - view.plan.slo.availability {
        return Vec::new();
    }
    let what = format!(
        "{} failed of {}: {} are answered well, {} are promised",
        failed.len(),
        counted(judged.len(), "request"),
        percent(1.0 - part),
        percent(view.plan.slo.availability)
    );
    vec![
        Account::new(what)
            .of_requests(&failed)
            .because("more requests fail than the objective allows; noFailedRequest says why")
            .change("see noFailedRequest")
            .wrong(),
    ]
}

fn p99_known(view: &View<'_>) -> Vec<Finding> {
    // What is left of a fault's window after the time to recover may be short: other gates judge the fault.
    if matches!(view.window.during, During::Fault(_)) {
        return Vec::new();
    }
    let seen = latencies(view);
    let share = view.planned_share();
    let planned = [(Side::Old, share < 100), (Side::New, share > 0)];
    let few = |side: Side| {
        let n = seen
            .iter()
            .find(|latencies| latencies.side == side)
            .map_or(0, |latencies| latencies.from_intended.len());
        (n < LEAST).then(|| {
            Account::new(format!(
                "{} to the {side} side: the p99 is not known from fewer than {LEAST}",
                counted(n, "request")
            ))
            .because("too few requests in this window")
            .change("raise `traffic.rate`, or `bake.minSamplesPerSide` of the step")
            .lacking()
        })
    };
    planned.into_iter().filter(|(_, planned)| *planned).filter_map(|(side, _)| few(side)).collect()
}
