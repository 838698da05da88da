//! The old side of a rehearsal: containers of a Compose file that play machines.
//!
//! ```text
//! compose      the file as it is delivered: pure
//! lifetimes    what becomes of each machine, as it happens
//! power        stopped, started, killed
//! inspection   what they are made of, and how they are configured
//! lines        what they say, also after they were started again
//! command      run to its end in them
//! tool         a program in a container like one of a service, joined to pipes
//! ```

mod command;
mod compose;
mod error;
mod inspection;
mod lifetimes;
mod lines;
mod power;
mod tool;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptionsBuilder;
use envctl_model::labels::{self, Role};
use envctl_model::receipt::{End, Item};
use envctl_programs::process::{Command, Input, Stream, Supervisor};
use jiff::Timestamp;

pub use error::MachinesError;
pub use inspection::Fingerprint;
pub use power::Stopped;
pub use tool::{Tool, ToolInput, ToolLines};

use crate::backing::{COMPOSE_PROJECT, COMPOSE_SERVICE};
use crate::docker_cli::DockerCli;
use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use crate::state::{ContainerState, Health};
use crate::{images, remove, state};

/// What is brought up.
#[derive(Debug, Clone)]
pub struct MachinesSpec {
    /// The Compose project: it names all that is made.
    pub project: String,
    /// The Compose file.
    pub file: PathBuf,
    /// The service whose containers play the machines. What it depends on comes up with it.
    pub service: String,
    /// Other services that come up, for tools.
    pub tools: Vec<String>,
    /// How many of them.
    pub instances: u32,
    /// Whose all of it is: the value of the label [`labels::IDENTITY`].
    pub identity: String,
    /// The values of `${...}` in the file. They may be secret: they are handed over in variables.
    pub facts: BTreeMap<String, String>,
    /// Networks that all services join beside their own, by name.
    pub networks: Vec<String>,
    /// How long the machines may take to be ready.
    pub within: Duration,
}

/// The machines of one service.
#[derive(Debug, Clone)]
pub struct Machines {
    engine: VerifiedEngine,
    project: String,
    service: String,
    identity: String,
}

/// A machine as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name: the container's.
    pub instance: String,
    /// Its host name, by which its programs know it.
    pub host_name: String,
    /// Its addresses by the name of the network. They may be others after it was started again.
    pub addresses: BTreeMap<String, IpAddr>,
    /// Whether it runs.
    pub is_running: bool,
    /// Whether it runs and its health check, if it has one, is content.
    pub is_ready: bool,
    id: String,
}

impl Machines {
    /// Brings the machines up, and waits until all are ready. What of it was made when this fails is found by
    /// [`Machines::of`] and removed by [`Machines::remove`].
    ///
    /// # Errors
    /// When the file is refused, or asks for what is not given; when Compose fails, in its words; when a machine
    /// ends, or is not ready in time; when the supervisor's signals ask to stop.
    pub async fn up(
        engine: &VerifiedEngine,
        cli: &DockerCli,
        supervisor: &Supervisor,
        spec: &MachinesSpec,
        line: impl FnMut(Stream, &str),
    ) -> Result<Self, MachinesError> {
        if !spec.file.is_file() {
            return Err(MachinesError::Missing(spec.file.clone()));
        }
        let command = || command(&cli.on(engine), spec);
        let file = spec.file.as_os_str();
        let resolved = command().arg("-f").arg(file).args(["config", "--format", "json"]);
        let output = resolved.whole_stdout().run(supervisor).await?;
        let variables = compose::unset(&output.stderr);
        if !variables.is_empty() {
            let given = spec.facts.keys().cloned().collect();
            return Err(MachinesError::Unset { file: spec.file.clone(), variables, given });
        }
        let resolved = serde_json::from_slice(&output.stdout)
            .map_err(|e| MachinesError::Unreadable { file: spec.file.clone(), reason: e.to_string() })?;
        let delivered = compose::delivered(resolved, spec)?.to_string();
        let since = Timestamp::now();
        let scale = format!("{}={}", spec.service, spec.instances);
        command()
            .args(["-f", "-", "up", "--detach", "--build", "--scale", &scale, "--", &spec.service])
            .args(spec.tools.iter().filter(|tool| **tool != spec.service).cloned())
            .input(Input::Bytes(delivered.into()))
            .run_with_lines(supervisor, line)
            .await?;
        let machines = Self::of(engine, &spec.project, &spec.service, &spec.identity);
        tokio::select! {
            ready = machines.ready(since, spec.within, |_| true) => ready.map(|()| machines.clone()),
            () = supervisor.signals.asked() => Err(MachinesError::Interrupted),
        }
    }

