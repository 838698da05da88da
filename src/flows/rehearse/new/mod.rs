//! The new side: the component's pods, in a cluster or, for a draft, on this machine's Engine.
//!
//! ```text
//! cluster     pods of a real Kubernetes
//! draft       the same chart, translated to containers
//! environment its environment: checked, brought up, removed
//! ```

mod cluster;
mod draft;
mod environment;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use envctl_model::cutover::CutoverPlan;
use envctl_model::lifetime::Change;
use envctl_model::log::LogLine;
use envctl_model::settings::Salt;
use envctl_rehearse::director::Trouble;
use futures_util::stream::BoxStream;
use tokio::net::TcpStream;

use crate::flows::moving::NewSide;
use crate::flows::moving::workloads::Pods;
use crate::ui::Failure;
pub(super) use cluster::OnCluster;
pub(super) use draft::OnEngine;
pub(super) use environment::{Checked, Environment};

/// The new side.
#[derive(Clone)]
pub(super) enum New {
    /// In a cluster.
    Cluster(Box<OnCluster>),
    /// On this machine's Engine: that makes the rehearsal a draft.
    Draft(Box<OnEngine>),
}

/// What is told without end.
pub(super) type Told<T> = BoxStream<'static, Result<T, Trouble>>;

/// An error as what a rehearsal tells.
fn told(error: impl Display) -> Trouble {
    Trouble(error.to_string())
}

impl New {
    /// How many pods the component has when all of it runs, by workload.
    pub(super) fn replicas(&self) -> &BTreeMap<String, i32> {
        match self {
            Self::Cluster(new) => &new.workloads.replicas,
            Self::Draft(new) => &new.replicas,
        }
    }

    /// Those that it had before anything was changed, where a process that died has written them down.
    pub(super) fn remember(&mut self, replicas: &BTreeMap<String, i32>) {
        if let Self::Cluster(new) = self {
            new.workloads.replicas.clone_from(replicas);
        }
    }

    /// Its CronJobs.
    pub(super) fn cron_jobs(&self) -> &[String] {
        match self {
            Self::Cluster(new) => &new.workloads.cron_jobs,
            Self::Draft(new) => &new.cron_jobs,
        }
    }

    /// By what the host names of its pods are known.
    pub(super) fn host_names(&self) -> Pods {
        match self {
            Self::Cluster(new) => new.workloads.pods(),
            Self::Draft(new) => new.host_names(),
        }
    }

    /// Has nothing of it run.
    pub(super) async fn off(&self) -> Result<(), Trouble> {
        match self {
            Self::Cluster(new) => new.workloads.off().await,
            Self::Draft(new) => new.off().await,
        }
    }

    /// Opens its way in for who calls from this machine, and says where it is.
    pub(super) async fn expose(&self, plan: &CutoverPlan) -> Result<SocketAddr, Failure> {
        match self {
            Self::Cluster(new) => new.expose(plan).await,
            Self::Draft(new) => new.exposed(plan),
        }
    }

    /// What becomes of its pods, from those that there are on.
    pub(super) fn changes(&self) -> Told<Change> {
        match self {
            Self::Cluster(new) => new.changes(),
            Self::Draft(new) => new.changes(),
        }
    }

    /// The names of all pods that there are now, without those that are being removed.
    pub(super) async fn pods(&self) -> Result<Vec<String>, Trouble> {
        match self {
            Self::Cluster(new) => new.pods().await,
            Self::Draft(new) => new.running().await,
        }
    }

    /// What its pods write from now on, those that come later too.
    pub(super) fn lines(&self) -> Told<LogLine> {
        match self {
            Self::Cluster(new) => new.lines(),
            Self::Draft(new) => new.lines(),
        }
    }

    /// For each setting of a pod's first container a digest of its value.
    pub(super) async fn settings(&self, pod: &str, salt: &Salt) -> Result<BTreeMap<String, String>, Trouble> {
        match self {
            Self::Cluster(new) => new.settings(pod, salt).await,
            Self::Draft(new) => new.settings(pod, salt).await,
        }
    }

    /// Kills one of its pods that is ready. Controllers mend that.
    pub(super) async fn kill_one(&self) -> Result<(), Trouble> {
        let killed = match self {
            Self::Cluster(new) => new.kill_one().await?,
            Self::Draft(new) => new.kill_one().await?,
        };
        if killed {
            return Ok(());
        }
        Err(Trouble("no pod of the new side is ready that could be killed".to_owned()))
    }
}

impl NewSide for New {
    async fn scale_up(&self) -> Result<(), Trouble> {
        match self {
            Self::Cluster(new) => new.workloads.scale_up().await,
            Self::Draft(new) => new.scale_up().await,
        }
    }

    async fn scale_down(&self) -> Result<(), Trouble> {
        match self {
            Self::Cluster(new) => new.workloads.scale_down().await,
            Self::Draft(new) => new.scale_down().await,
        }
    }

    async fn arm(&self, armed: bool) -> Result<(), Trouble> {
        match self {
            Self::Cluster(new) => new.workloads.arm(armed).await,
            Self::Draft(new) => new.arm(armed).await,
        }
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
