//! What can go wrong with an Engine, in plain words.

use std::error::Error as _;
use std::io;

/// An Engine that cannot be reached, is another one, or refuses.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no socket.
    #[error("no Docker Engine at {endpoint}: the socket does not exist")]
    NoSocket {
        /// Where.
        endpoint: String,
    },
    /// Nobody listens.
    #[error("no Docker Engine at {endpoint}: {reason}")]
    NotRunning {
        /// Where.
        endpoint: String,
        /// The system's words.
        reason: String,
    },
    /// The socket is not ours to use.
    #[error("you may not use the Docker Engine at {endpoint}: permission denied")]
    Denied {
        /// Where.
        endpoint: String,
    },
    /// The connection broke.
    #[error("the Docker Engine at {endpoint} stopped answering while envctl was {doing}: {reason}")]
    Lost {
        /// Where.
        endpoint: String,
        /// What was going on.
        doing: String,
        /// The system's words.
        reason: String,
    },
    /// The Engine said no.
    #[error("Docker refused {doing}: {message}")]
    Refused {
        /// What was asked.
        doing: String,
        /// HTTP status.
        status: u16,
        /// The Engine's words.
        message: String,
    },
    /// `DOCKER_HOST` is unusable.
    #[error("the Docker host {host:?} cannot be used: {reason}")]
    BadHost {
        /// As given.
        host: String,
        /// Why.
        reason: String,
    },
    /// A Docker context is unusable.
    #[error("the Docker context {name:?} cannot be used: {reason}")]
    BadContext {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Another Engine than the one the environment lives on.
    #[error(
        "this is another Docker Engine than the environment's: {endpoint} has the id {found}, \
         the environment lives on {expected}"
    )]
    OtherEngine {
        /// Where.
        endpoint: String,
        /// The id wanted.
        expected: String,
        /// The id found.
        found: String,
    },
    /// An answer without what every Engine gives.
    #[error("the Docker Engine's answer to {doing} lacks {lacks}")]
    Incomplete {
        /// What was asked.
        doing: String,
        /// What is missing.
        lacks: &'static str,
    },
}

impl EngineError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSocket { .. } | Self::NotRunning { .. } => Some(
                "start Docker (Docker Desktop, `colima start`, or `sudo systemctl start docker`), \
                 or set DOCKER_HOST to where it listens",
            ),
            Self::Denied { .. } => Some(
                "join the group of the socket (`sudo usermod -aG docker $USER`, then log in again), \
                 or use rootless Docker",
            ),
            Self::Lost { .. } => {
                Some("see whether Docker still runs (`docker info`), then run the same command again")
            }
            Self::OtherEngine { .. } => Some(
                "look at DOCKER_HOST and `docker context show`: choose the Engine on which the environment was made",
            ),
            _ => None,
        }
    }

    /// Whether the Engine answered that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the Engine answered that something is in the way: a name taken, a thing in use.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Sorts an error of the client library. `doing` reads after "while envctl was".
    pub(crate) fn from_client(endpoint: &str, doing: &str, error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        let endpoint = endpoint.to_owned();
        let doing = doing.to_owned();
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { doing, status: status_code, message: message.trim().to_owned() }
            }
            Error::DockerStreamError { error } => Self::Refused { doing, status: 500, message: error },
            Error::DockerContainerWaitError { error, .. } => {
                Self::Refused { doing, status: 500, message: error }
            }
            Error::SocketNotFoundError(_) => Self::NoSocket { endpoint },
            Error::RequestTimeoutError => Self::Lost { endpoint, doing, reason: "no answer in time".into() },
            other => match io_error(&other) {
                Some((io::ErrorKind::PermissionDenied, _)) => Self::Denied { endpoint },
                Some((io::ErrorKind::NotFound, _)) => Self::NoSocket { endpoint },
                Some((io::ErrorKind::ConnectionRefused, reason)) => Self::NotRunning { endpoint, reason },
                Some((_, reason)) => Self::Lost { endpoint, doing, reason },
                None => Self::Lost { endpoint, doing, reason: innermost(&other) },
            },
        }
    }
}

fn io_error(error: &bollard::errors::Error) -> Option<(io::ErrorKind, String)> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some((io.kind(), io.to_string()));
        }
        next = error.source();
    }
    found
}

fn innermost(error: &bollard::errors::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}
