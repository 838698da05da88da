//! The new side as its workloads: how much of them runs. The same for a sandbox and for production.

use std::collections::BTreeMap;

use envctl_cluster::live::scale::{self, Resized, Runs, Scaling};
use envctl_cluster::live::workloads;
use envctl_cluster::wait::Wanted;
use envctl_model::cutover::CutoverPlan;
use envctl_rehearse::director::Trouble;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{NewSide, PATIENCE, trouble};
use crate::flows::cluster::settle::settle;
use crate::flows::cluster::target::explain;
use crate::ui::Failure;

/// The component's workloads in a namespace, and the right to change how much of them runs.
#[derive(Debug, Clone)]
pub(crate) struct Workloads {
    by: Scaling,
    /// Replicas by workload, `Deployment/api`, as the chart wants them.
    pub(crate) replicas: BTreeMap<String, i32>,
    /// The component's CronJobs.
    pub(crate) cron_jobs: Vec<String>,
}

/// What the names of a component's pods begin with: their workload's name.
#[derive(Debug, Clone)]
pub(crate) struct Pods(Vec<String>);

impl Pods {
    /// Those of workloads of these names.
    pub(crate) fn of<'a>(workloads: impl Iterator<Item = &'a str>) -> Self {
        Self(workloads.map(|name| format!("{name}-")).collect())
    }

    /// Whether a host name is that of such a pod, which is its name.
    pub(crate) fn have(&self, host: &str) -> bool {
        self.0.iter().any(|prefix| host.starts_with(prefix))
    }
}

impl Workloads {
    /// Looks for the component's workloads in a namespace. What runs of them now is taken for what the chart wants.
    pub(crate) async fn find(by: Scaling, plan: &CutoverPlan) -> Result<Self, Failure> {
        let found = workloads::all(by.reader(), by.namespace()).await.map_err(|e| explain(&e))?;
        let mut replicas = BTreeMap::new();
        let mut cron_jobs = Vec::new();
        let entries: Vec<_> =
            plan.timetable.iter().flat_map(|timetable| &timetable.entries).map(|entry| &entry.name).collect();
        for workload in &found {
            match workload.scale {
                workloads::Scale::Replicas(wanted) if workload.names().are(&plan.component) => {
                    replicas.insert(workload.label.clone(), wanted);
                }
                workloads::Scale::Scheduled { .. }
                    if entries.iter().any(|entry| workload.names().are(entry)) =>
                {
                    cron_jobs.push(workload.component().to_owned());
                }
                _ => {}
            }
        }
        if replicas.is_empty() && cron_jobs.is_empty() {
            let there: Vec<_> = found.iter().map(|workload| workload.label.as_str()).collect();
            return Err(Failure::Usage(format!(
                "namespace {} has no workload for the component `{}`\n  it has: {}",
                by.namespace(),
                plan.component,
                there.join(", ")
            )));
        }
        Ok(Self { by, replicas, cron_jobs })
    }

    /// Has nothing of the component run.
    pub(crate) async fn off(&self) -> Result<(), Trouble> {
        tokio::try_join!(self.scale_down(), self.arm(false)).map(drop)
    }

    /// Which pods are the component's.
    pub(crate) fn pods(&self) -> Pods {
        let workloads = self.replicas.keys().filter_map(|label| Some(label.split_once('/')?.1));
        let names = workloads.chain(self.cron_jobs.iter().map(String::as_str));
        Pods::of(names)
    }

    async fn resize(&self, workload: &str, count: i32) -> Result<(), Trouble> {
        let resized = scale::resize(&self.by, workload, count, PATIENCE).await;
        match resized.map_err(|e| trouble(explain(&e)))? {
            Resized::Ready => Ok(()),
            Resized::Waiting { ready, ending } => Err(Trouble(format!(
                "{workload} is to have {count} pods: after {} s {ready} are ready, and {ending} have not ended",
                PATIENCE.as_secs()
            ))),
        }
    }
}

impl NewSide for Workloads {
    /// Why a pod is not ready is explained as `up` does it.
    async fn scale_up(&self) -> Result<(), Trouble> {
        let since = Timestamp::now();
        let resized = self.replicas.iter().map(|(workload, count)| self.resize(workload, *count));
        let wanted: Vec<_> = self.replicas.keys().filter_map(|workload| Wanted::named(workload)).collect();
        let settled = settle(self.by.reader(), self.by.namespace(), &wanted, since, PATIENCE);
        // A pod that cannot become ready is told at once, and not when time runs out.
        tokio::pin!(settled);
        let resized = try_join_all(resized);
        tokio::pin!(resized);
        tokio::select! {
            resized = &mut resized => resized.map(drop),
            Err(failure) = &mut settled => Err(trouble(failure)),
        }
    }

    async fn scale_down(&self) -> Result<(), Trouble> {
        try_join_all(self.replicas.keys().map(|workload| self.resize(workload, 0))).await.map(drop)
    }

    async fn arm(&self, armed: bool) -> Result<(), Trouble> {
        let runs = if armed { Runs::Scheduled } else { Runs::Suspended };
        let set = self.cron_jobs.iter().map(|job| scale::set_runs(&self.by, job, runs));
        try_join_all(set).await.map(drop).map_err(|e| trouble(explain(&e)))
    }
}
