//! Evidence and report as others see them: an independent verifier, a browser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod evidence;
mod programs;
mod report;
mod sample;
#[path = "../../../../tests/support/skip.rs"]
mod skip;
