//! `restart`, `sleep` and `wake` on this machine's Engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use envctl_local::compose::ComposeProject;
use envctl_local::pods::{Pod, Pods, PodsError, Which};
use envctl_local::state::ActualContainer;
use envctl_local::{remove, warden};
use envctl_model::labels;
use envctl_model::name::EnvironmentName;
use envctl_model::record::Asleep;
use envctl_programs::process::Supervisor;
use futures_util::future::try_join_all;
use serde_json::Value;

use super::compose::{self, COMPOSE_FILE};
use super::machine::{Machine, explain};
use super::owned::{Owned, change};
use crate::config::Base;
use crate::flows::Home;
use crate::flows::asleep::{Slept, noted};
use crate::ui::Failure;

/// Ends the pods of the components that words mean (all without words) and starts them again, and waits until they are
/// ready. Their workloads.
pub(crate) async fn restart(
    base: &Base,
    name: &EnvironmentName,
    words: &[String],
    timeout: Duration,
) -> Result<Vec<String>, Failure> {
    change(base, name, "restart", async |Owned { machine, home, record }| {
        if record.asleep.is_some() {
            return Err(Failure::Refused(format!(
                "environment `{name}` sleeps: there is nothing to restart\n  type `envctl wake`"
            )));
        }
        let of = |which| Pods::of(&machine.engine, &record.identity, which);
        let chosen: Vec<_> = match words {
            [] => vec![of(Which::All)],
            words => words.iter().map(|word| of(Which::Component(word.clone()))).collect(),
        };
        // That there are such is known before any is ended.
        try_join_all(chosen.iter().map(Pods::list)).await.map_err(|e| failed(&e))?;
        let anew = async |pod: &Pod| remake(&machine, &home, name, pod).await;
        let restarted = try_join_all(chosen.iter().map(|pods| pods.restart(timeout, &anew))).await;
        let mut workloads = restarted.map_err(|e| failed(&e))?.concat();
        workloads.sort();
        workloads.dedup();
        Ok(workloads)
    })
    .await
}

/// Makes a pod anew, as the last `up` would, if its containers were told what is not so any more; it is started then. One
/// that an `up` that has not ended means to replace by another is left as it is.
async fn remake(
    machine: &Machine,
    home: &Home,
    name: &EnvironmentName,
    pod: &Pod,
) -> Result<bool, PodsError> {
    let not_made = |why: String| PodsError::NotMade { pod: pod.name.clone(), why };
    let file: Option<Value> =
        home.read_json(COMPOSE_FILE).map_err(|e| not_made(e.message().unwrap_or_default()))?;
    let file = file.unwrap_or_default();
    let is_its = |container: &ActualContainer| {
        let wanted = container.service.as_deref().map(|service| &file["services"][service]["labels"]);
        container.hash.as_deref() == wanted.and_then(|labels| labels[labels::POD_HASH].as_str())
    };
    let containers = pod.containers();
    if !containers.iter().all(is_its) || compose::outdated(&file, containers).is_empty() {
        return Ok(false);
    }
    let services: Vec<_> = containers.iter().filter_map(|container| container.service.clone()).collect();
    remove::containers(&machine.engine, containers.to_vec()).await?;
    let path = home.file(COMPOSE_FILE);
    let project = ComposeProject { name: name.as_str(), file: &path };
    let made = project.up(&machine.cli, &machine.reader, &Supervisor::default(), &services, |_, _| {}).await;
    made.map_err(|error| not_made(error.to_string()))?;
    Ok(true)
}

/// Puts an environment to sleep. What ran is in its record before anything ends; one that was interrupted at it is finished
/// by the next.
pub(crate) async fn sleep(base: &Base, name: &EnvironmentName) -> Result<Slept, Failure> {
    change(base, name, "sleep", async |Owned { machine, home, mut record }| {
        let pods = Pods::of(&machine.engine, &record.identity, Which::All);
        let mut running: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods.list().await.map_err(|e| failed(&e))? {
            *running.entry(pod.workload).or_default() += i32::from(pod.is_running);
        }
        let asleep = noted(record.asleep.take(), running, Vec::new());
        record.asleep = Some(asleep.clone());
        home.save_record(&record)?;
        warden::rest(&machine.engine, &record.identity).await.map_err(|e| explain(&e))?;
        pods.stop().await.map_err(|e| failed(&e))?;
        Ok(Slept { asleep, sleepless: Vec::new(), ending: Vec::new() })
    })
    .await
}

/// Wakes an environment, and waits until it is ready. Nothing: it was awake.
pub(crate) async fn wake(
    base: &Base,
    name: &EnvironmentName,
    timeout: Duration,
) -> Result<Option<Asleep>, Failure> {
    change(base, name, "wake", async |Owned { machine, home, mut record }| {
        let Some(asleep) = record.asleep.take() else { return Ok(None) };
        let ran = asleep.replicas.iter().filter(|(_, replicas)| **replicas > 0);
        let ran: BTreeSet<String> = ran.map(|(workload, _)| workload.clone()).collect();
        // Before the pods: their sandboxes hear from it which health checks pass. While the lock is held it does nothing else.
        warden::wake(&machine.engine, &record.identity).await.map_err(|e| explain(&e))?;
        if !ran.is_empty() {
            let pods = Pods::of(&machine.engine, &record.identity, Which::Workloads(ran));
            if let Err(error) = pods.start(timeout).await {
                // It sleeps on. Why it does counts, whatever becomes of the warden.
                let _ = warden::rest(&machine.engine, &record.identity).await;
                return Err(failed(&error));
            }
        }
        home.save_record(&record)?;
        Ok(Some(asleep))
    })
    .await
}

fn failed(error: &PodsError) -> Failure {
    match error {
        PodsError::Engine(error) => explain(error),
        PodsError::None { .. } => Failure::Usage(error.to_string()),
        PodsError::Ended { .. } | PodsError::NotMade { .. } | PodsError::NotReady { .. } => {
            Failure::Failed(error.to_string())
        }
    }
}
