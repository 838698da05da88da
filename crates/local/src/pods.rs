//! Pods of an environment on this Engine: ended, started again, and watched meanwhile. Which containers there are, `up`
//! has decided; those of Jobs have run, and are not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::query_parameters::{
    KillContainerOptionsBuilder, StartContainerOptions, StopContainerOptions, WaitContainerOptionsBuilder,
};
use envctl_model::labels::Role;
use envctl_model::lifetime::{Change, State};
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::engine::{EngineError, EngineReader, VerifiedEngine};
use crate::logs::{self, lines_of_each};
use crate::state::{self, ActualContainer, ContainerState, Health};
use crate::watch::{self, ContainerEvent};

/// Pods of an environment.
#[derive(Debug, Clone)]
pub struct Pods {
    engine: VerifiedEngine,
    identity: String,
    which: Which,
}

/// Which pods of an environment are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those of a component, by any of the names that people use for it.
    Component(String),
    /// Those of these workloads: `Deployment/api`.
    Workloads(BTreeSet<String>),
}

/// A pod as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name, which is its host name.
    pub name: String,
    /// Its workload: `Deployment/api`.
    pub workload: String,
    /// Whether a container of the application runs in it.
    pub is_running: bool,
    /// Whether all of them do, and its probes are content.
    pub is_ready: bool,
    /// In starting order, the sandbox first.
    members: Vec<ActualContainer>,
}

/// Pods do not do as they are told.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There are none.
    #[error("{}", none(.which, .there))]
    None {
        /// Of those that were meant.
        which: Which,
        /// The workloads that there are.
        there: Vec<String>,
    },
    /// A container that runs to its end before others start did not end well.
    #[error(
        "the container {container} of the pod {pod} ended with code {code}\n  see `docker logs {container}`"
    )]
    Ended {
        /// The pod.
        pod: String,
        /// The container on the Engine.
        container: String,
        /// Its exit code.
        code: i64,
    },
    /// Time is up.
    #[error("not ready within {} s: {}\n  see their readiness probes and what they log", .within.as_secs(), .pods.join(", "))]
    NotReady {
        /// Those that are not.
        pods: Vec<String>,
        /// How long was waited.
        within: Duration,
    },
}

impl Pods {
    /// Pods of the environment with this identity.
    #[must_use]
    pub fn of(engine: &VerifiedEngine, identity: &str, which: Which) -> Self {
        Self { engine: engine.clone(), identity: identity.to_owned(), which }
    }

    /// All of them by name, ended ones, too.
    ///
    /// # Errors
    /// When there are none, or the Engine does not answer.
    pub async fn list(&self) -> Result<Vec<Pod>, PodsError> {
        let all = pods(state::containers(self.reader(), &self.identity).await?);
        let (meant, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|pod| self.which.has(pod));
        if !meant.is_empty() {
            return Ok(meant);
        }
        let mut there: Vec<_> = others.into_iter().map(|pod| pod.workload).collect();
        there.dedup();
        Err(PodsError::None { which: self.which.clone(), there })
    }

    /// Starts all of them, each in the order in which `up` started it, and waits until they are ready.
    ///
    /// # Errors
    /// When a container that comes first does not end well, or a pod is not ready in time; when the Engine does not
    /// answer.
    pub async fn start(&self, within: Duration) -> Result<(), PodsError> {
        let pods = self.list().await?;
        self.start_these(&pods, within).await
    }

    /// Ends each of them and starts it again, those of one workload one after the other, and waits until it is ready.
    /// What is in their volumes stays. Their workloads.
    ///
    /// # Errors
    /// As [`Pods::start`].
    pub async fn restart(&self, within: Duration) -> Result<Vec<String>, PodsError> {
        let mut workloads: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.list().await? {
            workloads.entry(pod.workload).or_default().push(pod.name);
        }
        let each = workloads.values().map(|names| async move {
            for name in names {
                let one = |all: Vec<Pod>| all.into_iter().filter(|pod| pod.name == *name).collect::<Vec<_>>();
                for pod in one(self.list().await?) {
                    self.stop_pod(&pod).await?;
                }
                self.start_these(&one(self.list().await?), within).await?;
            }
            Ok::<_, PodsError>(())
        });
        try_join_all(each).await?;
        Ok(workloads.into_keys().collect())
    }

