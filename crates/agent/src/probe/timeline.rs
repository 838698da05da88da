//! When a probe is made.

use std::time::Duration;

use envctl_wire::{Probe, ProbeKind};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::state::{Outcome, States};

/// The pause between two tries while nobody listens: short at first, since programs take a moment
/// to start, and longer for those that take longer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Makes the probe at `index` for as long as the pod lives, anew for each start of its container.
pub(crate) async fn follow<C, F: Future<Output = Outcome>>(
    index: usize,
    probe: &Probe<C>,
    states: &States,
    check: impl Fn() -> F,
) {
    loop {
        let next_start = states.next_start(index);
        tokio::pin!(next_start);
        tokio::select! {
            biased;
            () = &mut next_start => {}
            () = follow_one(index, probe, states, &check) => next_start.await,
        }
    }
}

/// Makes it for one start of the container (a startup probe: until it has succeeded).
async fn follow_one<C, F: Future<Output = Outcome>>(
    index: usize,
    probe: &Probe<C>,
    states: &States,
    check: &impl Fn() -> F,
) {
    let period = Duration::from_secs(probe.period_seconds.max(1).into());
    sleep(Duration::from_secs(probe.initial_delay_seconds.into())).await;
    if probe.kind != ProbeKind::Startup {
        states.started(&probe.container).await;
    }
    let mut outcome = reach(index, period, states, check).await;
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        states.observe(index, &outcome);
        if probe.kind == ProbeKind::Startup && states.has_succeeded(index) {
            return;
        }
        // Nobody probes a container that is about to be restarted. Who should do so may have been busy.
        while states.asks_for_restart(index) {
            sleep(period * probe.failure_threshold.max(1)).await;
        }
        ticks.tick().await;
        outcome = check().await;
    }
}

/// The first outcome with somebody listening.
async fn reach<F: Future<Output = Outcome>>(
    index: usize,
    period: Duration,
    states: &States,
    check: &impl Fn() -> F,
) -> Outcome {
    let began = Instant::now();
    let mut periods = 0;
    loop {
        let outcome = check().await;
        if !matches!(outcome, Outcome::Refused(_)) {
            states.reached(index);
            return outcome;
        }
        let elapsed = began.elapsed();
        if elapsed >= period * (periods + 1) {
            periods += 1;
            states.unreached(index, &outcome);
        }
        sleep((elapsed / 20).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use envctl_wire::SandboxEvent;

    use super::super::state::tests::probe;
    use super::*;
    use crate::health::Health;

    type Seen = Arc<Mutex<Vec<u64>>>;

    /// Follows a probe whose outcome depends on the seconds since the start; returns when checks
    /// were made.
    fn script(
        index: usize,
        probes: &[Probe],
        states: &Arc<States>,
        outcome: impl Fn(u64) -> Outcome + Send + Sync + 'static,
    ) -> Seen {
        let seen = Seen::default();
        let (states, probe, log) = (Arc::clone(states), probes[index].clone(), Arc::clone(&seen));
        let began = Instant::now();
        tokio::spawn(async move {
            follow(index, &probe, &states, || {
                let now = began.elapsed().as_secs();
                log.lock().unwrap().push(now);
                std::future::ready(outcome(now))
            })
            .await;
        });
        seen
    }

    fn ok() -> Outcome {
        Outcome::Success(String::new())
    }

    fn failed() -> Outcome {
        Outcome::Failure("no".to_owned())
    }

    fn refused() -> Outcome {
        Outcome::Refused("refused".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn initial_delay_then_each_period() {
        let mut readiness = probe(ProbeKind::Readiness);
        readiness.initial_delay_seconds = 7;
        let probes = [readiness];
        let states = Arc::new(States::new(&probes, false, |_| {}));
        let seen = script(0, &probes, &states, |_| failed());
        sleep(Duration::from_secs(30)).await;
        assert_eq!(*seen.lock().unwrap(), [7, 17, 27]);
    }

    #[tokio::test(start_paused = true)]
    async fn startup_holds_the_others_back_and_then_ends() {
        let probes = [probe(ProbeKind::Startup), probe(ProbeKind::Readiness)];
        let states = Arc::new(States::new(&probes, false, |_| {}));
        let startup = script(0, &probes, &states, |t| if t < 15 { failed() } else { ok() });
        let readiness = script(1, &probes, &states, |_| ok());
        sleep(Duration::from_secs(45)).await;
        assert_eq!(*startup.lock().unwrap(), [0, 10, 20]);
        assert_eq!(*readiness.lock().unwrap(), [20, 30, 40]);
        assert_eq!(*states.health().borrow(), Health::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_starts_late_is_found_soon_after() {
        let probes = [probe(ProbeKind::Readiness)];
        let states = Arc::new(States::new(&probes, false, |_| {}));
        script(0, &probes, &states, |t| if t < 3 { refused() } else { ok() });
        let began = Instant::now();
        states.health().wait_for(|health| *health == Health::Ready).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(3200), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_is_asked_for_until_it_comes_and_all_begins_anew() {
        let mut liveness = probe(ProbeKind::Liveness);
        liveness.initial_delay_seconds = 5;
        let probes = [liveness];
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, began) = (Arc::clone(&asked), Instant::now());
        let states = Arc::new(States::new(&probes, true, move |event| {
            if let SandboxEvent::Restart { container, kind, reason } = event {
                let now = began.elapsed().as_secs();
                log.lock().unwrap().push((now, format!("{container} {kind} {reason}")));
            }
        }));
        let seen = script(0, &probes, &states, |t| if t < 70 { failed() } else { ok() });
        sleep(Duration::from_secs(60)).await;
        let told = "app liveness no".to_owned();
        assert_eq!(*asked.lock().unwrap(), [(25, told.clone()), (55, told)]);
        states.restarted("app");
        sleep(Duration::from_secs(30)).await;
        assert_eq!(*seen.lock().unwrap(), [5, 15, 25, 65, 75, 85], "with its initial delay");
        assert_eq!(*states.health().borrow(), Health::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_later_counts() {
        let probes = [probe(ProbeKind::Liveness)];
        let states = Arc::new(States::new(&probes, false, |_| {}));
        script(0, &probes, &states, |t| if t < 5 { ok() } else { refused() });
        sleep(Duration::from_secs(35)).await;
        assert!(matches!(*states.health().borrow(), Health::NotReady(_)));
    }
}
