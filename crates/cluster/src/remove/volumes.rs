//! The volumes that claims of a namespace are bound to.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::watching::until_gone;

/// A volume that an environment's claims were bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `Delete` or `Retain`.
    pub policy: String,
    /// The claim.
    pub claim: String,
    /// Where the data is, in words, as far as the cluster knows: a volume is only the claim to it.
    pub disk: Option<String>,
}

/// The volumes that claims of a namespace are, or were, bound to.
///
/// # Errors
/// When the cluster does not answer. `None`: we may not list volumes.
pub async fn volumes(reader: &ClusterReader, namespace: &str) -> Result<Option<Vec<Volume>>, ClusterError> {
    let api: Api<PersistentVolume> = Api::all(reader.client());
    let listed = api.list(&ListParams::default()).await.map_err(reader.failed("to list volumes"));
    let listed = match listed {
        Err(error) if error.is_forbidden() => return Ok(None),
        listed => listed?,
    };
    let volumes = listed.items.into_iter().filter_map(|volume| {
        let spec = volume.spec?;
        let disk = match (spec.csi, spec.host_path) {
            (Some(csi), _) => Some(format!("`{}` of {}", csi.volume_handle, csi.driver)),
            (None, Some(directory)) => Some(format!("{} of its node", directory.path)),
            (None, None) => None,
        };
        let claim = spec.claim_ref.filter(|claim| claim.namespace.as_deref() == Some(namespace))?;
        Some(Volume {
            name: volume.metadata.name?,
            policy: spec.persistent_volume_reclaim_policy.unwrap_or_else(|| "Retain".to_owned()),
            claim: claim.name.unwrap_or_default(),
            disk,
        })
    });
    Ok(Some(volumes.collect()))
}

/// Waits until volumes that are to be deleted with their claims are gone; those that are not yet by
/// `deadline` are returned.
///
/// # Errors
/// When the cluster does not answer.
pub async fn await_volumes(
    reader: &ClusterReader,
    names: BTreeSet<String>,
    deadline: Instant,
) -> Result<BTreeSet<String>, ClusterError> {
    let await_one = |name: String| async move {
        let watched: Api<PersistentVolume> = Api::all(reader.streaming());
        if timeout_at(deadline.into(), until_gone(watched, &name)).await.is_ok() {
            return Ok(None);
        }
        // The watch may have seen nothing: a last look decides.
        let found = Api::<PersistentVolume>::all(reader.client()).get_metadata_opt(&name).await;
        Ok(found.map_err(reader.failed("to look a volume up"))?.map(|_| name))
    };
    let left = try_join_all(names.into_iter().map(await_one)).await?;
    Ok(left.into_iter().flatten().collect())
}
