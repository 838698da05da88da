//! How pods are configured, as digests: no value leaves the cluster's API.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::settings::Salt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use super::session::{Joined, Process, Within, join};
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// For each setting in the environment that a container's first process was started with a digest of its value. It is
/// read in the container, because ConfigMaps and Secrets may have changed since. Left out is what Kubernetes gives
/// each pod of its own: fields of the pod, and where Services are.
///
/// # Errors
/// When there is no such pod, or its image has no `cat`; when the cluster refuses or does not answer.
pub async fn digests(
    cluster: &VerifiedCluster,
    within: Within<'_>,
    salt: &Salt,
) -> Result<BTreeMap<String, String>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), within.namespace);
    let doing = format!("to show the pod {}", within.pod);
    let pod = api.get(within.pod).await.map_err(cluster.failed(&doing))?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let joined =
        Joined { stdin: None::<tokio::io::Empty>, stdout: &mut stdout, stderr: &mut stderr, terminal: None };
    let command = ["cat", "/proc/1/environ"].map(str::to_owned);
    if join(cluster, within, Process::Command(&command), joined).await? != 0 {
        return Err(ClusterError::Unreadable {
            doing: format!("reading the environment of {}/{}", within.pod, within.container),
            message: String::from_utf8_lossy(&stderr).trim().to_owned(),
        });
    }
    let variables = Variables::of(&pod, within.container);
    let wanted = stdout.split(|byte| *byte == 0).filter(|variable| variables.are_settings(variable));
    Ok(salt.digests(wanted))
}

/// What a container's spec says of its variables.
#[derive(Debug, Default)]
struct Variables {
    /// Those that it names.
    named: BTreeSet<String>,
    /// Those among them with a field of the pod as their value.
    of_pod: BTreeSet<String>,
}

impl Variables {
    fn of(pod: &Pod, container: &str) -> Self {
        let spec = pod.spec.iter().flat_map(|spec| &spec.containers).find(|one| one.name == container);
        let mut variables = Self::default();
        for variable in spec.iter().flat_map(|one| one.env.iter().flatten()) {
            let from = variable.value_from.as_ref();
            if from.is_some_and(|from| from.field_ref.is_some() || from.resource_field_ref.is_some()) {
                variables.of_pod.insert(variable.name.clone());
            }
            variables.named.insert(variable.name.clone());
        }
        variables
    }

    fn are_settings(&self, variable: &[u8]) -> bool {
        let text = String::from_utf8_lossy(variable);
        let Some((name, value)) = text.split_once('=') else { return false };
        !self.of_pod.contains(name) && (self.named.contains(name) || !is_service_link(name, value))
    }
}

/// Whether a variable says where a Service is: those that there were when a pod was made.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_service_link(name: &str, value: &str) -> bool {
    // `A_PORT_80_TCP_PORT` has the mark twice.
    let of_port = name.split_once("_PORT_").and_then(|(_, rest)| rest.split('_').next());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || of_port.is_some_and(|number| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(variables: &[&str]) -> Vec<String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "side"},
            {"name": "api", "env": [
                {"name": "COLOUR", "value": "blue"},
                {"name": "QUEUE_SERVICE_HOST", "value": "queue"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}]}}))
        .unwrap();
        let known = Variables::of(&pod, "api");
        let kept = variables.iter().filter(|variable| known.are_settings(variable.as_bytes()));
        kept.map(|variable| variable.split('=').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_kubernetes_gives_each_pod_of_its_own_is_no_setting() {
        let variables = [
            "COLOUR=blue",
            "POD_IP=10.0.0.1",
            "LIMIT=1",
            "API_SERVICE_HOST=10.96.0.7",
            "API_SERVICE_PORT=80",
            "API_SERVICE_PORT_HTTP=80",
            "API_PORT=tcp://10.96.0.7:80",
            "API_PORT_80_TCP=tcp://10.96.0.7:80",
            "API_PORT_80_TCP_PROTO=tcp",
            "API_PORT_80_TCP_PORT=80",
            "API_PORT_80_TCP_ADDR=10.96.0.7",
        ];
        assert_eq!(kept(&variables), ["COLOUR"]);
    }

    #[test]
    fn what_only_looks_like_a_service_stays() {
        let variables = ["DB_PORT=3306", "QUEUE_SERVICE_HOST=queue", "EXPORT_PORT_NAME=x", "FROM_A_SECRET=1"];
        assert_eq!(kept(&variables), ["DB_PORT", "QUEUE_SERVICE_HOST", "EXPORT_PORT_NAME", "FROM_A_SECRET"]);
    }
}
