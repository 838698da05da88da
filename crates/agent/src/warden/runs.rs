//! The runs of CronJobs: made from their templates, brought to their end, removed when they are old.

use std::collections::BTreeMap;

use envctl_wire::SEED_FILE;
use envctl_wire::labels::{self, Role};
use futures_util::future::try_join_all;
use serde_json::json;

use super::clone::{self, Made, Naming};
use super::container::{Container, Restart, Status};
use super::containers::{Containers, StartError};
use super::cron::Past;
use super::deadline;
use super::engine::{EngineError, query};
use crate::output;

/// A run of a CronJob.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// `digest-29345671`.
    pub(super) name: String,
    /// `CronJob/digest`.
    pub(super) workload: String,
    /// When it was due, seconds since 1970.
    pub(super) due: i64,
    /// All containers of its pods.
    containers: Vec<Container>,
}

impl Run {
    /// By pod, each in starting order.
    fn pods(&self) -> BTreeMap<&str, Vec<Container>> {
        let mut pods: BTreeMap<&str, Vec<Container>> = BTreeMap::new();
        for container in &self.containers {
            pods.entry(container.label(labels::POD).unwrap_or_default()).or_default().push(container.clone());
        }
        pods
    }

    /// What ends by itself, unlike sidecars.
    fn main(containers: &[Container]) -> impl Iterator<Item = &Container> {
        containers.iter().filter(|one| one.role == Role::Container && one.restart != Restart::Always)
    }

    /// Whether the warden ended while it was being made.
    pub(super) fn is_half_made(&self) -> bool {
        self.containers.iter().all(|container| container.status == Status::Created)
    }

    /// How it ended; `None` while it goes on. The sandbox is what ends last.
    pub(super) fn ended(&self) -> Option<Past> {
        let goes_on = self.containers.iter().any(Container::is_up);
        let succeeded = Self::main(&self.containers)
            .all(|one| one.status == Status::Ended && one.exit_code == 0)
            && !self.pods().values().any(|pod| deadline::is_missed(pod));
        (!goes_on).then(|| Past { run: self.name.clone(), due: self.due, succeeded })
    }
}

/// The runs that there are, by name.
pub(super) async fn all(containers: &Containers) -> Result<Vec<Run>, EngineError> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for container in containers.with(labels::DUE).await? {
        let text = |label: &str| container.label(label).unwrap_or_default().to_owned();
        let run = runs.entry(text(labels::ONE_OFF)).or_insert_with_key(|name| Run {
            name: name.clone(),
            workload: text(labels::WORKLOAD),
            due: text(labels::DUE).parse().unwrap_or_default(),
            containers: Vec::new(),
        });
        run.containers.push(container);
    }
    Ok(runs.into_values().collect())
}

/// Makes a run, and starts nothing. The template's address is that of one run at a time: the first.
pub(super) async fn make(
    containers: &Containers,
    template: &[Container],
    cron_job: &str,
    due: i64,
    at_address: bool,
) -> Result<(), EngineError> {
    let mut made: BTreeMap<String, Made> = BTreeMap::new();
    for container in template {
        let pod = container.label(labels::POD).unwrap_or_default();
        let naming = Naming::new(cron_job, due, pod);
        let made = made.entry(pod.to_owned()).or_default();
        let inspected = containers.engine.get(&format!("/containers/{}/json", container.id)).await?;
        for volume in clone::volumes(&inspected) {
            if !made.volumes.contains_key(&volume)
                && let Some(own) = volume_like(containers, &volume, &naming).await?
            {
                made.volumes.insert(volume, own);
            }
        }
        let body = clone::body(&inspected, container.role, &naming, made, at_address);
        let path = format!("/containers/create?name={}", query(&naming.rename(&container.name)));
        let created = containers.engine.post(&path, Some(&body)).await?;
        let id = created["Id"].as_str().unwrap_or_default();
        if container.role == Role::Seeder {
            containers.engine.copy_file(&container.id, id, SEED_FILE).await?;
        }
        made.containers.insert(container.id.clone(), id.to_owned());
    }
    Ok(())
}

