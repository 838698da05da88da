//! What becomes of pods, by the Engine's events of their containers. Pure.

use std::collections::{BTreeMap, HashMap};

use envctl_model::lifetime::{Change, State};
use jiff::Timestamp;

use super::found::{Pod, is_content, is_kept};
use crate::state::{ActualContainer, ContainerState, Health};
use crate::watch::{self, ContainerEvent};

/// How pods are.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// By the name of a container on the Engine, its pod.
    pod_of: HashMap<String, String>,
    pods: BTreeMap<String, Life>,
}

#[derive(Debug, Default)]
struct Life {
    /// The name of the container that is the component.
    main: String,
    /// Sandbox and application, by name.
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
struct Member {
    runs: bool,
    content: bool,
    has_check: bool,
}

impl Life {
    fn runs(&self) -> bool {
        self.members.get(&self.main).is_some_and(|main| main.runs)
    }

    fn is_ready(&self) -> bool {
        self.runs() && self.members.values().all(|member| member.runs && member.content)
    }
}

impl Lives {
    /// As they were when they were listed. `main` says which container of a pod is the component.
    pub(super) fn of<'p>(pods: &'p [Pod], main: impl Fn(&'p Pod) -> Option<&'p ActualContainer>) -> Self {
        let mut lives = Self::default();
        for pod in pods {
            let mut life = Life::default();
            if let Some(main) = main(pod) {
                life.main.clone_from(&main.name);
            }
            for member in pod.members.iter().filter(|member| is_kept(member)) {
                lives.pod_of.insert(member.name.clone(), pod.name.clone());
                let as_it_is = Member {
                    runs: member.state == ContainerState::Running,
                    content: is_content(member),
                    has_check: member.health.is_some(),
                };
                life.members.insert(member.name.clone(), as_it_is);
            }
            lives.pods.insert(pod.name.clone(), life);
        }
        lives
    }

    /// How those are that run.
    pub(super) fn now(&self, at: Timestamp) -> Vec<Change> {
        let states = |life: &Life| match (life.runs(), life.is_ready()) {
            (true, true) => &[State::Started, State::Ready][..],
            (true, false) => &[State::Started],
            (false, _) => &[],
        };
        let each =
            self.pods.iter().flat_map(|(pod, life)| states(life).iter().map(move |state| (pod, *state)));
        each.map(|(pod, state)| Change { at, instance: pod.clone(), address: None, state }).collect()
    }

    /// What an event changes.
    pub(super) fn after(&mut self, event: &ContainerEvent) -> Vec<Change> {
        let Some(pod) = self.pod_of.get(&event.name) else { return Vec::new() };
        let Some(life) = self.pods.get_mut(pod) else { return Vec::new() };
        let (was_ready, is_main) = (life.is_ready(), life.main == event.name);
        let Some(member) = life.members.get_mut(&event.name) else { return Vec::new() };
        let mut states = Vec::new();
        let mut of_main = |state| states.extend(is_main.then_some(state));
        match event.change {
            watch::Change::Health(health) => member.content = health == Health::Healthy,
            watch::Change::Started => {
                (member.runs, member.content) = (true, !member.has_check);
                of_main(State::Started);
            }
            watch::Change::Stopping if watch::asks_to_end(event.signal.as_deref()) => {
                of_main(State::Ending);
            }
            watch::Change::Died { exit_code } => {
                member.runs = false;
                of_main(State::of_exit(exit_code));
            }
            _ => {}
        }
        match (was_ready, life.is_ready()) {
            (false, true) => states.push(State::Ready),
            (true, false) if life.runs() => states.push(State::Unready),
            _ => {}
        }
        let change = |state| Change { at: event.at, instance: pod.clone(), address: None, state };
        states.into_iter().map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::{pods, tests::api};
    use super::*;

    const APP: &str = "env-env-api-0-app-1";
    const SANDBOX: &str = "env-env-api-0-1";

    fn event(name: &str, change: watch::Change, signal: Option<&str>) -> ContainerEvent {
        ContainerEvent {
            at: Timestamp::UNIX_EPOCH,
            id: String::new(),
            name: name.to_owned(),
            service: None,
            pod: None,
            hash: None,
            signal: signal.map(str::to_owned),
            change,
        }
    }

    fn lives() -> Lives {
        Lives::of(&pods(api(Health::Healthy))[..1], |pod| pod.application().next())
    }

    #[test]
    fn a_pod_is_ready_when_all_of_it_runs_and_its_probes_are_content() {
        let mut lives = lives();
        let mut states = |name, change| {
            lives
                .after(&event(name, change, Some("15")))
                .into_iter()
                .map(|change| change.state)
                .collect::<Vec<_>>()
        };
        assert_eq!(states(APP, watch::Change::Stopping), [State::Ending]);
        assert_eq!(states(APP, watch::Change::Died { exit_code: 0 }), [State::Ended]);
        assert_eq!(states(SANDBOX, watch::Change::Died { exit_code: 0 }), []);
        assert_eq!(states(SANDBOX, watch::Change::Started), []);
        assert_eq!(states(SANDBOX, watch::Change::Health(Health::Healthy)), [], "nothing runs in it");
        assert_eq!(states(APP, watch::Change::Started), [State::Started, State::Ready]);
        assert_eq!(states(SANDBOX, watch::Change::Health(Health::Unhealthy)), [State::Unready]);
        assert_eq!(states(APP, watch::Change::Died { exit_code: 137 }), [State::Killed]);
        assert_eq!(states("env-env-web-0-app-1", watch::Change::Started), [], "another component's");
    }

    #[test]
    fn who_is_killed_was_not_asked_to_end() {
        let mut lives = lives();
        for signal in ["9", "1"] {
            assert_eq!(
                lives.after(&event(APP, watch::Change::Stopping, Some(signal))),
                [],
                "signal {signal}"
            );
        }
    }
}
