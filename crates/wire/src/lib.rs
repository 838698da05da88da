//! What envctl tells its agent.
//!
//! One container runs one role. The role is the agent's first argument; its configuration is the
//! JSON of the type named beside it, in the environment variable [`CONFIG_VARIABLE`] or, for the
//! seeder (whose content can be larger than an environment variable), in the file [`SEED_FILE`].
//!
//! | argument  | role                                                      | configuration     |
//! |-----------|-----------------------------------------------------------|-------------------|
//! | `pause`   | the sandbox of one pod: namespaces, DNS, prober, forwards | [`SandboxConfig`] |
//! | `seed`    | fills volumes once, before the pod's containers start     | [`SeedConfig`]    |
//! | `gateway` | ClusterIPs, cluster DNS, Ingress of one environment       | [`GatewayConfig`] |
//! | `router`  | one HTTP port per machine, routed by host name            | [`RouterConfig`]  |
//! | `warden`  | acts on the containers of one environment                 | [`WardenConfig`]  |
//! | `health`  | the health check of any of these but `seed`               | none              |
//! | `tell`    | tells a `pause` [`Told`], or a `warden` [`Suspension`]    | none              |
//! | `hold`    | holds a name and nothing else: the lock                   | none              |

pub mod labels;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The agent's path inside its image.
pub const AGENT_PATH: &str = "/envctl-agent";
/// What runs a role of the agent's in one of its containers with an argument, which is passed as JSON.
#[must_use]
pub fn agent_command(role: &str, argument: &impl Serialize) -> [String; 3] {
    // The types of this contract have string keys only: this cannot fail.
    let argument = serde_json::to_string(argument).unwrap_or_default();
    [AGENT_PATH.to_owned(), role.to_owned(), argument]
}

/// The variable that carries a role's configuration as JSON, or `@` and the path of a file that does:
/// the kernel takes no environment variable above 128 KiB.
pub const CONFIG_VARIABLE: &str = "ENVCTL_AGENT_CONFIG";
/// Where the seeder finds its configuration: a Compose `configs` entry with inline content.
pub const SEED_FILE: &str = "/envctl-seed.json";
/// The TCP port on which gateways take [`Announcement::Pod`] lines and routers take
/// [`Announcement::Hosts`] lines.
pub const CONTROL_PORT: u16 = 4;
/// The timeout to give to Docker for the health check `health`, seconds. The check waits inside
/// the container and answers at each change, so Docker learns of a change at once and nothing is
/// polled: before the first "ready" it waits as long as the pod takes (Docker says `starting`),
/// later at most [`HEALTH_HOLD_SECONDS`] (a restarted daemon knows nothing and asks anew). Beside it
/// belong an interval of 100 ms, one retry and no start period.
pub const HEALTH_TIMEOUT_SECONDS: u32 = 24 * 60 * 60;
/// The longest time for which a health check holds back a state that it has reported before.
pub const HEALTH_HOLD_SECONDS: u32 = 30;
/// Where the warden finds the Engine's socket in its container.
pub const ENGINE_SOCKET: &str = "/engine.sock";
/// The network alias of the machine's router on its network.
pub const ROUTER_ALIAS: &str = "envctl-router";

/// One line of JSON on a control connection. What a connection announced holds for as long as it
/// is open, so that a peer that dies is forgotten without a timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "announce", rename_all = "camelCase")]
pub enum Announcement {
    /// From a sandbox to its gateway, at connection and at each change.
    Pod {
        /// The pod's name as in [`Backend::pod`].
        pod: String,
        /// Whether all readiness probes pass.
        ready: bool,
    },
    /// From a gateway to the router: "requests for these hosts go to `upstream`".
    Hosts {
        /// The environment, for the router's error pages.
        environment: String,
        /// Exact host names, or `*.suffix`.
        hosts: Vec<String>,
        /// Port of the gateway's own HTTP listener; its address is the connection's peer.
        port: u16,
    },
}

/// The answer to each [`Announcement`], one line of JSON on the same connection. A sandbox calls
/// itself healthy only after its gateway has answered, so that "ready" means "reachable".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// Hosts that another environment had announced before. It keeps them until its connection
    /// ends; then they are ours.
    pub refused: Vec<Refusal>,
}

