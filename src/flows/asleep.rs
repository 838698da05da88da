//! What `sleep` notes, so that `wake` gives it back: the same wherever the environment lives.

use std::collections::BTreeMap;

use envctl_model::record::Asleep;
use jiff::Timestamp;

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

/// What an earlier sleep noted counts where it has taken the replicas away already.
pub(crate) fn noted(
    former: Option<Asleep>,
    replicas: BTreeMap<String, i32>,
    cron_jobs: Vec<String>,
) -> Asleep {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_that_was_interrupted_keeps_what_it_had_noted() {
        let of = |pairs: &[(&str, i32)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        let first = noted(None, of(&[("Deployment/a", 3), ("Deployment/off", 0)]), vec!["c".into()]);
        let second = noted(Some(first.clone()), of(&[("Deployment/a", 0), ("Deployment/new", 1)]), vec![]);
        assert_eq!(second.since, first.since);
        assert_eq!(second.replicas, of(&[("Deployment/a", 3), ("Deployment/new", 1), ("Deployment/off", 0)]));
        assert_eq!(second.cron_jobs, ["c"]);
    }
}
