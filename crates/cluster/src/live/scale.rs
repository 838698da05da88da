//! Sleep and wake: workloads without replicas, CronJobs without runs, and all of it as it was before.
//!
//! What sleep writes must not stay ours: Helm 4 delivers by server-side apply, and would find `replicas`
//! in the hands of somebody else. So wake gives the fields back to nobody, and the next delivery takes
//! them. <https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use envctl_model::record::Asleep;
use futures_util::StreamExt as _;
use futures_util::future::{join_all, try_join_all};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::Event;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pods;
use super::workloads::{self, Scale};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::watching::{until, watch_all};

/// The field manager of what sleep writes.
const MANAGER: &str = "envctl-sleep";

/// What can sleep in a namespace, as it is now, and what cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Awake {
    /// Replicas by workload: `Deployment/api`.
    pub replicas: BTreeMap<String, i32>,
    /// CronJobs that are not suspended.
    pub cron_jobs: Vec<String>,
    /// Workloads that have no replicas to take away.
    pub sleepless: Vec<String>,
}

/// Looks how much runs.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn look(reader: &ClusterReader, namespace: &str) -> Result<Awake, ClusterError> {
    let mut awake = Awake::default();
    for workload in workloads::all(reader, namespace).await? {
        match workload.scale {
            Scale::Replicas(replicas) => {
                awake.replicas.insert(workload.label, replicas);
            }
            Scale::EachNode => awake.sleepless.push(workload.label),
            Scale::Scheduled { suspended: false } => awake.cron_jobs.push(workload.component().to_owned()),
            Scale::Scheduled { suspended: true } => {}
        }
    }
    Ok(awake)
}

/// Takes all replicas away, and suspends CronJobs; waits until no pod of the workloads is left. Workloads
/// whose pods do not end `within` this time are returned.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn sleep(
    cluster: &VerifiedCluster,
    namespace: &str,
    asleep: &Asleep,
    within: Duration,
) -> Result<Vec<String>, ClusterError> {
    let suspended = asleep.cron_jobs.iter().map(|name| suspend(cluster, namespace, name, true));
    let scaled = asleep.replicas.keys().map(|workload| scale(cluster, namespace, workload, 0));
    tokio::try_join!(try_join_all(suspended), try_join_all(scaled))?;
    let none = asleep.replicas.keys().map(|workload| async move {
        let ended = async {
            settled(cluster.reader(), namespace, workload, 0).await;
            until_none_ends(cluster.reader(), namespace, workload).await;
        };
        tokio::time::timeout(within, ended).await.err().map(|_| workload.clone())
    });
    Ok(join_all(none).await.into_iter().flatten().collect())
}

/// Whether a workload has all the replicas that it was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resized {
    /// So many pods are there, all ready, and none else.
    Ready,
    /// Not in time.
    Waiting {
        /// How many are ready.
        ready: usize,
        /// How many have been told to end, and have not.
        ending: usize,
    },
}

/// The right to change how much of a namespace's workloads runs, and nothing else of them.
#[derive(Debug, Clone)]
pub struct Scaling {
    pub(crate) cluster: VerifiedCluster,
    namespace: String,
}

