//! How far an environment's pods are: a pure function of what was observed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::events::{Change, ContainerEvent};
use crate::state::{ActualContainer, ContainerState, DesiredContainer, DesiredPod, Health};
use envctl_model::labels::Role;

/// A container that ended this often during the wait is in a crash loop. A first crash may heal: a
/// database that was not there yet is, a second later.
const CRASHES: u32 = 3;
/// Ending for want of memory heals more rarely.
const OUT_OF_MEMORY: u32 = 2;
/// A container without a health check counts as up once it has run this long, and longer after
/// each crash: one that crashes at once would count as ready in between.
const SETTLED: Duration = Duration::from_secs(1);

/// Where a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// Nothing of it runs.
    Pending,
    /// Some of it runs.
    Starting,
    /// All of it runs and is healthy.
    Ready,
    /// It ran to its end, well.
    Completed,
    /// It failed, and waiting does not mend it.
    Failed(Failure),
}

impl PodState {
    /// Whether nothing more is awaited.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Ready | Self::Completed | Self::Failed(_))
    }
}

/// Why a pod failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The Compose service of the container.
    pub service: String,
    /// The container's id.
    pub id: String,
    /// Why.
    pub reason: FailureReason,
}

/// A condition that more waiting does not mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureReason {
    /// It ends over and over.
    CrashLoop {
        /// The last exit code.
        exit_code: i64,
        /// How often within the wait.
        times: u32,
    },
    /// What runs once ended badly, and is not tried again.
    RunOnceFailed {
        /// The last exit code.
        exit_code: i64,
        /// How often it was tried.
        attempts: u32,
    },
    /// It takes more memory than it may.
    OutOfMemory,
    /// The pod's sandbox ended, and with it the network of all of its containers.
    SandboxDied {
        /// The exit code.
        exit_code: i64,
    },
    /// The pod runs for longer than its `activeDeadlineSeconds`.
    Overdue {
        /// How long it may run.
        deadline: Duration,
    },
    /// Docker could not start it.
    CannotStart {
        /// Docker's words.
        error: String,
    },
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CrashLoop { exit_code, times } => {
                write!(f, "it crashes over and over: {times} times, last with exit code {exit_code}")
            }
            Self::RunOnceFailed { exit_code, attempts: 1 } => {
                write!(f, "it failed with exit code {exit_code}")
            }
            Self::RunOnceFailed { exit_code, attempts } => {
                write!(f, "it failed {attempts} times, last with exit code {exit_code}")
            }
            Self::OutOfMemory => f.write_str("it was killed for using more memory than its limit"),
            Self::SandboxDied { exit_code } => {
                write!(f, "the pod's sandbox ended with exit code {exit_code}")
            }
            Self::Overdue { deadline } => write!(
                f,
                "it took longer than its deadline of {} s\n  raise activeDeadlineSeconds, or find out why it takes so long",
                deadline.as_secs()
            ),
            Self::CannotStart { error } => write!(f, "Docker could not start it: {error}"),
        }
    }
}

/// How far the pods of an environment are.
#[derive(Debug, Clone)]
pub struct Progress {
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug, Clone)]
struct Pod {
    hash: String,
    run_once: bool,
    deadline: Option<Duration>,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    wanted: DesiredContainer,
    id: String,
    status: Status,
    healthy: bool,
    /// How often it ended during the wait without having been asked to.
    deaths: u32,
    out_of_memory: u32,
    /// Whether somebody asked it to end.
    stopping: bool,
    failure: Option<FailureReason>,
}

/// How the pod as a whole was before something happened to a member.
#[derive(Debug, Clone, Copy)]
struct Whole {
    is_completed: bool,
    is_overdue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Waiting,
    Running(Instant),
    Succeeded,
    Ended,
}

impl Progress {
    /// The pods to wait for, none of which has been looked at yet.
    #[must_use]
    pub fn new(desired: &[DesiredPod]) -> Self {
        let pods = desired.iter().map(|pod| {
            let members = pod.containers.iter().cloned().map(Member::new).collect();
            let (hash, run_once, deadline) = (pod.hash.clone(), pod.is_run_once(), pod.deadline);
            (pod.name.clone(), Pod { hash, run_once, deadline, members })
        });
        Self { pods: pods.collect() }
    }

    /// Takes over what the Engine's listing says.
    pub fn observe(&mut self, containers: &[ActualContainer], now: Instant) {
        for container in containers {
            let (service, hash) = (container.service.as_deref(), container.hash.as_deref());
            if let Some((_, member)) = self.member(service, hash, now) {
                member.observe(container, now);
            }
        }
    }

    /// Takes an event over.
    pub fn apply(&mut self, event: &ContainerEvent, now: Instant) {
        if let Some((pod, member)) = self.member(event.service.as_deref(), event.hash.as_deref(), now) {
            member.apply(event, pod, now);
        }
    }

