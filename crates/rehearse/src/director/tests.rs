//! Every rollback, and every death, on a stage in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envctl_model::Event;
use envctl_model::cutover::plan::*;
use envctl_model::cutover::{FaultKind, GateKind};
use envctl_model::stack::ComponentKind;
use envctl_runner::{Executor, Failpoints, Journal, RunError, Unlocked};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::{Director, Judged, Leg, Stage, Trouble, course, judged};
use crate::gates::{During, Outcome, Verdict, Window};
use crate::recorder::Recorder;
use crate::recording::Recording;

/// The step of [`plan`] that changes nothing.
const COMPARES: usize = 1;

/// What holds, as the stage has it: the names of the steps that were done and not undone.
#[derive(Debug, Default)]
struct Memory {
    holds: Mutex<Vec<String>>,
    broken: Mutex<Option<FaultKind>>,
    did: Mutex<Vec<String>>,
    kept: Mutex<Vec<Judged>>,
    /// The step whose effect cannot be had.
    fails: Option<usize>,
}

impl Memory {
    fn note(&self, what: &str, step: usize) {
        self.did.lock().unwrap().push(format!("{what} {step}"));
    }

    fn holds(&self) -> Vec<String> {
        self.holds.lock().unwrap().clone()
    }
}

impl Stage for Memory {
    async fn act(&self, step: usize) -> Result<(), Trouble> {
        if self.fails == Some(step) {
            return Err(Trouble("the router did not take the weight".to_owned()));
        }
        self.note("do", step);
        let mut holds = self.holds.lock().unwrap();
        holds.retain(|held| *held != format!("half {step}"));
        if step != COMPARES && !holds.contains(&step.to_string()) {
            holds.push(step.to_string());
        }
        Ok(())
    }

    async fn half(&self, step: usize) -> Result<(), Trouble> {
        self.note("half", step);
        self.holds.lock().unwrap().push(format!("half {step}"));
        Ok(())
    }

    async fn undo(&self, step: usize) -> Result<(), Trouble> {
        self.note("undo", step);
        self.holds
            .lock()
            .unwrap()
            .retain(|held| *held != step.to_string() && *held != format!("half {step}"));
        Ok(())
    }

    async fn inject(&self, fault: &Fault) -> Result<(), Trouble> {
        *self.broken.lock().unwrap() = Some(fault.inject);
        Ok(())
    }

    fn keep(&self, judged: &[Judged]) -> Result<(), Trouble> {
        *self.kept.lock().unwrap() = judged.to_vec();
        Ok(())
    }

    async fn lift(&self, _: &Fault) -> Result<(), Trouble> {
        *self.broken.lock().unwrap() = None;
        Ok(())
    }
}

fn plan() -> CutoverPlan {
    let step = |action| Step { action, bake: Bake::default(), gates: vec![GateKind::Samples], line: 1 };
    CutoverPlan {
        component: "api".to_owned(),
        kind: ComponentKind::Service,
        old: OldSide {
            compose: PathBuf::from("old.yaml"),
            service: "api".to_owned(),
            port: Some(80),
            instances: 2,
        },
        new: NewSide { target: "rehearsal".to_owned(), values: Vec::new() },
        shared: Vec::new(),
        router: None,
        divergence: Vec::new(),
        traffic: None,
        work: None,
        timetable: None,
        slo: Slo { availability: 0.999, p99: Duration::from_millis(400) },
        steps: vec![
            step(Action::ScaleUpNew),
            step(Action::SameAnswer { sample: 10 }),
            step(Action::SetWeight { percent: 50 }),
            step(Action::SetWeight { percent: 100 }),
        ],
        faults: vec![Fault {
            at: 2,
            inject: FaultKind::KillNewPod,
            failed_requests: 3,
            with: None,
            recovery: Duration::from_millis(1),
        }],
        rollback: Rollback {
            drill: Drill::EveryStep,
            max_duration: Duration::from_secs(5),
            after_writes: true,
        },
        production: None,
    }
}

fn says(outcome: Outcome) -> Vec<Verdict> {
    vec![Verdict { gate: GateKind::Samples, outcome, failures: Vec::new(), inputs: Vec::new() }]
}

fn passes(_: &CutoverPlan, _: &Recording, _: &Window) -> Vec<Verdict> {
    says(Outcome::Passed)
}

fn fails_at_step_2(_: &CutoverPlan, _: &Recording, window: &Window) -> Vec<Verdict> {
    let bad = window.step == Some(2) && window.during == During::Step;
    says(if bad { Outcome::Failed } else { Outcome::Passed })
}

async fn run<S: Stage>(
    director: &Director<'_, S>,
    legs: &[Leg],
    dir: &Path,
    failpoints: Failpoints,
) -> Result<(), RunError> {
    let (events, _received) = tokio::sync::mpsc::unbounded_channel();
    run_and_tell(director, legs, dir, failpoints, events).await
}

