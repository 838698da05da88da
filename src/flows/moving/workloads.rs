//! The new side as its workloads: how much of them runs. The same for a sandbox and for production.

use std::collections::BTreeMap;
use std::time::Duration;

use envctl_cluster::ClusterError;
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

/// How the names of a component's pods look: they begin with their workload's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods {
    /// What follows can be anything.
    any: Vec<String>,
    /// What follows are the hash of a Deployment's template and five random letters: a machine `worker-01` is none.
    replicas: Vec<String>,
}

/// The letters of which Kubernetes makes hashes and random parts of names.
/// <https://github.com/kubernetes/apimachinery/blob/master/pkg/util/rand/rand.go>
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";

/// RFC 1123, section 2.1.
const LONGEST_HOST: usize = 63;

impl Pods {
    /// Those of workloads of these names.
    pub(crate) fn of<'a>(workloads: impl Iterator<Item = &'a str>) -> Self {
        Self { any: workloads.map(|name| format!("{name}-")).collect(), replicas: Vec::new() }
    }

    /// Those of workloads in a cluster, by their labels.
    fn in_cluster<'a>(workloads: impl Iterator<Item = &'a str>) -> Self {
        let mut pods = Self::default();
        for label in workloads {
            let (kind, name) = label.split_once('/').unwrap_or_default();
            if kind == "Deployment" { &mut pods.replicas } else { &mut pods.any }.push(format!("{name}-"));
        }
        pods
    }

    /// Whether a host name is that of such a pod, which is its name.
    pub(crate) fn have(&self, host: &str) -> bool {
        let is_random = |text: &str| text.chars().all(|letter| RANDOM.contains(letter));
        let is_replica = |rest: &str| {
            let parts = rest.split_once('-');
            parts.is_some_and(|(hash, random)| {
                (1..=10).contains(&hash.len()) && random.len() == 5 && is_random(hash) && is_random(random)
            })
        };
        // Of a name that would be too long for a host the end of what comes before is cut off.
        let is_cut = host.len() == LONGEST_HOST;
        self.any.iter().any(|prefix| host.starts_with(prefix))
            || self.replicas.iter().any(|prefix| {
                host.strip_prefix(prefix.as_str()).is_some_and(|rest| is_cut || is_replica(rest))
            })
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

    /// Its CronJobs, each with how long after a tick it makes up for it when it is let run; none if for ever.
    pub(crate) async fn catching_up(&self) -> Result<Vec<(String, Option<Duration>)>, Trouble> {
        let of = |job: &String| {
            let job = job.clone();
            async move { Ok((job.clone(), scale::catches_up(&self.by, &job).await?)) }
        };
        try_join_all(self.cron_jobs.iter().map(of)).await.map_err(|e: ClusterError| trouble(explain(&e)))
    }

    /// Which pods are the component's.
    pub(crate) fn pods(&self) -> Pods {
        let cron_jobs: Vec<_> = self.cron_jobs.iter().map(|name| format!("CronJob/{name}")).collect();
        Pods::in_cluster(self.replicas.keys().chain(&cron_jobs).map(String::as_str))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_called_like_a_workload_is_no_pod_of_it() {
        let pods = Pods::in_cluster(["Deployment/worker", "StatefulSet/db", "CronJob/digest"].into_iter());
        for (host, is_pod) in [
            ("worker-6c9f8d5b7d-x2vlq", true),
            ("worker-01", false),
            ("worker-01-eu", false),
            ("worker-6c9f8d5b7d", false),
            ("worker-a-6c9f8d5b7d-x2vlq", false),
            ("db-0", true),
            ("digest-29411620-x2vlq", true),
            ("api-6c9f8d5b7d-x2vlq", false),
        ] {
            assert_eq!(pods.have(host), is_pod, "{host}");
        }
    }
}
