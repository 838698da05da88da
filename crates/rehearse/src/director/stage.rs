//! What the director needs of the two sides.

use envctl_model::cutover::plan::Fault;

use super::Judged;

/// Both sides and what is between them. Every effect may have been had before, in whole or in part, by a process that
/// died. Each returns only when it was read back that the effect holds.
pub trait Stage: Sync {
    /// Has the effect of a step.
    fn act(&self, step: usize) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Has a part of the effect of a step, and stops there.
    fn half(&self, step: usize) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Puts things back to how they were before a step.
    fn undo(&self, step: usize) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Breaks something.
    fn inject(&self, fault: &Fault) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Writes down all that was judged up to now, for whoever goes on after a death.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self, judged: &[Judged]) -> Result<(), Trouble>;

    /// Makes it whole again.
    fn lift(&self, fault: &Fault) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// Why an effect could not be had, or does not hold: what, where, and what to do, in plain words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);
