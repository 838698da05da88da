//! The wiring: what each verb does, out of the crates that know how.

pub(crate) mod agent;
pub(crate) mod chart;
pub(crate) mod down;
pub(crate) mod known;
pub(crate) mod machine;
pub(crate) mod run;
mod store;
pub(crate) mod terraform;
pub(crate) mod up;

pub(crate) use store::{Home, Store};
