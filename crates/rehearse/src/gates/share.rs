//! Each side gets its part: of requests, and of each kind of client.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::cutover::plan::ClientKind;
use envctl_model::cutover::{Action, Side};

use super::account::{Account, Finding};
use super::view::{SETTLING, View};
use super::words::{counted, percent};
use super::{Gate, Invariant};
use crate::observation::{Observation, Request, Time};
use crate::statistics::{shared_alpha, tolerated};

/// So many failures in a row, with none of the others', are no coincidence.
const IN_A_ROW: usize = 3;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "weightAsPlanned", check: weight_as_planned },
        Invariant { name: "shareOfRequests", check: share_of_requests },
        Invariant { name: "shareOfEachKind", check: share_of_each_kind },
        Invariant { name: "emptySideGetsNothing", check: empty_side_gets_nothing },
        Invariant { name: "noClientStuck", check: no_client_stuck },
        Invariant { name: "nameAsPlanned", check: name_as_planned },
    ],
    inputs,
};

/// When a client may still be where the step before had it: until the step's effect was read back, and what was under
/// way then is over, and resolvers have forgotten the name's old address.
pub(super) fn settled(view: &View<'_>) -> Time {
    let forgotten = match view.window.action(view.plan) {
        Some(Action::SwitchName { ttl }) => u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX / 2),
        _ => 0,
    };
    Time(view.verified().0 + SETTLING / 2 + forgotten)
}

/// The requests that were sent when the step's effect held, and where each went.
fn placed<'a>(view: &View<'a>) -> Vec<(&'a Request, Side)> {
    let settled = settled(view);
    view.requests()
        .filter(|request| request.sent >= settled)
        .filter_map(|request| view.side_of(&request.id).map(|side| (request, side)))
        .collect()
}

/// Whose choice is free at each request. A client that sends cookies back may be kept where it is.
fn is_free(request: &Request) -> bool {
    request.client != ClientKind::Sticky
}

fn kind_in_words(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Fresh => "clients with a connection for each request",
        ClientKind::Keepalive => "clients that keep their connection",
        ClientKind::Sticky => "clients that send cookies back",
        ClientKind::TtlIgnoring => "clients that resolve the name once",
    }
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let placed = placed(view);
    let mut inputs = vec![
        ("planned for the new side".to_owned(), format!("{} %", view.planned_share())),
        ("error rate of each check".to_owned(), format!("{:.6}", shared_alpha(view.plan))),
    ];
    let mut kinds: BTreeMap<ClientKind, (usize, usize, BTreeSet<u32>)> = BTreeMap::new();
    for (request, side) in &placed {
        let (new, all, clients) = kinds.entry(request.client).or_default();
        *new += usize::from(*side == Side::New);
        *all += 1;
        clients.insert(request.number);
    }
    inputs.extend(kinds.into_iter().map(|(kind, (new, all, clients))| {
        let name = kind_in_words(kind).to_owned();
        (name, format!("{new} of {all} requests to the new side, {}", counted(clients.len(), "client")))
    }));
    inputs
}

pub(super) fn weight_as_planned(view: &View<'_>) -> Vec<Finding> {
    let Some(Action::SetWeight { percent: planned }) = view.window.action(view.plan) else {
        return Vec::new();
    };
    let verified = view.verified();
    let mut read: Vec<(Time, u8, u8)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Weight { at, running, configured } => Some((*at, *running, *configured)),
            _ => None,
        })
        .collect();
    read.sort_unstable();
    // What was read before the effect held tells of the way there; the last of it is what it was verified by.
    let before = read.iter().filter(|read| read.0 <= verified).count();
    read.drain(..before.saturating_sub(1));
    if read.is_empty() {
        let account = Account::new("the router's weights were not read back in this window")
            .because("metric missing: the router's state is not known")
            .change("see that the router's runtime API answers");
        return vec![account.lacking()];
    }
    let wrong: Vec<_> =
        read.iter().filter(|(_, running, configured)| running != planned || configured != planned).collect();
    let Some((_, running, configured)) = wrong.first() else { return Vec::new() };
    let what = format!(
        "the new side's weight is {running} as the router runs and {configured} in its configuration, not {planned} in \
         both"
    );
    let account = Account::new(what).between(wrong.iter().map(|read| read.0));
    vec![if running == planned {
        account
            .because("the weight was set in the running router only: a restart forgets it")
            .change(format!("write the weight {planned} into the router's configuration too"))
            .wrong()
    } else {
        account
            .because("the router was restarted or changed by somebody else after the weight was set")
            .change("keep configuration managers off the router during the cutover")
            .wrong()
    }]
}

