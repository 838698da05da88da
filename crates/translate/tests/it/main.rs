//! Translating as its callers do.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod containers;
mod corpus;
mod findings;
mod live;
mod mutation;
mod network;
mod pods;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
mod support;
mod volumes;
mod warden;
