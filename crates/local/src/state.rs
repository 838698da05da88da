//! What exists of an environment, and which of its pods differ from what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::backing::{COMPOSE_PROJECT, COMPOSE_SERVICE};
use crate::engine::{EngineError, EngineReader, found, with_label};
use envctl_model::labels::{self, Role};
use envctl_wire::BeforeStop;

/// Containers inspected at the same time.
const PARALLEL: usize = 16;

/// Everything on the Engine that carries an environment's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Containers, by name.
    pub containers: Vec<ActualContainer>,
    /// Networks.
    pub networks: Vec<Named>,
    /// Volumes.
    pub volumes: Vec<Named>,
}

/// A thing with a name. Volumes have no id beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A container as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActualContainer {
    /// Its id.
    pub id: String,
    /// Its name on the Engine.
    pub name: String,
    /// What it is for. `None` for a role of another version of envctl.
    pub role: Option<Role>,
    /// Its pod; gateway and warden have none.
    pub pod: Option<String>,
    /// The pod's workload.
    pub workload: Option<String>,
    /// Its name in the pod.
    pub container: Option<String>,
    /// The Compose service it was made for.
    pub service: Option<String>,
    /// The pod's hash when it was made.
    pub hash: Option<String>,
    /// The hash of the variables that it was made with.
    pub variables: Option<String>,
    /// Its image's id.
    pub image: String,
    /// Where it stands.
    pub state: ContainerState,
    /// The code it ended with, if it is not running.
    pub exit_code: Option<i64>,
    /// Docker's words when it could not be started.
    pub error: Option<String>,
    /// What its health check says, if it has one.
    pub health: Option<Health>,
    /// How often Docker restarted it.
    pub restarts: u64,
    /// Whether it was ended for taking more memory than it may.
    pub oom_killed: bool,
    /// When it was last started, RFC 3339.
    pub started_at: Option<String>,
    /// When it last ended, RFC 3339.
    pub finished_at: Option<String>,
    /// Of a sandbox: how many seconds its pod may run.
    pub deadline: Option<u64>,
    /// Its grace period in seconds.
    pub stop_timeout: Option<i64>,
    /// Its place among the pod's containers, as the spec has them.
    pub index: Option<usize>,
    /// What tells its pod from others, if that was made for one command.
    pub one_off: Option<String>,
    /// What it wants done before it is asked to end.
    pub before_stop: Option<BeforeStop>,
    /// The id of the sandbox in whose network it is.
    pub sandbox: Option<String>,
    /// It is never started: the warden makes others like it.
    pub is_template: bool,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Running, halted.
    Paused,
    /// Ended, and about to be started again.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed, or half removed.
    Dead,
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not yet.
    Starting,
    /// Yes.
    Healthy,
    /// No.
    Unhealthy,
}

/// Lists everything that carries an identity.
///
/// # Errors
/// When the Engine does not answer.
pub async fn inventory(reader: &EngineReader, identity: &str) -> Result<Inventory, EngineError> {
    inventory_by(reader, &with_label(labels::IDENTITY, identity)).await
}

/// Lists what carries an identity and is of a Compose project.
///
/// # Errors
/// When the Engine does not answer.
pub async fn of_project(
    reader: &EngineReader,
    identity: &str,
    project: &str,
) -> Result<Inventory, EngineError> {
    let mut filter = with_label(labels::IDENTITY, identity);
    filter.entry("label".to_owned()).or_default().push(format!("{COMPOSE_PROJECT}={project}"));
    inventory_by(reader, &filter).await
}

async fn inventory_by(reader: &EngineReader, filter: &Filter) -> Result<Inventory, EngineError> {
    let (containers, networks, volumes) =
        tokio::try_join!(containers_by(reader, filter), networks(reader, filter), volumes(reader, filter))?;
    Ok(Inventory { containers, networks, volumes })
}

type Filter = std::collections::HashMap<String, Vec<String>>;

