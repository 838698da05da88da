//! Volume claims go once nothing runs that uses them, while whatever removes their volumes is still there.

use std::time::Instant;

use futures_util::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use super::{Blocked, Removed, blocked, delete, wait_or_name};
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::watching::until_gone;

/// Whether nothing runs in a namespace.
///
/// # Errors
/// When the cluster does not answer. Where we may not look, something may run.
pub async fn is_idle(reader: &ClusterReader, namespace: &str) -> Result<bool, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let pods = pods.list(&ListParams::default()).await.map_err(reader.failed("to list pods"));
    let has_ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    match pods {
        Err(error) if error.is_forbidden() => Ok(false),
        pods => Ok(pods?.items.iter().all(has_ended)),
    }
}

/// Removes the volume claims of a namespace and waits until they are gone. `tell` is told once, soon, what
/// is in the way; the wait goes on until `deadline`.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn remove_claims(
    cluster: &VerifiedCluster,
    namespace: &str,
    deadline: Instant,
    tell: impl Fn(&[Blocked]),
) -> Result<Removed, ClusterError> {
    let reader = cluster.reader();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client(), namespace);
    let listed = claims.list(&ListParams::default()).await.map_err(reader.failed("to list volume claims"))?;
    let names: Vec<_> = listed.items.into_iter().filter_map(|claim| claim.metadata.name).collect();
    let remove = async |name| delete(cluster, &claims, name, &format!("PersistentVolumeClaim {name}")).await;
    try_join_all(names.iter().map(|name| remove(name))).await?;
    let gone = async {
        let streaming = reader.streaming();
        let watched =
            |name| until_gone(Api::<PersistentVolumeClaim>::namespaced(streaming.clone(), namespace), name);
        join_all(names.iter().map(|name| watched(name))).await;
    };
    wait_or_name(gone, || blocked::of_contents(reader, namespace), deadline, tell).await
}
