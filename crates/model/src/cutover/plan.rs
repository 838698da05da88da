//! A cutover plan after it was parsed and checked: what the rehearsal, the gates and the cutover read.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::production::Production;
use crate::stack::ComponentKind;

/// One of the two sides that a component has during a cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Where the component runs before the cutover: machines, played by a Compose file.
    Old,
    /// Where it runs afterwards: the chart's workload.
    New,
}

impl Side {
    /// The side that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }

    /// `old` or `new`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cutover plan.
#[derive(Debug, Clone, PartialEq)]
pub struct CutoverPlan {
    /// The component that moves.
    pub component: String,
    /// Its kind, as the stack file says.
    pub kind: ComponentKind,
    /// The side it leaves.
    pub old: OldSide,
    /// The side it moves to.
    pub new: NewSide,
    /// Services of `old.compose` that both sides use: databases, caches, queues.
    pub shared: Vec<String>,
    /// What sends requests to either side. For services and endpoints.
    pub router: Option<Router>,
    /// Where sandbox and production may differ.
    pub divergence: Vec<Divergence>,
    /// The load. For services and endpoints.
    pub traffic: Option<Traffic>,
    /// The jobs. For workers.
    pub work: Option<Work>,
    /// The ticks. For schedules.
    pub timetable: Option<Timetable>,
    /// What users are promised.
    pub slo: Slo,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// How going back is tried.
    pub rollback: Rollback,
    /// Production, for `envctl cutover`. A rehearsal does not look at it.
    pub production: Option<Production>,
}

impl CutoverPlan {
    /// The new side's part of the requests, 0 to 100, before the step of this index.
    #[must_use]
    pub fn weight_before(&self, step: usize) -> u8 {
        let weights = self.steps[..step.min(self.steps.len())].iter().rev();
        weights.into_iter().find_map(|step| step.action.weight()).unwrap_or(0)
    }

    /// How many instances of the old side run before the step of this index.
    #[must_use]
    pub fn old_instances_before(&self, step: usize) -> u16 {
        let kept = self.steps[..step.min(self.steps.len())].iter().rev().find_map(|step| match step.action {
            Action::Handover { old } => Some(old),
            Action::StopOld { .. } => Some(0),
            // A worker that is asked to end finishes what it has; what answers requests has to run until it has done so.
            Action::Drain { .. } if self.kind == ComponentKind::Worker => Some(0),
            _ => None,
        });
        kept.unwrap_or(self.old.instances)
    }
}

/// The old side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSide {
    /// The Compose file, as a path from the plan's directory.
    pub compose: PathBuf,
    /// Its service that is the component.
    pub service: String,
    /// The port on which that service answers. For services and endpoints.
    pub port: Option<u16>,
    /// How many instances there are.
    pub instances: u16,
}

/// The new side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSide {
    /// A target of the stack file: of kind `eks`, or of kind `compose` for a draft.
    pub target: String,
    /// Values files on top of those of the target, as paths from the plan's directory.
    pub values: Vec<PathBuf>,
}

/// What sends requests to either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// How it is operated.
    pub adapter: Adapter,
    /// Its limit of a request's body, in bytes; `None` is without one.
    pub max_body: Option<u64>,
    /// After how long without a byte it gives a connection up.
    pub idle_timeout: Duration,
}

/// How a router is operated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Adapter {
    /// HAProxy: weights by its runtime API and in its configuration.
    Haproxy,
}

impl Adapter {
    /// As the plan writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
        }
    }
}

/// One difference between sandbox and production that is declared, and thereby allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Divergence {
    /// `Kind/name` of the object.
    pub object: String,
    /// Dotted path in it, such as `spec.replicas`.
    pub path: String,
    /// Why it may differ.
    pub reason: String,
}

/// An open-model load: requests are sent when they are due, whether or not earlier ones were answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// Requests per second, over all clients.
    pub rate: f64,
    /// Kinds of clients, each with an equal part of the rate.
    pub clients: Vec<ClientKind>,
    /// The file with the requests, as a path from the plan's directory.
    pub mix: PathBuf,
}