async fn run_and_tell<S: Stage>(
    director: &Director<'_, S>,
    legs: &[Leg],
    dir: &Path,
    failpoints: Failpoints,
    events: UnboundedSender<Event>,
) -> Result<(), RunError> {
    let (journal, _) = Journal::open(&dir.join("journal.jsonl")).unwrap();
    let executor = Executor {
        world: director,
        lock: &Unlocked,
        journal: Arc::new(Mutex::new(journal)),
        events,
        failpoints,
        interrupted: CancellationToken::new(),
    };
    executor.run("rehearse", &director.legs(legs).unwrap()).await
}

fn recorder(dir: &Path) -> Recorder {
    let file = dir.join("recording.jsonl");
    if file.exists() { Recorder::resume(&file).unwrap() } else { Recorder::begin(&file, 7).unwrap() }
}

#[test]
fn the_course_does_judges_breaks_and_goes_back_from_each_step_and_from_the_middle_of_one() {
    let back = |from| Leg::Back { from, middle: false };
    let expected = [
        Leg::Do { step: 0 },
        Leg::Judge { step: 0 },
        back(0),
        Leg::Again { to: 0 },
        // There is nothing to undo of a comparison.
        Leg::Do { step: 1 },
        Leg::Judge { step: 1 },
        Leg::Half { step: 2 },
        Leg::Back { from: 2, middle: true },
        Leg::Again { to: 1 },
        Leg::Do { step: 2 },
        Leg::Judge { step: 2 },
        Leg::Fault { fault: 0 },
        back(2),
        Leg::Again { to: 2 },
        Leg::Do { step: 3 },
        Leg::Judge { step: 3 },
        back(3),
    ];
    assert_eq!(course(&plan()), expected);

    let mut short = plan();
    short.rollback.drill = Drill::LastStep;
    let backs = course(&short).into_iter().filter(|leg| matches!(leg, Leg::Back { .. }));
    assert_eq!(backs.collect::<Vec<_>>(), [back(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_whole_rehearsal_ends_with_the_old_side_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, stage, recorder) = (plan(), Memory::default(), recorder(dir.path()));
    let director = Director::new(&plan, &stage, &recorder, passes);
    run(&director, &course(&plan), dir.path(), Failpoints::none()).await.unwrap();
    assert_eq!(stage.holds(), Vec::<String>::new());
    assert_eq!(*stage.broken.lock().unwrap(), None);
    // Undone in reverse.
    let did = stage.did.lock().unwrap().clone();
    let last: Vec<_> = did.iter().rev().take(3).rev().map(String::as_str).collect();
    assert_eq!(last, ["undo 3", "undo 2", "undo 0"]);
    let drills = director.judged().into_iter().filter(|judged| judged.window.during == During::Drill);
    assert_eq!(drills.map(|judged| judged.step).collect::<Vec<_>>(), [0, 2, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn after_a_gate_has_failed_nothing_is_done_but_going_back() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, stage, recorder) = (plan(), Memory::default(), recorder(dir.path()));
    let director = Director::new(&plan, &stage, &recorder, fails_at_step_2);
    let failed = run(&director, &course(&plan), dir.path(), Failpoints::none()).await.unwrap_err();
    assert_eq!(failed.to_string(), "11-judge-setWeight failed");
    assert_eq!(stage.holds(), ["0", "2"]);
    let from = *director.standing().last().unwrap();
    let back = [Leg::Back { from, middle: false }];
    run(&director, &back, dir.path(), Failpoints::none()).await.unwrap();
    assert_eq!(stage.holds(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_stops_the_way_forward_and_not_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, stage, recorder) = (plan(), Memory::default(), recorder(dir.path()));
    let director = Director::new(&plan, &stage, &recorder, passes);
    let forward = [Leg::Do { step: 0 }, Leg::Do { step: 2 }];
    run(&director, &forward, dir.path(), Failpoints::none()).await.unwrap();
    recorder.fill_the_disk();
    run(&director, &[Leg::Do { step: 3 }], dir.path(), Failpoints::none()).await.unwrap_err();
    assert_eq!(stage.holds(), ["0", "2"], "what cannot be written down is not done");
    let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
    let back = [Leg::Back { from: 3, middle: true }];
    run_and_tell(&director, &back, dir.path(), Failpoints::none(), events).await.unwrap_err();
    assert_eq!((stage.holds(), director.standing()), (Vec::new(), Vec::new()));
    let mut told = Vec::new();
    while let Some(event) = received.recv().await {
        if let Event::StepFailed { error, .. } = event {
            told.push(error);
        }
    }
    assert!(told[0].contains("the recording cannot be written: no space left"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_latches_although_the_process_died_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, stage) = (plan(), Memory::default());
    let before = recorder(dir.path());
    let director = Director::new(&plan, &stage, &before, fails_at_step_2);
    run(&director, &course(&plan), dir.path(), Failpoints::none()).await.unwrap_err();
    drop(director);
    drop(before);

    let recorder = recorder(dir.path());
    let kept = stage.kept.lock().unwrap().clone();
    let director = Director::new(&plan, &stage, &recorder, passes).after(kept);
    assert_eq!(director.remaining(), []);
    let failed = |judged: &Judged| judged.verdicts.iter().any(|verdict| verdict.outcome == Outcome::Failed);
    assert!(director.judged().iter().any(failed));
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_cannot_be_had_is_undone_like_one_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, recorder) = (plan(), recorder(dir.path()));
    let stage = Memory { fails: Some(3), ..Memory::default() };
    let director = Director::new(&plan, &stage, &recorder, passes);
    run(&director, &course(&plan), dir.path(), Failpoints::none()).await.unwrap_err();
    assert_eq!(director.standing(), [0, 2, 3]);
}

/// Every moment at which the runner can die, of every leg: whoever comes after knows what to undo, and goes on to the
/// end.
#[tokio::test(start_paused = true)]
async fn whoever_resumes_after_any_death_undoes_what_may_hold_and_goes_on_to_the_end() {
    let plan = plan();
    let legs = course(&plan);
    for leg in 0..legs.len() {
        for moment in ["after-intent", "after-effect", "after-outcome"] {
            let dir = tempfile::tempdir().unwrap();
            let stage = Memory::default();
            let before = recorder(dir.path());
            let director = Director::new(&plan, &stage, &before, passes);
            let id = director.legs(&legs).unwrap().steps[leg].id.clone();
            let failpoint = Failpoints::abort_at(&format!("{id}@{moment}"));
            let died = run(&director, &legs, dir.path(), failpoint).await;
            assert!(matches!(died, Err(RunError::Killed)), "{id}@{moment}: {died:?}");
            drop(director);
            drop(before);

            let recorder = recorder(dir.path());
            let director = Director::new(&plan, &stage, &recorder, passes);
            let known: Vec<_> = director.standing().iter().map(usize::to_string).collect();
            for held in stage.holds() {
                let step = held.trim_start_matches("half ").to_owned();
                assert!(known.contains(&step), "{id}@{moment}: {held} holds, and {known:?} are known");
            }
            if let Some(from) = director.standing().last().copied() {
                let back = [Leg::Back { from, middle: true }];
                run(&director, &back, dir.path(), Failpoints::none()).await.unwrap();
            }
            assert_eq!(stage.holds(), Vec::<String>::new(), "{id}@{moment}");
            let rest = director.remaining();
            run(&director, &rest, dir.path(), Failpoints::none()).await.unwrap();
            assert_eq!(stage.holds(), Vec::<String>::new(), "{id}@{moment}");
            let judged = recorder.read(|recording| judged(&recording.observations));
            assert_eq!(judged, [0, 1, 2, 3], "{id}@{moment}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_told_while_a_step_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plan, stage, recorder) = (plan(), Memory::default(), recorder(dir.path()));
    plan.steps[0].bake.at_least = Duration::from_secs(5);
    let director = Director::new(&plan, &stage, &recorder, passes);
    let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
    let legs = [Leg::Do { step: 0 }, Leg::Judge { step: 0 }];
    run_and_tell(&director, &legs, dir.path(), Failpoints::none(), events).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = received.recv().await {
        if let Event::StepProgress { message, .. } = event {
            told.push(message);
        }
    }
    assert!(told.len() >= 3 && told.iter().all(|told| told == "0 requests  0 failed"), "{told:?}");
}

/// Fails the second and the third time that step 2 is looked at.
fn fails_for_a_while(_: &CutoverPlan, _: &Recording, window: &Window) -> Vec<Verdict> {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    let is_step = window.step == Some(2) && window.during == During::Step;
    let fails = is_step && (1..3).contains(&LOOKS.fetch_add(1, Ordering::Relaxed));
    let mut said = says(if fails { Outcome::Failed } else { Outcome::Passed });
    said[0].gate = GateKind::NoFailedRequest;
    said
}

#[tokio::test(start_paused = true)]
async fn who_looks_ends_a_step_that_is_seen_to_fail_before_its_time_is_over() {
    let (dir, stage) = (tempfile::tempdir().unwrap(), Memory::default());
    let mut plan = plan();
    plan.steps[2].bake.at_least = Duration::from_secs(600);
    let recorder = recorder(dir.path());
    let director = Director::new(&plan, &stage, &recorder, fails_for_a_while).looking();
    let legs = [Leg::Do { step: 2 }, Leg::Judge { step: 2 }];
    let (events, mut received) = tokio::sync::mpsc::unbounded_channel();
    run_and_tell(&director, &legs, dir.path(), Failpoints::none(), events).await.unwrap_err();
    let mut told = Vec::new();
    while let Some(event) = received.recv().await {
        if let Event::StepFailed { .. } = &event {
            told.push(serde_json::to_string(&event).unwrap());
        }
    }
    assert!(told.len() == 1 && told[0].contains("gate noFailedRequest failed"), "{told:?}");
    assert!(!judged(&recorder.read(|recording| recording.observations.clone())).contains(&2));
}
