//! What a translation starts from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use envctl_wire::Certificate;
use ipnet::Ipv4Net;

use crate::names::stable_hash;
use crate::objects::Object;

/// All that a translation depends on: equal inputs give equal results.
#[derive(Debug, Clone)]
pub struct Input {
    /// The rendered objects, hooks among them.
    pub objects: Vec<Object>,
    /// The environment they become.
    pub environment: Environment,
    /// Its network, which exists before the Compose project.
    pub network: Network,
    /// What Docker and Compose here can do.
    pub engine: EngineFacts,
    /// The agent's image reference.
    pub agent_image: String,
    /// The machine's HTTP router, if it has one.
    pub router: Option<Router>,
    /// Who restarts containers and runs CronJobs.
    pub warden: Warden,
    /// The services that stand in for what the cloud gives.
    pub backing: Option<Backing>,
    /// Which hooks run.
    pub stage: Stage,
    /// What to do about ConfigMaps and Secrets that are referred to and not among the objects.
    pub missing_references: MissingReferences,
    /// A directory on the Engine's host, written by the caller, for [`crate::HostFile`]s. Engines
    /// before 26 cannot mount one file of a volume; without a directory those mounts are dropped,
    /// with a finding.
    pub host_files: Option<PathBuf>,
    /// Workloads that run the working tree.
    pub live: Vec<LiveSource>,
    /// What the gateway proves by that it is the hosts of [`crate::Translation::secured`].
    pub certificate: Option<Certificate>,
    /// Secrets whose new content replaces the pods that read them, though their template is the same: a digest of the
    /// content, by name.
    pub replacing: BTreeMap<String, String>,
}

/// What the pods of one workload run instead of what their image holds: it goes into their first container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSource {
    /// Kind and name of the workload.
    pub workload: (String, String),
    /// Paths of the Engine's host, each with where it is mounted.
    pub mounts: Vec<(PathBuf, String)>,
    /// The command instead of the container's and the image's.
    pub command: Option<Vec<String>>,
}

/// Who the environment is.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// The Compose project.
    pub project: String,
    /// Labels for everything that is created.
    pub labels: BTreeMap<String, String>,
    /// Where Services that the outside reaches are published, if the Engine can.
    pub loopback: Option<Loopback>,
}

/// An environment's own address on the loopback of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
    /// It.
    pub address: Ipv4Addr,
    /// Ports that somebody has on all addresses.
    pub taken: BTreeSet<u16>,
}

impl Loopback {
    /// That of an environment, by its name.
    #[must_use]
    pub fn of(environment: &str) -> Self {
        let [.., b, c, d] = stable_hash(environment).to_be_bytes();
        // 127.0 and the ends of the network are everybody's.
        Self { address: Ipv4Addr::new(127, b.clamp(1, 254), c, d.clamp(1, 254)), taken: BTreeSet::new() }
    }
}

/// The environment's Docker network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub subnet: Ipv4Net,
}

/// What was learnt about the Engine and Compose.
#[derive(Debug, Clone, Copy)]
pub struct EngineFacts {
    /// Version of the Engine's API.
    pub api_version: (u32, u32),
    /// Version of Compose.
    pub compose_version: (u32, u32, u32),
    /// Processors of the Engine's machine.
    pub cpus: f64,
    /// Memory of the Engine's machine.
    pub memory_bytes: u64,
}

impl EngineFacts {
    /// `volume.subpath`: older engines ignore it and mount the whole volume.
    pub(crate) fn mounts_subpaths(&self) -> bool {
        self.api_version >= (1, 45) && self.compose_version >= (2, 26, 0)
    }

    /// `healthcheck.start_interval`: a hard error before Engine 25.
    pub(crate) fn has_start_interval(&self) -> bool {
        self.api_version >= (1, 44) && self.compose_version >= (2, 20, 2)
    }

    /// `post_start`: silently ignored by older Compose.
    pub(crate) fn has_lifecycle_hooks(&self) -> bool {
        self.compose_version >= (2, 30, 0)
    }
}

/// The machine's HTTP router.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its Docker network, which the gateway joins.
    pub network: String,
    /// The port it serves, inside and outside.
    pub http_port: u16,
    /// `host:port` of its control listener.
    pub control: String,
}

/// Whether something of the environment's holds the Engine's socket.
#[derive(Debug, Clone)]
pub enum Warden {
    /// There is a warden.
    At {
        /// The Engine's socket, as its machine names it.
        socket: String,
        /// The container that is there while somebody changes the environment.
        lock: String,
        /// When the environment expires, seconds since 1970.
        expires: Option<i64>,
    },
    /// There is none, and why.
    Off(&'static str),
}

impl Warden {
    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Self::At { .. })
    }
}

/// The backing services of the stack.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Their Docker network, which the gateway joins.
    pub network: String,
    /// The services.
    pub services: Vec<BackingInput>,
}

/// One backing service.
#[derive(Debug, Clone)]
pub struct BackingInput {
    /// The name pods use.
    pub name: String,
    /// The name by which Docker's DNS knows it.
    pub upstream: String,
    /// Its TCP ports.
    pub ports: Vec<u16>,
    /// A full host name that the router leads to one of its ports.
    pub host: Option<(String, u16)>,
}

/// What the release is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first time: `pre-install` and `post-install` hooks.
    Install,
    /// Again: `pre-upgrade` and `post-upgrade` hooks.
    Upgrade,
}

/// What to do about ConfigMaps, Secrets and keys that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingReferences {
    /// An error, as for the kubelet.
    Deny,
    /// An empty value and a critical finding: to look at charts whose secrets come from elsewhere.
    Placeholder,
}
