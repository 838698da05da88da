//! CronJobs: which there are, and their runs, as the cluster's controller has them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use envctl_wire::labels;
use envctl_wire::{CronJob, Suspension};
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::container::Container;
use super::containers::Containers;
use super::cron::{self, Cron, Decision};
use super::runs::{self, Run};
use super::{AGAIN, News};
use crate::output;

/// The CronJobs of the environment.
pub(super) struct CronJobs {
    containers: Containers,
    /// Until when a warden was there before; taken when they are read for the first time.
    since: Option<Timestamp>,
    /// By name.
    crons: BTreeMap<String, Cron>,
    /// By name, whether somebody wants it suspended, or not.
    suspended: BTreeMap<String, bool>,
    /// Runs that are being brought to their end, and who does that.
    driven: BTreeMap<String, AbortHandle>,
    /// Runs that are being removed for the next one.
    replaced: BTreeSet<String>,
    /// By CronJob, the run for which others are being removed: its time had come before they were asked to end.
    next: BTreeMap<String, Timestamp>,
    /// When what the Engine has refused is tried again.
    again: Option<Timestamp>,
    news: UnboundedSender<News>,
}

impl CronJobs {
    pub(super) fn new(containers: Containers, since: Timestamp, news: UnboundedSender<News>) -> Self {
        Self {
            containers,
            since: Some(since),
            crons: BTreeMap::new(),
            suspended: BTreeMap::new(),
            driven: BTreeMap::new(),
            replaced: BTreeSet::new(),
            next: BTreeMap::new(),
            again: None,
            news,
        }
    }

    /// Reads what CronJobs there are, and takes over the runs that go on.
    pub(super) async fn read(&mut self) -> anyhow::Result<()> {
        let mut crons = BTreeMap::new();
        // A CronJob that comes later was not there before.
        let since = self.since.take().unwrap_or_else(Timestamp::now);
        let runs = runs::all(&self.containers).await?;
        for template in self.containers.with(labels::SCHEDULE).await? {
            let label = template.label(labels::SCHEDULE).unwrap_or_default();
            let mut job: CronJob =
                serde_json::from_str(label).with_context(|| format!("the schedule of {}", template.name))?;
            job.suspend = self.suspended.get(&job.name).copied().unwrap_or(job.suspend);
            let own: Vec<_> = runs.iter().filter(|run| run.workload == workload(&job.name)).collect();
            let moment = |due: i64| Timestamp::from_second(due).ok();
            let last = own.iter().filter(|run| !run.is_half_made()).map(|run| run.due).max().and_then(moment);
            // What was only begun to be made has not run.
            let half = own.iter().filter(|run| run.is_half_made()).map(|run| run.due - 1).min();
            let known = self.crons.get(&job.name).map(Cron::handled);
            let former =
                half.and_then(moment).map_or(last.unwrap_or(since), |half| half.min(last.unwrap_or(since)));
            let name = job.name.clone();
            match Cron::new(job, known.unwrap_or(former)) {
                Ok(cron) => {
                    crons.insert(name, cron);
                }
                Err(error) => output::warn(format_args!("CronJob {name} does not run: {error}")),
            }
        }
        self.next.retain(|name, _| crons.contains_key(name));
        self.crons = crons;
        for run in runs {
            if run.is_half_made() && !self.driven.contains_key(&run.name) {
                runs::remove_old(&self.containers, &run).await?;
            } else if run.ended().is_none() && !self.replaced.contains(&run.name) {
                self.drive(run);
            }
        }
        Ok(())
    }

    /// Begins the runs whose time has come, and removes those that are too old.
    pub(super) async fn run_what_is_due(&mut self) -> anyhow::Result<()> {
        self.again = None;
        self.remove_old_runs().await?;
        for name in self.crons.keys().cloned().collect::<Vec<_>>() {
            self.run_if_due(&name).await?;
        }
        Ok(())
    }

    /// Suspends a CronJob, or has it run from now on. What was due meanwhile is made up for as by a cluster.
    pub(super) fn suspend(&mut self, Suspension { cron_job, suspended }: Suspension) -> Result<(), String> {
        let Some(cron) = self.crons.get_mut(&cron_job) else {
            return Err(format!("there is no CronJob {cron_job} that could run"));
        };
        cron.job.suspend = suspended;
        if suspended {
            self.next.remove(&cron_job);
        }
        output::line(format_args!(
            "CronJob {cron_job}: {}",
            if suspended { "suspended" } else { "runs from now on" }
        ));
        self.suspended.insert(cron_job, suspended);
        Ok(())
    }

    /// Whether there is one of this name.
    pub(super) fn has(&self, cron_job: &str) -> bool {
        self.crons.contains_key(cron_job)
    }

    /// A run that was begun is over.
    pub(super) fn ended(&mut self, run: &str) {
        self.driven.remove(run);
    }

    /// A run has made room for the next one, or could not be made to.
    pub(super) fn removed(&mut self, run: &str) {
        self.replaced.remove(run);
    }

