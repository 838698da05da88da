//! There is enough to judge by, and what judges can be trusted.

use std::time::Duration;

use envctl_model::cutover::{Action, Side};
use envctl_model::stack::ComponentKind;
use jiff::SignedDuration;

use super::account::{Account, Finding};
use super::latency::microseconds;
use super::ticks::judged_since_verified;
use super::view::{SETTLING, View};
use super::window::{During, Window};
use super::words::{counted, lasting, percent};
use super::{Gate, Invariant};
use crate::observation::{JobEvent, Observation, Request};
use crate::statistics::{shared_alpha, upper_bound};

/// A wall clock that moves by more than this against the other clock was set.
const JUMP: SignedDuration = SignedDuration::from_secs(1);

/// The part of the p99 objective that the generator may be late.
const LATENESS: f64 = 0.05;

/// The part of the planned load that has to be sent.
const SENT: f64 = 0.5;

/// How unlikely it is to be that fewer were sent by chance only.
const CHANCE: f64 = 1e-4;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "loadSent", check: load_sent },
        Invariant { name: "enoughPerSide", check: enough_per_side },
        Invariant { name: "enoughTicks", check: enough_ticks },
        Invariant { name: "controlCounted", check: control_counted },
        Invariant { name: "generatorOnTime", check: generator_on_time },
        Invariant { name: "nothingMissing", check: nothing_missing },
        Invariant { name: "clockSteady", check: clock_steady },
    ],
    inputs,
};

/// How many requests each side answered, or jobs each side ended.
fn samples(view: &View<'_>, side: Side) -> u64 {
    let n = match view.plan.kind {
        ComponentKind::Worker => view.seen().filter(|seen| matches!(seen,
            Observation::Job { event: JobEvent::Effect | JobEvent::Failed, side: Some(of), .. } if *of == side)).count(),
        _ => view.requests().filter(|request| view.side_of(&request.id) == Some(side)).count(),
    };
    n as u64
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let alpha = shared_alpha(view.plan);
    let mut inputs = vec![("error rate of each check".to_owned(), format!("{alpha:.6}"))];
    for side in [Side::Old, Side::New] {
        let n = samples(view, side);
        if n == 0 {
            continue;
        }
        inputs.push((format!("{side}: samples"), n.to_string()));
        if view.plan.kind != ComponentKind::Worker {
            let of_it = |request: &&Request| view.side_of(&request.id) == Some(side) && !request.is_well();
            let failed = view.requests().filter(of_it).count() as u64;
            let bound =
                format!("{failed} failures prove a rate below {}", percent(upper_bound(failed, n, alpha)));
            inputs.push((format!("{side}: what they prove"), bound));
        }
    }
    if let Some(late) = lateness(view) {
        inputs.push(("p99 of the generator's lateness".into(), lasting(late)));
    }
    inputs
}

/// A window too short for logs to be read in it tells nothing by what it lacks.
fn is_short(window: &Window) -> bool {
    window.length() < Duration::from_micros(2 * SETTLING)
}

/// Whether so few come by chance where so many are to be expected: they come independently of each other, and few of
/// few say nothing. By Chernoff's bound of a Poisson distribution.
fn is_chance(sent: f64, planned: f64) -> bool {
    let bound = if sent > 0.0 { sent - planned + sent * (planned / sent).ln() } else { -planned };
    bound.exp() > CHANCE
}

fn load_sent(view: &View<'_>) -> Vec<Finding> {
    let seconds = view.window.length().as_secs_f64();
    let (noun, rate, sent) = if let Some(traffic) = &view.plan.traffic {
        ("request", traffic.rate, view.requests().count())
    } else if let Some(work) = &view.plan.work {
        let intended =
            |seen: &&Observation| matches!(seen, Observation::Job { event: JobEvent::Intended, .. });
        ("job", work.rate, view.seen().filter(intended).count())
    } else {
        return Vec::new();
    };
    #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
    let (sent_so_many, planned) = (sent as f64, rate * seconds);
    if is_short(view.window) || sent_so_many >= planned * SENT || is_chance(sent_so_many, planned) {
        return Vec::new();
    }
    let what = format!(
        "the load sent {} in {seconds:.0} s, where {rate} each second are planned",
        counted(sent, noun)
    );
    vec![
        Account::new(what)
            .because(match sent {
                0 => "the load sent nothing: its mix is empty, or what it sends to does not exist",
                _ => "the load sent much less than planned: the generator's machine has too little left",
            })
            .change("see the load's own messages; lower `rate` to what the machine can send")
            .lacking(),
    ]
}

