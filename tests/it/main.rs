//! All integration tests in one binary: linked once. They run the real program in houses of their
//! own, against real Docker, helm and terraform where those are there.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod album;
mod bad_input;
mod cluster;
mod command_line;
mod crashes;
mod crashes_album;
mod doctor;
mod evidence;
mod faults;
mod lifecycle;
mod rehearse;
mod rows;
mod secrets;
mod shells;
mod verbs;
mod waiting;
