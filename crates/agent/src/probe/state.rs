//! What probes have found so far, and what follows for the pod. No clock, no sockets.

use std::sync::{Mutex, MutexGuard, PoisonError};

use envctl_wire::{ContainerHealth, HealthCheck, Probe, ProbeKind, SandboxEvent};
use tokio::sync::watch;

use crate::health::Health;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In words, as for the others.
    Success(String),
    /// It got an answer that is a failure, or none in time.
    Failure(String),
    /// Nobody listens.
    Refused(String),
}

impl Outcome {
    fn success(&self) -> bool {
        matches!(self, Self::Success(_))
    }

    fn reason(&self) -> &str {
        let (Self::Success(reason) | Self::Failure(reason) | Self::Refused(reason)) = self;
        reason
    }
}

/// One probe's memory, as in the kubelet's worker.
#[derive(Debug, Clone)]
struct Tracker {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
    /// What holds since a threshold was crossed.
    settled: Option<bool>,
}

impl Tracker {
    fn new<C>(probe: &Probe<C>) -> Self {
        Self {
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            last: None,
            run: 0,
            settled: match probe.kind {
                ProbeKind::Startup => None,
                ProbeKind::Readiness => Some(false),
                ProbeKind::Liveness => Some(true),
            },
        }
    }

    /// Counts a result; returns whether it is news.
    fn observe(&mut self, success: bool) -> bool {
        let changed = self.last != Some(success);
        let first_success = self.last.is_none() && success;
        self.last = Some(success);
        self.run = if changed { 1 } else { self.run.saturating_add(1) };
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        let settles = self.run == threshold && self.settled != Some(success);
        if settles {
            self.settled = Some(success);
        }
        // A readiness probe that fails from the start has crossed nothing, but it is worth telling
        // that it has failed as often as it may.
        let exhausted = !success && self.run == self.failure_threshold;
        settles || exhausted || (changed && !first_success)
    }

    /// Counts a period without anybody listening; returns whether it is news.
    fn unreached(&mut self) -> bool {
        self.last = Some(false);
        self.run = self.run.saturating_add(1);
        self.run == 1 || self.run == self.failure_threshold
    }
}

/// One probe among the pod's.
#[derive(Debug, Clone)]
struct State {
    container: String,
    kind: ProbeKind,
    tracker: Tracker,
    reason: String,
    /// As before the first result.
    fresh: Tracker,
    /// How often its container has been started again.
    restarts: u32,
}

impl State {
    /// The pod is not ready because of this one.
    fn blocks(&self) -> bool {
        match self.kind {
            ProbeKind::Startup | ProbeKind::Readiness => self.tracker.settled != Some(true),
            // The kubelet would be restarting the container.
            ProbeKind::Liveness => self.tracker.settled == Some(false),
        }
    }

    /// The kubelet would have restarted the container.
    fn failed(&self) -> bool {
        self.kind != ProbeKind::Readiness && self.tracker.settled == Some(false)
    }
}

/// A health check that somebody else makes.
#[derive(Debug, Clone)]
struct Checked {
    check: HealthCheck,
    /// The start of the container for which it has passed.
    passed: Option<String>,
}

impl Checked {
    fn see(&mut self, told: Option<&ContainerHealth>) {
        let started = told.and_then(|told| told.started.as_ref());
        if told.is_some_and(|told| told.healthy) {
            self.passed = started.cloned();
        } else if self.check.kind != ProbeKind::Startup || self.passed.as_ref() != started {
            self.passed = None;
        }
    }
}

/// All probes of a pod.
pub(crate) struct States {
    probes: watch::Sender<Vec<State>>,
    checked: Mutex<Vec<Checked>>,
    health: watch::Sender<Health>,
    restarts: bool,
    report: Box<dyn Fn(&SandboxEvent) + Send + Sync>,
}