    /// When one of them is due next.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.crons.values().filter_map(|cron| cron.next(now)).chain(self.again).min()
    }

    /// Brings a run to its end.
    fn drive(&mut self, run: Run) {
        if self.driven.contains_key(&run.name) {
            return;
        }
        let (name, containers, news) = (run.name.clone(), self.containers.clone(), self.news.clone());
        let driving = tokio::spawn(async move {
            if let Err(error) = runs::to_its_end(&containers, &run).await
                && !error.is_gone()
            {
                output::warn(format_args!("{}: {error}", run.name));
            }
            output::line(format_args!("{} has ended", run.name));
            let _ = news.send(News::Ended(run.name));
        });
        self.driven.insert(name, driving.abort_handle());
    }

    fn goes_on(&self, run: &Run) -> bool {
        run.ended().is_none() || self.is_at_work_on(run)
    }

    fn is_at_work_on(&self, run: &Run) -> bool {
        self.driven.contains_key(&run.name) || self.replaced.contains(&run.name)
    }

    /// Removes a run that goes on. Ending it takes as long as it likes, within its grace period.
    fn replace(&mut self, run: Run) {
        if !self.replaced.insert(run.name.clone()) {
            return;
        }
        output::line(format_args!("{}: ending it: the next one is due", run.name));
        // What comes after a container that ends now is not started any more.
        if let Some(driving) = self.driven.remove(&run.name) {
            driving.abort();
        }
        let (containers, news) = (self.containers.clone(), self.news.clone());
        tokio::spawn(async move {
            if let Err(error) = runs::remove(&containers, &run).await
                && !error.is_gone()
            {
                output::warn(format_args!("{}: {error}", run.name));
                tokio::time::sleep(AGAIN).await;
            }
            let _ = news.send(News::Removed(run.name));
        });
    }

    /// Begins the run of one of them, if its time has come.
    async fn run_if_due(&mut self, name: &str) -> anyhow::Result<()> {
        let running: Vec<Run> = runs::all(&self.containers)
            .await?
            .into_iter()
            .filter(|run| run.workload == workload(name) && self.goes_on(run))
            .collect();
        let Some(cron) = self.crons.get_mut(name) else { return Ok(()) };
        // How late it is was asked before the others were asked to end.
        let promised = self.next.get(name).copied();
        let due = match cron.decide(Timestamp::now(), running.len()) {
            Decision::Run(due) => due,
            Decision::Replace(due) => {
                self.next.insert(name.to_owned(), due);
                running.into_iter().for_each(|run| self.replace(run));
                return Ok(());
            }
            Decision::Wait => match promised {
                Some(due) if running.is_empty() => due,
                Some(_) => {
                    // Some could not be removed.
                    running.into_iter().for_each(|run| self.replace(run));
                    return Ok(());
                }
                None => return Ok(()),
            },
        };
        let at_address = running.is_empty();
        let templates = self.containers.with(labels::SCHEDULE).await?;
        let template: Vec<Container> = templates
            .into_iter()
            .filter(|one| one.label(labels::WORKLOAD) == Some(&workload(name)))
            .collect();
        if template.is_empty() {
            cron.begun(due);
            self.next.remove(name);
            output::warn(format_args!(
                "CronJob {name} does not run: somebody has removed its containers; `envctl up` makes them again"
            ));
            return Ok(());
        }
        let made = runs::make(&self.containers, &template, name, due.as_second(), at_address).await;
        let all = runs::all(&self.containers).await?;
        let run = all.into_iter().find(|run| run.workload == workload(name) && run.due == due.as_second());
        match (made, run) {
            (Ok(()), Some(run)) => {
                cron.begun(due);
                self.next.remove(name);
                output::line(format_args!("{}: running it", run.name));
                self.drive(run);
            }
            (Ok(()), None) => {
                cron.begun(due);
                self.next.remove(name);
            }
            (Err(error), half) => {
                output::warn(format_args!("CronJob {name} does not run, and is tried again: {error}"));
                self.again = Some(Timestamp::now() + AGAIN);
                if let Some(run) = half {
                    runs::remove_old(&self.containers, &run).await?;
                }
            }
        }
        Ok(())
    }

    /// Those beyond the limits of their CronJob, and those whose CronJob is gone.
    async fn remove_old_runs(&self) -> anyhow::Result<()> {
        let mut by_job: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for run in runs::all(&self.containers).await? {
            by_job.entry(run.workload.clone()).or_default().push(run);
        }
        for (job, runs) in by_job {
            let ended: Vec<_> =
                runs.iter().filter(|run| !self.is_at_work_on(run)).filter_map(Run::ended).collect();
            let cron = self.crons.values().find(|cron| workload(&cron.job.name) == job);
            let old = match cron {
                Some(cron) => cron::too_old(ended, &cron.job),
                // What goes on may come to its end: its templates may be away for a moment only.
                None => ended.into_iter().map(|past| past.run).collect(),
            };
            for run in runs.iter().filter(|run| old.contains(&run.name)) {
                runs::remove_old(&self.containers, run).await?;
            }
        }
        Ok(())
    }
}

/// The label of a CronJob's containers.
fn workload(cron_job: &str) -> String {
    format!("CronJob/{cron_job}")
}
