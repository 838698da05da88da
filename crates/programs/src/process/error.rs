//! How a program can fail us.

use std::fmt;
use std::io;

use super::version::Version;

/// Why a program did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The program is not installed, or not where PATH looks.
    #[error("{program} is not installed or not on PATH\n  get it: {how_to_get}")]
    NotFound {
        /// The name that was looked for.
        program: String,
        /// What to type or where to look.
        how_to_get: String,
    },
    /// The program is older than what we use of it.
    #[error("{program} {found} is too old: {needed} or newer is needed\n  get it: {how_to_get}")]
    VersionTooOld {
        /// The program's name.
        program: String,
        /// What it says it is.
        found: Version,
        /// The oldest that works.
        needed: Version,
        /// What to type or where to look.
        how_to_get: String,
    },
    /// The program ran and failed.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// The user interrupted, and the program ended for it (or was not started at all).
    #[error("interrupted: {program} {}", if *.killed { "was killed and could not save its state" } else { "ended when asked to" })]
    Interrupted {
        /// The program's name.
        program: String,
        /// Whether it was killed in the end.
        killed: bool,
    },
    /// The program succeeded, and said something we cannot read.
    #[error("cannot read what {program} {arguments} wrote: {reason}")]
    Unreadable {
        /// The program's name.
        program: String,
        /// Its arguments, without secrets.
        arguments: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused something on the way.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ProgramError {
    /// An [`ProgramError::Io`] about what was being done, for `map_err`.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// A program that ran and failed, and all it said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The program's name.
    pub program: String,
    /// Its arguments, without secrets.
    pub arguments: String,
    /// Its exit code, or the signal that ended it.
    pub ended: Ended,
    /// What it wrote to stderr, whole.
    pub message: String,
}

/// How a program ended that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} failed ({})", self.program, self.arguments, self.ended)?;
        let message = self.message.trim_end();
        if !message.is_empty() {
            write!(f, "\n{message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