async fn networks(reader: &EngineReader, filter: &Filter) -> Result<Vec<Named>, EngineError> {
    let options = ListNetworksOptionsBuilder::default().filters(filter).build();
    let networks =
        reader.docker().list_networks(Some(options)).await.map_err(reader.failed("listing networks"))?;
    Ok(networks.into_iter().filter_map(|n| Some(Named { id: n.id?, name: n.name? })).collect())
}

async fn volumes(reader: &EngineReader, filter: &Filter) -> Result<Vec<Named>, EngineError> {
    let options = ListVolumesOptionsBuilder::default().filters(filter).build();
    let volumes =
        reader.docker().list_volumes(Some(options)).await.map_err(reader.failed("listing volumes"))?;
    let volumes = volumes.volumes.unwrap_or_default();
    Ok(volumes.into_iter().map(|v| Named { id: v.name.clone(), name: v.name }).collect())
}

/// The runs of CronJobs: their containers and volumes.
///
/// # Errors
/// When the Engine does not answer.
pub async fn runs(reader: &EngineReader, identity: &str) -> Result<Inventory, EngineError> {
    let mut filter = with_label(labels::IDENTITY, identity);
    filter.entry("label".to_owned()).or_default().push(labels::DUE.to_owned());
    inventory_by(reader, &filter).await
}

/// The containers of an environment, by name, stopped ones too. Those that are never started are not among them.
///
/// # Errors
/// When the Engine does not answer.
pub async fn containers(reader: &EngineReader, identity: &str) -> Result<Vec<ActualContainer>, EngineError> {
    let mut all = containers_by(reader, &with_label(labels::IDENTITY, identity)).await?;
    all.retain(|container| !container.is_template);
    Ok(all)
}

/// The containers that are never started, of which those of the runs of CronJobs are made.
///
/// # Errors
/// When the Engine does not answer.
pub async fn templates(reader: &EngineReader, identity: &str) -> Result<Vec<ActualContainer>, EngineError> {
    let mut filter = with_label(labels::IDENTITY, identity);
    filter.entry("label".to_owned()).or_default().push(labels::SCHEDULE.to_owned());
    containers_by(reader, &filter).await
}

pub(crate) async fn containers_by(
    reader: &EngineReader,
    filter: &Filter,
) -> Result<Vec<ActualContainer>, EngineError> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(filter).build();
    let listed =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing containers"))?;
    let ids = listed.into_iter().filter_map(|container| container.id);
    // One that vanished between the two calls is not there: no error.
    let inspected = futures_util::stream::iter(ids.map(|id| async move { container(reader, &id).await }));
    let mut containers: Vec<_> = inspected
        .buffer_unordered(PARALLEL)
        .try_filter_map(|container| async move { Ok(container) })
        .try_collect()
        .await?;
    containers.sort_by(|a: &ActualContainer, b| a.name.cmp(&b.name));
    Ok(containers)
}

/// One container by id or name; `None` when there is none.
///
/// # Errors
/// When the Engine does not answer.
pub async fn container(reader: &EngineReader, id: &str) -> Result<Option<ActualContainer>, EngineError> {
    let inspected = reader.docker().inspect_container(id, None).await;
    Ok(found(inspected.map_err(reader.failed("inspecting a container")))?.map(actual))
}

