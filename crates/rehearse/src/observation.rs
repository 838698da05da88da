//! What can be seen of a rehearsal. Gates judge these and nothing else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use envctl_model::cutover::plan::ClientKind;
use envctl_model::cutover::{FaultKind, Side};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Microseconds since the recording began, on a clock that only goes forward. What other machines saw is put on it
/// by the recording's wall-clock start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// So many seconds after the beginning.
    #[must_use]
    pub fn from_secs(seconds: f64) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "negative and huge ones saturate"
        )]
        Self((seconds * 1e6).round() as u64)
    }

    /// A moment of this machine, in a recording that began at `zero`; zero for what was before.
    #[must_use]
    pub fn of(zero: Instant, moment: Instant) -> Self {
        Self(u64::try_from(moment.saturating_duration_since(zero).as_micros()).unwrap_or(u64::MAX))
    }

    /// In seconds.
    #[must_use]
    pub fn secs(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "exact for 285 years")]
        {
            self.0 as f64 / 1e6
        }
    }

    /// The time from `earlier` to this one; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Takes what is seen, from whichever thread saw it. It must not block: the load is sent from these threads.
pub type Sink = Arc<dyn Fn(Observation) + Send + Sync>;

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Observation {
    /// A client sent a request, and what came of it. Written when it is over.
    Request(Request),
    /// The router's log has a request.
    Routed(Routed),
    /// The application's log has a request.
    Served(Served),
    /// The router's weights were read back.
    Weight {
        /// When.
        at: Time,
        /// The new side's part of what the router does now, 0 to 100.
        running: u8,
        /// The same of its configuration, which counts after a restart.
        configured: u8,
    },
    /// What the component's name leads to was read back.
    Name {
        /// When.
        at: Time,
        /// The side that it leads to.
        side: Side,
    },
    /// Something became of an instance of a side.
    Instance {
        /// When.
        at: Time,
        /// Whose.
        side: Side,
        /// The container's or pod's name.
        instance: String,
        /// What.
        state: InstanceState,
    },
    /// How an instance is configured, without what every instance has of its own, such as its host name.
    Configured {
        /// When it was read.
        at: Time,
        /// Whose.
        side: Side,
        /// The container's or pod's name.
        instance: String,
        /// For each setting a digest of its value.
        settings: BTreeMap<String, String>,
    },
    /// Both sides were sent the same request.
    Compared {
        /// When.
        at: Time,
        /// The request, such as `GET /photos`.
        request: String,
        /// In what the answers differed: nothing, if they are alike.
        differences: Vec<Difference>,
    },
    /// Something happened to a job.
    Job {
        /// When.
        at: Time,
        /// The id that the ledger had before the job was put into the queue.
        id: String,
        /// Its class.
        class: String,
        /// What.
        event: JobEvent,
        /// On which side. None for what no side does: being put into the queue, being given up.
        side: Option<Side>,
        /// On which instance.
        instance: Option<String>,
    },
    /// How much waits in the queue.
    Backlog {
        /// When.
        at: Time,
        /// Jobs that nobody works on yet.
        waiting: u64,
        /// Jobs that somebody received and has not finished.
        in_flight: u64,
    },
    /// A run of something that runs at certain times began or ended.
    Run {
        /// When.
        at: Time,
        /// The timetable's entry.
        entry: String,
        /// The run's own id: the same for its start and its end.
        run: String,
        /// What.
        event: RunEvent,
        /// On which side.
        side: Side,
        /// On which instance.
        instance: String,
        /// When it began, on the wall clock.
        wall: Timestamp,
    },
    /// Something other than the load called the old side.
    Caller {
        /// When.
        at: Time,
        /// From where.
        address: IpAddr,
        /// What it called itself, such as its user agent.
        agent: Option<String>,
        /// The request, such as `GET /health`.
        request: String,
    },
    /// A step's turn.
    Step {
        /// When.
        at: Time,
        /// Index into the plan's steps.
        step: usize,
        /// What of it.
        phase: StepPhase,
    },
    /// A fault's turn.
    Fault {
        /// When.
        at: Time,
        /// Index into the plan's faults.
        fault: usize,
        /// Which.
        kind: FaultKind,
        /// What of it.
        phase: FaultPhase,
    },
    /// Going back was tried.
    Drill {
        /// When.
        at: Time,
        /// Index of the step from which, into the plan's steps.
        from: usize,
        /// From the middle of that step, not from its end.
        middle: bool,
        /// What of it.
        phase: DrillPhase,
    },
    /// Whether a known bad request was counted as such, by each that counts.
    Control {
        /// When.
        at: Time,
        /// How many known bad requests were sent up to now.
        sent: u64,
        /// How many of them the client counted as failed.
        counted: u64,
    },
    /// Somebody else's counters were read, in production.
    Counted {
        /// When.
        at: Time,
        /// Whose requests.
        side: Side,
        /// Requests that were answered up to now. It begins again when who counts was restarted.
        requests: u64,
        /// Those of them that failed.
        failed: u64,
        /// Within how many seconds 99 of 100 are answered now, where that is known.
        p99: Option<f64>,
    },
    /// The wall clock was looked at: it may have been set.
    Clock {
        /// When.
        at: Time,
        /// What it said.
        wall: Timestamp,
    },
}

