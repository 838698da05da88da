//! The balancer of a rehearsal: HAProxy in a container, which reaches the machines by their addresses on a network and
//! whatever is outside of it, such as a node of a cluster, by the way of the host.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use envctl_model::labels::{self, Role};
use envctl_model::log::{LogLine, LogOptions};
use envctl_model::receipt::{End, Item, ThingKind};
use envctl_programs::process::{Input, ProgramError, Stream, Supervisor};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::digest::sha256;
use crate::docker_cli::DockerCli;
use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use crate::port_owner::{self, PortOwner};
use crate::remove::at_once;
use crate::router::is_port_taken;
use crate::state::{ActualContainer, ContainerState};
use crate::{images, logs, lookup, state};

/// Where HAProxy looks for its configuration, `haproxy.cfg`, in the container.
pub const DIRECTORY: &str = "/etc/envctl";
/// What its image is built from.
const DOCKERFILE: &str = include_str!("../../../docker/haproxy/Dockerfile");
/// What HAProxy's first process says when a configuration is in force.
const LOADED: &str = "Loading success.";
/// What it says when it goes on with the one that it had.
const REFUSED: &str = "Loading failure!";
/// What it says when it was told to read its configuration anew.
const RELOADING: &str = "Reloading HAProxy";
/// How soon it says so, if it has heard it.
const HEARS: Duration = Duration::from_secs(2);
/// How long a configuration may take to be in force.
const LOADS: Duration = Duration::from_secs(20);
/// How long HAProxy may take to end connections when it is stopped, in seconds.
const GRACE: i32 = 2;

/// HAProxy does not run, or not as it was told.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its image could not be built.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A port of this machine is taken.
    #[error(
        "port {port}, where the balancer has to listen, is taken by {owner}; end that, or choose another port"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// By whom.
        owner: PortOwner,
    },
    /// It ended, or never began to work. Most often its configuration is wrong.
    #[error("HAProxy in the container {name} does not work:\n{said}")]
    Fails {
        /// The container.
        name: String,
        /// The last lines of what it said.
        said: String,
    },
    /// The network has no address of the host.
    #[error("the network {network} has no gateway: the balancer cannot reach the host from it")]
    NoGateway {
        /// The network.
        network: String,
    },
}

/// What balancer is wanted.
#[derive(Debug, Clone)]
pub struct BalancerSpec {
    /// The name of its container.
    pub name: String,
    /// Whose it is: the value of the label [`labels::IDENTITY`].
    pub identity: String,
    /// The network of the machines.
    pub network: String,
    /// A directory of this machine with `haproxy.cfg`. It is mounted as a whole: a file that is replaced in it is
    /// seen.
    pub directory: PathBuf,
    /// Ports that are published on 127.0.0.1 under their own number: those of the frontend and of the runtime API.
    pub ports: BTreeSet<u16>,
}

/// A balancer.
#[derive(Debug, Clone)]
pub struct Balancer {
    engine: VerifiedEngine,
    name: String,
}

/// Makes sure that the image of the balancer is on the Engine, and gives its reference: another Dockerfile is another
/// image.
///
/// # Errors
/// `docker build`'s own words.
pub async fn image(
    engine: &VerifiedEngine,
    cli: &DockerCli,
    supervisor: &Supervisor,
    line: impl FnMut(Stream, &str),
) -> Result<String, BalancerError> {
    let reference = format!("envctl-haproxy:{}", &sha256(DOCKERFILE.as_bytes())[..12]);
    if images::inspect(engine.reader(), &reference).await?.is_none() {
        cli.on(engine)
            .docker()
            .args(["build", "--tag", &reference, "-"])
            .input(Input::Bytes(DOCKERFILE.into()))
            .run_with_lines(supervisor, line)
            .await?;
    }
    Ok(reference)
}

/// The address by which containers on a network reach this host, and what listens on all of its addresses.
///
/// # Errors
/// When there is no such network, or it has no gateway; when the Engine does not answer.
pub async fn gateway(reader: &EngineReader, network: &str) -> Result<IpAddr, BalancerError> {
    let inspected = reader.docker().inspect_network(network, None).await;
    let inspected = inspected.map_err(reader.failed(&format!("looking at the network {network}")))?;
    let configured = inspected.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    configured
        .into_iter()
        .find_map(|config| config.gateway?.split('/').next()?.parse().ok())
        .ok_or_else(|| BalancerError::NoGateway { network: network.to_owned() })
}