    async fn start_these(&self, pods: &[Pod], within: Duration) -> Result<(), PodsError> {
        let starting = async {
            try_join_all(pods.iter().map(|pod| self.start_pod(pod))).await?;
            let mut waiting: BTreeSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
            let mut changes = self.changes();
            while !waiting.is_empty() {
                let Some(change) = changes.next().await.transpose()? else {
                    return Err(self.reader().lost("waiting for its events").into());
                };
                if change.state == State::Ready {
                    waiting.remove(change.instance.as_str());
                }
            }
            Ok(())
        };
        match tokio::time::timeout(within, starting).await {
            Ok(started) => started,
            Err(_) => {
                let names: BTreeSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
                let late = self.list().await?.into_iter().filter(|pod| !pod.is_ready);
                let late = late.map(|pod| pod.name).filter(|name| names.contains(name.as_str()));
                Err(PodsError::NotReady { pods: late.collect(), within })
            }
        }
    }

    /// Asks all of them to end, and kills what does not within its grace period.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn stop(&self) -> Result<(), PodsError> {
        let pods = self.list().await?;
        try_join_all(pods.iter().map(|pod| self.stop_pod(pod))).await.map(drop)
    }

    /// Kills the application in a pod that is ready (SIGKILL), and has it started again, as a kubelet does. The pod's
    /// name; none where no pod is ready.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn kill_one(&self) -> Result<Option<String>, PodsError> {
        let pods = self.list().await?;
        let ready = pods.iter().find(|pod| pod.is_ready).and_then(|pod| Some((pod, pod.application()?)));
        let Some((pod, application)) = ready else { return Ok(None) };
        let docker = self.engine.docker();
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let killed = docker.kill_container(&application.id, Some(options)).await;
        killed.map_err(self.engine.failed(&format!("killing {}", application.name)))?;
        self.ended(application).await?;
        self.start_container(application).await?;
        Ok(Some(pod.name.clone()))
    }

    /// What becomes of them: how each is now, and what happens from now on, without end.
    #[must_use]
    pub fn changes(&self) -> BoxStream<'static, Result<Change, EngineError>> {
        let this = self.clone();
        let told = async move {
            let since = Timestamp::now();
            let events = watch::events(this.reader(), &this.identity, since);
            let pods = match this.list().await {
                Ok(pods) => pods,
                Err(PodsError::Engine(error)) => return Err(error),
                Err(_) => Vec::new(),
            };
            let mut lives = Lives::of(&pods);
            let first = lives.now(since);
            let later = events.map_ok(move |event| lives.after(&event)).map_ok(stream_of).try_flatten();
            Ok(stream_of(first).chain(later))
        };
        stream::once(told).try_flatten().boxed()
    }

    /// What the application in them writes from `since` on, each line once, also after it was started again, without
    /// end.
    #[must_use]
    pub fn lines(&self, since: Timestamp) -> BoxStream<'static, Result<LogLine, EngineError>> {
        let this = self.clone();
        let containers = async move {
            let pods = this.list().await.unwrap_or_default();
            let names: BTreeMap<String, String> = pods
                .iter()
                .filter_map(|pod| Some((pod.name.clone(), pod.application()?.name.clone())))
                .collect();
            let started = this.changes().try_filter_map(move |change| {
                let container = names.get(&change.instance).cloned();
                std::future::ready(Ok(container.filter(|_| change.state == State::Started)))
            });
            Ok(started)
        };
        lines_of_each(self.reader(), stream::once(containers).try_flatten(), since)
    }

    /// For each setting of a pod's first container a digest of its value. Left out is what a pod has of its own.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn settings(&self, pod: &str, salt: &Salt) -> Result<BTreeMap<String, String>, PodsError> {
        let pods = self.list().await?;
        let Some(application) = pods.iter().find(|one| one.name == pod).and_then(Pod::application) else {
            return Ok(BTreeMap::new());
        };
        let docker = self.engine.docker();
        let inspect = |id: String| async move {
            let inspected = docker.inspect_container(&id, None).await;
            inspected.map_err(self.engine.failed("looking at a pod"))
        };
        let variables = inspect(application.id.clone()).await?.config.and_then(|config| config.env);
        let sandbox = pods.iter().find(|one| one.name == pod).and_then(|pod| pod.members.first());
        let networks = match sandbox {
            Some(sandbox) => inspect(sandbox.id.clone()).await?.network_settings.and_then(|of| of.networks),
            None => None,
        };
        let addresses = networks.into_iter().flat_map(HashMap::into_values);
        let addresses: Vec<Ipv4Addr> =
            addresses.filter_map(|endpoint| endpoint.ip_address?.parse().ok()).collect();
        let variables = variables.unwrap_or_default();
        Ok(salt.digests(
            variables.iter().filter(|variable| !is_its_own(variable, pod, &addresses)).map(String::as_bytes),
        ))
    }

    async fn start_pod(&self, pod: &Pod) -> Result<(), PodsError> {
        for member in pod.members.iter().filter(|member| member.state != ContainerState::Running) {
            self.start_container(member).await?;
            if member.role.is_some_and(Role::is_run_once) {
                let code = self.ended(member).await?;
                if code != 0 {
                    let (pod, container) = (pod.name.clone(), member.name.clone());
                    return Err(PodsError::Ended { pod, container, code });
                }
            }
        }
        Ok(())
    }

    /// The sandbox last: without it nobody in it reaches anybody.
    async fn stop_pod(&self, pod: &Pod) -> Result<(), PodsError> {
        let (sandbox, members): (Vec<_>, Vec<_>) = pod
            .members
            .iter()
            .filter(|member| member.state == ContainerState::Running)
            .partition(|member| member.role == Some(Role::Sandbox));
        for together in [members, sandbox] {
            let stopping = together.into_iter().map(|member| async {
                let stopped =
                    self.engine.docker().stop_container(&member.id, None::<StopContainerOptions>).await;
                stopped.map_err(self.engine.failed(&format!("stopping {}", member.name)))
            });
            try_join_all(stopping).await?;
        }
        Ok(())
    }

    async fn start_container(&self, container: &ActualContainer) -> Result<(), EngineError> {
        let started =
            self.engine.docker().start_container(&container.id, None::<StartContainerOptions>).await;
        started.map_err(self.engine.failed(&format!("starting {}", container.name)))
    }

    /// Waits until a container has ended. Its exit code.
    async fn ended(&self, container: &ActualContainer) -> Result<i64, EngineError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut over = self.engine.docker().wait_container(&container.id, Some(options));
        match over.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => {
                Err(self.engine.failed(&format!("waiting for the end of {}", container.name))(error))
            }
            None => Err(self.reader().lost("waiting for the end of a container")),
        }
    }

    fn reader(&self) -> &EngineReader {
        self.engine.reader()
    }
}