/// How a client treats connections, sessions and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientKind {
    /// A connection for each request.
    Fresh,
    /// One connection for as long as the server lets it.
    Keepalive,
    /// Sends back the cookies that it was given.
    Sticky,
    /// Resolves the name once, and never again.
    TtlIgnoring,
}

/// The jobs that a worker is given, and how to see what became of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Jobs per second.
    pub rate: f64,
    /// Kinds of jobs.
    pub jobs: Vec<JobClass>,
    /// Reads one JSON line a job on its standard input, puts it into the queue, and answers with one line.
    pub enqueue: Tool,
    /// Prints a JSON line for everything that happened to a job, and goes on as more happens.
    pub ledger: Tool,
    /// How many jobs may wait.
    pub backlog: u64,
}

/// A kind of job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobClass {
    /// Its name, which `enqueue` is told.
    pub class: String,
    /// Its part of all jobs, relative to the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// The longest that one takes, in seconds.
    pub longest_seconds: f64,
}

fn one() -> u32 {
    1
}

/// A command that runs in a service of the old side's Compose file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// The service.
    pub service: String,
    /// The command.
    pub command: Vec<String>,
}

/// What runs at certain times, and how to see that it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Timetable {
    /// The entries of the old side's crontab.
    pub entries: Vec<TimetableEntry>,
    /// The crontab's time zone: an IANA name.
    pub time_zone: String,
    /// Prints a JSON line for each start and end of a run, and goes on as more happens.
    pub ledger: Tool,
    /// How late a run may start, at most.
    pub tolerance: Duration,
    /// Takes the entries out of the old side's crontab.
    pub disarm: Tool,
    /// Puts them back.
    pub arm: Tool,
}

/// One entry of a crontab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimetableEntry {
    /// The name under which its runs stand in the ledger, and its CronJob's on the new side.
    pub name: String,
    /// Five fields, as in crontab(5).
    pub schedule: String,
}

/// What users are promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// The part of requests that are answered well, 0 to 1.
    pub availability: f64,
    /// What 99 of 100 requests are faster than.
    pub p99: Duration,
}

/// A step: something is done, read back, watched for a while, and judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// How long it is watched before it is judged.
    pub bake: Bake,
    /// What has to hold before the next step.
    pub gates: Vec<GateKind>,
    /// Line of the plan file on which it stands, from 1.
    pub line: usize,
}

impl Step {
    /// As the screen and the evidence name it: `setWeight=50`.
    #[must_use]
    pub fn name(&self) -> String {
        self.action.to_string()
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Installs the new side, and waits until every replica is ready. Undo: removes its replicas.
    ScaleUpNew,
    /// Sends the same requests to both sides, and compares what they answer. Nothing to undo.
    SameAnswer {
        /// How many requests.
        sample: u32,
    },
    /// Has the router send so much to the new side. Undo: the weight of before.
    SetWeight {
        /// The new side's part, 0 to 100.
        percent: u8,
    },
    /// Has the component's name lead to the new side. Undo: leads to the old one again.
    SwitchName {
        /// How long resolvers may keep the name's address.
        ttl: Duration,
    },
    /// Lets so many instances of the old worker run on, and ends the others gracefully. Undo: starts them again.
    Handover {
        /// Instances of the old side that go on.
        old: u16,
    },
    /// Takes the old side's entries out of its crontab. Undo: puts them back.
    DisarmOld,
    /// Lets the new side's CronJobs run. Undo: suspends them.
    ArmNew,
    /// Lets the old side finish what it has, and gives it nothing new. Undo: gives it work again.
    Drain {
        /// How long it may take.
        timeout: Duration,
    },
    /// Stops the old side. Undo: starts it, and waits until it answers.
    StopOld {
        /// How long it must have had nothing to do before.
        idle_for: Duration,
    },
}

impl Action {
    /// The new side's part of the requests after this, 0 to 100, if it sets one.
    #[must_use]
    pub fn weight(&self) -> Option<u8> {
        match self {
            Self::SetWeight { percent } => Some(*percent),
            Self::SwitchName { .. } => Some(100),
            _ => None,
        }
    }

