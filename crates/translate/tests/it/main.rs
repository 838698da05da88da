//! Translating as its callers do.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod containers;
mod corpus;
mod findings;
mod network;
mod pods;
mod support;
mod volumes;
