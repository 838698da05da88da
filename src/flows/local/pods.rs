//! `restart`, `sleep` and `wake` on this machine's Engine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use envctl_local::compose::ComposeProject;
use envctl_local::pods::{Pod, Pods, PodsError, Which};
use envctl_local::{remove, seed, warden};
use envctl_model::labels::Role;
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
        let there = try_join_all(chosen.iter().map(Pods::list)).await.map_err(|e| failed(&e))?;
        renew(&machine, &home, name, there.into_iter().flatten()).await?;
        let restarted = try_join_all(chosen.iter().map(|pods| pods.restart(timeout))).await;
        let mut workloads = restarted.map_err(|e| failed(&e))?.concat();
        workloads.sort();
        workloads.dedup();
        Ok(workloads)
    })
    .await
}

/// Makes the containers of pods anew whose variables are not those of the last `up`, and starts none. What is in their
/// volumes stays.
async fn renew(
    machine: &Machine,
    home: &Home,
    name: &EnvironmentName,
    pods: impl Iterator<Item = Pod>,
) -> Result<(), Failure> {
    let path = home.file(COMPOSE_FILE);
    let file: Value = home.read_json(COMPOSE_FILE)?.unwrap_or_default();
    let outdated = pods.filter(|pod| !compose::outdated(&file, pod.containers()).is_empty());
    let containers: Vec<_> = outdated.flat_map(|pod| pod.containers().to_vec()).collect();
    let services: BTreeSet<String> = containers.iter().filter_map(|one| one.service.clone()).collect();
    let seeders = containers.iter().filter(|one| one.role == Some(Role::Seeder));
    let seeders: Vec<_> = seeders.filter_map(|one| one.service.clone()).collect();
    remove::containers(&machine.engine, containers).await.map_err(|e| explain(&e))?;
    let project = ComposeProject { name: name.as_str(), file: &path };
    let services: Vec<_> = services.into_iter().collect();
    project.create(&machine.cli, &Supervisor::default(), &services).await.map_err(Failure::failed)?;
    for seeder in seeders {
        let (container, content) =
            (compose::container_name(name.as_str(), &seeder), compose::seed(&file, &seeder));
        seed::put(&machine.engine, &container, content.as_bytes()).await.map_err(|e| explain(&e))?;
    }
    Ok(())
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
        if !ran.is_empty() {
            let pods = Pods::of(&machine.engine, &record.identity, Which::Workloads(ran));
            pods.start(timeout).await.map_err(|e| failed(&e))?;
        }
        warden::wake(&machine.engine, &record.identity).await.map_err(|e| explain(&e))?;
        home.save_record(&record)?;
        Ok(Some(asleep))
    })
    .await
}

fn failed(error: &PodsError) -> Failure {
    match error {
        PodsError::Engine(error) => explain(error),
        PodsError::None { .. } => Failure::Usage(error.to_string()),
        PodsError::Ended { .. } | PodsError::NotReady { .. } => Failure::Failed(error.to_string()),
    }
}
