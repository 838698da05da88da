//! The Docker Engine and the programs of this machine, found and checked.

use std::ffi::OsString;

use envctl_local::docker_cli::DockerCli;
use envctl_local::engine::{Endpoint, Engine, EngineError, EngineReader, VerifiedEngine};
use envctl_local::lock;
use envctl_programs::process::Supervisor;
use envctl_runner::StepError;
use envctl_translate::Warden;
use jiff::Timestamp;

use crate::config::{Base, Settings};
use crate::flows::step_error::failure;
use crate::ui::Failure;

/// What the local target works with.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Looks.
    pub(crate) reader: EngineReader,
    /// Changes things; its identity was checked.
    pub(crate) engine: VerifiedEngine,
    /// `docker` and `docker compose`, bound to this Engine.
    pub(crate) cli: DockerCli,
}

/// Connects to look only.
pub(crate) async fn look(base: &Base) -> Result<EngineReader, Failure> {
    let host = endpoint(base)?;
    let (reader, _) = Engine::connect(host.as_deref()).await.map_err(|e| explain(&e))?;
    Ok(reader)
}

impl Machine {
    /// Connects, and checks that this is the Engine `expected` (if an environment has one already).
    pub(crate) async fn connect(base: &Base, expected: Option<&str>) -> Result<Self, Failure> {
        let reader = look(base).await?;
        let engine = reader.verify(expected).await.map_err(|e| explain(&e))?;
        let cli = docker_cli(base, &reader).on(&engine);
        Ok(Self { reader, engine, cli })
    }

    /// Who guards an environment here.
    pub(crate) fn warden(&self, settings: &Settings, expires: Option<Timestamp>) -> Warden {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        match self.reader.endpoint().socket(&self.engine.facts().name, &machine) {
            _ if !settings.warden.value => Warden::Off("the target says `warden: false`"),
            // What a virtual machine has at the usual place may be another Engine's.
            Some(_) if self.engine.facts().rootless && self.engine.facts().name != machine => Warden::Off(
                "the Engine runs without root on another machine: where its socket is, is not known",
            ),
            None => Warden::Off("the Engine has no Unix socket that a container could have"),
            Some(socket) => Warden::At {
                socket: socket.display().to_string(),
                lock: lock::name(settings.name.value.as_str()),
                expires: expires.map(Timestamp::as_second),
            },
        }
    }

    /// Compose's version.
    pub(crate) async fn compose_version(&self) -> Result<(u32, u32, u32), Failure> {
        let output =
            self.cli.compose().args(["version", "--short"]).run(&Supervisor::default()).await.map_err(
                |_| {
                    Failure::Failed(
                        "docker compose is not installed\n  get it: https://docs.docker.com/compose/install"
                            .to_owned(),
                    )
                },
            )?;
        let text = output.stdout_text().trim().trim_start_matches('v').to_owned();
        let mut parts = text.split(['.', '-', '+']).map_while(|part| part.parse().ok());
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if version < OLDEST_COMPOSE {
            return Err(Failure::Failed(format!(
                "docker compose {text} is too old: 2.23.1 or newer is needed\n  get it: https://docs.docker.com/compose/install"
            )));
        }
        Ok(version)
    }
}

/// `configs.content` came with 2.23.1.
const OLDEST_COMPOSE: (u32, u32, u32) = (2, 23, 1);

/// `docker` and `docker compose` for the Engine of `reader`.
pub(crate) fn docker_cli(base: &Base, reader: &EngineReader) -> DockerCli {
    let programs = &base.programs;
    DockerCli::new(
        reader,
        vec![OsString::from(programs.docker.value.clone())],
        programs.compose.value.clone(),
        Vec::new(),
    )
}

fn endpoint(base: &Base) -> Result<Option<String>, Failure> {
    if let Some(host) = &base.variables.docker_host {
        return Ok(Some(host.clone()));
    }
    let config =
        base.variables.docker_config.clone().or_else(|| dirs::home_dir().map(|home| home.join(".docker")));
    match config {
        Some(config) => {
            Endpoint::of_context(&config, base.variables.docker_context.as_deref()).map_err(|e| explain(&e))
        }
        None => Ok(None),
    }
}

/// An Engine's error with what to do about it.
pub(crate) fn explain(error: &EngineError) -> Failure {
    let text = match error.hint() {
        Some(hint) => format!("{error}\n  {hint}"),
        None => error.to_string(),
    };
    match error {
        EngineError::OtherEngine { .. } => Failure::Refused(text),
        _ => Failure::Failed(text),
    }
}

/// An Engine's error as a step's.
pub(crate) fn engine(error: EngineError) -> StepError {
    failure(explain(&error))
}
