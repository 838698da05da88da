//! Going back lost nothing and doubled nothing, in time, onto a side that was ready for it.

use envctl_model::cutover::Side;
use envctl_model::stack::ComponentKind;

use super::account::{Account, Finding};
use super::view::View;
use super::window::During;
use super::words::{counted, lasting};
use super::{Gate, Invariant, jobs, requests, ticks};
use crate::observation::{DrillPhase, InstanceState, Observation, Time};

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "backInTime", check: back_in_time },
        Invariant { name: "oldSideWarm", check: old_side_warm },
        Invariant { name: "newOutlivesTraffic", check: new_outlives_traffic },
        Invariant { name: "nothingLostGoingBack", check: nothing_lost },
        Invariant { name: "nothingDoubledGoingBack", check: nothing_doubled },
    ],
    inputs,
};

/// When going back began, and when the state of before held.
fn drill(view: &View<'_>) -> (Option<Time>, Option<Time>) {
    let at = |wanted: DrillPhase| {
        view.seen().find_map(|seen| match seen {
            Observation::Drill { at, phase, .. } if *phase == wanted => Some(*at),
            _ => None,
        })
    };
    (at(DrillPhase::Begun), at(DrillPhase::Back))
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let took = match drill(view) {
        (Some(begun), Some(back)) => lasting(back.since(begun)),
        _ => "it is not known".into(),
    };
    vec![("going back took".into(), took), ("allowed".into(), lasting(view.plan.rollback.max_duration))]
}

fn back_in_time(view: &View<'_>) -> Vec<Finding> {
    if view.window.during != During::Drill {
        return Vec::new();
    }
    let allowed = view.plan.rollback.max_duration;
    let (Some(begun), back) = drill(view) else {
        return vec![
            Account::new("no drill began in this window").because("metric missing: the drill").lacking(),
        ];
    };
    let (what, times) = match back {
        Some(back) if back.since(begun) <= allowed => return Vec::new(),
        Some(back) => {
            let took = lasting(back.since(begun));
            (format!("going back took {took}, {} are allowed", lasting(allowed)), [begun, back])
        }
        None => (
            format!(
                "going back was not over after {}, {} are allowed",
                lasting(view.window.to.since(begun)),
                lasting(allowed)
            ),
            [begun, view.window.to],
        ),
    };
    vec![
        Account::new(what)
            .between(times)
            .because("an undo waits: the old side starts slowly, or something does not end")
            .change("keep the old side running until there is no way back, or raise `rollback.maxDuration`")
            .wrong(),
    ]
}

/// Enough instances of the old side have to be ready when the state of before holds, and as fast as promised.
fn old_side_warm(view: &View<'_>) -> Vec<Finding> {
    let (_, Some(back)) = drill(view) else { return Vec::new() };
    let ready =
        view.instances().values().filter(|life| life.side == Side::Old && life.ready_at(back)).count();
    let wanted = usize::from(view.plan.old.instances);
    if ready < wanted {
        let what = format!(
            "{ready} of {} of the old side ready when all led back to it",
            counted(wanted, "instance")
        );
        return vec![
            Account::new(what)
                .between([back])
                .because("the old side was gone back to before it was up")
                .change(
                    "let the undo of stopOld wait until each instance answers, before any weight goes back",
                )
                .wrong(),
        ];
    }
    cold(view)
}

/// Slow answers of the old side after going back to it.
fn cold(view: &View<'_>) -> Vec<Finding> {
    let (Some(begun), _) = drill(view) else { return Vec::new() };
    let of_it: Vec<_> = view
        .requests()
        .filter(|request| request.sent >= begun && view.side_of(&request.id) == Some(Side::Old))
        .collect();
    let objective = view.plan.slo.p99;
    let slow: Vec<_> =
        of_it.iter().copied().filter(|request| request.done.since(request.intended) > objective).collect();
    // One of a hundred may be slow, and a few more of few.
    if slow.len() * 100 <= of_it.len() + 300 {
        return Vec::new();
    }
    let what = format!(
        "{} of {} that the old side answered after going back took longer than {}",
        slow.len(),
        counted(of_it.len(), "request"),
        lasting(objective)
    );
    vec![
        Account::new(what)
            .of_requests(&slow)
            .because("the old side is cold: its caches and connections have to be built up again")
            .change("let it keep a part of the traffic, or warm it up before its weight goes back")
            .wrong(),
    ]
}

/// No instance of the new side may be asked to end while the router sends to the side.
fn new_outlives_traffic(view: &View<'_>) -> Vec<Finding> {
    let weight = |until: Time| {
        let read = view.all().filter_map(|seen| match seen {
            Observation::Weight { at, running, .. } if *at <= until => Some((*at, *running)),
            _ => None,
        });
        read.max_by_key(|read| read.0).map(|read| read.1)
    };
    let early: Vec<(&str, Time)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Instance { at, side: Side::New, instance, state: InstanceState::Ending }
                if weight(*at).is_some_and(|weight| weight > 0) =>
            {
                Some((&**instance, *at))
            }
            _ => None,
        })
        .collect();
    if early.is_empty() {
        return Vec::new();
    }
    let what = format!(
        "{} of the new side ended while the router still sent to it",
        counted(early.len(), "instance")
    );
    vec![
        Account::new(what)
            .of_ids(early.iter().map(|early| early.0))
            .between(early.iter().map(|early| early.1))
            .because("going back took the new side away before its traffic")
            .change("undo setWeight, and read it back, before the new side's replicas go")
            .wrong(),
    ]
}

fn nothing_lost(view: &View<'_>) -> Vec<Finding> {
    match view.plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => requests::every_request_well(view),
        ComponentKind::Worker => jobs::nothing_lost(view),
        ComponentKind::Schedule => ticks::none_missed(view),
    }
}

fn nothing_doubled(view: &View<'_>) -> Vec<Finding> {
    match view.plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => requests::served_once(view),
        ComponentKind::Worker => jobs::one_effect(view),
        ComponentKind::Schedule => ticks::none_doubled(view),
    }
}
