//! A pod or a Job made for one command, from the template of a component.

use std::collections::BTreeMap;

use envctl_model::selection::select;
use futures_util::StreamExt as _;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Resource as _};

use super::workloads::{self, Workload};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks;
use crate::watching::watch;

/// Label: the component that a pod was made from for one command.
const RUN: &str = "envctl.dev/run";
/// What marks a Job that was not made by its CronJob's schedule.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#cronjob-kubernetes-io-instantiate>
const INSTANTIATE: &str = "cronjob.kubernetes.io/instantiate";

/// What is asked of a pod for one command.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The container of the template, if it is not the first.
    pub container: Option<&'a str>,
    /// The command; empty: the container's own.
    pub command: &'a [String],
    /// Whether it gets an input.
    pub stdin: bool,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

/// A pod for one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOff {
    /// Its name.
    pub pod: String,
    /// The container that runs the command.
    pub container: String,
}

/// How far such a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The command runs.
    Running,
    /// It has ended, with this exit code.
    Ended(i32),
    /// It will not start by itself; why.
    Stuck(String),
    /// The pod is gone.
    Gone,
}

/// The workload that a word means.
///
/// # Errors
/// [`ClusterError::NoSuch`] with the components that there are; when the cluster does not answer.
pub async fn workload(reader: &ClusterReader, namespace: &str, word: &str) -> Result<Workload, ClusterError> {
    let all = workloads::all(reader, namespace).await?;
    let chosen = select(&all, Workload::names, word)
        .map_err(|e| ClusterError::NoSuch { message: e.to_string(), hint: "name one of those".to_owned() })?;
    Ok(chosen[0].clone())
}

/// The pod for one command. It has the template's containers that initialise it, and of the others
/// the one that runs the command; it has none of the template's labels, so that no Service leads to
/// it.
fn pod(workload: &Workload, request: &Request<'_>) -> Result<(Pod, String), ClusterError> {
    let component = workload.component();
    let mut spec = workload.template.spec.clone().unwrap_or_default();
    let known: Vec<_> = spec.containers.iter().map(|c| c.name.clone()).collect();
    let wanted = request.container.map_or_else(|| known.first().cloned(), |name| Some(name.to_owned()));
    spec.containers.retain(|c| Some(&c.name) == wanted.as_ref());
    let Some(container) = spec.containers.first_mut() else {
        return Err(ClusterError::NoSuch {
            message: format!(
                "{component} has no container {}; it has: {}",
                wanted.unwrap_or_default(),
                known.join(", ")
            ),
            hint: "name one of those with --container".to_owned(),
        });
    };
    if !request.command.is_empty() {
        container.command = Some(request.command.to_vec());
        container.args = None;
    }
    container.stdin = Some(request.stdin);
    container.stdin_once = Some(request.stdin);
    container.tty = Some(request.terminal);
    // The command is not the server that these ask for, and nobody else may have its port.
    container.liveness_probe = None;
    container.readiness_probe = None;
    container.startup_probe = None;
    container.lifecycle = None;
    container.ports = None;
    let name = container.name.clone();
    spec.restart_policy = Some("Never".to_owned());
    let labels = BTreeMap::from([
        (marks::MANAGED_BY.to_owned(), marks::ENVCTL.to_owned()),
        (RUN.to_owned(), component.chars().take(63).collect()),
    ]);
    let pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{component}-run-")),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        ..Pod::default()
    };
    Ok((pod, name))
}

