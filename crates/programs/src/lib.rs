//! The programs envctl starts: helm, terraform or tofu, git. (Docker's stand in `envctl-local`.)
//!
//! One way to start them ([`process`]), and per program the few calls we make, typed. Nothing here
//! reads the environment or a home directory: paths and variables come in as parameters.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr))]

pub mod git;
pub mod helm;
pub mod private;
pub mod process;
pub mod terraform;
