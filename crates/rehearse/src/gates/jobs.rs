//! Every job has its effect exactly once, or is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_model::cutover::Side;

use super::account::{Account, Finding};
use super::permits::Cost;
use super::view::{Ending, View};
use super::window::During;
use super::words::{counted, lasting};
use super::{Gate, Invariant, permits};
use crate::observation::{JobEvent, Observation, Time};

const REPEATED: Cost = Cost {
    noun: "repeated job",
    change: "raise the visibility time-out above the longest job, or permit more in the plan's `faults`",
};

/// How often the queue is looked at before something is lost.
const LOOKS: usize = 3;

pub(super) const GATE: Gate = Gate {
    invariants: &[
        Invariant { name: "oneEffect", check: one_effect },
        Invariant { name: "intendedIsEnqueued", check: intended_is_enqueued },
        Invariant { name: "nothingLost", check: nothing_lost },
        Invariant { name: "effectOrDeadLetter", check: effect_or_dead_letter },
        Invariant { name: "onlyIntended", check: only_intended },
        Invariant { name: "deliveriesWithinPermit", check: deliveries_within_permit },
    ],
    inputs,
};

/// All that happened to a job up to the end of the window.
#[derive(Default)]
pub(super) struct Story<'a> {
    pub(super) class: &'a str,
    pub(super) intended: Option<Time>,
    pub(super) enqueued: Option<Time>,
    pub(super) received: Vec<(Time, &'a str)>,
    pub(super) effects: Vec<(Time, &'a str)>,
    pub(super) failed: Vec<Time>,
    pub(super) dead: Option<Time>,
}

impl Story<'_> {
    /// Whether it was to be put into the queue, or is in it, and nothing ended it.
    pub(super) fn is_pending(&self) -> bool {
        self.effects.is_empty() && self.dead.is_none()
    }

    /// The last that happened to it.
    pub(super) fn last(&self) -> Time {
        let received = self.received.iter().map(|received| received.0);
        let times =
            self.intended.into_iter().chain(self.enqueued).chain(received).chain(self.failed.iter().copied());
        times.max().unwrap_or_default()
    }
}

/// The story of each job up to a moment, by id.
pub(super) fn stories<'a>(view: &View<'a>, until: Time) -> BTreeMap<&'a str, Story<'a>> {
    let mut events: Vec<_> = view
        .all()
        .filter_map(|seen| match seen {
            Observation::Job { at, id, class, event, instance, .. } if *at < until => {
                Some((*at, &**id, &**class, *event, instance.as_deref().unwrap_or("")))
            }
            _ => None,
        })
        .collect();
    events.sort_by_key(|event| event.0);
    let mut stories: BTreeMap<&str, Story<'_>> = BTreeMap::new();
    for (at, id, class, event, instance) in events {
        let story = stories.entry(id).or_default();
        story.class = class;
        match event {
            JobEvent::Intended => story.intended = Some(at),
            JobEvent::Enqueued => story.enqueued = Some(at),
            JobEvent::Received => story.received.push((at, instance)),
            JobEvent::Effect => story.effects.push((at, instance)),
            JobEvent::Failed => story.failed.push(at),
            JobEvent::DeadLettered => story.dead = Some(at),
        }
    }
    stories
}

/// How jobs ended, each counted once: what was intended is the sum of the others but `doubled`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    intended: usize,
    completed: usize,
    dead_lettered: usize,
    pending: usize,
    doubled: usize,
}

fn totals(stories: &BTreeMap<&str, Story<'_>>) -> Totals {
    let mut totals = Totals::default();
    for story in stories.values().filter(|story| story.intended.is_some()) {
        totals.intended += 1;
        totals.doubled += usize::from(story.effects.len() > 1);
        if !story.effects.is_empty() {
            totals.completed += 1;
        } else if story.dead.is_some() {
            totals.dead_lettered += 1;
        } else {
            totals.pending += 1;
        }
    }
    totals
}

fn inputs(view: &View<'_>) -> Vec<(String, String)> {
    let stories = stories(view, view.window.to);
    let totals = totals(&stories);
    let again = stories.values().filter(|story| story.received.len() > 1).count();
    vec![
        ("intended".into(), totals.intended.to_string()),
        ("completed".into(), totals.completed.to_string()),
        ("given up".into(), totals.dead_lettered.to_string()),
        ("pending".into(), totals.pending.to_string()),
        ("doubled".into(), totals.doubled.to_string()),
        ("delivered again".into(), again.to_string()),
        ("longest job".into(), lasting(longest(view, stories.values()))),
    ]
}