/// A host name that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The host.
    pub host: String,
    /// The environment that has it.
    pub by: String,
}

/// Configuration of the role `pause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxConfig {
    /// The pod's name.
    pub pod: String,
    /// What to write into `/etc/resolv.conf` (in place: the pod's containers share the file).
    /// `None` leaves Docker's.
    pub resolv: Option<Resolv>,
    /// Where readiness is announced. `None` for pods that no Service can select.
    pub gateway: Option<SocketAddr>,
    /// Ports of the pod's own loopback that lead to the gateway, opened while the pod is ready (so
    /// that a container which listens on that port itself gets it first).
    pub forwards: Vec<Forward>,
    /// Network probes of all containers of the pod.
    pub probes: Vec<Probe>,
    /// Docker's health checks that count for the pod's readiness. A warden tells what they find.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<HealthCheck>,
    /// Whether a warden restarts containers whose startup or liveness probe fails.
    #[serde(default)]
    pub restarts: bool,
}

/// The content of a resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resolv {
    /// `nameserver` lines.
    pub nameservers: Vec<Ipv4Addr>,
    /// The `search` line.
    pub search: Vec<String>,
    /// The `options` line, such as `ndots:5`.
    pub options: Vec<String>,
}

/// A loopback port of the pod that leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// Port on 127.0.0.1 and ::1 of the pod.
    pub listen: u16,
    /// Where connections go.
    pub to: SocketAddr,
}

/// A probe with the timings of the Kubernetes API (`core/v1 Probe`), seconds throughout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe<C = Check> {
    /// The container it belongs to.
    pub container: String,
    /// What it decides.
    pub kind: ProbeKind,
    /// How it is made.
    pub check: C,
    /// Delay after the pod's start before the first check.
    pub initial_delay_seconds: u32,
    /// Time between checks (at least 1).
    pub period_seconds: u32,
    /// Time after which a check has failed (at least 1).
    pub timeout_seconds: u32,
    /// Consecutive successes that make it ready (1 for startup and liveness).
    pub success_threshold: u32,
    /// Consecutive failures that make it fail.
    pub failure_threshold: u32,
}

/// A probe that runs a program in its container, as Docker's health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// The container it belongs to.
    pub container: String,
    /// What it decides: a startup probe that has succeeded once decides nothing more until the container starts again.
    pub kind: ProbeKind,
}

/// What a warden tells a sandbox: the JSON after the role `tell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// This container was started again: its probes know nothing about it yet.
    Started(String),
    /// How the containers with a health check are. What is told is all there is to know: nothing of before holds.
    Health(Vec<ContainerHealth>),
}

/// What envctl tells a warden: the JSON after the role `tell`. It holds until the warden starts again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suspension {
    /// The CronJob's name.
    pub cron_job: String,
    /// Whether nothing of it is begun, whatever it says itself. What goes on comes to its end.
    pub suspended: bool,
}

/// How a container with a health check is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerHealth {
    /// Its name in the pod.
    pub container: String,
    /// When its program was started, in any words that are always the same; `None` if it does not run.
    pub started: Option<String>,
    /// Whether the check passes.
    pub healthy: bool,
}

/// What a probe decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    /// Holds the other probes of its container back until it has succeeded once.
    Startup,
    /// Whether the pod gets traffic.
    Readiness,
    /// Whether the container should be restarted. Reported: the warden restarts.
    Liveness,
}

impl std::fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        })
    }
}

/// A probe that runs a program in the container. The warden makes those that restart; readiness is a [`HealthCheck`].
pub type ExecProbe = Probe<Exec>;

/// A program that is run in a container: it succeeds with exit code 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// How a sandbox makes a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Check {
    /// HTTP GET; 200 to 399 is success. TLS certificates are not verified, as by the kubelet.
    HttpGet {
        /// `None`: the pod itself.
        host: Option<String>,
        /// Port number.
        port: u16,
        /// Path with query.
        path: String,
        /// HTTPS instead of HTTP.
        tls: bool,
        /// Request headers in order; `Host` overrides.
        headers: Vec<(String, String)>,
    },
    /// A TCP connection can be opened.
    Tcp {
        /// `None`: the pod itself.
        host: Option<String>,
        /// Port number.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check` answers SERVING.
    Grpc {
        /// Port number.
        port: u16,
        /// The service asked for; empty for the whole server.
        service: String,
    },
}