    /// The member that a container of this service and hash is. A container of another hash is the
    /// one that is being replaced: its end means nothing.
    fn member(
        &mut self,
        service: Option<&str>,
        hash: Option<&str>,
        now: Instant,
    ) -> Option<(Whole, &mut Member)> {
        let (service, hash) = (service?, hash?);
        let pods = self.pods.values_mut().filter(|pod| pod.hash == hash);
        pods.filter_map(|pod| {
            let is_overdue = pod.ends_at().is_some_and(|(at, _)| at <= now);
            let whole = Whole { is_completed: pod.is_completed(), is_overdue };
            let member = pod.members.iter_mut().find(|member| member.wanted.service == service)?;
            Some((whole, member))
        })
        .next()
    }

    /// Every pod's state at `now`.
    #[must_use]
    pub fn states(&self, now: Instant) -> Vec<(String, PodState)> {
        self.pods.iter().map(|(name, pod)| (name.clone(), pod.state(now))).collect()
    }

    /// When a state will change by itself, though nothing happens: a container without a health
    /// check has then run long enough, or a pod too long.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let settled = self.pods.values().flat_map(|pod| &pod.members).filter_map(Member::settles_at);
        let overdue = self.pods.values().filter_map(|pod| pod.ends_at().map(|(at, _)| at));
        settled.chain(overdue).filter(|at| *at > now).min()
    }
}

impl Pod {
    /// When its time is over, and what has begun it.
    fn ends_at(&self) -> Option<(Instant, &Member)> {
        let sandbox = self.members.iter().find(|member| member.wanted.role == Role::Sandbox)?;
        let Status::Running(since) = sandbox.status else { return None };
        Some((since.checked_add(self.deadline?)?, sandbox))
    }

    fn is_completed(&self) -> bool {
        self.run_once && self.members.iter().all(|m| !m.wanted.run_once || m.status == Status::Succeeded)
    }

    fn state(&self, now: Instant) -> PodState {
        if self.is_completed() {
            return PodState::Completed;
        }
        let failure = |member: &Member| {
            let reason = member.failure.clone()?;
            Some(Failure { service: member.wanted.service.clone(), id: member.id.clone(), reason })
        };
        if let Some(failure) = self.members.iter().find_map(failure) {
            return PodState::Failed(failure);
        }
        if let (Some((at, sandbox)), Some(deadline)) = (self.ends_at(), self.deadline)
            && at <= now
        {
            let (service, id) = (sandbox.wanted.service.clone(), sandbox.id.clone());
            return PodState::Failed(Failure { service, id, reason: FailureReason::Overdue { deadline } });
        }
        if self.members.iter().all(|member| member.status == Status::Waiting) {
            return PodState::Pending;
        }
        if !self.run_once && self.members.iter().all(|member| member.is_up(now)) {
            return PodState::Ready;
        }
        PodState::Starting
    }
}

impl Member {
    fn new(wanted: DesiredContainer) -> Self {
        Self {
            wanted,
            id: String::new(),
            status: Status::Waiting,
            healthy: false,
            deaths: 0,
            out_of_memory: 0,
            stopping: false,
            failure: None,
        }
    }

    fn settles_at(&self) -> Option<Instant> {
        match self.status {
            Status::Running(since) if !self.wanted.health && !self.wanted.run_once => {
                Some(since + SETTLED * (1 + 4 * self.deaths))
            }
            _ => None,
        }
    }

    fn is_up(&self, now: Instant) -> bool {
        match self.status {
            Status::Succeeded => self.wanted.run_once,
            Status::Running(_) if self.wanted.run_once => false,
            Status::Running(_) if self.wanted.health => self.healthy,
            Status::Running(_) => self.settles_at().is_some_and(|at| at <= now),
            Status::Waiting | Status::Ended => false,
        }
    }

    fn observe(&mut self, container: &ActualContainer, now: Instant) {
        self.id.clone_from(&container.id);
        self.healthy = container.health == Some(Health::Healthy);
        match container.state {
            ContainerState::Running | ContainerState::Paused => {
                self.status = Status::Running(container.running_since(now));
            }
            ContainerState::Exited | ContainerState::Dead => {
                let succeeded = self.wanted.run_once && container.exit_code == Some(0);
                self.status = if succeeded { Status::Succeeded } else { Status::Ended };
            }
            ContainerState::Restarting => self.status = Status::Ended,
            ContainerState::Created => {
                self.status = Status::Waiting;
                if let Some(error) = &container.error {
                    self.failure = Some(FailureReason::CannotStart { error: error.clone() });
                }
            }
        }
    }

