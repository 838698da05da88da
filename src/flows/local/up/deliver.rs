//! The step that has Compose make what changed, and waits until all of it is ready.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use envctl_local::compose::{ComposeError, ComposeProject};
use envctl_local::seed::{self, Refreshed};
use envctl_local::state::{self, ActualContainer, DesiredContainer, DesiredPod, Why};
use envctl_local::watch::{self, Failure, FailureReason, Outcome, PodState, Progress};
use envctl_local::{diagnose, finished, remove};
use envctl_model::labels::{self, CLAIM, Role};
use envctl_model::{Thing, ThingKind};
use envctl_programs::process::{ProgramError, Supervisor};
use envctl_runner::{Context, Done, StepError};
use envctl_translate::{GATEWAY, Pod, Translation, WARDEN};
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::world::UpWorld;
use crate::flows::local::compose;
use crate::flows::local::machine::engine;
use crate::flows::run::supervisor;
use crate::flows::step_error::failed;

/// How long the watcher may take to see the failure that Compose has reported.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

impl UpWorld<'_> {
    pub(super) async fn deliver(&self, context: &Context) -> Result<Done, StepError> {
        if self.loses_tls() {
            context.warn(
                "hosts with TLS answer by http only: the machine's router is of another version of envctl, and other \
                 environments use it\n  it is replaced by the first `envctl up` that finds none beside it",
            );
        }
        let translation = self.translation()?;
        let identity = self.identity();
        let reader = &self.checked.machine.reader;
        let desired = desired(&translation);
        let mut actual = state::containers(reader, &identity).await.map_err(engine)?;
        // Somebody may be at work in these, and `run` removes them.
        actual.retain(|container| container.one_off.is_none());
        let changed = if self.network_is_new() {
            desired.iter().map(|pod| (pod.name.clone(), Why::Changed)).collect()
        } else {
            state::changed_pods(&desired, &actual)
        };
        let surplus = state::surplus_pods(&desired, &actual);
        let guarded = desired.iter().any(|one| one.name == WARDEN);
        // Compose would stop and make containers one service after the other; and a pod's members
        // must not outlive their sandbox.
        let stale: Vec<ActualContainer> = actual
            .into_iter()
            .filter(|c| {
                let own = match c.role {
                    Some(Role::Gateway) => Some(GATEWAY),
                    Some(Role::Warden) => Some(WARDEN),
                    _ => c.pod.as_deref(),
                };
                own.is_some_and(|own| changed.contains_key(own) || surplus.contains(own))
                    || (own == Some(WARDEN) && !guarded)
            })
            .collect();
        if !stale.is_empty() {
            context.progress(format!("removing {} containers of changed pods", stale.len()));
            let pods: BTreeSet<_> = stale.iter().filter_map(|c| c.pod.clone()).collect();
            let volumes = pod_volumes(&translation, self.name(), &pods);
            remove::containers(&self.checked.machine.engine, stale).await.map_err(engine)?;
            remove::volumes(&self.checked.machine.engine, &identity, &volumes).await.map_err(engine)?;
        }
        let refreshed = self.refresh(&translation, &desired, &changed).await?;
        let since = Timestamp::now();
        context.failpoint("composing")?;
        let services: Vec<String> = desired
            .iter()
            .filter(|pod| changed.contains_key(&pod.name))
            .flat_map(|pod| pod.containers.iter().map(|c| c.service.clone()))
            .collect();
        let mut states: BTreeMap<String, PodState> = BTreeMap::new();
        let outcome = self.compose_and_wait(context, &desired, &services, since, &mut states).await?;
        match outcome {
            Outcome::Ready => {
                let made = state::containers(reader, &identity).await.map_err(engine)?;
                finished::stop_sidecars(&self.checked.machine.engine, &desired, &made)
                    .await
                    .map_err(engine)?;
                let own = made.iter().filter(|container| container.one_off.is_none());
                for workload in compose::outdated(&translation.compose, own) {
                    context.warn(outdated(workload));
                }
            }
            Outcome::Failed(pods) => {
                let is_overdue = |failure: &Failure| matches!(failure.reason, FailureReason::Overdue { .. });
                let overdue: BTreeSet<_> = pods
                    .iter()
                    .filter(|(_, failure)| is_overdue(failure))
                    .map(|(pod, _)| pod.clone())
                    .collect();
                let pods: Vec<_> =
                    pods.into_iter().map(|(pod, failure)| (pod, failure.reason.to_string())).collect();
                let told = self.explain(&pods, &identity).await;
                let made = state::containers(reader, &identity).await.map_err(engine)?;
                let ended = finished::stop_overdue(&self.checked.machine.engine, &overdue, &made).await;
                if let Err(error) = ended {
                    context.warn(format!("what took longer than it may still runs: {error}"));
                }
                return Err(told);
            }
            Outcome::Deadline(pods) => {
                let seconds = self.options.timeout.as_secs();
                let why = format!("not ready after {seconds} s (--wait-timeout); it may still become so");
                let pods: Vec<_> = pods.into_iter().map(|pod| (pod, why.clone())).collect();
                return Err(self.explain(&pods, &identity).await);
            }
        }
        let templates = self.make_templates(context, &translation).await?;
        let project = self.name();
        let containers = compose::container_names(&translation, project);
        let volumes = compose::volume_names(&translation, project);
        let things = containers
            .into_iter()
            .map(|c| Thing::new(ThingKind::Container, c))
            .chain(volumes.into_iter().map(|v| Thing::new(ThingKind::Volume, v)));
        let made: BTreeSet<String> = changed.into_keys().chain(templates).collect();
        let summary = match (made.len(), surplus.len(), refreshed.len()) {
            (0, 0, 0) => "no changes".to_owned(),
            (0, 0, _) => format!("new files in {}", refreshed.into_iter().collect::<Vec<_>>().join(", ")),
            _ => workloads(&translation, &made),
        };
        Ok(Done::shown(summary).with(things))
    }

    /// Replaces the files of pods that stay, where a ConfigMap or Secret has changed. Their workloads.
    async fn refresh(
        &self,
        translation: &Translation,
        desired: &[DesiredPod],
        changed: &BTreeMap<String, Why>,
    ) -> Result<BTreeSet<String>, StepError> {
        let staying = desired.iter().filter(|pod| !changed.contains_key(&pod.name) && !pod.is_run_once());
        let seeders = staying.flat_map(|pod| {
            let seeders = pod.containers.iter().filter(|container| container.role == Role::Seeder);
            seeders.map(move |seeder| (pod.name.as_str(), seeder.service.as_str()))
        });
        // All of them are waited for, whichever fails: each ends what it has begun.
        let refreshed = join_all(seeders.map(|(pod, seeder)| async move {
            let container = compose::container_name(self.name(), seeder);
            let wanted = compose::seed(&translation.compose, seeder);
            let wanted = serde_json::from_str(&wanted).map_err(failed)?;
            let became = seed::refresh(&self.checked.machine.engine, &container, &wanted).await;
            match became.map_err(engine)? {
                Refreshed::Unchanged => Ok(None),
                Refreshed::Replaced => Ok(Some(pod)),
                Refreshed::Failed(code) => Err(StepError::Failed(format!(
                    "pod {pod}: the new files of its ConfigMaps and Secrets could not be written: exit code {code}\n\
                     see `docker logs {container}`; the next `envctl up` writes them again"
                ))),
            }
        }));
        let refreshed: Result<Vec<_>, StepError> = refreshed.await.into_iter().collect();
        let refreshed: BTreeSet<_> = refreshed?.into_iter().flatten().collect();
        let of = translation.pods.iter().filter(|pod| refreshed.contains(pod.name.as_str()));
        Ok(of.map(|pod| pod.workload.1.clone()).collect())
    }

    async fn compose_and_wait(
        &self,
        context: &Context,
        desired: &[DesiredPod],
        services: &[String],
        since: Timestamp,
        states: &mut BTreeMap<String, PodState>,
    ) -> Result<Outcome, StepError> {
        let machine = &self.checked.machine;
        let identity = self.identity();
        let file = self.compose_file();
        let project = ComposeProject { name: self.name(), file: &file };
        let (stop, signals) = self.interrupts.derived();
        let by = Supervisor { signals, ..supervisor(self.interrupts, context) };
        let (said, look) = (Notify::new(), Notify::new());
        let compose = project.up(&machine.cli, &machine.reader, &by, services, |_, _| said.notify_one());
        let deadline = Instant::now() + self.options.timeout;
        let total = desired.len();
        let waiting = watch::wait(
            &machine.reader,
            &identity,
            Progress::new(desired),
            since,
            deadline,
            &look,
            |pod, state| {
                states.insert(pod.to_owned(), state.clone());
                let ready =
                    states.values().filter(|s| matches!(s, PodState::Ready | PodState::Completed)).count();
                context.progress(format!("{ready} of {total} pods ready"));
            },
        );
        let (mut compose, mut waiting) = (std::pin::pin!(compose), std::pin::pin!(waiting));
        tokio::select! {
            never = watch::look_when_silent(&said, &look) => match never {},
            outcome = &mut waiting => {
                let outcome = outcome.map_err(engine)?;
                if outcome != Outcome::Ready {
                    // It would go on waiting for what has failed.
                    stop.request();
                    let _ = compose.await;
                    return Ok(outcome);
                }
                composed(compose.await)?;
                Ok(outcome)
            }
            result = &mut compose => {
                let Err(error) = result else {
                    return tokio::select! {
                        outcome = &mut waiting => outcome.map_err(engine),
                        () = self.interrupts.token.cancelled() => Err(StepError::Interrupted),
                    };
                };
                if !matches!(error, ComposeError::Program(ProgramError::Interrupted { .. }))
                    && let Ok(outcome) = tokio::time::timeout(SEEN_WITHIN, &mut waiting).await
                    && let outcome @ Outcome::Failed(_) = outcome.map_err(engine)?
                {
                    return Ok(outcome);
                }
                composed(Err(error))?;
                Err(StepError::Failed("docker compose failed".to_owned()))
            }
        }
    }

    /// What failed, in the order of pods: cause, last lines, what to type next.
    async fn explain(&self, pods: &[(String, String)], identity: &str) -> StepError {
        let reader = &self.checked.machine.reader;
        let containers = match state::containers(reader, identity).await {
            Ok(containers) => containers,
            Err(error) => return engine(error),
        };
        let mut text = String::new();
        for (pod, reason) in pods {
            if !text.is_empty() {
                text.push('\n');
            }
            let diagnosis = diagnose::pod(reader, &containers, pod).await.ok().flatten();
            // Writing to a String cannot fail.
            let _ = match diagnosis {
                None => write!(text, "pod {pod}: {reason}"),
                Some(diagnosis) => write!(text, "{}", explained(&diagnosis, reason)),
            };
        }
        text.push_str(
            "\nwhat was made is left to look at; mend it and type `envctl up` again, or `envctl down`",
        );
        StepError::Failed(text)
    }
}

