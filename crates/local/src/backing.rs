//! The user's own Compose file: the services that stand in for what the cloud gives.
//!
//! The file and its project are the user's. Several environments share it, so it is brought up when
//! one needs it and taken down, data kept, when nobody does any more.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use envctl_model::receipt::{End, Item, ThingKind};
use envctl_programs::process::{Command, ProgramError, Stream, Supervisor};
use serde::{Deserialize, Serialize};

use crate::docker_cli::DockerCli;
use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use crate::router;
use envctl_model::labels::{self, Role};

/// The label Compose gives every container of a project.
pub(crate) const COMPOSE_PROJECT: &str = "com.docker.compose.project";
/// The label with the service's name.
pub(crate) const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// A backing Compose file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    /// Compose refused it or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such file.
    #[error("the backing services' Compose file {} does not exist", .0.display())]
    Missing(PathBuf),
    /// Compose's answer is not what we know.
    #[error("what `docker compose config` says of {} cannot be read: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A label with a bad value.
    #[error("service {service}: the label {}: {value:?} is not NAME:PORT", labels::ROUTE)]
    BadRoute {
        /// The service.
        service: String,
        /// The label's value.
        value: String,
    },
    /// A service that cannot be reached from the environment.
    #[error(
        "service {service} has `network_mode: {mode}`; a backing service has to be on the project's default network"
    )]
    Unreachable {
        /// The service.
        service: String,
        /// Its network mode.
        mode: String,
    },
}

/// The backing services of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The Compose project: `name:` in the file.
    pub project: String,
    /// The file.
    pub file: PathBuf,
    /// The network to join to reach them.
    pub network: String,
    /// The services, by name.
    pub services: Vec<BackingService>,
    /// The file as Compose resolved it, as JSON: it can be started again when the file is gone.
    pub resolved: serde_json::Value,
}

/// One backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingService {
    /// Its name in the file.
    pub name: String,
    /// The name Docker's DNS knows it by: the container's, which is unique on the Engine (the
    /// service's own name is not, for somebody who is on several networks).
    pub container: String,
    /// Its TCP ports inside the network (`expose`, and the container's side of `ports`).
    pub ports: Vec<u16>,
    /// The host name and port it answers by over HTTP: the label `dev.envctl.route`.
    pub route: Option<(String, u16)>,
}

impl Backing {
    /// Reads a Compose file, as Compose itself understands it. Starts nothing.
    ///
    /// # Errors
    /// When the file does not exist, Compose refuses it, or a label in it has a bad value.
    pub async fn read(cli: &DockerCli, supervisor: &Supervisor, file: &Path) -> Result<Self, BackingError> {
        if !file.is_file() {
            return Err(BackingError::Missing(file.to_owned()));
        }
        let output =
            command(cli, file).args(["config", "--format", "json"]).whole_stdout().run(supervisor).await?;
        Self::parse(file, &output.stdout)
    }

    fn parse(file: &Path, json: &[u8]) -> Result<Self, BackingError> {
        let unreadable = |error: serde_json::Error| BackingError::Unreadable {
            file: file.to_owned(),
            reason: error.to_string(),
        };
        let resolved: serde_json::Value = serde_json::from_slice(json).map_err(unreadable)?;
        let config = Config::deserialize(&resolved).map_err(unreadable)?;
        let default = config.networks.get("default").and_then(|n| n.name.clone());
        let mut services = Vec::new();
        for (name, service) in config.services {
            if let Some(mode) = service.network_mode {
                return Err(BackingError::Unreachable { service: name, mode });
            }
            let mut ports: Vec<u16> = service
                .expose
                .iter()
                .filter_map(|port| tcp_port(port))
                .chain(service.ports.iter().filter(|p| p.protocol != "udp").map(|p| p.target))
                .collect();
            ports.sort_unstable();
            ports.dedup();
            let route = match service.labels.get(labels::ROUTE) {
                None => None,
                Some(value) => {
                    let bad = || BackingError::BadRoute { service: name.clone(), value: value.clone() };
                    let (host, port) =
                        value.split_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(bad)?;
                    Some((host.to_owned(), port.parse().map_err(|_| bad())?))
                }
            };
            let container = service.container_name.unwrap_or_else(|| format!("{}-{name}-1", config.name));
            services.push(BackingService { name, container, ports, route });
        }
        Ok(Self {
            network: default.unwrap_or_else(|| format!("{}_default", config.name)),
            project: config.name,
            file: file.to_owned(),
            services,
            resolved,
        })
    }

    /// Starts the services and waits until they are healthy. Where all are, Compose does nothing.
    ///
    /// # Errors
    /// Compose's own words.
    pub async fn up(
        &self,
        cli: &DockerCli,
        supervisor: &Supervisor,
        line: impl FnMut(Stream, &str),
    ) -> Result<(), ProgramError> {
        let names = self.services.iter().map(|service| service.name.clone());
        command(cli, &self.file)
            .args(["up", "--detach", "--wait", "--"])
            .args(names)
            .run_with_lines(supervisor, line)
            .await?;
        Ok(())
    }

