//! The local target: the chart on Docker Compose.

pub(crate) mod agent;
pub(crate) mod compose;
pub(crate) mod down;
pub(crate) mod lock;
pub(crate) mod machine;
pub(crate) mod status;
pub(crate) mod up;
