//! Docker's health checks of the members decide on their pods' readiness, and a sandbox cannot see them.

use std::collections::BTreeMap;

use envctl_wire::labels::{self, Role};
use envctl_wire::{ContainerHealth, Told};

use super::container::Container;
use super::probes;

/// The pods whose sandboxes have to be told how their members are.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    pods: BTreeMap<String, State>,
}

/// What is being done about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Told,
    Telling,
    /// Something has happened meanwhile: what is told may be outdated.
    Outdated,
}

impl Readiness {
    /// A container runs. Of a sandbox that waits for health checks is remembered that it has to be told.
    pub(super) fn note(&mut self, container: &Container) {
        if let Some(pod) = container.label(labels::POD)
            && container.role == Role::Sandbox
            && !awaited(container).is_empty()
        {
            self.pods.entry(pod.to_owned()).or_insert(State::Told);
        }
    }

    /// A pod has no sandbox any more.
    pub(super) fn forget(&mut self, pod: &str) {
        self.pods.remove(pod);
    }

    /// Something has happened to a member. Whether somebody has to begin to tell the sandbox.
    pub(super) fn begins(&mut self, pod: &str) -> bool {
        let Some(state) = self.pods.get_mut(pod) else { return false };
        let begins = *state == State::Told;
        *state = if begins { State::Telling } else { State::Outdated };
        begins
    }

    /// The sandbox has been told. Whether that has to be done again.
    pub(super) fn told(&mut self, pod: &str) -> bool {
        let Some(state) = self.pods.get_mut(pod) else { return false };
        let again = *state == State::Outdated;
        *state = if again { State::Telling } else { State::Told };
        again
    }
}

/// The containers whose health checks a sandbox waits for.
fn awaited(sandbox: &Container) -> Vec<String> {
    let config = probes::config(sandbox);
    config.into_iter().flat_map(|config| config.health_checks).map(|check| check.container).collect()
}

/// Which sandbox of a pod has to be told, and what.
pub(super) fn tells(pod: &[Container]) -> Option<(&Container, Told)> {
    let sandbox = pod.iter().find(|one| one.role == Role::Sandbox && one.is_running)?;
    let members: BTreeMap<_, _> =
        pod.iter().filter_map(|one| Some((one.label(labels::CONTAINER)?, one))).collect();
    let health = awaited(sandbox).into_iter().map(|name| {
        let member = members.get(name.as_str()).filter(|member| member.is_running);
        ContainerHealth {
            started: member.and_then(|member| member.started).map(|at| at.to_string()),
            healthy: member.is_some_and(|member| member.is_healthy),
            container: name,
        }
    });
    let health: Vec<_> = health.collect();
    (!health.is_empty()).then_some((sandbox, Told::Health(health)))
}

#[cfg(test)]
mod tests {
    use super::super::container::Status;
    use super::super::container::tests::container;
    use super::*;

    fn sandbox() -> Container {
        let mut sandbox = container(Role::Sandbox, Status::Up, 10, 0);
        let checks = r#"[{"container":"app","kind":"readiness"}]"#;
        sandbox.env = vec![format!(
            r#"ENVCTL_AGENT_CONFIG={{"pod":"web-0","resolv":null,"gateway":null,"forwards":[],"probes":[],"healthChecks":{checks}}}"#
        )];
        sandbox
    }

    #[test]
    fn a_sandbox_is_told_what_holds_now_by_one_at_a_time() {
        let mut readiness = Readiness::default();
        assert!(!readiness.begins("web-0"), "nobody waits for it");
        readiness.note(&container(Role::Sandbox, Status::Up, 10, 0));
        assert!(!readiness.begins("web-0"), "it waits for nothing");
        readiness.note(&sandbox());
        assert!(readiness.begins("web-0"));
        readiness.note(&sandbox());
        assert!(!readiness.begins("web-0") && !readiness.begins("web-0"));
        assert!(readiness.told("web-0") && !readiness.told("web-0"));
        assert!(readiness.begins("web-0"));
        readiness.forget("web-0");
        assert!(!readiness.told("web-0") && !readiness.begins("web-0"));
    }

    #[test]
    fn who_does_not_run_is_not_healthy() {
        let mut app = container(Role::Container, Status::Up, 12, 0);
        app.labels.insert(labels::CONTAINER.to_owned(), "app".to_owned());
        app.is_healthy = true;
        let told = |member: &Container| match tells(&[sandbox(), member.clone()]) {
            Some((_, Told::Health(told))) => (told[0].started.clone(), told[0].healthy),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&app), (Some("1970-01-01T00:00:12Z".to_owned()), true));
        app.is_running = false;
        assert_eq!(told(&app), (None, false));
        assert!(tells(&[container(Role::Sandbox, Status::Up, 10, 0), app]).is_none());
    }
}