    /// Builds the images of services that have a `build` section. Nothing to do where Compose finds
    /// its cache.
    ///
    /// # Errors
    /// Compose's own words.
    pub async fn build(
        &self,
        cli: &DockerCli,
        supervisor: &Supervisor,
        line: impl FnMut(Stream, &str),
    ) -> Result<(), ProgramError> {
        command(cli, &self.file).arg("build").run_with_lines(supervisor, line).await.map(drop)
    }
}

/// Whether every container of the project runs and is healthy where it says: then
/// [`Backing::up`] would do nothing and need not be called.
///
/// # Errors
/// When the Engine does not answer.
pub async fn is_up(reader: &EngineReader, backing: &Backing) -> Result<bool, EngineError> {
    let running: HashMap<String, bool> = containers(reader, &backing.project)
        .await?
        .into_iter()
        .filter_map(|container| {
            // The only place where a list of containers tells health on every Engine.
            let status = container.status.unwrap_or_default();
            let healthy = !status.contains("(unhealthy)") && !status.contains("(health: starting)");
            let name = container.labels?.remove(COMPOSE_SERVICE)?;
            Some((name, status.starts_with("Up") && healthy))
        })
        .collect();
    Ok(backing.services.iter().all(|service| running.get(&service.name) == Some(&true)))
}

/// The environments that use the backing network: identity to name. Those whose gateway has joined
/// it, and those that are being made (their locks say so) by name alone.
///
/// # Errors
/// When the Engine does not answer.
pub async fn users(
    reader: &EngineReader,
    project: &str,
    network: &str,
) -> Result<BTreeMap<String, String>, EngineError> {
    let mut users = router::gateways_on(reader, network).await?;
    let filter = HashMap::from([(
        "label".to_owned(),
        vec![format!("{}={}", labels::ROLE, Role::Lock), format!("{}={project}", labels::BACKING)],
    )]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let locks =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing locks"))?;
    for lock in locks {
        if let Some(name) = lock.labels.and_then(|mut l| l.remove(labels::ENVIRONMENT))
            && !users.values().any(|user| *user == name)
        {
            users.insert(format!("locked {name}"), name);
        }
    }
    Ok(users)
}

/// What was there of a project before an environment had it started: that is the user's, and stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Its volumes.
    pub volumes: Vec<String>,
}

/// What is there of a project now; `None` when containers of it exist: then somebody else started it.
///
/// # Errors
/// When the Engine does not answer.
pub async fn before(reader: &EngineReader, project: &str) -> Result<Option<Before>, EngineError> {
    if !containers(reader, project).await?.is_empty() {
        return Ok(None);
    }
    Ok(Some(Before { volumes: volumes(reader, project).await? }))
}

async fn volumes(reader: &EngineReader, project: &str) -> Result<Vec<String>, EngineError> {
    let filter = crate::engine::with_label(COMPOSE_PROJECT, project);
    let options = ListVolumesOptionsBuilder::default().filters(&filter).build();
    let listed =
        reader.docker().list_volumes(Some(options)).await.map_err(reader.failed("listing volumes"))?;
    Ok(listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
}

/// How the backing services end for an environment that goes (`me` is its name): `kept` while others
/// use them, or when no environment of ours had them started (`started` is `None`); else taken down,
/// with the volumes that were made for them.
///
/// # Errors
/// When the Engine or Compose fails.
pub async fn release(
    engine: &VerifiedEngine,
    cli: &DockerCli,
    supervisor: &Supervisor,
    backing: &BackingRef<'_>,
    me: &str,
    started: Option<&Before>,
) -> Result<Vec<(End, Item)>, BackingError> {
    let reader = engine.reader();
    let used_by: Vec<String> = users(reader, backing.project, backing.network)
        .await?
        .into_values()
        .filter(|user| user != me)
        .collect();
    let before = containers(reader, backing.project).await?;
    let names: Vec<String> = before
        .into_iter()
        .filter_map(|container| Some(container.names?.into_iter().next()?.trim_start_matches('/').to_owned()))
        .collect();
    let item = |id: String, evidence: &str, used_by: Vec<String>, remove: Option<String>| Item {
        kind: ThingKind::BackingService,
        id,
        evidence: evidence.to_owned(),
        used_by,
        remove,
    };
    if !used_by.is_empty() {
        let kept = |name| (End::Kept, item(name, "other environments use it", used_by.clone(), None));
        return Ok(names.into_iter().map(kept).collect());
    }
    let Some(started) = started else {
        let kept = |name| (End::Kept, item(name, "it ran before envctl needed it", vec![], None));
        return Ok(names.into_iter().map(kept).collect());
    };
    let arguments = ["--ansi", "never", "-p", backing.project, "down"];
    cli.on(engine)
        .compose()
        // Without a file Compose goes by the project's labels alone; wherever the user happens to
        // be, it would find another one.
        .current_dir("/")
        .args(arguments)
        .run(supervisor)
        .await?;
    let mut ends = Vec::new();
    for name in names {
        let inspected = reader.docker().inspect_container(&name, None).await;
        ends.push(match found(inspected.map_err(reader.failed("looking for a backing service")))? {
            None => (End::Gone, item(name, "no container of that name", vec![], None)),
            Some(_) => {
                let remove = format!("docker rm -f {name}");
                (End::Left, item(name, "still on the Engine", vec![], Some(remove)))
            }
        });
    }
    for name in volumes(reader, backing.project).await? {
        if !started.volumes.contains(&name) {
            ends.push(remove_volume(engine, name).await?);
        }
    }
    Ok(ends)
}

async fn remove_volume(engine: &VerifiedEngine, name: String) -> Result<(End, Item), EngineError> {
    let options = RemoveVolumeOptionsBuilder::default().build();
    let removed = engine.docker().remove_volume(&name, Some(options)).await;
    let refused = match found(removed.map_err(engine.failed("removing a volume"))) {
        Err(EngineError::Refused { message, .. }) => Some(message),
        Err(error) => return Err(error),
        Ok(_) => None,
    };
    let inspected = engine.docker().inspect_volume(&name).await;
    let left = found(inspected.map_err(engine.failed("looking for a volume")))?.is_some();
    let item = |evidence: String, remove| Item {
        kind: ThingKind::Volume,
        id: name.clone(),
        evidence,
        used_by: vec![],
        remove,
    };
    Ok(if left {
        let why = refused.unwrap_or_else(|| "still on the Engine".to_owned());
        (End::Left, item(why, Some(format!("docker volume rm {name}"))))
    } else {
        (End::Gone, item("the Engine has no such volume".to_owned(), None))
    })
}

/// What has to be known of backing services to release them: the file may be gone by then.
#[derive(Debug, Clone, Copy)]
pub struct BackingRef<'a> {
    /// The Compose project.
    pub project: &'a str,
    /// Its network.
    pub network: &'a str,
}

