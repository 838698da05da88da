//! No request failed: as seen by client, router and application.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::cutover::Side;

use super::account::{Account, Finding};
use super::causes::Cause;
use super::permits::Cost;
use super::view::View;
use super::words::{counted, fate, termination};
use super::{BESIDE_THE_LOAD, Gate, Invariant, permits};
use crate::observation::{Outcome, Request};

const FAILED: Cost = Cost {
    noun: "failed request",
    change: "have the router take a lost instance out sooner (`check inter`, `fall`), and run more of them; or permit \
             more in the plan's `faults`",
};

const INVARIANTS: &[Invariant] = &[
    Invariant { name: "everyRequestWell", check: every_request_well },
    Invariant { name: "clientEqualsRouter", check: client_equals_router },
    Invariant { name: "routerEqualsApplication", check: router_equals_application },
    Invariant { name: "servedOnce", check: served_once },
    Invariant { name: "nobodyElseSends", check: nobody_else_sends },
    Invariant { name: "sessionsEndWell", check: sessions_end_well },
    Invariant { name: "controlFails", check: control_fails },
];

pub(super) const GATE: Gate = Gate { invariants: INVARIANTS, inputs };

/// The same while going back, with the latency of nobody in mind but that every request is answered.
pub(super) const DURING_ROLLBACK: Gate = Gate { invariants: INVARIANTS, inputs };

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let requests: Vec<&Request> = view.requests().collect();
    let failed = requests.iter().filter(|request| !request.is_well()).count();
    let served = |side: Side| view.served().filter(|served| served.side == side).count().to_string();
    vec![
        ("requests".into(), requests.len().to_string()),
        ("failed".into(), failed.to_string()),
        ("known bad".into(), view.controls().count().to_string()),
        ("routed".into(), view.routed().count().to_string()),
        ("served by the old side".into(), served(Side::Old)),
        ("served by the new side".into(), served(Side::New)),
    ]
}

/// What clients saw fail, by cause. A fault may cost what the plan permits.
pub(super) fn every_request_well(view: &View<'_>) -> Vec<Finding> {
    let failed: Vec<&Request> = view.requests().filter(|request| !request.is_well()).collect();
    let (mut findings, failed) =
        permits::settle(view, &FAILED, failed, |request| request.done, |request| &request.id);
    let mut by_cause: BTreeMap<Cause, Vec<&Request>> = BTreeMap::new();
    for request in failed {
        by_cause.entry(Cause::of(view, request)).or_default().push(request);
    }
    for (cause, failed) in by_cause {
        let mut fates: BTreeMap<String, usize> = BTreeMap::new();
        for request in &failed {
            *fates.entry(fate(request)).or_default() += 1;
        }
        let fates: Vec<String> = fates.iter().map(|(fate, n)| format!("{n} {fate}")).collect();
        let what = format!(
            "{} of {} failed: {}",
            failed.len(),
            counted(view.requests().count(), "request"),
            fates.join(", ")
        );
        let account = Account::new(what).of_requests(&failed);
        findings.push(account.because(cause.words(view)).change(cause.change(view, &failed)).wrong());
    }
    findings
}

/// The requests that are reconciled in this window, with what the router saw of each.
fn reconciled<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Request> + use<'a> {
    let window = view.reconciled();
    view.all().filter_map(move |seen| match seen {
        crate::Observation::Request(request) if !request.control && window.contains(request.done) => {
            Some(request)
        }
        _ => None,
    })
}

fn client_equals_router(view: &View<'_>) -> Vec<Finding> {
    if view.plan.router.is_none() {
        return Vec::new();
    }
    let answered: Vec<(&Request, u16)> = reconciled(view)
        .filter_map(|request| match request.outcome {
            Outcome::Answered { status } => Some((request, status)),
            _ => None,
        })
        .collect();
    let routed =
        |request: &Request| view.by_id().get(&*request.id).and_then(|seen| seen.router.last().copied());
    if !answered.is_empty() && answered.iter().all(|(request, _)| routed(request).is_none()) {
        return vec![unseen("router", answered.len())];
    }
    let differ = answered
        .iter()
        .filter(|(request, status)| routed(request).is_none_or(|routed| routed.status != *status))
        .map(|(request, _)| *request);
    let differ: Vec<&Request> = differ.collect();
    if differ.is_empty() {
        return Vec::new();
    }
    let missing = differ.iter().filter(|request| routed(request).is_none()).count();
    let what = format!(
        "{} answered to clients of which the router says otherwise: {missing} it never saw, {} it gave another \
         status",
        counted(differ.len(), "request"),
        differ.len() - missing
    );
    vec![
        Account::new(what)
            .of_requests(&differ)
            .because("clients reach the component on a way that is not the router's, or its log loses lines")
            .change(
                "give clients the router's address only, and have it log each request (no `dontlog-normal`)",
            )
            .wrong(),
    ]
}

