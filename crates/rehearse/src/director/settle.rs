//! Waiting: until there is enough to judge by, and until the logs have it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use envctl_model::cutover::plan::{Action, Bake, Timetable};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_runner::{Context, StepError};
use jiff::{SignedDuration, Timestamp};

use crate::gates::Window;
use crate::gates::counters::counted_between;
use crate::observation::{JobEvent, Observation, Outcome, Routed, RunEvent, Served, Time};
use crate::recorder::Recorder;
use crate::recording::Recording;
use crate::timetable::ticks;

/// What a step is watched at least: less than this shows nothing of it.
const AT_LEAST: Duration = Duration::from_secs(2);

/// The same of one that changes nothing, and of which only what it has found is judged.
const AT_LEAST_UNCHANGED: Duration = Duration::from_secs(1);

/// How long the logs of router and application may take to be read.
const LOGS_WITHIN: Duration = Duration::from_secs(3);

/// How long the load may take to have, or to give up, the answers to what it sent.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// How far ahead ticks are waited for.
const TICKS_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// How long, after that, the ends of their runs are.
const RUNS_WITHIN: Duration = Duration::from_secs(60);

/// The part of what was due that is then over. The rest is what was sent just now.
const OVER: f64 = 0.9;

/// For how long a step is watched at least.
#[must_use]
pub fn watched_for(bake: Bake, changes: bool) -> Duration {
    bake.at_least.max(if changes { AT_LEAST } else { AT_LEAST_UNCHANGED })
}

/// Watches a step that holds since `from` for as long as its bake says. Samples that do not come are not waited for
/// for ever: the gate of samples says that they are missing.
pub(super) async fn bake(
    plan: &CutoverPlan,
    recorder: &Recorder,
    step: usize,
    from: Time,
    context: &Context,
) -> Result<(), StepError> {
    let bake = plan.steps[step].bake;
    let least = watched_for(bake, plan.steps[step].action.changes());
    let ticks = ticks_over(plan, recorder, step, from);
    let watched = ticks.map_or(least, |over| least.max(over.since(from)));
    super::pause(watched.saturating_sub(recorder.now().since(from)), context).await;
    let sides = sides_that_get_any(plan, step);
    let mut samples = Samples::default();
    let enough = |new: &[Observation]| {
        new.iter().filter(|seen| seen.at() >= from).for_each(|seen| samples.see(seen));
        sides.iter().all(|side| samples.of(*side) >= bake.min_samples_per_side)
            // How the runs of these ticks end is seen of the step, too.
            && ticks.is_none_or(|over| samples.runs.values().all(|began| *began > over))
    };
    let patience = if ticks.is_some() { RUNS_WITHIN } else { patience(plan, step) };
    tokio::select! {
        _ = recorder.until(patience, enough) => {}
        () = context.interrupted.cancelled() => return Err(StepError::Interrupted),
    }
    Ok(())
}

/// When the step's ticks are over, with their tolerance, or those of them that come in time: the gate of samples says what
/// is missing.
fn ticks_over(plan: &CutoverPlan, recorder: &Recorder, step: usize, from: Time) -> Option<Time> {
    let from = recorder.read(|recording| recording.wall(from));
    let over = over(plan.timetable.as_ref()?, plan.steps[step].bake.min_ticks, from)?;
    // What is at the end of a window is not in it.
    Some(Time(recorder.of_wall(over).0 + 1))
}

/// When so many ticks from a moment on are over.
fn over(timetable: &Timetable, count: u32, from: Timestamp) -> Option<Timestamp> {
    let coming = ticks(timetable, from, from.checked_add(TICKS_WITHIN).ok()?).ok()?;
    let tick = coming.into_iter().take(usize::try_from(count).ok()?).next_back()?;
    tick.checked_add(timetable.tolerance).ok()
}