async fn containers(
    reader: &EngineReader,
    project: &str,
) -> Result<Vec<bollard::models::ContainerSummary>, EngineError> {
    let filter = crate::engine::with_label(COMPOSE_PROJECT, project);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing backing services"))
}

fn command(cli: &DockerCli, file: &Path) -> Command {
    cli.compose().args(["--ansi", "never", "--progress", "plain"]).arg("-f").arg(file.as_os_str())
}

/// `3306`, `3306/tcp`; ranges and UDP are left out.
fn tcp_port(text: &str) -> Option<u16> {
    text.strip_suffix("/tcp").unwrap_or(text).parse().ok()
}

#[derive(Deserialize)]
struct Config {
    name: String,
    #[serde(default)]
    services: BTreeMap<String, ServiceConfig>,
    #[serde(default)]
    networks: BTreeMap<String, NetworkConfig>,
}

#[derive(Deserialize)]
struct ServiceConfig {
    #[serde(default)]
    expose: Vec<String>,
    #[serde(default)]
    ports: Vec<PortConfig>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    container_name: Option<String>,
    network_mode: Option<String>,
}

#[derive(Deserialize)]
struct PortConfig {
    target: u16,
    #[serde(default)]
    protocol: String,
}

#[derive(Deserialize)]
struct NetworkConfig {
    name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backing_file_is_read_as_compose_prints_it() {
        let json = br#"{"name":"album","services":{
            "mysql":{"expose":["3306"],"image":"m","networks":{"default":null}},
            "aws":{"ports":[{"mode":"ingress","target":5000,"published":"5000","protocol":"tcp"},
                            {"mode":"ingress","target":53,"protocol":"udp"}],
                   "labels":{"dev.envctl.route":"aws:5000"},"container_name":"the-aws","networks":{"default":null}}},
            "networks":{"default":{"name":"album_default","ipam":{}}}}"#;
        let backing = Backing::parse(Path::new("compose.yaml"), json).unwrap();
        assert_eq!((backing.project.as_str(), backing.network.as_str()), ("album", "album_default"));
        let service =
            |name: &str, container: &str, ports: &[u16], route: Option<(&str, u16)>| BackingService {
                name: name.into(),
                container: container.into(),
                ports: ports.to_vec(),
                route: route.map(|(host, port)| (host.into(), port)),
            };
        assert_eq!(
            backing.services,
            [
                service("aws", "the-aws", &[5000], Some(("aws", 5000))),
                service("mysql", "album-mysql-1", &[3306], None),
            ]
        );
    }

    #[test]
    fn a_bad_route_names_the_service() {
        let json = br#"{"name":"a","services":{"aws":{"labels":{"dev.envctl.route":"aws"}}}}"#;
        let error = Backing::parse(Path::new("c"), json).unwrap_err();
        assert_eq!(error.to_string(), "service aws: the label dev.envctl.route: \"aws\" is not NAME:PORT");
    }
}
