//! The local target: the chart on Docker Compose.

pub(crate) mod agent;
pub(crate) mod certificates;
pub(crate) mod compose;
pub(crate) mod down;
pub(crate) mod forward;
pub(crate) mod lock;
pub(crate) mod machine;
pub(crate) mod one_off;
pub(crate) mod owned;
pub(crate) mod pods;
pub(crate) mod status;
pub(crate) mod up;
