//! Taking an environment's namespace apart, in the order that its controllers need, and saying within
//! seconds what is in the way.

mod blocked;
mod claims;
mod lingering;
mod strip;
mod volumes;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectList, Preconditions};
use serde::de::DeserializeOwned;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;
use crate::watching::{until, until_gone};

pub use blocked::Blocked;
pub use claims::{is_idle, remove_claims};
pub use lingering::Lingering;
pub use strip::strip_finalizers;
pub use volumes::{Volume, await_volumes, volumes};

/// After this long, what is in the way is named.
pub const NAMED_AFTER: Duration = Duration::from_secs(8);

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
/// When the cluster does not answer. Who may not list them any more sees none: the namespace is going.
pub async fn front(reader: &ClusterReader, namespace: &str) -> Result<Vec<String>, ClusterError> {
    let services: Api<Service> = Api::namespaced(reader.client(), namespace);
    let ingresses: Api<Ingress> = Api::namespaced(reader.client(), namespace);
    let (failed, all) = (reader.failed("to list what load balancers stand for"), ListParams::default());
    let (services, ingresses) = tokio::join!(services.list(&all), ingresses.list(&all));
    let mut names: Vec<String> = seen(ingresses.map_err(&failed))?
        .into_iter()
        .filter_map(|ingress| Some(format!("Ingress/{}", ingress.metadata.name?)))
        .collect();
    for service in seen(services.map_err(&failed))? {
        let balances = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
        if let (true, Some(name)) = (balances, service.metadata.name) {
            names.push(format!("Service/{name}"));
        }
    }
    Ok(names)
}

/// What a list has; nothing where we may not see it.
fn seen<K: Clone>(listed: Result<ObjectList<K>, ClusterError>) -> Result<Vec<K>, ClusterError> {
    match listed {
        Err(error) if error.is_forbidden() => Ok(Vec::new()),
        listed => Ok(listed?.items),
    }
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
    let ingresses: Api<Ingress> = Api::namespaced(cluster.client(), namespace);
    let services: Api<Service> = Api::namespaced(cluster.client(), namespace);
    for name in names {
        match name.split_once('/') {
            Some(("Ingress", name)) => delete(cluster, &ingresses, name, &format!("Ingress {name}")).await?,
            Some(("Service", name)) => delete(cluster, &services, name, &format!("Service {name}")).await?,
            _ => {}
        }
    }
    let streaming = cluster.reader().streaming();
    let gone = async {
        for name in names {
            match name.split_once('/') {
                Some(("Ingress", name)) => {
                    until_gone(Api::<Ingress>::namespaced(streaming.clone(), namespace), name).await;
                }
                Some(("Service", name)) => {
                    until_gone(Api::<Service>::namespaced(streaming.clone(), namespace), name).await;
                }
                _ => {}
            }
        }
    };
    let look = || blocked::of_front(cluster.reader(), namespace);
    wait_or_name(gone, look, deadline, blocked).await
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
    let is_another = |namespace: &Namespace| namespace.metadata.uid.as_deref() != Some(uid);
    let gone = async { drop(until(streaming, name, is_another).await) };
    let look = || blocked::of_namespace(cluster.reader(), name);
    wait_or_name(gone, look, deadline, blocked).await
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

/// Removes `what`, an object of this name; one that is gone is no error.
async fn delete<K>(
    cluster: &VerifiedCluster,
    api: &Api<K>,
    name: &str,
    what: &str,
) -> Result<(), ClusterError>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let doing = format!("to remove {what}");
    match api.delete(name, &DeleteParams::default()).await.map_err(cluster.failed(&doing)) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
