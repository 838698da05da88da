//! Pods that may run so long and no longer.

use std::collections::HashMap;

use envctl_wire::labels::{self, Role};
use jiff::{SignedDuration, Timestamp};

use super::container::Container;

/// The pods that run now and have a deadline.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// By the id of the sandbox: when its time is over, and the pod's name.
    pods: HashMap<String, (Timestamp, String)>,
}

impl Deadlines {
    /// A container runs.
    pub(super) fn note(&mut self, container: &Container) {
        if let (Some(at), Some(pod)) = (ends_at(container), container.label(labels::POD)) {
            self.pods.insert(container.id.clone(), (at, pod.to_owned()));
        }
    }

    /// A container has ended.
    pub(super) fn forget(&mut self, id: &str) {
        self.pods.remove(id);
    }

    /// A pod has been ended, or had completed.
    pub(super) fn met(&mut self, pod: &str) {
        self.pods.retain(|_, (_, name)| name != pod);
    }

    /// When the time of the next one is over, for whoever has looked for those up to a moment.
    pub(super) fn next(&self, looked: Timestamp) -> Option<Timestamp> {
        self.pods.values().map(|pod| pod.0).filter(|at| *at > looked).min()
    }

    /// Those whose time is over, until they are [met](Self::met).
    pub(super) fn over(&self, now: Timestamp) -> Vec<String> {
        self.pods.values().filter(|(at, _)| *at <= now).map(|(_, pod)| pod.clone()).collect()
    }
}

/// When the time of this sandbox's pod is over.
pub(super) fn ends_at(sandbox: &Container) -> Option<Timestamp> {
    let seconds = sandbox.label(labels::DEADLINE).filter(|_| sandbox.role == Role::Sandbox)?.parse().ok()?;
    sandbox.started?.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Whether something of a pod goes on, or ended when the pod's time was over.
pub(super) fn is_missed(pod: &[Container]) -> bool {
    let Some(at) = pod.iter().find_map(ends_at) else { return false };
    let ends = |one: &&Container| !matches!(one.role, Role::Sandbox | Role::Sidecar);
    pod.iter().filter(ends).any(|one| one.is_up() || one.finished.is_some_and(|finished| finished >= at))
}

#[cfg(test)]
mod tests {
    use super::super::container::Status;
    use super::super::container::tests::container;
    use super::*;

    fn sandbox(seconds: &str) -> Container {
        let mut sandbox = container(Role::Sandbox, Status::Up, 10, 0);
        sandbox.labels.insert(labels::DEADLINE.to_owned(), seconds.to_owned());
        sandbox
    }

    #[test]
    fn a_pod_is_told_until_it_is_ended() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut deadlines = Deadlines::default();
        deadlines.note(&sandbox("60"));
        deadlines.note(&container(Role::Container, Status::Up, 11, 0));
        // Nobody has looked since: the alarm rings at once, though the time is past.
        assert_eq!(deadlines.next(at(69)), Some(at(70)));
        assert_eq!(deadlines.over(at(69)), Vec::<String>::new());
        assert_eq!((deadlines.over(at(70)), deadlines.next(at(70))), (vec!["web-0".to_owned()], None));
        assert_eq!(deadlines.over(at(80)), ["web-0"], "it could not be ended");
        deadlines.met("web-0");
        assert_eq!(deadlines.over(at(80)), Vec::<String>::new());
        deadlines.note(&sandbox("60"));
        deadlines.forget("id-sandbox");
        assert_eq!(deadlines.over(at(80)), Vec::<String>::new());
    }

    #[test]
    fn what_ended_in_time_has_not_missed_its_deadline() {
        let pod = |status, finished| [sandbox("60"), container(Role::Container, status, 12, finished)];
        assert!(!is_missed(&pod(Status::Ended, 69)));
        assert!(is_missed(&pod(Status::Ended, 70)));
        assert!(is_missed(&pod(Status::Up, 0)));
        let without =
            [container(Role::Sandbox, Status::Up, 10, 0), container(Role::Container, Status::Up, 12, 0)];
        assert!(!is_missed(&without));
    }
}
