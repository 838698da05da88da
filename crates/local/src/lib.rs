//! The local target: everything that touches the Docker Engine.
//!
//! [`engine`] is the door: an [`engine::EngineReader`] looks, and only a
//! [`engine::VerifiedEngine`], whose identity was checked, changes anything. Decisions (what has
//! changed, what has failed and why, which subnet is free) are pure functions over what was read;
//! the calls to the Engine around them are thin.
//!
//! Nothing here prints, reads environment variables or knows the user's home: the caller passes
//! what is needed.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod agent_image;
pub mod backing;
pub mod balancer;
pub mod compose;
pub mod diagnose;
pub mod dial;
mod digest;
pub mod docker_cli;
mod ending;
pub mod engine;
mod exec;
pub mod finished;
pub mod images;
pub mod leftovers;
pub mod lock;
pub mod logs;
pub mod lookup;
pub mod machines;
pub mod network;
pub mod pods;
pub mod port_owner;
pub mod remove;
pub mod router;
pub mod seed;
pub mod state;
pub mod warden;
pub mod watch;