pub(crate) fn actual(inspected: ContainerInspectResponse) -> ActualContainer {
    let config = inspected.config.unwrap_or_default();
    let mut marks = config.labels.unwrap_or_default();
    let state = inspected.state.unwrap_or_default();
    let status = match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD | ContainerStateStatusEnum::REMOVING) => ContainerState::Dead,
        _ => ContainerState::Created,
    };
    let ended = matches!(status, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting);
    ActualContainer {
        id: inspected.id.unwrap_or_default(),
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        role: marks.get(labels::ROLE).and_then(|role| Role::parse(role)),
        pod: marks.remove(labels::POD),
        workload: marks.remove(labels::WORKLOAD),
        container: marks.remove(labels::CONTAINER),
        service: marks.remove(COMPOSE_SERVICE),
        hash: marks.remove(labels::POD_HASH),
        variables: marks.remove(labels::VARIABLES),
        one_off: marks.remove(labels::ONE_OFF),
        sandbox: inspected
            .host_config
            .and_then(|config| config.network_mode)
            .and_then(|mode| Some(mode.strip_prefix("container:")?.to_owned())),
        before_stop: marks.get(labels::BEFORE_STOP).and_then(|wanted| serde_json::from_str(wanted).ok()),
        is_template: marks.contains_key(labels::SCHEDULE),
        image: inspected.image.unwrap_or_default(),
        state: status,
        exit_code: state.exit_code.filter(|_| ended),
        error: state.error.filter(|error| !error.is_empty()),
        health: match state.health.and_then(|health| health.status) {
            Some(HealthStatusEnum::STARTING) => Some(Health::Starting),
            Some(HealthStatusEnum::HEALTHY) => Some(Health::Healthy),
            Some(HealthStatusEnum::UNHEALTHY) => Some(Health::Unhealthy),
            _ => None,
        },
        restarts: inspected.restart_count.and_then(|n| n.try_into().ok()).unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        started_at: state.started_at.filter(|at| !at.starts_with("0001-")),
        finished_at: state.finished_at.filter(|at| !at.starts_with("0001-")),
        deadline: marks.get(labels::DEADLINE).and_then(|seconds| seconds.parse().ok()),
        stop_timeout: config.stop_timeout,
        index: marks.get(labels::INDEX).and_then(|index| index.parse().ok()),
    }
}

/// A pod as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredPod {
    /// Its name.
    pub name: String,
    /// The hash over everything it is made from.
    pub hash: String,
    /// How long it may run, from its sandbox's start; as the sandbox's label says.
    pub deadline: Option<Duration>,
    /// Its containers, the sandbox and seeder included.
    pub containers: Vec<DesiredContainer>,
}

/// A container as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredContainer {
    /// Its Compose service.
    pub service: String,
    /// What it is for.
    pub role: Role,
    /// Whether it runs to its end: init containers, seeders, and the containers of Jobs and hooks.
    pub run_once: bool,
    /// Its image's id, where it is known: a tag that was built anew is another image.
    pub image: Option<String>,
    /// Whether it has a health check.
    pub health: bool,
    /// How often Docker starts it again after it has ended; `None` is without end.
    pub retries: Option<u32>,
}

impl DesiredPod {
    /// Whether the pod as a whole runs to its end: a Job or a hook.
    #[must_use]
    pub fn is_run_once(&self) -> bool {
        let mut members = self.containers.iter().filter(|c| c.role == Role::Container).peekable();
        members.peek().is_some() && members.all(|c| c.run_once)
    }
}

/// Why a pod is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The container of this service does not exist.
    Missing(String),
    /// It was made from something else.
    Changed,
    /// The container of this service runs another image.
    Image(String),
    /// The container of this service ended with this code, or never ran.
    Ended(String, Option<i64>),
    /// The container of this service is not healthy.
    Unhealthy(String),
    /// The sandbox was restarted after the container of this service had started in its network.
    Orphaned(String),
    /// It was ended because it took longer than it may.
    Overdue,
}

/// Whether something of a pod ended when its time was over: how it ended says nothing then.
pub fn is_overdue<'a>(mut pod: impl Iterator<Item = &'a ActualContainer> + Clone) -> bool {
    let moment = |text: &Option<String>| text.as_ref()?.parse::<jiff::Timestamp>().ok();
    let at = pod.clone().find_map(|sandbox| {
        let seconds = i64::try_from(sandbox.deadline?).ok()?;
        moment(&sandbox.started_at)?.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
    });
    let Some(at) = at else { return false };
    pod.any(|one| {
        let ends = !matches!(one.role, Some(Role::Sandbox | Role::Sidecar));
        ends && one.state == ContainerState::Exited
            && moment(&one.finished_at).is_some_and(|ended| ended >= at)
    })
}

