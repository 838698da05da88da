//! Likely causes of failed requests, in plain words.

use std::time::Duration;

use envctl_model::cutover::plan::ClientKind;
use envctl_model::cutover::{Action, Side};

use super::view::{Ending, SETTLING, Turn, View};
use super::window::During;
use super::words::lasting;
use crate::observation::{Outcome, Request, StepPhase, Time};

/// Why a request failed, most likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Its body is larger than what the way to the side lets through.
    BodyLimit(Option<Side>),
    /// It was sent elsewhere: the side does not know how the client came.
    Redirected(Option<Side>),
    /// It was refused to this caller.
    Forbidden(Option<Side>),
    /// Nobody took the client's connection: not even the router.
    NotTaken,
    /// The client's cookie leads to where nobody is.
    Cookie,
    /// The router had nobody to send it to.
    Nobody,
    /// The old side cannot cope with what the new one wrote.
    Unreadable,
    /// The application failed.
    Failed(Option<Side>),
    /// The old side was stopped.
    OldStopped,
    /// The old side was started again, and could not do its work yet.
    OldCold,
    /// The new side was ended while the router sent to it.
    NewEnded,
    /// An instance was ending, and still sent to.
    Ending(Side),
    /// A connection was closed for being idle as it was used again.
    Idle(Option<Side>),
    /// No answer in time.
    Slow(Option<Side>),
    /// The connection broke for no reason that was seen.
    Broken(Option<Side>),
}

impl Cause {
    pub(super) fn of(view: &View<'_>, request: &Request) -> Self {
        let side = view.side_of(&request.id);
        let drill = view.window.during == During::Drill;
        let unanswered = matches!(
            request.outcome,
            Outcome::Answered { status: 502..=504 } | Outcome::Reset | Outcome::TimedOut
        );
        if unanswered && side != Some(Side::New) && old_came_back(view, request.done) {
            return Self::OldCold;
        }
        match request.outcome {
            Outcome::Answered { status: 413 } => Self::BodyLimit(side),
            Outcome::Answered { status: 301 | 302 | 303 | 307 | 308 } => Self::Redirected(side),
            Outcome::Answered { status: 401 | 403 } => Self::Forbidden(side),
            Outcome::Refused if side.is_none() => Self::NotTaken,
            Outcome::Answered { status: 502..=504 } | Outcome::Refused | Outcome::Reset => {
                Self::of_broken(view, request, side)
            }
            Outcome::Answered { .. } if drill && side == Some(Side::Old) => Self::Unreadable,
            Outcome::Answered { .. } => Self::Failed(side),
            Outcome::TimedOut => Self::Slow(side),
        }
    }

    fn of_broken(view: &View<'_>, request: &Request, side: Option<Side>) -> Self {
        // Logs lag: what fails shortly after an instance is gone is still of its ending.
        let ending = view.instances().values().any(|life| {
            let meanwhile = |ending: &Ending| {
                ending.began().is_some_and(|began| began <= request.done)
                    && ending.over.is_none_or(|over| request.sent.0 <= over.0 + SETTLING)
            };
            Some(life.side) == side && life.endings().iter().any(meanwhile)
        });
        match side {
            Some(Side::Old) if last_stop(view, request.done).is_some_and(|turn| !is_back(turn)) => {
                Self::OldStopped
            }
            Some(Side::New) if ending && view.window.during == During::Drill => Self::NewEnded,
            Some(side) if ending => Self::Ending(side),
            None if request.client == ClientKind::Sticky => Self::Cookie,
            None if matches!(request.outcome, Outcome::Answered { .. }) => Self::Nobody,
            _ if request.client == ClientKind::Keepalive => Self::Idle(side),
            _ => Self::Broken(side),
        }
    }

    /// In plain words.
    pub(super) fn words(self, view: &View<'_>) -> String {
        let the = |side: Option<Side>| side.map_or("the router".into(), |side| format!("the {side} side"));
        match self {
            Self::BodyLimit(side) => {
                format!("what lies before {} accepts smaller bodies than are sent", the(side))
            }
            Self::Redirected(side) => {
                format!("{} redirects: it is not told under which name and scheme the client came", the(side))
            }
            Self::Forbidden(side) => {
                format!("{} sees another client address than the one that its list allows", the(side))
            }
            Self::NotTaken => "nobody listened at the address to which the clients were sent".into(),
            Self::Cookie => "the clients' cookies lead to a group that has no instance".into(),
            Self::Nobody => "the router had no instance to send them to".into(),
            Self::Unreadable => "the old side fails on what the new side wrote while it was in charge".into(),
            Self::Failed(side) => format!("{} itself answered with a failure", the(side)),
            Self::OldStopped => "the old side was stopped while it still had traffic".into(),
            Self::OldCold => "the old side was started again, and could not do its work yet".into(),
            Self::NewEnded => "the new side was ended before the router had stopped sending to it".into(),
            Self::Ending(side) => {
                format!("an instance of the {side} side was ending, and requests were still sent to it")
            }
            Self::Idle(side) => {
                format!("{} closed an idle connection at the moment at which it was used again", the(side))
            }
            Self::Slow(None) => "no answer came in time, of whichever side".into(),
            Self::Slow(side) => match view.window.during {
                During::Fault(_) => format!("{} did not answer in time, with a fault at work", the(side)),
                _ => format!("{} did not answer in time: it waits for a lock or for a connection", the(side)),
            },
            Self::Broken(side) => format!("{} broke the connection", the(side)),
        }
    }

