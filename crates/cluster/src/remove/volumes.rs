//! The volumes that claims of a namespace are bound to.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::watcher;
use serde::{Deserialize, Serialize};

use crate::client::ClusterReader;
use crate::error::ClusterError;

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
/// When the cluster does not answer. Who may not list volumes sees none.
pub async fn volumes(reader: &ClusterReader, namespace: &str) -> Result<Vec<Volume>, ClusterError> {
    let api: Api<PersistentVolume> = Api::all(reader.client());
    let listed = api.list(&ListParams::default()).await.map_err(reader.failed("to list volumes"));
    let listed = match listed {
        Err(error) if error.is_forbidden() => return Ok(Vec::new()),
        listed => listed?,
    };
    Ok(listed
        .items
        .into_iter()
        .filter_map(|volume| {
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
        })
        .collect())
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
    let mut left = names;
    for name in left.clone() {
        let api: Api<PersistentVolume> = Api::all(reader.streaming());
        let gone = async {
            let mut stream = watcher::watch_object(api, &name).boxed();
            while let Some(next) = stream.next().await {
                if matches!(next, Ok(None)) {
                    return;
                }
            }
        };
        if tokio::time::timeout_at(deadline.into(), gone).await.is_ok() {
            left.remove(&name);
        }
    }
    Ok(left)
}