fn router_equals_application(view: &View<'_>) -> Vec<Finding> {
    let well: Vec<&Request> = reconciled(view).filter(|request| request.is_well()).collect();
    let sightings = |request: &Request| view.by_id().get(&*request.id);
    let unserved =
        |request: &Request| sightings(request).is_none_or(|sightings| sightings.application.is_empty());
    if !well.is_empty() && well.iter().all(|request| unserved(request)) {
        return vec![unseen("application", well.len())];
    }
    let elsewhere = |request: &Request| {
        sightings(request).is_some_and(|sightings| {
            let routed = sightings.router.last().and_then(|routed| routed.side);
            let served = sightings.application.last().map(|served| served.side);
            routed.is_some() && served.is_some() && routed != served
        })
    };
    let differ: Vec<&Request> =
        well.into_iter().filter(|request| unserved(request) || elsewhere(request)).collect();
    if differ.is_empty() {
        return Vec::new();
    }
    let missing = differ.iter().filter(|request| unserved(request)).count();
    let what = format!(
        "{} answered well of which the application says otherwise: {missing} it never served, {} the other side did",
        counted(differ.len(), "request"),
        differ.len() - missing
    );
    vec![
        Account::new(what)
            .of_requests(&differ)
            .because("something before the application answers in its place, such as a cache or a default back end")
            .change("have caches pass on requests that carry `x-request-id`, and let no default back end answer")
            .wrong(),
    ]
}

pub(super) fn served_once(view: &View<'_>) -> Vec<Finding> {
    let window = view.reconciled();
    let mut twice: Vec<(&str, crate::Time)> = view
        .by_id()
        .iter()
        .filter(|(id, seen)| seen.application.len() > 1 && !id.is_empty() && !id.starts_with(BESIDE_THE_LOAD))
        .filter_map(|(id, seen)| seen.application.iter().map(|served| served.at).max().map(|at| (*id, at)))
        .filter(|(_, at)| window.contains(*at))
        .collect();
    if twice.is_empty() {
        return Vec::new();
    }
    twice.sort_unstable();
    let account = Account::new(format!("{} served more than once", counted(twice.len(), "request")))
        .of_ids(twice.iter().map(|(id, _)| *id))
        .between(twice.iter().map(|(_, at)| *at));
    vec![
        account
            .because(
                "the router, or a proxy behind it, sends a request again when it fails: that hides failures",
            )
            .change("set `retries 0` in the router's configuration, without `option redispatch`")
            .wrong(),
    ]
}

fn nobody_else_sends(view: &View<'_>) -> Vec<Finding> {
    let window = view.reconciled();
    // One that is still under way is of the load, too, though its client has not told of it yet: the ids of a load
    // differ in their number only.
    let run = |id: &'_ str| id.rsplit_once('-').map(|(run, _)| run.to_owned());
    let sent = view.by_id().iter().filter(|(_, seen)| seen.client.is_some());
    let runs: BTreeSet<String> = sent.filter_map(|(id, _)| run(id)).collect();
    let unknown = |id: &str| {
        !id.starts_with(BESIDE_THE_LOAD)
            && view.by_id().get(id).is_none_or(|seen| seen.client.is_none())
            && run(id).is_none_or(|run| !runs.contains(&run))
    };
    let mut strangers: BTreeMap<&str, crate::Time> = BTreeMap::new();
    for seen in view.all() {
        let (at, id) = match seen {
            crate::Observation::Routed(routed) => (routed.at, &*routed.id),
            // Probes of the application carry no id.
            crate::Observation::Served(served) if !served.id.is_empty() => (served.at, &*served.id),
            _ => continue,
        };
        if window.contains(at) && unknown(id) {
            strangers.insert(id, at);
        }
    }
    if strangers.is_empty() {
        return Vec::new();
    }
    let account =
        Account::new(format!("{} that no client of the load sent", counted(strangers.len(), "request")))
            .of_ids(strangers.keys().copied())
            .between(strangers.values().copied());
    vec![
        account
            .because("somebody else uses the component during the rehearsal, or a mirror repeats requests")
            .change(
                "switch mirrors and other callers off, or rehearse where nobody else reaches the component",
            )
            .wrong(),
    ]
}

fn sessions_end_well(view: &View<'_>) -> Vec<Finding> {
    let mut by_code: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in reconciled(view).filter(|request| request.is_well()) {
        let routed = view.by_id().get(&*request.id).and_then(|seen| seen.router.last().copied());
        if let Some(code) = routed.and_then(|routed| routed.termination.get(..2)).filter(|code| *code != "--")
        {
            by_code.entry(code).or_default().push(request);
        }
    }
    let finding = |(code, requests): (&str, Vec<&Request>)| {
        let what = format!(
            "{} answered well that the router ended with `{code}`: {}",
            counted(requests.len(), "request"),
            termination(code)
        );
        Account::new(what)
            .of_requests(&requests)
            .because("the client had its answer, yet the session broke: with a larger answer it would have failed")
            .change("raise the time-out of the side that ended it, or let instances finish answers before they end")
            .wrong()
    };
    by_code.into_iter().map(finding).collect()
}

fn control_fails(view: &View<'_>) -> Vec<Finding> {
    let well: Vec<&Request> = view.controls().filter(|request| request.is_well()).collect();
    if well.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("{} counted as well", counted(well.len(), "known bad request")))
        .of_requests(&well);
    vec![
        account
            .because("something answers what has to fail, so that real failures would be hidden too")
            .change("let no error page or cache answer with the status that is right")
            .wrong(),
    ]
}

/// A log that says nothing at all about what clients saw.
fn unseen(of: &str, requests: usize) -> Finding {
    Account::new(format!("the {of} logged none of {}", counted(requests, "request")))
        .because(format!("metric missing: the log of the {of} is not read, or carries no `x-request-id`"))
        .change(format!("have the {of} log the header `x-request-id` of each request"))
        .lacking()
}
