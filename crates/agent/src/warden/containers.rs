//! The environment's containers: found, started, ended. Nothing without the environment's identity is ever named.

use envctl_wire::labels;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::json;

use super::container::{Container, Status};
use super::engine::{Engine, EngineError, query};
use super::{deadline, ending};

/// The containers of one environment.
#[derive(Debug, Clone)]
pub(super) struct Containers {
    pub(super) engine: Engine,
    pub(super) identity: String,
}

/// A container that runs to its end before others start did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0} ended with code {1}")]
    Ended(String, i64),
    #[error("{0} is not started: the pod's `activeDeadlineSeconds` are over")]
    Over(String),
}

impl Containers {
    /// All with this label, by name: `KEY` or `KEY=VALUE`. Templates are not among them, unless they are asked for.
    pub(super) async fn with(&self, label: &str) -> Result<Vec<Container>, EngineError> {
        let identity = format!("{}={}", labels::IDENTITY, self.identity);
        let filters = json!({"label": [identity, label]}).to_string();
        let listed = self.engine.get(&format!("/containers/json?all=1&filters={}", query(&filters))).await?;
        let ids = listed.as_array().into_iter().flatten().filter_map(|container| container["Id"].as_str());
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.one(id).await?);
        }
        let templates = label == labels::SCHEDULE;
        found.retain(|container: &Container| container.labels.contains_key(labels::SCHEDULE) == templates);
        found.sort_by(|a, b| (a.index(), &a.name).cmp(&(b.index(), &b.name)));
        Ok(found)
    }

    /// One by its id; `None` if it is gone, or not of this environment.
    pub(super) async fn one(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let inspected = self.engine.find(&format!("/containers/{id}/json")).await?;
        let container = inspected.as_ref().and_then(Container::read);
        Ok(container.filter(|container| container.label(labels::IDENTITY) == Some(&self.identity)))
    }

    /// The containers of a pod, in starting order.
    pub(super) async fn of_pod(&self, pod: &str) -> Result<Vec<Container>, EngineError> {
        self.with(&format!("{}={pod}", labels::POD)).await
    }

    /// Starts a container; one that runs is left alone.
    pub(super) async fn start(&self, container: &Container) -> Result<(), EngineError> {
        self.act(container, "start").await
    }

    /// Ends and starts it, with its preStop hook and its own grace period.
    pub(super) async fn restart(&self, container: &Container) -> Result<(), EngineError> {
        self.end(container, "restart").await
    }

    /// Ends these at the same time, each with its preStop hook and its own grace period.
    pub(super) async fn stop(&self, containers: impl Iterator<Item = &Container>) -> Result<(), EngineError> {
        try_join_all(containers.map(|container| self.end(container, "stop"))).await.map(drop)
    }

    async fn end(&self, container: &Container, how: &str) -> Result<(), EngineError> {
        // How it is now: it may have been looked at before it was started.
        let now = match container.label(labels::BEFORE_STOP) {
            Some(_) => self.one(&container.id).await?,
            None => None,
        };
        let left = match now.filter(|now| now.is_running) {
            Some(now) => ending::prepare(&self.engine, &now).await,
            None => None,
        };
        let left = left.map(|left| format!("?t={}", left.as_secs())).unwrap_or_default();
        self.act(container, &format!("{how}{left}")).await
    }

    /// Waits until a container has ended and is not started again. How it is then.
    pub(super) async fn ended(&self, container: &Container) -> Result<Option<Container>, EngineError> {
        loop {
            self.act(container, "wait").await?;
            match self.one(&container.id).await? {
                Some(again) if again.is_up() => {}
                ended => return Ok(ended),
            }
        }
    }

    async fn act(&self, container: &Container, what: &str) -> Result<(), EngineError> {
        self.engine.post(&format!("/containers/{}/{what}", container.id), None).await.map(drop)
    }

    /// Ends what runs of a pod, and starts all of it in order: what runs once, once more.
    pub(super) async fn start_anew(&self, pod: &[Container]) -> Result<(), StartError> {
        let of = |sandbox: bool| {
            pod.iter().filter(move |member| (member.role == labels::Role::Sandbox) == sandbox)
        };
        self.stop(of(false).filter(|member| member.is_up())).await?;
        for sandbox in of(true) {
            self.start(sandbox).await?;
        }
        for member in of(false) {
            self.start(member).await?;
            if member.role.is_run_once() {
                self.succeeded(member).await?;
            }
        }
        Ok(())
    }

    /// Goes on with a pod where it stands: starts what was never started, in order, each after what comes before it.
    pub(super) async fn go_on(&self, pod: &[Container]) -> Result<(), StartError> {
        let sandbox = pod.iter().find(|member| member.label(labels::DEADLINE).is_some());
        for member in pod {
            if member.status == Status::Created {
                if let Some(sandbox) = sandbox.filter(|sandbox| sandbox.id != member.id)
                    && let Some(at) = self.one(&sandbox.id).await?.as_ref().and_then(deadline::ends_at)
                    && at <= Timestamp::now()
                {
                    return Err(StartError::Over(member.name.clone()));
                }
                self.start(member).await?;
            }
            if member.role.is_run_once() {
                self.succeeded(member).await?;
            }
        }
        Ok(())
    }

    async fn succeeded(&self, member: &Container) -> Result<(), StartError> {
        match self.ended(member).await? {
            Some(ended) if ended.exit_code != 0 => Err(StartError::Ended(ended.name, ended.exit_code)),
            _ => Ok(()),
        }
    }
}