/// What a user has to know about a workload whose variables are of before.
fn outdated(workload: &str) -> String {
    let name = workload.split_once('/').map_or(workload, |(_, name)| name);
    format!(
        "{workload} keeps the variables that it was started with, as on a cluster, and what they come from has changed\n  \
         type `envctl restart {name}`"
    )
}

fn composed(result: Result<(), ComposeError>) -> Result<(), StepError> {
    result.map_err(|error| match error {
        ComposeError::Program(ProgramError::Interrupted { .. }) => StepError::Interrupted,
        other => failed(other),
    })
}

fn explained(diagnosis: &diagnose::Diagnosis, reason: &str) -> String {
    let mut text = format!("pod {}, container {}: {reason}", diagnosis.pod, diagnosis.container);
    if !diagnosis.cause.is_empty() && !reason.contains(&diagnosis.cause) {
        text.push_str(&format!("\n  {}", diagnosis.cause));
    }
    if let Some(code) = diagnosis.exit_code {
        let words = diagnose::exit_words(code);
        if !text.contains(&words) {
            text.push_str(&format!("\n  exit code {code}: {words}"));
        }
    }
    if let Some(probe) = &diagnosis.probe
        && !diagnosis.cause.contains(probe.as_str())
    {
        text.push_str(&format!("\n  {probe}"));
    }
    for line in &diagnosis.health_log {
        text.push_str(&format!("\n  health check: {line}"));
    }
    if !diagnosis.log.is_empty() {
        text.push_str("\n  its last lines:");
        for line in &diagnosis.log {
            text.push_str(&format!("\n    {}", line.text));
        }
    }
    for next in &diagnosis.next {
        text.push_str(&format!("\n  next: {next}"));
    }
    text
}