impl Pod {
    /// Its first container: that is the component, the others help it.
    fn application(&self) -> Option<&ActualContainer> {
        self.members.iter().find(|member| member.role == Some(Role::Container))
    }
}

impl Which {
    fn has(&self, pod: &Pod) -> bool {
        match self {
            Self::All => true,
            Self::Component(word) => pod.members.iter().any(|member| logs::is_of(member, word)),
            Self::Workloads(workloads) => workloads.contains(&pod.workload),
        }
    }
}

/// That there are none, in words.
fn none(which: &Which, there: &[String]) -> String {
    let there = if there.is_empty() { String::new() } else { format!("; there are: {}", there.join(", ")) };
    match which {
        Which::All => "the environment has no pods".to_owned(),
        Which::Component(word) => format!("there is no component {word} in this environment{there}"),
        Which::Workloads(workloads) => {
            let wanted: Vec<_> = workloads.iter().map(String::as_str).collect();
            format!("the environment has no pods of {}{there}", wanted.join(", "))
        }
    }
}

/// The pods that these containers make, without those of Jobs.
fn pods(containers: Vec<ActualContainer>) -> Vec<Pod> {
    let mut by_pod: BTreeMap<(String, String), Vec<ActualContainer>> = BTreeMap::new();
    for container in containers {
        if let (Some(workload), Some(pod)) = (container.workload.clone(), container.pod.clone())
            && !workload.starts_with("Job/")
        {
            by_pod.entry((pod, workload)).or_default().push(container);
        }
    }
    let pod = |((name, workload), mut members): ((String, String), Vec<ActualContainer>)| {
        members.sort_by_key(|member| member.index);
        let runs = |member: &ActualContainer| member.state == ContainerState::Running;
        let application: Vec<_> =
            members.iter().filter(|member| member.role == Some(Role::Container)).collect();
        let is_running = application.iter().any(|member| runs(member));
        let sandbox = members.iter().find(|member| member.role == Some(Role::Sandbox));
        let is_content = |sandbox: &ActualContainer| runs(sandbox) && sandbox.health == Some(Health::Healthy);
        let is_ready = application.iter().all(|member| runs(member)) && sandbox.is_some_and(is_content);
        Pod { name, workload, is_running, is_ready, members }
    };
    by_pod.into_iter().map(pod).collect()
}

