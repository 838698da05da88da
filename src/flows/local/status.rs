//! What of an environment runs on the Engine.

use std::collections::BTreeMap;

use envctl_local::engine::EngineReader;
use envctl_local::pods::is_kept_running;
use envctl_local::state::{self, ActualContainer, ContainerState, Health, is_overdue};
use envctl_model::labels::Role;
use envctl_model::record::Record;

use super::machine::explain;
use crate::flows::status::{ContainerReport, PodReport};
use crate::ui::Failure;

/// Its pods.
pub(crate) async fn pods(reader: &EngineReader, record: &Record) -> Result<Vec<PodReport>, Failure> {
    let containers = state::containers(reader, &record.identity).await.map_err(|e| explain(&e))?;
    Ok(of_containers(&containers))
}

fn of_containers(containers: &[ActualContainer]) -> Vec<PodReport> {
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
            let kept = |c: &&&ActualContainer| c.role.is_some_and(Role::is_kept_running);
            let sandbox = members.iter().filter(|c| c.role == Some(Role::Sandbox));
            let workload = members.iter().find_map(|c| c.workload.clone()).unwrap_or_default();
            PodReport {
                name: name.to_owned(),
                ready: !mains.is_empty()
                    && members.iter().filter(kept).all(|c| running(c) && healthy(c))
                    && gateway
                    && sandbox.clone().count() == 1
                    && sandbox.clone().all(|c| running(c) && healthy(c)),
                completed: !mains.is_empty()
                    && !is_kept_running(&workload)
                    && mains.iter().all(|c| succeeded(c))
                    && !is_overdue(members.iter().copied()),
                workload,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(workload: &str) -> ActualContainer {
        ActualContainer {
            id: "1".to_owned(),
            name: "shop-web-0.web-1".to_owned(),
            role: Some(Role::Container),
            pod: Some("web-0".to_owned()),
            workload: Some(workload.to_owned()),
            container: Some("web".to_owned()),
            service: None,
            hash: None,
            variables: None,
            image: String::new(),
            state: ContainerState::Exited,
            exit_code: Some(0),
            error: None,
            health: None,
            restarts: 0,
            oom_killed: false,
            started_at: None,
            finished_at: None,
            deadline: None,
            stop_timeout: None,
            index: None,
            one_off: None,
            before_stop: None,
            sandbox: None,
            is_template: false,
        }
    }

    #[test]
    fn only_what_runs_once_completes() {
        let completed = |workload: &str| of_containers(&[ended(workload)])[0].completed;
        assert!(completed("Job/migrate") && completed("CronJob/digest") && completed("Pod/once"));
        assert!(
            !completed("Deployment/web") && !completed("Rollout/web"),
            "its pod waits to be started anew"
        );
    }
}