/// The pods of a translation, its gateway and its warden, in the words of [`state`].
pub(crate) fn desired(translation: &Translation) -> Vec<DesiredPod> {
    let own = [(GATEWAY, Role::Gateway), (WARDEN, Role::Warden)].into_iter().filter_map(|(service, role)| {
        let hash = translation.compose["services"][service]["labels"][labels::POD_HASH].as_str()?;
        let container = DesiredContainer {
            service: service.to_owned(),
            role,
            run_once: false,
            image: None,
            health: true,
            retries: None,
        };
        let (name, hash) = (service.to_owned(), hash.to_owned());
        Some(DesiredPod { name, hash, deadline: None, containers: vec![container] })
    });
    own.chain(described(translation, &translation.pods)).collect()
}

/// Pods of a translation in the words of [`state`].
pub(super) fn described<'t>(
    translation: &'t Translation,
    pods: &'t [Pod],
) -> impl Iterator<Item = DesiredPod> + use<'t> {
    pods.iter().map(|pod| DesiredPod {
        name: pod.name.clone(),
        hash: pod.hash.clone(),
        deadline: deadline(&translation.compose["services"][&pod.sandbox]["labels"]),
        containers: pod
            .services
            .iter()
            .map(|service| {
                let role = service.role;
                DesiredContainer {
                    service: service.service.clone(),
                    role,
                    run_once: role.is_run_once() || (pod.run_once && role == Role::Container),
                    image: None,
                    health: service.health,
                    retries: retries(&translation.compose["services"][&service.service]["restart"]),
                }
            })
            .collect(),
    })
}

