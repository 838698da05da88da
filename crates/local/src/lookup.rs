//! Looking things up directly, for receipts and lists.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::query_parameters::ListContainersOptionsBuilder;
use envctl_model::{Thing, ThingKind};

use crate::engine::{EngineError, EngineReader, found, with_label};
use envctl_model::labels;

/// Whether a thing of a name exists, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// There is none.
    None,
    /// There is one, with the identity asked for.
    Ours,
    /// There is one, and it is not ours: names can be reused.
    NotOurs,
}

/// Looks a container, network or volume up by its name. Things of other kinds are not the
/// Engine's: [`Existence::None`].
///
/// # Errors
/// When the Engine does not answer.
pub async fn exists(reader: &EngineReader, thing: &Thing, identity: &str) -> Result<Existence, EngineError> {
    let docker = reader.docker();
    let failed = reader.failed(&format!("looking for the {thing}"));
    let marks = match thing.kind {
        ThingKind::Container => found(docker.inspect_container(&thing.id, None).await.map_err(failed))?
            .map(|container| container.config.and_then(|c| c.labels).unwrap_or_default()),
        ThingKind::Network => found(docker.inspect_network(&thing.id, None).await.map_err(failed))?
            .map(|network| network.labels.unwrap_or_default()),
        ThingKind::Volume => {
            found(docker.inspect_volume(&thing.id).await.map_err(failed))?.map(|volume| volume.labels)
        }
        _ => None,
    };
    Ok(match marks {
        None => Existence::None,
        Some(marks) if marks.get(labels::IDENTITY).is_some_and(|i| i == identity) => Existence::Ours,
        Some(_) => Existence::NotOurs,
    })
}

/// The names of all containers, stopped ones too, that carry an environment's name, whatever their
/// identity.
///
/// # Errors
/// When the Engine does not answer.
pub async fn named(reader: &EngineReader, environment: &str) -> Result<Vec<String>, EngineError> {
    let filter = with_label(labels::ENVIRONMENT, environment);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let listed =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing containers"))?;
    Ok(listed
        .into_iter()
        .filter_map(|c| Some(c.names?.first()?.trim_start_matches('/').to_owned()))
        .collect())
}

/// How many containers run, by identity, in one question for all environments.
///
/// # Errors
/// When the Engine does not answer.
pub async fn running(reader: &EngineReader) -> Result<BTreeMap<String, usize>, EngineError> {
    let filter = std::collections::HashMap::from([("label".to_owned(), vec![labels::IDENTITY.to_owned()])]);
    let options = ListContainersOptionsBuilder::default().filters(&filter).build();
    let listed =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing containers"))?;
    let mut running = BTreeMap::new();
    for identity in listed.into_iter().filter_map(|c| c.labels?.remove(labels::IDENTITY)) {
        *running.entry(identity).or_default() += 1;
    }
    Ok(running)
}

/// The address of a container on a network; none while it does not run.
///
/// # Errors
/// When there is no such container, or the Engine does not answer.
pub async fn address(
    reader: &EngineReader,
    container: &str,
    network: &str,
) -> Result<Option<IpAddr>, EngineError> {
    let inspected = reader.docker().inspect_container(container, None).await;
    let inspected = inspected.map_err(reader.failed("looking at a container"))?;
    let endpoints = inspected.network_settings.and_then(|settings| settings.networks);
    Ok(endpoints.and_then(|mut all| all.remove(network)?.ip_address?.parse().ok()))
}
