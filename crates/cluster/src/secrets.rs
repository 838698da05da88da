//! Secrets of the stack file, in the environment's namespace.

use std::collections::BTreeMap;

use envctl_model::record::Record;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::marks;

/// The Secrets that envctl made in a namespace: name, then key, then bytes. None where the namespace is
/// missing or not ours to read.
///
/// # Errors
/// When the cluster does not answer.
pub async fn read(
    reader: &ClusterReader,
    namespace: &str,
) -> Result<BTreeMap<String, BTreeMap<String, Vec<u8>>>, ClusterError> {
    let api: Api<Secret> = Api::namespaced(reader.client(), namespace);
    let ours = ListParams::default().labels(&marks::selector());
    let list = match api.list(&ours).await.map_err(reader.failed("to show the Secrets of an environment")) {
        Err(error) if error.is_forbidden() || error.is_not_found() => return Ok(BTreeMap::new()),
        list => list?,
    };
    let keys =
        |secret: Secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    Ok(list
        .items
        .into_iter()
        .filter_map(|secret| Some((secret.metadata.name.clone()?, keys(secret).collect())))
        .collect())
}

/// Writes Secrets, given as objects of the API.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn write(
    cluster: &VerifiedCluster,
    record: &Record,
    objects: Vec<serde_json::Value>,
) -> Result<(), ClusterError> {
    let api: Api<Secret> = Api::namespaced(cluster.client(), record.name.as_str());
    for object in objects {
        let unreadable = |e: serde_json::Error| ClusterError::Unreadable {
            doing: "making a Secret".to_owned(),
            message: e.to_string(),
        };
        let mut secret: Secret = serde_json::from_value(object).map_err(unreadable)?;
        secret.metadata.labels = Some(marks::labels(record));
        let name = secret.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply(marks::FIELD_MANAGER).force();
        let doing = format!("to keep the Secret {name}");
        api.patch(&name, &params, &Patch::Apply(&secret)).await.map_err(cluster.failed(&doing))?;
    }
    Ok(())
}