/// What a container wants done before it is asked to end: `lifecycle.preStop`. As JSON it is the value of the label
/// [`labels::BEFORE_STOP`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BeforeStop {
    /// This command is run in it.
    Exec(Vec<String>),
    /// This request is made to it, from its pod's sandbox. What is answered does not matter.
    Request(Check),
    /// So many seconds go by: others learn meanwhile that it is going.
    Sleep(u64),
}

/// One line of JSON on a sandbox's standard output (so `docker logs` shows it, and envctl explains
/// failures from it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum SandboxEvent {
    /// A probe changed between success and failure, failed for the first time, or crossed its
    /// threshold (`count` is then that threshold).
    Probe {
        /// The container it belongs to.
        container: String,
        /// What it decides.
        kind: ProbeKind,
        /// Its state now.
        success: bool,
        /// Why, in words: `HTTP 503 from http://:3000/readyz: ...`, `connection refused on port 3000`.
        reason: String,
        /// Consecutive results of this kind.
        count: u32,
    },
    /// A startup or liveness probe has failed as often as it may: the container has to be restarted. Told again as long
    /// as it is not.
    Restart {
        /// The container.
        container: String,
        /// Which probe.
        kind: ProbeKind,
        /// Why, in words.
        reason: String,
    },
    /// The pod as a whole became ready or not.
    Ready {
        /// The state now.
        ready: bool,
    },
    /// Something went wrong in the sandbox itself.
    Warning {
        /// In words.
        message: String,
    },
}

/// Configuration of the role `seed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedConfig {
    /// The volumes, mounted into the seeder.
    pub volumes: Vec<SeedVolume>,
    /// The pod runs, and only what it is told of ConfigMaps and Secrets is to change: those volumes that are replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
}

/// One volume to fill or to set rights on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedVolume {
    /// Where it is mounted in the seeder.
    pub mount: String,
    /// Mode of the volume's root, octal as a number (0o777 for emptyDir, 0o755 else).
    pub mode: u32,
    /// fsGroup: everything in the volume gets this group, g+rwX, directories setgid.
    pub fs_group: Option<u32>,
    /// Leave what is there (emptyDir, claims) or replace the content (ConfigMap, Secret, ...).
    pub replace: bool,
    /// `true` writes as the kubelet does: files in a dated directory, `..data` links to it, and each
    /// top-level name links into `..data`.
    pub atomic_links: bool,
    /// Directories to make where they are missing, with the root's mode and group: sub paths that
    /// containers mount, as the kubelet makes them. Relative paths.
    #[serde(default)]
    pub directories: Vec<String>,
    /// The files.
    pub files: Vec<SeedFile>,
}

/// One file of a seeded volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedFile {
    /// Path relative to the volume.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner, if not root (projected service account tokens).
    pub uid: Option<u32>,
    /// Content, base64.
    pub content: String,
}

/// Configuration of the role `gateway`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// The environment's name.
    pub environment: String,
    /// Its namespace: `NAME.NAMESPACE.svc.cluster.local`.
    pub namespace: String,
    /// The gateway's own address in the environment's network.
    pub address: Ipv4Addr,
    /// The part of the subnet that holds virtual addresses; all of it is made local (AnyIP).
    pub vips: Ipv4Net,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The Services.
    pub services: Vec<Service>,
    /// The backing services, reached by their bare names on a virtual address.
    pub backing: Vec<BackingService>,
    /// Ingress rules.
    pub routes: Vec<Route>,
    /// Ports of the gateway's own addresses that lead to Services: Docker publishes them. What a gateway
    /// was told by an older envctl has none.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
    /// The port on which the gateway serves `routes` (and pods reach them through loopback
    /// forwards): the machine router's port.
    pub http_port: u16,
    /// The machine's router: `host:port` of its control listener. `None`: no router.
    pub router: Option<String>,
    /// By what the gateway proves that it is the hosts of `routes`: with one it ends TLS on `http_port`, beside HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// The certificate and those that vouch for it, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// `metadata.name`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its ClusterIP; `None` is headless or ExternalName.
    pub vip: Option<Ipv4Addr>,
    /// `spec.externalName`: answered as a CNAME.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Back ends that are not ready are used and resolved too.
    pub publish_not_ready: bool,
    /// `sessionAffinity: ClientIP` for this many seconds.
    pub client_ip_affinity_seconds: Option<u32>,
    /// The pods selected.
    pub backends: Vec<Backend>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// Its name; SRV records use it. Empty when the Service has one unnamed port.
    pub name: String,
    /// The port of the virtual address.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A pod behind a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// The pod's name, as in [`Announcement::Pod`].
    pub pod: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Per-pod DNS name (`spec.hostname`, or the pod name for StatefulSets), if the Service is the
    /// pod's governing one.
    pub hostname: Option<String>,
    /// Service port -> container port, keyed by the Service's port number (named target ports can
    /// differ from pod to pod). Key: `"80/TCP"`.
    pub targets: BTreeMap<String, u16>,
    /// Whether readiness comes by announcement. A back end that never announces (an address of an
    /// Endpoints object) is always ready.
    pub announced: bool,
}

