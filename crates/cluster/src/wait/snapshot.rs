//! What the API server shows of a namespace, kept up to date by watches.

use std::collections::BTreeMap;
use std::collections::HashMap;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::workloads;
use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::watching;

/// The objects of one kind, by name.
pub(super) type Objects<K> = BTreeMap<String, K>;

/// The objects of a namespace that waiting looks at.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) pods: Objects<Pod>,
    pub(super) deployments: Objects<Deployment>,
    pub(super) replica_sets: Objects<ReplicaSet>,
    pub(super) stateful_sets: Objects<StatefulSet>,
    pub(super) daemon_sets: Objects<DaemonSet>,
    pub(super) jobs: Objects<Job>,
    pub(super) claims: Objects<PersistentVolumeClaim>,
    pub(super) services: Objects<Service>,
    pub(super) ingresses: Objects<Ingress>,
    pub(super) endpoints: Objects<EndpointSlice>,
    pub(super) events: Objects<Event>,
    listed: usize,
    buffers: HashMap<Kind, Vec<Object>>,
}

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    Claim,
    Service,
    Ingress,
    Endpoints,
    Event,
}

const KINDS: usize = 11;

#[derive(Debug)]
pub(super) enum Object {
    Pod(Box<Pod>),
    Deployment(Box<Deployment>),
    ReplicaSet(Box<ReplicaSet>),
    StatefulSet(Box<StatefulSet>),
    DaemonSet(Box<DaemonSet>),
    Job(Box<Job>),
    Claim(Box<PersistentVolumeClaim>),
    Service(Box<Service>),
    Ingress(Box<Ingress>),
    Endpoints(Box<EndpointSlice>),
    Event(Box<Event>),
}

/// Something that a watch told.
#[derive(Debug)]
pub(super) enum Change {
    Relisting(Kind),
    Listed(Object),
    ListDone(Kind),
    Applied(Object),
    Deleted(Object),
}

impl Snapshot {
    /// Whether all kinds were listed once: before that, what is missing may only not have arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listed == KINDS
    }

    /// Takes a change. What is listed replaces what was known when the list is complete.
    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Relisting(kind) => {
                self.buffers.insert(kind, Vec::new());
            }
            Change::Listed(object) => self.buffers.entry(object.kind()).or_default().push(object),
            Change::ListDone(kind) => {
                self.forget(kind);
                for object in self.buffers.remove(&kind).unwrap_or_default() {
                    self.insert(object);
                }
                self.listed = (self.listed + 1).min(KINDS);
            }
            Change::Applied(object) => self.insert(object),
            // Helm may remove a hook the moment it has failed, by its deletion policy, and both may arrive in
            // one picture. A failure is one all the same, until something of the same name is made.
            Change::Deleted(object) if object.is_failure_of_a_job() => self.insert(object),
            Change::Deleted(object) => self.remove(&object),
        }
    }

    fn insert(&mut self, object: Object) {
        fn put<K: Resource>(into: &mut Objects<K>, object: K) {
            if let Some(name) = object.meta().name.clone() {
                into.insert(name, object);
            }
        }
        match object {
            Object::Pod(o) => put(&mut self.pods, *o),
            Object::Deployment(o) => put(&mut self.deployments, *o),
            Object::ReplicaSet(o) => put(&mut self.replica_sets, *o),
            Object::StatefulSet(o) => put(&mut self.stateful_sets, *o),
            Object::DaemonSet(o) => put(&mut self.daemon_sets, *o),
            Object::Job(o) => put(&mut self.jobs, *o),
            Object::Claim(o) => put(&mut self.claims, *o),
            Object::Service(o) => put(&mut self.services, *o),
            Object::Ingress(o) => put(&mut self.ingresses, *o),
            Object::Endpoints(o) => put(&mut self.endpoints, *o),
            Object::Event(o) => put(&mut self.events, *o),
        }
    }

    fn remove(&mut self, object: &Object) {
        fn take<K: Resource>(from: &mut Objects<K>, object: &K) {
            if let Some(name) = &object.meta().name {
                from.remove(name);
            }
        }
        match object {
            Object::Pod(o) => take(&mut self.pods, o),
            Object::Deployment(o) => take(&mut self.deployments, o),
            Object::ReplicaSet(o) => take(&mut self.replica_sets, o),
            Object::StatefulSet(o) => take(&mut self.stateful_sets, o),
            Object::DaemonSet(o) => take(&mut self.daemon_sets, o),
            Object::Job(o) => take(&mut self.jobs, o),
            Object::Claim(o) => take(&mut self.claims, o),
            Object::Service(o) => take(&mut self.services, o),
            Object::Ingress(o) => take(&mut self.ingresses, o),
            Object::Endpoints(o) => take(&mut self.endpoints, o),
            Object::Event(o) => take(&mut self.events, o),
        }
    }

    fn forget(&mut self, kind: Kind) {
        match kind {
            Kind::Pod => self.pods.clear(),
            Kind::Deployment => self.deployments.clear(),
            Kind::ReplicaSet => self.replica_sets.clear(),
            Kind::StatefulSet => self.stateful_sets.clear(),
            Kind::DaemonSet => self.daemon_sets.clear(),
            Kind::Job => self.jobs.clear(),
            Kind::Claim => self.claims.clear(),
            Kind::Service => self.services.clear(),
            Kind::Ingress => self.ingresses.clear(),
            Kind::Endpoints => self.endpoints.clear(),
            Kind::Event => self.events.clear(),
        }
    }
}