/// Whether a variable says who or where its pod is.
fn is_its_own(variable: &str, pod: &str, addresses: &[Ipv4Addr]) -> bool {
    let value = variable.split_once('=').map_or("", |(_, value)| value);
    value.contains(pod) || addresses.iter().any(|address| value == address.to_string())
}

fn stream_of(
    changes: Vec<Change>,
) -> impl futures_util::Stream<Item = Result<Change, EngineError>> + Send + 'static {
    stream::iter(changes.into_iter().map(Ok))
}

/// How pods are, by the events of their sandboxes, which know the probes, and of their first containers.
#[derive(Debug, Default)]
struct Lives {
    /// By the name of the container on the Engine: the pod, and whether this is its sandbox.
    parts: HashMap<String, (String, bool)>,
    pods: BTreeMap<String, Life>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Life {
    runs: bool,
    content: bool,
}

impl Lives {
    fn of(pods: &[Pod]) -> Self {
        let mut lives = Self::default();
        for pod in pods {
            let sandbox = pod.members.iter().find(|member| member.role == Some(Role::Sandbox));
            for (member, is_sandbox) in [(sandbox, true), (pod.application(), false)] {
                let part = member.map(|member| (member.name.clone(), (pod.name.clone(), is_sandbox)));
                lives.parts.extend(part);
            }
            lives.pods.insert(pod.name.clone(), Life { runs: pod.is_running, content: pod.is_ready });
        }
        lives
    }

    /// How those are that run.
    fn now(&self, at: Timestamp) -> Vec<Change> {
        let states = |life: &Life| match (life.runs, life.content) {
            (true, true) => &[State::Started, State::Ready][..],
            (true, false) => &[State::Started],
            (false, _) => &[],
        };
        let each =
            self.pods.iter().flat_map(|(pod, life)| states(life).iter().map(move |state| (pod, *state)));
        each.map(|(pod, state)| Change { at, instance: pod.clone(), address: None, state }).collect()
    }