impl Observation {
    /// When it was.
    #[must_use]
    pub fn at(&self) -> Time {
        match self {
            Self::Request(request) => request.done,
            Self::Routed(routed) => routed.at,
            Self::Served(served) => served.at,
            Self::Weight { at, .. }
            | Self::Name { at, .. }
            | Self::Instance { at, .. }
            | Self::Configured { at, .. }
            | Self::Compared { at, .. }
            | Self::Job { at, .. }
            | Self::Backlog { at, .. }
            | Self::Run { at, .. }
            | Self::Caller { at, .. }
            | Self::Step { at, .. }
            | Self::Fault { at, .. }
            | Self::Drill { at, .. }
            | Self::Control { at, .. }
            | Self::Counted { at, .. }
            | Self::Clock { at, .. } => *at,
        }
    }
}

/// A request, as its client saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Sent along in the header `x-request-id`.
    pub id: String,
    /// Its name in the mix.
    pub name: String,
    /// What kind of client sent it.
    pub client: ClientKind,
    /// Which of the clients of that kind.
    pub number: u32,
    /// When it was due: latency counts from here.
    pub intended: Time,
    /// When it was really sent. What lies between is the generator's lateness.
    pub sent: Time,
    /// When it was over.
    pub done: Time,
    /// What came of it.
    pub outcome: Outcome,
    /// The status that is right for it.
    pub expected: u16,
    /// A known bad request: it has to be counted as failed.
    pub control: bool,
}

impl Request {
    /// Whether it was answered, as it should have been.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.outcome == Outcome::Answered { status: self.expected }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// A whole answer came.
    Answered {
        /// Its status.
        status: u16,
    },
    /// No connection could be made.
    Refused,
    /// The connection ended before the answer did.
    Reset,
    /// No whole answer came in time.
    TimedOut,
}

impl std::fmt::Display for Outcome {
    /// As it follows on "it was".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answered { status } => write!(f, "answered {status}"),
            Self::Refused => f.write_str("refused a connection"),
            Self::Reset => f.write_str("cut off"),
            Self::TimedOut => f.write_str("not answered in time"),
        }
    }
}

/// A request, as the router saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Routed {
    /// When it was over.
    pub at: Time,
    /// The header `x-request-id`.
    pub id: String,
    /// To which side it went; none if to neither.
    pub side: Option<Side>,
    /// The status that the client was given, 0 if none.
    pub status: u16,
    /// HAProxy's two letters of how the session ended: `--` is well.
    pub termination: String,
}

/// A request, as the application saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// When it was answered.
    pub at: Time,
    /// The header `x-request-id`.
    pub id: String,
    /// By which side.
    pub side: Side,
    /// The container's or pod's name.
    pub instance: String,
    /// The status that it answered with.
    pub status: u16,
}

/// What became of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceState {
    /// Its process runs.
    Started,
    /// It says that it can serve.
    Ready,
    /// It was asked to end (SIGTERM), or is being removed.
    Ending,
    /// It ended by itself, or after it was asked to.
    Ended,
    /// It was killed (SIGKILL): by a fault, for want of memory, or because its grace was over.
    Killed,
}

/// One thing in which two answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `status`, `header content-type`, or a place in the body such as `body /photos/0/taken`.
    pub place: String,
    /// What the old side says.
    pub old: String,
    /// What the new side says.
    pub new: String,
}

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobEvent {
    /// Its id was written down; the queue does not have it yet.
    Intended,
    /// The queue took it.
    Enqueued,
    /// An instance received it. More than once is no failure.
    Received,
    /// It had its effect. More than once is a failure.
    Effect,
    /// It failed, and will be tried again.
    Failed,
    /// It was given up.
    DeadLettered,
}

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunEvent {
    /// It began.
    Started,
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
}

/// What of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepPhase {
    /// Its effect begins.
    Begun,
    /// Its effect was read back: it holds.
    Verified,
    /// Its gates have been judged. The next step begins after this.
    Judged,
    /// Its effect is being undone.
    Undoing,
    /// Its undoing was read back: the state of before holds.
    Undone,
}

/// What of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultPhase {
    /// It begins.
    Injected,
    /// What was broken is whole again. How long clients feel it is for the gates to find.
    Lifted,
}

/// What of a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrillPhase {
    /// Going back begins.
    Begun,
    /// The state of before the first step holds.
    Back,
    /// It has been watched for a while after that, and the way forward begins again.
    Over,
}
