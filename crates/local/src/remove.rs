//! Removing what carries an environment's identity, and looking each thing up afterwards.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::{
    RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder, WaitContainerOptionsBuilder,
};
use envctl_model::receipt::{End, Item, ThingKind};
use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};

use crate::ending;
use crate::engine::{EngineError, VerifiedEngine, found};
use crate::state::{self, ActualContainer, Inventory, Named};
use crate::warden;
use envctl_model::labels::{self, Role};

/// Removes everything of an environment: its warden, the containers of its pods, then the sandboxes and the
/// gateway that carry their network, then networks, then volumes. Things without the identity are
/// never touched. Returns how each ended.
///
/// # Errors
/// When the Engine does not answer. What it refuses to remove is no error but `left`.
pub async fn environment(engine: &VerifiedEngine, identity: &str) -> Result<Vec<(End, Item)>, EngineError> {
    // First who makes others: what it was about to make is found then.
    let mut ends = warden::remove(engine, identity).await?;
    ends.extend(things(engine, state::inventory(engine.reader(), identity).await?, identity).await?);
    Ok(ends)
}

/// Removes what carries an identity and is of a Compose project, and nothing else of that identity.
///
/// # Errors
/// When the Engine does not answer. What it refuses to remove is no error but `left`.
pub async fn project(
    engine: &VerifiedEngine,
    identity: &str,
    project: &str,
) -> Result<Vec<(End, Item)>, EngineError> {
    things(engine, state::of_project(engine.reader(), identity, project).await?, identity).await
}

async fn things(
    engine: &VerifiedEngine,
    inventory: Inventory,
    identity: &str,
) -> Result<Vec<(End, Item)>, EngineError> {
    let mut ends = containers(engine, inventory.containers).await?;
    ends.extend(try_join_all(inventory.networks.iter().map(|n| network(engine, n, identity))).await?);
    ends.extend(try_join_all(inventory.volumes.iter().map(|v| volume(engine, v, identity))).await?);
    Ok(ends)
}

/// Stops (with their own grace periods) and removes these containers, in parallel: first those that
/// live in a sandbox's network, then the others. Pods that are not wanted any more, or have to be
/// made anew, go this way.
///
/// # Errors
/// When the Engine does not answer.
pub async fn containers(
    engine: &VerifiedEngine,
    containers: Vec<ActualContainer>,
) -> Result<Vec<(End, Item)>, EngineError> {
    let (carriers, members): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|c| matches!(c.role, Some(Role::Sandbox | Role::Gateway)));
    let mut ends = try_join_all(members.iter().map(|c| container(engine, c))).await?;
    ends.extend(try_join_all(carriers.iter().map(|c| container(engine, c))).await?);
    Ok(ends)
}

/// Removes volumes by name, if they carry the identity: those of pods that are about to be made anew.
///
/// # Errors
/// When the Engine does not answer.
pub async fn volumes(engine: &VerifiedEngine, identity: &str, names: &[String]) -> Result<(), EngineError> {
    let named: Vec<_> = names.iter().map(|name| Named { id: name.clone(), name: name.clone() }).collect();
    try_join_all(named.iter().map(|v| volume(engine, v, identity))).await.map(drop)
}

/// What was refused, in the Engine's words; other errors are errors.
fn refusal<T>(result: Result<T, EngineError>) -> Result<Option<String>, EngineError> {
    match result {
        Err(EngineError::Refused { status, message, .. }) if status != 404 => Ok(Some(message)),
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(None),
    }
}

async fn container(engine: &VerifiedEngine, container: &ActualContainer) -> Result<(End, Item), EngineError> {
    let doing = format!("removing the container {}", container.name);
    refusal(ending::stop(engine, container, &doing).await)?;
    let options = RemoveContainerOptionsBuilder::default().v(true).force(true).build();
    let removed = engine.docker().remove_container(&container.id, Some(options)).await;
    let refused = refusal(removed.map_err(engine.failed(&doing)))?;
    if refused.is_some() {
        removal_elsewhere(engine, &container.id).await;
    }
    let found = state::container(engine.reader(), &container.id).await?;
    Ok(end(ThingKind::Container, &container.name, found.is_some(), refused, || {
        format!("docker rm -f {}", container.name)
    }))
}

/// Removes a container at once, whatever it does. One that another process, which may be dead by now, has begun to remove
/// is waited for.
pub(crate) async fn at_once(
    engine: &VerifiedEngine,
    container: &str,
    doing: &str,
) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default().v(true).force(true).build();
    let removed = engine.docker().remove_container(container, Some(options)).await;
    match found(removed.map_err(engine.failed(doing))) {
        Err(error) if error.is_conflict() => {
            removal_elsewhere(engine, container).await;
            Ok(())
        }
        removed => removed.map(drop),
    }
}