    fn apply(&mut self, event: &ContainerEvent, pod: Whole, now: Instant) {
        match event.change {
            Change::Created => *self = Self { id: event.id.clone(), ..Self::new(self.wanted.clone()) },
            Change::Started => {
                self.id.clone_from(&event.id);
                self.status = Status::Running(now);
                self.healthy = false;
                self.stopping = false;
            }
            Change::Stopping => self.stopping = true,
            Change::OutOfMemory => self.out_of_memory += 1,
            Change::Health(health) => self.healthy = health == Health::Healthy,
            Change::Destroyed if self.id == event.id => self.status = Status::Waiting,
            Change::Destroyed => {}
            Change::Died { exit_code } => self.died(exit_code, pod),
        }
    }

    fn died(&mut self, exit_code: i64, pod: Whole) {
        self.healthy = false;
        self.status = Status::Ended;
        // The warden may be the one that ended it.
        if self.wanted.run_once && exit_code == 0 && !pod.is_overdue {
            self.status = Status::Succeeded;
            return;
        }
        if std::mem::take(&mut self.stopping) || pod.is_completed {
            return;
        }
        self.deaths += 1;
        let exhausted = self.wanted.retries.is_some_and(|retries| self.deaths > retries);
        let crash_loop = !self.wanted.run_once && self.deaths >= CRASHES;
        self.failure = if self.wanted.role == Role::Sandbox {
            Some(FailureReason::SandboxDied { exit_code })
        } else if self.out_of_memory >= OUT_OF_MEMORY || (self.out_of_memory > 0 && exhausted) {
            Some(FailureReason::OutOfMemory)
        } else if self.wanted.run_once && exhausted {
            Some(FailureReason::RunOnceFailed { exit_code, attempts: self.deaths })
        } else if exhausted || crash_loop {
            Some(FailureReason::CrashLoop { exit_code, times: self.deaths })
        } else {
            None
        };
    }
}

