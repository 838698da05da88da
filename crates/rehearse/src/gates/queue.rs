//! What waits in the queue: not too much, and nothing that nobody will finish.

use std::time::Duration;

use super::account::{Account, Finding};
use super::jobs::{Story, longest, stories};
use super::view::View;
use super::window::During;
use super::words::{counted, lasting};
use super::{Gate, Invariant, permits};
use crate::observation::{Observation, Time};

/// So many failures without being given up are a job that fails for ever.
const FOR_EVER: usize = 5;

pub(super) const BACKLOG: Gate = Gate {
    invariants: &[
        Invariant { name: "backlogWithin", check: backlog_within },
        Invariant { name: "backlogKnown", check: backlog_known },
    ],
    inputs: backlog_inputs,
};

pub(super) const STRANDED: Gate = Gate {
    invariants: &[
        Invariant { name: "everyJobIsTaken", check: |view| stuck(view, Stuck::NeverTaken) },
        Invariant { name: "heldByTheLiving", check: |view| stuck(view, Stuck::HeldByTheGone) },
        Invariant { name: "holdersFinish", check: |view| stuck(view, Stuck::HeldForLong) },
        Invariant { name: "failingIsGivenUp", check: |view| stuck(view, Stuck::FailsForEver) },
    ],
    inputs: stranded_inputs,
};

fn backlogs<'a>(view: &View<'a>) -> impl Iterator<Item = (Time, u64)> + use<'a> {
    view.seen().filter_map(|seen| match seen {
        Observation::Backlog { at, waiting, .. } => Some((*at, *waiting)),
        _ => None,
    })
}

fn backlog_inputs(view: &View<'_>) -> Vec<(String, String)> {
    let allowed = view.plan.work.as_ref().map_or(0, |work| work.backlog);
    vec![
        ("allowed to wait".into(), allowed.to_string()),
        (
            "most that waited".into(),
            backlogs(view).map(|backlog| backlog.1).max().unwrap_or_default().to_string(),
        ),
    ]
}

fn backlog_within(view: &View<'_>) -> Vec<Finding> {
    let Some(allowed) = view.plan.work.as_ref().map(|work| work.backlog) else { return Vec::new() };
    let permits = permits::permits(view);
    let over: Vec<(Time, u64)> = backlogs(view)
        .filter(|(at, waiting)| *waiting > allowed && !permits::excused(&permits, *at))
        .collect();
    let Some(most) = over.iter().map(|over| over.1).max() else { return Vec::new() };
    let account = Account::new(format!("up to {} waited, {allowed} may", counted(most, "job")))
        .between(over.iter().map(|over| over.0));
    vec![
        account
            .because("fewer workers run than the load needs, or they wait for something")
            .change("raise the new side's replicas before the old side's instances end")
            .wrong(),
    ]
}

fn backlog_known(view: &View<'_>) -> Vec<Finding> {
    if backlogs(view).next().is_some() {
        return Vec::new();
    }
    let account = Account::new("how much waits in the queue was not read in this window")
        .because("metric missing: the queue was not asked, or did not answer")
        .change("see that the queue answers");
    vec![account.lacking()]
}

/// Why nobody will finish a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stuck {
    NeverTaken,
    HeldByTheGone,
    HeldForLong,
    FailsForEver,
}

impl Stuck {
    /// None for a job that is done, given up, or may still move on.
    fn of(view: &View<'_>, story: &Story<'_>, patience: Duration) -> Option<Self> {
        if !story.is_pending() || story.enqueued.is_none() && story.received.is_empty() {
            return None;
        }
        if story.failed.len() >= FOR_EVER {
            return Some(Self::FailsForEver);
        }
        if view.window.to.since(story.last()) <= patience {
            return None;
        }
        let Some((taken, holder)) = story.received.last() else { return Some(Self::NeverTaken) };
        let end = view.instances().get(holder).and_then(|life| life.end_after(*taken));
        match end.and_then(|end| end.over) {
            Some(gone) if view.window.to.since(gone) <= patience => None,
            Some(_) => Some(Self::HeldByTheGone),
            None => Some(Self::HeldForLong),
        }
    }

    fn words(self, n: &str, patience: Duration) -> (String, &'static str, &'static str) {
        let long =
            if patience.is_zero() { "at the end".into() } else { format!("for {}", lasting(patience)) };
        match self {
            Self::NeverTaken => (
                format!("{n} waited {long}, and nobody took any"),
                "no side consumes their queue or class",
                "have the new side subscribe to every queue and class that the old side knows",
            ),
            Self::HeldByTheGone => (
                format!("{n} held {long} by instances that are gone"),
                "the queue does not give out again what a lost instance held",
                "lower the visibility time-out, and have workers give back what they hold when they are asked to end",
            ),
            Self::HeldForLong => (
                format!("{n} held {long} by instances that run, without an end"),
                "the worker hangs in them, or forgets them without a word",
                "give the job's calls a time-out, and have failures written down",
            ),
            Self::FailsForEver => (
                format!("{n} failed {FOR_EVER} times or more, and was never given up"),
                "a job that cannot be done comes back for ever, and takes the place of others",
                "give the queue a dead-letter queue (`maxReceiveCount` of at most 5)",
            ),
        }
    }
}

/// How long a job may go without a change: twice the longest job, and ten seconds for the queue. At the end of all,
/// nothing may be left.
fn patience(view: &View<'_>) -> Duration {
    match view.window.during {
        During::Whole => Duration::ZERO,
        _ => longest(view, stories(view, view.window.to).values()) * 2 + Duration::from_secs(10),
    }
}

fn stuck(view: &View<'_>, wanted: Stuck) -> Vec<Finding> {
    let stories = stories(view, view.window.to);
    let patience = patience(view);
    let found: Vec<(&str, Time)> = stories
        .iter()
        .filter(|(_, story)| Stuck::of(view, story, patience) == Some(wanted))
        .map(|(id, story)| (*id, story.last()))
        .collect();
    if found.is_empty() {
        return Vec::new();
    }
    let (what, cause, change) = wanted.words(&counted(found.len(), "job"), patience);
    let account = Account::new(what)
        .of_ids(found.iter().map(|found| found.0))
        .between(found.iter().map(|found| found.1));
    vec![account.because(cause).change(change).wrong()]
}

fn stranded_inputs(view: &View<'_>) -> Vec<(String, String)> {
    let stories = stories(view, view.window.to);
    vec![
        ("pending".into(), stories.values().filter(|story| story.is_pending()).count().to_string()),
        ("may go without a change for".into(), lasting(patience(view))),
    ]
}
