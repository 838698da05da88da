//! What `envctl init` writes.

pub(crate) mod pin;
pub(crate) mod platform;
