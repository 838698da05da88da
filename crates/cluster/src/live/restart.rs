//! Pods replaced by equal ones, as `kubectl rollout restart` does it.

use std::fmt::Debug;

use envctl_model::selection::{Names, SelectionError, select};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::workloads::{self, Scale};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks;
use crate::wait::Wanted;

/// What a changed template has its pods replaced by.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-k8s-io-restart-at>
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// The workloads whose pods can be replaced.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn all(reader: &ClusterReader, namespace: &str) -> Result<Vec<Wanted>, ClusterError> {
    let all = workloads::all(reader, namespace).await?;
    let lasting = all.iter().filter(|workload| !matches!(workload.scale, Scale::Scheduled { .. }));
    Ok(lasting.filter_map(|workload| Wanted::named(&workload.label)).collect())
}

/// Those of them that words mean; without words all.
///
/// # Errors
/// When a word means none, with those that there are.
pub fn chosen(all: Vec<Wanted>, words: &[String]) -> Result<Vec<Wanted>, SelectionError> {
    if words.is_empty() {
        return Ok(all);
    }
    let named: Vec<_> = all.into_iter().map(|wanted| (wanted.to_string(), wanted)).collect();
    fn names(named: &(String, Wanted)) -> Names<'_> {
        Names { workload: Some(&named.0), ..Names::default() }
    }
    let mut chosen: Vec<Wanted> = Vec::new();
    for word in words {
        for (_, wanted) in select(&named, names, word)? {
            if !chosen.contains(wanted) {
                chosen.push(wanted.clone());
            }
        }
    }
    Ok(chosen)
}

/// Whether pods of it can be replaced: those of a Job run once.
#[must_use]
pub fn can_restart(workload: &Wanted) -> bool {
    matches!(workload.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
}

/// Has the pods of a workload replaced.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn restart(
    cluster: &VerifiedCluster,
    namespace: &str,
    workload: &Wanted,
) -> Result<(), ClusterError> {
    match workload.kind.as_str() {
        "Deployment" => touch::<Deployment>(cluster, namespace, &workload.name).await,
        "StatefulSet" => touch::<StatefulSet>(cluster, namespace, &workload.name).await,
        _ => touch::<DaemonSet>(cluster, namespace, &workload.name).await,
    }
}

async fn touch<K>(cluster: &VerifiedCluster, namespace: &str, name: &str) -> Result<(), ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let now = Timestamp::now().to_string();
    let change = json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}});
    let params =
        PatchParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("to restart {} {name}", K::kind(&()));
    api.patch(name, &params, &Patch::Merge(change)).await.map_err(cluster.failed(&doing))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_choose_workloads() {
        let all = || {
            let labels = ["Deployment/shop-api", "StatefulSet/db", "DaemonSet/log"];
            labels.iter().filter_map(|label| Wanted::named(label)).collect::<Vec<_>>()
        };
        let names = |words: &[&str]| -> Result<Vec<String>, SelectionError> {
            let words: Vec<_> = words.iter().map(|w| (*w).to_owned()).collect();
            Ok(chosen(all(), &words)?.iter().map(ToString::to_string).collect())
        };
        assert_eq!(names(&[]).unwrap().len(), 3);
        assert_eq!(names(&["db", "api", "db"]).unwrap(), ["StatefulSet/db", "Deployment/shop-api"]);
        let error = names(&["x"]).unwrap_err().to_string();
        assert_eq!(error, "there is no component x in this environment; there are: db, log, shop-api");
    }
}
