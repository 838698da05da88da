//! What runs in a namespace, by workload.

use envctl_model::selection::{Names, SelectionError, named, select};
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePod {
    /// Its name.
    pub name: String,
    /// Its workload: `Deployment/api`. A pod that nobody manages is its own.
    pub workload: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it ran to its end, well.
    pub completed: bool,
    /// Whether it is being removed.
    pub ending: bool,
    /// How often its containers were restarted.
    pub restarts: u64,
    /// Its containers, those that initialise it first.
    pub containers: Vec<LiveContainer>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveContainer {
    /// Its name.
    pub name: String,
    /// Whether it runs before the others.
    pub init: bool,
    /// `running`, `exited`, or why it waits: `CrashLoopBackOff`.
    pub state: String,
    /// Its exit code, if it ended.
    pub exit_code: Option<i32>,
    /// Whether it has been started at all: what was not has no log.
    pub started: bool,
}

impl LiveContainer {
    /// Whether it runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == RUNNING
    }
}

const RUNNING: &str = "running";

impl LivePod {
    /// What may name it.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        Names { workload: Some(&self.workload), pod: Some(&self.name), service: None }
    }

    fn of(pod: Pod) -> Option<Self> {
        let workload = workload_of(&pod)?;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let is_ready =
            |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
        let init = containers(spec.init_containers.as_deref(), status.init_container_statuses.as_deref());
        let main = containers(Some(&spec.containers), status.container_statuses.as_deref());
        let statuses =
            status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        let restarts = statuses.map(|c| u64::try_from(c.restart_count).unwrap_or(0)).sum();
        let mut all: Vec<_> = init.collect();
        for container in &mut all {
            container.init = true;
        }
        all.extend(main);
        Some(Self {
            name: pod.metadata.name?,
            workload,
            ready: status.conditions.iter().flatten().any(is_ready),
            completed: status.phase.as_deref() == Some("Succeeded"),
            ending: pod.metadata.deletion_timestamp.is_some(),
            restarts,
            containers: all,
        })
    }
}

/// Who made a pod. A Deployment makes it by a ReplicaSet, whose name has the hash of its template behind.
pub(crate) fn workload_of(pod: &Pod) -> Option<String> {
    let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    let Some(owner) = owner else { return Some(format!("Pod/{}", pod.metadata.name.as_deref()?)) };
    let hash = pod.metadata.labels.as_ref().and_then(|l| l.get("pod-template-hash"));
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    Some(match (owner.kind.as_str(), deployment) {
        ("ReplicaSet", Some(name)) => format!("Deployment/{name}"),
        (kind, _) => format!("{kind}/{}", owner.name),
    })
}

fn containers<'a>(
    specs: Option<&'a [Container]>,
    statuses: Option<&'a [ContainerStatus]>,
) -> impl Iterator<Item = LiveContainer> + 'a {
    specs.unwrap_or_default().iter().map(move |spec| {
        let status = statuses.unwrap_or_default().iter().find(|status| status.name == spec.name);
        let (state, exit_code) = status.and_then(|s| s.state.as_ref()).map_or_else(|| waiting(None), shown);
        let ran_before = status.is_some_and(|s| s.restart_count > 0);
        LiveContainer {
            name: spec.name.clone(),
            init: false,
            started: ran_before || exit_code.is_some() || state == RUNNING,
            state,
            exit_code,
        }
    })
}

fn shown(state: &ContainerState) -> (String, Option<i32>) {
    if state.running.is_some() {
        return (RUNNING.to_owned(), None);
    }
    match &state.terminated {
        Some(ended) => ("exited".to_owned(), Some(ended.exit_code)),
        None => waiting(state.waiting.as_ref().and_then(|w| w.reason.as_deref())),
    }
}

fn waiting(reason: Option<&str>) -> (String, Option<i32>) {
    (reason.unwrap_or("waiting").to_owned(), None)
}

/// Whether a pod is of a workload; those of a CronJob's Jobs are the CronJob's.
pub(crate) fn is_of(pod: &Pod, workload: &str) -> bool {
    let Some(maker) = workload_of(pod) else { return false };
    let of_schedule = || {
        let (job, name) = (maker.strip_prefix("Job/")?, workload.strip_prefix("CronJob/")?);
        // The controller adds the minute of the run.
        let minute = job.strip_prefix(name)?.strip_prefix('-')?;
        Some(!minute.is_empty() && minute.bytes().all(|byte| byte.is_ascii_digit()))
    };
    maker == workload || of_schedule().unwrap_or(false)
}

