//! `envctl status`

use std::collections::BTreeMap;

use envctl_local::state::{self, ActualContainer, ContainerState, Health};
use envctl_model::labels::Role;
use envctl_model::record::Phase;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::subject;
use crate::config::Base;
use crate::flows::local::machine::{explain, look};
use crate::ui::{Failure, Format, ago, print, print_json, table};

/// What `status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The environment.
    name: String,
    /// Where its last `up` or `down` stands.
    phase: Phase,
    /// Its target.
    target: String,
    /// Who made it.
    owner: String,
    /// When it may be removed (RFC 3339); nothing: never.
    expires: Option<String>,
    /// Where it answers.
    urls: Vec<String>,
    /// Its pods.
    pods: Vec<PodReport>,
}

/// One pod of `status --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PodReport {
    /// Its name.
    name: String,
    /// Its workload: `Deployment/api`.
    workload: String,
    /// Whether all its containers run and its probes pass.
    ready: bool,
    /// Whether it ran to its end, well.
    completed: bool,
    /// How often its containers were restarted.
    restarts: u64,
    /// Its containers.
    containers: Vec<ContainerReport>,
}

/// One container of `status --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContainerReport {
    /// Its name in the pod.
    name: String,
    /// Created, running, restarting, paused, exited or dead.
    state: String,
    /// Its exit code, if it ended.
    exit_code: Option<i64>,
}

pub(super) async fn run(base: &Base, format: Format) -> Result<(), Failure> {
    let record = subject(base)?;
    let reader = look(base).await?;
    let containers = state::containers(&reader, &record.identity).await.map_err(|e| explain(&e))?;
    let report = Report {
        name: record.name.to_string(),
        phase: record.phase,
        target: record.target,
        owner: record.owner,
        expires: record.expires.map(|at| at.to_string()),
        urls: record.urls,
        pods: pods(&containers),
    };
    if format == Format::Json {
        return print_json(&report);
    }
    let now = Timestamp::now();
    let expires = match record.expires {
        None => "expires never".to_owned(),
        Some(at) if at <= now => format!("expired {} ago", ago(at, now)),
        Some(at) => format!("expires in {}", ago(now, at)),
    };
    print(&format!(
        "{} · {} · target {} · owner {} · {expires}",
        report.name, report.phase, report.target, report.owner
    ));
    for url in &report.urls {
        print(url);
    }
    print(&table(
        &["POD", "WORKLOAD", "STATE", "RESTARTS", "CONTAINERS"],
        report.pods.into_iter().map(|pod| {
            let state = match (pod.ready, pod.completed) {
                (true, _) => "ready",
                (_, true) => "completed",
                _ => "not ready",
            };
            let containers: Vec<_> = pod
                .containers
                .iter()
                .map(|c| match c.exit_code {
                    Some(code) => format!("{} {} ({code})", c.name, c.state),
                    None => format!("{} {}", c.name, c.state),
                })
                .collect();
            vec![pod.name, pod.workload, state.to_owned(), pod.restarts.to_string(), containers.join(", ")]
        }),
    ));
    Ok(())
}

fn pods(containers: &[ActualContainer]) -> Vec<PodReport> {
    let mut pods: BTreeMap<&str, Vec<&ActualContainer>> = BTreeMap::new();
    for container in containers {
        if let (Some(pod), true) = (&container.pod, container.role != Some(Role::Gateway)) {
            pods.entry(pod).or_default().push(container);
        }
    }
    // Without it no pod can be reached, and none finds another.
    let gateway =
        containers.iter().any(|c| c.role == Some(Role::Gateway) && c.state == ContainerState::Running);
    pods.into_iter()
        .map(|(name, members)| {
            let healthy = |c: &&ActualContainer| matches!(c.health, None | Some(Health::Healthy));
            let running = |c: &&ActualContainer| c.state == ContainerState::Running;
            let succeeded = |c: &ActualContainer| c.state == ContainerState::Exited && c.exit_code == Some(0);
            let mains: Vec<_> = members.iter().copied().filter(|c| c.role == Some(Role::Container)).collect();
            let sandbox = members.iter().filter(|c| c.role == Some(Role::Sandbox));
            PodReport {
                name: name.to_owned(),
                workload: members.iter().find_map(|c| c.workload.clone()).unwrap_or_default(),
                ready: !mains.is_empty()
                    && mains.iter().all(|c| running(c) && healthy(c))
                    && gateway
                    && sandbox.clone().count() == 1
                    && sandbox.clone().all(|c| running(c) && healthy(c)),
                completed: !mains.is_empty() && mains.iter().all(|c| succeeded(c)),
                restarts: members.iter().map(|c| c.restarts).sum(),
                containers: members
                    .iter()
                    .filter_map(|c| {
                        Some(ContainerReport {
                            name: c.container.clone()?,
                            state: format!("{:?}", c.state).to_lowercase(),
                            exit_code: c.exit_code,
                        })
                    })
                    .collect(),
            }
        })
        .collect()
}
