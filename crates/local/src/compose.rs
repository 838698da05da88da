//! `docker compose` for an environment: the file, what is asked, and what came of it.

use std::io::{self, Write as _};
use std::path::Path;

use envctl_programs::process::{Command, ProgramError, Stream, Supervisor};

use crate::docker_cli::DockerCli;
use crate::engine::{EngineError, EngineReader};
use crate::port_owner::{self, PortOwner};
use crate::router::is_port_taken;

/// An environment's Compose project.
#[derive(Debug, Clone, Copy)]
pub struct ComposeProject<'a> {
    /// Its name (`-p`).
    pub name: &'a str,
    /// Its file.
    pub file: &'a Path,
}

/// What `docker compose up` failed with.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The program could not be run, or failed in a way that has no better words than its own.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An image is neither here nor in its registry.
    #[error("the image {image} is missing: {reason}")]
    ImageMissing {
        /// The image.
        image: String,
        /// Docker's words.
        reason: String,
    },
    /// A published port is taken.
    #[error("port {port} is taken by {owner}")]
    PortTaken {
        /// The port.
        port: u16,
        /// By whom.
        owner: PortOwner,
    },
    /// A service that others wait for failed; which and why is seen on the Engine
    /// ([`crate::diagnose`]).
    #[error("a container that others wait for failed: {words}")]
    DependencyFailed {
        /// Compose's words.
        words: String,
    },
}

/// Writes a Compose file: whole or not at all, and readable by its owner only, since it holds the
/// application's secrets.
///
/// # Errors
/// When the directory cannot be written to.
pub fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // `tempfile` makes files of mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

