//! The cluster target: a guarded namespace of a shared EKS cluster.
//!
//! Two types keep looking and changing apart: a [`ClusterReader`] lists and watches; a
//! [`VerifiedCluster`] is one whose account, region, cluster and credentials were compared with what was
//! expected, and is the only type that functions which change something accept.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr))]

pub mod aws;
pub mod balancers;
mod client;
pub mod cutover;
mod error;
mod guard;
pub mod guardrails;
pub mod live;
pub mod lock;
pub mod marks;
pub mod namespace;
pub mod nodes;
pub mod objects;
mod patience;
pub mod preflight;
pub mod records;
pub mod registry;
pub mod release;
pub mod remove;
pub mod secrets;
pub mod terraform;
pub mod wait;
mod watching;
mod words;

pub use client::ClusterReader;
pub use cutover::CutoverTarget;
pub use error::ClusterError;
pub use guard::{Check, Examined, Expected, Facts, Intent, Verdict, VerifiedCluster, examine};
