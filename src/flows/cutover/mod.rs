//! `cutover`: a component moves in production, by the plan that was rehearsed, step by step and judged by the same gates.
//!
//! ```text
//! admit      from evidence to the right to act
//! preflight  production, looked at before anything is done
//! tell       what is about to be done, and the question whether it may
//! kept       what another process needs to go on, or back
//! operator   the command that operates the old side
//! prometheus counters of requests
//! watching   what is seen meanwhile
//! stage      what each step does, and how it is read back
//! ```
//!
//! Steps, undos and gates are those of `flows/rehearse`, whose way back was drilled; so are workloads, router and ledger.

mod admit;
mod kept;
mod operator;
mod preflight;
mod prometheus;
mod stage;
mod tell;
mod watching;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use envctl_cluster::cutover::Claim;
use envctl_model::Event;
use envctl_model::cutover::CutoverPlan;
use envctl_model::cutover::production::Production as Described;
use envctl_model::name::hash;
use envctl_rehearse::Recorder;
use envctl_rehearse::director::{Director, Leg, judged};
use envctl_rehearse::gates;
use envctl_rehearse::observation::{Observation, StepPhase};
use jiff::Timestamp;

use super::cluster::target::explain;
use super::interrupts::Interrupts;
use super::moving;
use super::rehearse::plan::{Loaded, load};
use super::run::{Run, Screen};
use super::up;
use crate::config::Base;
use crate::ui::{Failure, Format};
use admit::{AT_WORK, Admitted, Asking, already};
use kept::{Held, Kept};
use preflight::Parts;
use stage::Production;
use watching::{Silent, Watching};

/// How a cutover was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The cutover plan.
    pub(crate) plan: PathBuf,
    /// What is to be done.
    pub(crate) what: What,
    /// Who may sign; the repository's file, if none is named.
    pub(crate) signers: Option<PathBuf>,
    /// `--image NAME=REF`.
    pub(crate) image: BTreeMap<String, String>,
}

