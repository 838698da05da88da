//! What `envctl init` writes.

pub(crate) mod cutover;
pub(crate) mod pin;
pub(crate) mod platform;
pub(crate) mod stack;
