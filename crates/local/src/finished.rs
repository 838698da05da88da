//! What does not end by itself when a Job does: native sidecars, and what takes longer than it may.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::ending;
use crate::engine::{EngineError, VerifiedEngine, found};
use crate::state::{ActualContainer, ContainerState, DesiredPod};
use envctl_model::labels::Role;

/// Ends, with their own grace periods, the sidecars of pods whose application has run to its end.
///
/// # Errors
/// When the Engine does not answer.
pub async fn stop_sidecars(
    engine: &VerifiedEngine,
    desired: &[DesiredPod],
    actual: &[ActualContainer],
) -> Result<(), EngineError> {
    stop(engine, sidecars(desired, actual)).await
}

/// Ends, with their own grace periods, the containers of pods whose time is over. Their sandboxes stay: from them one knows.
///
/// # Errors
/// When the Engine does not answer.
pub async fn stop_overdue(
    engine: &VerifiedEngine,
    pods: &BTreeSet<String>,
    actual: &[ActualContainer],
) -> Result<(), EngineError> {
    let of_them = actual.iter().filter(|container| {
        container.one_off.is_none()
            && container.role != Some(Role::Sandbox)
            && container.state == ContainerState::Running
            && container.pod.as_ref().is_some_and(|pod| pods.contains(pod))
    });
    stop(engine, of_them.collect()).await
}

async fn stop(engine: &VerifiedEngine, containers: Vec<&ActualContainer>) -> Result<(), EngineError> {
    let stopping = containers.into_iter().map(|container| async move {
        let doing = format!("ending the container {}", container.name);
        found(ending::stop(engine, container, &doing).await).map(drop)
    });
    try_join_all(stopping).await.map(drop)
}

/// The sidecars that go on running though their pods have completed.
fn sidecars<'a>(desired: &[DesiredPod], actual: &'a [ActualContainer]) -> Vec<&'a ActualContainer> {
    let succeeded = |c: &ActualContainer| c.state == ContainerState::Exited && c.exit_code == Some(0);
    let mut running = Vec::new();
    for pod in desired.iter().filter(|pod| pod.is_run_once()) {
        let members = || actual.iter().filter(|c| c.pod.as_deref() == Some(pod.name.as_str()));
        if members().filter(|c| c.role == Some(Role::Container)).all(succeeded) {
            running.extend(
                members().filter(|c| c.role == Some(Role::Sidecar) && c.state == ContainerState::Running),
            );
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::DesiredContainer;
    use crate::state::tests::{exited, running};

    fn pod(name: &str, run_once: bool) -> DesiredPod {
        let container = DesiredContainer {
            service: format!("{name}.app"),
            role: Role::Container,
            run_once,
            image: None,
            health: false,
            retries: Some(0),
        };
        DesiredPod {
            name: name.to_owned(),
            hash: "h".to_owned(),
            deadline: None,
            containers: vec![container],
        }
    }

    #[test]
    fn only_those_of_completed_jobs_end() {
        let desired = [pod("done", true), pod("busy", true), pod("api", false)];
        let actual = [
            exited("done", "done.app", Role::Container, 0),
            running("done", "done.proxy", Role::Sidecar),
            running("done", "done", Role::Sandbox),
            running("busy", "busy.app", Role::Container),
            running("busy", "busy.proxy", Role::Sidecar),
            exited("api", "api.app", Role::Container, 0),
            running("api", "api.proxy", Role::Sidecar),
        ];
        let names: Vec<_> = sidecars(&desired, &actual).iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["env-done.proxy-1"]);
    }
}
