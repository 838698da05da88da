//! The local target: the chart on Docker Compose.

pub(crate) mod agent;
pub(crate) mod compose;
pub(crate) mod down;
mod lock;
pub(crate) mod machine;
pub(crate) mod up;