    /// What an event changes.
    fn after(&mut self, event: &ContainerEvent) -> Vec<Change> {
        let Some((pod, is_sandbox)) = self.parts.get(&event.name) else { return Vec::new() };
        let life = self.pods.entry(pod.clone()).or_default();
        let was_ready = life.runs && life.content;
        let mut states = Vec::new();
        match (is_sandbox, event.change) {
            (true, watch::Change::Health(health)) => life.content = health == Health::Healthy,
            (true, watch::Change::Started | watch::Change::Died { .. }) => life.content = false,
            (false, watch::Change::Started) => {
                life.runs = true;
                states.push(State::Started);
            }
            (false, watch::Change::Stopping) => states.push(State::Ending),
            (false, watch::Change::Died { exit_code }) => {
                life.runs = false;
                states.push(State::of_exit(exit_code));
            }
            _ => {}
        }
        match (was_ready, life.runs && life.content) {
            (false, true) => states.push(State::Ready),
            (true, false) if life.runs => states.push(State::Unready),
            _ => {}
        }
        let change = |state| Change { at: event.at, instance: pod.clone(), address: None, state };
        states.into_iter().map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{exited, running};

    fn of(workload: &str, index: usize, container: ActualContainer) -> ActualContainer {
        let container_name = (container.role == Some(Role::Container)).then(|| "app".to_owned());
        ActualContainer {
            workload: Some(workload.to_owned()),
            index: Some(index),
            container: container_name,
            ..container
        }
    }

    fn api(sandbox: Health) -> Vec<ActualContainer> {
        let healthy =
            ActualContainer { health: Some(sandbox), ..running("shop-api-0", "env-api-0", Role::Sandbox) };
        vec![
            of("Deployment/shop-api", 2, running("shop-api-0", "env-api-0-app", Role::Container)),
            of("Deployment/shop-api", 0, healthy),
            of("Deployment/shop-api", 1, exited("shop-api-0", "env-api-0-init", Role::Init, 0)),
            of("Job/shop-api", 1, exited("shop-api-x", "env-api-x-app", Role::Container, 0)),
            of("Deployment/shop-web", 1, running("shop-web-0", "env-web-0-app", Role::Container)),
        ]
    }

    fn event(name: &str, change: watch::Change) -> ContainerEvent {
        ContainerEvent {
            at: Timestamp::UNIX_EPOCH,
            id: String::new(),
            name: name.to_owned(),
            service: None,
            pod: None,
            hash: None,
            change,
        }
    }

    #[test]
    fn a_component_has_the_pods_of_its_workloads_and_not_those_of_jobs() {
        let of = |word: &str, health| {
            let which = Which::Component(word.to_owned());
            pods(api(health)).into_iter().filter(|pod| which.has(pod)).collect::<Vec<_>>()
        };
        let found = of("api", Health::Healthy);
        let [pod] = &found[..] else { panic!("{found:?}") };
        assert_eq!((pod.name.as_str(), pod.is_running, pod.is_ready), ("shop-api-0", true, true));
        let order: Vec<_> = pod.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(order, ["env-api-0", "env-api-0-init", "env-api-0-app"], "in starting order");
        assert!(!of("api", Health::Unhealthy)[0].is_ready, "its probes are not content");
        let names: Vec<_> = pods(api(Health::Healthy)).into_iter().map(|pod| pod.name).collect();
        assert_eq!(names, ["shop-api-0", "shop-web-0"]);
    }

    #[test]
    fn a_pod_is_ready_when_it_runs_and_its_probes_are_content() {
        let mut lives = Lives::of(&pods(api(Health::Healthy))[..1]);
        let mut states = |name, change| {
            lives.after(&event(name, change)).into_iter().map(|change| change.state).collect::<Vec<_>>()
        };
        let (app, sandbox) = ("env-api-0-app", "env-api-0");
        assert_eq!(states(app, watch::Change::Stopping), [State::Ending]);
        assert_eq!(states(app, watch::Change::Died { exit_code: 0 }), [State::Ended]);
        assert_eq!(states(sandbox, watch::Change::Died { exit_code: 0 }), []);
        assert_eq!(states(sandbox, watch::Change::Started), []);
        assert_eq!(states(sandbox, watch::Change::Health(Health::Healthy)), [], "nothing runs in it");
        assert_eq!(states(app, watch::Change::Started), [State::Started, State::Ready]);
        assert_eq!(states(sandbox, watch::Change::Health(Health::Unhealthy)), [State::Unready]);
        assert_eq!(states(app, watch::Change::Died { exit_code: 137 }), [State::Killed]);
        assert_eq!(states("env-web-0-app", watch::Change::Started), [], "another component's");
    }

    #[test]
    fn what_a_pod_has_of_its_own_is_no_setting() {
        let own = |variable| is_its_own(variable, "api-0", &[Ipv4Addr::new(10, 0, 0, 7)]);
        assert!(own("POD_NAME=api-0") && own("FQDN=api-0.api.shop.svc") && own("POD_IP=10.0.0.7"));
        assert!(!own("GREETING=hello") && !own("DATABASE=10.0.0.70"));
    }
}
