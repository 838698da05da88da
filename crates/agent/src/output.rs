//! The two streams `docker logs` shows.

use std::fmt::Display;
use std::io::{self, Write};

use envctl_wire::SandboxEvent;

/// A line for whoever reads the log.
pub(crate) fn warn(message: impl Display) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// A line on standard output.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A line for envctl.
pub(crate) fn event(event: &SandboxEvent) {
    match serde_json::to_string(event) {
        Ok(text) => line(text),
        Err(error) => warn(format_args!("cannot write an event: {error}")),
    }
}
