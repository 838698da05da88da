//! The `docker` and `docker compose` commands, bound to the Engine that was verified.

use std::ffi::OsString;

use envctl_programs::process::Command;

use crate::engine::{EngineReader, VerifiedEngine};

const HOW_TO_GET: &str = "https://docs.docker.com/engine/install (docker) and \
                          https://docs.docker.com/compose/install (the compose plugin)";

/// How to start Docker's programs.
#[derive(Debug, Clone)]
pub struct DockerCli {
    docker: Vec<OsString>,
    compose: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    endpoint: String,
}

impl DockerCli {
    /// The programs as found by the caller: `["docker"]`, and `["docker", "compose"]` or
    /// `["docker-compose"]`. `environment` is set for both (`DOCKER_CONFIG`, for instance).
    #[must_use]
    pub fn new(
        reader: &EngineReader,
        docker: Vec<OsString>,
        compose: Vec<OsString>,
        environment: Vec<(OsString, OsString)>,
    ) -> Self {
        Self { docker, compose, environment, endpoint: reader.endpoint().to_string() }
    }

    /// The same programs, talking to this very Engine.
    #[must_use]
    pub fn on(&self, engine: &VerifiedEngine) -> Self {
        Self { endpoint: engine.facts().endpoint.clone(), ..self.clone() }
    }

    /// `docker`.
    #[must_use]
    pub fn docker(&self) -> Command {
        self.command(&self.docker)
    }

    /// `docker compose`.
    #[must_use]
    pub fn compose(&self) -> Command {
        self.command(&self.compose)
    }

    fn command(&self, program: &[OsString]) -> Command {
        let (program, arguments) =
            program.split_first().map_or((OsString::from("docker"), &[][..]), |(p, a)| (p.clone(), a));
        Command::new(program)
            .args(arguments.iter().cloned())
            .envs(self.environment.iter().cloned())
            // DOCKER_HOST wins over contexts, so the program cannot end up at another Engine.
            .env("DOCKER_HOST", &self.endpoint)
            .env_remove("DOCKER_CONTEXT")
            // Variables with which a user steers their own Compose projects, not ours.
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_PROFILES")
            .env_remove("COMPOSE_REMOVE_ORPHANS")
            .how_to_get(HOW_TO_GET)
    }
}
