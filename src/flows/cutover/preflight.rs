//! Production, looked at before anything is done: the right thing is installed, nothing of it runs yet, the old side does
//! all of the work, and everybody who will be asked answers.

use std::collections::BTreeMap;

use envctl_cluster::CutoverTarget;
use envctl_cluster::live::scale;
use envctl_model::cutover::production::Production as Described;
use envctl_model::cutover::{CutoverPlan, Side};
use envctl_model::stack::ComponentKind;
use envctl_rehearse::director::Trouble;
use envctl_rehearse::haproxy::{Router, Runtime};
use jiff::Timestamp;
use serde_json::Value;

use super::admit::Admitted;
use super::operator::Operator;
use super::watching::Counting;
use crate::flows::cluster::target::explain;
use crate::flows::moving::makes_up_for_none;
use crate::flows::moving::workloads::Workloads;
use crate::ui::Failure;

/// Everybody who takes part.
pub(super) struct Parts {
    /// The new side, as the chart wants it.
    pub(super) new: Workloads,
    /// Who operates the machines.
    pub(super) old: Operator,
    /// The router.
    pub(super) router: Option<Router>,
    /// Who counts requests.
    pub(super) counting: Option<Counting>,
}

impl Parts {
    /// Finds them. `wanted` are the replicas of workloads.
    pub(super) async fn find(
        plan: &CutoverPlan,
        production: &Described,
        directory: &std::path::Path,
        target: &CutoverTarget,
        wanted: &BTreeMap<String, i32>,
    ) -> Result<Self, Failure> {
        let mut new = Workloads::find(target.scaling(), plan).await?;
        for (workload, count) in &mut new.replicas {
            *count = *wanted.get(workload).ok_or_else(|| {
                Failure::Refused(format!(
                    "{workload} of namespace {} is not what the chart renders: it has no such workload",
                    production.namespace
                ))
            })?;
        }
        let old = Operator::new(&production.old.command, directory);
        let counting = Counting::of(production, &old).map_err(refused)?;
        let router = production
            .router
            .as_ref()
            .map(|router| Router::new(Runtime::new(router.runtime), &router.configuration, &router.backend));
        Ok(Self { new, old, router, counting })
    }

    /// Refuses to begin unless all is as it has to be before the first step.
    pub(super) async fn check(
        &self,
        plan: &CutoverPlan,
        admitted: &Admitted,
        objects: &[Value],
    ) -> Result<(), Failure> {
        tokio::try_join!(
            self.check_new(&admitted.target, objects),
            self.check_old(plan, admitted),
            self.check_router(),
            self.check_counting(),
            self.check_catching_up(plan)
        )?;
        Ok(())
    }

    async fn check_new(&self, target: &CutoverTarget, objects: &[Value]) -> Result<(), Failure> {
        let (reader, namespace) = (target.reader(), target.namespace());
        let awake = scale::look(reader, namespace).await.map_err(|e| explain(&e))?;
        let ours = |workload: &&String| self.new.replicas.contains_key(*workload);
        if let Some(workload) =
            awake.replicas.iter().filter(|(_, n)| **n > 0).map(|(name, _)| name).find(ours)
        {
            return Err(Failure::Refused(format!(
                "{workload} runs in production already, and a cutover begins with nothing of it running\n  \
                 take its replicas away: kubectl -n {namespace} scale {workload} --replicas=0"
            )));
        }
        if let Some(job) = awake.cron_jobs.iter().find(|job| self.new.cron_jobs.contains(job)) {
            return Err(Failure::Refused(format!(
                "the CronJob {job} is armed in production already\n  suspend it: kubectl -n {namespace} patch cronjob \
                 {job} -p '{{\"spec\": {{\"suspend\": true}}}}'"
            )));
        }
        for workload in self.new.replicas.keys() {
            let there = target.images(workload).await.map_err(|e| explain(&e))?;
            let rendered = images(objects, workload);
            if there != rendered {
                let list = |images: &BTreeMap<String, String>| {
                    images.values().cloned().collect::<Vec<_>>().join(", ")
                };
                return Err(Failure::Refused(format!(
                    "{workload} in production has the images {}, and {} were rehearsed\n  install what was rehearsed, \
                     with nothing of it running",
                    list(&there),
                    list(&rendered)
                )));
            }
        }
        Ok(())
    }

