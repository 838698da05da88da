//! What belongs to a failure: the event that tells of it, the last lines of the container's log.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, LogParams};

use super::causes::Cause;
use super::logs::{LINES, Logs};
use super::workloads::{Failing, when};
use crate::client::ClusterReader;

/// A node that does not answer must not keep the message back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A failure with all that explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What failed.
    pub failing: Failing,
    /// How many more objects of the workload fail alike.
    pub more: usize,
    /// The event that tells of it: reason and message.
    pub event: Option<String>,
    /// The last lines of the container's log; of the run before, where it crashed.
    pub log: Vec<String>,
}

/// Fetches what explains failures. Those that are alike are told once. What cannot be fetched is left
/// out: the failure itself is known.
pub async fn diagnose(
    reader: &ClusterReader,
    namespace: &str,
    failed: &[Failing],
    logs: &Logs,
) -> Vec<Diagnosis> {
    let mut alike: BTreeMap<(String, Option<String>, &'static str), (Failing, usize)> = BTreeMap::new();
    for failing in failed {
        let key = (failing.workload.clone(), failing.container.clone(), failing.cause.code());
        alike.entry(key).and_modify(|(_, more)| *more += 1).or_insert((failing.clone(), 0));
    }
    let one = |(failing, more): (Failing, usize)| async move {
        let fetching = async {
            let pod = pod_of(reader, namespace, &failing).await;
            let (event, log) = tokio::join!(
                event(reader, namespace, &failing),
                log(reader, namespace, &failing, pod.as_ref())
            );
            (event, log, pod)
        };
        let (event, mut log, pod) = tokio::time::timeout(PATIENCE, fetching).await.unwrap_or_default();
        if log.is_empty() {
            log = captured(logs, &failing);
        }
        let mut failing = failing;
        // The kernel's words stand in the log, and nowhere else.
        let image = pod.as_ref().and_then(|pod| image_of(pod, failing.container.as_deref()));
        if log.last().is_some_and(|line| line.contains("exec format error"))
            && matches!(failing.cause, Cause::CrashLoop { .. } | Cause::JobFailed { .. })
        {
            failing.cause = Cause::WrongArchitecture { image: image.unwrap_or_default() };
        }
        Diagnosis { failing, more, event, log }
    };
    futures_util::future::join_all(alike.into_values().map(one)).await
}

/// What was fetched when it happened. The pods of a Job carry its name before their own part.
fn captured(logs: &Logs, failing: &Failing) -> Vec<String> {
    if !explains(&failing.cause) {
        return Vec::new();
    }
    let mut of_it = logs.iter().filter(|((pod, container), _)| {
        let right_pod = match failing.object.split_once('/') {
            Some(("Pod", name)) => pod == name,
            Some(("Job", name)) => pod.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')),
            _ => false,
        };
        right_pod && failing.container.as_ref().is_none_or(|wanted| wanted == container)
    });
    of_it.next_back().map(|(_, lines)| lines.clone()).unwrap_or_default()
}

fn explains(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::CrashLoop { .. }
            | Cause::OutOfMemory { .. }
            | Cause::ProbeKills { .. }
            | Cause::JobFailed { .. }
            | Cause::JobDeadline { .. }
            | Cause::NotReady { .. }
    )
}

fn image_of(pod: &Pod, container: Option<&str>) -> Option<String> {
    let mut containers = pod.spec.as_ref()?.containers.iter();
    containers.find(|c| container.is_none_or(|name| c.name == name))?.image.clone()
}

/// The pod whose log explains a failure: the failing one, or the newest of a Job.
async fn pod_of(reader: &ClusterReader, namespace: &str, failing: &Failing) -> Option<Pod> {
    let api: Api<Pod> = Api::namespaced(reader.client(), namespace);
    match failing.object.split_once('/')? {
        ("Pod", name) => api.get_opt(name).await.ok().flatten(),
        ("Job", name) => {
            let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
            let pods = api.list(&of_job).await.ok()?.items;
            pods.into_iter()
                .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0.as_nanosecond()))
        }
        _ => None,
    }
}

async fn event(reader: &ClusterReader, namespace: &str, failing: &Failing) -> Option<String> {
    let (kind, name) = failing.object.split_once('/')?;
    let api: Api<Event> = Api::namespaced(reader.client(), namespace);
    let about = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
    let events = api.list(&ListParams::default().fields(&about)).await.ok()?.items;
    // These repeat what the state says, and come after those that say why.
    let repeats = |event: &Event| {
        let message = event.message.as_deref().unwrap_or_default();
        message.starts_with("Back-off ")
            || message == "Error: ImagePullBackOff"
            || message == "Error: ErrImagePull"
    };
    let newest = events.into_iter().filter(|event| !repeats(event)).max_by_key(when)?;
    Some(format!("{}: {}", newest.reason?, newest.message?))
}

async fn log(reader: &ClusterReader, namespace: &str, failing: &Failing, pod: Option<&Pod>) -> Vec<String> {
    let Some(pod) = pod else { return Vec::new() };
    if !explains(&failing.cause) {
        return Vec::new();
    }
    let statuses = pod.status.iter().flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    });
    let bad = statuses.filter(|status| match &failing.container {
        Some(container) => status.name == *container,
        None => status.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code != 0),
    });
    let Some(status) = bad.into_iter().next() else { return Vec::new() };
    let ended = status.state.as_ref().is_some_and(|s| s.terminated.is_some());
    let api: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let params = LogParams {
        container: Some(status.name.clone()),
        tail_lines: Some(LINES),
        // Of a container that is about to start again only the run before has said anything.
        previous: !ended && status.restart_count > 0 && !matches!(failing.cause, Cause::NotReady { .. }),
        ..LogParams::default()
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let text = api.logs(name, &params).await.unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A diagnosis as the user reads it.
#[must_use]
pub fn print(diagnosis: &Diagnosis) -> String {
    let Diagnosis { failing, more, event, log } = diagnosis;
    let mut place = failing.workload.replacen('/', " ", 1);
    if failing.object != failing.workload {
        place.push_str(&format!(", {}", failing.object.replacen('/', " ", 1).replacen("Pod", "pod", 1)));
    }
    if let Some(container) = &failing.container {
        place.push_str(&format!(", container {container}"));
    }
    if *more > 0 {
        place.push_str(&format!(" (and {more} more)"));
    }
    let cause = &failing.cause;
    let mut lines = vec![format!("{place}: {}", cause.headline())];
    if let Some(detail) = cause.detail() {
        lines.push(format!("  {}", one_line(detail)));
    }
    // Who refuses pods says so in the event that is the cause.
    if let Some(event) = event
        && !matches!(cause, Cause::PodsRefused { .. })
        && cause.detail().is_none_or(|detail| !event.contains(detail))
    {
        lines.push(format!("  event: {}", one_line(event)));
    }
    lines.extend(failing.note.iter().map(|note| format!("  {note}")));
    if !log.is_empty() {
        lines.push("  its last lines:".to_owned());
        lines.extend(log.iter().map(|line| format!("    {line}")));
    }
    lines.push(format!("  what to do: {}", cause.advice()));
    lines.join("\n")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