impl ActualContainer {
    fn running_since(&self, now: Instant) -> Instant {
        let started: Option<Timestamp> = self.started_at.as_deref().and_then(|at| at.parse().ok());
        let age = started.map(|at| Timestamp::now().duration_since(at));
        age.and_then(|age| now.checked_sub(age.try_into().ok()?)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{desired, exited, running};

    fn event(service: &str, change: Change) -> ContainerEvent {
        ContainerEvent {
            at: Timestamp::UNIX_EPOCH,
            signal: None,
            id: format!("id-{service}"),
            name: service.to_owned(),
            service: Some(service.to_owned()),
            pod: None,
            hash: Some("h".to_owned()),
            change,
        }
    }

    struct World {
        progress: Progress,
        now: Instant,
    }

    impl World {
        fn new(pod: DesiredPod) -> Self {
            Self { progress: Progress::new(&[pod]), now: Instant::now() }
        }

        fn then(&mut self, service: &str, change: Change) -> &mut Self {
            self.progress.apply(&event(service, change), self.now);
            self
        }

        fn after(&mut self, time: Duration) -> &mut Self {
            self.now += time;
            self
        }

        fn state(&self) -> PodState {
            self.progress.states(self.now).remove(0).1
        }

        fn failure(&self) -> FailureReason {
            match self.state() {
                PodState::Failed(failure) => failure.reason,
                other => panic!("{other:?}"),
            }
        }

        fn start_pod(&mut self, pod: &str) -> &mut Self {
            self.then(&format!("{pod}-sandbox"), Change::Started)
                .then(&format!("{pod}-init"), Change::Started)
                .then(&format!("{pod}-init"), Change::Died { exit_code: 0 })
                .then(&format!("{pod}-app"), Change::Started)
        }
    }

    #[test]
    fn a_pod_without_health_checks_is_ready_when_it_has_run_for_a_moment() {
        let mut world = World::new(desired("api", false));
        assert_eq!(world.state(), PodState::Pending);
        world.start_pod("api");
        assert_eq!(world.state(), PodState::Starting);
        assert_eq!(world.progress.next_change(world.now), Some(world.now + SETTLED));
        assert_eq!(world.after(SETTLED).state(), PodState::Ready);
    }

    #[test]
    fn a_health_check_decides_where_there_is_one() {
        let mut pod = desired("api", false);
        pod.containers[0].health = true;
        let mut world = World::new(pod);
        world.start_pod("api").after(SETTLED);
        assert_eq!(world.state(), PodState::Starting);
        assert_eq!(world.then("api-sandbox", Change::Health(Health::Healthy)).state(), PodState::Ready);
        assert_eq!(world.then("api-sandbox", Change::Health(Health::Unhealthy)).state(), PodState::Starting);
    }

    #[test]
    fn a_pod_that_takes_longer_than_it_may_has_failed_and_one_that_has_completed_has_not() {
        let deadline = Duration::from_secs(5);
        let mut world = World::new(DesiredPod { deadline: Some(deadline), ..desired("migrate", true) });
        world.start_pod("migrate").after(deadline - SETTLED);
        assert_eq!(world.state(), PodState::Starting);
        assert_eq!(world.progress.next_change(world.now), Some(world.now + SETTLED));
        assert_eq!(world.after(SETTLED).failure(), FailureReason::Overdue { deadline });
        world.then("migrate-app", Change::Stopping).then("migrate-app", Change::Died { exit_code: 0 });
        assert_eq!(world.failure(), FailureReason::Overdue { deadline }, "it was ended, with code 0");

        let mut world = World::new(DesiredPod { deadline: Some(deadline), ..desired("migrate", true) });
        world.start_pod("migrate").then("migrate-app", Change::Died { exit_code: 0 }).after(deadline * 2);
        assert_eq!(world.state(), PodState::Completed);
    }

    #[test]
    fn one_crash_may_heal_and_three_are_a_loop() {
        let mut world = World::new(desired("api", false));
        world.start_pod("api");
        for _ in 0..2 {
            world.then("api-app", Change::Died { exit_code: 1 }).then("api-app", Change::Started);
        }
        assert_eq!(world.after(SETTLED).state(), PodState::Starting, "it has to run longer after a crash");
        assert_eq!(world.after(SETTLED * 10).state(), PodState::Ready);
        world.then("api-app", Change::Died { exit_code: 1 });
        assert_eq!(world.failure(), FailureReason::CrashLoop { exit_code: 1, times: 3 });
    }

    #[test]
    fn a_job_completes_or_fails_after_its_retries() {
        let mut job = desired("migrate", true);
        let mut world = World::new(job.clone());
        world.start_pod("migrate").after(SETTLED);
        assert_eq!(world.state(), PodState::Starting);
        world.then("migrate-app", Change::Died { exit_code: 0 });
        assert_eq!(world.state(), PodState::Completed);
        world.then("migrate-sandbox", Change::Died { exit_code: 137 });
        assert_eq!(world.state(), PodState::Completed, "its sandbox may go then");

        job.containers[2].retries = Some(1);
        let mut world = World::new(job);
        world.start_pod("migrate").then("migrate-app", Change::Died { exit_code: 2 });
        assert_eq!(world.state(), PodState::Starting);
        world.then("migrate-app", Change::Started).then("migrate-app", Change::Died { exit_code: 2 });
        assert_eq!(world.failure(), FailureReason::RunOnceFailed { exit_code: 2, attempts: 2 });
    }

    #[test]
    fn a_failing_init_container_and_a_dead_sandbox_fail_the_pod() {
        let mut world = World::new(desired("api", false));
        world.then("api-sandbox", Change::Started).then("api-init", Change::Started);
        world.then("api-init", Change::Died { exit_code: 3 });
        assert_eq!(world.failure(), FailureReason::RunOnceFailed { exit_code: 3, attempts: 1 });
        let mut world = World::new(desired("api", false));
        world.start_pod("api").then("api-sandbox", Change::Died { exit_code: 1 });
        assert_eq!(world.failure(), FailureReason::SandboxDied { exit_code: 1 });
    }

    #[test]
    fn memory_is_named_when_it_was_the_cause() {
        let mut world = World::new(desired("api", false));
        world.start_pod("api");
        for _ in 0..2 {
            world.then("api-app", Change::OutOfMemory).then("api-app", Change::Died { exit_code: 137 });
        }
        assert_eq!(world.failure(), FailureReason::OutOfMemory);
    }

    #[test]
    fn a_container_that_is_replaced_or_stopped_has_not_crashed() {
        let mut world = World::new(desired("api", false));
        world.start_pod("api").after(SETTLED);
        let old =
            ContainerEvent { hash: Some("older".into()), ..event("api-app", Change::Died { exit_code: 1 }) };
        for _ in 0..3 {
            world.progress.apply(&old, world.now);
            world.then("api-app", Change::Stopping).then("api-app", Change::Died { exit_code: 143 });
            world.then("api-app", Change::Started);
        }
        assert_eq!(world.after(SETTLED).state(), PodState::Ready);
    }

    #[test]
    fn what_ran_before_the_wait_is_taken_from_the_listing() {
        let mut app = running("api", "api-app", Role::Container);
        app.started_at = Some("2020-01-01T00:00:00Z".into());
        let mut sandbox = running("api", "api-sandbox", Role::Sandbox);
        sandbox.started_at.clone_from(&app.started_at);
        let mut world = World::new(desired("api", false));
        world.progress.observe(&[sandbox, exited("api", "api-init", Role::Init, 0), app], world.now);
        assert_eq!(world.state(), PodState::Ready);

        let mut created = running("api", "api-app", Role::Container);
        created.state = ContainerState::Created;
        created.error = Some("exec: \"nope\": not found".into());
        world.progress.observe(&[created], world.now);
        assert!(matches!(world.failure(), FailureReason::CannotStart { .. }));
    }
}