impl Scaling {
    /// The cluster, to look only.
    #[must_use]
    pub fn reader(&self) -> &ClusterReader {
        self.cluster.reader()
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl VerifiedCluster {
    /// The right to change how much of a namespace's workloads runs.
    #[must_use]
    pub fn scaling(&self, namespace: &str) -> Scaling {
        Scaling { cluster: self.clone(), namespace: namespace.to_owned() }
    }
}

/// Gives one workload so many replicas, and waits until they are ready and the others gone. The field is nobody's
/// afterwards: the next delivery sets it as it likes.
///
/// # Errors
/// When there is no such Deployment or StatefulSet; when the cluster refuses or does not answer.
pub async fn resize(
    by: &Scaling,
    workload: &str,
    replicas: i32,
    within: Duration,
) -> Result<Resized, ClusterError> {
    let Scaling { cluster, namespace } = by;
    let before = look(cluster.reader(), namespace).await?.replicas;
    let Some(had) = before.get(workload).copied() else {
        return Err(ClusterError::NoSuch {
            message: format!("{workload} has no replicas in {namespace}"),
            hint: format!("these have: {}", before.into_keys().collect::<Vec<_>>().join(", ")),
        });
    };
    scale(cluster, namespace, workload, replicas).await?;
    forget(cluster, namespace, workload).await?;
    let ended = async {
        settled(cluster.reader(), namespace, workload, replicas).await;
        // What was ending before is no matter of more of them.
        if replicas < had {
            until_none_ends(cluster.reader(), namespace, workload).await;
        }
    };
    // Who may take so long to end is not late before.
    let within = within + grace(cluster.reader(), namespace, workload).await?;
    if tokio::time::timeout(within, ended).await.is_ok() {
        return Ok(Resized::Ready);
    }
    let all = pods::all(cluster.reader(), namespace).await?;
    let (ending, others): (Vec<_>, Vec<_>) =
        all.iter().filter(|pod| pod.workload == workload).partition(|pod| pod.ending);
    let ready = others.iter().filter(|pod| pod.ready).count();
    Ok(Resized::Waiting { ready, ending: ending.len() })
}

/// Whether a CronJob's runs begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// At their times.
    Scheduled,
    /// Not for now.
    Suspended,
}

/// Suspends a CronJob, or lets its runs begin again. It is read back. What runs already goes on.
///
/// # Errors
/// When there is no such CronJob; when the cluster refuses or does not answer.
pub async fn set_runs(by: &Scaling, name: &str, runs: Runs) -> Result<(), ClusterError> {
    let Scaling { cluster, namespace } = by;
    suspend(cluster, namespace, name, runs == Runs::Suspended).await?;
    give_back::<CronJob>(cluster, namespace, name).await?;
    let api: Api<CronJob> = Api::namespaced(cluster.client(), namespace);
    let doing = format!("to show the CronJob {name}");
    let found = api.get(name).await.map_err(cluster.failed(&doing))?;
    let is_suspended = found.spec.is_some_and(|spec| spec.suspend.unwrap_or(false));
    if is_suspended == (runs == Runs::Suspended) {
        return Ok(());
    }
    Err(ClusterError::Refused {
        message: format!("the CronJob {name} is not as it was set: something else sets `suspend`, too"),
        hint: "see `kubectl get cronjob NAME --show-managed-fields -o yaml`".to_owned(),
    })
}

/// How long after a tick a CronJob whose runs begin again makes up for it; none if however long ago it was.
/// <https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#deadline-for-delayed-job-start>
///
/// # Errors
/// When there is no such CronJob; when the cluster refuses or does not answer.
pub async fn catches_up(by: &Scaling, name: &str) -> Result<Option<Duration>, ClusterError> {
    let Scaling { cluster, namespace } = by;
    let api: Api<CronJob> = Api::namespaced(cluster.client(), namespace);
    let found = api.get(name).await.map_err(cluster.failed(&format!("to show the CronJob {name}")))?;
    let seconds = found.spec.and_then(|spec| spec.starting_deadline_seconds);
    Ok(seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

/// Gives all replicas back, and lets CronJobs run again. Workloads that are gone are left out.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn wake(cluster: &VerifiedCluster, namespace: &str, asleep: &Asleep) -> Result<(), ClusterError> {
    let scaled = asleep.replicas.iter().map(|(workload, replicas)| async move {
        scale(cluster, namespace, workload, *replicas).await?;
        forget(cluster, namespace, workload).await
    });
    let resumed = asleep.cron_jobs.iter().map(|name| async move {
        suspend(cluster, namespace, name, false).await?;
        give_back::<CronJob>(cluster, namespace, name).await
    });
    tokio::try_join!(try_join_all(scaled), try_join_all(resumed))?;
    Ok(())
}

async fn scale(
    cluster: &VerifiedCluster,
    namespace: &str,
    workload: &str,
    replicas: i32,
) -> Result<(), ClusterError> {
    let change = json!({"spec": {"replicas": replicas}});
    match workload.split_once('/') {
        Some(("Deployment", name)) => patch::<Deployment>(cluster, namespace, name, &change).await,
        Some(("StatefulSet", name)) => patch::<StatefulSet>(cluster, namespace, name, &change).await,
        _ => Ok(()),
    }
}

async fn suspend(
    cluster: &VerifiedCluster,
    namespace: &str,
    name: &str,
    suspend: bool,
) -> Result<(), ClusterError> {
    patch::<CronJob>(cluster, namespace, name, &json!({"spec": {"suspend": suspend}})).await
}

async fn patch<K>(
    cluster: &VerifiedCluster,
    namespace: &str,
    name: &str,
    change: &Value,
) -> Result<(), ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("to change {} {name}", K::kind(&()));
    match api.patch(name, &params, &Patch::Merge(change)).await.map_err(cluster.failed(&doing)) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn forget(cluster: &VerifiedCluster, namespace: &str, workload: &str) -> Result<(), ClusterError> {
    match workload.split_once('/') {
        Some(("Deployment", name)) => give_back::<Deployment>(cluster, namespace, name).await,
        Some((_, name)) => give_back::<StatefulSet>(cluster, namespace, name).await,
        None => Ok(()),
    }
}

/// Forgets that a field was ever ours; its value stays.
async fn give_back<K>(cluster: &VerifiedCluster, namespace: &str, name: &str) -> Result<(), ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let doing = format!("to give {} {name} back", K::kind(&()));
    loop {
        let Some(found) = api.get_metadata_opt(name).await.map_err(cluster.failed(&doing))? else {
            return Ok(());
        };
        let mut managers = found.metadata.managed_fields.unwrap_or_default();
        let before = managers.len();
        managers.retain(|one| one.manager.as_deref() != Some(MANAGER));
        if managers.len() == before {
            return Ok(());
        }
        let change = json!({"metadata": {
            "managedFields": managers,
            "resourceVersion": found.metadata.resource_version,
        }});
        match api
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .map_err(cluster.failed(&doing))
        {
            // A controller wrote in between.
            Err(error) if error.is_conflict() => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

/// Waits until the workload has so many replicas, all ready, and its controller has seen that they are wanted. Pods that
/// have been told to end it counts no more.
async fn settled(reader: &ClusterReader, namespace: &str, workload: &str, replicas: i32) {
    match workload.split_once('/') {
        Some(("Deployment", name)) => {
            let is_settled = |d: &Deployment| {
                d.status.as_ref().is_some_and(|s| {
                    s.observed_generation >= d.metadata.generation
                        && [s.replicas, s.updated_replicas, s.available_replicas]
                            .iter()
                            .all(|n| n.unwrap_or(0) == replicas)
                })
            };
            until(Api::namespaced(reader.streaming(), namespace), name, is_settled).await;
        }
        Some(("StatefulSet", name)) => {
            let is_settled = |s: &StatefulSet| {
                s.status.as_ref().is_some_and(|status| {
                    status.observed_generation >= s.metadata.generation
                        && status.replicas == replicas
                        && status.available_replicas.unwrap_or(0) == replicas
                })
            };
            until(Api::namespaced(reader.streaming(), namespace), name, is_settled).await;
        }
        _ => {}
    }
}

/// The longest time that a pod of the workload may take to end.
async fn grace(reader: &ClusterReader, namespace: &str, workload: &str) -> Result<Duration, ClusterError> {
    let api: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let all = api.list(&ListParams::default()).await.map_err(reader.failed("to list the pods"))?;
    let graces = all.iter().filter(|pod| pods::is_of(pod, workload)).filter_map(|pod| {
        let seconds = pod.spec.as_ref()?.termination_grace_period_seconds?;
        u64::try_from(seconds).ok()
    });
    Ok(Duration::from_secs(graces.max().unwrap_or(0)))
}

/// Waits until no pod of the workload is being removed.
async fn until_none_ends(reader: &ClusterReader, namespace: &str, workload: &str) {
    let mut events = watch_all::<Pod>(Api::namespaced(reader.streaming(), namespace)).boxed();
    let (mut ending, mut listed) = (BTreeSet::new(), false);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => (ending, listed) = (BTreeSet::new(), false),
            Ok(Event::InitApply(pod) | Event::Apply(pod)) if pods::is_of(&pod, workload) => {
                if pod.metadata.deletion_timestamp.is_some() {
                    ending.insert(pod.metadata.uid);
                }
            }
            Ok(Event::Delete(pod)) => _ = ending.remove(&pod.metadata.uid),
            Ok(Event::InitDone) => listed = true,
            // A watch that breaks is taken up again.
            Ok(_) | Err(_) => {}
        }
        if listed && ending.is_empty() {
            return;
        }
    }
}