/// Waits for a removal that another process has begun: ours is refused then, and the container is
/// gone a moment later.
async fn removal_elsewhere(engine: &VerifiedEngine, id: &str) {
    let options = WaitContainerOptionsBuilder::default().condition("removed").build();
    let mut removal = pin!(engine.docker().wait_container(id, Some(options)));
    // Gone already (404) or not going at all: the look-up afterwards tells.
    let _ = tokio::time::timeout(Duration::from_secs(5), removal.next()).await;
}

async fn network(
    engine: &VerifiedEngine,
    network: &Named,
    identity: &str,
) -> Result<(End, Item), EngineError> {
    let doing = format!("removing the network {}", network.name);
    disconnect_ours(engine, network, identity).await?;
    let removed = engine.docker().remove_network(&network.id).await;
    let refused = refusal(removed.map_err(engine.failed(&doing)))?;
    let inspected = engine.docker().inspect_network(&network.id, None).await;
    let found = found(inspected.map_err(engine.failed(&doing)))?;
    let strangers: Vec<String> = found
        .as_ref()
        .and_then(|network| network.containers.as_ref())
        .map(|endpoints| endpoints.values().filter_map(|e| e.name.clone()).collect())
        .unwrap_or_default();
    let refused = if strangers.is_empty() {
        refused
    } else {
        Some(format!("containers that envctl did not make are attached: {}", strangers.join(", ")))
    };
    Ok(end(ThingKind::Network, &network.name, found.is_some(), refused, || {
        let detach =
            strangers.iter().map(|name| format!("docker network disconnect -f {} {name}; ", network.name));
        format!("{}docker network rm {}", detach.collect::<String>(), network.name)
    }))
}

/// Detaches the machine's router and whatever else envctl made. Strangers stay: taking a network
/// from under somebody's container is not ours to do.
async fn disconnect_ours(
    engine: &VerifiedEngine,
    network: &Named,
    identity: &str,
) -> Result<(), EngineError> {
    let doing = format!("looking at the network {}", network.name);
    let inspected = engine.docker().inspect_network(&network.id, None).await;
    let Some(inspected) = found(inspected.map_err(engine.failed(&doing)))? else {
        return Ok(());
    };
    let attached = inspected.containers.unwrap_or_default().into_keys();
    let detached = attached.map(|id| async move {
        let inspected = engine.docker().inspect_container(&id, None).await;
        let Ok(container) = inspected else { return };
        let marks = container.config.and_then(|c| c.labels).unwrap_or_default();
        if marks.get(labels::ROLE).is_some_and(|role| role == Role::Router.as_str())
            || marks.get(labels::IDENTITY).is_some_and(|owner| owner == identity)
        {
            let request = NetworkDisconnectRequest { container: id, force: Some(true) };
            // That the network goes afterwards, or not, says how this ended.
            let _ = engine.docker().disconnect_network(&network.id, request).await;
        }
    });
    join_all(detached).await;
    Ok(())
}

async fn volume(engine: &VerifiedEngine, volume: &Named, identity: &str) -> Result<(End, Item), EngineError> {
    let doing = format!("removing the volume {}", volume.name);
    let look = || async {
        let inspected = engine.docker().inspect_volume(&volume.name).await;
        found(inspected.map_err(engine.failed(&doing)))
    };
    let ours = |labels: &HashMap<String, String>| labels.get(labels::IDENTITY).is_some_and(|i| i == identity);
    let mut refused = None;
    // Volumes have no id: the name may have been given to another one since the listing.
    if look().await?.is_some_and(|volume| ours(&volume.labels)) {
        let options = RemoveVolumeOptionsBuilder::default().build();
        let removed = engine.docker().remove_volume(&volume.name, Some(options)).await;
        refused = refusal(removed.map_err(engine.failed(&doing)))?;
    }
    let left = look().await?.is_some_and(|volume| ours(&volume.labels));
    Ok(end(ThingKind::Volume, &volume.name, left, refused, || format!("docker volume rm {}", volume.name)))
}

fn end(
    kind: ThingKind,
    name: &str,
    left: bool,
    refused: Option<String>,
    remove: impl FnOnce() -> String,
) -> (End, Item) {
    let item = |evidence, remove| Item { kind, id: name.to_owned(), evidence, used_by: vec![], remove };
    if left {
        (End::Left, item(refused.unwrap_or_else(|| "still on the Engine".to_owned()), Some(remove())))
    } else {
        (End::Gone, item(format!("the Engine has no such {kind}"), None))
    }
}
