//! `sleep` and `wake` in a cluster.

use std::time::Duration;

use envctl_cluster::live::scale;
use envctl_cluster::wait::Wanted;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Asleep;
use jiff::Timestamp;

use super::owned::{change, save};
use super::settle::settle;
use super::target::{Destination, explain};
use crate::config::Base;
use crate::flows::asleep::{Slept, noted};
use crate::ui::Failure;

/// How long pods may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// Puts an environment to sleep. What it had is in its record before anything is taken away; one that
/// was interrupted at it is finished by the next.
pub(crate) async fn sleep(
    base: &Base,
    destination: &Destination,
    name: &EnvironmentName,
) -> Result<Slept, Failure> {
    change(base, destination, name, "sleep", async |cluster, mut record| {
        let awake = scale::look(cluster.reader(), name.as_str()).await.map_err(|e| explain(&e))?;
        let asleep = noted(record.asleep.take(), awake.replicas, awake.cron_jobs);
        record.asleep = Some(asleep.clone());
        save(base, destination, cluster, &record).await?;
        let ending =
            scale::sleep(cluster, name.as_str(), &asleep, ENDS_WITHIN).await.map_err(|e| explain(&e))?;
        Ok(Slept { asleep, sleepless: awake.sleepless, ending })
    })
    .await
}

/// Wakes an environment, and waits until it is ready. Nothing: it was awake.
pub(crate) async fn wake(
    base: &Base,
    destination: &Destination,
    name: &EnvironmentName,
    timeout: Duration,
) -> Result<Option<Asleep>, Failure> {
    change(base, destination, name, "wake", async |cluster, mut record| {
        let Some(asleep) = record.asleep.clone() else { return Ok(None) };
        let since = Timestamp::now();
        scale::wake(cluster, name.as_str(), &asleep).await.map_err(|e| explain(&e))?;
        record.asleep = None;
        save(base, destination, cluster, &record).await?;
        let wanted: Vec<_> = asleep
            .replicas
            .iter()
            .filter(|(_, replicas)| **replicas > 0)
            .filter_map(|(workload, _)| Wanted::named(workload))
            .collect();
        settle(cluster.reader(), name.as_str(), &wanted, since, timeout).await?;
        Ok(Some(asleep))
    })
    .await
}
