//! Killed anywhere, then run again: the world converges.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use envctl_model::{Event, Plan, Step, StepId, Thing, ThingKind};
use envctl_runner::{
    Context, Done, Executor, Failpoints, Journal, Lock, RunError, StepError, Unlocked, World,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Create(&'static str),
    Remove(&'static str),
    Fail,
    Stick,
    Interrupt,
}

/// Things that exist, each with how often it was created. Creating one that exists is the defect
/// that a step which does not observe would commit.
#[derive(Default)]
struct Memory {
    things: Mutex<BTreeMap<&'static str, u32>>,
    doubled: Mutex<bool>,
    trusting: bool,
}

impl World for Memory {
    type Action = Action;

    async fn perform(&self, step: &Step<Action>, context: &Context) -> Result<Done, StepError> {
        match &step.action {
            Action::Create(name) => {
                {
                    let mut things = self.things.lock().unwrap();
                    let there = things.contains_key(name);
                    if !there || self.trusting {
                        *things.entry(name).or_default() += 1;
                        *self.doubled.lock().unwrap() |= there;
                    }
                }
                context.failpoint("created")?;
                tokio::task::yield_now().await;
                Ok(Done::shown("created").with([Thing::new(ThingKind::Volume, *name)]))
            }
            Action::Remove(name) => {
                self.things.lock().unwrap().remove(name);
                context.failpoint("removed")?;
                Ok(Done::shown("removed"))
            }
            Action::Fail => Err(StepError::Failed("no".into())),
            Action::Stick => Err(StepError::Stuck("somebody must act".into())),
            Action::Interrupt => {
                context.interrupted.cancel();
                Err(StepError::Interrupted)
            }
        }
    }
}

fn step(id: &str, after: &[&str], action: Action) -> Step<Action> {
    let things = match &action {
        Action::Create(name) => vec![Thing::new(ThingKind::Volume, *name)],
        _ => vec![],
    };
    Step {
        id: StepId::new(id),
        topic: id.into(),
        subject: String::new(),
        after: after.iter().map(|a| StepId::new(*a)).collect(),
        things,
        action,
    }
}

fn up() -> Plan<Action> {
    Plan::new(vec![
        step("network", &[], Action::Create("network")),
        step("image", &[], Action::Create("image")),
        step("database", &["network"], Action::Create("database")),
        step("pods", &["image", "database"], Action::Create("pods")),
    ])
    .unwrap()
}

fn down() -> Plan<Action> {
    Plan::new(vec![
        step("pods", &[], Action::Remove("pods")),
        step("database", &["pods"], Action::Remove("database")),
        step("image", &["pods"], Action::Remove("image")),
        step("network", &["pods", "database"], Action::Remove("network")),
    ])
    .unwrap()
}

struct House {
    dir: tempfile::TempDir,
    world: Memory,
}

impl House {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), world: Memory::default() }
    }

    async fn run(
        &self,
        verb: &str,
        plan: &Plan<Action>,
        failpoints: Failpoints,
    ) -> (Result<(), RunError>, UnboundedReceiver<Event>, Arc<Mutex<Journal>>) {
        let (journal, warnings) = Journal::open(&self.dir.path().join("journal")).unwrap();
        assert_eq!(warnings, []);
        let journal = Arc::new(Mutex::new(journal));
        let (events, received) = unbounded_channel();
        let executor = Executor {
            world: &self.world,
            lock: &Unlocked,
            journal: journal.clone(),
            events,
            failpoints,
            interrupted: CancellationToken::new(),
        };
        (executor.run(verb, plan).await, received, journal)
    }
}

fn failpoints(plan: &Plan<Action>, during: &str) -> Vec<String> {
    let moments = ["after-intent", during, "after-effect", "after-outcome"];
    plan.steps.iter().flat_map(|s| moments.map(|m| format!("{}@{m}", s.id))).collect()
}

#[tokio::test]
async fn an_up_killed_at_any_failpoint_of_any_step_converges_by_up_and_by_down() {
    for place in failpoints(&up(), "created") {
        let house = House::new();
        let (killed, ..) = house.run("up", &up(), Failpoints::abort_at(&place)).await;
        assert!(matches!(killed, Err(RunError::Killed)), "{place}");
        let known = {
            let (journal, _) = Journal::open(&house.dir.path().join("journal")).unwrap();
            journal.things().clone()
        };
        for name in house.world.things.lock().unwrap().keys() {
            assert!(
                known.iter().any(|t| t.id == *name),
                "{place}: {name} exists and the journal does not know it"
            );
        }
        let (again, _, journal) = house.run("up", &up(), Failpoints::none()).await;
        again.unwrap();
        assert_eq!(house.world.things.lock().unwrap().len(), 4, "{place}");
        assert!(!*house.world.doubled.lock().unwrap(), "{place}");
        assert_eq!(journal.lock().unwrap().things().len(), 4, "{place}");
        house.run("down", &down(), Failpoints::none()).await.0.unwrap();
        assert!(house.world.things.lock().unwrap().is_empty(), "{place}");
    }
}

