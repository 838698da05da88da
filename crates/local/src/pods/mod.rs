//! Pods of an environment on this Engine: ended, started again, and watched meanwhile. Which containers there are, `up`
//! has decided.
//!
//! ```text
//! found   which pods there are, and how each is
//! lives   what becomes of them, by the Engine's events
//! ```

mod found;
mod lives;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::query_parameters::{KillContainerOptionsBuilder, StartContainerOptions};
use envctl_model::labels::Role;
use envctl_model::lifetime::{Change, State};
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::ending;
use crate::engine::{EngineError, EngineReader, VerifiedEngine};
use crate::logs::lines_of_each;
use crate::state::{self, ActualContainer};
use crate::watch;
use found::is_up;
use lives::Lives;

pub use found::{Pod, Which, is_kept_running};

/// Pods of an environment.
#[derive(Debug, Clone)]
pub struct Pods {
    engine: VerifiedEngine,
    identity: String,
    which: Which,
    /// The container that is the component; the first one, if nobody says.
    main: Option<String>,
}

/// Pods do not do as they are told.
#[derive(Debug, thiserror::Error)]
pub enum PodsError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There are none.
    #[error("{}", found::none(.which, .there))]
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
    /// One that is out of date could not be made anew.
    #[error("the pod {pod} could not be made anew: {why}\n  type `envctl up`, which makes what is missing")]
    NotMade {
        /// The pod.
        pod: String,
        /// Why.
        why: String,
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
        Self { engine: engine.clone(), identity: identity.to_owned(), which, main: None }
    }

    /// The same, of which the container of this name is the component, and the others help it.
    #[must_use]
    pub fn with_main(self, container: Option<String>) -> Self {
        Self { main: container, ..self }
    }

    /// All of them by name, ended ones, too.
    ///
    /// # Errors
    /// When there are none, or the Engine does not answer.
    pub async fn list(&self) -> Result<Vec<Pod>, PodsError> {
        let all = found::pods(state::containers(self.reader(), &self.identity).await?);
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
    /// What is in their volumes stays. Their workloads. `remake` is asked of each before that, and says whether it has
    /// made and started it anew instead.
    ///
    /// # Errors
    /// As [`Pods::start`], and as `remake`.
    pub async fn restart(
        &self,
        within: Duration,
        remake: &impl AsyncFn(&Pod) -> Result<bool, PodsError>,
    ) -> Result<Vec<String>, PodsError> {
        let mut workloads: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.list().await? {
            workloads.entry(pod.workload).or_default().push(pod.name);
        }
        let each = workloads.values().map(|names| async move {
            for name in names {
                let one = |all: Vec<Pod>| all.into_iter().filter(|pod| pod.name == *name).collect::<Vec<_>>();
                for pod in one(self.list().await?) {
                    if remake(&pod).await? {
                        self.until_ready(&[pod], within, async { Ok(()) }).await?;
                        continue;
                    }
                    self.stop_pod(&pod).await?;
                    self.start_these(&one(self.list().await?), within).await?;
                }
            }
            Ok::<_, PodsError>(())
        });
        try_join_all(each).await?;
        Ok(workloads.into_keys().collect())
    }

    async fn start_these(&self, pods: &[Pod], within: Duration) -> Result<(), PodsError> {
        let start = async { try_join_all(pods.iter().map(|pod| self.start_pod(pod))).await.map(drop) };
        self.until_ready(pods, within, start).await
    }

    async fn until_ready(
        &self,
        pods: &[Pod],
        within: Duration,
        start: impl Future<Output = Result<(), PodsError>>,
    ) -> Result<(), PodsError> {
        let starting = async {
            start.await?;
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
        let ready = pods.iter().find(|pod| pod.is_ready).and_then(|pod| Some((pod, self.main(pod)?)));
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
            let pods = this.list_if_any().await?;
            let mut lives = Lives::of(&pods, |pod| this.main(pod));
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
            let pods = this.list_if_any().await?;
            let names: BTreeMap<String, String> = pods
                .iter()
                .filter_map(|pod| Some((pod.name.clone(), this.main(pod)?.name.clone())))
                .collect();
            let started = this.changes().try_filter_map(move |change| {
                let container = names.get(&change.instance).cloned();
                std::future::ready(Ok(container.filter(|_| change.state == State::Started)))
            });
            Ok(started)
        };
        lines_of_each(self.reader(), stream::once(containers).try_flatten(), since)
    }

    /// For each setting of a pod's main container a digest of its value. Left out is what a pod has of its own.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn settings(&self, pod: &str, salt: &Salt) -> Result<BTreeMap<String, String>, PodsError> {
        let pods = self.list().await?;
        let found = pods.iter().find(|one| one.name == pod).and_then(|pod| self.main(pod));
        let Some(application) = found else {
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

    async fn list_if_any(&self) -> Result<Vec<Pod>, EngineError> {
        match self.list().await {
            Err(PodsError::Engine(error)) => Err(error),
            listed => Ok(listed.unwrap_or_default()),
        }
    }

    /// What comes first runs once for each start of the pod: not again beside an application that runs.
    async fn start_pod(&self, pod: &Pod) -> Result<(), PodsError> {
        let comes_first = |member: &ActualContainer| member.role.is_some_and(Role::is_run_once);
        for member in pod.members.iter().filter(|member| !is_up(member)) {
            if comes_first(member) && pod.is_running {
                continue;
            }
            self.start_container(member).await?;
            if comes_first(member) {
                let code = self.ended_for_good(member).await?;
                if code != 0 {
                    let (pod, container) = (pod.name.clone(), member.name.clone());
                    return Err(PodsError::Ended { pod, container, code });
                }
            }
        }
        Ok(())
    }

    /// Waits until a container has ended and is not started again. Its exit code.
    async fn ended_for_good(&self, container: &ActualContainer) -> Result<i64, PodsError> {
        loop {
            let code = self.ended(container).await?;
            match state::container(self.reader(), &container.id).await? {
                // The Engine tells nobody when it gives up.
                Some(again) if is_up(&again) => tokio::time::sleep(AGAIN).await,
                _ => return Ok(code),
            }
        }
    }

    /// The sandbox last: without it nobody in it reaches anybody.
    async fn stop_pod(&self, pod: &Pod) -> Result<(), PodsError> {
        let (sandbox, members): (Vec<_>, Vec<_>) = pod
            .members
            .iter()
            .filter(|member| is_up(member))
            .partition(|member| member.role == Some(Role::Sandbox));
        for together in [members, sandbox] {
            let stopping = together.into_iter().map(|member| async {
                ending::stop(&self.engine, member, &format!("stopping {}", member.name)).await
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
        ending::ended(&self.engine, &container.id, &container.name).await
    }

    fn reader(&self) -> &EngineReader {
        self.engine.reader()
    }

    /// The container of a pod that is the component.
    fn main<'p>(&self, pod: &'p Pod) -> Option<&'p ActualContainer> {
        let mut application = pod.application().filter(|container| container.role == Some(Role::Container));
        let named = self.main.as_deref().and_then(|name| {
            pod.application().find(|container| container.container.as_deref() == Some(name))
        });
        named.or_else(|| application.next())
    }
}

/// How soon a container is looked at again that may be started again.
const AGAIN: Duration = Duration::from_millis(200);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_has_of_its_own_is_no_setting() {
        let own = |variable| is_its_own(variable, "api-0", &[Ipv4Addr::new(10, 0, 0, 7)]);
        assert!(own("POD_NAME=api-0") && own("FQDN=api-0.api.shop.svc") && own("POD_IP=10.0.0.7"));
        assert!(!own("GREETING=hello") && !own("DATABASE=10.0.0.70"));
    }
}
