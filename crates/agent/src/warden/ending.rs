//! What a container wants done before it is asked to end (`lifecycle.preStop`), as the kubelet does it.

use std::time::Duration;

use envctl_wire::labels::BEFORE_STOP;
use envctl_wire::{BeforeStop, agent_command};
use tokio::time::Instant;

use super::container::Container;
use super::engine::{Engine, EngineError};
use super::probes;

/// The least that is left for the stop signal, as for the kubelet.
const AT_LEAST: Duration = Duration::from_secs(2);

/// Has it done in a container that runs. How long that may take from then on; `None`: its whole grace period.
pub(super) async fn prepare(engine: &Engine, container: &Container) -> Option<Duration> {
    let wanted: BeforeStop = serde_json::from_str(container.label(BEFORE_STOP)?).ok()?;
    let begun = Instant::now();
    // One that takes too long is given up, and one that fails is like none.
    let _ = tokio::time::timeout(container.grace, act(engine, container, &wanted)).await;
    Some(container.grace.saturating_sub(begun.elapsed()).max(AT_LEAST))
}

async fn act(engine: &Engine, container: &Container, wanted: &BeforeStop) -> Result<(), EngineError> {
    match wanted {
        BeforeStop::Exec(command) => probes::run(engine, &container.id, command).await.map(drop),
        BeforeStop::Request(check) => {
            let Some(sandbox) = &container.sandbox else { return Ok(()) };
            probes::run(engine, sandbox, &agent_command("check", check)).await.map(drop)
        }
        BeforeStop::Sleep(seconds) => {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Ok(())
        }
    }
}
