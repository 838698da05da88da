//! The machine's HTTP router: one container per port, shared by all environments, owned by whoever
//! is up.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, NetworkCreateRequest, NetworkingConfig,
    PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, StartContainerOptions,
};
use envctl_model::receipt::{End, Item, ThingKind};
use envctl_wire::{AGENT_PATH, CONFIG_VARIABLE, HEALTH_TIMEOUT_SECONDS, ROUTER_ALIAS, RouterConfig};

use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use crate::port_owner::{self, PortOwner};
use crate::remove::at_once;
use envctl_model::labels::{self, Role};

/// The router could not be made to run.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The port is taken.
    #[error("port {port} is taken by {owner}")]
    PortTaken {
        /// The port.
        port: u16,
        /// By whom.
        owner: PortOwner,
    },
    /// A container or network of the router's name is not ours.
    #[error("there is a {kind} {name} already, and envctl did not make it")]
    NotOurs {
        /// Container or network.
        kind: ThingKind,
        /// Its name.
        name: String,
    },
}

/// The machine's router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// The name of its container and of its network.
    pub name: String,
    /// Its container.
    pub container: String,
    /// Its network's id: gateways join it.
    pub network: String,
    /// What was done to have it running.
    pub change: Change,
    /// It runs another version's agent, since other environments use it.
    pub is_foreign: bool,
}

/// What was done to have the router running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It ran already.
    None,
    /// It had been stopped.
    Started,
    /// It was made.
    Created,
    /// It ran an older agent, and nobody else used it.
    Upgraded,
}

/// The name of the router's container and network.
#[must_use]
pub fn name(port: u16) -> String {
    format!("envctl-router-{port}")
}

/// Makes sure that the router of `port` runs. `image` is the agent's; `identity` is the environment
/// that is about to use it (it does not count as a user when a router of an older agent is
/// replaced).
///
/// # Errors
/// When the port is taken (by whom is said), the names are, or the Engine does not answer.
pub async fn ensure(
    engine: &VerifiedEngine,
    port: u16,
    image: &str,
    identity: &str,
) -> Result<Router, RouterError> {
    let name = name(port);
    let network = network(engine, &name).await?;
    let mut change = Change::Created;
    if let Some(found) = look(engine.reader(), &name).await? {
        if !found.ours {
            return Err(RouterError::NotOurs { kind: ThingKind::Container, name });
        }
        let others = users(engine.reader(), port).await?.into_keys().any(|user| user != identity);
        if found.image == image || others {
            let change = if found.running { Change::None } else { Change::Started };
            if !found.running {
                start(engine, &found.id, port).await?;
            }
            let is_foreign = found.image != image;
            return Ok(Router { name, container: found.id, network, change, is_foreign });
        }
        remove(engine, &found.id).await?;
        change = Change::Upgraded;
    }
    let container = match create(engine, port, image, &["127.0.0.1", "::1"]).await {
        // Another environment made it meanwhile; starting it twice is no error.
        Err(RouterError::Engine(error)) if error.is_conflict() => {
            let found = look(engine.reader(), &name).await?.ok_or(error)?;
            start(engine, &found.id, port).await?;
            let is_foreign = found.image != image;
            return Ok(Router { name, container: found.id, network, change: Change::None, is_foreign });
        }
        created => created?,
    };
    let container = match start(engine, &container, port).await {
        Ok(()) => container,
        // A machine without IPv6 has no ::1 to bind.
        Err(RouterError::Engine(error)) if error.to_string().contains("cannot assign requested address") => {
            remove(engine, &container).await?;
            let container = create(engine, port, image, &["127.0.0.1"]).await?;
            start_or_remove(engine, &container, port).await?;
            container
        }
        Err(error) => {
            remove(engine, &container).await?;
            return Err(error);
        }
    };
    Ok(Router { name, container, network, change, is_foreign: false })
}