/// The longest that a job of these took, or may take by the plan.
pub(super) fn longest<'a, 'b: 'a>(view: &View<'_>, stories: impl Iterator<Item = &'a Story<'b>>) -> Duration {
    let planned = |class: &str| {
        let of_it = view.plan.work.iter().flat_map(|work| &work.jobs).find(|job| job.class == class);
        of_it.map_or(Duration::ZERO, |job| {
            Duration::try_from_secs_f64(job.longest_seconds).unwrap_or_default()
        })
    };
    let took = |story: &Story<'_>| {
        let (received, effect) = (story.received.first(), story.effects.first());
        received.zip(effect).map_or(Duration::ZERO, |(received, effect)| effect.0.since(received.0))
    };
    stories.map(|story| planned(story.class).max(took(story))).max().unwrap_or_default()
}

/// Why a job had its effect more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubled {
    /// The instance that held it was killed.
    Killed,
    /// The queue gave it out again while it was being worked on.
    Visibility,
    /// The queue gave it out again after its effect.
    Redelivered,
    /// One delivery, two effects.
    Within,
}

impl Doubled {
    fn of(view: &View<'_>, story: &Story<'_>) -> Self {
        let [first, second, ..] = story.received[..] else { return Self::Within };
        let gone = end_of_holder(view, first).and_then(|end| end.over);
        if gone.is_some_and(|gone| gone <= second.0) {
            Self::Killed
        } else if story.effects.iter().any(|effect| effect.0 < second.0) {
            Self::Redelivered
        } else {
            Self::Visibility
        }
    }
}

/// How the instance ended that took a job, after it took it.
fn end_of_holder(view: &View<'_>, (at, holder): (Time, &str)) -> Option<Ending> {
    view.instances().get(holder).and_then(|life| life.end_after(at))
}

pub(super) fn one_effect(view: &View<'_>) -> Vec<Finding> {
    let stories = stories(view, view.window.to);
    let mut doubled: BTreeMap<Doubled, Vec<(&str, &Story<'_>)>> = BTreeMap::new();
    for (id, story) in &stories {
        if story.effects.len() > 1
            && story.effects.last().is_some_and(|effect| view.window.contains(effect.0))
        {
            doubled.entry(Doubled::of(view, story)).or_default().push((id, story));
        }
    }
    doubled.into_iter().map(|(why, jobs)| of_doubled(view, why, &jobs)).collect()
}

fn of_doubled(view: &View<'_>, why: Doubled, jobs: &[(&str, &Story<'_>)]) -> Finding {
    let longest = longest(view, jobs.iter().map(|(_, story)| *story));
    let above = lasting(longest.mul_f64(1.05));
    let n = counted(jobs.len(), "job");
    let first = jobs.first().and_then(|(_, story)| story.received.first()).copied();
    let first_holder = first.map_or("", |received| received.1);
    let (what, cause, change) = match why {
        Doubled::Killed => {
            let end = first.and_then(|first| end_of_holder(view, first));
            let gone = end.and_then(|end| end.over).unwrap_or_default();
            let asked = end.and_then(|end| end.asked);
            let killed = format!("{first_holder} was killed at {:.1} s while it held them", gone.secs());
            match asked {
                Some(asked) => (
                    format!("{n} that outlived the {} grace period ran twice", lasting(gone.since(asked))),
                    killed,
                    format!(
                        "raise the grace period above {above} (longest job {}) or extend visibility while working",
                        lasting(longest)
                    ),
                ),
                None => (
                    format!("{n} ran twice after an instance was lost"),
                    killed,
                    "make the effect and the record of its job's id one transaction, so that a second one does nothing"
                        .into(),
                ),
            }
        }
        Doubled::Visibility => {
            let again = |(_, story): &(&str, &Story<'_>)| match story.received[..] {
                [first, second, ..] => second.0.since(first.0),
                _ => Duration::MAX,
            };
            let visible = jobs.iter().map(again).min().unwrap_or_default();
            (
                format!(
                    "{n} ran twice: given out again after {} while still being worked on",
                    lasting(visible)
                ),
                format!(
                    "the queue's visibility time-out of about {} is shorter than the job",
                    lasting(visible)
                ),
                format!(
                    "raise the visibility time-out above {above} (longest job {}) or extend it while working",
                    lasting(longest)
                ),
            )
        }
        Doubled::Redelivered => (
            format!("{n} ran again after a further delivery, though the effect was there"),
            "the effect is not tied to the job's id: queues may deliver more than once".into(),
            "write the job's id with the effect in one transaction, under a unique key".into(),
        ),
        Doubled::Within => (
            format!("{n} had the effect more than once in one delivery"),
            "the worker repeats the effect by itself when a part of the job fails".into(),
            "make what is repeated do nothing the second time, by the job's id".into(),
        ),
    };
    Account::new(what)
        .of_ids(jobs.iter().map(|(id, _)| *id))
        .between(jobs.iter().flat_map(|(_, story)| story.effects.iter().map(|effect| effect.0)))
        .because(cause)
        .change(change)
        .wrong()
}