/// The pods that have to be made (anew), each with the reason. A pod is made as a whole, because
/// its containers share the sandbox's namespaces and run-once containers come first.
#[must_use]
pub fn changed_pods(desired: &[DesiredPod], actual: &[ActualContainer]) -> BTreeMap<String, Why> {
    let by_service: BTreeMap<&str, &ActualContainer> =
        actual.iter().filter_map(|container| Some((container.service.as_deref()?, container))).collect();
    desired.iter().filter_map(|pod| Some((pod.name.clone(), change(pod, &by_service)?))).collect()
}

fn change(pod: &DesiredPod, actual: &BTreeMap<&str, &ActualContainer>) -> Option<Why> {
    let whole = pod.is_run_once();
    let mut pairs = Vec::new();
    for wanted in &pod.containers {
        let Some(found) = actual.get(wanted.service.as_str()) else {
            return Some(Why::Missing(wanted.service.clone()));
        };
        if found.hash.as_deref() != Some(&pod.hash) {
            return Some(Why::Changed);
        }
        if wanted.image.as_ref().is_some_and(|image| *image != found.image) {
            return Some(Why::Image(wanted.service.clone()));
        }
        pairs.push((wanted, *found));
    }
    let succeeded =
        |found: &ActualContainer| found.state == ContainerState::Exited && found.exit_code == Some(0);
    // A Job that has completed is done, whatever became of its sandbox afterwards.
    let completed = pairs.iter().all(|(wanted, found)| !wanted.run_once || succeeded(found));
    if is_overdue(pairs.iter().map(|(_, found)| *found)) {
        return Some(Why::Overdue);
    }
    if whole && completed {
        return None;
    }
    let started = |found: &ActualContainer| found.started_at.as_ref()?.parse::<jiff::Timestamp>().ok();
    let sandbox = pairs.iter().find(|(_, found)| found.role == Some(Role::Sandbox)).map(|(_, found)| *found);
    if let Some(restarted) = sandbox.and_then(started) {
        // Members keep the namespaces of the sandbox as it was when they started.
        let orphan = pairs.iter().find(|(wanted, found)| {
            !wanted.run_once
                && found.role != Some(Role::Sandbox)
                && started(found).is_some_and(|at| at < restarted)
        });
        if let Some((wanted, _)) = orphan {
            return Some(Why::Orphaned(wanted.service.clone()));
        }
    }
    for (wanted, found) in pairs {
        let service = || wanted.service.clone();
        if wanted.run_once {
            // One that is still running is waited for, not started over.
            if found.state != ContainerState::Running && !succeeded(found) {
                return Some(Why::Ended(service(), found.exit_code));
            }
        } else if found.state != ContainerState::Running {
            return Some(Why::Ended(service(), found.exit_code));
        } else if found.health == Some(Health::Unhealthy) && found.role != Some(Role::Sandbox) {
            return Some(Why::Unhealthy(service()));
        }
    }
    None
}

