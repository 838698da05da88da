//! Waiting until changed workloads are ready again, with a failure explained as `up` does it.

use std::time::{Duration, Instant};

use envctl_cluster::ClusterReader;
use envctl_cluster::wait::{self, Outcome, Waiting, Wanted, diagnose};
use jiff::Timestamp;
use tokio::sync::watch;

use super::target::explain;
use crate::ui::{Failure, notice};

/// Waits.
pub(crate) async fn settle(
    reader: &ClusterReader,
    namespace: &str,
    wanted: &[Wanted],
    since: Timestamp,
    timeout: Duration,
) -> Result<(), Failure> {
    let (_delivered, is_delivered) = watch::channel(true);
    let deadline = Instant::now() + timeout;
    let waiting = Waiting { namespace, wanted, since, deadline, schedule_grace: Duration::from_secs(60) };
    let outcome = wait::wait(reader, &waiting, is_delivered, |_| ()).await;
    let (failed, logs, late) = match outcome.map_err(|e| explain(&e))? {
        Outcome::Ready => return Ok(()),
        Outcome::Failed(failed, logs) => (failed, logs, false),
        Outcome::Deadline(standings, logs) => {
            let known = standings.iter().flat_map(|s| s.failing.iter().chain(&s.hints)).cloned();
            (known.collect(), logs, true)
        }
    };
    let diagnoses = diagnose(reader, namespace, &failed, &logs).await;
    for diagnosis in &diagnoses {
        notice(&wait::print(diagnosis));
    }
    Err(Failure::Failed(if late {
        format!("not ready after {} s; it may still become so: `envctl status` shows", timeout.as_secs())
    } else {
        "it does not become ready by itself; why stands above".to_owned()
    }))
}
