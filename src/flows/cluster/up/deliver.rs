//! The step that has Helm deliver the release, and waits until all of it is ready.

use std::time::{Duration, Instant};

use envctl_cluster::live::{restart, scale};
use envctl_cluster::release::{self, Recovered};
use envctl_cluster::secrets;
use envctl_cluster::wait::{
    self, Diagnosis, Failing, Logs, Outcome, Standing, State, Waiting, Wanted, diagnose,
};
use envctl_programs::helm::{Delivery, HelmError};
use envctl_programs::process::{ProgramError, Supervisor};
use envctl_runner::{Context, Done, StepError};
use jiff::Timestamp;

use super::world::{Rendered, UpWorld};
use crate::flows::cluster::patiently::patiently;
use crate::flows::cluster::target::cluster;
use crate::flows::run::supervisor;

/// How long the watcher may take to see the failure that helm has reported.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// Helm waits longer than we do: who gives up first explains.
const LONGER: Duration = Duration::from_secs(60);

impl UpWorld<'_> {
    pub(super) async fn deliver(&self, context: &Context) -> Result<Done, StepError> {
        let rendered = self.rendered()?;
        let (name, identity) = (self.name().to_owned(), self.identity());
        let target = &self.checked.cluster;
        // Helm gives back what the chart names; whoever sleeps has more to get back than that.
        let asleep = self.record().asleep.clone();
        if let Some(asleep) = asleep {
            scale::wake(target, &name, &asleep).await.map_err(cluster)?;
        }
        let wanted = Wanted::of(&rendered.objects);
        let deadline = Instant::now() + self.options.timeout;
        self.replace_outdated(context, &wanted).await?;
        let (name, identity, rendered, wanted) = (&name, &identity, &rendered, &wanted);
        let outcome = patiently(target.reader(), name, context, || async move {
            match release::recover(target, name, name, identity).await.map_err(cluster)? {
                Recovered::Nothing => {}
                Recovered::Forgotten(revision) => context.warn(format!(
                    "revision {} of the release was {}: its helm did not live to end it; it is done again",
                    revision.number, revision.status
                )),
            }
            context.failpoint("delivering")?;
            self.helm_and_wait(context, rendered, wanted, identity, deadline).await
        })
        .await?;
        match outcome {
            Outcome::Ready => {}
            Outcome::Failed(failed, logs) => return Err(self.explain(&failed, &logs).await),
            Outcome::Deadline(standings, logs) => return Err(self.explain_deadline(&standings, &logs).await),
        }
        let names: Vec<_> = wanted.iter().map(|w| format!("{} ✔", w.name)).collect();
        Ok(Done::shown(names.join("  ")))
    }

    /// Pods that have read a Secret of the stack file keep its former content until they are replaced. Before
    /// Helm is at work: it would wait for pods that may need the new one.
    async fn replace_outdated(&self, context: &Context, wanted: &[Wanted]) -> Result<(), StepError> {
        let target = &self.checked.cluster;
        let changed = self.progress().secrets.clone();
        let outdated =
            secrets::outdated_readers(target.reader(), self.name(), &changed).await.map_err(cluster)?;
        let outdated = wanted.iter().filter(|w| restart::can_restart(w) && outdated.contains(&w.to_string()));
        for workload in outdated {
            context.warn(format!("{workload} restarts: it read a Secret of the stack file that has changed"));
            restart::restart(target, self.name(), workload).await.map_err(cluster)?;
        }
        Ok(())
    }

    async fn helm_and_wait(
        &self,
        context: &Context,
        rendered: &Rendered,
        wanted: &[Wanted],
        identity: &str,
        deadline: Instant,
    ) -> Result<Result<Outcome, HelmError>, StepError> {
        let (stop, signals) = self.interrupts.derived();
        let by = Supervisor { signals, ..supervisor(self.interrupts, context) };
        let how = Delivery {
            labels: [(envctl_cluster::marks::IDENTITY.to_owned(), identity.to_owned())].into(),
            timeout: self.options.timeout + LONGER,
            force_conflicts: false,
        };
        let helm = rendered.template.deliver(&rendered.access, &how, &by, |_, _| {});
        let waiting = Waiting {
            namespace: self.name(),
            wanted,
            since: Timestamp::now(),
            deadline,
            schedule_grace: self.options.schedule_grace,
        };
        let (delivered, is_delivered) = tokio::sync::watch::channel(false);
        let watching = wait::wait(self.checked.cluster.reader(), &waiting, is_delivered, |standings| {
            context.progress(progress(standings));
            // A test that has us die here leaves helm at work.
            let _ = context.failpoint("waiting");
        });
        let (mut helm, mut watching) = (std::pin::pin!(helm), std::pin::pin!(watching));
        tokio::select! {
            // Helm would try again and again, until its timeout.
            error = self.checked.cluster.reader().credentials_end() => {
                stop.request();
                let _ = helm.await;
                Err(cluster(error))
            }
            outcome = &mut watching => {
                let outcome = outcome.map_err(cluster)?;
                if matches!(outcome, Outcome::Ready) {
                    return Ok(helm.await.map(|()| outcome));
                }
                // Before helm is stopped, and takes away what explains it.
                let explained = self.captured(&outcome).await;
                stop.request();
                let _ = helm.await;
                Err(explained)
            }
            result = &mut helm => {
                let Err(error) = result else {
                    delivered.send_replace(true);
                    return tokio::select! {
                        outcome = &mut watching => outcome.map(Ok).map_err(cluster),
                        () = self.interrupts.token.cancelled() => Err(StepError::Interrupted),
                    };
                };
                if !matches!(error, HelmError::Program(ProgramError::Interrupted { .. }))
                    && let Ok(outcome) = tokio::time::timeout(SEEN_WITHIN, &mut watching).await
                    && let outcome @ Outcome::Failed(..) = outcome.map_err(cluster)?
                {
                    return Ok(Ok(outcome));
                }
                Ok(Err(error))
            }
        }
    }

    async fn captured(&self, outcome: &Outcome) -> StepError {
        match outcome {
            Outcome::Failed(failed, logs) => self.explain(failed, logs).await,
            Outcome::Deadline(standings, logs) => self.explain_deadline(standings, logs).await,
            Outcome::Ready => StepError::Failed(String::new()),
        }
    }

    /// What failed: cause, event, last lines, what to do.
    async fn explain(&self, failed: &[Failing], logs: &Logs) -> StepError {
        let diagnoses = diagnose(self.checked.cluster.reader(), self.name(), failed, logs).await;
        StepError::Failed(with_ending(&diagnoses, &[]))
    }

    /// What was not ready in time, and what is known of each.
    async fn explain_deadline(&self, standings: &[Standing], logs: &Logs) -> StepError {
        let known: Vec<Failing> =
            standings.iter().flat_map(|s| s.failing.iter().chain(&s.hints)).cloned().collect();
        let diagnoses = diagnose(self.checked.cluster.reader(), self.name(), &known, logs).await;
        let seconds = self.options.timeout.as_secs();
        let lines: Vec<_> = standings
            .iter()
            .map(|standing| {
                let far = match &standing.state {
                    State::Waiting(far) => far.as_str(),
                    _ => "ready",
                };
                format!(
                    "{}: not ready after {seconds} s (--wait-timeout); it may still become so ({far})",
                    standing.workload.replacen('/', " ", 1)
                )
            })
            .collect();
        StepError::Failed(with_ending(&diagnoses, &lines))
    }
}

fn with_ending(diagnoses: &[Diagnosis], lines: &[String]) -> String {
    let mut text: Vec<String> = lines.to_vec();
    text.extend(diagnoses.iter().map(wait::print));
    text.push(
        "what was made is left to look at; mend it and type `envctl up` again, or `envctl down`".to_owned(),
    );
    text.join("\n")
}

fn progress(standings: &[Standing]) -> String {
    let settled = standings.iter().filter(|s| s.state.is_settled()).count();
    let mut text = format!("{settled} of {} ready", standings.len());
    let waiting = standings.iter().find_map(|standing| match &standing.state {
        State::Waiting(far) => Some(format!(", {}: {far}", standing.workload)),
        _ => None,
    });
    text.push_str(&waiting.unwrap_or_default());
    text
}