#[tokio::test]
async fn a_down_killed_at_any_failpoint_of_any_step_converges_by_down_and_by_up() {
    for place in failpoints(&down(), "removed") {
        for then_up in [false, true] {
            let house = House::new();
            house.run("up", &up(), Failpoints::none()).await.0.unwrap();
            let (killed, ..) = house.run("down", &down(), Failpoints::abort_at(&place)).await;
            assert!(matches!(killed, Err(RunError::Killed)), "{place}");
            let (plan, left) = if then_up { (up(), 4) } else { (down(), 0) };
            house.run("again", &plan, Failpoints::none()).await.0.unwrap();
            assert_eq!(house.world.things.lock().unwrap().len(), left, "{place}");
        }
    }
}

#[tokio::test]
async fn the_test_world_notices_a_step_that_does_not_observe() {
    let house = House { world: Memory { trusting: true, ..Memory::default() }, ..House::new() };
    let _ = house.run("up", &up(), Failpoints::abort_at("network@after-effect")).await;
    house.run("up", &up(), Failpoints::none()).await.0.unwrap();
    assert!(*house.world.doubled.lock().unwrap());
}

#[tokio::test]
async fn after_a_failure_nothing_begins_and_what_runs_is_waited_for() {
    let plan = Plan::new(vec![
        step("fails", &[], Action::Fail),
        step("runs", &[], Action::Create("a")),
        step("never", &["fails"], Action::Create("b")),
    ])
    .unwrap();
    let house = House::new();
    let (result, mut events, _) = house.run("up", &plan, Failpoints::none()).await;
    assert_eq!(result.unwrap_err().to_string(), "fails failed");
    assert_eq!(house.world.things.lock().unwrap().keys().copied().collect::<Vec<_>>(), ["a"]);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Event::StepDone { step, .. } => seen.push(format!("done {step}")),
            Event::StepFailed { step, error, stuck, .. } => {
                seen.push(format!("failed {step}: {error} {stuck}"))
            }
            _ => {}
        }
    }
    seen.sort();
    assert_eq!(seen, ["done runs", "failed fails: no false"]);
}

#[tokio::test]
async fn stuck_is_an_outcome_with_a_name() {
    let plan = Plan::new(vec![step("sticks", &[], Action::Stick)]).unwrap();
    let (result, mut events, _) = House::new().run("up", &plan, Failpoints::none()).await;
    assert!(result.is_err());
    events.recv().await.unwrap();
    assert!(matches!(events.recv().await, Some(Event::StepFailed { stuck: true, .. })));
}

#[tokio::test]
async fn an_interrupt_ends_the_run_and_begins_nothing_more() {
    let plan = Plan::new(vec![
        step("interrupts", &[], Action::Interrupt),
        step("never", &["interrupts"], Action::Create("b")),
    ])
    .unwrap();
    let house = House::new();
    let (result, ..) = house.run("up", &plan, Failpoints::none()).await;
    assert!(matches!(result, Err(RunError::Interrupted)));
    assert!(house.world.things.lock().unwrap().is_empty());
}

struct Stolen;

impl Lock for Stolen {
    async fn still_held(&self) -> Result<(), String> {
        Err("yui@laptop took the lock".into())
    }
}

#[tokio::test]
async fn a_stolen_lock_stops_the_run_before_the_next_effect() {
    let house = House::new();
    let (journal, _) = Journal::open(&house.dir.path().join("journal")).unwrap();
    let executor = Executor {
        world: &house.world,
        lock: &Stolen,
        journal: Arc::new(Mutex::new(journal)),
        events: unbounded_channel().0,
        failpoints: Failpoints::none(),
        interrupted: CancellationToken::new(),
    };
    assert_eq!(executor.run("up", &up()).await.unwrap_err().to_string(), "yui@laptop took the lock");
    assert!(house.world.things.lock().unwrap().is_empty());
}
