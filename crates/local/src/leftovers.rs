//! What carries our marks on an Engine, whosoever it is: found without knowing what to look for.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use envctl_model::labels::{self, Role};

use crate::engine::{EngineError, EngineReader};
use crate::lock::{Held, held};

/// All things of one identity: an environment's, or what a rehearsal made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// The environment that it says it is of; what a rehearsal made beside it says none.
    pub environment: Option<String>,
    /// Who made it, `user@host`, where it says so.
    pub owner: Option<String>,
    /// Containers, by name.
    pub containers: Vec<String>,
    /// Networks, by name.
    pub networks: Vec<String>,
    /// Volumes, by name.
    pub volumes: Vec<String>,
}

type Marks = HashMap<String, String>;

impl Marked {
    fn learn(&mut self, marks: &Marks) {
        let learn = |known: &mut Option<String>, label: &str| {
            if known.is_none() {
                *known = marks.get(label).cloned();
            }
        };
        learn(&mut self.environment, labels::ENVIRONMENT);
        learn(&mut self.owner, labels::OWNER);
    }
}

/// Everything with an identity, by identity. What environments share (routers, locks) has none of its own.
///
/// # Errors
/// When the Engine does not answer.
pub async fn marked(reader: &EngineReader) -> Result<BTreeMap<String, Marked>, EngineError> {
    let filter = HashMap::from([("label".to_owned(), vec![labels::IDENTITY.to_owned()])]);
    let docker = reader.docker();
    let containers = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let networks = ListNetworksOptionsBuilder::default().filters(&filter).build();
    let volumes = ListVolumesOptionsBuilder::default().filters(&filter).build();
    let failed = reader.failed("listing what is ours");
    let (containers, networks, volumes) = tokio::try_join!(
        docker.list_containers(Some(containers)),
        docker.list_networks(Some(networks)),
        docker.list_volumes(Some(volumes)),
    )
    .map_err(failed)?;
    let mut all: BTreeMap<String, Marked> = BTreeMap::new();
    let mut of = |marks: Marks, add: &mut dyn FnMut(&mut Marked)| {
        let role = marks.get(labels::ROLE).and_then(|role| Role::parse(role));
        if let Some(identity) = marks.get(labels::IDENTITY).filter(|_| role != Some(Role::Router)) {
            let one = all.entry(identity.clone()).or_default();
            one.learn(&marks);
            add(one);
        }
    };
    for container in containers {
        let name = container.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
        let name = name.trim_start_matches('/').to_owned();
        of(container.labels.unwrap_or_default(), &mut |one| one.containers.push(name.clone()));
    }
    for network in networks {
        let name = network.name.unwrap_or_default();
        of(network.labels.unwrap_or_default(), &mut |one| one.networks.push(name.clone()));
    }
    for volume in volumes.volumes.unwrap_or_default() {
        let name = volume.name;
        of(volume.labels, &mut |one| one.volumes.push(name.clone()));
    }
    Ok(all)
}

/// The locks that somebody holds.
///
/// # Errors
/// When the Engine does not answer.
pub async fn locks(reader: &EngineReader) -> Result<Vec<Held>, EngineError> {
    let role = format!("{}={}", labels::ROLE, Role::Lock);
    let filter = HashMap::from([("label".to_owned(), vec![role])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let listed = reader.docker().list_containers(Some(options)).await;
    let mut locks = Vec::new();
    for container in listed.map_err(reader.failed("listing locks"))? {
        let Some(of) = container.labels.and_then(|mut marks| marks.remove(labels::ENVIRONMENT)) else {
            continue;
        };
        // One that was released in between is none.
        locks.extend(held(reader, &of).await?);
    }
    Ok(locks)
}

/// Where an Engine of this machine keeps images and volumes; none of one that is elsewhere.
///
/// # Errors
/// When the Engine does not answer.
pub async fn directory(reader: &EngineReader) -> Result<Option<PathBuf>, EngineError> {
    if reader.endpoint().is_remote() {
        return Ok(None);
    }
    let info = reader.docker().info().await.map_err(reader.failed("asking where it keeps its data"))?;
    Ok(info.docker_root_dir.map(PathBuf::from))
}
