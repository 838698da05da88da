//! Which pods there are among containers, and how each is. Pure.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::labels::Role;

use crate::logs;
use crate::state::{ActualContainer, ContainerState, Health};

/// Which pods of an environment are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those of a component, by any of the names that people use for it.
    Component(String),
    /// Those of these workloads: `Deployment/api`.
    Workloads(BTreeSet<String>),
}

/// A pod as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name, which is its host name.
    pub name: String,
    /// Its workload: `Deployment/api`.
    pub workload: String,
    /// Whether a container of the application runs in it, or is about to be started again.
    pub is_running: bool,
    /// Whether all of them do, and its probes are content.
    pub is_ready: bool,
    /// In starting order, the sandbox first.
    pub(super) members: Vec<ActualContainer>,
}

/// The kinds whose pods are kept running: they can be ended and started again. Jobs and bare Pods have run.
const KEPT_RUNNING: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"];

/// Whether the pods of a workload, `Deployment/api`, are kept running, and never complete.
#[must_use]
pub fn is_kept_running(workload: &str) -> bool {
    workload.split_once('/').is_some_and(|(kind, _)| KEPT_RUNNING.contains(&kind))
}

impl Pod {
    /// Its containers, in starting order, the sandbox first.
    #[must_use]
    pub fn containers(&self) -> &[ActualContainer] {
        &self.members
    }

    /// The containers of the application. Native sidecars come first.
    pub(super) fn application(&self) -> impl Iterator<Item = &ActualContainer> {
        self.members.iter().filter(|member| member.role.is_some_and(Role::is_kept_running))
    }
}

impl Which {
    pub(super) fn has(&self, pod: &Pod) -> bool {
        match self {
            Self::All => true,
            Self::Component(word) => pod.members.iter().any(|member| logs::is_of(member, word)),
            Self::Workloads(workloads) => workloads.contains(&pod.workload),
        }
    }
}

/// That there are none, in words.
pub(super) fn none(which: &Which, there: &[String]) -> String {
    let there = if there.is_empty() { String::new() } else { format!("; there are: {}", there.join(", ")) };
    match which {
        Which::All => "the environment has no pods that are kept running".to_owned(),
        Which::Component(word) => format!("there is no component {word} in this environment{there}"),
        Which::Workloads(workloads) => {
            let wanted: Vec<_> = workloads.iter().map(String::as_str).collect();
            format!("the environment has no pods of {}{there}", wanted.join(", "))
        }
    }
}

/// Whether it runs, or the Engine starts it again.
pub(super) fn is_up(container: &ActualContainer) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Paused)
}

/// Whether it runs as long as its pod does.
pub(super) fn is_kept(container: &ActualContainer) -> bool {
    container.role.is_some_and(|role| role == Role::Sandbox || role.is_kept_running())
}

/// Whether its health check, if it has one, is content.
pub(super) fn is_content(container: &ActualContainer) -> bool {
    matches!(container.health, None | Some(Health::Healthy))
}

/// The pods that these containers make, as far as they are kept running. Those that were made for one command are not.
pub(super) fn pods(containers: Vec<ActualContainer>) -> Vec<Pod> {
    let mut by_pod: BTreeMap<(String, String), Vec<ActualContainer>> = BTreeMap::new();
    for container in containers.into_iter().filter(|container| container.one_off.is_none()) {
        if let (Some(workload), Some(pod)) = (container.workload.clone(), container.pod.clone())
            && is_kept_running(&workload)
        {
            by_pod.entry((pod, workload)).or_default().push(container);
        }
    }
    by_pod.into_iter().map(|((name, workload), members)| pod(name, workload, members)).collect()
}

fn pod(name: String, workload: String, mut members: Vec<ActualContainer>) -> Pod {
    members.sort_by_key(|member| member.index);
    let is_well = |member: &ActualContainer| member.state == ContainerState::Running && is_content(member);
    let is_running = members.iter().any(|member| member.role == Some(Role::Container) && is_up(member));
    let is_ready = is_running && members.iter().filter(|member| is_kept(member)).all(is_well);
    Pod { name, workload, is_running, is_ready, members }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::state::tests::{exited, running};

    fn of(workload: &str, index: usize, container: ActualContainer) -> ActualContainer {
        let name = (container.role == Some(Role::Container)).then(|| "app".to_owned());
        ActualContainer {
            workload: Some(workload.to_owned()),
            index: Some(index),
            container: name,
            ..container
        }
    }

    pub(in crate::pods) fn api(sandbox: Health) -> Vec<ActualContainer> {
        let healthy =
            ActualContainer { health: Some(sandbox), ..running("shop-api-0", "env-api-0", Role::Sandbox) };
        let one_off = ActualContainer {
            one_off: Some("x7".to_owned()),
            ..running("shop-api-run-x7", "env-run", Role::Container)
        };
        vec![
            of("Deployment/shop-api", 2, running("shop-api-0", "env-api-0-app", Role::Container)),
            of("Deployment/shop-api", 0, healthy),
            of("Deployment/shop-api", 1, exited("shop-api-0", "env-api-0-init", Role::Init, 0)),
            of("Job/shop-api", 1, exited("shop-api-x", "env-api-x-app", Role::Container, 0)),
            of("Pod/shop-api-test", 1, exited("shop-api-test", "env-test-app", Role::Container, 0)),
            of("Deployment/shop-api", 1, one_off),
            of("Deployment/shop-web", 1, running("shop-web-0", "env-web-0-app", Role::Container)),
        ]
    }

    #[test]
    fn a_component_has_the_pods_that_are_kept_running() {
        let of = |word: &str, health| {
            let which = Which::Component(word.to_owned());
            pods(api(health)).into_iter().filter(|pod| which.has(pod)).collect::<Vec<_>>()
        };
        let found = of("api", Health::Healthy);
        let [pod] = &found[..] else { panic!("{found:?}") };
        assert_eq!((pod.name.as_str(), pod.is_running, pod.is_ready), ("shop-api-0", true, true));
        let order: Vec<_> = pod.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(
            order,
            ["env-env-api-0-1", "env-env-api-0-init-1", "env-env-api-0-app-1"],
            "in starting order"
        );
        assert!(!of("api", Health::Unhealthy)[0].is_ready, "its probes are not content");
        let names: Vec<_> = pods(api(Health::Healthy)).into_iter().map(|pod| pod.name).collect();
        assert_eq!(names, ["shop-api-0", "shop-web-0"]);
    }

    #[test]
    fn what_is_started_again_and_again_runs_and_what_has_a_check_of_its_own_is_asked() {
        let mut all = api(Health::Healthy);
        all[0].state = ContainerState::Restarting;
        assert!(pods(all.clone())[0].is_running && !pods(all.clone())[0].is_ready);
        all[0].state = ContainerState::Running;
        all[0].health = Some(Health::Starting);
        assert!(!pods(all)[0].is_ready);
    }
}
