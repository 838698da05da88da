//! Recordings for tests: a clean one of each kind, and the mistakes that people make.
//!
//! They are made by arithmetic from a seed, without a sandbox: what judges, draws or signs recordings can be tried on
//! them in an instant. A clean one has a drill, a fault within its permit, and all that is no failure, such as jobs
//! that are delivered twice.

mod answering;
mod change;
mod mistakes;
mod plans;
mod scene;
mod schedule;
mod worker;

use envctl_model::cutover::{CutoverPlan, GateKind};

use crate::recording::Recording;
pub use mistakes::mistakes;

/// What kind of component a recording is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Weights of a router are moved.
    Service,
    /// Instances are handed over.
    Worker,
    /// Crontab entries are moved.
    Schedule,
    /// A name is switched.
    Endpoint,
}

/// A plan, and what was seen as it was rehearsed.
#[derive(Debug, Clone)]
pub struct MadeUp {
    /// The plan.
    pub plan: CutoverPlan,
    /// The recording.
    pub recording: Recording,
}

/// A mistake: what of a clean recording it changes, and what has to catch it.
pub struct Mistake {
    /// What somebody did wrong, in a few words.
    pub name: &'static str,
    /// In a rehearsal of which kind.
    pub kind: Kind,
    /// Changes a clean recording, or its plan, into one of this mistake.
    pub make: fn(&mut MadeUp),
    /// The gate that has to stop it.
    pub gate: GateKind,
    /// The invariant of that gate which catches it.
    pub invariant: &'static str,
}

/// A clean rehearsal. The same seed gives the same one.
#[must_use]
pub fn clean(kind: Kind, seed: u64) -> MadeUp {
    match kind {
        Kind::Service => answering::service(seed),
        Kind::Endpoint => answering::endpoint(seed),
        Kind::Worker => worker::worker(seed),
        Kind::Schedule => schedule::schedule(seed),
    }
}
