//! The mistakes: a table of each kind.

mod failing;
mod judging;
mod schedule;
mod sides;
mod worker;

use super::Mistake;

/// All mistakes, those of services and endpoints first.
pub fn mistakes() -> impl Iterator<Item = &'static Mistake> {
    [failing::MISTAKES, sides::MISTAKES, judging::MISTAKES, worker::MISTAKES, schedule::MISTAKES]
        .into_iter()
        .flatten()
}