fn is_failed_pod_of_a_job(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Failed") && owners.into_iter().any(|owner| owner.kind == "Job")
}

impl Object {
    fn is_failure_of_a_job(&self) -> bool {
        match self {
            Self::Job(job) => workloads::has_failed(job),
            Self::Pod(pod) => is_failed_pod_of_a_job(pod),
            _ => false,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Pod(_) => Kind::Pod,
            Self::Deployment(_) => Kind::Deployment,
            Self::ReplicaSet(_) => Kind::ReplicaSet,
            Self::StatefulSet(_) => Kind::StatefulSet,
            Self::DaemonSet(_) => Kind::DaemonSet,
            Self::Job(_) => Kind::Job,
            Self::Claim(_) => Kind::Claim,
            Self::Service(_) => Kind::Service,
            Self::Ingress(_) => Kind::Ingress,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Event(_) => Kind::Event,
        }
    }
}

/// The watches behind a snapshot. Each relists by itself after a 410 and goes on after an API server
/// that was away.
pub(super) struct Watches {
    merged: SelectAll<BoxStream<'static, Result<Change, watcher::Error>>>,
    reader: ClusterReader,
}

impl Watches {
    /// Starts watching a namespace.
    pub(super) fn start(reader: &ClusterReader, namespace: &str) -> Self {
        let client = reader.streaming();
        let mut merged = SelectAll::new();
        macro_rules! watch {
            ($($kind:ident),*) => {
                $(merged.push(changes(
                    Api::namespaced(client.clone(), namespace),
                    Kind::$kind,
                    |object| Object::$kind(Box::new(object)),
                ));)*
            };
        }
        watch!(
            Pod,
            Deployment,
            ReplicaSet,
            StatefulSet,
            DaemonSet,
            Job,
            Claim,
            Service,
            Ingress,
            Endpoints,
            Event
        );
        Self { merged, reader: reader.clone() }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Result<Change, ClusterError> {
        loop {
            match self.merged.next().await {
                Some(Ok(change)) => return Ok(change),
                Some(Err(error)) => self.judge(error)?,
                // Watches have no end.
                None => std::future::pending().await,
            }
        }
    }

    /// A change that has arrived already.
    pub(super) fn ready(&mut self) -> Option<Result<Change, ClusterError>> {
        loop {
            match self.merged.next().now_or_never()?? {
                Ok(change) => return Some(Ok(change)),
                Err(error) => match self.judge(error) {
                    Ok(()) => {}
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }

    /// Refusals end waiting; silence and old versions do not.
    fn judge(&self, error: watcher::Error) -> Result<(), ClusterError> {
        watching::refusal(&self.reader, error).map_or(Ok(()), Err)
    }
}

fn changes<K>(
    api: Api<K>,
    kind: Kind,
    wrap: impl Fn(K) -> Object + Send + 'static,
) -> BoxStream<'static, Result<Change, watcher::Error>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .map(move |event| {
            event.map(|event| match event {
                watcher::Event::Init => Change::Relisting(kind),
                watcher::Event::InitApply(object) => Change::Listed(wrap(object)),
                watcher::Event::InitDone => Change::ListDone(kind),
                watcher::Event::Apply(object) => Change::Applied(wrap(object)),
                watcher::Event::Delete(object) => Change::Deleted(wrap(object)),
            })
        })
        .boxed()
}