/// Three times what the samples should take, and a while for a start.
fn patience(plan: &CutoverPlan, step: usize) -> Duration {
    let rate = plan.traffic.as_ref().map(|t| t.rate).or(plan.work.as_ref().map(|w| w.rate)).unwrap_or(1.0);
    let weight = f64::from(plan.weight_before(step + 1));
    let least = [weight, 100.0 - weight].into_iter().filter(|w| *w > 0.0).fold(100.0, f64::min) / 100.0;
    let seconds = f64::from(plan.steps[step].bake.min_samples_per_side) / (rate * least).max(0.1);
    Duration::from_secs_f64((seconds * 3.0).min(3600.0)) + Duration::from_secs(10)
}

fn sides_that_get_any(plan: &CutoverPlan, step: usize) -> Vec<Side> {
    match plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => {
            let weight = plan.weight_before(step + 1);
            let mut sides = Vec::new();
            sides.extend((weight < 100).then_some(Side::Old));
            sides.extend((weight > 0).then_some(Side::New));
            sides
        }
        ComponentKind::Worker => {
            let new = plan.steps[..=step].iter().any(|step| step.action == Action::ScaleUpNew);
            let mut sides = Vec::new();
            sides.extend((plan.old_instances_before(step + 1) > 0).then_some(Side::Old));
            sides.extend(new.then_some(Side::New));
            sides
        }
        // Its samples are ticks, which come when they come.
        ComponentKind::Schedule => Vec::new(),
    }
}

/// Samples of each side, counted as the gate of samples counts them.
#[derive(Debug, Default)]
struct Samples {
    old: u32,
    new: u32,
    /// Where a request went of which the client has said nothing yet.
    placed: HashMap<String, Side>,
    /// Requests of which the client has said what came of them, and nobody where they went.
    over: HashSet<String>,
    /// What counters of somebody else said first.
    counters: HashMap<Side, u64>,
    /// Runs that go on, with when they began.
    runs: HashMap<String, Time>,
}