/// The environments whose gateways have joined the router's network: identity to name. Stopped
/// gateways count: they come back.
///
/// # Errors
/// When the Engine does not answer.
pub async fn users(reader: &EngineReader, port: u16) -> Result<BTreeMap<String, String>, EngineError> {
    gateways_on(reader, &name(port)).await
}

/// The environments whose gateways have joined `network`: identity to name.
pub(crate) async fn gateways_on(
    reader: &EngineReader,
    network: &str,
) -> Result<BTreeMap<String, String>, EngineError> {
    let filter = HashMap::from([
        ("network".to_owned(), vec![network.to_owned()]),
        ("label".to_owned(), vec![format!("{}={}", labels::ROLE, Role::Gateway)]),
    ]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let containers = reader.docker().list_containers(Some(options)).await;
    Ok(found(containers.map_err(reader.failed("listing gateways")))?
        .unwrap_or_default()
        .into_iter()
        .filter_map(|container| {
            let mut marks = container.labels?;
            Some((marks.remove(labels::IDENTITY)?, marks.remove(labels::ENVIRONMENT).unwrap_or_default()))
        })
        .collect())
}

/// Removes the router if nobody uses it any more. Returns how its container and network ended;
/// nothing when there is no router.
///
/// # Errors
/// When the Engine does not answer.
pub async fn remove_unused(engine: &VerifiedEngine, port: u16) -> Result<Vec<(End, Item)>, EngineError> {
    let name = name(port);
    let item = |evidence: &str, used_by| Item {
        kind: ThingKind::Router,
        id: name.clone(),
        evidence: evidence.to_owned(),
        used_by,
        remove: None,
    };
    let container = look(engine.reader(), &name).await?;
    let network = look_network(engine.reader(), &name).await?;
    let ours = container.as_ref().is_none_or(|c| c.ours) && network.as_ref().is_none_or(|n| n.ours);
    if !ours || (container.is_none() && network.is_none()) {
        return Ok(Vec::new());
    }
    let used_by: Vec<_> = users(engine.reader(), port).await?.into_values().collect();
    if !used_by.is_empty() {
        return Ok(vec![(End::Kept, item("gateways are attached to its network", used_by))]);
    }
    if let Some(container) = container {
        remove(engine, &container.id).await?;
    }
    if let Some(network) = network {
        let removed = engine.docker().remove_network(&network.id).await;
        // A gateway that joined meanwhile keeps the network: 403, "has active endpoints".
        if let Err(error) = removed.map_err(engine.failed("removing the router's network"))
            && !error.is_not_found()
        {
            return Ok(vec![(
                End::Left,
                Item {
                    remove: Some(format!("docker network rm {name}")),
                    ..item(&error.to_string(), vec![])
                },
            )]);
        }
    }
    let gone = look(engine.reader(), &name).await?.is_none()
        && look_network(engine.reader(), &name).await?.is_none();
    Ok(vec![if gone {
        (End::Gone, item("neither a container nor a network of that name", vec![]))
    } else {
        let remove = Some(format!("docker rm -f {name}; docker network rm {name}"));
        (End::Left, Item { remove, ..item("still on the Engine", vec![]) })
    }])
}

struct Found {
    id: String,
    image: String,
    running: bool,
    ours: bool,
}

async fn look(reader: &EngineReader, name: &str) -> Result<Option<Found>, EngineError> {
    let inspected = reader.docker().inspect_container(name, None).await;
    let Some(container) = found(inspected.map_err(reader.failed("looking for the router")))? else {
        return Ok(None);
    };
    let config = container.config.unwrap_or_default();
    let role = config.labels.as_ref().and_then(|l| l.get(labels::ROLE));
    Ok(Some(Found {
        id: container.id.unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        running: container.state.and_then(|s| s.running).unwrap_or_default(),
        ours: role.is_some_and(|role| role == Role::Router.as_str()),
    }))
}

struct FoundNetwork {
    id: String,
    ours: bool,
}

async fn look_network(reader: &EngineReader, name: &str) -> Result<Option<FoundNetwork>, EngineError> {
    let inspected = reader.docker().inspect_network(name, None).await;
    let network = found(inspected.map_err(reader.failed("looking for the router's network")))?;
    Ok(network.and_then(|network| {
        let role = network.labels.as_ref().and_then(|l| l.get(labels::ROLE));
        Some(FoundNetwork { ours: role.is_some_and(|role| role == Role::Router.as_str()), id: network.id? })
    }))
}

async fn network(engine: &VerifiedEngine, name: &str) -> Result<String, RouterError> {
    loop {
        match look_network(engine.reader(), name).await? {
            Some(network) if network.ours => return Ok(network.id),
            Some(_) => {
                return Err(RouterError::NotOurs { kind: ThingKind::Network, name: name.to_owned() });
            }
            None => {}
        }
        let wanted = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(marks()),
            ..NetworkCreateRequest::default()
        };
        let created = engine.docker().create_network(wanted).await;
        match created.map_err(engine.failed("making the router's network")) {
            Ok(network) => return Ok(network.id),
            // Another environment made it meanwhile.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn marks() -> HashMap<String, String> {
    HashMap::from([(labels::ROLE.to_owned(), Role::Router.as_str().to_owned())])
}

async fn create(
    engine: &VerifiedEngine,
    port: u16,
    image: &str,
    addresses: &[&str],
) -> Result<String, RouterError> {
    let name = name(port);
    let exposed = format!("{port}/tcp");
    let config = serde_json::json!(RouterConfig { http_port: port }).to_string();
    let bindings = addresses
        .iter()
        .map(|ip| PortBinding { host_ip: Some((*ip).to_owned()), host_port: Some(port.to_string()) })
        .collect();
    let second = 1_000_000_000;
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["router".to_owned()]),
        env: Some(vec![format!("{CONFIG_VARIABLE}={config}")]),
        labels: Some(marks()),
        exposed_ports: Some(vec![exposed.clone()]),
        // A check that has no news to tell takes its time: see HEALTH_TIMEOUT_SECONDS.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["CMD".to_owned(), AGENT_PATH.to_owned(), "health".to_owned()]),
            interval: Some(second),
            timeout: Some(i64::from(HEALTH_TIMEOUT_SECONDS) * second),
            retries: Some(1),
            ..HealthConfig::default()
        }),
        stop_timeout: Some(2),
        host_config: Some(HostConfig {
            network_mode: Some(name.clone()),
            port_bindings: Some(HashMap::from([(exposed, Some(bindings))])),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(
                name.clone(),
                EndpointSettings {
                    aliases: Some(vec![ROUTER_ALIAS.to_owned()]),
                    ..EndpointSettings::default()
                },
            )])),
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let created = engine.docker().create_container(Some(options), body).await;
    Ok(created.map_err(engine.failed("making the router"))?.id)
}

async fn start_or_remove(engine: &VerifiedEngine, id: &str, port: u16) -> Result<(), RouterError> {
    let started = start(engine, id, port).await;
    if started.is_err() {
        remove(engine, id).await?;
    }
    started
}

async fn start(engine: &VerifiedEngine, id: &str, port: u16) -> Result<(), RouterError> {
    let started = engine.docker().start_container(id, None::<StartContainerOptions>).await;
    match started.map_err(engine.failed("starting the router")) {
        Ok(()) => Ok(()),
        Err(error) if is_port_taken(&error.to_string()) => {
            Err(RouterError::PortTaken { port, owner: port_owner::find(engine.reader(), port).await? })
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether Docker's words mean that a published port is in use: by a container, or by a process.
pub(crate) fn is_port_taken(message: &str) -> bool {
    ["port is already allocated", "address already in use", "ports are not available"]
        .iter()
        .any(|words| message.contains(words))
}

async fn remove(engine: &VerifiedEngine, id: &str) -> Result<(), EngineError> {
    at_once(engine, id, "removing the router").await
}