/// The address that this host has for what is at another one: what the balancer sends there comes from it, because
/// the Engine hands it on under the host's name. Nothing is sent to find out.
///
/// # Errors
/// When there is no way there.
pub fn seen_from(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // To connect a UDP socket chooses the way, and that is all.
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

impl Balancer {
    /// Makes a balancer from its [`image`], starts it, and waits until its configuration is in force. One of the same
    /// name and identity that was left is replaced.
    ///
    /// # Errors
    /// When a port is taken, or the configuration is refused (with HAProxy's words); then there is no container. When
    /// the Engine does not answer.
    pub async fn up(
        engine: &VerifiedEngine,
        image: &str,
        spec: &BalancerSpec,
    ) -> Result<Self, BalancerError> {
        let balancer = Self::of(engine, &spec.name);
        if let Some(left) = balancer.look().await?
            && left.1 == spec.identity
        {
            balancer.delete().await?;
        }
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let created = engine.docker().create_container(Some(options), body(image, spec)).await;
        created.map_err(engine.failed("making the balancer"))?;
        match balancer.start().await {
            Ok(()) => Ok(balancer),
            Err(error) => {
                balancer.delete().await?;
                Err(match error {
                    BalancerError::Engine(error) if is_port_taken(&error.to_string()) => {
                        taken(engine.reader(), &error, &spec.ports).await?.unwrap_or(error.into())
                    }
                    error => error,
                })
            }
        }
    }

    /// A balancer that was made before, by this process or another one.
    #[must_use]
    pub fn of(engine: &VerifiedEngine, name: &str) -> Self {
        Self { engine: engine.clone(), name: name.to_owned() }
    }

    /// Its address on a network; none while it does not run.
    ///
    /// # Errors
    /// When there is no such container, or the Engine does not answer.
    pub async fn address(&self, network: &str) -> Result<Option<IpAddr>, EngineError> {
        lookup::address(self.engine.reader(), &self.name, network).await
    }

    /// The id of its image, the digest of what it is made of; none if there is no such container.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn image(&self) -> Result<Option<String>, EngineError> {
        let inspected = self.engine.docker().inspect_container(&self.name, None).await;
        let inspected = found(inspected.map_err(self.engine.failed("looking at the balancer")))?;
        Ok(inspected.and_then(|container| container.image))
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn is_running(&self) -> Result<bool, EngineError> {
        Ok(self.look().await?.is_some_and(|(found, _)| found.state == ContainerState::Running))
    }

    /// Starts it, and waits until its configuration is in force.
    ///
    /// # Errors
    /// When HAProxy refuses its configuration, with its words; when the Engine does not answer.
    pub async fn start(&self) -> Result<(), BalancerError> {
        let since = Timestamp::now();
        let started = self.engine.docker().start_container(&self.name, None::<StartContainerOptions>).await;
        started.map_err(self.engine.failed("starting the balancer"))?;
        self.loaded(&mut self.words(since).await?, Instant::now() + LOADS).await
    }

    /// Has it read its configuration anew, and waits until it is in force. Connections that are open stay with the
    /// process that has them. What was changed by the runtime API alone is forgotten.
    ///
    /// # Errors
    /// When HAProxy refuses the configuration, with its words: then it goes on with the one that it had. When the
    /// Engine does not answer.
    pub async fn reload(&self) -> Result<(), BalancerError> {
        let mut words = self.words(Timestamp::now()).await?;
        let deadline = Instant::now() + LOADS;
        loop {
            self.signal("SIGUSR2").await?;
            // While it ends an earlier reload it does not hear of another one.
            let heard = tokio::time::timeout(HEARS, words.until(&[RELOADING])).await;
            match heard {
                Ok(heard) => {
                    heard?;
                    return self.loaded(&mut words, deadline).await;
                }
                Err(_) if Instant::now() >= deadline => return Err(self.fails(&words.said.join("\n"))),
                Err(_) => {}
            }
        }
    }

    /// Asks it to end: it closes its connections.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn stop(&self) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::default().t(GRACE).build();
        let stopped = self.engine.docker().stop_container(&self.name, Some(options)).await;
        stopped.map_err(self.engine.failed("stopping the balancer"))
    }

    /// Kills it (SIGKILL), as when its machine fails.
    ///
    /// # Errors
    /// When it does not run, or the Engine does not answer.
    pub async fn kill(&self) -> Result<(), EngineError> {
        self.signal("SIGKILL").await?;
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        // That it did not end well is what was wanted.
        let _ = self.engine.docker().wait_container(&self.name, Some(options)).next().await;
        Ok(())
    }

    /// Removes it, and says how it ended, as it was looked up afterwards.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn remove(&self) -> Result<(End, Item), EngineError> {
        self.delete().await?;
        let left = self.look().await?.is_some();
        let item = |evidence: &str, remove| Item {
            kind: ThingKind::Container,
            id: self.name.clone(),
            evidence: evidence.to_owned(),
            used_by: vec![],
            remove,
        };
        Ok(if left {
            (End::Left, item("still on the Engine", Some(format!("docker rm -f {}", self.name))))
        } else {
            (End::Gone, item("the Engine has no such container", None))
        })
    }

    async fn signal(&self, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let signalled = self.engine.docker().kill_container(&self.name, Some(options)).await;
        signalled.map_err(self.engine.failed(&format!("sending {signal} to the balancer")))
    }

    /// What HAProxy says from then on.
    async fn words(&self, since: Timestamp) -> Result<Words, BalancerError> {
        let Some((container, _)) = self.look().await? else { return Err(self.fails("it is gone")) };
        let options = LogOptions { follow: true, tail: None, since: Some(since) };
        let lines = logs::lines(self.engine.reader(), &[container], options);
        // The Engine goes by whole seconds.
        let lines = lines.try_filter(move |line| std::future::ready(line.time.is_none_or(|at| at >= since)));
        Ok(Words { lines: lines.boxed(), said: Vec::new() })
    }

    /// Waits until it says that its configuration is in force. Its log ends when it does, and when it goes on with the
    /// configuration of before it says so.
    async fn loaded(&self, words: &mut Words, deadline: Instant) -> Result<(), BalancerError> {
        let waited = tokio::time::timeout_at(deadline.into(), words.until(&[LOADED, REFUSED])).await;
        match waited.unwrap_or(Ok(None))? {
            Some(LOADED) => Ok(()),
            _ => Err(self.fails(&words.said.join("\n"))),
        }
    }

    fn fails(&self, said: &str) -> BalancerError {
        BalancerError::Fails { name: self.name.clone(), said: said.to_owned() }
    }

    /// The container, and whose it is.
    async fn look(&self) -> Result<Option<(ActualContainer, String)>, EngineError> {
        let inspected = self.engine.docker().inspect_container(&self.name, None).await;
        let inspected = found(inspected.map_err(self.engine.failed("looking for the balancer")))?;
        Ok(inspected.map(|container| {
            let marks = container.config.as_ref().and_then(|config| config.labels.as_ref());
            let identity = marks.and_then(|marks| marks.get(labels::IDENTITY)).cloned().unwrap_or_default();
            (state::actual(container), identity)
        }))
    }

    async fn delete(&self) -> Result<(), EngineError> {
        at_once(&self.engine, &self.name, "removing the balancer").await
    }
}