/// The pods that exist and are not wanted any more.
#[must_use]
pub fn surplus_pods(desired: &[DesiredPod], actual: &[ActualContainer]) -> BTreeSet<String> {
    let wanted: BTreeSet<&str> = desired.iter().map(|pod| pod.name.as_str()).collect();
    actual.iter().filter_map(|c| c.pod.clone()).filter(|pod| !wanted.contains(pod.as_str())).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A running container of the pod `pod` with the hash `h`.
    pub(crate) fn running(pod: &str, service: &str, role: Role) -> ActualContainer {
        ActualContainer {
            id: format!("id-{service}"),
            name: format!("env-{service}-1"),
            role: Some(role),
            pod: Some(pod.to_owned()),
            workload: Some(format!("Deployment/{pod}")),
            container: Some(service.to_owned()),
            service: Some(service.to_owned()),
            hash: Some("h".to_owned()),
            variables: None,
            image: "sha256:1".to_owned(),
            state: ContainerState::Running,
            exit_code: None,
            error: None,
            health: None,
            restarts: 0,
            oom_killed: false,
            started_at: None,
            finished_at: None,
            deadline: None,
            stop_timeout: None,
            index: None,
            one_off: None,
            before_stop: None,
            sandbox: None,
            is_template: false,
        }
    }

    pub(crate) fn exited(pod: &str, service: &str, role: Role, code: i64) -> ActualContainer {
        ActualContainer {
            state: ContainerState::Exited,
            exit_code: Some(code),
            ..running(pod, service, role)
        }
    }

    pub(crate) fn desired(name: &str, run_once: bool) -> DesiredPod {
        let container = |service: String, role, run_once| DesiredContainer {
            service,
            role,
            run_once,
            image: None,
            health: false,
            retries: run_once.then_some(0),
        };
        DesiredPod {
            name: name.to_owned(),
            hash: "h".to_owned(),
            deadline: None,
            containers: vec![
                container(format!("{name}-sandbox"), Role::Sandbox, false),
                container(format!("{name}-init"), Role::Init, true),
                container(format!("{name}-app"), Role::Container, run_once),
            ],
        }
    }

    fn actual(name: &str) -> Vec<ActualContainer> {
        vec![
            running(name, &format!("{name}-sandbox"), Role::Sandbox),
            exited(name, &format!("{name}-init"), Role::Init, 0),
            running(name, &format!("{name}-app"), Role::Container),
        ]
    }

    fn why(pod: &DesiredPod, actual: &[ActualContainer]) -> Option<Why> {
        changed_pods(std::slice::from_ref(pod), actual).remove(&pod.name)
    }

    #[test]
    fn a_pod_that_is_as_wanted_is_left_alone() {
        assert_eq!(why(&desired("api", false), &actual("api")), None);
        let mut done = actual("migrate");
        done[2] = exited("migrate", "migrate-app", Role::Container, 0);
        done[0] = exited("migrate", "migrate-sandbox", Role::Sandbox, 137);
        assert_eq!(why(&desired("migrate", true), &done), None, "a completed Job does not run again");
        assert_eq!(why(&desired("migrate", true), &actual("migrate")), None, "a running Job is waited for");
    }

    #[test]
    fn every_reason_to_make_a_pod_anew() {
        let pod = desired("api", false);
        let app = "api-app".to_owned();
        assert_eq!(why(&pod, &actual("api")[..2]), Some(Why::Missing(app.clone())));

        let mut changed = actual("api");
        changed[0].hash = Some("older".into());
        assert_eq!(why(&pod, &changed), Some(Why::Changed));

        let mut crashed = actual("api");
        crashed[2] = exited("api", "api-app", Role::Container, 1);
        assert_eq!(why(&pod, &crashed), Some(Why::Ended(app.clone(), Some(1))));

        let mut stopped = actual("api");
        stopped[2] = exited("api", "api-app", Role::Container, 0);
        assert_eq!(why(&pod, &stopped), Some(Why::Ended(app.clone(), Some(0))), "a service should run");

        let mut failed = actual("api");
        failed[1].exit_code = Some(3);
        assert_eq!(why(&pod, &failed), Some(Why::Ended("api-init".into(), Some(3))));

        let mut sick = actual("api");
        sick[2].health = Some(Health::Unhealthy);
        assert_eq!(why(&pod, &sick), Some(Why::Unhealthy(app.clone())));

        let mut rebuilt = desired("api", false);
        rebuilt.containers[2].image = Some("sha256:2".into());
        assert_eq!(why(&rebuilt, &actual("api")), Some(Why::Image(app)));

        let mut job = actual("migrate");
        job[2] = exited("migrate", "migrate-app", Role::Container, 1);
        assert_eq!(why(&desired("migrate", true), &job), Some(Why::Ended("migrate-app".into(), Some(1))));
    }

    #[test]
    fn pods_nobody_wants_any_more_are_surplus() {
        let surplus = surplus_pods(&[desired("api", false)], &[actual("api"), actual("old")].concat());
        assert_eq!(surplus, BTreeSet::from(["old".to_owned()]));
    }
}