/// The volumes that live and die with these pods: all of theirs except claims.
pub(crate) fn pod_volumes(translation: &Translation, project: &str, pods: &BTreeSet<String>) -> Vec<String> {
    let volumes = translation.compose["volumes"].as_object().into_iter().flatten();
    volumes
        .filter(|(_, volume)| volume["labels"].get(CLAIM).is_none())
        .filter(|(key, _)| key.split_once('.').is_some_and(|(pod, _)| pods.contains(pod)))
        .map(|(key, volume)| {
            volume["name"].as_str().map_or_else(|| format!("{project}_{key}"), str::to_owned)
        })
        .collect()
}

/// How long a pod may run, by its sandbox's labels.
fn deadline(marks: &serde_json::Value) -> Option<Duration> {
    marks[labels::DEADLINE].as_str()?.parse().ok().map(Duration::from_secs)
}

/// How often Docker starts a container again by a Compose `restart` policy; `None` is without end.
fn retries(policy: &serde_json::Value) -> Option<u32> {
    match policy.as_str().unwrap_or("no").split_once(':') {
        Some(("on-failure", times)) => times.parse().ok(),
        _ => matches!(policy.as_str(), None | Some("no")).then_some(0),
    }
}

/// `migrate ✔  api ✔  worker ✔`: the workloads of these pods, in starting order.
fn workloads(translation: &Translation, pods: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = Vec::new();
    let all = translation.pods.iter().chain(&translation.templates);
    for pod in all.filter(|pod| pods.contains(&pod.name)) {
        if !names.contains(&pod.workload.1.as_str()) {
            names.push(&pod.workload.1);
        }
    }
    if names.is_empty() {
        return match (pods.contains(GATEWAY), pods.contains(WARDEN)) {
            (true, _) => "the gateway was made anew",
            (_, true) => "the warden was made anew",
            _ => "what is not wanted any more is gone",
        }
        .to_owned();
    }
    names.iter().map(|name| format!("{name} ✔")).collect::<Vec<_>>().join("  ")
}
