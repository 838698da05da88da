//! What is seen of both sides while a rehearsal runs, written into its recording.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::lifetime::{Change, State};
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::observation::{InstanceState, Observation, Served};
use envctl_rehearse::{Recorder, access_log};
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::ledgers::{self, Hosts};
use super::new::New;
use super::old::Old;
use super::sandbox::Sandbox;
use crate::flows::moving::turning::watch_weights;

/// Everybody who watches. Dropped, they stop.
#[derive(Debug, Default)]
pub(super) struct Watching {
    tasks: JoinSet<()>,
    broken: Broken,
}

/// Why somebody could not go on watching. What nobody watches cannot be judged.
#[derive(Debug, Clone, Default)]
struct Broken(Arc<Mutex<BTreeSet<String>>>);

impl Broken {
    fn add(&self, why: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(why);
    }
}

impl Watching {
    /// Why somebody could not go on watching; nothing if all do.
    pub(super) fn broken(&self) -> Vec<String> {
        self.broken.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Watches all of a sandbox from now on, and what became of the machines of the old side since they were made.
    pub(super) fn all(
        &mut self,
        sandbox: &Sandbox,
        made: Timestamp,
        prefix: &str,
        recorder: &Recorder,
    ) -> std::io::Result<()> {
        self.clock(recorder);
        self.changes(Side::Old, sandbox.old.machines.changes(made), recorder);
        self.changes(Side::New, sandbox.new.changes(), recorder);
        // Only what answers requests logs them.
        if sandbox.exposed.is_some() {
            self.requests(sandbox, made, prefix, recorder);
        }
        if let Some(router) = &sandbox.router {
            self.tasks.spawn(watch_weights(router.router.clone(), recorder.clone()));
        }
        self.settings(&sandbox.old, &sandbox.new, recorder)
    }

    /// Watches what both sides log of requests: the old side from `since` on.
    fn requests(&mut self, sandbox: &Sandbox, since: Timestamp, prefix: &str, recorder: &Recorder) {
        let old = sandbox.old.machines.lines(since);
        let old = old.map(|line| line.map(|line| (line.container.clone(), line)));
        self.lines(Side::Old, old, prefix, recorder);
        let new = sandbox.new.lines().map(|line| line.map(|line| (line.pod.clone(), line)));
        self.lines(Side::New, new, prefix, recorder);
    }

    /// Watches what the plan's ledger tells of jobs or of runs, if it has one.
    pub(super) async fn ledger(
        &mut self,
        plan: &CutoverPlan,
        sandbox: &Sandbox,
        recorder: &Recorder,
    ) -> Result<(), Trouble> {
        let hosts = Hosts::of(sandbox).await?;
        let (broken, recorder) = (self.broken.clone(), recorder.clone());
        if let Some(work) = &plan.work {
            let told = ledgers::jobs(sandbox.old.tool("ledger", &work.ledger).await?, hosts, recorder);
            self.tasks.spawn(async move { broken.add(format!("the ledger of jobs: {}", told.await)) });
        } else if let Some(timetable) = &plan.timetable {
            let told = ledgers::runs(sandbox.old.tool("ledger", &timetable.ledger).await?, hosts, recorder);
            self.tasks.spawn(async move { broken.add(format!("the ledger of runs: {}", told.await)) });
        }
        Ok(())
    }

    /// How instances of the new side are configured, each as soon as it is ready.
    fn settings(&mut self, old: &Old, new: &New, recorder: &Recorder) -> std::io::Result<()> {
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let salt = Salt::new(bytes);
        let (old, new, recorder) = (old.clone(), new.clone(), recorder.clone());
        self.tasks.spawn(async move {
            let mut next = 0;
            loop {
                let mut ready: Vec<(Side, String)> = Vec::new();
                let one_is_ready = |seen: &[Observation]| {
                    ready.extend(seen.iter().filter_map(|seen| match seen {
                        Observation::Instance { side, instance, state: InstanceState::Ready, .. } => {
                            Some((*side, instance.clone()))
                        }
                        _ => None,
                    }));
                    ready.len() > next
                };
                if !recorder.until(FOR_EVER, one_is_ready).await {
                    return;
                }
                for (side, instance) in &ready[next..] {
                    let settings = match side {
                        Side::Old => old.machines.settings(instance, &salt).await.ok(),
                        Side::New => new.settings(instance, &salt).await.ok(),
                    };
                    // One that is gone again has none.
                    if let Some(settings) = settings {
                        let (at, side, instance) = (recorder.now(), *side, instance.clone());
                        recorder.see(Observation::Configured { at, side, instance, settings });
                    }
                }
                next = ready.len();
            }
        });
        Ok(())
    }

    /// Compares the wall clock, by which other machines tell times, with the one that only goes forward.
    fn clock(&mut self, recorder: &Recorder) {
        let recorder = recorder.clone();
        self.tasks.spawn(async move {
            let mut often = tokio::time::interval(Duration::from_secs(1));
            loop {
                often.tick().await;
                recorder.see(Observation::Clock { at: recorder.now(), wall: Timestamp::now() });
            }
        });
    }

    fn changes<E: std::fmt::Display>(
        &mut self,
        side: Side,
        changes: impl Stream<Item = Result<Change, E>> + Send + 'static,
        recorder: &Recorder,
    ) {
        let (recorder, broken) = (recorder.clone(), self.broken.clone());
        self.tasks.spawn(async move {
            let mut changes = std::pin::pin!(changes);
            loop {
                match changes.next().await {
                    Some(Ok(change)) => {
                        let Some(state) = state(change.state) else { continue };
                        let (at, instance) = (recorder.of_wall(change.at), change.instance);
                        recorder.see(Observation::Instance { at, side, instance, state });
                    }
                    Some(Err(error)) => return broken.add(format!("instances of the {side} side: {error}")),
                    None => return broken.add(format!("instances of the {side} side: nothing more is told")),
                }
            }
        });
    }

    fn lines<E: std::fmt::Display>(
        &mut self,
        side: Side,
        lines: impl Stream<Item = Result<(String, LogLine), E>> + Send + 'static,
        prefix: &str,
        recorder: &Recorder,
    ) {
        let (recorder, broken, prefix) = (recorder.clone(), self.broken.clone(), prefix.to_owned());
        self.tasks.spawn(async move {
            let mut lines = std::pin::pin!(lines);
            loop {
                match lines.next().await {
                    Some(Ok((instance, line))) => {
                        let Some(read) = access_log::read(&line.text, &prefix) else { continue };
                        let at = line.time.map_or_else(|| recorder.now(), |time| recorder.of_wall(time));
                        let (id, status) = (read.id.to_owned(), read.status);
                        recorder.see(Observation::Served(Served { at, id, side, instance, status }));
                    }
                    Some(Err(error)) => return broken.add(format!("the log of the {side} side: {error}")),
                    None => return broken.add(format!("the log of the {side} side: it ended")),
                }
            }
        });
    }
}

/// Writes down which pods of the new side went while nobody watched, between a death and now. Who is not known to be
/// gone is expected to do its part.
pub(super) async fn note_gone(new: &New, recorder: &Recorder) -> Result<(), Trouble> {
    let there = new.pods().await?;
    let known = recorder.read(|recording| {
        let mut known = BTreeSet::new();
        for seen in &recording.observations {
            let Observation::Instance { side: Side::New, instance, state, .. } = seen else { continue };
            match state {
                InstanceState::Ended | InstanceState::Killed => known.remove(instance),
                InstanceState::Started | InstanceState::Ready | InstanceState::Ending => {
                    known.insert(instance.clone())
                }
            };
        }
        known
    });
    for instance in known.into_iter().filter(|instance| !there.contains(instance)) {
        let (at, side, state) = (recorder.now(), Side::New, InstanceState::Ended);
        recorder.see(Observation::Instance { at, side, instance, state });
    }
    Ok(())
}

/// Longer than any rehearsal.
const FOR_EVER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn state(state: State) -> Option<InstanceState> {
    Some(match state {
        State::Started => InstanceState::Started,
        State::Ready => InstanceState::Ready,
        State::Ending => InstanceState::Ending,
        State::Ended => InstanceState::Ended,
        State::Killed => InstanceState::Killed,
        // One that is asked again and again may answer the next time.
        State::Unready => return None,
    })
}