/// What HAProxy says, as it comes.
struct Words {
    lines: BoxStream<'static, Result<LogLine, EngineError>>,
    said: Vec<String>,
}

impl Words {
    /// Reads on until one of these is said; none when it has ended without.
    async fn until(&mut self, any: &[&'static str]) -> Result<Option<&'static str>, EngineError> {
        while let Some(line) = self.lines.try_next().await? {
            let found = any.iter().copied().find(|words| line.text.contains(words));
            self.said.push(line.text);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Who has the port that the Engine's words are about.
async fn taken(
    reader: &EngineReader,
    error: &EngineError,
    ports: &BTreeSet<u16>,
) -> Result<Option<BalancerError>, EngineError> {
    let message = error.to_string();
    let Some(port) = ports.iter().copied().find(|port| message.contains(&format!(":{port}"))) else {
        return Ok(None);
    };
    let owner = port_owner::find(reader, port).await?;
    Ok(Some(BalancerError::PortTaken { port, owner }))
}

fn body(image: &str, spec: &BalancerSpec) -> ContainerCreateBody {
    let binding =
        |port: u16| PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.to_string()) };
    let inside = |port: &u16| format!("{port}/tcp");
    ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(HashMap::from([
            (labels::IDENTITY.to_owned(), spec.identity.clone()),
            (labels::ROLE.to_owned(), Role::Balancer.as_str().to_owned()),
        ])),
        exposed_ports: Some(spec.ports.iter().map(inside).collect()),
        host_config: Some(HostConfig {
            network_mode: Some(spec.network.clone()),
            mounts: Some(vec![Mount {
                target: Some(DIRECTORY.to_owned()),
                source: Some(spec.directory.display().to_string()),
                typ: Some(MountType::BIND),
                read_only: Some(true),
                ..Mount::default()
            }]),
            port_bindings: Some(
                spec.ports.iter().map(|port| (inside(port), Some(vec![binding(*port)]))).collect(),
            ),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
