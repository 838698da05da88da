//! Where an Engine is: `DOCKER_HOST` and Docker contexts.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::EngineError;
use crate::digest::sha256;

/// The address of an Engine, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain HTTP over TCP: `host:port`.
    Tcp(String),
    /// A Windows named pipe.
    NamedPipe(String),
}

/// Where an Engine listens on its own machine.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

impl Endpoint {
    /// Reads the value of `DOCKER_HOST`; `None` or an empty value is the platform's default.
    ///
    /// # Errors
    /// [`EngineError::BadHost`] for schemes the Engine API cannot be reached by directly (`ssh://`,
    /// TLS) and for text that is no address.
    pub fn parse(host: Option<&str>) -> Result<Self, EngineError> {
        let host = host.map(str::trim).filter(|h| !h.is_empty()).unwrap_or(DEFAULT);
        let bad = |reason: &str| EngineError::BadHost { host: host.to_owned(), reason: reason.to_owned() };
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(bad("a Unix socket is named by its absolute path")),
            Some(("npipe", _)) => Ok(Self::NamedPipe(host.to_owned())),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                if address.is_empty() {
                    return Err(bad("the address is missing"));
                }
                let has_port = address.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
                Ok(Self::Tcp(if has_port { address.to_owned() } else { format!("{address}:2375") }))
            }
            Some(("https", _)) => Err(bad("an Engine behind TLS is not supported yet")),
            Some(("ssh", _)) => Err(bad("an Engine over ssh is not supported; forward its socket with \
                 `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST` and use unix:///tmp/docker.sock")),
            _ => Err(bad("it is no address such as unix:///var/run/docker.sock or tcp://HOST:PORT")),
        }
    }

    /// The endpoint of a Docker context, from the files of the `docker` command: `context`, or the
    /// one that `docker context use` chose. `None` is the default context.
    ///
    /// # Errors
    /// [`EngineError::BadContext`] when the chosen context has no readable endpoint.
    pub fn of_context(docker_config: &Path, context: Option<&str>) -> Result<Option<String>, EngineError> {
        let name = match context {
            Some(name) => name.to_owned(),
            None => {
                let Ok(text) = std::fs::read_to_string(docker_config.join("config.json")) else {
                    return Ok(None);
                };
                let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                config["currentContext"].as_str().unwrap_or_default().to_owned()
            }
        };
        if name.is_empty() || name == "default" {
            return Ok(None);
        }
        let directory = sha256(name.as_bytes());
        let file = docker_config.join("contexts/meta").join(directory).join("meta.json");
        let bad = |reason: String| EngineError::BadContext { name: name.clone(), reason };
        let text = std::fs::read_to_string(&file).map_err(|e| bad(format!("{}: {e}", file.display())))?;
        let meta: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| bad(format!("{}: {e}", file.display())))?;
        match meta["Endpoints"]["docker"]["Host"].as_str() {
            Some(host) => Ok(Some(host.to_owned())),
            None => Err(bad("it has no Docker endpoint".to_owned())),
        }
    }

    /// The Engine's socket, as the Engine's machine names it: what a container has to mount. `None` where there is no
    /// socket. An Engine that is on another machine than this one, `here`, is in a virtual machine, which passes its socket
    /// on; it has it at the usual place.
    #[must_use]
    pub fn socket(&self, machine: &str, here: &str) -> Option<PathBuf> {
        let Self::Unix(path) = self else { return None };
        Some(if machine == here { path.clone() } else { PathBuf::from(USUAL_SOCKET) })
    }

    /// Whether the Engine is on another machine: containers' published ports and mounted
    /// directories are not this machine's then.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        let Self::Tcp(address) = self else {
            return false;
        };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(ip) => !ip.is_loopback(),
            Err(_) => host != "localhost",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::NamedPipe(name) => f.write_str(name),
        }
    }
}

const DEFAULT: &str =
    if cfg!(windows) { "npipe:////./pipe/docker_engine" } else { "unix:///var/run/docker.sock" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_mounts_the_socket_that_the_engines_machine_has() {
        let rootless = Endpoint::parse(Some("unix:///run/user/1000/docker.sock")).unwrap();
        assert_eq!(rootless.socket("laptop", "laptop"), Some("/run/user/1000/docker.sock".into()));
        assert_eq!(rootless.socket("docker-desktop", "laptop"), Some("/var/run/docker.sock".into()));
        assert_eq!(Endpoint::parse(Some("tcp://127.0.0.1:2375")).unwrap().socket("laptop", "laptop"), None);
    }

    #[test]
    fn docker_host_is_read_as_the_docker_command_reads_it() {
        for (host, shown, remote) in [
            (None, DEFAULT, false),
            (Some(""), DEFAULT, false),
            (Some("unix:///run/user/1000/docker.sock"), "unix:///run/user/1000/docker.sock", false),
            (Some("tcp://127.0.0.1:2375"), "tcp://127.0.0.1:2375", false),
            (Some("tcp://localhost"), "tcp://localhost:2375", false),
            (Some("tcp://[::1]:2375/"), "tcp://[::1]:2375", false),
            (Some("tcp://10.0.0.7:2375"), "tcp://10.0.0.7:2375", true),
            (Some("tcp://build.example.com:2375"), "tcp://build.example.com:2375", true),
        ] {
            let endpoint = Endpoint::parse(host).unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_remote()), (shown, remote));
        }
    }

    #[test]
    fn hosts_that_cannot_be_used_say_what_to_do() {
        let message = Endpoint::parse(Some("ssh://me@box")).unwrap_err().to_string();
        assert!(message.contains("ssh -nNT -L"), "{message}");
        assert!(Endpoint::parse(Some("box")).is_err());
        assert!(Endpoint::parse(Some("unix://relative")).is_err());
    }

    #[test]
    fn the_chosen_context_is_found_where_the_docker_command_keeps_it() {
        let config = tempfile::tempdir().unwrap();
        assert_eq!(Endpoint::of_context(config.path(), None).unwrap(), None);
        std::fs::write(config.path().join("config.json"), r#"{"currentContext":"colima"}"#).unwrap();
        assert!(Endpoint::of_context(config.path(), None).unwrap_err().to_string().contains("colima"));
        let meta = config.path().join("contexts/meta").join(sha256(b"colima"));
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Endpoints":{"docker":{"Host":"unix:///c.sock"}}}"#)
            .unwrap();
        assert_eq!(Endpoint::of_context(config.path(), None).unwrap().as_deref(), Some("unix:///c.sock"));
    }
}
