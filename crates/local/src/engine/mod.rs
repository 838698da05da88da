//! The door to a Docker Engine.
//!
//! Two types, so that the compiler keeps looking and changing apart: an [`EngineReader`] lists and
//! inspects; a [`VerifiedEngine`] is a reader whose identity was compared with the expected one, and
//! is the only type that functions which change something accept.

mod endpoint;
mod error;

use std::collections::HashMap;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

pub use endpoint::Endpoint;
pub use error::EngineError;

/// How long a request may take to be answered. Stopping waits for grace periods and loading for
/// disks; what takes longer than this is broken.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Looks at an Engine.
#[derive(Debug, Clone)]
pub struct EngineReader {
    docker: Docker,
    endpoint: Endpoint,
}

/// What an Engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineFacts {
    /// The Engine's own id: tells two Engines at one address apart.
    pub id: String,
    /// The name of its machine.
    pub name: String,
    /// Server version, such as `20.10.24`.
    pub version: String,
    /// API version, such as `1.41`.
    pub api_version: String,
    /// Processor architecture in Go's words: `amd64`, `arm64`.
    pub arch: String,
    /// Operating system of its containers: `linux`.
    pub os: String,
    /// Processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether it runs without root.
    pub rootless: bool,
    /// Whether it is on another machine.
    pub is_remote: bool,
    /// Where it was reached, as a `DOCKER_HOST` value.
    pub endpoint: String,
}

impl EngineFacts {
    /// The API version as numbers, to gate features on.
    #[must_use]
    pub fn api(&self) -> (u32, u32) {
        let mut parts = self.api_version.split('.').map(|p| p.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// An Engine whose identity was checked. Only functions that take this type change anything.
#[derive(Debug, Clone)]
pub struct VerifiedEngine {
    reader: EngineReader,
    facts: EngineFacts,
}

/// An Engine that answers.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Connects to the Engine at `host` (the value of `DOCKER_HOST`, or the endpoint of a Docker
    /// context; `None` is the platform's default) and asks who it is.
    ///
    /// # Errors
    /// When no Engine answers there, or this user may not talk to it; each with a
    /// [hint](EngineError::hint).
    pub async fn connect(host: Option<&str>) -> Result<(EngineReader, EngineFacts), EngineError> {
        let endpoint = Endpoint::parse(host)?;
        let shown = endpoint.to_string();
        let fail = |error| EngineError::from_client(&shown, "connecting", error);
        let docker = open(&endpoint)?.negotiate_version().await.map_err(fail)?;
        let reader = EngineReader { docker, endpoint };
        let facts = reader.facts().await?;
        Ok((reader, facts))
    }
}

impl EngineReader {
    /// What the Engine says about itself now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let doing = "asking for its identity";
        let (version, info) = tokio::join!(self.docker.version(), self.docker.info());
        let version = version.map_err(self.failed(doing))?;
        let info = info.map_err(self.failed(doing))?;
        let lacks = |lacks| EngineError::Incomplete { doing: doing.to_owned(), lacks };
        Ok(EngineFacts {
            id: info.id.filter(|id| !id.is_empty()).ok_or_else(|| lacks("its id"))?,
            name: info.name.unwrap_or_default(),
            version: version.version.ok_or_else(|| lacks("its version"))?,
            api_version: version.api_version.ok_or_else(|| lacks("its API version"))?,
            arch: version.arch.ok_or_else(|| lacks("its architecture"))?,
            os: version.os.unwrap_or_else(|| "linux".to_owned()),
            cpus: info.ncpu.and_then(|n| n.try_into().ok()).unwrap_or_default(),
            memory: info.mem_total.and_then(|n| n.try_into().ok()).unwrap_or_default(),
            rootless: info.security_options.unwrap_or_default().iter().any(|o| o.contains("name=rootless")),
            is_remote: self.endpoint.is_remote(),
            endpoint: self.endpoint.to_string(),
        })
    }

    /// Checks that this is the Engine with the id `expected` (`None` for an environment that does
    /// not exist yet) and gives the right to change things on it.
    ///
    /// # Errors
    /// [`EngineError::OtherEngine`] when it is another one; when it does not answer.
    pub async fn verify(&self, expected: Option<&str>) -> Result<VerifiedEngine, EngineError> {
        let facts = self.facts().await?;
        match expected {
            Some(expected) if expected != facts.id => Err(EngineError::OtherEngine {
                endpoint: facts.endpoint,
                expected: expected.to_owned(),
                found: facts.id,
            }),
            _ => Ok(VerifiedEngine { reader: self.clone(), facts }),
        }
    }

    /// Where it is, as a `DOCKER_HOST` value: programs that are started get exactly this one.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The error of an answer that ended although it has no end.
    pub(crate) fn lost(&self, doing: &str) -> EngineError {
        EngineError::Lost {
            endpoint: self.endpoint.to_string(),
            doing: doing.to_owned(),
            reason: "it closed the connection".to_owned(),
        }
    }

    /// Makes the error of a call that was `doing` something.
    pub(crate) fn failed(&self, doing: &str) -> impl Fn(bollard::errors::Error) -> EngineError + use<> {
        let endpoint = self.endpoint.to_string();
        let doing = doing.to_owned();
        move |error| EngineError::from_client(&endpoint, &doing, error)
    }
}

impl VerifiedEngine {
    /// Who it is.
    #[must_use]
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    /// The same Engine, to look only.
    #[must_use]
    pub fn reader(&self) -> &EngineReader {
        &self.reader
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.reader.docker
    }

    pub(crate) fn failed(&self, doing: &str) -> impl Fn(bollard::errors::Error) -> EngineError + use<> {
        self.reader.failed(doing)
    }
}

/// The filter `label=KEY=VALUE`, in the shape the API wants.
pub(crate) fn with_label(key: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])])
}

/// `Ok(None)` where the Engine says that there is no such thing.
pub(crate) fn found<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(endpoint: &Endpoint) -> Result<Docker, EngineError> {
    let shown = endpoint.to_string();
    let seconds = TIMEOUT.as_secs();
    let opened = match endpoint {
        #[cfg(unix)]
        Endpoint::Unix(_) => Docker::connect_with_unix(&shown, seconds, API_DEFAULT_VERSION),
        Endpoint::Tcp(_) => Docker::connect_with_http(&shown, seconds, API_DEFAULT_VERSION),
        #[cfg(windows)]
        Endpoint::NamedPipe(_) => Docker::connect_with_named_pipe(&shown, seconds, API_DEFAULT_VERSION),
        #[allow(unreachable_patterns)]
        _ => {
            return Err(EngineError::BadHost {
                host: shown,
                reason: "this platform has no such transport".to_owned(),
            });
        }
    };
    opened.map_err(|error| EngineError::from_client(&shown, "connecting", error))
}
