//! Taking an environment's namespace apart, in the order that its controllers need, and saying within
//! seconds what is in the way.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// After this long, what is in the way is named.
pub const NAMED_AFTER: Duration = Duration::from_secs(8);

/// Something that keeps an object from going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// `Ingress/web`.
    pub object: String,
    /// What it waits for, in words.
    pub by: String,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.object.replacen('/', " ", 1), self.by)
    }
}

/// What came of waiting for something to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Gone,
    /// The deadline passed; these are in the way.
    Blocked(Vec<Blocked>),
}

/// The Ingresses and the Services with load balancers: what a controller outside the namespace has to
/// take apart while it still can be told about it.
///
/// # Errors
/// When the cluster does not answer.
pub async fn front(reader: &ClusterReader, namespace: &str) -> Result<Vec<String>, ClusterError> {
    let services: Api<Service> = Api::namespaced(reader.client(), namespace);
    let ingresses: Api<Ingress> = Api::namespaced(reader.client(), namespace);
    let (failed, all) = (reader.failed("to list what load balancers stand for"), ListParams::default());
    let (services, ingresses) = tokio::join!(services.list(&all), ingresses.list(&all));
    let mut names: Vec<String> = ingresses
        .map_err(&failed)?
        .items
        .into_iter()
        .filter_map(|ingress| Some(format!("Ingress/{}", ingress.metadata.name?)))
        .collect();
    for service in services.map_err(&failed)?.items {
        let balances = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
        if let (true, Some(name)) = (balances, service.metadata.name) {
            names.push(format!("Service/{name}"));
        }
    }
    Ok(names)
}

/// Removes what [`front`] names and waits until it is gone. `blocked` is told once, soon, what is in the
/// way; the wait goes on until `deadline`.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn remove_front(
    cluster: &VerifiedCluster,
    namespace: &str,
    names: &[String],
    deadline: Instant,
    blocked: impl Fn(&[Blocked]),
) -> Result<Removed, ClusterError> {
    for name in names {
        match name.split_once('/') {
            Some(("Ingress", name)) => delete::<Ingress>(cluster, namespace, name).await?,
            Some(("Service", name)) => delete::<Service>(cluster, namespace, name).await?,
            _ => {}
        }
    }
    let gone = async {
        for name in names {
            match name.split_once('/') {
                Some(("Ingress", name)) => await_gone::<Ingress>(cluster.reader(), namespace, name).await,
                Some(("Service", name)) => await_gone::<Service>(cluster.reader(), namespace, name).await,
                _ => {}
            }
        }
    };
    let look = || front_blocked(cluster.reader(), namespace);
    wait_or_name(gone, look, deadline, blocked).await
}

async fn front_blocked(reader: &ClusterReader, namespace: &str) -> Result<Vec<Blocked>, ClusterError> {
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
    for ingress in ingresses.map_err(&failed)?.items {
        let class = ingress.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref());
        let controller = classes
            .iter()
            .find(|c| c.metadata.name.as_deref() == class)
            .and_then(|c| c.spec.as_ref()?.controller.clone());
        blocked.extend(waits_for_finalizers("Ingress", &ingress, controller.as_deref()));
    }
    for service in services.map_err(&failed)?.items {
        blocked.extend(waits_for_finalizers("Service", &service, None));
    }
    Ok(blocked)
}

fn waits_for_finalizers<K: Resource>(kind: &str, object: &K, controller: Option<&str>) -> Option<Blocked> {
    let meta = object.meta();
    meta.deletion_timestamp.as_ref()?;
    let finalizers = meta.finalizers.clone().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    let whose = match controller {
        Some(controller) => format!("the controller `{controller}`"),
        None => "the controller that set it".to_owned(),
    };
    (!finalizers.is_empty()).then(|| Blocked {
        object: format!("{kind}/{name}"),
        by: format!(
            "waits for its finalizer {}: {whose} has not done its part and may not be running",
            finalizers.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Removes the namespace, if it still has this UID, and waits until it is gone.
///
/// # Errors
/// When the cluster refuses or does not answer. A namespace that is gone, or another one of the same
/// name by now, is no error.
pub async fn remove_namespace(
    cluster: &VerifiedCluster,
    name: &str,
    uid: &str,
    deadline: Instant,
    blocked: impl Fn(&[Blocked]),
) -> Result<Removed, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client());
    let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::default() };
    match api.delete(name, &params).await.map_err(cluster.failed("to remove a namespace")) {
        Err(error) if error.is_not_found() => return Ok(Removed::Gone),
        // It is being removed already, or it is another one.
        Err(error) if !error.is_conflict() => return Err(error),
        _ => {}
    }
    let streaming: Api<Namespace> = Api::all(cluster.reader().streaming());
    let gone = async {
        let mut stream = watcher::watch_object(streaming, name).boxed();
        while let Some(next) = stream.next().await {
            match next {
                Ok(Some(namespace)) if namespace.metadata.uid.as_deref() == Some(uid) => {}
                // The watch is taken up again by itself.
                Err(_) => {}
                Ok(_) => return,
            }
        }
    };
    let look = || namespace_blocked(cluster.reader(), name);
    wait_or_name(gone, look, deadline, blocked).await
}

/// What the namespace controller says is in the way.
async fn namespace_blocked(reader: &ClusterReader, name: &str) -> Result<Vec<Blocked>, ClusterError> {
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
            Some(Blocked { object: format!("Namespace/{name}"), by })
        })
        .collect();
    blocked.extend(front_blocked(reader, name).await?);
    blocked.extend(finalizers_of_claims(reader, name).await);
    Ok(blocked)
}

