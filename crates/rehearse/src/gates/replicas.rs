//! Every replica of the new side does its part, and all are configured alike.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::cutover::Side;
use envctl_model::stack::ComponentKind;

use super::account::{Account, Finding};
use super::view::View;
use super::window::During;
use super::words::counted;
use super::{Gate, Invariant};
use crate::observation::{JobEvent, Observation};
use crate::statistics::shared_alpha;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "everyReplicaTakesPart", check: every_replica_takes_part },
        Invariant { name: "settingsEqual", check: settings_equal },
        Invariant { name: "settingsKnown", check: settings_known },
    ],
    inputs,
};

/// The new side's instances that could serve from the beginning of the window to its end.
fn steady<'a>(view: &View<'a>) -> Vec<&'a str> {
    let is_steady = |life: &super::view::Life| {
        let in_window = |turn: &(crate::Time, _)| view.window.contains(turn.0);
        life.side == Side::New
            && life.ready_at(view.verified())
            && !life.turns.iter().any(|turn| in_window(turn) && turn.0 > view.verified())
    };
    view.instances().iter().filter(|(_, life)| is_steady(life)).map(|(name, _)| *name).collect()
}

/// How often each of the new side's instances did something in the window.
fn parts<'a>(view: &View<'a>) -> BTreeMap<&'a str, u64> {
    let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
    for seen in view.seen() {
        match seen {
            Observation::Served(served) if served.side == Side::New => {
                *parts.entry(&served.instance).or_default() += 1
            }
            Observation::Job {
                event: JobEvent::Received,
                side: Some(Side::New),
                instance: Some(instance),
                ..
            } => {
                *parts.entry(instance).or_default() += 1;
            }
            _ => {}
        }
    }
    parts
}

/// The settings of each of the new side's instances, as they were read last before the window's end.
fn settings<'a>(view: &View<'a>) -> BTreeMap<&'a str, &'a BTreeMap<String, String>> {
    let mut latest = BTreeMap::new();
    for seen in view.all() {
        if let Observation::Configured { at, side: Side::New, instance, settings } = seen
            && *at < view.window.to
        {
            latest.insert(&**instance, settings);
        }
    }
    let gone = |name: &str| view.instances().get(name).is_some_and(|life| life.over_at(view.window.from));
    latest.retain(|name, _| !gone(name));
    latest
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let parts = parts(view);
    let mut inputs: Vec<_> = steady(view)
        .into_iter()
        .map(|name| (name.to_owned(), format!("{} served", parts.get(name).copied().unwrap_or_default())))
        .collect();
    inputs.push(("configurations read".into(), settings(view).len().to_string()));
    inputs
}

#[allow(clippy::cast_precision_loss, reason = "counts of requests and instances")]
fn every_replica_takes_part(view: &View<'_>) -> Vec<Finding> {
    if view.plan.kind == ComponentKind::Schedule {
        return Vec::new();
    }
    let (steady, parts) = (steady(view), parts(view));
    // Where there is one replica a fault may have taken it. Whether another one came in time, requests and jobs tell.
    if steady.is_empty() && matches!(view.window.during, During::Fault(_)) {
        return Vec::new();
    }
    if steady.is_empty() {
        let account = Account::new("no instance of the new side was ready during the whole window")
            .because("the new side restarts, or its instances were not watched")
            .change("see why its instances are not ready");
        return vec![account.lacking()];
    }
    let idle: Vec<&str> = steady.iter().filter(|name| !parts.contains_key(**name)).copied().collect();
    if idle.is_empty() {
        return Vec::new();
    }
    // With equal parts, the chance that one certain instance gets none of n.
    let n: u64 = parts.values().sum();
    let chance = (1.0 - 1.0 / steady.len() as f64).powf(n as f64) * steady.len() as f64;
    let what = format!(
        "{} of {} did nothing, while the side did {}",
        idle.len(),
        counted(steady.len(), "ready instance"),
        counted(n, "time")
    );
    let account = Account::new(what).of_ids(idle);
    vec![if n > 0 && (steady.len() == 1 || chance < shared_alpha(view.plan)) {
        account
            .because("it is ready, but nothing leads to it: its labels, port or subscription are other than its fellows'")
            .change("compare the pod's labels with the Service's selector, and its queue with that of the others")
            .wrong()
    } else {
        account
            .because("too few requests or jobs to tell whether it would ever get any")
            .change("let the step bake for longer, or raise the rate")
            .lacking()
    }]
}

fn settings_equal(view: &View<'_>) -> Vec<Finding> {
    let settings = settings(view);
    let keys: BTreeSet<&str> = settings.values().flat_map(|of| of.keys().map(String::as_str)).collect();
    let differs = |key: &&str| settings.values().map(|of| of.get(*key)).collect::<BTreeSet<_>>().len() > 1;
    let differing: Vec<&str> = keys.into_iter().filter(differs).collect();
    if differing.is_empty() {
        return Vec::new();
    }
    // Which instance is alone with its value says where to look; the value itself is never told.
    let alone = |key: &str| {
        settings
            .iter()
            .find(|(_, of)| settings.values().filter(|other| other.get(key) == of.get(key)).count() == 1)
    };
    let odd = differing.first().and_then(|key| alone(key)).map_or("one of them", |(name, _)| *name);
    let what = format!(
        "{} not alike in {}: see {odd}",
        counted(differing.len(), "setting"),
        counted(settings.len(), "instance")
    );
    vec![
        Account::new(what)
            .of_ids(differing)
            .because("an instance was started with other settings: by hand, or before the last change")
            .change("let every replica come from one template, and restart them after each change of a ConfigMap or Secret")
            .wrong(),
    ]
}

fn settings_known(view: &View<'_>) -> Vec<Finding> {
    let known = settings(view);
    let live = view.instances().iter().filter(|(_, life)| {
        life.side == Side::New && life.ready_at(crate::Time(view.window.to.0.saturating_sub(1)))
    });
    let unknown: Vec<&str> = live.map(|(name, _)| *name).filter(|name| !known.contains_key(name)).collect();
    // A fault or an autoscaler may have just begun one; those that nobody ever read are another matter.
    if !known.is_empty() || (unknown.is_empty() && !view.instances().is_empty()) {
        return Vec::new();
    }
    let account =
        Account::new(format!("the settings of {} were not read", counted(unknown.len(), "instance")))
            .of_ids(unknown)
            .because("metric missing: how the replicas are configured is not known")
            .change("see that the new side's instances can be looked into");
    vec![account.lacking()]
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{self, Kind};
    use super::*;

    #[test]
    fn a_fault_may_take_the_only_replica_and_nothing_else_may() {
        let mut made = made_up::clean(Kind::Service, 7);
        let mut window = made.of_fault();
        let stayed: Vec<String> = {
            let view = View::new(&made.plan, &made.recording, &window);
            steady(&view).into_iter().map(str::to_owned).collect()
        };
        assert!(!stayed.is_empty());
        made.keep(|seen| match seen {
            Observation::Instance { instance, .. } | Observation::Configured { instance, .. } => {
                !stayed.contains(instance)
            }
            Observation::Served(served) => !stayed.contains(&served.instance),
            _ => true,
        });
        let found = |window: &crate::gates::Window| {
            every_replica_takes_part(&View::new(&made.plan, &made.recording, window)).len()
        };
        assert_eq!(found(&window), 0);
        window.during = During::Step;
        assert_eq!(found(&window), 1);
    }
}
