//! `sleep` and `wake` in a cluster.

use std::collections::BTreeMap;
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
use crate::ui::Failure;

/// What sleeps, and what does not.
#[derive(Debug)]
pub(crate) struct Slept {
    /// How it was before.
    pub(crate) asleep: Asleep,
    /// Workloads that have no replicas to take away.
    pub(crate) sleepless: Vec<String>,
    /// Workloads whose pods have not ended yet.
    pub(crate) ending: Vec<String>,
}

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
        let asleep = merge(record.asleep.take(), awake.replicas, awake.cron_jobs);
        record.asleep = Some(asleep.clone());
        save(base, destination, cluster, &record).await?;
        let ending =
            scale::sleep(cluster, name.as_str(), &asleep, ENDS_WITHIN).await.map_err(|e| explain(&e))?;
        Ok(Slept { asleep, sleepless: awake.sleepless, ending })
    })
    .await
}

/// What an earlier sleep noted counts where it has taken the replicas away already.
fn merge(former: Option<Asleep>, replicas: BTreeMap<String, i32>, cron_jobs: Vec<String>) -> Asleep {
    let mut asleep = former.unwrap_or_else(|| Asleep {
        since: Timestamp::now(),
        replicas: BTreeMap::new(),
        cron_jobs: Vec::new(),
    });
    for (workload, now) in replicas {
        let noted = asleep.replicas.entry(workload).or_insert(now);
        if now > 0 {
            *noted = now;
        }
    }
    asleep.cron_jobs.extend(cron_jobs);
    asleep.cron_jobs.sort();
    asleep.cron_jobs.dedup();
    asleep
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_that_was_interrupted_keeps_what_it_had_noted() {
        let of = |pairs: &[(&str, i32)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let first = merge(None, of(&[("Deployment/a", 3), ("Deployment/off", 0)]), vec!["c".into()]);
        let second = merge(Some(first.clone()), of(&[("Deployment/a", 0), ("Deployment/new", 1)]), vec![]);
        assert_eq!(second.since, first.since);
        assert_eq!(second.replicas, of(&[("Deployment/a", 3), ("Deployment/new", 1), ("Deployment/off", 0)]));
        assert_eq!(second.cron_jobs, ["c"]);
    }
}