fn after_colon(text: &str) -> &str {
    text.split_once(": ").map_or(text, |(_, rest)| rest)
}

/// Claims that a pod still uses, or whose driver does not let go.
async fn finalizers_of_claims(reader: &ClusterReader, namespace: &str) -> Vec<Blocked> {
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
    let all = ListParams::default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(reader.client(), namespace);
    let pods: Api<Pod> = Api::namespaced(reader.client(), namespace);
    let (claims, pods) = tokio::join!(claims.list(&all), pods.list(&all));
    let (Ok(claims), Ok(pods)) = (claims, pods) else { return Vec::new() };
    let waiting = claims.items.iter().filter_map(|c| waits_for_finalizers("PersistentVolumeClaim", c, None));
    let ending = pods.items.iter().filter(|p| p.metadata.deletion_timestamp.is_some()).filter_map(|p| {
        let finalizers = p.metadata.finalizers.as_ref().filter(|f| !f.is_empty());
        Some(Blocked {
            object: format!("Pod/{}", p.metadata.name.as_deref()?),
            by: match finalizers {
                Some(_) => return waits_for_finalizers("Pod", p, None),
                None => format!(
                    "is still ending (its grace period is {} s)",
                    p.metadata.deletion_grace_period_seconds.unwrap_or_default()
                ),
            },
        })
    });
    waiting.chain(ending).collect()
}

async fn wait_or_name<L: Future<Output = Result<Vec<Blocked>, ClusterError>>>(
    gone: impl Future<Output = ()>,
    look: impl Fn() -> L,
    deadline: Instant,
    blocked: impl Fn(&[Blocked]),
) -> Result<Removed, ClusterError> {
    let mut gone = std::pin::pin!(gone);
    let soon = deadline.min(Instant::now() + NAMED_AFTER);
    if tokio::time::timeout_at(soon.into(), &mut gone).await.is_ok() {
        return Ok(Removed::Gone);
    }
    // A cluster that is away for a moment has nothing to say, and is waited for all the same.
    let names = match look().await {
        Err(error) if !error.is_passing() => return Err(error),
        names => names.unwrap_or_default(),
    };
    blocked(&names);
    if tokio::time::timeout_at(deadline.into(), &mut gone).await.is_ok() {
        return Ok(Removed::Gone);
    }
    Ok(Removed::Blocked(look().await?))
}

async fn delete<K>(cluster: &VerifiedCluster, namespace: &str, name: &str) -> Result<(), ClusterError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let doing = format!("to remove {} {name}", K::kind(&()));
    match api.delete(name, &DeleteParams::default()).await.map_err(cluster.failed(&doing)) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn await_gone<K>(reader: &ClusterReader, namespace: &str, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(reader.streaming(), namespace);
    let mut stream = watcher::watch_object(api, name).boxed();
    while let Some(next) = stream.next().await {
        if matches!(next, Ok(None)) {
            return;
        }
    }
}

/// Takes the finalizers off one object that the user named: what its controller would have removed
/// outside of the cluster stays there.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn strip_finalizers(
    cluster: &VerifiedCluster,
    namespace: &str,
    object: &str,
) -> Result<(), ClusterError> {
    let (kind, name) = object.split_once('/').unwrap_or(("", object));
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let (params, doing) = (PatchParams::default(), format!("to take the finalizers off {object}"));
    let (client, failed) = (cluster.client(), cluster.failed(&doing));
    let result = match kind {
        "Ingress" => {
            Api::<Ingress>::namespaced(client, namespace).patch(name, &params, &patch).await.map(drop)
        }
        "Service" => {
            Api::<Service>::namespaced(client, namespace).patch(name, &params, &patch).await.map(drop)
        }
        "PersistentVolumeClaim" => {
            let api: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
                Api::namespaced(client, namespace);
            api.patch(name, &params, &patch).await.map(drop)
        }
        _ => {
            return Err(ClusterError::Refused {
                message: format!("finalizers of `{object}` are not taken off"),
                hint: "name an object as Ingress/NAME, Service/NAME or PersistentVolumeClaim/NAME".to_owned(),
            });
        }
    };
    match result.map_err(failed) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// A volume that an environment's claims were bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `Delete` or `Retain`.
    pub policy: String,
    /// The claim.
    pub claim: String,
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
            let claim = spec.claim_ref.filter(|claim| claim.namespace.as_deref() == Some(namespace))?;
            Some(Volume {
                name: volume.metadata.name?,
                policy: spec.persistent_volume_reclaim_policy.unwrap_or_else(|| "Retain".to_owned()),
                claim: claim.name.unwrap_or_default(),
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
