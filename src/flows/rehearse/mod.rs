//! `rehearse`: a cutover in a sandbox, under load, with faults and with every rollback drilled.
//!
//! ```text
//! plan       the plan and the files that it names
//! kept       what another process needs to go on with a rehearsal, or to remove it
//! sandbox    both sides and what is between them: made, opened, removed
//! old        machines on the Engine
//! new        pods, in a cluster or, for a draft, on the Engine
//! router     HAProxy in a container
//! stage      what each step does to a sandbox, and how it is read back
//! faults     what can be broken
//! watching   what is seen meanwhile
//! jobs       the load of a worker
//! ledgers    what is told of jobs and of runs
//! identity   by what the new side is told from any other
//! answers    what both sides answer to the same request
//! conclusion the verdict, the report, the evidence
//! ```

mod answers;
mod conclusion;
mod faults;
pub(super) mod identity;
mod jobs;
mod kept;
mod ledgers;
mod new;
mod old;
pub(super) mod plan;
mod router;
mod sandbox;
mod stage;
mod watching;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envctl_model::Event;
use envctl_model::cutover::Side;
use envctl_model::name::{hash, label};
use envctl_model::stack::TargetKind;
use envctl_rehearse::director::{Director, Leg, course};
use envctl_rehearse::load::{Load, LoadSpec};
use envctl_rehearse::{Observation, Recorder, gates};
use jiff::Timestamp;

use super::interrupts::Interrupts;
use super::moving;
use super::run::{Run, Screen};
use crate::config::{Base, Settings};
use crate::ui::{Failure, Format};
use conclusion::Concluding;
use identity::Identity;
use jobs::Jobs;
use kept::{Held, Kept};
use new::Environment;
use plan::{Loaded, load};
use sandbox::{Between, Delivered, Making, Sandbox};
use stage::{Name, SandboxStage};
use watching::Watching;

/// How a rehearsal was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The cutover plan.
    pub(crate) plan: PathBuf,
    /// The seed of everything that is drawn at random; drawn itself if nobody names one.
    pub(crate) seed: Option<u64>,
    /// Whether one begins, or one that a process left unfinished is dealt with.
    pub(crate) what: What,
    /// What signs the evidence; without one there is none.
    pub(crate) key: Option<PathBuf>,
    /// Where report and evidence go.
    pub(crate) out: PathBuf,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A rehearsal from its beginning.
    Begin,
    /// What an unfinished one has still to do.
    Resume,
    /// An unfinished one is gone back from, and removed.
    Abort,
}

/// Rehearses.
pub(crate) async fn rehearse(base: &Base, options: &Options, format: Format) -> Result<(), Failure> {
    let begun = Instant::now();
    let loaded = load(base, &options.plan)?;
    let interrupts = Interrupts::listen()?;
    let screen = Screen::new(format);
    let rehearsal =
        Rehearsal { base, options, loaded: &loaded, interrupts: &interrupts, screen: &screen, begun };
    let result = match options.what {
        What::Begin => rehearsal.begin().await,
        What::Resume => rehearsal.resume().await,
        What::Abort => rehearsal.abort().await,
    };
    screen.finish().await;
    result
}

struct Rehearsal<'a> {
    base: &'a Base,
    options: &'a Options,
    loaded: &'a Loaded,
    interrupts: &'a Interrupts,
    screen: &'a Screen,
    begun: Instant,
}

/// How long the old side may take to answer the load as it should, before anything is done.
const WARM_WITHIN: Duration = Duration::from_secs(30);

/// How many requests it has to answer until then.
const WARM_REQUESTS: u32 = 20;