/// Says when so many to the new side are more or fewer than chance explains.
fn off(view: &View<'_>, of: &str, placed: &[&(&Request, Side)]) -> Option<Account> {
    let share = f64::from(view.planned_share()) / 100.0;
    let (new, n) = (placed.iter().filter(|(_, side)| *side == Side::New).count() as u64, placed.len() as u64);
    let range = tolerated(n, share, shared_alpha(view.plan));
    // With nothing or all, emptySideGetsNothing says who is left.
    if n == 0 || share <= 0.0 || share >= 1.0 || range.contains(&new) {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
    let what = format!(
        "{new} of {} of {of} went to the new side ({}); {} to {} are what {} % explains",
        counted(n, "request"),
        percent(new as f64 / n as f64),
        range.start(),
        range.end(),
        view.planned_share()
    );
    Some(Account::new(what).between(placed.iter().map(|(request, _)| request.done)))
}

fn share_of_requests(view: &View<'_>) -> Vec<Finding> {
    let placed = placed(view);
    let free: Vec<_> = placed.iter().filter(|(request, _)| is_free(request)).collect();
    let off = off(view, "all clients", &free).map(|account| {
        account
            .because("the router does not do what its weights say: they are of another back end, or of one server of it")
            .change("set the weights so that the sides' sums have the planned ratio, whatever their instances")
            .wrong()
    });
    off.into_iter().collect()
}

fn share_of_each_kind(view: &View<'_>) -> Vec<Finding> {
    let placed = placed(view);
    let kinds: BTreeSet<ClientKind> =
        placed.iter().filter(|(request, _)| is_free(request)).map(|(request, _)| request.client).collect();
    let of_kind = |kind: ClientKind| {
        let of_it: Vec<_> = placed.iter().filter(|(request, _)| request.client == kind).collect();
        let (cause, change) = match kind {
            ClientKind::Keepalive => (
                "an open connection stays with the side that it began with",
                "have the router choose for each request (`mode http`, without `option prefer-last-server`)",
            ),
            ClientKind::TtlIgnoring => (
                "they go on with the address that they once resolved",
                "put the router behind the old address, and switch it off only when its log is silent",
            ),
            ClientKind::Fresh | ClientKind::Sticky => (
                "the router does not treat these clients as it treats others",
                "take rules for certain clients out of the router, or give the sides the same",
            ),
        };
        off(view, kind_in_words(kind), &of_it).map(|account| account.because(cause).change(change).wrong())
    };
    kinds.into_iter().filter_map(of_kind).collect()
}

/// With nothing or all for the new side, no client may be left on the other one: it would fail when that side ends.
fn empty_side_gets_nothing(view: &View<'_>) -> Vec<Finding> {
    let empty = match view.planned_share() {
        0 => Side::New,
        100 => Side::Old,
        _ => return Vec::new(),
    };
    let mut left: BTreeMap<ClientKind, Vec<&Request>> = BTreeMap::new();
    for (request, _) in placed(view).iter().filter(|(_, side)| *side == empty) {
        left.entry(request.client).or_default().push(request);
    }
    let finding = |(kind, requests): (ClientKind, Vec<&Request>)| {
        let clients: BTreeSet<String> =
            requests.iter().map(|request| format!("{kind:?} {}", request.number)).collect();
        let what = format!(
            "{} of {} still went to the {empty} side, which gets nothing any more",
            counted(requests.len(), "request"),
            kind_in_words(kind)
        );
        let (cause, change) = match kind {
            ClientKind::Sticky => (
                "their cookies keep them on the side that they began with",
                "have the router ignore cookies of a side without weight (`set server … state maint`)",
            ),
            ClientKind::Keepalive => (
                "their open connections stay with the side that they began with",
                "have the router choose for each request, or close connections of that side (`option httpclose`)",
            ),
            ClientKind::TtlIgnoring => (
                "they resolved the name before, and never again",
                "leave the router behind the old address, or restart these callers before the old side stops",
            ),
            ClientKind::Fresh => (
                "the router, or a cached name, still leads there",
                "read the weights and the name back, and wait for its TTL",
            ),
        };
        let account = Account::new(what)
            .of_ids(clients.iter().map(String::as_str))
            .between(requests.iter().map(|request| request.done));
        account.because(cause).change(change).wrong()
    };
    left.into_iter().map(finding).collect()
}

/// A client of which every request fails from some time on, while those of others are well.
fn no_client_stuck(view: &View<'_>) -> Vec<Finding> {
    let mut clients: BTreeMap<(ClientKind, u32), Vec<&Request>> = BTreeMap::new();
    let (mut all, mut failed) = (0, 0);
    for request in view.requests() {
        clients.entry((request.client, request.number)).or_default().push(request);
        all += 1;
        failed += usize::from(!request.is_well());
    }
    if failed * 2 > all {
        return Vec::new();
    }
    let is_stuck = |requests: &Vec<&Request>| {
        requests.iter().rev().take_while(|request| !request.is_well()).count() >= IN_A_ROW
    };
    let stuck: Vec<_> = clients.iter().filter(|(_, requests)| is_stuck(requests)).collect();
    if stuck.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = stuck.iter().map(|((kind, number), _)| format!("{kind:?} {number}")).collect();
    let sticky = stuck.iter().all(|((kind, _), _)| *kind == ClientKind::Sticky);
    let what = format!("{} of {} got no good answer any more", stuck.len(), counted(clients.len(), "client"));
    let account = Account::new(what)
        .of_ids(names.iter().map(String::as_str))
        .between(stuck.iter().filter_map(|(_, requests)| requests.last().map(|request| request.done)));
    vec![if sticky {
        account
            .because("their cookies lead to a group that has no instance")
            .change(
                "give a group a weight only when its instances are ready, and forget cookies of empty ones",
            )
            .wrong()
    } else {
        account
            .because("they hold on to a connection or an address behind which nobody answers")
            .change("close connections of instances that end, and keep the old address answering")
            .wrong()
    }]
}

pub(super) fn name_as_planned(view: &View<'_>) -> Vec<Finding> {
    if !matches!(view.window.action(view.plan), Some(Action::SwitchName { .. })) {
        return Vec::new();
    }
    let verified = view.verified();
    let back: Vec<Time> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Name { at, side: Side::Old } if *at > verified => Some(*at),
            _ => None,
        })
        .collect();
    if back.is_empty() {
        return Vec::new();
    }
    let account = Account::new("the component's name leads to the old side again").between(back);
    vec![
        account
            .because("somebody else writes the name's record, such as a configuration manager")
            .change("have only the cutover write the record until it is over")
            .wrong(),
    ]
}
