//! Executes plans.
//!
//! The executor knows order and the journal, and nothing of what steps do: that is the [`World`]'s.
//! For each step it appends the intent with every identity that the effect will use, lets the world
//! perform the effect, appends the outcome, and only then publishes the event. A process that dies
//! anywhere in between is followed by one that runs the same steps again: steps observe the world
//! before they change it and never trust a missing outcome.

mod executor;
mod failpoint;
mod journal;

pub use executor::{Context, Done, Executor, Lock, RunError, StepError, Unlocked, World};
pub use failpoint::{Failpoints, Killed, Moment};
pub use journal::{Child, Entry, Journal, JournalError, Warning};