    /// What to change, with a value where one can be computed from these failed requests.
    pub(super) fn change(self, view: &View<'_>, failed: &[&Request]) -> String {
        let router = view.plan.router.as_ref();
        match self {
            Self::BodyLimit(_) => match router.and_then(|router| router.max_body) {
                Some(bytes) => format!(
                    "raise the body limit of the new side's ingress to {bytes} bytes, which the router allows \
                     (`nginx.ingress.kubernetes.io/proxy-body-size`)"
                ),
                None => "take the body limit off the new side's ingress, as the router has none \
                         (`nginx.ingress.kubernetes.io/proxy-body-size: \"0\"`)"
                    .into(),
            },
            Self::Redirected(_) => {
                "have the ingress pass on `X-Forwarded-Proto` and `X-Forwarded-Host` of the router".into()
            }
            Self::Forbidden(_) => {
                "have the ingress trust `X-Forwarded-For` of the router, and the list hold the router's clients".into()
            }
            Self::NotTaken => "see whether the router still runs, and why not: HAProxy's own log has its last words".into(),
            Self::Cookie => "begin with scaleUpNew, and have the router send a cookie of an empty group elsewhere \
                             (`option redispatch` for persistence only)"
                .into(),
            Self::Nobody => "wait until a side's instances are ready before it gets a weight".into(),
            Self::Unreadable => "have the new side write what the old one can read until there is no way back".into(),
            Self::Failed(_) => "look at the side's log at these times; if it lacks connections, let the pools of both \
                                sides together stay below the database's `max_connections`"
                .into(),
            Self::OldStopped => "put `drain` before `stopOld`, and raise its `timeout` or `idleFor`".into(),
            Self::OldCold => "have the old side's health check pass only when it can do its work, and warm it up before; or \
                              put stopOld off, and keep it warm until then"
                .into(),
            Self::NewEnded => "undo setWeight, and read it back, before the new side's replicas go".into(),
            Self::Ending(side) => format!(
                "keep an instance serving for at least {} after it is asked to end (`lifecycle.preStop.sleep`)",
                lasting(longest_after_ending(view, side, failed))
            ),
            Self::Idle(_) => match router {
                Some(router) => format!(
                    "raise the side's keep-alive time-out above {}, after which the router gives a connection up",
                    lasting(router.idle_timeout)
                ),
                None => "raise the side's keep-alive time-out above that of its clients".into(),
            },
            Self::Slow(_) => "have migrations give up soon when they wait for a lock (`lock_wait_timeout`), and let the \
                              pools of both sides together stay below the database's `max_connections`"
                .into(),
            Self::Broken(_) => "look at the side's log at these times".into(),
        }
    }
}

/// The last turn of `stopOld` up to this moment.
fn last_stop(view: &View<'_>, until: Time) -> Option<Turn> {
    let of_stop = |turn: &&Turn| {
        let action = view.plan.steps.get(turn.1).map(|step| &step.action);
        turn.0 <= until && matches!(action, Some(Action::StopOld { .. }))
    };
    view.turns().iter().rev().find(of_stop).copied()
}

fn is_back(turn: Turn) -> bool {
    matches!(turn.2, StepPhase::Undoing | StepPhase::Undone)
}

/// Whether the old side, which had been stopped, was started again in this window.
fn old_came_back(view: &View<'_>, until: Time) -> bool {
    last_stop(view, until).is_some_and(|turn| is_back(turn) && turn.0 >= view.window.from)
}

/// How long after an instance of a side began to end a request failed, at most; in whole seconds, rounded up.
fn longest_after_ending(view: &View<'_>, side: Side, failed: &[&Request]) -> Duration {
    let endings: Vec<Time> = view
        .instances()
        .values()
        .filter(|life| life.side == side)
        .flat_map(|life| life.endings())
        .filter_map(Ending::began)
        .collect();
    let after = |request: &&Request| {
        let before = endings.iter().filter(|at| **at <= request.done).max();
        before.map_or(Duration::ZERO, |at| request.done.since(*at))
    };
    Duration::from_secs(failed.iter().map(after).max().unwrap_or_default().as_secs() + 1)
}
