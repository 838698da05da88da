//! The labels on everything envctl makes on an Engine: what writes the Compose file, what finds things again and what
//! guards them share them.

/// The environment's name.
pub const ENVIRONMENT: &str = "dev.envctl.environment";
/// The stack's project.
pub const PROJECT: &str = "dev.envctl.project";
/// The environment's identity. Ownership is decided by this label alone: names can be reused.
pub const IDENTITY: &str = "dev.envctl.identity";
/// Who made it: `user@host`.
pub const OWNER: &str = "dev.envctl.owner";
/// The pod.
pub const POD: &str = "dev.envctl.pod";
/// A hash over the template a pod is made from; all its containers carry the same one.
pub const POD_HASH: &str = "dev.envctl.pod-hash";
/// A hash over what a container was told when it was made and is not told again: its variables, what they expand, and
/// single files. What of it comes from ConfigMaps, Secrets and Services is no part of [`POD_HASH`].
pub const VARIABLES: &str = "dev.envctl.variables";
/// The workload a pod belongs to: `Deployment/api`.
pub const WORKLOAD: &str = "dev.envctl.workload";
/// The container's name in its pod.
pub const CONTAINER: &str = "dev.envctl.container";
/// The container's place in its pod's spec.
pub const INDEX: &str = "dev.envctl.index";
/// On the containers of a pod that was made for one command: what tells it from others.
pub const ONE_OFF: &str = "dev.envctl.one-off";
/// On a container with a preStop hook: a [`BeforeStop`](crate::BeforeStop) as JSON. Compose has a field for
/// it, and runs it only where Compose itself ends the container.
pub const BEFORE_STOP: &str = "dev.envctl.before-stop";
/// On a container in which the warden probes: a list of [`ExecProbe`](crate::ExecProbe)s.
pub const PROBES: &str = "dev.envctl.probes";
/// On containers that are never started, and from which those of a CronJob's runs are made: a [`CronJob`](crate::CronJob).
pub const SCHEDULE: &str = "dev.envctl.schedule";
/// On the containers of a CronJob's run: when it was due, seconds since 1970.
pub const DUE: &str = "dev.envctl.due";
/// On the sandbox of a pod that may run so long and no longer: seconds from the sandbox's start.
pub const DEADLINE: &str = "dev.envctl.deadline";
/// What a container is for: one of [`Role`].
pub const ROLE: &str = "dev.envctl.role";
/// Who holds a lock, as JSON.
pub const HOLDER: &str = "dev.envctl.holder";
/// On a lock: the backing Compose project its environment uses.
pub const BACKING: &str = "dev.envctl.backing";
/// On a volume: namespace and name of the claim it is.
pub const CLAIM: &str = "dev.envctl.claim";
/// On an image built by envctl: the content address it was built from.
pub const CONTENT: &str = "dev.envctl.content";
/// On a service of a backing Compose file: `NAME:PORT`, the host name it answers by over HTTP.
pub const ROUTE: &str = "dev.envctl.route";

/// What a container (or the agent's image) is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds a pod's namespaces.
    Sandbox,
    /// Fills a pod's volumes once.
    Seeder,
    /// An init container.
    Init,
    /// An init container that goes on running beside the application: a native sidecar.
    Sidecar,
    /// A container of the application.
    Container,
    /// An environment's gateway.
    Gateway,
    /// An environment's warden.
    Warden,
    /// The machine's router.
    Router,
    /// An environment's lock.
    Lock,
    /// The image these roles run from.
    Agent,
    /// Plays a machine of the old side of a rehearsal.
    Machine,
    /// A program that a rehearsal runs beside its machines.
    Tool,
    /// The balancer of a rehearsal.
    Balancer,
}

impl Role {
    const ALL: [Self; 13] = [
        Self::Sandbox,
        Self::Seeder,
        Self::Init,
        Self::Sidecar,
        Self::Container,
        Self::Gateway,
        Self::Warden,
        Self::Router,
        Self::Lock,
        Self::Agent,
        Self::Machine,
        Self::Tool,
        Self::Balancer,
    ];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Seeder => "seeder",
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Container => "container",
            Self::Gateway => "gateway",
            Self::Warden => "warden",
            Self::Router => "router",
            Self::Lock => "lock",
            Self::Agent => "agent",
            Self::Machine => "machine",
            Self::Tool => "tool",
            Self::Balancer => "balancer",
        }
    }

    /// Reads a label's value. `None` for a role of another version of envctl.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == value)
    }

    /// Whether the container runs to its end before the pod's containers start.
    #[must_use]
    pub fn is_run_once(self) -> bool {
        matches!(self, Self::Seeder | Self::Init)
    }

    /// Whether it runs as long as the pod's application does, and is not the agent's.
    #[must_use]
    pub fn is_kept_running(self) -> bool {
        matches!(self, Self::Sidecar | Self::Container)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
