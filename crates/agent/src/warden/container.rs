//! A container as the Engine tells it.

use std::collections::HashMap;
use std::time::Duration;

use envctl_wire::labels::{self, Role};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A container of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) role: Role,
    pub(super) status: Status,
    /// Whether its programs run now, and something can be done in it.
    pub(super) is_running: bool,
    /// Whether its health check passes, if it has one. Only of one that runs this means something.
    pub(super) is_healthy: bool,
    /// Why the Engine could not start it, in its words.
    pub(super) error: String,
    pub(super) exit_code: i64,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    pub(super) restart: Restart,
    pub(super) env: Vec<String>,
    /// How long it may take to end.
    pub(super) grace: Duration,
    /// The id of the sandbox in whose network it is.
    pub(super) sandbox: Option<String>,
}

/// Seconds that the Engine gives to a container that does not say how long it may take to end.
const ENGINES_GRACE: u64 = 10;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Never started.
    Created,
    /// Runs, or is just being started again by the Engine.
    Up,
    Ended,
}

/// When the Engine starts it again after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Container {
    /// Reads what `inspect` says. `None` for one that is nobody's business here: without a role that we know.
    pub(super) fn read(inspected: &Value) -> Option<Self> {
        let Inspected { id, name, config, state, host_config } = Inspected::deserialize(inspected).ok()?;
        let labels = config.labels.unwrap_or_default();
        let role = Role::parse(labels.get(labels::ROLE)?)?;
        Some(Self {
            id,
            name: name.trim_start_matches('/').to_owned(),
            role,
            status: match state.status.as_str() {
                "created" => Status::Created,
                "running" | "restarting" | "paused" => Status::Up,
                _ => Status::Ended,
            },
            is_running: state.status == "running",
            is_healthy: state.health.is_some_and(|health| health.status == "healthy"),
            error: state.error,
            exit_code: state.exit_code,
            started: time(&state.started_at),
            finished: time(&state.finished_at),
            restart: match host_config.restart_policy.name.as_str() {
                "always" | "unless-stopped" => Restart::Always,
                "on-failure" => Restart::OnFailure,
                _ => Restart::Never,
            },
            env: config.env.unwrap_or_default(),
            grace: Duration::from_secs(config.stop_timeout.unwrap_or(ENGINES_GRACE)),
            sandbox: host_config.network_mode.strip_prefix("container:").map(str::to_owned),
            labels,
        })
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    pub(super) fn is_up(&self) -> bool {
        self.status == Status::Up
    }

    /// Its place in its pod.
    pub(super) fn index(&self) -> usize {
        self.label(labels::INDEX).and_then(|index| index.parse().ok()).unwrap_or(usize::MAX)
    }
}

/// Those without a time have none of the year 1.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at| *at > Timestamp::UNIX_EPOCH)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    config: Config,
    state: State,
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<HashMap<String, String>>,
    env: Option<Vec<String>>,
    stop_timeout: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    error: String,
    exit_code: i64,
    started_at: String,
    finished_at: String,
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: RestartPolicy,
    #[serde(default)]
    network_mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: String,
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A container of the pod `web-0` that started and ended at these seconds.
    pub(in crate::warden) fn container(role: Role, status: Status, started: i64, finished: i64) -> Container {
        let at = |second| Timestamp::from_second(second).ok().filter(|_| second > 0);
        Container {
            id: format!("id-{role}"),
            name: format!("shop-{role}-1"),
            labels: HashMap::from([(labels::POD.to_owned(), "web-0".to_owned())]),
            role,
            status,
            is_running: status == Status::Up,
            is_healthy: false,
            error: String::new(),
            exit_code: 0,
            started: at(started),
            finished: at(finished),
            restart: Restart::Always,
            env: Vec::new(),
            grace: Duration::from_secs(ENGINES_GRACE),
            sandbox: None,
        }
    }

    #[test]
    fn what_the_engine_says_is_read() {
        let mut inspected = json!({
            "Id": "x", "Name": "/shop-web-0.web-1",
            "Config": {"Labels": {"dev.envctl.role": "container", "dev.envctl.index": "2"}, "Env": ["A=b"], "StopTimeout": 30},
            "State": {"Status": "exited", "Error": "no", "ExitCode": 3, "StartedAt": "2026-11-30T19:00:00.12Z",
                "FinishedAt": "0001-01-01T00:00:00Z"},
            "HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 6}, "NetworkMode": "container:abc"},
        });
        let container = Container::read(&inspected).unwrap();
        assert_eq!(
            (container.name.as_str(), container.index(), container.role),
            ("shop-web-0.web-1", 2, Role::Container)
        );
        assert_eq!(
            (container.status, container.restart, container.exit_code),
            (Status::Ended, Restart::OnFailure, 3)
        );
        assert!(container.started.is_some() && container.finished.is_none());
        assert_eq!((container.grace.as_secs(), container.sandbox.as_deref()), (30, Some("abc")));
        inspected["State"]["Status"] = "restarting".into();
        inspected["State"]["Health"] = json!({"Status": "healthy", "FailingStreak": 0, "Log": []});
        let again = Container::read(&inspected).unwrap();
        assert!(again.is_up() && !again.is_running && again.is_healthy && !container.is_healthy);
        inspected["Config"]["Labels"] = Value::Null;
        assert_eq!(Container::read(&inspected), None);
    }
}
