//! Ending a container as the kubelet does: what it wants done before (`lifecycle.preStop`), then its
//! stop signal, then what is left of its grace period.

use std::time::Duration;

use bollard::query_parameters::{StopContainerOptionsBuilder, WaitContainerOptionsBuilder};
use envctl_wire::{BeforeStop, agent_command};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::engine::{EngineError, VerifiedEngine};
use crate::exec;
use crate::state::{ActualContainer, ContainerState};

/// The least that is left for the stop signal, as for the kubelet.
const AT_LEAST: Duration = Duration::from_secs(2);

/// Waits until a container has ended. Its exit code.
pub(crate) async fn ended(engine: &VerifiedEngine, id: &str, name: &str) -> Result<i64, EngineError> {
    let doing = format!("waiting for the end of {name}");
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    match engine.docker().wait_container(id, Some(options)).next().await {
        Some(Ok(ended)) => Ok(ended.status_code),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(error)) => Err(engine.failed(&doing)(error)),
        None => Err(engine.reader().lost("waiting for the end of a container")),
    }
}

/// Ends a container, and returns when it has ended.
pub(crate) async fn stop(
    engine: &VerifiedEngine,
    container: &ActualContainer,
    doing: &str,
) -> Result<(), EngineError> {
    let options = StopContainerOptionsBuilder::default();
    let options = match &container.before_stop {
        Some(wanted) if container.state == ContainerState::Running => {
            let grace =
                Duration::from_secs(container.stop_timeout.and_then(|s| s.try_into().ok()).unwrap_or(10));
            let begun = Instant::now();
            // One that takes too long is given up, and one that fails is like none: so does the kubelet.
            let _ = tokio::time::timeout(grace, prepare(engine, container, wanted)).await;
            let left = grace.saturating_sub(begun.elapsed()).max(AT_LEAST);
            options.t(i32::try_from(left.as_secs()).unwrap_or(i32::MAX))
        }
        // Without a number the Engine takes the container's own grace period.
        _ => options,
    };
    let stopped = engine.docker().stop_container(&container.id, Some(options.build())).await;
    stopped.map_err(engine.failed(doing))
}

async fn prepare(engine: &VerifiedEngine, container: &ActualContainer, wanted: &BeforeStop) {
    match wanted {
        BeforeStop::Exec(command) => {
            let _ = exec::run(engine, &container.id, command, "running a preStop hook").await;
        }
        BeforeStop::Request(check) => {
            let command = agent_command("check", check);
            if let Some(sandbox) = &container.sandbox {
                let _ = exec::run(engine, sandbox, &command, "making the request of a preStop hook").await;
            }
        }
        BeforeStop::Sleep(seconds) => tokio::time::sleep(Duration::from_secs(*seconds)).await,
    }
}