impl States {
    /// `restarts` says whether somebody restarts a container when that is reported.
    pub(crate) fn new<C>(
        probes: &[Probe<C>],
        restarts: bool,
        report: impl Fn(&SandboxEvent) + Send + Sync + 'static,
    ) -> Self {
        let state = |probe: &Probe<C>| State {
            container: probe.container.clone(),
            kind: probe.kind,
            tracker: Tracker::new(probe),
            reason: String::new(),
            fresh: Tracker::new(probe),
            restarts: 0,
        };
        let probes: Vec<State> = probes.iter().map(state).collect();
        let health = health_of(&probes, &[], &Health::Starting);
        let (probes, health) = (watch::Sender::new(probes), watch::Sender::new(health));
        Self { probes, checked: Mutex::default(), health, restarts, report: Box::new(report) }
    }

    /// These have to pass, too, before the pod is ready.
    pub(crate) fn with_health_checks(self, checks: &[HealthCheck]) -> Self {
        let checked: Vec<_> =
            checks.iter().map(|check| Checked { check: check.clone(), passed: None }).collect();
        let health = health_of(&self.probes.borrow(), &checked, &Health::Starting);
        self.health.send_replace(health);
        Self { checked: Mutex::new(checked), ..self }
    }

    /// What the probes make of the pod.
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Completes when the container's startup probe has succeeded, or it has none.
    pub(crate) async fn started(&self, container: &str) {
        let mut probes = self.probes.subscribe();
        let started = probes.wait_for(|probes| {
            probes
                .iter()
                .filter(|state| state.kind == ProbeKind::Startup && state.container == container)
                .all(|state| state.tracker.settled == Some(true))
        });
        // The sender is ours, so there is always an answer.
        let _ = started.await;
    }

    /// Counts one result of the probe at `index`.
    pub(crate) fn observe(&self, index: usize, outcome: &Outcome) {
        self.update(index, outcome, |tracker| tracker.observe(outcome.success()));
    }

    /// Counts a period in which nobody listened yet.
    pub(crate) fn unreached(&self, index: usize, outcome: &Outcome) {
        self.update(index, outcome, Tracker::unreached);
    }

    /// Somebody listens now: counting starts.
    pub(crate) fn reached(&self, index: usize) {
        self.probes.send_modify(|probes| {
            if let Some(state) = probes.get_mut(index) {
                state.tracker.run = 0;
            }
        });
    }

    /// Whether the probe at `index` has succeeded as often as it must.
    pub(crate) fn has_succeeded(&self, index: usize) -> bool {
        self.probes.borrow().get(index).is_some_and(|state| state.tracker.settled == Some(true))
    }

    /// Asks for a restart of the container of the probe at `index`, if that probe has failed for good and there is
    /// somebody to ask. Returns whether it did.
    pub(crate) fn asks_for_restart(&self, index: usize) -> bool {
        let probes = self.probes.borrow();
        let Some(state) = probes.get(index).filter(|state| self.restarts && state.failed()) else {
            return false;
        };
        (self.report)(&SandboxEvent::Restart {
            container: state.container.clone(),
            kind: state.kind,
            reason: state.reason.clone(),
        });
        true
    }

    /// A container was started again: its probes know nothing about it yet.
    pub(crate) fn restarted(&self, container: &str) {
        self.probes.send_modify(|probes| {
            for state in probes.iter_mut().filter(|state| state.container == container) {
                state.tracker = state.fresh.clone();
                state.reason = "the container was started again".to_owned();
                state.restarts = state.restarts.wrapping_add(1);
            }
        });
        self.tell_health();
    }

