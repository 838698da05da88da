//! The two sides of a sandbox, and what can be done with each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use envctl_cluster::live::lifetimes::{self, Readiness};
use envctl_cluster::live::session::Within;
use envctl_cluster::live::{expose, logs, pods, settings};
use envctl_cluster::{ClusterError, VerifiedCluster};
use envctl_local::machines::{Fingerprint, Machine as OldMachine, Machines, Tool as Running};
use envctl_model::cutover::CutoverPlan;
use envctl_model::cutover::plan::Tool;
use envctl_model::lifetime::Change;
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::Trouble;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::net::TcpStream;

use crate::flows::cluster::target::explain;
use crate::flows::moving::workloads::Workloads;
use crate::flows::moving::{PATIENCE, trouble};
use crate::ui::Failure;

/// The old side.
#[derive(Debug, Clone)]
pub(super) struct Old {
    /// Its machines.
    pub(super) machines: Machines,
    /// The port on which each answers; for services and endpoints.
    pub(super) port: Option<u16>,
}

impl Old {
    /// All machines.
    pub(super) async fn list(&self) -> Result<Vec<OldMachine>, Trouble> {
        self.machines.list().await.map_err(|e| Trouble(format!("the old side cannot be looked at: {e}")))
    }

    /// What the machines are made of.
    pub(super) async fn fingerprint(&self) -> Result<Fingerprint, Trouble> {
        self.machines.fingerprint().await.map_err(|e| Trouble(format!("the old side: {e}")))
    }

    /// The network of the machines.
    pub(super) async fn network(&self) -> Result<String, Trouble> {
        let first = self.list().await?.into_iter().find_map(|machine| machine.addresses.into_keys().next());
        first.ok_or_else(|| Trouble("the old side's machines are on no network".to_owned()))
    }

    /// Where the machines that run answer.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let Some(port) = self.port else { return Ok(Vec::new()) };
        let running = self.list().await?.into_iter().filter(|machine| machine.is_running);
        let first = |machine: OldMachine| machine.addresses.into_values().next();
        Ok(running.filter_map(first).map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Starts one of the plan's tools beside the machines.
    pub(super) async fn tool(&self, name: &str, tool: &Tool) -> Result<Running, Trouble> {
        let started = self.machines.tool(name, &tool.service, &tool.command).await;
        started.map_err(|e| Trouble(format!("the tool `{name}` of the old side does not start: {e}")))
    }

    /// Runs one of the plan's tools to its end, where its service runs.
    pub(super) async fn run(&self, tool: &Tool) -> Result<(), Trouble> {
        self.machines.run(&tool.service, &tool.command).await.map_err(|e| Trouble(e.to_string()))
    }

    /// Has so many machines run: the first ones are started, the others are asked to end, as their Compose file says.
    pub(super) async fn keep(&self, count: usize) -> Result<(), Trouble> {
        let all = self.list().await?;
        let (on, off) = all.split_at(count.min(all.len()));
        let starting = on.iter().filter(|machine| !machine.is_ready).map(|machine| async {
            let started = self.machines.start(&machine.instance, PATIENCE).await;
            started.map_err(|e| Trouble(format!("{} of the old side does not start: {e}", machine.instance)))
        });
        let stopping = off.iter().filter(|machine| machine.is_running).map(|machine| async {
            let stopped = self.machines.stop(&machine.instance, None).await;
            stopped.map_err(|e| Trouble(format!("{} of the old side does not stop: {e}", machine.instance)))
        });
        try_join_all(starting).await?;
        try_join_all(stopping).await?;
        self.verify(count).await
    }

    /// Reads back that exactly so many machines run.
    async fn verify(&self, count: usize) -> Result<(), Trouble> {
        let all = self.list().await?;
        let count = count.min(all.len());
        let running = all.iter().filter(|machine| machine.is_running).count();
        if running == count {
            return Ok(());
        }
        Err(Trouble(format!("{running} of {} machines of the old side run, and {count} should", all.len())))
    }
}

/// The new side, in a cluster.
#[derive(Clone)]
pub(super) struct New {
    /// The cluster.
    pub(super) cluster: VerifiedCluster,
    /// The environment's namespace.
    pub(super) namespace: String,
    /// The component's workloads.
    pub(super) workloads: Workloads,
    /// Who says that a pod is ready: where requests are answered, what leads them there.
    readiness: Readiness,
}

impl New {
    /// Looks for the component's workloads in an environment that is up.
    pub(super) async fn find(
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
    pub(super) fn workload(&self) -> Option<&str> {
        self.workloads.replicas.keys().next().map(String::as_str)
    }

    /// What becomes of its pods, from those that there are on.
    pub(super) fn changes(&self) -> BoxStream<'static, Result<Change, ClusterError>> {
        let Some(workload) = self.workload() else { return stream::pending().boxed() };
        lifetimes::changes(self.cluster.reader(), &self.namespace, workload, self.readiness.clone())
    }

    /// The names of all pods that there are now, without those that are being removed.
    pub(super) async fn pods(&self) -> Result<Vec<String>, Trouble> {
        let all =
            pods::all(self.cluster.reader(), &self.namespace).await.map_err(|e| trouble(explain(&e)))?;
        Ok(all.into_iter().filter(|pod| !pod.ending).map(|pod| pod.name).collect())
    }

    /// What its pods write from now on, those that come later too.
    pub(super) fn lines(&self) -> BoxStream<'static, Result<LogLine, ClusterError>> {
        let Some(workload) = self.workload() else { return stream::pending().boxed() };
        logs::follow(self.cluster.reader(), &self.namespace, workload, Timestamp::now())
    }

    /// For each setting of a pod's first container a digest of its value.
    pub(super) async fn settings(
        &self,
        pod: &str,
        salt: &Salt,
    ) -> Result<BTreeMap<String, String>, ClusterError> {
        let all = pods::all(self.cluster.reader(), &self.namespace).await?;
        let found = all.iter().find(|one| one.name == pod);
        let container = found.and_then(|pod| pod.containers.iter().find(|container| !container.init));
        let Some(container) = container else { return Ok(BTreeMap::new()) };
        let within = Within { namespace: &self.namespace, pod, container: &container.name };
        settings::digests(&self.cluster, within, salt).await
    }
}

/// Waits until connections to an address are made, one after the other, so often that each replica had some: a pod is
/// ready before every node knows the way to it, and nobody tells when they all do.
pub(super) async fn reached(address: SocketAddr, replicas: i32) -> Result<(), Trouble> {
    let enough = 8 * replicas.max(1);
    let trying = async {
        let mut in_a_row = 0;
        while in_a_row < enough {
            let connected = tokio::time::timeout(CONNECTS_WITHIN, TcpStream::connect(address)).await;
            if matches!(connected, Ok(Ok(_))) {
                in_a_row += 1;
            } else {
                in_a_row = 0;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::timeout(REACHED_WITHIN, trying).await.map_err(|_| {
        Trouble(format!(
            "the new side is ready, and not every connection to {address} is made after {} s\n  a NetworkPolicy or a \
             firewall may keep this machine out",
            REACHED_WITHIN.as_secs()
        ))
    })
}

/// How long one connection may take.
const CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// How long nodes may take to know the way to a ready pod.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// What went wrong with a side, before or after a director is there to be told.
pub(crate) fn failed(Trouble(text): Trouble) -> Failure {
    Failure::Failed(text)
}
