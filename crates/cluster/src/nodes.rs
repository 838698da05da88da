//! The nodes of a cluster: what runs on them, and what is left on them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use crate::client::ClusterReader;
use crate::error::ClusterError;

/// How many nodes can take pods, by platform: `linux/amd64`. Empty where we may not list nodes.
///
/// # Errors
/// When the cluster does not answer.
pub async fn platforms(reader: &ClusterReader) -> Result<BTreeMap<String, usize>, ClusterError> {
    let api: Api<Node> = Api::all(reader.client());
    let nodes = match api.list(&ListParams::default()).await.map_err(reader.failed("to list its nodes")) {
        Err(error) if error.is_forbidden() => return Ok(BTreeMap::new()),
        nodes => nodes?,
    };
    let mut platforms = BTreeMap::new();
    for node in nodes.items {
        let closed = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
        let Some(info) = node.status.and_then(|s| s.node_info).filter(|_| !closed) else { continue };
        *platforms.entry(format!("{}/{}", info.operating_system, info.architecture)).or_default() += 1;
    }
    Ok(platforms)
}
