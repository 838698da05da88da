//! What becomes of the instances of a component, wherever they run.

use jiff::Timestamp;

/// Something became of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When. Docker says when it was; of what Kubernetes tells, this is when it was learnt, because its own times
    /// are in whole seconds.
    pub at: Timestamp,
    /// The container's or pod's name.
    pub instance: String,
    /// Its address, where it has one by then.
    pub address: Option<std::net::IpAddr>,
    /// What it is now.
    pub state: State,
}

/// What an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its process runs.
    Started,
    /// It can serve. One that has no check can as soon as it runs.
    Ready,
    /// It runs, and cannot serve any more.
    Unready,
    /// It was asked to end, or is being removed.
    Ending,
    /// It ended by itself, or after it was asked to.
    Ended,
    /// It was killed (SIGKILL): by somebody, for want of memory, or because its grace was over.
    Killed,
}

/// The exit code of a process that was killed: 128 and the number of the signal.
pub const KILLED: i64 = 137;

impl State {
    /// What one is that ended with this code.
    #[must_use]
    pub fn of_exit(code: i64) -> Self {
        if code == KILLED { Self::Killed } else { Self::Ended }
    }

    /// Whether no process of it is left.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Killed)
    }
}