    /// The machines of a service that were brought up before, by this process or another one.
    #[must_use]
    pub fn of(engine: &VerifiedEngine, project: &str, service: &str, identity: &str) -> Self {
        Self {
            engine: engine.clone(),
            project: project.to_owned(),
            service: service.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// All of them by name, stopped ones, too.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn list(&self) -> Result<Vec<Machine>, EngineError> {
        let reader = self.reader();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&self.filter()).build();
        let listed = reader.docker().list_containers(Some(options)).await;
        let mut machines = Vec::new();
        for container in listed.map_err(reader.failed("listing the machines of the old side"))? {
            let Some(id) = container.id else { continue };
            // One that vanished between the two calls is not there.
            let Some(actual) = state::container(reader, &id).await? else { continue };
            let endpoints =
                container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            let addresses = endpoints
                .into_iter()
                .filter_map(|(network, endpoint)| Some((network, endpoint.ip_address?.parse().ok()?)))
                .collect();
            let is_running = actual.state == ContainerState::Running;
            let is_ready = is_running && matches!(actual.health, None | Some(Health::Healthy));
            let Some(host_name) = self.host_name(&id).await? else { continue };
            machines.push(Machine { instance: actual.name, host_name, addresses, is_running, is_ready, id });
        }
        machines.sort_by(|a, b| a.instance.cmp(&b.instance));
        Ok(machines)
    }

    /// Removes all containers of the project, tools among them, its networks, its volumes, and the images that were
    /// built for it. Returns how each ended, as it was looked up afterwards.
    ///
    /// # Errors
    /// When the Engine does not answer. What it refuses to remove is no error but `left`.
    pub async fn remove(&self) -> Result<Vec<(End, Item)>, EngineError> {
        let mut ends = remove::project(&self.engine, &self.identity, &self.project).await?;
        ends.extend(images::remove_built(&self.engine, &self.project).await?);
        Ok(ends)
    }

    /// None for one that vanished.
    async fn host_name(&self, id: &str) -> Result<Option<String>, EngineError> {
        let reader = self.reader();
        let inspected = reader.docker().inspect_container(id, None).await;
        let inspected = found(inspected.map_err(reader.failed("looking at a machine of the old side")))?;
        Ok(inspected.map(|container| container.config.and_then(|config| config.hostname).unwrap_or_default()))
    }

    async fn machine(&self, instance: &str) -> Result<Machine, MachinesError> {
        let all = self.list().await?;
        let there = || all.iter().map(|machine| machine.instance.clone()).collect();
        all.iter()
            .find(|machine| machine.instance == instance)
            .cloned()
            .ok_or_else(|| MachinesError::NoMachine { instance: instance.to_owned(), there: there() })
    }

    fn reader(&self) -> &EngineReader {
        self.engine.reader()
    }

    /// What the Engine finds the machines by.
    fn filter(&self) -> HashMap<String, Vec<String>> {
        let marks = [
            (labels::IDENTITY, self.identity.as_str()),
            (labels::ROLE, Role::Machine.as_str()),
            (COMPOSE_PROJECT, &self.project),
            (COMPOSE_SERVICE, &self.service),
        ];
        HashMap::from([("label".to_owned(), marks.map(|(key, value)| format!("{key}={value}")).to_vec())])
    }
}

fn command(cli: &DockerCli, spec: &MachinesSpec) -> Command {
    cli.compose()
        .args(["--ansi", "never", "--progress", "plain", "-p", &spec.project, "--project-directory"])
        .arg(compose::directory(&spec.file).as_os_str())
        .envs(spec.facts.iter().map(|(name, value)| (name.clone(), value.clone())))
}