impl Options {
    /// Where images come from, as for an `up`.
    fn of_up(&self) -> up::Options {
        up::Options {
            set: Vec::new(),
            values: Vec::new(),
            images: None,
            image: self.image.clone(),
            only: Vec::new(),
            dev: false,
            yes: false,
            rollback: false,
            timeout: Duration::ZERO,
            schedule_grace: Duration::ZERO,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A cutover from its beginning.
    Begin {
        /// What permits it.
        evidence: PathBuf,
        /// The key that signed that, by which it is compared with what is here.
        key: PathBuf,
    },
    /// What one that stopped, or whose process died, has still to do.
    Resume,
    /// The old side is given all of the work again.
    Abort,
}

/// The recording, in the cutover's directory.
const RECORDING: &str = "recording.jsonl";

/// The evidence, there.
const EVIDENCE: &str = "evidence.jsonl";

/// Cuts over.
pub(crate) async fn cutover(base: &Base, options: &Options, format: Format) -> Result<(), Failure> {
    let begun = Instant::now();
    let loaded = load(base, &options.plan)?;
    let Some(production) = loaded.plan.production.clone() else {
        return Err(Failure::Usage(format!(
            "{} has no section `production`: it was written to be rehearsed only\n  add it, as docs/cutover.md says, \
             and rehearse again",
            options.plan.display()
        )));
    };
    let interrupts = Interrupts::listen()?;
    let screen = Screen::new(format);
    let plan = loaded.plan.in_production();
    let cutover = Cutover {
        base,
        options,
        loaded: &loaded,
        production: &production,
        plan: &plan,
        interrupts: &interrupts,
        screen: &screen,
        begun,
    };
    let result = match &options.what {
        What::Begin { evidence, key } => cutover.begin(evidence, key).await,
        What::Resume => cutover.resume().await,
        What::Abort => cutover.abort().await,
    };
    screen.finish().await;
    result
}

struct Cutover<'a> {
    base: &'a Base,
    options: &'a Options,
    loaded: &'a Loaded,
    production: &'a Described,
    plan: &'a CutoverPlan,
    interrupts: &'a Interrupts,
    screen: &'a Screen,
    begun: Instant,
}

impl Cutover<'_> {
    async fn begin(&self, evidence: &Path, key: &Path) -> Result<(), Failure> {
        for (home, _) in Held::of_plan(self.base, &self.loaded.path)? {
            let recorder = Recorder::resume(&home.file(RECORDING));
            // One that is over is kept for its way back, which another one takes from it.
            if recorder.is_ok_and(|recorder| !self.remaining(&recorder).is_empty()) {
                return Err(Failure::Taken(format!(
                    "a cutover by this plan is not over\n  go on with it: {}\n  or go back: {}",
                    self.command("--resume"),
                    self.command("--abort")
                )));
            }
        }
        let evidence = std::fs::read(evidence)
            .map_err(|e| Failure::Usage(format!("cannot read {}: {e}", evidence.display())))?;
        let began = Timestamp::now();
        let (admitted, objects) = self.asking().admit(&evidence, key).await?;
        let parts = self.parts(&admitted, &preflight::replicas(&objects)).await?;
        parts.check(self.plan, &admitted, &objects).await?;
        for warning in admitted.target.warnings() {
            self.screen.warn(warning.clone());
        }
        tell::tell(self.plan, self.production, &admitted, &parts);
        tell::ask(&self.plan.component, self.interrupts).await?;
        // Somebody may have been to lunch, and somebody else at work.
        parts.check(self.plan, &admitted, &objects).await?;

        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(Failure::failed)?;
        let identity = hash(&format!("{bytes:?}"), 32);
        for (home, _) in Held::of_plan(self.base, &self.loaded.path)? {
            home.remove()?;
        }
        // Before the claim: who dies between the two can go on with it.
        let held = Held::begin(
            self.base,
            Kept {
                name: format!("{}-{}", self.plan.component, &identity[..6]),
                identity,
                plan: self.loaded.path.clone(),
                plan_digest: self.loaded.digest(),
                began,
                replicas: parts.new.replicas.clone(),
            },
        )?;
        let claimed = async {
            let file = held.home.file(EVIDENCE);
            envctl_local::compose::write_file(&file, &evidence)
                .map_err(|e| Failure::Failed(format!("cannot write {}: {e}", file.display())))?;
            let recorder = Recorder::begin(&held.home.file(RECORDING), 0).map_err(Failure::failed)?;
            self.claim(&admitted, &held).await?;
            Ok(recorder)
        };
        let recorder = match claimed.await {
            Ok(recorder) => recorder,
            Err(failure) => {
                held.home.remove()?;
                return Err(failure);
            }
        };
        self.go(&parts, &held, &recorder).await
    }

    async fn resume(&self) -> Result<(), Failure> {
        let (held, parts, recorder, admitted) = self.take_over().await?;
        let going_back = recorder.read(|recording| {
            let is_undo = |seen: &Observation| {
                matches!(seen, Observation::Step { phase: StepPhase::Undoing | StepPhase::Undone, .. })
            };
            recording.observations.iter().any(is_undo)
        });
        if going_back {
            return Err(Failure::Refused(format!(
                "this cutover was going back, and goes forward no more\n  finish going back: {}\n  then rehearse again",
                self.command("--abort")
            )));
        }
        if self.remaining(&recorder).is_empty() {
            return Err(Failure::Usage("this cutover is done: there is nothing to go on with".to_owned()));
        }
        // Its process may have died before.
        self.claim(&admitted, &held).await?;
        self.go(&parts, &held, &recorder).await
    }

    async fn abort(&self) -> Result<(), Failure> {
        let (held, parts, recorder, _) = self.take_over().await?;
        let watching = self.watch(&parts, &recorder);
        let stage = self.stage(&parts, &held, &recorder, watching.silent());
        let director = self.director(&stage, &held, &recorder)?;
        let back = self.back(&director, &held, &watching, self.interrupts).await;
        drop(watching);
        back?;
        held.home.remove()
    }

