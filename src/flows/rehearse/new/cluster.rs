//! The new side in a cluster: pods of a real Kubernetes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use envctl_cluster::VerifiedCluster;
use envctl_cluster::live::expose::{self, Exposed};
use envctl_cluster::live::lifetimes::{self, Readiness};
use envctl_cluster::live::session::Within;
use envctl_cluster::live::{logs, pods, settings};
use envctl_local::balancer;
use envctl_model::cutover::CutoverPlan;
use envctl_model::lifetime::Change;
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::Trouble;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{Told, told};
use crate::flows::cluster::target::explain;
use crate::flows::moving::trouble;
use crate::flows::moving::workloads::Workloads;
use crate::ui::Failure;

/// The new side, in a cluster.
#[derive(Clone)]
pub(in crate::flows::rehearse) struct OnCluster {
    cluster: VerifiedCluster,
    /// The environment's.
    namespace: String,
    /// The component's workloads.
    pub(super) workloads: Workloads,
    /// Who says that a pod is ready: where requests are answered, what leads them there.
    readiness: Readiness,
}

impl OnCluster {
    /// Looks for the component's workloads in an environment that is up.
    pub(in crate::flows::rehearse) async fn find(
        cluster: VerifiedCluster,
        namespace: &str,
        plan: &CutoverPlan,
    ) -> Result<Self, Failure> {
        let workloads = Workloads::find(cluster.scaling(namespace), plan).await?;
        let readiness = match plan.kind {
            ComponentKind::Service | ComponentKind::Endpoint => Readiness::Endpoints(expose::NAME.to_owned()),
            ComponentKind::Worker | ComponentKind::Schedule => Readiness::Pod,
        };
        Ok(Self { cluster, namespace: namespace.to_owned(), workloads, readiness })
    }

    /// The workload that the component is.
    fn workload(&self) -> Option<&str> {
        self.workloads.replicas.keys().next().map(String::as_str)
    }

    pub(super) async fn expose(&self, plan: &CutoverPlan) -> Result<SocketAddr, Failure> {
        let Some(workload) = self.workload() else {
            return Err(Failure::Usage(format!(
                "the chart has no workload for `{}` that answers",
                plan.component
            )));
        };
        let nodes = expose::nodes(self.cluster.reader()).await.map_err(|e| explain(&e))?;
        // What the router sends leaves this machine under the same address.
        let callers: Vec<IpAddr> = nodes.iter().filter_map(|node| balancer::seen_from(*node).ok()).collect();
        let exposed = expose::expose(&self.cluster, &self.namespace, workload, &callers).await;
        let Exposed { nodes, ports, .. } = exposed.map_err(|e| explain(&e))?;
        let of_old = plan.old.port.and_then(|port| ports.get(&port));
        match (nodes.first(), of_old.or_else(|| ports.values().next())) {
            (Some(node), Some(port)) => Ok(SocketAddr::new(*node, *port)),
            _ => {
                Err(Failure::Failed(format!("the cluster has no node at which {workload} could be reached")))
            }
        }
    }

    pub(super) fn changes(&self) -> Told<Change> {
        let Some(workload) = self.workload() else { return stream::pending().boxed() };
        let changes =
            lifetimes::changes(self.cluster.reader(), &self.namespace, workload, self.readiness.clone());
        changes.map_err(told).boxed()
    }

    pub(super) async fn pods(&self) -> Result<Vec<String>, Trouble> {
        let all =
            pods::all(self.cluster.reader(), &self.namespace).await.map_err(|e| trouble(explain(&e)))?;
        Ok(all.into_iter().filter(|pod| !pod.ending).map(|pod| pod.name).collect())
    }

    pub(super) fn lines(&self) -> Told<LogLine> {
        let Some(workload) = self.workload() else { return stream::pending().boxed() };
        let lines = logs::follow(self.cluster.reader(), &self.namespace, workload, Timestamp::now());
        lines.map_err(told).boxed()
    }

    pub(super) async fn settings(&self, pod: &str, salt: &Salt) -> Result<BTreeMap<String, String>, Trouble> {
        let all = pods::all(self.cluster.reader(), &self.namespace).await.map_err(told)?;
        let found = all.iter().find(|one| one.name == pod);
        let container = found.and_then(|pod| pod.containers.iter().find(|container| !container.init));
        let Some(container) = container else { return Ok(BTreeMap::new()) };
        let within = Within { namespace: &self.namespace, pod, container: &container.name };
        settings::digests(&self.cluster, within, salt).await.map_err(told)
    }

    /// Whether there was one to kill.
    pub(super) async fn kill_one(&self) -> Result<bool, Trouble> {
        let all = pods::all(self.cluster.reader(), &self.namespace).await.map_err(told)?;
        let mut ours = all
            .iter()
            .filter(|pod| self.workloads.replicas.contains_key(&pod.workload) && pod.ready && !pod.ending);
        let Some(pod) = ours.next() else { return Ok(false) };
        let killed = pods::kill(&self.cluster, &self.namespace, &pod.name).await;
        killed.map(|()| true).map_err(|e| trouble(explain(&e)))
    }
}
