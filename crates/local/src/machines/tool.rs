//! A program beside the machines, joined to pipes: it is made like a container of a service, and outlives it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use envctl_model::labels::{self, Role};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{Machines, MachinesError};
use crate::backing::{COMPOSE_PROJECT, COMPOSE_SERVICE};
use crate::engine::{EngineError, VerifiedEngine, found};
use crate::state;

/// The label by which Compose knows a container that is none of a service's replicas.
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// A program that runs. Its container, and so every process in it, goes when this is dropped.
#[derive(Debug)]
pub struct Tool {
    /// What it reads.
    pub input: ToolInput,
    /// What it writes.
    pub lines: ToolLines,
    container: OwnContainer,
}

/// The standard input of a tool.
pub struct ToolInput {
    name: String,
    write: Pin<Box<dyn AsyncWrite + Send>>,
}

/// The standard output of a tool, by lines.
pub struct ToolLines {
    chunks: BoxStream<'static, Result<LogOutput, EngineError>>,
    partial: Vec<u8>,
    said: Vec<u8>,
}

impl std::fmt::Debug for ToolInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToolInput({})", self.name)
    }
}

impl std::fmt::Debug for ToolLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ToolLines")
    }
}

#[derive(Debug)]
struct OwnContainer {
    engine: VerifiedEngine,
    id: String,
}

impl Machines {
    /// Starts a program in a container of its own that is made like one of a service of the machines' file: same image,
    /// environment, volumes and networks. `name` tells it from other tools; one of the same name that an earlier run
    /// left is replaced.
    ///
    /// # Errors
    /// When there is no container to make it like, or the Engine refuses, for instance because the image has no such
    /// program.
    pub async fn tool(&self, name: &str, service: &str, command: &[String]) -> Result<Tool, MachinesError> {
        let docker = self.engine.docker();
        let failed = self.engine.failed(&format!("running the tool {name}"));
        let options =
            ListContainersOptionsBuilder::default().all(true).filters(&self.members(service)).build();
        let listed = docker.list_containers(Some(options)).await.map_err(&failed)?;
        let Some(like) = listed.into_iter().find_map(|container| container.id) else {
            return Err(MachinesError::NoMachine { instance: service.to_owned(), there: Vec::new() });
        };
        let like = docker.inspect_container(&like, None).await.map_err(&failed)?;
        let full = format!("{}-tool-{name}", self.project);
        remove(&self.engine, &full).await?;
        let config = like.config.unwrap_or_default();
        let host = like.host_config.unwrap_or_default();
        let networks = like.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        // An Engine of before API 1.44 takes one network when a container is made.
        let mut networks: Vec<String> = networks.into_keys().collect();
        networks.sort();
        let first = networks.first().cloned();
        let body = ContainerCreateBody {
            image: config.image,
            env: config.env,
            user: config.user,
            working_dir: config.working_dir,
            entrypoint: Some(command.to_vec()),
            cmd: Some(Vec::new()),
            labels: Some(self.tool_marks(service)),
            healthcheck: Some(bollard::models::HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..Default::default()
            }),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            host_config: Some(HostConfig {
                binds: host.binds,
                mounts: host.mounts,
                extra_hosts: host.extra_hosts,
                // Signals reach the tool as they would on a machine, where it is not the first process.
                init: Some(true),
                network_mode: first.clone(),
                ..HostConfig::default()
            }),
            networking_config: first.map(|network| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, EndpointSettings::default())])),
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&full).build();
        let id = docker.create_container(Some(options), body).await.map_err(&failed)?.id;
        let container = OwnContainer { engine: self.engine.clone(), id };
        for network in networks.into_iter().skip(1) {
            let request = bollard::models::NetworkConnectRequest {
                container: container.id.clone(),
                endpoint_config: None,
            };
            docker.connect_network(&network, request).await.map_err(&failed)?;
        }
        let options = AttachContainerOptionsBuilder::default();
        let options = options.stdin(true).stdout(true).stderr(true).stream(true).build();
        let attached = docker.attach_container(&container.id, Some(options)).await.map_err(&failed)?;
        let started = docker.start_container(&container.id, None::<StartContainerOptions>).await;
        started.map_err(&failed)?;
        Ok(Tool {
            input: ToolInput { name: full, write: attached.input },
            lines: ToolLines {
                chunks: attached.output.map_err(failed).boxed(),
                partial: Vec::new(),
                said: Vec::new(),
            },
            container,
        })
    }

    /// What the Engine finds the containers of a service by, its tools not among them.
    pub(super) fn members(&self, service: &str) -> HashMap<String, Vec<String>> {
        let marks = [
            (labels::IDENTITY, self.identity.as_str()),
            (COMPOSE_PROJECT, &self.project),
            (COMPOSE_SERVICE, service),
            (ONE_OFF, "False"),
        ];
        HashMap::from([("label".to_owned(), marks.map(|(key, value)| format!("{key}={value}")).to_vec())])
    }

    fn tool_marks(&self, service: &str) -> HashMap<String, String> {
        let marks = [
            (labels::IDENTITY, self.identity.as_str()),
            (labels::ROLE, Role::Tool.as_str()),
            (COMPOSE_PROJECT, &self.project),
            (COMPOSE_SERVICE, service),
            (ONE_OFF, "True"),
        ];
        marks.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl ToolInput {
    /// Hands it one line.
    ///
    /// # Errors
    /// When it does not read any more.
    pub async fn send(&mut self, line: &str) -> io::Result<()> {
        self.write.write_all(line.as_bytes()).await?;
        self.write.write_all(b"\n").await?;
        self.write.flush().await
    }
}

impl AsyncWrite for ToolInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write.as_mut().poll_shutdown(cx)
    }
}