/// A port of the gateway's own addresses that leads to a Service: NodePort, LoadBalancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishedPort {
    /// The port.
    pub listen: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The Service's name.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The Service's port.
    pub port: u16,
}

/// A service of the backing Compose project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackingService {
    /// Its name: what pods resolve, and what the gateway resolves through Docker's DNS on the
    /// backing network it has joined.
    pub name: String,
    /// The name by which Docker's DNS knows it (a container name: unique on the Engine).
    pub upstream: String,
    /// Its virtual address in the environment's network.
    pub vip: Ipv4Addr,
    /// Its TCP ports.
    pub ports: Vec<u16>,
}

/// One Ingress path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// `None` matches any host; `*.suffix` matches one label.
    pub host: Option<String>,
    /// The path.
    pub path: String,
    /// How it matches.
    pub match_kind: PathMatch,
    /// Where requests go.
    pub to: RouteTarget,
    /// What becomes of their path; `None` leaves it.
    pub rewrite: Option<Rewrite>,
}

/// The path by which a route's target knows a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rewrite {
    /// This one for all requests.
    Whole(String),
    /// The route's own path is replaced by this; what comes after it stays.
    Prefix(String),
}

/// `networking.k8s.io/v1` `pathType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    /// The whole path.
    Exact,
    /// Path elements.
    Prefix,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RouteTarget {
    /// A Service of the environment, by name and port number.
    Service {
        /// Name.
        name: String,
        /// Port number of the Service.
        port: u16,
    },
    /// A backing service, by name and port.
    Backing {
        /// Name.
        name: String,
        /// Port.
        port: u16,
    },
}

/// Configuration of the role `router`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouterConfig {
    /// The port it serves inside its container (and is published as).
    pub http_port: u16,
}

/// Configuration of the role `warden`. What it guards it learns from the labels of containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WardenConfig {
    /// The environment's name.
    pub environment: String,
    /// Its identity: containers without it are never touched.
    pub identity: String,
    /// The container that is there while somebody changes the environment. The warden changes nothing meanwhile.
    pub lock: String,
    /// When the environment expires, seconds since 1970.
    pub expires: Option<i64>,
}

/// When and how a CronJob runs (`batch/v1` `CronJobSpec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CronJob {
    /// Its name.
    pub name: String,
    /// Five fields, or a word such as `@daily`.
    pub schedule: String,
    /// The time zone it is read in; `None` is UTC, as for most clusters.
    pub time_zone: Option<String>,
    /// What happens when the last run still goes on.
    pub concurrency: Concurrency,
    /// How late a run may start, seconds; `None`: as late as it is.
    pub starting_deadline_seconds: Option<u32>,
    /// Nothing runs.
    pub suspend: bool,
    /// How many runs that ended well are kept.
    pub successful_history: usize,
    /// How many that did not are kept.
    pub failed_history: usize,
}

/// What happens when it is time and the last run still goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Concurrency {
    /// Another one runs beside it.
    Allow,
    /// It waits for the end of the last one, or is left out.
    Forbid,
    /// The last one is ended.
    Replace,
}