    /// How the containers are whose health checks count.
    pub(crate) fn checked(&self, containers: &[ContainerHealth]) {
        for checked in self.checks().iter_mut() {
            checked.see(containers.iter().find(|told| told.container == checked.check.container));
        }
        self.tell_health();
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Checked>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when the container of the probe at `index` has been started again.
    pub(crate) async fn next_start(&self, index: usize) {
        let mut probes = self.probes.subscribe();
        let restarts = |probes: &[State]| probes.get(index).map(|state| state.restarts);
        let before = restarts(&probes.borrow());
        // The sender is ours, so there is always an answer.
        let _ = probes.wait_for(|probes| restarts(probes) != before).await;
    }

    fn update(&self, index: usize, outcome: &Outcome, count: impl FnOnce(&mut Tracker) -> bool) {
        self.probes.send_modify(|probes| {
            let Some(state) = probes.get_mut(index) else {
                return;
            };
            outcome.reason().clone_into(&mut state.reason);
            if count(&mut state.tracker) {
                (self.report)(&SandboxEvent::Probe {
                    container: state.container.clone(),
                    kind: state.kind,
                    success: outcome.success(),
                    reason: state.reason.clone(),
                    count: state.tracker.run,
                });
            }
        });
        self.tell_health();
    }

    fn tell_health(&self) {
        let (probes, checked) = (self.probes.borrow(), self.checks());
        self.health.send_if_modified(|health| {
            let now = health_of(&probes, &checked, health);
            let changed = now != *health;
            *health = now;
            changed
        });
    }
}

/// A pod that was never ready is starting, unless something failed for which the kubelet restarts
/// containers. What does not block says nothing about the pod.
fn health_of(probes: &[State], checked: &[Checked], before: &Health) -> Health {
    let failed = probes.iter().find(|state| state.failed());
    let probe = failed.or_else(|| probes.iter().find(|state| state.blocks()));
    let check = checked.iter().find(|checked| checked.passed.is_none());
    match (probe, check) {
        (None, None) => Health::Ready,
        _ if failed.is_none() && *before == Health::Starting => Health::Starting,
        (Some(state), _) => {
            Health::NotReady(format!("{} probe of {}: {}", state.kind, state.container, state.reason))
        }
        (None, Some(Checked { check, .. })) => Health::NotReady(format!(
            "{} probe of {}: its health check does not pass",
            check.kind, check.container
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use envctl_wire::Check;

    use super::*;

    pub(crate) fn probe(kind: ProbeKind) -> Probe {
        Probe {
            container: "app".to_owned(),
            kind,
            check: Check::Tcp { host: None, port: 3000 },
            initial_delay_seconds: 0,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
        }
    }

    fn failure() -> Outcome {
        Outcome::Failure("HTTP 503".to_owned())
    }

    fn success() -> Outcome {
        Outcome::Success("HTTP 200".to_owned())
    }

    fn states(kinds: &[ProbeKind]) -> States {
        States::new(&kinds.iter().map(|kind| probe(*kind)).collect::<Vec<_>>(), true, |_| {})
    }

    fn health(states: &States) -> Health {
        states.health().borrow().clone()
    }

    #[test]
    fn without_probes_a_pod_is_ready() {
        assert_eq!(health(&states(&[])), Health::Ready);
        assert_eq!(health(&states(&[ProbeKind::Liveness])), Health::Ready);
    }

    #[test]
    fn readiness_needs_its_threshold_both_ways() {
        let states = states(&[ProbeKind::Readiness]);
        assert_eq!(health(&states), Health::Starting);
        (0..9).for_each(|_| states.observe(0, &failure()));
        assert_eq!(health(&states), Health::Starting, "never ready is no failure");
        states.observe(0, &success());
        assert_eq!(health(&states), Health::Ready);
        (0..2).for_each(|_| states.observe(0, &failure()));
        assert_eq!(health(&states), Health::Ready, "below the threshold");
        states.observe(0, &success());
        (0..3).for_each(|_| states.observe(0, &failure()));
        assert_eq!(health(&states), Health::NotReady("readiness probe of app: HTTP 503".to_owned()));
    }

    #[test]
    fn a_failed_startup_is_a_failure_at_once_and_can_heal() {
        let states = states(&[ProbeKind::Readiness, ProbeKind::Startup]);
        (0..3).for_each(|_| states.observe(1, &failure()));
        assert_eq!(health(&states), Health::NotReady("startup probe of app: HTTP 503".to_owned()));
        states.observe(1, &success());
        states.observe(0, &success());
        assert_eq!(health(&states), Health::Ready);
    }

    #[test]
    fn liveness_takes_the_pod_out() {
        let states = states(&[ProbeKind::Liveness]);
        (0..3).for_each(|_| states.observe(0, &failure()));
        assert_eq!(health(&states), Health::NotReady("liveness probe of app: HTTP 503".to_owned()));
    }

    #[test]
    fn a_container_that_was_started_again_is_judged_anew() {
        let states = states(&[ProbeKind::Readiness, ProbeKind::Liveness]);
        states.observe(0, &success());
        (0..2).for_each(|_| states.observe(1, &failure()));
        assert!(!states.asks_for_restart(1), "below the threshold");
        states.observe(1, &failure());
        assert!(states.asks_for_restart(1) && states.asks_for_restart(1), "as often as nobody does it");
        states.restarted("other");
        assert!(matches!(health(&states), Health::NotReady(reason) if reason.starts_with("liveness")));
        states.restarted("app");
        let reason = "readiness probe of app: the container was started again";
        assert_eq!(health(&states), Health::NotReady(reason.to_owned()));
        assert!(!states.asks_for_restart(1));
        states.observe(0, &success());
        assert_eq!(health(&states), Health::Ready);
    }

    #[test]
    fn a_health_check_that_somebody_else_makes_counts_as_it_is_told() {
        let check = |container: &str, kind| HealthCheck { container: container.to_owned(), kind };
        let checks = [check("app", ProbeKind::Readiness), check("slow", ProbeKind::Startup)];
        let states = states(&[]).with_health_checks(&checks);
        let tell = |told: &[(&str, Option<&str>, bool)]| {
            let told: Vec<_> = told
                .iter()
                .map(|(container, started, healthy)| ContainerHealth {
                    container: (*container).to_owned(),
                    started: started.map(str::to_owned),
                    healthy: *healthy,
                })
                .collect();
            states.checked(&told);
            health(&states)
        };
        let (first, again) = (Some("1"), Some("2"));
        let not = |what: &str| Health::NotReady(format!("{what}: its health check does not pass"));
        assert_eq!(health(&states), Health::Starting);
        assert_eq!(tell(&[("app", first, true)]), Health::Starting);
        assert_eq!(tell(&[("app", first, true), ("slow", first, true)]), Health::Ready);
        assert_eq!(tell(&[("app", first, true), ("slow", first, false)]), Health::Ready, "it has started");
        assert_eq!(tell(&[("app", first, false), ("slow", first, false)]), not("readiness probe of app"));
        assert_eq!(tell(&[("app", first, true), ("slow", first, false)]), Health::Ready);
        assert_eq!(tell(&[("app", first, true), ("slow", None, false)]), not("startup probe of slow"));
        assert_eq!(tell(&[("app", first, true), ("slow", again, false)]), not("startup probe of slow"));
        assert_eq!(tell(&[("app", first, true), ("slow", again, true)]), Health::Ready);
        assert_eq!(tell(&[]), not("readiness probe of app"));
    }

    #[test]
    fn where_nobody_restarts_nobody_is_asked() {
        let states = States::new(&[probe(ProbeKind::Liveness)], false, |event| {
            assert!(!matches!(event, SandboxEvent::Restart { .. }));
        });
        (0..3).for_each(|_| states.observe(0, &failure()));
        assert!(!states.asks_for_restart(0));
    }

    #[test]
    fn news_is_the_first_failure_the_threshold_and_each_change() {
        let mut tracker = Tracker::new(&probe(ProbeKind::Readiness));
        let news: Vec<bool> = [false, false, false, false, true, true, false, true]
            .into_iter()
            .map(|success| tracker.observe(success))
            .collect();
        assert_eq!(news, [true, false, true, false, true, false, true, true]);
    }

    #[test]
    fn a_first_success_of_a_liveness_probe_is_no_news() {
        assert!(!Tracker::new(&probe(ProbeKind::Liveness)).observe(true));
        assert!(Tracker::new(&probe(ProbeKind::Readiness)).observe(true));
    }

    #[test]
    fn periods_without_a_listener_do_not_settle() {
        let states = states(&[ProbeKind::Startup]);
        let refused = Outcome::Refused("connection refused on port 3000".to_owned());
        (0..9).for_each(|_| states.unreached(0, &refused));
        assert_eq!(health(&states), Health::Starting);
        states.reached(0);
        (0..2).for_each(|_| states.observe(0, &failure()));
        assert_eq!(health(&states), Health::Starting);
        states.observe(0, &failure());
        assert!(matches!(health(&states), Health::NotReady(_)));
    }
}
