//! Secrets of the stack file, in the environment's namespace.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::record::Record;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::live::pods::workload_of;
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

/// When each Secret last got another content.
pub type Changed = BTreeMap<String, Timestamp>;

/// Writes Secrets, given as objects of the API.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn write(
    cluster: &VerifiedCluster,
    record: &Record,
    objects: Vec<serde_json::Value>,
) -> Result<Changed, ClusterError> {
    let api: Api<Secret> = Api::namespaced(cluster.client(), record.name.as_str());
    let mut changed = Changed::new();
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
        let written =
            api.patch(&name, &params, &Patch::Apply(&secret)).await.map_err(cluster.failed(&doing))?;
        changed.extend(last_changed(&written).map(|at| (name, at)));
    }
    Ok(changed)
}

/// To apply what is there already leaves the time of our fields as it was.
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
fn last_changed(secret: &Secret) -> Option<Timestamp> {
    let ours = secret.metadata.managed_fields.iter().flatten();
    let ours = ours.filter(|fields| fields.manager.as_deref() == Some(marks::FIELD_MANAGER));
    ours.filter_map(|fields| Some(fields.time.as_ref()?.0)).max()
}

/// The workloads, `Deployment/web`, with pods that read a Secret and are older than its content. No chart
/// knows of these Secrets, so that none replaces pods for them.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn outdated_readers(
    reader: &ClusterReader,
    namespace: &str,
    changed: &Changed,
) -> Result<BTreeSet<String>, ClusterError> {
    if changed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let pods: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let pods = pods.list(&ListParams::default()).await.map_err(reader.failed("to list pods"))?;
    let outdated = pods.items.iter().filter(|pod| is_outdated(pod, changed));
    Ok(outdated.filter_map(workload_of).collect())
}

fn is_outdated(pod: &Pod, changed: &Changed) -> bool {
    let Some(made) = pod.metadata.creation_timestamp.as_ref().map(|at| at.0) else { return false };
    secrets_of(pod).iter().any(|secret| changed.get(*secret).is_some_and(|at| made < *at))
}

/// The Secrets that a pod reads, by variables or files.
fn secrets_of(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let variables = containers().flat_map(|c| c.env.iter().flatten());
    let variables = variables.filter_map(|v| Some(&v.value_from.as_ref()?.secret_key_ref.as_ref()?.name));
    let all = containers().flat_map(|c| c.env_from.iter().flatten());
    let all = all.filter_map(|from| Some(&from.secret_ref.as_ref()?.name));
    let volumes = || spec.volumes.iter().flatten();
    let files = volumes().filter_map(|v| v.secret.as_ref()?.secret_name.as_ref());
    let projected = volumes().filter_map(|v| v.projected.as_ref()?.sources.as_ref()).flatten();
    let projected = projected.filter_map(|source| Some(&source.secret.as_ref()?.name));
    variables.chain(all).chain(files).chain(projected).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "creationTimestamp": "2026-01-01T10:00:00Z"},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_outdated_by_any_way_to_read_a_secret() {
        let reads = [
            json!({"containers": [{"name": "a", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}]}]}),
            json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "db"}}]}], "containers": []}),
            json!({"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "db"}}]}),
            json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "db"}}]}}]}),
        ];
        let at = |name: &str, time: &str| Changed::from([(name.to_owned(), time.parse().unwrap())]);
        for spec in &reads {
            assert!(is_outdated(&pod(spec), &at("db", "2026-01-01T10:00:01Z")), "{spec}");
            assert!(!is_outdated(&pod(spec), &at("db", "2026-01-01T10:00:00Z")), "made after it: {spec}");
            assert!(!is_outdated(&pod(spec), &at("other", "2026-01-01T10:00:01Z")), "{spec}");
        }
    }

    #[test]
    fn the_time_is_that_of_our_own_fields() {
        let secret = |manager: &str| -> Secret {
            let fields = json!([
                {"manager": manager, "operation": "Apply", "time": "2026-01-01T10:00:00Z"},
                {"manager": "kubectl", "operation": "Update", "time": "2026-01-01T11:00:00Z"}]);
            serde_json::from_value(json!({"metadata": {"managedFields": fields}})).unwrap()
        };
        let ten = "2026-01-01T10:00:00Z".parse().unwrap();
        assert_eq!(last_changed(&secret(marks::FIELD_MANAGER)), Some(ten));
        assert_eq!(last_changed(&secret("helm")), None);
    }
}