impl Samples {
    fn of(&self, side: Side) -> u32 {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    fn side(&mut self, side: Side) -> &mut u32 {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    fn see(&mut self, seen: &Observation) {
        match seen {
            // Known bad requests prove nothing of a side.
            Observation::Request(request) if !request.control => match self.placed.remove(&request.id) {
                Some(side) => *self.side(side) += 1,
                None => _ = self.over.insert(request.id.clone()),
            },
            Observation::Routed(Routed { id, side: Some(side), .. })
            | Observation::Served(Served { id, side, .. }) => {
                if self.over.remove(id) {
                    *self.side(*side) += 1;
                } else {
                    self.placed.insert(id.clone(), *side);
                }
            }
            Observation::Job { event: JobEvent::Effect, side: Some(side), .. } => *self.side(*side) += 1,
            Observation::Run { at, event: RunEvent::Started, run, .. } => {
                self.runs.insert(run.clone(), *at);
            }
            Observation::Run { event: RunEvent::Succeeded | RunEvent::Failed, run, .. } => {
                self.runs.remove(run);
            }
            Observation::Counted { side, requests, .. } => {
                // In production somebody else counts, and did so before.
                let since = requests.saturating_sub(*self.counters.entry(*side).or_insert(*requests));
                *self.side(*side) = u32::try_from(since).unwrap_or(u32::MAX);
            }
            _ => {}
        }
    }
}

/// Waits until the load has the answers to what it sent from `since` on, or has given them up: what is answered too
/// slowly is seen only then.
pub(super) async fn answered(plan: &CutoverPlan, recorder: &Recorder, since: Time) {
    let Some(traffic) = &plan.traffic else { return };
    let (mut over, mut latest) = (0_u32, since);
    let caught_up = |new: &[Observation]| {
        for seen in new.iter().filter(|seen| seen.at() >= since) {
            over += u32::from(matches!(seen, Observation::Request(_)));
            latest = latest.max(seen.at());
        }
        f64::from(over) >= traffic.rate * latest.since(since).as_secs_f64() * OVER
    };
    recorder.until(ANSWERED_WITHIN, caught_up).await;
}

/// Waits until every request that was due up to this moment is answered, or given up. Who waits for something that is
/// gone is seen to have failed only then.
pub(super) async fn given_up(plan: &CutoverPlan, recorder: &Recorder, to: Time) {
    if plan.traffic.is_none() {
        return;
    }
    // By the load that asked, of which there is another one after a death: what is over, and the first that was due later.
    let mut loads: HashMap<String, (BTreeSet<u64>, Option<u64>)> = HashMap::new();
    let mut asking = None;
    let all_over = |new: &[Observation]| {
        for seen in new {
            let Observation::Request(request) = seen else { continue };
            let Some((load, number)) = request.id.rsplit_once('-') else { continue };
            let Ok(number) = number.parse() else { continue };
            let (over, later) = loads.entry(load.to_owned()).or_default();
            if request.intended <= to {
                over.insert(number);
            } else {
                *later = Some(later.map_or(number, |later: u64| later.min(number)));
            }
            asking = Some(load.to_owned());
        }
        let Some((over, Some(later))) = asking.as_ref().and_then(|load| loads.get(load)) else {
            return false;
        };
        let first = over.first().copied().unwrap_or(*later);
        over.range(first..*later).count() as u64 == later - first
    };
    recorder.until(ANSWERED_WITHIN, all_over).await;
}

/// Waits until the router's log has every request that was answered up to this moment. What it never gets is for the
/// gates to find.
pub(super) async fn logs(recorder: &Recorder, to: Time) {
    let mut missing: HashSet<String> = HashSet::new();
    let mut early: HashSet<String> = HashSet::new();
    let mut moved_on = false;
    let mut has_router = false;
    let complete = |new: &[Observation]| {
        for observation in new {
            moved_on |= observation.at() > to;
            match observation {
                Observation::Request(request)
                    if request.done <= to && matches!(request.outcome, Outcome::Answered { .. }) =>
                {
                    let is_logged = early.remove(&request.id);
                    if !is_logged {
                        missing.insert(request.id.clone());
                    }
                }
                Observation::Routed(routed) => {
                    has_router = true;
                    if !missing.remove(&routed.id) {
                        early.insert(routed.id.clone());
                    }
                }
                _ => {}
            }
        }
        !has_router || (moved_on && missing.is_empty())
    };
    recorder.until(LOGS_WITHIN, complete).await;
}

/// What somebody else's counters say of a window, in production.
fn counted(recording: &Recording, window: &Window) -> Option<String> {
    let [old, new] =
        [Side::Old, Side::New].map(|side| counted_between(recording, side, window.from, window.to));
    let (old, new) = (old?, new?);
    Some(format!("old {}  new {}  {} failed", old.requests, new.requests, old.failed + new.failed))
}

/// What was counted in a window, for the screen.
pub(super) fn figures(plan: &CutoverPlan, recording: &Recording, window: &Window) -> String {
    if let Some(counted) = counted(recording, window) {
        return counted;
    }
    let within = recording.observations.iter().filter(|seen| (window.from..=window.to).contains(&seen.at()));
    match plan.kind {
        ComponentKind::Service | ComponentKind::Endpoint => {
            let requests: Vec<_> = within
                .filter_map(|seen| match seen {
                    Observation::Request(request) if !request.control => Some(request.is_well()),
                    _ => None,
                })
                .collect();
            let failed = requests.iter().filter(|well| !**well).count();
            format!("{} requests  {failed} failed", requests.len())
        }
        ComponentKind::Worker => {
            let count = |event| {
                let is =
                    |seen: &&Observation| matches!(seen, Observation::Job { event: of, .. } if *of == event);
                within.clone().filter(is).count()
            };
            format!("enqueued {}  completed {}", count(JobEvent::Enqueued), count(JobEvent::Effect))
        }
        ComponentKind::Schedule => {
            let started = within
                .filter(|seen| matches!(seen, Observation::Run { event: RunEvent::Started, .. }))
                .count();
            format!("{started} runs")
        }
    }
}

#[cfg(test)]
mod tests {
    use envctl_model::cutover::plan::{ClientKind, TimetableEntry, Tool};

    use super::*;
    use crate::observation::Request;

    fn request(id: &str, control: bool) -> Observation {
        let (intended, sent, done) = (Time(0), Time(0), Time(1));
        let (id, name, client) = (id.to_owned(), "GET /".to_owned(), ClientKind::Fresh);
        let outcome = Outcome::Answered { status: 200 };
        Observation::Request(Request {
            id,
            name,
            client,
            number: 0,
            intended,
            sent,
            done,
            outcome,
            expected: 200,
            control,
        })
    }

    fn routed(id: &str, side: Side) -> Observation {
        let (id, termination) = (id.to_owned(), "--".to_owned());
        Observation::Routed(Routed { at: Time(1), id, side: Some(side), status: 200, termination })
    }

    #[test]
    fn a_step_is_watched_until_the_gate_of_samples_has_what_it_wants() {
        let mut samples = Samples::default();
        let seen = [
            request("a", false),
            routed("a", Side::New),
            routed("b", Side::New),
            request("b", false),
            // A known bad one, one that is under way yet, and one of which nobody knows where it went.
            request("c", true),
            routed("c", Side::New),
            routed("d", Side::New),
            request("e", false),
            request("f", false),
            routed("f", Side::Old),
        ];
        seen.iter().for_each(|seen| samples.see(seen));
        assert_eq!((samples.of(Side::Old), samples.of(Side::New)), (1, 2));
    }

    #[tokio::test]
    async fn what_was_asked_up_to_a_moment_is_waited_for_until_each_has_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::begin(&dir.path().join("recording.jsonl"), 7).unwrap();
        let plan = crate::gates::made_up::clean(crate::gates::made_up::Kind::Service, 0).plan;
        let asked = |id: &str, intended| {
            let mut seen = request(id, false);
            if let Observation::Request(request) = &mut seen {
                request.intended = Time(intended);
            }
            recorder.see(seen);
        };
        // Of a load before a death, and of this one: the third is not over, and a later one is.
        asked("1f-9", 1);
        for (id, intended) in [("2f-0", 5), ("2f-1", 6), ("2f-3", 20)] {
            asked(id, intended);
        }
        let over = || given_up(&plan, &recorder, Time(10));
        assert!(tokio::time::timeout(Duration::from_millis(50), over()).await.is_err());
        asked("2f-2", 9);
        over().await;
    }

    #[test]
    fn a_schedule_is_watched_until_its_ticks_are_over_and_the_runs_that_began_have_ended() {
        let tool = || Tool { service: "cron".to_owned(), command: Vec::new() };
        let timetable = |schedules: &[&str]| Timetable {
            entries: schedules
                .iter()
                .map(|schedule| TimetableEntry {
                    name: "digest".to_owned(),
                    schedule: (*schedule).to_owned(),
                })
                .collect(),
            time_zone: "Asia/Tokyo".to_owned(),
            ledger: tool(),
            tolerance: Duration::from_secs(10),
            disarm: tool(),
            arm: tool(),
        };
        let from = "2026-03-01T09:00:20Z".parse().unwrap();
        let second = |schedules: &[&str], count| {
            over(&timetable(schedules), count, from).map(|over| over.duration_since(from).as_secs())
        };
        assert_eq!(second(&["* * * * *"], 0), None);
        assert_eq!(second(&["* * * * *"], 1), Some(50));
        assert_eq!(second(&["* * * * *"], 2), Some(110));
        assert_eq!(
            second(&["5 18 * * *", "2 18 * * *"], 2),
            Some(290),
            "in the crontab's zone, of all entries"
        );
        assert_eq!(second(&["5 18 * * *"], 3), Some(290), "no other one comes in time");
        assert_eq!(second(&["30 4 * * *"], 1), None, "too far to be waited for");

        let run = |event| Observation::Run {
            at: Time(1),
            entry: "digest".to_owned(),
            run: "1".to_owned(),
            event,
            side: Side::New,
            instance: "digest-1".to_owned(),
            wall: from,
        };
        let mut samples = Samples::default();
        samples.see(&run(RunEvent::Started));
        assert_eq!(samples.runs.len(), 1);
        samples.see(&run(RunEvent::Failed));
        assert_eq!(samples.runs.len(), 0);
    }
}
