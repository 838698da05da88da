//! Whether a pod has lost its sandbox. Pure.

use envctl_wire::labels::Role;

use super::container::{Container, Status};

/// Why all of a pod has to be started anew, as the kubelet does when the sandbox has changed; `None` where all is well,
/// and where nothing of it runs: it was put to rest, or has completed.
pub(super) fn lost(pod: &[Container]) -> Option<&'static str> {
    let application = || pod.iter().filter(|member| matches!(member.role, Role::Container | Role::Sidecar));
    if !application().any(|member| member.is_up() || found_no_sandbox(member)) {
        return None;
    }
    // One without a sandbox is just being made, or removed.
    let sandbox = pod.iter().find(|member| member.role == Role::Sandbox)?;
    if !sandbox.is_up() {
        return Some("its sandbox has ended");
    }
    if application().any(found_no_sandbox) {
        return Some("it was started before its sandbox");
    }
    // Members keep the namespaces of the sandbox as it was when they started, and what was prepared in it is gone.
    let before = |member: &Container| match member.role {
        Role::Container | Role::Sidecar => member.is_up() && member.started < sandbox.started,
        _ => member.role.is_run_once() && member.finished.is_some_and(|at| Some(at) < sandbox.started),
    };
    pod.iter().any(before).then_some("its sandbox was restarted")
}

/// Whether the Engine tried to start a member before its sandbox, as it does after it was started itself. Other reasons for
/// which a container cannot be started do not go away by trying again.
fn found_no_sandbox(member: &Container) -> bool {
    member.status == Status::Ended && member.error.contains("join")
}

#[cfg(test)]
mod tests {
    use super::super::container::tests::container;
    use super::*;

    fn pod() -> Vec<Container> {
        vec![
            container(Role::Sandbox, Status::Up, 10, 0),
            container(Role::Seeder, Status::Ended, 11, 12),
            container(Role::Init, Status::Ended, 13, 14),
            container(Role::Container, Status::Up, 15, 0),
        ]
    }

    #[test]
    fn a_pod_that_started_in_order_is_left_alone() {
        assert_eq!(lost(&pod()), None);
        let mut crashed = pod();
        crashed[3] = container(Role::Container, Status::Ended, 15, 16);
        assert_eq!(lost(&crashed), None, "the Engine restarts it, or its policy says not to");
        let mut starting = pod();
        starting[2].finished = None;
        assert_eq!(lost(&starting), None);
    }

    #[test]
    fn a_sandbox_that_ended_or_was_restarted_takes_its_members_along() {
        let mut ended = pod();
        ended[0] = container(Role::Sandbox, Status::Ended, 10, 20);
        assert_eq!(lost(&ended), Some("its sandbox has ended"));
        let mut restarted = pod();
        restarted[0] = container(Role::Sandbox, Status::Up, 20, 19);
        assert_eq!(lost(&restarted), Some("its sandbox was restarted"));
        // All came back by itself, and what came first did not.
        restarted[3] = container(Role::Container, Status::Up, 21, 19);
        assert_eq!(lost(&restarted), Some("its sandbox was restarted"));
    }

    #[test]
    fn a_member_that_came_too_early_is_started_again_and_one_that_cannot_start_is_not() {
        let mut early = pod();
        early[3] = container(Role::Container, Status::Ended, 15, 16);
        early[3].error = "cannot join network of a non running container: 4af".to_owned();
        assert_eq!(lost(&early), Some("it was started before its sandbox"));
        early[3].error = "exec: \"nope\": executable file not found in $PATH".to_owned();
        assert_eq!(lost(&early), None);
    }

    #[test]
    fn what_was_put_to_rest_or_has_completed_stays_so() {
        let mut asleep = pod();
        asleep[3] = container(Role::Container, Status::Ended, 15, 20);
        asleep[0] = container(Role::Sandbox, Status::Ended, 10, 21);
        assert_eq!(lost(&asleep), None);
        asleep[0] = container(Role::Sandbox, Status::Up, 30, 21);
        assert_eq!(lost(&asleep), None, "a completed Job after a reboot");
    }
}