fn enough_per_side(view: &View<'_>) -> Vec<Finding> {
    let Some(step) = view.window.step.and_then(|step| view.plan.steps.get(step)) else { return Vec::new() };
    let wanted = u64::from(step.bake.min_samples_per_side);
    if view.window.during != During::Step || wanted == 0 || view.plan.kind == ComponentKind::Schedule {
        return Vec::new();
    }
    let share = view.planned_share();
    let gets_any = |side: &Side| match (view.plan.kind, side) {
        (ComponentKind::Worker, _) => takes_jobs(view, *side),
        (_, Side::Old) => share < 100,
        (_, Side::New) => share > 0,
    };
    let mut sides: Vec<Side> = [Side::Old, Side::New].into_iter().filter(gets_any).collect();
    if sides.is_empty() {
        sides.push(Side::New);
    }
    let few = |side: Side| {
        let n = samples(view, side);
        (n < wanted).then(|| {
            Account::new(format!("{} of the {side} side, where {wanted} are wanted", counted(n, "sample")))
                .because("the step was not watched for long enough, or the side gets less than its part")
                .change("let the step bake for longer, or raise the rate")
                .lacking()
        })
    };
    sides.into_iter().filter_map(few).collect()
}

fn enough_ticks(view: &View<'_>) -> Vec<Finding> {
    let Some(step) = view.window.step.and_then(|step| view.plan.steps.get(step)) else { return Vec::new() };
    let wanted = step.bake.min_ticks as usize;
    let n = judged_since_verified(view);
    if view.window.during != During::Step || n >= wanted {
        return Vec::new();
    }
    vec![
        Account::new(format!("{} came, where {wanted} are wanted", counted(n, "tick")))
            .because("the entries run more seldom than they are waited for: 10 min")
            .change(
                "let entries run every minute while it is rehearsed, on both sides and in the plan's timetable, or write \
                 `atLeast` in place of `minTicks`",
            )
            .lacking(),
    ]
}

/// Whether a side took jobs when the step's effect held: the last ones of a side that is ended do not count.
fn takes_jobs(view: &View<'_>, side: Side) -> bool {
    let since = view.verified().0 + SETTLING / 2;
    view.seen().any(|seen| {
        matches!(seen, Observation::Job { at, event: JobEvent::Received, side: Some(of), .. }
            if *of == side && at.0 >= since)
    })
}

fn control_counted(view: &View<'_>) -> Vec<Finding> {
    if view.plan.traffic.is_none() {
        return Vec::new();
    }
    let controls = |within: Window| {
        view.all().filter_map(move |seen| match seen {
            Observation::Control { at, sent, counted } if within.contains(*at) => {
                Some((*at, *sent, *counted))
            }
            _ => None,
        })
    };
    let ever = controls(Window { from: crate::Time(0), ..*view.window });
    if ever.filter(|control| control.1 > 0).count() == 0 {
        let account = Account::new("no known bad request was sent up to now")
            .because("metric missing: without one it is not known whether failures are counted at all")
            .change("let the load send known bad requests");
        return vec![account.lacking()];
    }
    let Some((at, sent, right)) = controls(*view.window).filter(|(_, sent, right)| sent != right).last()
    else {
        return Vec::new();
    };
    let account =
        Account::new(format!("{right} of {} counted as failed", counted(sent, "known bad request")))
            .between([at]);
    vec![
        account
            .because("failures are not counted exactly: something hides them or adds to them")
            .change("let no error page, cache or retry stand between the load and the router")
            .wrong(),
    ]
}

