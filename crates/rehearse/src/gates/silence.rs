//! The old side gets nothing any more.

use std::collections::BTreeMap;

use envctl_model::cutover::{Action, Side};

use super::account::{Account, Finding};
use super::view::{SETTLING, View};
use super::words::counted;
use super::{BESIDE_THE_LOAD, Gate, Invariant};
use crate::observation::{InstanceState, JobEvent, Observation, RunEvent, StepPhase, Time};

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "sideIsEmptied", check: side_is_emptied },
        Invariant { name: "nothingServed", check: nothing_served },
        Invariant { name: "nobodyCalls", check: nobody_calls },
        Invariant { name: "nothingWorked", check: nothing_worked },
        Invariant { name: "nothingRan", check: nothing_ran },
        Invariant { name: "staysStopped", check: stays_stopped },
    ],
    inputs,
};

/// When the old side was emptied by the last step up to this one that does so; resolvers have forgotten the name's
/// address by then, and what was under way is over.
fn emptied(view: &View<'_>) -> Option<Time> {
    let last = view.window.step.map_or(view.plan.steps.len(), |step| step + 1);
    let (index, ttl) =
        view.plan.steps.iter().enumerate().take(last).rev().find_map(|(index, step)| match step.action {
            Action::SwitchName { ttl } => Some((index, ttl)),
            Action::SetWeight { percent: 100 }
            | Action::Handover { old: 0 }
            | Action::DisarmOld
            | Action::Drain { .. }
            | Action::StopOld { .. } => Some((index, std::time::Duration::ZERO)),
            _ => None,
        })?;
    let verified = view.turns().iter().rev().find(|turn| turn.1 == index && turn.2 == StepPhase::Verified)?;
    Some(Time(verified.0.0 + u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX / 2)))
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let emptied = emptied(view).map_or("never".into(), |at| format!("{:.1} s", at.secs()));
    vec![
        ("emptied at".into(), emptied),
        ("watched until".into(), format!("{:.1} s", view.window.to.secs())),
        ("served since".into(), served(view).len().to_string()),
        ("other callers since".into(), calls(view).values().map(Vec::len).sum::<usize>().to_string()),
    ]
}

fn side_is_emptied(view: &View<'_>) -> Vec<Finding> {
    if emptied(view).is_some() {
        return Vec::new();
    }
    let account = Account::new("no step up to this one has emptied the old side")
        .because("the gate is asked before there is something to see")
        .change("put oldSilent at a step after setWeight 100, switchName, handover 0, disarmOld or drain");
    vec![account.lacking()]
}

/// Requests that router or application saw go to the old side, and that were sent when it was emptied.
fn served<'a>(view: &View<'a>) -> BTreeMap<&'a str, Time> {
    let Some(emptied) = emptied(view) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for seen in view.seen() {
        let (at, id) = match seen {
            Observation::Served(served) if served.side == Side::Old && !served.id.is_empty() => {
                (served.at, &*served.id)
            }
            Observation::Routed(routed) if routed.side == Some(Side::Old) => (routed.at, &*routed.id),
            _ => continue,
        };
        if id.starts_with(BESIDE_THE_LOAD) {
            continue;
        }
        let client = view.by_id().get(id).and_then(|seen| seen.client);
        if client.map_or(at, |request| request.sent).0 >= emptied.0 + SETTLING / 2 {
            found.insert(id, at);
        }
    }
    found
}

fn nothing_served(view: &View<'_>) -> Vec<Finding> {
    let served = served(view);
    if served.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("the old side still got {}", counted(served.len(), "request")))
        .of_ids(served.keys().copied())
        .between(served.values().copied());
    vec![
        account
            .because("clients hold on to a connection, a cookie or a resolved name of the old side")
            .change("wait longer than the name's TTL and the connections' life, or keep the router at the old address")
            .wrong(),
    ]
}

/// Who else called the old side, by address and name, and when.
fn calls<'a>(view: &View<'a>) -> BTreeMap<(std::net::IpAddr, &'a str), Vec<Time>> {
    let mut callers: BTreeMap<_, Vec<Time>> = BTreeMap::new();
    let Some(emptied) = emptied(view) else { return callers };
    for seen in view.seen() {
        if let Observation::Caller { at, address, agent, .. } = seen
            && *at >= emptied
        {
            callers.entry((*address, agent.as_deref().unwrap_or("-"))).or_default().push(*at);
        }
    }
    callers
}

fn nobody_calls(view: &View<'_>) -> Vec<Finding> {
    let callers = calls(view);
    if callers.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = callers
        .iter()
        .map(|((address, agent), at)| format!("{address} {agent} ({})", counted(at.len(), "time")))
        .collect();
    let account =
        Account::new(format!("the old side still has {} beside the load", counted(names.len(), "caller")))
            .of_ids(names.iter().map(String::as_str))
            .between(callers.values().flatten().copied());
    vec![
        account
            .because("they have the old side's address in their own settings, or cache its name")
            .change("change the address in these callers before the old side stops")
            .wrong(),
    ]
}

fn nothing_worked(view: &View<'_>) -> Vec<Finding> {
    let Some(emptied) = emptied(view) else { return Vec::new() };
    let taken: Vec<(&str, Time)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Job { at, id, event: JobEvent::Received, side: Some(Side::Old), .. }
                if at.0 >= emptied.0 + SETTLING / 2 =>
            {
                Some((&**id, *at))
            }
            _ => None,
        })
        .collect();
    if taken.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("the old side still took {}", counted(taken.len(), "job")))
        .of_ids(taken.iter().map(|taken| taken.0))
        .between(taken.iter().map(|taken| taken.1));
    vec![
        account
            .because("an instance of the old side goes on: it was not ended, or was started again")
            .change("end all instances of the old side, and keep configuration managers from starting them")
            .wrong(),
    ]
}

fn nothing_ran(view: &View<'_>) -> Vec<Finding> {
    let Some(emptied) = emptied(view) else { return Vec::new() };
    let begun: Vec<(String, Time)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Run { at, entry, run, event: RunEvent::Started, side: Side::Old, .. }
                if *at > emptied =>
            {
                Some((format!("{entry} {run}"), *at))
            }
            _ => None,
        })
        .collect();
    if begun.is_empty() {
        return Vec::new();
    }
    let account = Account::new(format!("the old side still began {}", counted(begun.len(), "run")))
        .of_ids(begun.iter().map(|begun| &*begun.0))
        .between(begun.iter().map(|begun| begun.1));
    vec![
        account
            .because(
                "an entry is still in a crontab of the old side: of another user or machine, or was put back",
            )
            .change(
                "take the entry out of every crontab of the old side, and out of its configuration manager",
            )
            .wrong(),
    ]
}

fn stays_stopped(view: &View<'_>) -> Vec<Finding> {
    let stop = |action: &Action| matches!(action, Action::StopOld { .. });
    let Some(stopped) = view.in_force(view.window.to, stop) else { return Vec::new() };
    let risen: Vec<(&str, Time)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Instance { at, side: Side::Old, instance, state }
                if *at > stopped && matches!(state, InstanceState::Started | InstanceState::Ready) =>
            {
                Some((&**instance, *at))
            }
            _ => None,
        })
        .collect();
    if risen.is_empty() {
        return Vec::new();
    }
    let account = Account::new("the old side runs again after it was stopped")
        .of_ids(risen.iter().map(|risen| risen.0))
        .between(risen.iter().map(|risen| risen.1));
    vec![
        account
            .because("a configuration manager, or the service manager, starts the old side again")
            .change("take the old side out of its configuration manager, and disable its unit (`systemctl disable`)")
            .wrong(),
    ]
}