/// Makes a pod for one command.
///
/// # Errors
/// When the workload has no such container, or the cluster refuses or does not answer.
pub async fn start(
    cluster: &VerifiedCluster,
    namespace: &str,
    workload: &Workload,
    request: &Request<'_>,
) -> Result<OneOff, ClusterError> {
    let (pod, container) = pod(workload, request)?;
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let made = api.create(&parameters(), &pod).await.map_err(cluster.failed("to make a pod"))?;
    Ok(OneOff { pod: made.metadata.name.unwrap_or_default(), container })
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Waits until the command runs, or will not.
///
/// # Errors
/// When the cluster refuses to be watched.
pub async fn started(
    reader: &ClusterReader,
    namespace: &str,
    one: &OneOff,
    report: impl Fn(&str),
) -> Result<Stage, ClusterError> {
    until(reader, namespace, one, |stage| stage.is_some(), report).await
}

/// Waits until the command has ended.
///
/// # Errors
/// When the cluster refuses to be watched.
pub async fn ended(reader: &ClusterReader, namespace: &str, one: &OneOff) -> Result<Stage, ClusterError> {
    let over = |stage: Option<&Stage>| stage.is_some_and(|stage| *stage != Stage::Running);
    until(reader, namespace, one, over, |_| ()).await
}

async fn until(
    reader: &ClusterReader,
    namespace: &str,
    one: &OneOff,
    enough: impl Fn(Option<&Stage>) -> bool,
    report: impl Fn(&str),
) -> Result<Stage, ClusterError> {
    let api: Api<Pod> = Api::namespaced(reader.streaming(), namespace);
    let mut seen = watch(api, &one.pod).boxed();
    let mut told = String::new();
    while let Some(next) = seen.next().await {
        match next {
            Ok(None) => return Ok(Stage::Gone),
            Ok(Some(pod)) => {
                let (stage, words) = stage(&pod, &one.container);
                if enough(stage.as_ref()) {
                    return Ok(stage.unwrap_or(Stage::Gone));
                }
                if words != told && !words.is_empty() {
                    report(&words);
                    told = words;
                }
            }
            Err(watcher::Error::WatchFailed(error)) | Err(watcher::Error::InitialListFailed(error)) => {
                let error = (reader.failed("to watch a pod"))(error);
                if !error.is_passing() {
                    return Err(error);
                }
            }
            // The watch is taken up again by itself.
            Err(_) => {}
        }
    }
    Ok(Stage::Gone)
}

/// How far a pod is, and what it waits for in words.
fn stage(pod: &Pod, container: &str) -> (Option<Stage>, String) {
    let status = pod.status.clone().unwrap_or_default();
    let mut words = String::new();
    let init = status.init_container_statuses.into_iter().flatten();
    let main = status.container_statuses.into_iter().flatten().filter(|s| s.name == container);
    for one in init.chain(main) {
        let ContainerState { running, terminated, waiting } = one.state.unwrap_or_default();
        let main = one.name == container;
        if let Some(ended) = terminated {
            if main {
                return (Some(Stage::Ended(ended.exit_code)), words);
            }
            if ended.exit_code != 0 {
                let why = format!("its init container {} ended with exit code {}", one.name, ended.exit_code);
                return (Some(Stage::Stuck(why)), words);
            }
        }
        if running.is_some() && main {
            return (Some(Stage::Running), words);
        }
        if let Some(waiting) = waiting {
            let reason = waiting.reason.unwrap_or_default();
            let message = waiting.message.unwrap_or_default();
            let terminal = [
                "ImagePullBackOff",
                "ErrImageNeverPull",
                "InvalidImageName",
                "CreateContainerConfigError",
                "CreateContainerError",
                "RunContainerError",
                "CrashLoopBackOff",
            ];
            if terminal.contains(&reason.as_str()) {
                return (Some(Stage::Stuck(format!("{}: {reason}: {message}", one.name))), words);
            }
            words = reason;
        }
    }
    if status.phase.as_deref() == Some("Failed") {
        let why = status.message.or(status.reason).unwrap_or_default();
        return (Some(Stage::Stuck(why)), words);
    }
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled");
    if let Some(not) = scheduled.filter(|c| c.status == "False") {
        words = not.message.clone().unwrap_or_default();
    }
    (None, words)
}

/// Removes such a pod at once.
///
/// # Errors
/// When the cluster refuses or does not answer. One that is gone is no error.
pub async fn remove(cluster: &VerifiedCluster, namespace: &str, one: &OneOff) -> Result<(), ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let removed = api.delete(&one.pod, &DeleteParams::default().grace_period(1)).await;
    match removed.map_err(cluster.failed("to remove a pod")) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Has the CronJob that a word means run now, and gives the name of its Job.
///
/// # Errors
/// [`ClusterError::NoSuch`] with the CronJobs that there are; when the cluster refuses or does not
/// answer.
pub async fn run_now(cluster: &VerifiedCluster, namespace: &str, word: &str) -> Result<String, ClusterError> {
    let cron_jobs: Api<CronJob> = Api::namespaced(cluster.client(), namespace);
    let list = cron_jobs.list(&ListParams::default()).await.map_err(cluster.failed("to list CronJobs"))?;
    let named: Vec<_> = list
        .items
        .iter()
        .filter_map(|c| Some((format!("CronJob/{}", c.metadata.name.as_deref()?), c)))
        .collect();
    let found = named.iter().find(|(workload, _)| envctl_model::selection::means(word, workload));
    let Some((_, cron_job)) = found else {
        let known: Vec<_> = named.iter().filter_map(|(_, c)| c.metadata.name.as_deref()).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
        return Err(ClusterError::NoSuch {
            message: format!("there is no CronJob {word} in this environment"),
            hint: format!("CronJobs: {known}"),
        });
    };
    let name = cron_job.metadata.name.clone().unwrap_or_default();
    let template = cron_job.spec.clone().unwrap_or_default().job_template;
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(INSTANTIATE.to_owned(), "manual".to_owned());
    let owner = OwnerReference {
        api_version: CronJob::api_version(&()).into_owned(),
        kind: CronJob::kind(&()).into_owned(),
        name: name.clone(),
        uid: cron_job.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let job = Job {
        metadata: ObjectMeta {
            // A Job's name is a label of its pods.
            generate_name: Some(format!("{}-run-", name.chars().take(52).collect::<String>())),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        ..Job::default()
    };
    let jobs: Api<Job> = Api::namespaced(cluster.client(), namespace);
    let made = jobs.create(&parameters(), &job).await.map_err(cluster.failed("to make a Job"))?;
    Ok(made.metadata.name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::workloads::Scale;
    use super::*;

    fn api() -> Workload {
        let template = json!({
            "metadata": {"labels": {"app": "api"}},
            "spec": {"containers": [
                {"name": "api", "image": "api:1", "args": ["serve"], "ports": [{"containerPort": 80, "hostPort": 80}],
                 "livenessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "A", "value": "b"}]},
                {"name": "proxy", "image": "proxy:1"}],
                "serviceAccountName": "api"}
        });
        Workload {
            label: "Deployment/shop-api".into(),
            scale: Scale::Replicas(1),
            template: serde_json::from_value(template).unwrap(),
        }
    }

    #[test]
    fn a_pod_for_one_command_has_the_spec_and_none_of_what_makes_it_a_server() {
        let command = ["sh".to_owned()];
        let request = Request { container: None, command: &command, stdin: true, terminal: true };
        let (made, container) = pod(&api(), &request).unwrap();
        let made = serde_json::to_value(made).unwrap();
        assert_eq!(container, "api");
        assert_eq!(made["metadata"]["generateName"], "shop-api-run-");
        assert!(made["metadata"]["labels"].get("app").is_none());
        let spec = &made["spec"];
        assert_eq!((&spec["restartPolicy"], &spec["serviceAccountName"]), (&json!("Never"), &json!("api")));
        assert_eq!(
            spec["containers"],
            json!([{"name": "api", "image": "api:1", "command": ["sh"], "env": [{"name": "A", "value": "b"}],
                "stdin": true, "stdinOnce": true, "tty": true}])
        );
        let other = Request { container: Some("x"), ..request };
        let error = pod(&api(), &other).unwrap_err();
        assert_eq!(error.to_string(), "shop-api has no container x; it has: api, proxy");
    }

    #[test]
    fn a_pod_that_cannot_start_is_not_waited_for() {
        let of = |status: serde_json::Value| {
            let pod = serde_json::from_value(json!({"spec": {"containers": []}, "status": status})).unwrap();
            stage(&pod, "c").0
        };
        let container = |state: serde_json::Value| {
            json!({"containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "image": "",
                "imageID": "", "state": state}]})
        };
        assert_eq!(of(json!({})), None);
        assert_eq!(of(container(json!({"waiting": {"reason": "ContainerCreating"}}))), None);
        assert_eq!(of(container(json!({"running": {}}))), Some(Stage::Running));
        assert_eq!(of(container(json!({"terminated": {"exitCode": 3}}))), Some(Stage::Ended(3)));
        let stuck = of(container(json!({"waiting": {"reason": "InvalidImageName", "message": "bad"}})));
        assert_eq!(stuck, Some(Stage::Stuck("c: InvalidImageName: bad".into())));
    }
}