/// Removes a pod without its grace: it is gone from the API and from endpoints at once, and its processes are killed
/// after the second that the kubelet gives them all the same.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced>
///
/// # Errors
/// When there is no such pod; when the cluster refuses or does not answer.
pub async fn kill(cluster: &VerifiedCluster, namespace: &str, pod: &str) -> Result<(), ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    let killed = api.delete(pod, &at_once).await;
    killed.map(drop).map_err(cluster.failed(&format!("to kill the pod {pod}")))
}

/// All pods of a namespace, by workload and name.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn all(reader: &ClusterReader, namespace: &str) -> Result<Vec<LivePod>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let list = api.list(&ListParams::default()).await.map_err(reader.failed("to list pods"))?;
    let mut pods: Vec<_> = list.items.into_iter().filter_map(LivePod::of).collect();
    pods.sort_by(|a, b| (&a.workload, &a.name).cmp(&(&b.workload, &b.name)));
    Ok(pods)
}

/// The running container to execute something in, with its pod.
///
/// # Errors
/// When the component or the container does not exist or does not run, with what there is.
pub fn exec_target<'a>(
    pods: &'a [LivePod],
    component: &str,
    container: Option<&str>,
) -> Result<(&'a LivePod, &'a LiveContainer), SelectionError> {
    let chosen = select(pods, LivePod::names, component)?;
    let all = chosen.into_iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
    let all: Vec<_> = match container {
        None => all.filter(|(_, c)| !c.init).collect(),
        Some(wanted) => named(all.collect(), |(_, c)| Some(&c.name), component, wanted)?,
    };
    // As kubectl does: the first container of the first pod, but one that stays.
    all.into_iter()
        .filter(|(_, c)| c.is_running())
        .min_by_key(|(pod, _)| (pod.ending, !pod.ready, &pod.name))
        .ok_or_else(|| SelectionError::NotRunning { component: component.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(value: serde_json::Value) -> LivePod {
        LivePod::of(serde_json::from_value(value).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_is_of_the_deployment_whose_replica_set_made_it() {
        let api = pod(json!({
            "metadata": {"name": "shop-api-7d9f-x2", "labels": {"pod-template-hash": "7d9f"}, "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-api-7d9f", "uid": "u", "controller": true}]},
            "spec": {"containers": [{"name": "api"}], "initContainers": [{"name": "wait"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "initContainerStatuses": [{"name": "wait", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                    "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [{"name": "api", "ready": true, "restartCount": 2, "image": "", "imageID": "",
                    "state": {"running": {}}}]}
        }));
        assert_eq!((api.workload.as_str(), api.ready, api.restarts), ("Deployment/shop-api", true, 2));
        let states: Vec<_> =
            api.containers.iter().map(|c| (c.name.as_str(), c.init, c.state.as_str())).collect();
        assert_eq!(states, [("wait", true, "exited"), ("api", false, "running")]);
        let pods = [api];
        assert_eq!(exec_target(&pods, "api", None).unwrap().1.name, "api");
        assert!(matches!(exec_target(&pods, "api", Some("wait")), Err(SelectionError::NotRunning { .. })));
        let message = exec_target(&pods, "api", Some("x")).unwrap_err().to_string();
        assert_eq!(message, "api has no container x; it has: api, wait");
    }

    #[test]
    fn the_pods_of_a_schedule_are_those_of_the_jobs_that_it_made() {
        let of_job = |job: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": "u", "controller": true}]}}))
            .unwrap()
        };
        assert!(is_of(&of_job("digest-29384760"), "CronJob/digest"));
        assert!(is_of(&of_job("digest-29384760"), "Job/digest-29384760"));
        assert!(!is_of(&of_job("digest-daily-29384760"), "CronJob/digest"));
        assert!(!is_of(&of_job("digest-by-hand"), "CronJob/digest"));
        assert!(!is_of(&of_job("digest-29384760"), "Deployment/digest"));
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let bare = pod(json!({
            "metadata": {"name": "one"},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "",
                "state": {"waiting": {"reason": "ErrImagePull"}}}]}
        }));
        assert_eq!((bare.workload.as_str(), bare.containers[0].state.as_str()), ("Pod/one", "ErrImagePull"));
        assert!(!bare.containers[0].started);
    }
}