/// Makes a volume like one of the template's. Claims are shared: `None`.
async fn volume_like(
    containers: &Containers,
    volume: &str,
    naming: &Naming,
) -> Result<Option<String>, EngineError> {
    let Some(there) = containers.engine.find(&format!("/volumes/{volume}")).await? else { return Ok(None) };
    let is_ours = there["Labels"][labels::IDENTITY] == containers.identity.as_str();
    if !is_ours || there["Labels"].get(labels::CLAIM).is_some() {
        return Ok(None);
    }
    let name = naming.rename(volume);
    let body = json!({
        "Name": name,
        "Driver": there["Driver"],
        "DriverOpts": if there["Options"].is_null() { json!({}) } else { there["Options"].clone() },
        "Labels": naming.labels(&there["Labels"]),
    });
    containers.engine.post("/volumes/create", Some(&body)).await?;
    Ok(Some(name))
}

/// Brings a run to its end from where it stands, well or not.
pub(super) async fn to_its_end(containers: &Containers, run: &Run) -> Result<(), EngineError> {
    let pods = run.pods();
    let went = try_join_all(pods.values().map(|pod| async move {
        containers.go_on(pod).await?;
        try_join_all(Run::main(pod).map(|container| containers.ended(container))).await?;
        Ok::<_, StartError>(())
    }))
    .await;
    match went {
        // Somebody has removed it.
        Err(StartError::Engine(error)) if error.is_missing() => return Ok(()),
        Err(error) => output::warn(format_args!("{}: {error}", run.name)),
        Ok(_) => {}
    }
    end(containers, run).await
}

/// Ends what runs of it: its sandboxes last.
pub(super) async fn end(containers: &Containers, run: &Run) -> Result<(), EngineError> {
    for sandboxes in [false, true] {
        let those = run.containers.iter().filter(|one| (one.role == Role::Sandbox) == sandboxes);
        containers.stop(those).await?;
    }
    Ok(())
}

/// Removes all of a run that has ended. What the Engine refuses is told, and tried again with the next.
pub(super) async fn remove_old(containers: &Containers, run: &Run) -> Result<(), EngineError> {
    match remove(containers, run).await {
        Err(error @ EngineError::Refused { .. }) => {
            output::warn(format_args!("{}: {error}", run.name));
            Ok(())
        }
        removed => removed,
    }
}

/// Removes all of a run, once it has ended.
pub(super) async fn remove(containers: &Containers, run: &Run) -> Result<(), EngineError> {
    end(containers, run).await?;
    for container in run.containers.iter().rev() {
        containers.engine.delete(&format!("/containers/{}?v=1&force=1", container.id)).await?;
    }
    let identity = format!("{}={}", labels::IDENTITY, containers.identity);
    let filters = json!({"label": [identity, format!("{}={}", labels::ONE_OFF, run.name)]}).to_string();
    let volumes = containers.engine.get(&format!("/volumes?filters={}", query(&filters))).await?;
    for volume in volumes["Volumes"].as_array().into_iter().flatten().filter_map(|one| one["Name"].as_str()) {
        containers.engine.delete(&format!("/volumes/{volume}")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::container::tests::container;
    use super::*;

    fn run(containers: Vec<Container>) -> Run {
        Run { name: "digest-1".to_owned(), workload: "CronJob/digest".to_owned(), due: 60, containers }
    }

    fn main(status: Status, exit_code: i64) -> Container {
        Container { restart: Restart::OnFailure, exit_code, ..container(Role::Container, status, 3, 4) }
    }

    #[test]
    fn a_run_has_ended_with_its_sandbox_and_well_if_its_containers_did() {
        let sandbox = |status| container(Role::Sandbox, status, 1, 9);
        let sidecar = || Container { exit_code: 143, ..container(Role::Sidecar, Status::Ended, 2, 8) };
        let ended = |sandbox, main| run(vec![sandbox, sidecar(), main]).ended().map(|past| past.succeeded);
        assert_eq!(ended(sandbox(Status::Up), main(Status::Ended, 0)), None);
        assert_eq!(ended(sandbox(Status::Ended), main(Status::Ended, 0)), Some(true));
        assert_eq!(ended(sandbox(Status::Ended), main(Status::Ended, 3)), Some(false));
        let mut overdue = sandbox(Status::Ended);
        overdue.labels.insert(labels::DEADLINE.to_owned(), "2".to_owned());
        assert_eq!(ended(overdue, main(Status::Ended, 0)), Some(false), "it was ended, with code 0");
        assert_eq!(
            ended(sandbox(Status::Ended), main(Status::Created, 0)),
            Some(false),
            "an init container failed"
        );
        assert!(run(vec![sandbox(Status::Created), main(Status::Created, 0)]).is_half_made());
        assert!(!run(vec![sandbox(Status::Ended), main(Status::Created, 0)]).is_half_made());
    }
}