impl ToolLines {
    /// The next line, without its end; none when the program has ended.
    ///
    /// # Errors
    /// When the Engine does not answer any more.
    pub async fn next(&mut self) -> Result<Option<String>, EngineError> {
        loop {
            if let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned()));
            }
            match self.chunks.try_next().await? {
                Some(LogOutput::StdErr { message }) => self.complain(&message),
                Some(chunk) => self.partial.extend_from_slice(&chunk.into_bytes()),
                None if self.partial.is_empty() => return Ok(None),
                None => {
                    let rest = std::mem::take(&mut self.partial);
                    return Ok(Some(String::from_utf8_lossy(&rest).into_owned()));
                }
            }
        }
    }

    /// The last of what the program wrote to its standard error, as far as lines were read.
    #[must_use]
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    fn complain(&mut self, chunk: &[u8]) {
        const KEPT: usize = 16 << 10;
        self.said.extend_from_slice(chunk);
        let excess = self.said.len().saturating_sub(KEPT);
        self.said.drain(..excess);
    }
}

impl Tool {
    /// Ends its input, waits until the program has ended, and removes its container. The lines that were not read
    /// are lost. Gives its exit code.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn close(self) -> Result<i64, EngineError> {
        let Self { mut input, mut lines, container } = self;
        // One that has ended already does not mind.
        let _ = input.write.shutdown().await;
        let reading = async { while let Ok(Some(_)) = lines.next().await {} };
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut over = container.engine.docker().wait_container(&container.id, Some(options));
        // How it ended stands with the container; a connection that breaks shows there, too.
        let _ = tokio::join!(reading, over.next());
        let ended = state::container(container.engine.reader(), &container.id).await?;
        remove(&container.engine, &container.id).await?;
        Ok(ended.and_then(|container| container.exit_code).unwrap_or(-1))
    }
}

impl Drop for OwnContainer {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), std::mem::take(&mut self.id));
        // Without a runtime the process is about to end, and who cleans up after it finds the container by its marks.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&engine, &id).await });
        }
    }
}

async fn remove(engine: &VerifiedEngine, container: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let removed = engine.docker().remove_container(container, Some(options)).await;
    match found(removed.map_err(engine.failed("removing a tool"))) {
        // Somebody else is removing it.
        Err(error) if error.is_conflict() => Ok(()),
        removed => removed.map(drop),
    }
}
