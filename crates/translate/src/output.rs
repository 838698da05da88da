//! What a translation gives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use envctl_model::finding::Finding;
use envctl_model::labels::Role;
use serde_json::Value;

/// A Compose file, and what has to be known to run, watch and explain it.
#[derive(Debug, Clone, Default)]
pub struct Translation {
    /// The Compose file.
    pub compose: Value,
    /// Files to write before `up` (mode of their directory 0700: Secrets are among them).
    pub host_files: Vec<HostFile>,
    /// The pods, in the order in which they may start.
    pub pods: Vec<Pod>,
    /// Pods that are made and not started: of each the warden makes those of a CronJob's runs.
    pub templates: Vec<Pod>,
    /// The Services, each with its virtual address and the pods behind it.
    pub services: Vec<envctl_wire::Service>,
    /// What differs from the cluster, sorted.
    pub findings: Vec<Finding>,
    /// Where Ingress rules and backing services can be reached, sorted.
    pub urls: Vec<Url>,
    /// The hosts of Ingresses that have TLS.
    pub secured: BTreeSet<String>,
    /// Where Services can be reached from this machine without the router.
    pub published: Vec<Published>,
    /// How many objects there were.
    pub objects: usize,
    /// How many of them have no effect here although the cluster would act on them.
    pub dropped: usize,
    /// How many plain values of the objects no finding is about.
    pub carried: usize,
}

/// A file that a container mounts from the Engine's host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostFile {
    /// Absolute, below [`crate::Input::host_files`]; it names its content, so it never changes.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// The content.
    pub content: Vec<u8>,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Kind and name of its workload.
    pub workload: (String, String),
    /// Its namespace.
    pub namespace: String,
    /// Its Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// When it runs.
    pub phase: Phase,
    /// It ends by itself: a Job, or a Pod that is not restarted after success.
    pub run_once: bool,
    /// Digest of all that it consists of. A pod whose hash changed has to be recreated.
    pub hash: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The Compose service of its sandbox, whose health is the pod's readiness.
    pub sandbox: String,
    /// All its Compose services in starting order, the sandbox first.
    pub services: Vec<PodService>,
}

/// When a pod runs: the variants are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A Helm hook of this weight, before everything else.
    PreHook(i64),
    /// With the release.
    Main,
    /// A Helm hook of this weight, when the release is ready.
    PostHook(i64),
}

/// A Compose service of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodService {
    /// Its name.
    pub service: String,
    /// The container of the pod that it runs.
    pub container: Option<String>,
    /// What it is there for.
    pub role: Role,
    /// Its image.
    pub image: String,
    /// It has a Docker health check of its own (the sandbox always; others by exec probes).
    pub health: bool,
}

/// A place that answers HTTP through the machine's router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// The host name.
    pub host: String,
    /// The path.
    pub path: String,
    /// The Service or backing service behind it.
    pub service: String,
}

/// A port of a Service on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The Service.
    pub service: String,
    /// The environment's address on loopback.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: envctl_wire::Protocol,
}
