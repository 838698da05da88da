//! The workloads of a namespace, in one listing for all who ask what there is.

use envctl_model::selection::Names;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::Api;
use kube::api::ListParams;

use crate::client::ClusterReader;
use crate::error::ClusterError;

/// A workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Kind and name: `Deployment/api`.
    pub label: String,
    /// How much of it there is to be.
    pub scale: Scale,
    /// What its pods are made from.
    pub template: PodTemplateSpec,
}

/// How much of a workload there is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// So many replicas.
    Replicas(i32),
    /// One on each node.
    EachNode,
    /// Runs by a schedule.
    Scheduled {
        /// Whether it is left out for now.
        suspended: bool,
    },
}

impl Workload {
    /// What may name it.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        Names { workload: Some(&self.label), ..Names::default() }
    }

    /// `api` of `Deployment/api`.
    #[must_use]
    pub fn component(&self) -> &str {
        envctl_model::selection::component(&self.label)
    }
}

/// All of them: Deployments, StatefulSets, DaemonSets, CronJobs.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn all(reader: &ClusterReader, namespace: &str) -> Result<Vec<Workload>, ClusterError> {
    let everything = ListParams::default();
    let deployments: Api<Deployment> = Api::namespaced(reader.client(), namespace);
    let stateful_sets: Api<StatefulSet> = Api::namespaced(reader.client(), namespace);
    let daemon_sets: Api<DaemonSet> = Api::namespaced(reader.client(), namespace);
    let cron_jobs: Api<CronJob> = Api::namespaced(reader.client(), namespace);
    let (deployments, stateful_sets, daemon_sets, cron_jobs) = tokio::try_join!(
        deployments.list(&everything),
        stateful_sets.list(&everything),
        daemon_sets.list(&everything),
        cron_jobs.list(&everything)
    )
    .map_err(reader.failed("to list workloads"))?;
    let mut all = Vec::new();
    let mut add = |kind: &str, name: Option<String>, scale: Scale, template: PodTemplateSpec| {
        all.extend(name.map(|name| Workload { label: format!("{kind}/{name}"), scale, template }));
    };
    for Deployment { metadata, spec, .. } in deployments {
        let spec = spec.unwrap_or_default();
        add("Deployment", metadata.name, Scale::Replicas(spec.replicas.unwrap_or(1)), spec.template);
    }
    for StatefulSet { metadata, spec, .. } in stateful_sets {
        let spec = spec.unwrap_or_default();
        add("StatefulSet", metadata.name, Scale::Replicas(spec.replicas.unwrap_or(1)), spec.template);
    }
    for DaemonSet { metadata, spec, .. } in daemon_sets {
        add("DaemonSet", metadata.name, Scale::EachNode, spec.unwrap_or_default().template);
    }
    for CronJob { metadata, spec, .. } in cron_jobs {
        let spec = spec.unwrap_or_default();
        let scale = Scale::Scheduled { suspended: spec.suspend.unwrap_or(false) };
        add("CronJob", metadata.name, scale, spec.job_template.spec.unwrap_or_default().template);
    }
    Ok(all)
}