/// The p99 of how much later than intended requests were sent.
fn lateness(view: &View<'_>) -> Option<Duration> {
    let mut late = microseconds()?;
    for request in view.requests() {
        late.saturating_record(
            u64::try_from(request.sent.since(request.intended).as_micros()).unwrap_or(u64::MAX),
        );
    }
    (!late.is_empty()).then(|| Duration::from_micros(late.value_at_quantile(0.99)))
}

fn generator_on_time(view: &View<'_>) -> Vec<Finding> {
    let allowed = view.plan.slo.p99.mul_f64(LATENESS);
    let Some(late) = lateness(view).filter(|late| *late > allowed) else { return Vec::new() };
    let what = format!(
        "the generator sent 1 of 100 requests more than {} late; {} are allowed, 5 % of the p99 objective of {}",
        lasting(late),
        lasting(allowed),
        lasting(view.plan.slo.p99)
    );
    vec![
        Account::new(what)
            .because(
                "the machine that makes the load is busy: what is slow may be the load, not the component",
            )
            .change("lower `traffic.rate`, or rehearse on a machine with more processors")
            .lacking(),
    ]
}

/// What has to be seen of this kind of component: where nothing is seen at all, nothing can be wrong with it either.
fn nothing_missing(view: &View<'_>) -> Vec<Finding> {
    let here = |is: fn(&Observation) -> bool| is_short(view.window) || view.seen().any(is);
    let before = |is: fn(&Observation) -> bool| view.all().any(|seen| seen.at() < view.window.to && is(seen));
    let mut missing = Vec::new();
    let mut want = |seen: bool, what: &'static str| {
        if !seen {
            missing.push(what);
        }
    };
    want(before(|seen| matches!(seen, Observation::Instance { .. })), "instances");
    want(before(|seen| matches!(seen, Observation::Clock { .. })), "the wall clock");
    if view.plan.traffic.is_some() {
        want(here(|seen| matches!(seen, Observation::Request(_))), "requests of clients");
        want(here(|seen| matches!(seen, Observation::Served(_))), "the application's log");
        if view.plan.router.is_some() {
            want(here(|seen| matches!(seen, Observation::Routed(_))), "the router's log");
        }
    }
    if matches!(view.window.action(view.plan), Some(Action::SetWeight { .. })) {
        want(before(|seen| matches!(seen, Observation::Weight { .. })), "the router's weights");
    }
    if view.plan.work.is_some() {
        want(
            here(|seen| matches!(seen, Observation::Job { event: JobEvent::Intended, .. })),
            "intents of jobs",
        );
        want(
            here(|seen| matches!(seen, Observation::Job { event: JobEvent::Effect, .. })),
            "effects of jobs",
        );
        want(here(|seen| matches!(seen, Observation::Backlog { .. })), "the queue's backlog");
    }
    if missing.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("metric missing: nothing was seen of {}", missing.join(", ")))
        .of_ids(missing.iter().copied());
    vec![
        account
            .because("what reads it does not run, or reads another place")
            .change("see that the ledger's command prints, and that logs carry `x-request-id`")
            .lacking(),
    ]
}

fn clock_steady(view: &View<'_>) -> Vec<Finding> {
    let mut drift = SignedDuration::ZERO;
    let mut jumps = Vec::new();
    for seen in view.all() {
        let Observation::Clock { at, wall } = seen else { continue };
        let now = wall.duration_since(view.recording.wall(*at));
        if (now - drift).abs() > JUMP && view.window.contains(*at) {
            jumps.push((*at, now - drift));
        }
        drift = now;
    }
    let Some((_, by)) = jumps.first() else { return Vec::new() };
    let account = Account::new(format!("the wall clock jumped by {:.1} s", by.as_secs_f64()))
        .between(jumps.iter().map(|jump| jump.0));
    vec![
        account
            .because(
                "somebody set the clock, or the machine slept: logs of other machines cannot be put in order",
            )
            .change("let the clock be slewed, not stepped, and rehearse again")
            .lacking(),
    ]
}
