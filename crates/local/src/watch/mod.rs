//! Waiting for an environment by Docker's events, without polling.

mod events;
mod progress;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;

pub(crate) use events::asks_to_end;
pub use events::{Change, ContainerEvent, events};
pub use progress::{Failure, FailureReason, PodState, Progress};

use crate::engine::{EngineError, EngineReader};
use crate::state;

/// After how long a silence of Compose's somebody looks.
const SILENCE: Duration = Duration::from_secs(3);

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every pod is ready or has completed.
    Ready,
    /// These pods have failed in a way that more waiting does not mend.
    Failed(Vec<(String, Failure)>),
    /// Time is up; these pods are neither ready nor known to have failed.
    Deadline(Vec<String>),
}

/// Waits until every pod is ready or completed, one has failed, or time is up. `since` is a moment
/// before anything was started, so that nothing is missed. Of a container that it cannot start the Engine tells nothing:
/// `look` is notified when something may have gone unsaid. `changed` hears of every change of a pod's state.
///
/// # Errors
/// When the Engine stops answering.
pub async fn wait(
    reader: &EngineReader,
    identity: &str,
    mut progress: Progress,
    since: Timestamp,
    deadline: Instant,
    look: &Notify,
    mut changed: impl FnMut(&str, &PodState),
) -> Result<Outcome, EngineError> {
    let stream = events(reader, identity, since);
    let mut stream = std::pin::pin!(stream);
    // After subscribing: what happened before is in the listing, what happens later in the stream.
    progress.observe(&state::containers(reader, identity).await?, Instant::now());
    let mut reported = std::collections::BTreeMap::new();
    loop {
        let now = Instant::now();
        for (pod, state) in progress.states(now) {
            if reported.get(&pod) != Some(&state) {
                changed(&pod, &state);
                reported.insert(pod, state);
            }
        }
        let failed: Vec<_> = reported
            .iter()
            .filter_map(|(pod, state)| match state {
                PodState::Failed(failure) => Some((pod.clone(), failure.clone())),
                _ => None,
            })
            .collect();
        if !failed.is_empty() {
            return Ok(Outcome::Failed(failed));
        }
        let waiting: Vec<_> =
            reported.iter().filter(|(_, state)| !state.is_settled()).map(|(pod, _)| pod.clone()).collect();
        if waiting.is_empty() {
            return Ok(Outcome::Ready);
        }
        if now >= deadline {
            return Ok(Outcome::Deadline(waiting));
        }
        let wake = progress.next_change(now).map_or(deadline, |at| at.min(deadline));
        tokio::select! {
            event = stream.next() => match event {
                Some(event) => progress.apply(&event?, Instant::now()),
                None => return Err(reader.lost("waiting for its events")),
            },
            () = look.notified() => {
                progress.observe(&state::containers(reader, identity).await?, Instant::now());
            }
            // A container that has just started may count as running now.
            () = tokio::time::sleep_until(wake.into()) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Notifies `look` when Compose, whose every line notifies `said`, is silent.
///
/// Compose that waits for one service does not say that another one could not be started, nor does the Engine: whoever
/// waits looks once Compose has been silent for a while, and then less and less often.
pub async fn look_when_silent(said: &Notify, look: &Notify) -> Infallible {
    let mut silence = SILENCE;
    loop {
        match tokio::time::timeout(silence, said.notified()).await {
            Ok(()) => silence = SILENCE,
            Err(_) => {
                look.notify_one();
                silence *= 2;
            }
        }
    }
}
