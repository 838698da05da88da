//! `restart` and `job run` in a cluster.

use std::time::Duration;

use envctl_cluster::live::{logs, one_off, pods, restart};
use envctl_cluster::wait::Wanted;
use envctl_model::log::LogOptions;
use envctl_model::name::EnvironmentName;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::owned::owned;
use super::settle::settle;
use super::target::{Destination, explain};
use crate::ui::{Failure, print};

/// Replaces the pods of the components that words mean (all without words), and waits until the new ones
/// are ready.
pub(crate) async fn restart(
    destination: &Destination,
    name: &EnvironmentName,
    words: &[String],
    timeout: Duration,
) -> Result<Vec<String>, Failure> {
    let (cluster, _) = owned(destination, name, timeout).await?;
    let all = restart::all(cluster.reader(), name.as_str()).await.map_err(|e| explain(&e))?;
    let chosen = restart::chosen(all, words).map_err(|e| Failure::Usage(e.to_string()))?;
    let since = Timestamp::now();
    let restarted = chosen.iter().map(|workload| restart::restart(&cluster, name.as_str(), workload));
    try_join_all(restarted).await.map_err(|e| explain(&e))?;
    settle(cluster.reader(), name.as_str(), &chosen, since, timeout).await?;
    Ok(chosen.iter().map(ToString::to_string).collect())
}

/// Has a CronJob run now, shows what it says, and waits for its end.
pub(crate) async fn job(
    destination: &Destination,
    name: &EnvironmentName,
    word: &str,
    timeout: Duration,
) -> Result<(), Failure> {
    let (cluster, _) = owned(destination, name, timeout).await?;
    let namespace = name.as_str();
    let since = Timestamp::now();
    let job = one_off::run_now(&cluster, namespace, word).await.map_err(|e| explain(&e))?;
    let label = format!("Job/{job}");
    let wanted: Vec<_> = Wanted::named(&label).into_iter().collect();
    let settled = settle(cluster.reader(), namespace, &wanted, since, timeout).await;
    let mut pods = pods::all(cluster.reader(), namespace).await.map_err(|e| explain(&e))?;
    pods.retain(|pod| pod.workload == label);
    let mut lines = logs::lines(cluster.reader(), namespace, &pods, LogOptions::default());
    while let Some(line) = lines.next().await {
        print(&line.map_err(|e| explain(&e))?.text);
    }
    settled
}
