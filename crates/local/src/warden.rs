//! The warden of an environment, and what it has made: the runs of CronJobs.

use std::collections::HashMap;

use bollard::query_parameters::{StartContainerOptions, StopContainerOptions};
use envctl_model::labels::{self, Role};
use envctl_model::receipt::{End, Item};
use envctl_wire::{Suspension, agent_command};
use futures_util::future::try_join_all;

use crate::engine::{EngineError, VerifiedEngine};
use crate::exec;
use crate::remove;
use crate::state::{self, ActualContainer, ContainerState};

/// Whether the environment has one.
///
/// # Errors
/// When the Engine does not answer.
pub async fn is_there(engine: &VerifiedEngine, identity: &str) -> Result<bool, EngineError> {
    Ok(!of(engine, identity).await?.is_empty())
}

/// Ends the warden, then the runs that go on.
///
/// # Errors
/// When the Engine does not answer.
pub async fn rest(engine: &VerifiedEngine, identity: &str) -> Result<(), EngineError> {
    for warden in of(engine, identity).await? {
        stop(engine, &warden).await?;
    }
    // After the warden: it may just have begun one. The sandboxes last, as for any pod.
    let runs = state::runs(engine.reader(), identity).await?.containers;
    let (sandboxes, members): (Vec<_>, Vec<_>) = runs
        .into_iter()
        .filter(|container| !matches!(container.state, ContainerState::Created | ContainerState::Exited))
        .partition(|container| container.role == Some(Role::Sandbox));
    for together in [members, sandboxes] {
        try_join_all(together.iter().map(|container| stop(engine, container))).await?;
    }
    Ok(())
}

/// Starts the warden again, if the environment has one.
///
/// # Errors
/// When the Engine does not answer.
pub async fn wake(engine: &VerifiedEngine, identity: &str) -> Result<(), EngineError> {
    for warden in of(engine, identity).await? {
        let started = engine.docker().start_container(&warden.id, None::<StartContainerOptions>).await;
        started.map_err(engine.failed("starting the warden"))?;
    }
    Ok(())
}

/// A CronJob could not be suspended, or made to run.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Nobody runs CronJobs here.
    #[error("the environment has no warden that would run CronJobs")]
    NoWarden,
    /// The warden's words.
    #[error("the warden does not do as it is told: {0}")]
    Refused(String),
}

/// Has the warden suspend a CronJob, or run it from now on, whatever it says itself.
///
/// # Errors
/// When there is no warden, or it has no such CronJob; when the Engine does not answer.
pub async fn suspend(
    engine: &VerifiedEngine,
    identity: &str,
    suspension: &Suspension,
) -> Result<(), SuspendError> {
    let wardens = of(engine, identity).await?;
    let warden = wardens.first().ok_or(SuspendError::NoWarden)?;
    match exec::run(engine, &warden.id, &agent_command("tell", suspension), "telling the warden").await? {
        (0, _) => Ok(()),
        (_, said) => Err(SuspendError::Refused(said.trim().to_owned())),
    }
}

/// Removes all runs of CronJobs, with their volumes.
///
/// # Errors
/// When the Engine does not answer.
pub async fn remove_runs(engine: &VerifiedEngine, identity: &str) -> Result<Vec<(End, Item)>, EngineError> {
    let runs = state::runs(engine.reader(), identity).await?;
    let ends = remove::containers(engine, runs.containers).await?;
    let volumes: Vec<_> = runs.volumes.into_iter().map(|volume| volume.name).collect();
    remove::volumes(engine, identity, &volumes).await?;
    Ok(ends)
}

/// Removes the warden. How it ended; nothing where there is none.
pub(crate) async fn remove(engine: &VerifiedEngine, identity: &str) -> Result<Vec<(End, Item)>, EngineError> {
    remove::containers(engine, of(engine, identity).await?).await
}

async fn of(engine: &VerifiedEngine, identity: &str) -> Result<Vec<ActualContainer>, EngineError> {
    let role = HashMap::from([(
        "label".to_owned(),
        vec![format!("{}={identity}", labels::IDENTITY), format!("{}={}", labels::ROLE, Role::Warden)],
    )]);
    state::containers_by(engine.reader(), &role).await
}

async fn stop(engine: &VerifiedEngine, container: &ActualContainer) -> Result<(), EngineError> {
    let stopped = engine.docker().stop_container(&container.id, None::<StopContainerOptions>).await;
    match stopped.map_err(engine.failed(&format!("stopping {}", container.name))) {
        // It went by itself.
        Err(error) if error.is_not_found() => Ok(()),
        stopped => stopped,
    }
}
