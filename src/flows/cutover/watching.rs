//! What is seen of production while a cutover is under way, written into its recording.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
            Some(Metrics::Prometheus { url, requests, failed, p99 }) => {
                Some(Self::Prometheus(Prometheus::new(url, requests, failed, p99.as_deref())?))
            }
        })
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
}

impl Watching {
    /// Why something could not be seen, the last time that it was tried. The gates say what that left open.
    pub(super) fn unseen(&self) -> Option<String> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let command = Operator::command(words, directory);
        let pods = new.pods();
        let tells_jobs = plan.work.is_some();
        let (recorder, unseen) = (recorder.clone(), Arc::clone(&self.unseen));
        self.tasks.spawn(async move {
            let whose =
                |host: &str| Some((if pods.have(host) { Side::New } else { Side::Old }, host.to_owned()));
            let mut ledger = recorder.read(Ledger::resume);
            let mut reading = ledger.reading();
            let mut wrong = None;
            let supervisor = Supervisor::default();
            let ran = command.run_with_lines(&supervisor, |stream, line| {
                if stream != Stream::Stdout {
                    return;
                }
                let told = if tells_jobs {
                    reading.job_line(line, recorder.now(), whose)
                } else {
                    reading.run_line(line, whose)
                };
                match told {
                    Ok(told) => recorder.see_all(told),
                    Err(error) => wrong = Some(error.to_string()),
                }
            });
            let ended = match ran.await {
                Ok(_) => "the ledger ended".to_owned(),
                Err(error) => format!("the ledger: {error}"),
            };
            *unseen.lock().unwrap_or_else(PoisonError::into_inner) = wrong.or(Some(ended));
        });
    }
}