    /// Marks the evidence as used, by this cutover.
    async fn claim(&self, admitted: &Admitted, held: &Held) -> Result<(), Failure> {
        let claim = Claim {
            component: self.plan.component.clone(),
            identity: held.kept.identity.clone(),
            by: admitted.target.facts().arn.clone(),
            began: held.kept.began,
        };
        match admitted.target.claim(&claim).await.map_err(|e| explain(&e))? {
            None => Ok(()),
            Some(other) => Err(already(&other)),
        }
    }

    fn asking(&self) -> Asking<'_> {
        let Self { base, loaded, production, options, .. } = *self;
        Asking { base, loaded, production, options }
    }

    async fn parts(&self, admitted: &Admitted, replicas: &BTreeMap<String, i32>) -> Result<Parts, Failure> {
        Parts::find(self.plan, self.production, self.loaded.directory(), &admitted.target, replicas).await
    }

    /// Takes over a cutover that stopped, or whose process died.
    async fn take_over(&self) -> Result<(Held, Parts, Recorder, Admitted), Failure> {
        let held = Held::take_over(self.base, &self.loaded.path)?;
        if held.kept.plan_digest != self.loaded.digest() {
            return Err(Failure::Usage(
                "the plan has changed since this cutover began\n  change it back: what was begun ends by the plan that \
                 was rehearsed"
                    .to_owned(),
            ));
        }
        let evidence = std::fs::read(held.home.file(EVIDENCE)).map_err(Failure::failed)?;
        let asking = self.asking();
        // Going back watches nothing for long.
        let lasts = if self.options.what == What::Abort { AT_WORK } else { asking.lasts() };
        let (began, identity) = (held.kept.began, &held.kept.identity);
        let admitted = asking.admit_again(&evidence, began, identity, lasts).await?;
        let parts = self.parts(&admitted, &held.kept.replicas).await?;
        let recorder = Recorder::resume(&held.home.file(RECORDING)).map_err(Failure::failed)?;
        Ok((held, parts, recorder, admitted))
    }

    fn stage<'b>(
        &'b self,
        parts: &Parts,
        held: &'b Held,
        recorder: &'b Recorder,
        silent: Silent,
    ) -> Production<'b> {
        Production {
            plan: self.plan,
            new: parts.new.clone(),
            old: parts.old.clone(),
            router: parts.router.clone(),
            recorder,
            held,
            silent,
        }
    }

    fn director<'b>(
        &'b self,
        stage: &'b Production<'b>,
        held: &Held,
        recorder: &'b Recorder,
    ) -> Result<Director<'b, Production<'b>>, Failure> {
        let director = Director::new(self.plan, stage, recorder, gates::judge_production).looking();
        Ok(director.after(held.judged()?))
    }

    fn watch(&self, parts: &Parts, recorder: &Recorder) -> Watching {
        let mut watching = Watching::default();
        if let Some(counting) = &parts.counting {
            watching.counters(counting.clone(), recorder);
        }
        if let Some(router) = &parts.router {
            watching.weights(router, recorder);
        }
        if let Some(words) = &self.production.ledger {
            watching.ledger(words, self.loaded.directory(), self.plan, &parts.new, recorder);
        }
        watching
    }

    /// Steps that are not judged yet, in order.
    fn remaining(&self, recorder: &Recorder) -> Vec<usize> {
        let judged = recorder.read(|recording| judged(&recording.observations));
        let steps = self.plan.steps.iter().enumerate();
        steps
            .filter(|(step, described)| described.action.changes() && !judged.contains(step))
            .map(|(step, _)| step)
            .collect()
    }

    /// Goes on with what is left, until it ends or stops where the plan says.
    async fn go(&self, parts: &Parts, held: &Held, recorder: &Recorder) -> Result<(), Failure> {
        let watching = self.watch(parts, recorder);
        let stage = self.stage(parts, held, recorder, watching.silent());
        let director = self.director(&stage, held, recorder)?;
        let mut steps = self.remaining(recorder);
        let stop = steps.iter().position(|step| self.production.stop_after.contains(step));
        let is_last = stop.is_none_or(|at| at + 1 == steps.len());
        steps.truncate(stop.map_or(steps.len(), |at| at + 1));
        let legs: Vec<_> =
            steps.iter().flat_map(|step| [Leg::Do { step: *step }, Leg::Judge { step: *step }]).collect();
        let went = self.legs(&director, held, self.interrupts, &legs).await;
        let Err(failure) = went else {
            let (state, next) = if is_last {
                (
                    "done",
                    format!(
                        "the new side does all of the work; the way back, as long as the old side is kept: {}",
                        self.command("--abort")
                    ),
                )
            } else {
                let at = steps.last().map(|step| self.plan.steps[*step].name()).unwrap_or_default();
                (
                    "stopped",
                    format!(
                        "after {at}, as the plan says; go on: {}; go back: {}",
                        self.command("--resume"),
                        self.command("--abort")
                    ),
                )
            };
            self.tell_state(state, next);
            return Ok(());
        };
        if let Some(unseen) = watching.unseen() {
            self.screen.warn(unseen);
        }
        // What no step has said.
        if let Failure::Failed(why) = &failure {
            self.screen.warn(why.clone());
        }
        // An interrupt was meant for the way forward; the next one is for the way back.
        let interrupts = Interrupts::listen()?;
        self.back(&director, held, &watching, &interrupts).await?;
        held.home.remove()?;
        match failure {
            Failure::Interrupted => Err(Failure::Stopped(
                "interrupted: gone back; its evidence is used, so rehearse again before another one"
                    .to_owned(),
            )),
            _ => Err(Failure::GateReported),
        }
    }

    /// Gives the old side all of the work again, by the undos that were drilled, and judges that.
    async fn back(
        &self,
        director: &Director<'_, Production<'_>>,
        held: &Held,
        watching: &Watching,
        interrupts: &Interrupts,
    ) -> Result<(), Failure> {
        let Some(from) = director.standing().last().copied() else {
            self.tell_state("back", "nothing was changed that would have to be undone".to_owned());
            return Ok(());
        };
        let undone = self.legs(director, held, interrupts, &[Leg::Back { from, middle: true }]).await;
        let standing: Vec<_> = director.standing().iter().map(|step| self.plan.steps[*step].name()).collect();
        if !standing.is_empty() {
            self.screen.warn(format!(
                "going back stopped: these steps still hold, or may: {}\n  mend what stands above, then: {}",
                standing.join(", "),
                self.command("--abort")
            ));
            return Err(undone.err().unwrap_or(Failure::Reported));
        }
        if undone.is_err() {
            self.screen.warn("gone back, and that broke something, or could not be judged: see above");
        }
        if let Some(unseen) = watching.unseen() {
            self.screen.warn(unseen);
        }
        self.tell_state(
            "back",
            "the old side does all of the work again, as before the first step".to_owned(),
        );
        Ok(())
    }

    fn tell_state(&self, state: &str, next: String) {
        self.screen.show(Event::CutOver {
            component: self.plan.component.clone(),
            state: state.to_owned(),
            next,
            seconds: self.begun.elapsed().as_secs_f64(),
        });
    }

    async fn legs(
        &self,
        director: &Director<'_, Production<'_>>,
        held: &Held,
        interrupts: &Interrupts,
        legs: &[Leg],
    ) -> Result<(), Failure> {
        let run = Run::alone("cutover", self.base, &held.home, self.screen, interrupts).await?;
        moving::go(run, director, legs).await
    }

    fn command(&self, flag: &str) -> String {
        format!("envctl cutover {} {flag}", self.options.plan.display())
    }
}
