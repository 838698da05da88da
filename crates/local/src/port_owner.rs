//! Who has a TCP port of this machine.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::engine::{EngineError, EngineReader};

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortOwner {
    /// A container that publishes it.
    Container {
        /// Its name.
        name: String,
        /// The Compose project it belongs to.
        project: Option<String>,
    },
    /// A process of this machine.
    Process {
        /// Its number.
        pid: u32,
        /// Its program.
        program: String,
    },
    /// Somebody; the system does not tell this user who.
    Unknown {
        /// The port.
        port: u16,
    },
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { name, project: Some(project) } => {
                write!(f, "the container {name} of the Compose project {project}")
            }
            Self::Container { name, project: None } => write!(f, "the container {name}"),
            Self::Process { pid, program } => write!(f, "the process {pid} ({program})"),
            Self::Unknown { port } => {
                write!(
                    f,
                    "a process that is not yours to see (`sudo lsof -nP -iTCP:{port} -sTCP:LISTEN` names it)"
                )
            }
        }
    }
}

/// Finds out who has `port`: containers first, since their ports are held by the Engine's own
/// processes, whose names explain nothing.
///
/// # Errors
/// When the Engine does not answer.
pub async fn find(reader: &EngineReader, port: u16) -> Result<PortOwner, EngineError> {
    let deadline = Instant::now() + LISTED_WITHIN;
    loop {
        if let Some(container) = publisher(reader, port).await? {
            return Ok(container);
        }
        match process(Path::new("/proc"), port).unwrap_or(PortOwner::Unknown { port }) {
            // The Engine publishes ports before it lists a container as running. Of that it tells nobody.
            // Whose it is may not be ours to see.
            PortOwner::Process { pid, program } if program != PROXY => {
                return Ok(PortOwner::Process { pid, program });
            }
            _ if Instant::now() < deadline => tokio::time::sleep(AGAIN_IN).await,
            other => return Ok(other),
        }
    }
}

/// The Engine's process that holds a published port.
const PROXY: &str = "docker-proxy";
/// How long the Engine may take to list the container.
const LISTED_WITHIN: Duration = Duration::from_secs(2);
const AGAIN_IN: Duration = Duration::from_millis(100);

async fn publisher(reader: &EngineReader, port: u16) -> Result<Option<PortOwner>, EngineError> {
    let options = ListContainersOptionsBuilder::default().build();
    let containers =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing containers"))?;
    let publisher = containers.into_iter().find(|container| {
        container.ports.as_ref().is_some_and(|ports| ports.iter().any(|p| p.public_port == Some(port)))
    });
    Ok(publisher.map(|container| {
        let name = container.names.and_then(|n| n.into_iter().next()).unwrap_or_default();
        PortOwner::Container {
            name: name.trim_start_matches('/').to_owned(),
            project: container.labels.and_then(|mut l| l.remove("com.docker.compose.project")),
        }
    }))
}

fn process(proc: &Path, port: u16) -> Option<PortOwner> {
    let sockets: BTreeSet<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    std::fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let holds = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|to| to.to_str().is_some_and(|to| sockets.contains(to)))
        });
        let program = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        holds.then(|| PortOwner::Process { pid, program: program.trim().to_owned() })
    })
}

/// The inodes of the sockets that listen on `port` in a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, local) = fields.get(1)?.rsplit_once(':')?;
            let here = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == LISTEN;
            here.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_found_by_its_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if !cfg!(target_os = "linux") {
            return;
        }
        let owner = process(Path::new("/proc"), port).unwrap();
        assert!(matches!(owner, PortOwner::Process { pid, .. } if pid == std::process::id()), "{owner}");
    }
}