impl Rehearsal<'_> {
    fn making<'b>(&'b self, base: &'b Base, settings: &'b Settings) -> Making<'b> {
        let Self { loaded, interrupts, screen, .. } = *self;
        Making { environment: Environment { base, settings, loaded, interrupts, screen } }
    }

    async fn begin(&self) -> Result<(), Failure> {
        conclusion::key(self.options)?;
        conclusion::writable(self.options)?;
        let kept = self.draw()?;
        let (base, settings) = self.loaded.sandbox(self.base, &kept.name)?;
        let making = self.making(&base, &settings);
        let (machine, checked) = making.check().await?;
        let mut held = Held::begin(self.base, kept)?;
        let result = async {
            let recorder =
                Recorder::begin(&held.home.file(RECORDING), held.kept.seed).map_err(Failure::failed)?;
            let (new, delivered) = making.new_side(checked).await?;
            held.kept.replicas.clone_from(new.replicas());
            held.save()?;
            self.unless_interrupted()?;
            let made = async {
                let old = making.old_side(&machine, &held, &delivered).await?;
                held.kept.fingerprint = Some(old.fingerprint().await.map_err(old::failed)?);
                self.unless_interrupted()?;
                let between = making.between(&machine, &mut held, &old, &new, &recorder).await?;
                Ok::<_, Failure>((old, between))
            };
            // Neither waits for the other: nobody asks them for anything yet.
            let (off, made, identity) = tokio::join!(new.off(), made, self.identity(&delivered));
            off.map_err(old::failed)?;
            let ((old, Between { exposed, router, proxy }), identity) = (made?, identity?);
            held.kept.exposed = exposed;
            held.kept.delivered = Some(identity.digest());
            held.save()?;
            let sandbox = Sandbox { old, new, exposed, router, proxy };
            self.go(&sandbox, &held, &recorder, (&delivered, identity), &course(&self.loaded.plan)).await
        }
        .await;
        self.end(&base, &settings, &held, result).await
    }

    /// Goes on with what is left to do, from the old side in charge.
    async fn resume(&self) -> Result<(), Failure> {
        let held = self.take_over()?;
        conclusion::key(self.options)?;
        conclusion::writable(self.options)?;
        if !held.kept.is_whole(self.loaded.has_requests()) {
            return Err(Failure::Usage(format!(
                "the rehearsal {} died before its sandbox was whole: there is nothing to go on with\n  remove it: {}",
                held.kept.name,
                self.abort_command()
            )));
        }
        let (base, settings) = self.loaded.sandbox(self.base, &held.kept.name)?;
        let recorder = Recorder::resume(&held.home.file(RECORDING)).map_err(Failure::failed)?;
        let making = self.making(&base, &settings);
        let delivered = making.delivered().await?;
        let identity = self.identity(&delivered).await?;
        if held.kept.delivered.is_some_and(|rehearsed| rehearsed != identity.digest()) {
            return Err(Failure::Usage(format!(
                "chart, values or images have changed since the rehearsal {} began\n  change them back, or type: {}",
                held.kept.name,
                self.abort_command()
            )));
        }
        let result = async {
            let sandbox = Sandbox::open(&making.environment, &held, &delivered, &recorder).await?;
            self.back(&sandbox, &delivered, &held, &recorder).await?;
            watching::note_gone(&sandbox.new, &recorder).await.map_err(old::failed)?;
            let stage = self.stage(&sandbox, &delivered, &held, &recorder)?;
            let rest = self.director(&stage, &held, &recorder)?.remaining();
            self.go(&sandbox, &held, &recorder, (&delivered, identity), &rest).await
        }
        .await;
        self.end(&base, &settings, &held, result).await
    }

    /// Goes back, says what state both sides are in, and removes everything.
    async fn abort(&self) -> Result<(), Failure> {
        let held = self.take_over()?;
        let (base, settings) = self.loaded.sandbox(self.base, &held.kept.name)?;
        let back = async {
            let recorder = Recorder::resume(&held.home.file(RECORDING)).map_err(Failure::failed)?;
            let making = self.making(&base, &settings);
            let delivered = making.delivered().await?;
            let sandbox = Sandbox::open(&making.environment, &held, &delivered, &recorder).await?;
            self.back(&sandbox, &delivered, &held, &recorder).await
        };
        // A sandbox that never was whole has nothing to go back from, and goes all the same.
        if let Err(failure) = back.await {
            let why = failure.message().unwrap_or_default();
            self.screen.warn(format!("going back was not possible; the sandbox is removed as it is\n{why}"));
        }
        self.end(&base, &settings, &held, Ok(())).await
    }

    /// By what is told what was delivered.
    async fn identity(&self, delivered: &Delivered) -> Result<Identity, Failure> {
        let Self { base, loaded, .. } = *self;
        let Delivered { checked, .. } = delivered;
        let (target, files) = (&loaded.plan.new.target, loaded.values());
        identity::of(base, loaded, target, &files, checked.images(), checked.git()).await
    }

    fn draw(&self) -> Result<Kept, Failure> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(Failure::failed)?;
        let drawn = u64::from_le_bytes(bytes);
        let plan = &self.loaded.plan;
        let unique = hash(&format!("{drawn} {} {}", self.base.owner, std::process::id()), 32);
        Ok(Kept {
            name: format!("rehearse-{}-{}", label(&plan.component, 30), &unique[..6]),
            identity: unique,
            plan: self.loaded.path.clone(),
            plan_digest: self.loaded.digest(),
            component: plan.component.clone(),
            seed: self.options.seed.unwrap_or(drawn >> 32),
            began: Timestamp::now(),
            replicas: BTreeMap::new(),
            delivered: None,
            fingerprint: None,
            ports: None,
            exposed: None,
        })
    }

    fn take_over(&self) -> Result<Held, Failure> {
        let held = Held::take_over(self.base, &self.loaded.path)?;
        if self.options.what == What::Resume && held.kept.plan_digest != self.loaded.digest() {
            return Err(Failure::Usage(format!(
                "the plan has changed since the rehearsal {} began\n  change it back, or type: {}",
                held.kept.name,
                self.abort_command()
            )));
        }
        Ok(held)
    }

    fn stage<'b>(
        &'b self,
        sandbox: &'b Sandbox,
        delivered: &Delivered,
        held: &'b Held,
        recorder: &'b Recorder,
    ) -> Result<SandboxStage<'b>, Failure> {
        let host = sandbox::host(delivered, &self.loaded.plan)?;
        let seed = load_seed(recorder);
        Ok(SandboxStage { loaded: self.loaded, sandbox, recorder, host, seed, name: Name::default(), held })
    }

    fn director<'b>(
        &'b self,
        stage: &'b SandboxStage<'b>,
        held: &Held,
        recorder: &'b Recorder,
    ) -> Result<Director<'b, SandboxStage<'b>>, Failure> {
        let director = Director::new(&self.loaded.plan, stage, recorder, gates::judge_window);
        Ok(director.after(held.judged()?))
    }

    fn abort_command(&self) -> String {
        format!("envctl rehearse {} --abort", self.options.plan.display())
    }

    /// Whether the sandbox may be made further. What was under way when Ctrl-C came has ended.
    fn unless_interrupted(&self) -> Result<(), Failure> {
        if self.interrupts.token.is_cancelled() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Undoes what holds, or may hold.
    async fn back(
        &self,
        sandbox: &Sandbox,
        delivered: &Delivered,
        held: &Held,
        recorder: &Recorder,
    ) -> Result<(), Failure> {
        let stage = self.stage(sandbox, delivered, held, recorder)?;
        let director = self.director(&stage, held, recorder)?;
        let Some(from) = director.standing().last().copied() else {
            self.screen.warn("there is nothing to go back from: the old side does all of the work");
            return Ok(());
        };
        // Nobody sends anything yet: there is nothing to judge.
        let undone = self.legs(&director, held, self.interrupts, &[Leg::Undo { from }]).await;
        self.say_where(&director, undone.is_ok());
        undone
    }

    async fn legs(
        &self,
        director: &Director<'_, SandboxStage<'_>>,
        held: &Held,
        interrupts: &Interrupts,
        legs: &[Leg],
    ) -> Result<(), Failure> {
        let run = Run::alone("rehearse", self.base, &held.home, self.screen, interrupts).await?;
        moving::go(run, director, legs).await
    }

    /// Goes through the course, under load, and concludes.
    async fn go(
        &self,
        sandbox: &Sandbox,
        held: &Held,
        recorder: &Recorder,
        (delivered, identity): (&Delivered, Identity),
        legs: &[Leg],
    ) -> Result<(), Failure> {
        self.introduce(sandbox, held);
        let stage = self.stage(sandbox, delivered, held, recorder)?;
        let mut watching = Watching::default();
        let prefix = format!("{:x}-", stage.seed);
        watching.all(sandbox, held.kept.began, &prefix, recorder).map_err(Failure::failed)?;
        let load = self.start_load(&stage).await?;
        watching.ledger(&self.loaded.plan, sandbox, recorder).await.map_err(old::failed)?;
        let jobs = match &self.loaded.plan.work {
            Some(work) => Some(Jobs::start(work, &sandbox.old, recorder, stage.seed).await?),
            None => None,
        };
        let director = self.director(&stage, held, recorder)?;
        let went = async {
            tokio::select! {
                warm = self.warm(recorder) => warm?,
                () = self.interrupts.token.cancelled() => return Err(Failure::Interrupted),
            }
            self.legs(&director, held, self.interrupts, legs).await
        }
        .await;
        let mut ended_by_gate = false;
        let went = match went {
            Ok(()) => Ok(()),
            Err(failure) => {
                let badly = director.judged().iter().any(|judged| !judged.is_good());
                // An interrupt was meant for the way forward; the next one is for the way back.
                let interrupts = Interrupts::listen()?;
                if let Some(from) = director.standing().last().copied() {
                    let back = [Leg::Back { from, middle: true }];
                    let undone = self.legs(&director, held, &interrupts, &back).await;
                    self.say_where(&director, undone.is_ok());
                }
                ended_by_gate = badly && director.standing().is_empty();
                Err(failure)
            }
        };
        if let Some(load) = load {
            let stopped = tokio::task::spawn_blocking(move || load.stop()).await.map_err(Failure::failed)?;
            if stopped.unsent > 0 {
                self.screen.warn(format!("{} requests that were due were not sent", stopped.unsent));
            }
        }
        let mut judged = director.judged();
        if let Some(jobs) = jobs {
            let ended = jobs.stop(recorder).await?;
            for wrong in &ended.wrong {
                self.screen.warn(wrong.clone());
            }
            // What was broken off has said already what it is about.
            if went.is_ok() {
                judged.push(ended.judge(&self.loaded.plan, recorder));
            }
        }
        let mut unseen = watching.broken();
        drop(watching);
        if let Some(router) = sandbox.router.as_ref().filter(|router| router.unreadable() > 0) {
            unseen.push(format!("{} lines of the router's log could not be read", router.unreadable()));
        }
        let concluding = Concluding {
            base: self.base,
            options: self.options,
            loaded: self.loaded,
            held,
            delivered,
            identity,
            router: sandbox.router.as_ref().and_then(|router| router.image),
            recorder,
            judged,
            ended_by_gate,
            unseen,
        };
        let concluded = concluding.conclude(went.as_ref().err())?;
        let successful = concluded.is_successful();
        self.screen.show(concluded.event(self.begun.elapsed().as_secs_f64()));
        match went {
            Ok(()) if successful => Ok(()),
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            _ => Err(Failure::GateReported),
        }
    }

    fn introduce(&self, sandbox: &Sandbox, held: &Held) {
        let plan = &self.loaded.plan;
        let compose = plan.old.compose.display();
        let replicas: i32 = sandbox.new.replicas().values().sum();
        let new = match replicas {
            0 => sandbox.new.cron_jobs().join(", "),
            replicas => format!("{replicas} × {}", plan.component),
        };
        self.screen.show(Event::Sandbox {
            old: format!("{} × {} (compose: {compose})", plan.old.instances, plan.old.service),
            new: match self.loaded.target {
                TargetKind::Eks => format!("{new} (namespace {})", held.kept.name),
                TargetKind::Compose => format!("{new} (containers of {}: a draft)", held.kept.name),
            },
            shared: plan.shared.clone(),
        });
    }

    fn say_where(&self, director: &Director<'_, SandboxStage<'_>>, undone: bool) {
        let standing = director.standing();
        let steps: Vec<_> = standing.iter().map(|step| self.loaded.plan.steps[*step].name()).collect();
        self.screen.warn(if undone && steps.is_empty() {
            "gone back: the old side does all of the work again, as before the first step".to_owned()
        } else if steps.is_empty() {
            "gone back, and that broke something, or could not be judged: see the drill above".to_owned()
        } else {
            format!("going back stopped: these steps still hold, or may: {}", steps.join(", "))
        });
    }

    async fn start_load(&self, stage: &SandboxStage<'_>) -> Result<Option<Load>, Failure> {
        let (Some(traffic), Some(mix)) = (&self.loaded.plan.traffic, &self.loaded.mix) else {
            return Ok(None);
        };
        let spec = LoadSpec {
            mix: mix.clone(),
            host: stage.host.clone(),
            rate: traffic.rate,
            clients: traffic.clients.clone(),
            seed: stage.seed,
            timeout: REQUEST_WITHIN,
            resolver: stage.sandbox.resolver(&stage.name).await?,
            clock: stage.recorder.zero(),
        };
        let sink = stage.recorder.clone();
        let sink = Arc::new(move |observation: Observation| sink.see(observation));
        Load::start(spec, sink).map(Some).map_err(Failure::failed)
    }

    /// Before anything is done the old side answers as it should: else nothing later could be told apart from that.
    async fn warm(&self, recorder: &Recorder) -> Result<(), Failure> {
        if self.loaded.plan.work.is_some() {
            return jobs::warm(recorder).await;
        }
        // A crontab has its next tick when it has it: the gates say if that does not come. They judge no tick from before
        // this, at which the machine's cron program may not have begun yet.
        if let Some(timetable) = &self.loaded.plan.timetable {
            return moving::between_ticks(timetable, Duration::ZERO).await.map_err(old::failed);
        }
        if !self.loaded.has_requests() {
            return Ok(());
        }
        let (mut well, mut bad) = (0, None);
        let warm = recorder.until(WARM_WITHIN, |new| {
            for seen in new {
                let Observation::Request(request) = seen else { continue };
                if request.control {
                    continue;
                }
                if request.is_well() { well += 1 } else { bad = Some(request.clone()) }
            }
            well >= WARM_REQUESTS
        });
        if warm.await && bad.is_none() {
            return Ok(());
        }
        let what = match bad {
            Some(request) => format!(
                "`{}` was to be answered {}, and was {}",
                request.name, request.expected, request.outcome
            ),
            None => format!("{well} requests were answered in {} s", WARM_WITHIN.as_secs()),
        };
        Err(Failure::Failed(format!(
            "the {} side does not answer the load as it should, before anything was done: {what}\n  mend that, or what \
             the mix expects, in {}",
            Side::Old,
            self.loaded.plan.traffic.as_ref().map(|t| t.mix.display().to_string()).unwrap_or_default()
        )))
    }

    /// Removes the sandbox, however the rehearsal went.
    async fn end(
        &self,
        base: &Base,
        settings: &Settings,
        held: &Held,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        let interrupts = &Interrupts::listen()?;
        let Self { loaded, screen, .. } = *self;
        let environment = Environment { base, settings, loaded, interrupts, screen };
        let removed = sandbox::remove(&environment, held).await;
        // What a program was doing when it was interrupted, it calls a failure.
        let result = match result {
            Err(Failure::Failed(_)) if self.interrupts.token.is_cancelled() => Err(Failure::Interrupted),
            other => other,
        };
        match (result, removed) {
            (Err(Failure::Interrupted), Ok(())) => Err(Failure::Stopped(
                "interrupted; the sandbox is removed, and the same command begins another one".to_owned(),
            )),
            (result, Ok(())) => result,
            (result, Err(failure)) => {
                let why = match failure {
                    Failure::Interrupted => Some("removing it was interrupted".to_owned()),
                    other => other.message(),
                };
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                let command = self.abort_command();
                self.screen
                    .warn(format!("the sandbox is not removed{why}\n  what is left goes with: {command}"));
                result.and(Err(Failure::Left))
            }
        }
    }
}

/// How long a request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// The recording, in the rehearsal's directory.
const RECORDING: &str = "recording.jsonl";

/// The seed of the recording; another one for a load that goes on after a death, whose requests need other ids.
fn load_seed(recorder: &Recorder) -> u64 {
    let latest = recorder
        .read(|recording| (recording.header.seed, recording.observations.last().map(Observation::at)));
    match latest {
        (seed, None) => seed,
        (seed, Some(at)) => seed.wrapping_add(at.0),
    }
}
