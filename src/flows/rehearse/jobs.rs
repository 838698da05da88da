//! The load of a worker: jobs that come into the queue at their times, until all of them are over.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use envctl_local::machines::{Tool, ToolLines};
use envctl_model::cutover::plan::Work;
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_rehearse::director::Judged;
use envctl_rehearse::gates::{self, During, Window};
use envctl_rehearse::observation::{JobEvent, Observation};
use envctl_rehearse::work::{self, Schedule, WorkError, Worked};
use envctl_rehearse::{Recorder, Time};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::old::{Old, failed};
use crate::ui::Failure;

/// How long the old side may take to end some jobs, before anything is done.
const WARM_WITHIN: Duration = Duration::from_secs(30);

/// How many jobs it has to end until then.
const WARM_JOBS: u32 = 5;

/// How long what is in the queue may take to end, when nothing more comes. What a queue hides for longer, nobody sees
/// again.
const DRY_WITHIN: Duration = Duration::from_secs(30);

/// A load that is under way.
#[derive(Debug)]
pub(super) struct Jobs {
    began: Time,
    stop: CancellationToken,
    working: JoinHandle<Result<Worked, WorkError>>,
}

/// A load that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    began: Time,
    /// What went wrong with it, a line each.
    pub(super) wrong: Vec<String>,
}

impl Jobs {
    /// Begins to put jobs into the queue.
    pub(super) async fn start(
        work: &Work,
        old: &Old,
        recorder: &Recorder,
        seed: u64,
    ) -> Result<Self, Failure> {
        let tool = old.tool("enqueue", &work.enqueue).await.map_err(failed)?;
        let schedule = Schedule::new(seed, work.rate, &work.jobs);
        let stop = CancellationToken::new();
        let working = tokio::spawn(enqueue(tool, schedule, recorder.clone(), stop.clone()));
        Ok(Self { began: recorder.now(), stop, working })
    }

    /// Puts nothing more into the queue, and waits until what is in it is over. What never is, is for the gates to
    /// find.
    pub(super) async fn stop(self, recorder: &Recorder) -> Result<Ended, Failure> {
        self.stop.cancel();
        let worked = self.working.await.map_err(Failure::failed)?;
        dry(recorder).await;
        let wrong = match worked {
            Err(error) => vec![error.to_string()],
            Ok(worked) => {
                let refused =
                    worked.refusals.iter().map(|(id, why)| format!("the queue did not take job {id}: {why}"));
                let silent =
                    worked.unanswered.iter().map(|id| format!("nobody said whether the queue took job {id}"));
                refused.chain(silent).collect()
            }
        };
        Ok(Ended { began: self.began, wrong })
    }
}

impl Ended {
    /// Judges all jobs from the first to the last: what no step was to blame for alone shows here.
    pub(super) fn judge(&self, plan: &CutoverPlan, recorder: &Recorder) -> Judged {
        let window = Window { from: self.began, to: recorder.now(), step: None, during: During::Whole };
        let verdicts = recorder.read(|recording| gates::judge_window(plan, recording, &window));
        Judged { step: plan.steps.len().saturating_sub(1), window, verdicts }
    }
}

/// The tool's container goes when this is over.
async fn enqueue(
    tool: Tool,
    schedule: Schedule,
    recorder: Recorder,
    stop: CancellationToken,
) -> Result<Worked, WorkError> {
    let Tool { input, lines, .. } = tool;
    work::run(schedule, &recorder, input, each(lines), stop).await
}

fn each(lines: ToolLines) -> BoxStream<'static, io::Result<String>> {
    let next = |mut lines: ToolLines| async move {
        let line = lines.next().await.map_err(|e| io::Error::other(e.to_string())).transpose()?;
        Some((line, lines))
    };
    stream::unfold(lines, next).boxed()
}

/// Before anything is done the old side ends jobs: else nothing later could be told apart from that.
pub(super) async fn warm(recorder: &Recorder) -> Result<(), Failure> {
    let (mut enqueued, mut ended) = (0, 0);
    let warm = recorder.until(WARM_WITHIN, |new| {
        for seen in new {
            match seen {
                Observation::Job { event: JobEvent::Enqueued, .. } => enqueued += 1,
                Observation::Job { event: JobEvent::Effect, side: Some(Side::Old), .. } => ended += 1,
                _ => {}
            }
        }
        ended >= WARM_JOBS
    });
    if warm.await {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the {} side does not work, before anything was done: of {enqueued} jobs that the queue took, the ledger has \
         {ended} that had their effect there after {} s\n  try `work.enqueue` and `work.ledger` by hand in the old \
         side's Compose file; the ledger names each instance by its host name",
        Side::Old,
        WARM_WITHIN.as_secs()
    )))
}

/// Waits until every job that the queue took is done or given up, and the queue is empty: what somebody took who is
/// gone comes again.
async fn dry(recorder: &Recorder) {
    let since = recorder.now();
    let (mut open, mut over) = (HashSet::new(), HashSet::new());
    let mut is_empty = false;
    let is_dry = |new: &[Observation]| {
        for seen in new {
            match seen {
                Observation::Job { id, event: JobEvent::Enqueued, .. } if !over.contains(id) => {
                    open.insert(id.clone());
                }
                Observation::Job { id, event: JobEvent::Effect | JobEvent::DeadLettered, .. } => {
                    open.remove(id);
                    over.insert(id.clone());
                }
                Observation::Backlog { at, waiting, in_flight } if *at >= since => {
                    is_empty = waiting + in_flight == 0;
                }
                _ => {}
            }
        }
        is_empty && open.is_empty()
    };
    recorder.until(DRY_WITHIN, is_dry).await;
}
