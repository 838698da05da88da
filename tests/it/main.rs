//! All integration tests in one binary: linked once. They run the real program in houses of their
//! own, against real Docker, helm and terraform where those are there.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod album;
mod bad_input;
mod changes;
mod charts;
mod cluster;
mod command_line;
mod contract;
mod crashes;
mod crashes_album;
mod doctor;
mod evidence;
mod faults;
mod lifecycle;
mod manifests;
mod newcomer;
mod rehearse;
mod rows;
mod secrets;
mod shelf;
mod shells;
mod tls;
mod verbs;
mod waiting;
mod warden;