fn intended_is_enqueued(view: &View<'_>) -> Vec<Finding> {
    let window = view.reconciled();
    let stories = stories(view, view.window.to);
    let never =
        |story: &Story<'_>| story.enqueued.is_none() && story.received.is_empty() && story.is_pending();
    let lost: Vec<(&str, Time)> = stories
        .iter()
        .filter(|(_, story)| never(story))
        .filter_map(|(id, story)| story.intended.filter(|at| window.contains(*at)).map(|at| (*id, at)))
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let account =
        Account::new(format!("{} meant for the queue never came into it", counted(lost.len(), "job")))
            .of_ids(lost.iter().map(|lost| lost.0))
            .between(lost.iter().map(|lost| lost.1));
    vec![
        account
            .because(
                "who enqueues was interrupted between writing the job down and sending it, or was refused",
            )
            .change("send what was written down again until the queue has taken it (an outbox)")
            .wrong(),
    ]
}

/// What the ledger says is pending has to be in the queue, or with somebody who received it.
///
/// Ledger and queue are not asked at the same moment. What is under way differs in one look and not in the next;
/// what is lost is missing in each.
pub(super) fn nothing_lost(view: &View<'_>) -> Vec<Finding> {
    let mut looks: Vec<(Time, u64)> = view
        .seen()
        .filter_map(|seen| match seen {
            Observation::Backlog { at, waiting, in_flight } => Some((*at, waiting + in_flight)),
            _ => None,
        })
        .collect();
    looks.sort_unstable();
    looks.drain(..looks.len().saturating_sub(LOOKS));
    let Some((at, queued)) = looks.last().copied() else { return Vec::new() };
    let is_open =
        |story: &Story<'_>| story.is_pending() && (story.enqueued.is_some() || !story.received.is_empty());
    let missing = |(at, queued): &(Time, u64)| {
        let pending = stories(view, Time(at.0 + 1)).values().filter(|story| is_open(story)).count();
        pending.saturating_sub(usize::try_from(*queued).unwrap_or(usize::MAX))
    };
    let lost = looks.iter().map(missing).min().unwrap_or_default();
    if lost == 0 {
        return Vec::new();
    }
    let stories = stories(view, Time(at.0 + 1));
    let mut pending: Vec<(&str, &Story<'_>)> =
        stories.iter().filter(|(_, story)| is_open(story)).map(|(id, story)| (*id, story)).collect();
    // Who was received and heard of no more is lost before who still waits; the longest ago first.
    let still_fails =
        |story: &Story<'_>| story.received.last().map(|at| at.0) <= story.failed.last().copied();
    pending.sort_by_key(|(_, story)| (story.received.is_empty(), still_fails(story), story.last()));
    pending.truncate(lost);
    let received = pending.iter().filter(|(_, story)| !story.received.is_empty()).count();
    let what = format!(
        "{} lost: neither done nor given up, and the queue has only {queued} left; {received} of them were received",
        counted(lost, "job")
    );
    let account = Account::new(what)
        .of_ids(pending.iter().map(|job| job.0))
        .between(pending.iter().map(|job| job.1.last()));
    vec![if received > 0 {
        account
            .because("the message was gone from the queue before the effect: taken by a receive that was cancelled, or \
                      deleted too early")
            .change("delete a message only after its effect, and finish a receive under way before the worker ends")
            .wrong()
    } else {
        account
            .because("the queue dropped them: its retention is too short, it was purged, or somebody else consumes it")
            .change("raise the queue's retention, and let no other consumer have rights on it")
            .wrong()
    }]
}

fn effect_or_dead_letter(view: &View<'_>) -> Vec<Finding> {
    let stories = stories(view, view.window.to);
    let both: Vec<(&str, Time)> = stories
        .iter()
        .filter(|(_, story)| !story.effects.is_empty())
        .filter_map(|(id, story)| story.dead.filter(|at| view.window.contains(*at)).map(|at| (*id, at)))
        .collect();
    if both.is_empty() {
        return Vec::new();
    }
    let account =
        Account::new(format!("{} had the effect, and was given up too", counted(both.len(), "job")))
            .of_ids(both.iter().map(|both| both.0))
            .between(both.iter().map(|both| both.1));
    vec![
        account
            .because("the worker has the effect and then fails before it deletes the message; a replay would double it")
            .change("do nothing that can fail between the effect and the message's deletion")
            .wrong(),
    ]
}

fn only_intended(view: &View<'_>) -> Vec<Finding> {
    let stories = stories(view, view.window.to);
    let foreign: Vec<(&str, Time)> = stories
        .iter()
        .filter(|(_, story)| story.intended.is_none())
        .filter_map(|(id, story)| story.effects.first().map(|effect| (*id, effect.0)))
        .filter(|(_, at)| view.window.contains(*at))
        .collect();
    if foreign.is_empty() {
        return Vec::new();
    }
    let account =
        Account::new(format!("{} had an effect and was never intended", counted(foreign.len(), "job")))
            .of_ids(foreign.iter().map(|foreign| foreign.0))
            .between(foreign.iter().map(|foreign| foreign.1));
    vec![
        account
            .because("the queue held jobs from before, or somebody else puts jobs into it")
            .change("begin with an empty queue that only the load writes to")
            .wrong(),
    ]
}

/// More than one delivery is no failure, but a fault may not cause more of them than the plan permits.
fn deliveries_within_permit(view: &View<'_>) -> Vec<Finding> {
    if !matches!(view.window.during, During::Fault(_)) {
        return Vec::new();
    }
    let stories = stories(view, view.window.to);
    // A job that failed is delivered again for that, fault or not.
    let again: Vec<(&str, Time)> = stories
        .iter()
        .filter(|(_, story)| story.received.len() > story.failed.len() + 1)
        .filter_map(|(id, story)| story.received.get(1).map(|received| (*id, received.0)))
        .filter(|(_, at)| view.window.contains(*at))
        .collect();
    permits::settle(view, &REPEATED, again, |again| again.1, |again| again.0).0
}

/// Whether any of these sides finished a job of a class, failed one, or received one.
pub(super) struct Finished {
    pub(super) received: u64,
    pub(super) effects: u64,
    pub(super) failed: u64,
}

/// What each side did with each class in the window.
pub(super) fn by_side_and_class<'a>(view: &View<'a>) -> BTreeMap<(Side, &'a str), Finished> {
    let mut found = BTreeMap::new();
    for seen in view.seen() {
        let Observation::Job { class, event, side: Some(side), .. } = seen else { continue };
        let of = found.entry((*side, &**class)).or_insert(Finished { received: 0, effects: 0, failed: 0 });
        match event {
            JobEvent::Received => of.received += 1,
            JobEvent::Effect => of.effects += 1,
            JobEvent::Failed => of.failed += 1,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::made_up::{self, Kind};
    use super::super::{View, Window};
    use super::*;

    proptest! {
        /// Whatever is left out, repeated or shuffled: each intended job is counted under one heading.
        #[test]
        fn what_was_intended_is_done_given_up_or_pending(
            seed in 0_u64..20, keep in prop::collection::vec(0_usize..3, 1..400),
        ) {
            let mut made = made_up::clean(Kind::Worker, seed);
            let mut keep = keep.into_iter().cycle();
            made.recording.observations = made.recording.observations.into_iter()
                .flat_map(|seen| vec![seen; keep.next().unwrap()]).rev().collect();
            let window = Window::whole(&made.recording);
            let view = View::new(&made.plan, &made.recording, &window);
            let totals = totals(&stories(&view, window.to));
            prop_assert_eq!(totals.intended, totals.completed + totals.dead_lettered + totals.pending);
            let intended: std::collections::BTreeSet<_> = made.recording.observations.iter().filter_map(|seen| match seen {
                Observation::Job { id, event: JobEvent::Intended, .. } => Some(id), _ => None,
            }).collect();
            prop_assert_eq!(totals.intended, intended.len());
        }
    }
}
