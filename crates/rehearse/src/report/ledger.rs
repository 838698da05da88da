//! What became of jobs and ticks, and who else called: the ledgers as tables.

use std::collections::BTreeMap;

use envctl_model::cutover::plan::TimetableEntry;
use envctl_model::cutover::{CutoverPlan, Side};
use serde::Serialize;

use super::words::{self, number};
use crate::observation::{JobEvent, RunEvent};
use crate::{Observation, Time};

/// A table whose first column is text, and whose other columns are figures.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// What is worth being named.
    pub(super) notes: Vec<String>,
}

/// The ledgers for which anything was seen.
pub(super) fn of(plan: &CutoverPlan, seen: &[&Observation]) -> Vec<Table> {
    [jobs(seen), runs(plan, seen), callers(seen)].into_iter().flatten().collect()
}

/// What became of one job.
#[derive(Debug, Default)]
struct Job<'a> {
    class: &'a str,
    enqueued: bool,
    dead: bool,
    effects: Vec<Side>,
}

fn jobs(seen: &[&Observation]) -> Option<Table> {
    let mut jobs: BTreeMap<&str, Job<'_>> = BTreeMap::new();
    for observation in seen.iter().copied() {
        if let Observation::Job { id, class, event, side, .. } = observation {
            let job = jobs.entry(id).or_insert_with(|| Job { class, ..Job::default() });
            match event {
                JobEvent::Enqueued => job.enqueued = true,
                JobEvent::DeadLettered => job.dead = true,
                JobEvent::Effect => job.effects.extend(*side),
                JobEvent::Intended | JobEvent::Received | JobEvent::Failed => {}
            }
        }
    }
    if jobs.is_empty() {
        return None;
    }
    let mut classes: BTreeMap<&str, Vec<&Job<'_>>> = BTreeMap::new();
    for job in jobs.values() {
        classes.entry(job.class).or_default().push(job);
    }
    let row = |name: &str, jobs: &[&Job<'_>]| {
        let count = |which: fn(&Job<'_>) -> bool| number(jobs.iter().filter(|job| which(job)).count() as u64);
        vec![
            name.to_owned(),
            count(|_| true),
            count(|job| job.enqueued),
            count(|job| job.effects.first() == Some(&Side::Old)),
            count(|job| job.effects.first() == Some(&Side::New)),
            count(|job| job.effects.len() > 1),
            count(|job| job.dead),
            count(is_pending),
        ]
    };
    let mut rows: Vec<_> = classes.iter().map(|(class, jobs)| row(class, jobs)).collect();
    rows.push(row("all", &jobs.values().collect::<Vec<_>>()));
    let named = |what, which: fn(&Job<'_>) -> bool| {
        note(what, jobs.iter().filter(|(_, job)| which(job)).map(|(id, _)| *id))
    };
    Some(Table {
        title: "Ledger of jobs",
        head: vec![
            "Class",
            "Written down",
            "Enqueued",
            "Done by old",
            "Done by new",
            "Doubled",
            "Given up",
            "Pending",
        ],
        notes: [named("doubled", |job| job.effects.len() > 1), named("pending at the end", is_pending)]
            .into_iter()
            .flatten()
            .collect(),
        rows,
    })
}

fn is_pending(job: &Job<'_>) -> bool {
    job.enqueued && job.effects.is_empty() && !job.dead
}

/// `doubled: 4711, 4790 and 3 more`.
fn note<'a>(what: &str, ids: impl Iterator<Item = &'a str>) -> Option<String> {
    const SHOWN: usize = 10;
    let ids: Vec<_> = ids.collect();
    let shown = ids.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match ids.len() {
        0 => None,
        all if all > SHOWN => Some(format!("{what}: {shown} and {} more", all - SHOWN)),
        _ => Some(format!("{what}: {shown}")),
    }
}

fn runs(plan: &CutoverPlan, seen: &[&Observation]) -> Option<Table> {
    let timetable = plan.timetable.as_ref()?;
    let row = |entry: &TimetableEntry| {
        let count = |which: RunEvent, on: Side| {
            let is = |observation: &&Observation| match observation {
                Observation::Run { entry: of, event, side, .. } => {
                    *of == entry.name && *event == which && *side == on
                }
                _ => false,
            };
            seen.iter().copied().filter(is).count() as u64
        };
        let both = |event| count(event, Side::Old) + count(event, Side::New);
        vec![
            format!("{} ({})", entry.name, entry.schedule),
            number(count(RunEvent::Started, Side::Old)),
            number(count(RunEvent::Started, Side::New)),
            number(both(RunEvent::Succeeded)),
            number(both(RunEvent::Failed)),
        ]
    };
    Some(Table {
        title: "Ledger of ticks",
        head: vec!["Entry", "Begun on old", "Begun on new", "Ended well", "Ended badly"],
        rows: timetable.entries.iter().map(row).collect(),
        notes: vec![format!("time zone {}", timetable.time_zone)],
    })
}

fn callers(seen: &[&Observation]) -> Option<Table> {
    let mut callers: BTreeMap<String, (u64, Time)> = BTreeMap::new();
    for observation in seen.iter().copied() {
        if let Observation::Caller { at, address, agent, .. } = observation {
            let who = format!("{address} {}", agent.as_deref().unwrap_or("(says nothing of itself)"));
            let (count, last) = callers.entry(who).or_default();
            (*count, *last) = (*count + 1, (*last).max(*at));
        }
    }
    if callers.is_empty() {
        return None;
    }
    let row = |(who, (count, last)): (String, (u64, Time))| vec![who, number(count), words::clock(last)];
    Some(Table {
        title: "Others who called the old side",
        head: vec!["Caller", "Requests", "Last at"],
        rows: callers.into_iter().map(row).collect(),
        notes: Vec::new(),
    })
}