impl ComposeProject<'_> {
    /// `docker compose -p NAME -f FILE`.
    fn command(&self, cli: &DockerCli) -> Command {
        let command = cli.compose().args(["--ansi", "never", "--progress", "plain"]);
        let command = command.arg("-p").arg(self.name).arg("-f").arg(self.file.as_os_str());
        match self.file.parent().filter(|p| !p.as_os_str().is_empty()) {
            // Neither a `.env` nor relative paths of wherever the user happens to be.
            Some(directory) => command.arg("--project-directory").arg(directory.as_os_str()),
            None => command,
        }
    }

    /// Has Compose check the file.
    ///
    /// # Errors
    /// Compose's own words when it refuses the file.
    pub async fn check(&self, cli: &DockerCli, supervisor: &Supervisor) -> Result<(), ProgramError> {
        self.command(cli).args(["config", "--quiet"]).run(supervisor).await.map(drop)
    }

    /// Has these made, and none started.
    ///
    /// # Errors
    /// Compose's own words.
    pub async fn create(
        &self,
        cli: &DockerCli,
        supervisor: &Supervisor,
        services: &[String],
    ) -> Result<(), ProgramError> {
        if services.is_empty() {
            return Ok(()); // `up` without names means all
        }
        let arguments = ["up", "--no-start", "--no-deps", "--no-build", "--quiet-pull", "--"];
        self.command(cli).args(arguments).args(services).run(supervisor).await.map(drop)
    }

    /// Brings exactly `services` up: those of the pods that changed, a pod's services together.
    /// Others of the file are left alone, even where a named one depends on them, so that run-once
    /// containers do not run again; among the named ones Compose keeps the order of `depends_on`.
    /// Returns when every one was started or, where others wait for it, has completed or is healthy.
    ///
    /// # Errors
    /// When something failed, with the cause where Compose's words tell it.
    pub async fn up(
        &self,
        cli: &DockerCli,
        reader: &EngineReader,
        supervisor: &Supervisor,
        services: &[String],
        line: impl FnMut(Stream, &str),
    ) -> Result<(), ComposeError> {
        if services.is_empty() {
            return Ok(()); // `up` without names means all
        }
        let command = self.command(cli).args(up_arguments(services));
        match command.run_with_lines(supervisor, line).await {
            Ok(_) => Ok(()),
            Err(ProgramError::Failed(failure)) => Err(match cause(&failure.message) {
                Cause::ImageMissing { image, reason } => ComposeError::ImageMissing { image, reason },
                Cause::PortTaken(port) => {
                    ComposeError::PortTaken { port, owner: port_owner::find(reader, port).await? }
                }
                Cause::DependencyFailed(words) => ComposeError::DependencyFailed { words },
                Cause::Other => ProgramError::Failed(failure).into(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

/// The arguments after the project's.
fn up_arguments(services: &[String]) -> Vec<&str> {
    let mut arguments = vec!["up", "--detach", "--no-deps", "--no-build", "--quiet-pull", "--"];
    arguments.extend(services.iter().map(String::as_str));
    arguments
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    ImageMissing { image: String, reason: String },
    PortTaken(u16),
    DependencyFailed(String),
    Other,
}

/// Reads the cause of a failed `up` from what Compose wrote to stderr.
fn cause(stderr: &str) -> Cause {
    // The line that names the image comes before the one that only repeats the reason.
    for line in stderr.lines() {
        if let Some(image) = missing_image(line) {
            let reason = [" Error ", "Error response from daemon: "]
                .iter()
                .find_map(|words| Some(line.split_once(words)?.1))
                .unwrap_or(line);
            return Cause::ImageMissing { image, reason: reason.trim().to_owned() };
        }
        if is_port_taken(line)
            && let Some(port) = port_in(line)
        {
            return Cause::PortTaken(port);
        }
        if line.contains("dependency failed to start")
            || line.contains("didn't complete successfully")
            || line.contains("dependency did not complete")
        {
            return Cause::DependencyFailed(line.trim().to_owned());
        }
    }
    Cause::Other
}

/// The image in one of the ways of saying that it cannot be had.
fn missing_image(line: &str) -> Option<String> {
    // Compose since 5: ` Image mysql:99 Error manifest unknown`.
    if let Some((image, _)) =
        line.trim_start().strip_prefix("Image ").and_then(|rest| rest.split_once(" Error "))
    {
        return Some(image.to_owned());
    }
    let words =
        ["pull access denied for ", "manifest for ", "No such image: ", "failed to resolve reference \""];
    let rest = words.iter().find_map(|words| Some(line.split_once(words)?.1))?;
    let image = rest.split([' ', ',', '"']).next()?.trim_end_matches(':');
    (!image.is_empty()).then(|| image.to_owned())
}

/// The port in `... failed: port is already allocated` or `listen tcp4 0.0.0.0:80: bind: address
/// already in use`: the number behind the last colon that stands before other words.
fn port_in(line: &str) -> Option<u16> {
    line.split(|c: char| c.is_whitespace())
        .filter_map(|word| word.trim_end_matches([':', ',', '.']).rsplit_once(':')?.1.parse().ok())
        .find(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_read_from_what_compose_writes() {
        assert_eq!(
            cause(
                "Error response from daemon: driver failed programming external connectivity on endpoint x (8a): \
                   Bind for 127.0.0.1:8080 failed: port is already allocated"
            ),
            Cause::PortTaken(8080)
        );
        assert_eq!(
            cause(
                "Error response from daemon: driver failed programming external connectivity on endpoint x (8a): \
                   Error starting userland proxy: listen tcp4 127.0.0.1:8080: bind: address already in use"
            ),
            Cause::PortTaken(8080)
        );
        assert_eq!(
            cause(
                " Image album:nope Pulling\nError response from daemon: pull access denied for album, \
                   repository does not exist or may require 'docker login'"
            ),
            Cause::ImageMissing {
                image: "album".into(),
                reason:
                    "pull access denied for album, repository does not exist or may require 'docker login'"
                        .into()
            }
        );
        assert!(matches!(
            cause("Error response from daemon: manifest for mysql:99 not found: manifest unknown"),
            Cause::ImageMissing { image, .. } if image == "mysql:99"
        ));
        assert!(
            matches!(cause("Error response from daemon: No such image: a:b"), Cause::ImageMissing { image, .. } if image == "a:b")
        );
        assert!(matches!(
            cause("service \"migrate\" didn't complete successfully: exit 3"),
            Cause::DependencyFailed(_)
        ));
        assert!(matches!(
            cause("dependency failed to start: container x-api-1 is unhealthy"),
            Cause::DependencyFailed(_)
        ));
        assert_eq!(cause("no such service: x"), Cause::Other);
    }

    #[test]
    fn only_the_named_services_are_brought_up() {
        let services = ["api".to_owned(), "api-sandbox".to_owned()];
        let arguments = up_arguments(&services);
        assert_eq!(arguments[..2], ["up", "--detach"]);
        assert!(arguments.contains(&"--no-deps") && !arguments.contains(&"--remove-orphans"));
        assert_eq!(arguments[arguments.len() - 3..], ["--", "api", "api-sandbox"]);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_only_and_replaced_whole() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("compose.json");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
