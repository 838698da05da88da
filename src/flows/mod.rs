//! The wiring: what each verb does, out of the crates that know how.

pub(crate) mod asleep;
pub(crate) mod chart;
mod check;
pub(crate) mod cluster;
mod component;
pub(crate) mod cutover;
pub(crate) mod cutover_plan;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod extend;
pub(crate) mod forward;
pub(crate) mod gc;
mod held;
mod images;
pub(crate) mod init;
mod interrupts;
mod known;
pub(crate) mod list;
mod live;
pub(crate) mod local;
pub(crate) mod locate;
pub(crate) mod logs;
mod moving;
mod part;
pub(crate) mod plan;
pub(crate) mod rehearse;
pub(crate) mod run;
mod secrets;
pub(crate) mod signers;
pub(crate) mod status;
mod step_error;
mod store;
pub(crate) mod subject;
pub(crate) mod terraform;
pub(crate) mod up;

pub(crate) use store::{Home, Store};