    async fn check_old(&self, plan: &CutoverPlan, admitted: &Admitted) -> Result<(), Failure> {
        let state = self.old.state().await.map_err(refused)?;
        let rehearsed = &admitted.admission.evidence().rehearsal().old.revision;
        if let Some(revision) = state.revision.filter(|revision| revision != rehearsed) {
            return Err(Failure::Refused(format!(
                "the machines have revision {revision}, and {rehearsed} was rehearsed\n  rehearse with what runs there"
            )));
        }
        if state.running != u64::from(plan.old.instances) {
            return Err(Failure::Refused(format!(
                "{} machines of the old side run, and the plan says {}\n  start the others, or correct \
                 `production.old.instances` and rehearse again",
                state.running, plan.old.instances
            )));
        }
        let (is_told, word) = match plan.kind {
            ComponentKind::Schedule => (state.armed == Some(true), "`armed`: true"),
            ComponentKind::Endpoint => (state.leads_to == Some(Side::Old), "`leadsTo`: \"old\""),
            ComponentKind::Service | ComponentKind::Worker => (true, ""),
        };
        if is_told {
            return Ok(());
        }
        Err(Failure::Refused(format!("the state of the old side has to say {word} before a cutover begins")))
    }

    async fn check_catching_up(&self, plan: &CutoverPlan) -> Result<(), Failure> {
        let Some(timetable) = &plan.timetable else { return Ok(()) };
        let catching_up = self.new.catching_up().await.map_err(refused)?;
        makes_up_for_none(timetable, &catching_up, Timestamp::now()).map_err(refused)
    }

    async fn check_router(&self) -> Result<(), Failure> {
        let Some(router) = &self.router else { return Ok(()) };
        let share =
            router.share().await.map_err(|e| Failure::Refused(format!("the router cannot be read: {e}")))?;
        if (share.running, share.configured) == (0, 0) {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "the router sends {} % to the new side already, and has {} % in its configuration: a cutover begins with \
             nothing there",
            share.running, share.configured
        )))
    }

    async fn check_counting(&self) -> Result<(), Failure> {
        let Some(counting) = &self.counting else { return Ok(()) };
        counting.check().await.map_err(refused)
    }
}

fn refused(Trouble(why): Trouble) -> Failure {
    Failure::Refused(why)
}

/// Objects that have pods, by `Kind/name`.
fn templates(objects: &[Value]) -> impl Iterator<Item = (String, &Value)> {
    objects.iter().filter_map(|object| {
        let (kind, name) = (object["kind"].as_str()?, object["metadata"]["name"].as_str()?);
        ["Deployment", "StatefulSet"].contains(&kind).then(|| (format!("{kind}/{name}"), &object["spec"]))
    })
}

/// Replicas that the chart wants, by workload. One that leaves it open has one.
pub(super) fn replicas(objects: &[Value]) -> BTreeMap<String, i32> {
    let count = |spec: &Value| spec["replicas"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(1);
    templates(objects).map(|(workload, spec)| (workload, count(spec))).collect()
}

/// Images of a workload's containers, by container.
fn images(objects: &[Value], workload: &str) -> BTreeMap<String, String> {
    let spec = templates(objects).find(|(name, _)| name == workload).map(|(_, spec)| spec);
    let containers = spec.and_then(|spec| spec["template"]["spec"]["containers"].as_array());
    let image = |container: &Value| {
        Some((container["name"].as_str()?.to_owned(), container["image"].as_str()?.to_owned()))
    };
    containers.into_iter().flatten().filter_map(image).collect()
}
