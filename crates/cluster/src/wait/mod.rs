//! Waiting that watches and explains.
//!
//! ```text
//! snapshot   what the API server shows of a namespace, kept up to date by watches
//! causes     what can be wrong, in plain words, with what to do and how long it may heal by itself
//! settling   how long something has to stay ready before that is believed: pure
//! logs       the last lines of what ended badly, fetched at once
//! pods       what is wrong with a pod: pure
//! workloads  where workloads stand: pure
//! diagnosis  event, last lines of the log: fetched when something failed
//! ```

mod causes;
mod diagnosis;
mod logs;
mod pods;
mod settling;
mod snapshot;
mod workloads;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

pub use causes::{Cause, Refuser, Shortage};
pub use diagnosis::{Diagnosis, diagnose, print};
pub use logs::Logs;
pub use snapshot::Snapshot;
pub use workloads::{Failing, Standing, State, Wanted};

use crate::client::ClusterReader;
use crate::error::ClusterError;
use logs::Captures;
use settling::Settling;
use snapshot::Watches;

/// How waiting ended.
#[derive(Debug)]
pub enum Outcome {
    /// All workloads are ready, and the delivery has ended.
    Ready,
    /// These failed, and waiting does not mend it; with the logs that were fetched when it happened.
    Failed(Vec<Failing>, Logs),
    /// The deadline passed. These may still become ready; what is known of each so far.
    Deadline(Vec<Standing>, Logs),
}

/// What is waited for.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The workloads of the release.
    pub wanted: &'a [Wanted],
    /// When this delivery began: pods from before get time to be replaced.
    pub since: Timestamp,
    /// When to give up.
    pub deadline: Instant,
    /// How long a pod may be unschedulable before that is a failure: a cluster that grows takes a while.
    pub schedule_grace: Duration,
}

/// Watches a namespace until everything wanted is ready and `delivered` says that Helm has ended, or
/// until something has failed for longer than it may heal by itself.
///
/// # Errors
/// When the cluster refuses to be watched. One that does not answer for a while is waited for.
pub async fn wait(
    reader: &ClusterReader,
    waiting: &Waiting<'_>,
    mut delivered: watch::Receiver<bool>,
    mut report: impl FnMut(&[Standing]),
) -> Result<Outcome, ClusterError> {
    let mut watches = Watches::start(reader, waiting.namespace);
    let mut snapshot = Snapshot::default();
    let mut seen: BTreeMap<(String, &'static str), Instant> = BTreeMap::new();
    let mut told: Vec<Standing> = Vec::new();
    let mut captures = Captures::new(reader, waiting.namespace);
    let mut settling = Settling::default();
    loop {
        let now = Instant::now();
        let is_delivered = *delivered.borrow_and_update();
        let mut wake = waiting.deadline;
        if snapshot.is_complete() {
            captures.look(&snapshot);
            let standings = workloads::judge(&snapshot, waiting, is_delivered);
            if standings != told {
                report(&standings);
                told.clone_from(&standings);
            }
            let mut failed = Vec::new();
            let mut current = BTreeMap::new();
            for failing in standings.iter().flat_map(|standing| &standing.failing) {
                let key = (failing.object.clone(), failing.cause.code());
                let first = seen.get(&key).copied().unwrap_or(now);
                current.insert(key, first);
                let grace = failing.cause.grace(waiting.schedule_grace);
                let grace = if failing.from_before && !is_delivered { grace.max(REPLACED) } else { grace };
                if now.duration_since(first) >= grace {
                    failed.push(failing.clone());
                } else {
                    wake = wake.min(first + grace);
                }
            }
            seen = current;
            if !failed.is_empty() {
                return Ok(Outcome::Failed(failed, captures.finish().await));
            }
            let settled = standings.iter().all(|standing| standing.state.is_settled());
            match settling.until(&snapshot, settled, now) {
                Some(until) if is_delivered && until <= now => return Ok(Outcome::Ready),
                Some(until) if is_delivered => wake = wake.min(until),
                // Until Helm has ended, a change wakes us.
                _ => {}
            }
        }
        if now >= waiting.deadline {
            told.retain(|standing| !standing.state.is_settled());
            return Ok(Outcome::Deadline(told, captures.finish().await));
        }
        tokio::select! {
            changed = watches.next() => snapshot.take(changed?),
            Ok(()) = delivered.changed() => {}
            () = captures.next() => {}
            () = tokio::time::sleep_until(wake.into()) => {}
        }
        // All that has arrived by now is one picture.
        while let Some(changed) = watches.ready() {
            snapshot.take(changed?);
        }
    }
}

/// What was broken before this delivery is given the time that Helm needs to replace it.
const REPLACED: Duration = Duration::from_secs(20);