    /// Whether it changes anything, so that there is something to undo.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self, Self::SameAnswer { .. })
    }

    /// As the plan writes it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::ScaleUpNew => "scaleUpNew",
            Self::SameAnswer { .. } => "sameAnswer",
            Self::SetWeight { .. } => "setWeight",
            Self::SwitchName { .. } => "switchName",
            Self::Handover { .. } => "handover",
            Self::DisarmOld => "disarmOld",
            Self::ArmNew => "armNew",
            Self::Drain { .. } => "drain",
            Self::StopOld { .. } => "stopOld",
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::SetWeight { percent } => write!(f, "={percent}"),
            Self::Handover { old } => write!(f, "={old}"),
            _ => Ok(()),
        }
    }
}

/// How long a step is watched before it is judged: until all of it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bake {
    /// At least so long.
    pub at_least: Duration,
    /// Until each side that gets any has answered so many requests, or ended so many jobs.
    pub min_samples_per_side: u32,
    /// Until so many ticks of a timetable are over, with their tolerance, and the runs that began meanwhile.
    pub min_ticks: u32,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GateKind {
    /// No request failed, seen by client, router and application.
    NoFailedRequest,
    /// The latency objective holds on each side.
    LatencySLO,
    /// Each side gets its part, of requests and of clients.
    ObservedShare,
    /// Both sides answer the same requests alike.
    SameAnswer,
    /// Every job has its effect exactly once.
    EveryJobOnce,
    /// No more jobs wait than allowed.
    BacklogSLO,
    /// No job is left that nobody will finish.
    NothingStranded,
    /// Each side finishes jobs of every class that the other put there.
    CrossConsume,
    /// Every tick is run exactly once.
    EveryTickOnce,
    /// No two runs of one entry at the same time.
    NoOverlap,
    /// The old side gets nothing any more.
    OldSilent,
    /// Every replica of the new side does its part, and all are configured alike.
    EveryReplicaServes,
    /// Going back lost nothing and doubled nothing.
    RollbackLossless,
    /// No request failed while going back.
    NoFailedRequestDuringRollback,
    /// There is enough to judge by, and known bad requests were counted.
    Samples,
}

/// A fault: what is broken on purpose, and what that may cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// After which step, as an index into the plan's steps.
    pub at: usize,
    /// What is broken.
    pub inject: FaultKind,
    /// The command that breaks it, where it is outside of a sandbox's hands: it runs in every container of its service,
    /// and it is over when it has ended.
    pub with: Option<Tool>,
    /// How many requests may fail, or jobs be delivered twice.
    pub failed_requests: u64,
    /// Within which time all must be well again.
    pub recovery: Duration,
}

/// What can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// One pod of the new side is killed, without grace.
    KillNewPod,
    /// One instance of the old side is killed.
    KillOldPod,
    /// The new side answers slowly.
    SlowNew,
    /// The connections to the shared database break, and it is away for a while.
    DbFailover,
    /// A transaction holds locks in the shared database.
    LongTransaction,
    /// A configuration manager puts the old side back as it was.
    ReconvergeOld,
    /// Nothing arrives between the router and the new side.
    NetworkPartition,
    /// The queue delivers jobs again that are being worked on.
    QueueRedelivery,
}

/// How going back is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollback {
    /// From where.
    pub drill: Drill,
    /// How long going back may take, at most.
    pub max_duration: Duration,
    /// Also after the new side wrote to what is shared.
    pub after_writes: bool,
}

/// From where going back is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Drill {
    /// From every step, and from the middle of one.
    EveryStep,
    /// From the last step that can be undone.
    LastStep,
}
