//! What environments ask for, all of a cluster at once: two lists, however many there are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::Api;
use kube::api::ListParams;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::{guardrails, marks};

/// What an environment's namespace holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Whose namespace it is, by its identity.
    pub identity: String,
    /// Who made it.
    pub owner: String,
    /// When it says that it may be removed.
    pub expires: Option<Timestamp>,
    /// Whether it is being removed.
    pub ending: bool,
    /// How many pods run or are about to.
    pub pods: Option<usize>,
    /// The sum of what its containers request of CPU, as the quota counts it.
    pub cpu: Option<String>,
    /// Likewise of memory.
    pub memory: Option<String>,
}

/// The usage of all environments, by namespace.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn all(reader: &ClusterReader) -> Result<BTreeMap<String, Usage>, ClusterError> {
    let ours = ListParams::default().labels(&marks::selector());
    let namespaces: Api<Namespace> = Api::all(reader.client());
    let quotas: Api<ResourceQuota> = Api::all(reader.client());
    let (namespaces, quotas) = tokio::join!(namespaces.list_metadata(&ours), quotas.list(&ours));
    let namespaces = namespaces.map_err(reader.failed("to list namespaces"))?;
    let mut all: BTreeMap<_, _> = namespaces
        .items
        .into_iter()
        .filter_map(|namespace| {
            let meta = namespace.metadata;
            let expires = marks::expires(&meta);
            let mut annotations = meta.annotations.unwrap_or_default();
            let mut take = |key: &str| annotations.remove(key).unwrap_or_default();
            let (identity, owner) = (take(marks::IDENTITY), take(marks::OWNER));
            let ending = meta.deletion_timestamp.is_some();
            let usage = Usage { identity, owner, expires, ending, ..Usage::default() };
            Some((meta.name?, usage))
        })
        .collect();
    for quota in quotas.map_err(reader.failed("to list quotas"))?.items {
        let meta = &quota.metadata;
        let namespace = meta.namespace.as_ref().and_then(|namespace| all.get_mut(namespace));
        let (Some(usage), Some(guardrails::NAME)) = (namespace, meta.name.as_deref()) else { continue };
        let used = quota.status.and_then(|status| status.used).unwrap_or_default();
        let one_of = |keys: [&str; 2]| keys.iter().find_map(|key| used.get(*key)).map(|q| q.0.clone());
        usage.cpu = one_of(["requests.cpu", "cpu"]);
        usage.memory = one_of(["requests.memory", "memory"]);
        usage.pods = one_of(["pods", "count/pods"]).and_then(|pods| pods.parse().ok());
    }
    Ok(all)
}
