//! The wiring: what each verb does, out of the crates that know how.

pub(crate) mod chart;
mod check;
pub(crate) mod cluster;
pub(crate) mod down;
mod images;
pub(crate) mod init;
mod interrupts;
mod known;
pub(crate) mod local;
pub(crate) mod locate;
mod run;
mod secrets;
mod step_error;
mod store;
mod terraform;
pub(crate) mod up;

pub(crate) use store::{Home, Store};
