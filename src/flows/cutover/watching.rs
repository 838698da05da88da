//! What is seen of production while a cutover is under way, written into its recording.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use envctl_model::cutover::production::{Metrics, Production};
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_programs::process::{Stream, Supervisor};
use envctl_rehearse::director::Trouble;
use envctl_rehearse::haproxy::Router;
use envctl_rehearse::ledger::Ledger;
use envctl_rehearse::{Observation, Recorder};
use tokio::task::JoinSet;

use super::operator::{BothCounters, Operator};
use super::prometheus::Prometheus;
use crate::flows::moving::turning;
use crate::flows::moving::workloads::Workloads;

/// How often counters are read: nobody tells when they change.
const EVERY: Duration = Duration::from_millis(500);

/// How long a ledger may tell nothing because it does not run. What happens meanwhile it tells when it runs again.
const SILENT_WITHIN: Duration = Duration::from_secs(10);

/// After which time a ledger that tells nothing does run, and has nothing to tell.
const RUNS_SINCE: Duration = Duration::from_secs(3);

/// After which time one that ended is started again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who counts the requests of both sides.
#[derive(Debug, Clone)]
pub(super) enum Counting {
    /// Who operates the machines.
    Operator(Operator),
    /// Prometheus.
    Prometheus(Prometheus),
}

impl Counting {
    /// As the plan says; none where there are no requests.
    pub(super) fn of(production: &Production, operator: &Operator) -> Result<Option<Self>, Trouble> {
        Ok(match &production.metrics {
            None => None,
            Some(Metrics::Command) => Some(Self::Operator(operator.clone())),
            Some(Metrics::Prometheus { url, requests, failed, p99, .. }) => {
                Some(Self::Prometheus(Prometheus::new(url, requests, failed, p99.as_deref())?))
            }
        })
    }

    /// That something is counted.
    pub(super) async fn check(&self) -> Result<(), Trouble> {
        if let Self::Prometheus(prometheus) = self {
            prometheus.has_counters().await?;
        }
        self.read().await.map(drop)
    }

    /// Reads the counters of both sides.
    pub(super) async fn read(&self) -> Result<BothCounters, Trouble> {
        match self {
            Self::Operator(operator) => operator.counters().await,
            Self::Prometheus(prometheus) => prometheus.counters().await,
        }
    }
}

/// Everybody who watches. Dropped, they stop.
#[derive(Debug, Default)]
pub(super) struct Watching {
    tasks: JoinSet<()>,
    /// Why something could not be seen, the last time that it was tried.
    unseen: Arc<Mutex<Option<String>>>,
    /// Since when the ledger tells nothing, if it does not.
    silent: Silent,
}

/// Since when a ledger tells nothing, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Silent(Arc<Mutex<Option<(Instant, String)>>>);

impl Silent {
    fn set(&self, why: Option<String>) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = why.map(|why| (since.as_ref().map_or_else(Instant::now, |(since, _)| *since), why));
    }

    /// Why nothing can be judged by it, if it has been silent for too long.
    pub(super) fn too_long(&self) -> Option<String> {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, why) = since.as_ref()?;
        (since.elapsed() > SILENT_WITHIN).then(|| format!("nobody tells what runs: {why}"))
    }
}

impl Watching {
    /// Why something could not be seen, the last time that it was tried. The gates say what that left open.
    pub(super) fn unseen(&self) -> Option<String> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the ledger tells anything.
    pub(super) fn silent(&self) -> Silent {
        self.silent.clone()
    }

    /// Reads counters again and again.
    pub(super) fn counters(&mut self, counting: Counting, recorder: &Recorder) {
        let (recorder, unseen) = (recorder.clone(), Arc::clone(&self.unseen));
        self.tasks.spawn(async move {
            let mut often = tokio::time::interval(EVERY);
            often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                often.tick().await;
                let read = counting.read().await;
                *unseen.lock().unwrap_or_else(PoisonError::into_inner) = match read {
                    Ok(read) => {
                        let at = recorder.now();
                        recorder.see_all([(Side::Old, read.old), (Side::New, read.new)].map(
                            |(side, counters)| Observation::Counted {
                                at,
                                side,
                                requests: counters.requests,
                                failed: counters.failed,
                                p99: counters.p99,
                            },
                        ));
                        None
                    }
                    Err(Trouble(why)) => Some(why),
                };
            }
        });
    }

    /// Reads the router's weights back, again and again.
    pub(super) fn weights(&mut self, router: &Router, recorder: &Recorder) {
        self.tasks.spawn(turning::watch_weights(router.clone(), recorder.clone()));
    }

    /// Reads the ledger of jobs or of runs. What is of no pod of the new side is of the old one.
    pub(super) fn ledger(
        &mut self,
        words: &[String],
        directory: &std::path::Path,
        plan: &CutoverPlan,
        new: &Workloads,
        recorder: &Recorder,
    ) {
        let (words, directory) = (words.to_vec(), directory.to_owned());
        let pods = new.pods();
        let silent = self.silent.clone();
        let tells_jobs = plan.work.is_some();
        let (recorder, unseen) = (recorder.clone(), Arc::clone(&self.unseen));
        self.tasks.spawn(async move {
            let whose =
                |host: &str| Some((if pods.have(host) { Side::New } else { Side::Old }, host.to_owned()));
            let mut ledger = recorder.read(Ledger::resume);
            // A connection that breaks must not make the rest of the cutover blind.
            loop {
                let mut reading = ledger.reading();
                let mut wrong = None;
                let command = Operator::command(&words, &directory);
                let supervisor = Supervisor::default();
                let mut tell = |stream, line: &str| {
                    if stream != Stream::Stdout {
                        return;
                    }
                    silent.set(None);
                    let told = if tells_jobs {
                        reading.job_line(line, recorder.now(), whose)
                    } else {
                        reading.run_line(line, whose)
                    };
                    match told {
                        Ok(told) => recorder.see_all(told),
                        Err(error) => wrong = Some(error.to_string()),
                    }
                };
                let ended = {
                    let mut ran = pin!(command.run_with_lines(&supervisor, &mut tell));
                    tokio::select! {
                        ended = &mut ran => ended,
                        // It may have nothing to tell.
                        () = tokio::time::sleep(RUNS_SINCE) => {
                            silent.set(None);
                            ran.await
                        }
                    }
                };
                let ended = match ended {
                    Ok(_) => "the ledger ended".to_owned(),
                    Err(error) => format!("the ledger: {error}"),
                };
                silent.set(Some(ended.clone()));
                *unseen.lock().unwrap_or_else(PoisonError::into_inner) = wrong.or(Some(ended));
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
    }
}
