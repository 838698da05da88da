//! What can go wrong with machines, in plain words.

use std::path::PathBuf;
use std::time::Duration;

use envctl_programs::process::ProgramError;

use crate::engine::EngineError;

/// Machines that cannot be brought up, or do not do as they are told.
#[derive(Debug, thiserror::Error)]
pub enum MachinesError {
    /// Compose refused the file or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Somebody asked to stop while machines were awaited.
    #[error("interrupted before the machines of the old side were ready")]
    Interrupted,
    /// There is no such file.
    #[error("the Compose file {} of the old side does not exist", .0.display())]
    Missing(PathBuf),
    /// Compose's answer is not what we know.
    #[error("what `docker compose config` says of {} cannot be read: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has no such service.
    #[error("{} has no service `{service}`; it has: {}", .file.display(), .there.join(", "))]
    NoService {
        /// The file.
        file: PathBuf,
        /// The service that the plan names.
        service: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// Variables of the file that have no value.
    #[error(
        "{} asks for {}, which the sandbox does not give; write `${{NAME:-default}}`, or use what it gives: {}",
        .file.display(), .variables.join(", "), .given.join(", ")
    )]
    Unset {
        /// The file.
        file: PathBuf,
        /// Those that it asks for.
        variables: Vec<String>,
        /// Those that there are.
        given: Vec<String>,
    },
    /// A service that cannot be reached from the sandbox.
    #[error(
        "service `{service}` has `network_mode: {mode}`; take it out: a machine has an address of its own"
    )]
    OwnNetwork {
        /// The service.
        service: String,
        /// Its network mode.
        mode: String,
    },
    /// No such machine.
    #[error("there is no machine `{instance}` of the old side; there are: {}", .there.join(", "))]
    NoMachine {
        /// The name.
        instance: String,
        /// Those that there are.
        there: Vec<String>,
    },
    /// A machine ended although it should become ready.
    #[error(
        "machine {instance} of the old side ended with code {code} before it was ready; it said:\n{said}"
    )]
    Ended {
        /// Which.
        instance: String,
        /// Its exit code, where it is known.
        code: i64,
        /// The last lines of its log.
        said: String,
    },
    /// A command that was run in a service ended badly.
    #[error(
        "`{command}` in the service `{service}` of the old side ended with code {code}; it said:\n{said}"
    )]
    Command {
        /// The service.
        service: String,
        /// The command.
        command: String,
        /// Its exit code, -1 where it is not known.
        code: i64,
        /// All that it said.
        said: String,
    },
    /// Time is up.
    #[error(
        "not ready within {} s: {} of the old side; see its health check and `docker logs NAME`",
        .within.as_secs(), .instances.join(", ")
    )]
    NotReady {
        /// Those that are not.
        instances: Vec<String>,
        /// How long was waited.
        within: Duration,
    },
    /// Machines of one service that are not alike.
    #[error(
        "the machines of service `{service}` are not alike: {first} and {second} differ in their {what}, \
         so the old side has no fingerprint"
    )]
    Unlike {
        /// The service.
        service: String,
        /// One of them.
        first: String,
        /// Another one.
        second: String,
        /// In what: packages or code.
        what: &'static str,
    },
}
