//! What keeps objects from going, in words.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use super::seen;
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::objects::Kinds;

/// Something that keeps an object from going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// `Ingress/web`.
    pub object: String,
    /// What it waits for, in words.
    pub by: String,
    /// Whether finalizers of a controller hold it: what it made outside of the cluster could be given up.
    pub strippable: bool,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.object.replacen('/', " ", 1), self.by)
    }
}

/// What keeps Ingresses and Services from going: finalizers, and whose they are.
pub(super) async fn of_front(reader: &ClusterReader, namespace: &str) -> Result<Vec<Blocked>, ClusterError> {
    let failed = reader.failed("to say what is in the way");
    let all = ListParams::default();
    let ingresses: Api<Ingress> = Api::namespaced(reader.client(), namespace);
    let services: Api<Service> = Api::namespaced(reader.client(), namespace);
    let classes: Api<IngressClass> = Api::all(reader.client());
    let (ingresses, services, classes) =
        tokio::join!(ingresses.list(&all), services.list(&all), classes.list(&all));
    // Whoever may not list them sees finalizers without their controllers.
    let classes = classes.map(|list| list.items).unwrap_or_default();
    let mut blocked = Vec::new();
    for ingress in seen(ingresses.map_err(&failed))? {
        let class = ingress.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref());
        let controller = classes
            .iter()
            .find(|c| c.metadata.name.as_deref() == class)
            .and_then(|c| c.spec.as_ref()?.controller.clone());
        blocked.extend(waits_for_finalizers("Ingress", &ingress.metadata, controller.as_deref()));
    }
    for service in seen(services.map_err(&failed))? {
        let class = service.spec.as_ref().and_then(|s| s.load_balancer_class.as_deref());
        blocked.extend(waits_for_finalizers("Service", &service.metadata, class));
    }
    Ok(blocked)
}

/// What keeps a namespace from going: what its controller says, and each object that waits.
pub(super) async fn of_namespace(reader: &ClusterReader, name: &str) -> Result<Vec<Blocked>, ClusterError> {
    let api: Api<Namespace> = Api::all(reader.client());
    let found = api.get_opt(name).await.map_err(reader.failed("to show a namespace"))?;
    let conditions = found.and_then(|n| n.status).and_then(|s| s.conditions).unwrap_or_default();
    let mut blocked: Vec<Blocked> = conditions
        .into_iter()
        .filter(|c| c.status == "True")
        .filter_map(|c| {
            let message = c.message.unwrap_or_default();
            let by = match c.type_.as_str() {
                "NamespaceFinalizersRemaining" => {
                    format!("waits for finalizers of what is in it: {}", after_colon(&message))
                }
                "NamespaceContentRemaining" => format!("still has: {}", after_colon(&message)),
                "NamespaceDeletionDiscoveryFailure" => {
                    format!("cannot be emptied, since an API of the cluster does not answer: {message}")
                }
                "NamespaceDeletionContentFailure" => format!("cannot be emptied: {message}"),
                _ => return None,
            };
            Some(Blocked { object: format!("Namespace/{name}"), by, strippable: false })
        })
        .collect();
    blocked.extend(of_contents(reader, name).await?);
    Ok(blocked)
}

/// Each object that waits for its finalizers, and each pod that still ends.
pub(super) async fn of_contents(
    reader: &ClusterReader,
    namespace: &str,
) -> Result<Vec<Blocked>, ClusterError> {
    let (front, others, pods) = tokio::join!(
        of_front(reader, namespace),
        of_others(reader, namespace),
        ending_pods(reader, namespace)
    );
    let mut blocked = front?;
    blocked.extend(others?);
    blocked.extend(pods);
    Ok(blocked)
}

fn after_colon(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(_, rest)| rest)
}

/// Objects of any other kind that wait for their finalizers, as far as we may list them.
async fn of_others(reader: &ClusterReader, namespace: &str) -> Result<Vec<Blocked>, ClusterError> {
    let kinds = Kinds::discover(reader).await?;
    let objects = kinds.list(reader, namespace).await?;
    Ok(objects
        .iter()
        .filter(|(object, _)| !matches!(object.kind.as_str(), "Ingress" | "Service"))
        .filter_map(|(object, meta)| waits_for_finalizers(&object.kind, meta, None))
        .collect())
}

fn waits_for_finalizers(kind: &str, meta: &ObjectMeta, controller: Option<&str>) -> Option<Blocked> {
    meta.deletion_timestamp.as_ref()?;
    let finalizers = meta.finalizers.as_deref().filter(|finalizers| !finalizers.is_empty())?;
    let name = meta.name.as_deref().unwrap_or_default();
    let strippable = is_held(meta);
    let whose = match controller {
        _ if !strippable => "Kubernetes has not done its part yet".to_owned(),
        Some(controller) => {
            format!("the controller `{controller}` has not done its part and may not be running")
        }
        None => "the controller that set it has not done its part and may not be running".to_owned(),
    };
    let finalizers: Vec<_> = finalizers.iter().map(|finalizer| format!("`{finalizer}`")).collect();
    Some(Blocked {
        object: format!("{kind}/{name}"),
        by: format!("waits for its finalizer {}: {whose}", finalizers.join(", ")),
        strippable,
    })
}

/// Whether a controller that is no part of Kubernetes has to act before an object can go.
pub(super) fn is_held(meta: &ObjectMeta) -> bool {
    meta.finalizers.iter().flatten().any(|finalizer| !is_of_kubernetes(finalizer))
}

/// Whether Kubernetes itself sets a finalizer: those of other controllers carry a domain of their own.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/>
fn is_of_kubernetes(finalizer: &str) -> bool {
    finalizer == "batch.kubernetes.io/job-tracking"
        || finalizer.split_once('/').is_none_or(|(domain, _)| domain == "kubernetes.io")
}

/// Pods that are given time to end.
async fn ending_pods(reader: &ClusterReader, namespace: &str) -> Vec<Blocked> {
    let pods: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let Ok(pods) = pods.list(&ListParams::default()).await else { return Vec::new() };
    let ending = |pod: &Pod| {
        let meta = &pod.metadata;
        meta.deletion_timestamp.as_ref()?;
        Some(Blocked {
            object: format!("Pod/{}", meta.name.as_deref()?),
            by: format!(
                "is still ending (its grace period is {} s)",
                meta.deletion_grace_period_seconds.unwrap_or_default()
            ),
            strippable: false,
        })
    };
    pods.items.iter().filter_map(ending).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blocked(finalizers: &[&str]) -> Option<Blocked> {
        let meta =
            json!({"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers});
        waits_for_finalizers("ConfigMap", &serde_json::from_value(meta).unwrap(), None)
    }

    #[test]
    fn only_finalizers_of_controllers_can_be_given_up() {
        assert!(blocked(&["example.com/backup"]).unwrap().strippable);
        assert!(blocked(&["kubernetes.io/pvc-protection", "example.com/backup"]).unwrap().strippable);
        assert!(!blocked(&["kubernetes.io/pvc-protection"]).unwrap().strippable);
        assert!(!blocked(&["foregroundDeletion"]).unwrap().strippable);
        assert_eq!(blocked(&[]), None);
    }
}
