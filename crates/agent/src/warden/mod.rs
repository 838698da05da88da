//! The role `warden`: what a kubelet and the cluster's controllers do for one environment, by the Engine's socket.
//!
//! ```text
//! probes      says which containers have to be restarted;    backoff     how soon
//! pod         says which pods have lost their sandbox
//! cron        says when CronJobs run;                        clone       of what;    cron_jobs   has them run
//! deadline    says which pods have run for too long
//! readiness   says which sandboxes have to be told how their pods' health checks are;    telling   tells them
//! alarm       the time;                                      events      what happens
//! container   one as the Engine tells it;                    containers, runs, ending, engine   what is done with them
//! ```
//!
//! It keeps nothing: after its own restart it finds everything on the Engine, but for what a rehearsal has told it to
//! suspend, and for which run it ends others.
//! While somebody holds the environment's lock it changes nothing, tells sandboxes only how their members are, and looks at
//! everything when the lock is given back.

mod alarm;
mod backoff;
mod clone;
mod container;
mod containers;
mod cron;
mod cron_jobs;
mod deadline;
mod ending;
mod engine;
mod events;
mod pod;
mod probes;
mod readiness;
mod runs;
mod telling;

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::time::Duration;

use anyhow::Context;
use envctl_wire::labels::{self, Role};
use envctl_wire::{Suspension, Told, WardenConfig};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use self::alarm::Alarm;
use self::backoff::Backoff;
use self::container::{Container, Restart};
use self::containers::Containers;
use self::cron_jobs::CronJobs;
use self::deadline::Deadlines;
use self::engine::{Engine, EngineError, query};
use self::events::{Event, Events};
use self::probes::Failed;
use self::readiness::Readiness;
use crate::health::{self, Health};
use crate::{output, told};

/// Guards the environment until the Engine goes away. The Engine starts this container again when it comes back.
pub(crate) async fn run(config: WardenConfig) -> anyhow::Result<()> {
    let (health, reported) = watch::channel(Health::Starting);
    health::serve(reported)?;
    let engine = Engine::connect().await?;
    let (news, mut told) = unbounded_channel();
    let (failed, mut failures) = unbounded_channel();
    // Before anything is looked at: what happens meanwhile comes after that.
    let mut events = Events::of(&engine, &config.environment).await?;
    let since = last_seen(&engine).await?;
    let containers = Containers { engine, identity: config.identity.clone() };
    let mut warden = Warden {
        cron_jobs: CronJobs::new(containers.clone(), since, news.clone()),
        containers,
        expires: config.expires.and_then(|at| Timestamp::from_second(at).ok()),
        config,
        alarm: Alarm::new().context("cannot set an alarm")?,
        backoff: Backoff::default(),
        busy: BTreeSet::new(),
        unseen: BTreeSet::new(),
        watched: HashMap::new(),
        deadlines: Deadlines::default(),
        readiness: Readiness::default(),
        looked: Timestamp::now(),
        failed,
        news,
    };
    let (orders, mut ordered) = unbounded_channel();
    told::serve(move |suspension: Suspension| {
        let (done, answer) = oneshot::channel();
        let sent = orders.send(Order { suspension, done });
        async move {
            sent.map_err(|_| "the warden is ending".to_owned())?;
            answer.await.unwrap_or_else(|_| Err("the warden has ended".to_owned()))
        }
    })?;
    warden.look_at_all().await?;
    health.send_replace(Health::Ready);
    warden.guard(&mut events, &mut failures, &mut told, &mut ordered).await
}

/// After how long something is tried again that the Engine has refused.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// What a task of the warden's has done.
#[derive(Debug)]
enum News {
    /// Something was done about a pod or container.
    Done(String),
    /// A pod could not be started anew, some time ago.
    Failed(String),
    /// A run has ended, or could not be made.
    Ended(String),
    /// A run was removed for the next one, or could not be.
    Removed(String),
    /// A pod whose time is over has been ended, or had completed.
    Met(String),
    /// A pod's sandbox has been told how its members are.
    Told(String),
}

/// What envctl wants.
struct Order {
    suspension: Suspension,
    /// What came of it.
    done: oneshot::Sender<Result<(), String>>,
}

struct Warden {
    containers: Containers,
    config: WardenConfig,
    expires: Option<Timestamp>,
    alarm: Alarm,
    backoff: Backoff,
    /// Pods and containers about which something is being done.
    busy: BTreeSet<String>,
    /// Those of which something was heard meanwhile.
    unseen: BTreeSet<String>,
    /// By the id of a container, who listens to it.
    watched: HashMap<String, AbortHandle>,
    deadlines: Deadlines,
    readiness: Readiness,
    /// Up to when it has looked for what is due: an alarm for what comes after that is not missed, however late it is set.
    looked: Timestamp,
    cron_jobs: CronJobs,
    failed: UnboundedSender<Failed>,
    news: UnboundedSender<News>,
}

impl Warden {
    async fn guard(
        &mut self,
        events: &mut Events,
        failures: &mut UnboundedReceiver<Failed>,
        told: &mut UnboundedReceiver<News>,
        ordered: &mut UnboundedReceiver<Order>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                event = events.next() => self.heard(event?).await?,
                Some(failed) = failures.recv() => self.restart(failed).await?,
                Some(news) = told.recv() => match news {
                    News::Done(of) => {
                        self.busy.remove(&of);
                        if self.unseen.remove(&of) {
                            self.look_again(&of).await?;
                        }
                        self.end_what_is_over().await?;
                    }
                    News::Failed(pod) => {
                        self.busy.remove(&pod);
                        self.look_again(&pod).await?;
                        self.end_what_is_over().await?;
                    }
                    News::Met(pod) => {
                        self.busy.remove(&pod);
                        self.deadlines.met(&pod);
                    }
                    News::Told(pod) => {
                        if self.readiness.told(&pod) {
                            self.tell_health(pod);
                        }
                    }
                    News::Ended(run) => {
                        self.cron_jobs.ended(&run);
                        self.run_what_is_due().await?;
                    }
                    News::Removed(run) => {
                        self.cron_jobs.removed(&run);
                        self.run_what_is_due().await?;
                    }
                },
                Some(Order { suspension, done }) = ordered.recv() => {
                    // They are read when the lock is given back, which may not have been heard of yet.
                    if !self.cron_jobs.has(&suspension.cron_job) && !self.is_locked().await? {
                        self.cron_jobs.read().await?;
                    }
                    let answer = self.cron_jobs.suspend(suspension);
                    self.run_what_is_due().await?;
                    // Who asked may have gone.
                    let _ = done.send(answer);
                }
                rung = self.alarm.rings() => {
                    rung.context("the alarm is broken")?;
                    self.run_what_is_due().await?;
                }
            }
        }
    }

    /// Whether somebody changes the environment now.
    async fn is_locked(&self) -> anyhow::Result<bool> {
        let lock = format!("/containers/{}/json", query(&self.config.lock));
        Ok(self.containers.engine.find(&lock).await?.is_some())
    }

    async fn heard(&mut self, event: Event) -> anyhow::Result<()> {
        if event.role() == Some(Role::Lock) {
            return if event.action == "destroy" { self.look_at_all().await } else { Ok(()) };
        }
        if event.label(labels::IDENTITY) != Some(&self.config.identity) {
            return Ok(());
        }
        let is_sandbox = event.role() == Some(Role::Sandbox);
        let is_health = event.action.starts_with("health_status");
        let is_pause = matches!(event.action.as_str(), "pause" | "unpause");
        let concerns_sandbox = is_pause || (!is_sandbox && (is_health || event.action == "die"));
        if let Some(pod) = event.label(labels::POD).filter(|_| concerns_sandbox)
            && self.readiness.begins(pod)
        {
            self.tell_health(pod.to_owned());
        }
        if is_health || is_pause {
            return Ok(());
        }
        if event.action == "die" {
            self.deadlines.forget(&event.actor.id);
            if let Some(listener) = self.watched.remove(&event.actor.id) {
                listener.abort();
            }
            if let Some(pod) = event.label(labels::POD).filter(|_| is_sandbox) {
                self.readiness.forget(pod);
            }
        } else if event.action == "start"
            && let Some(container) = self.containers.one(&event.actor.id).await?
        {
            // A sandbox that has just been started knows that nobody is healthy: it need not be told.
            self.watch(&container);
            self.set_alarm()?;
            if matches!(container.role, Role::Container | Role::Sidecar) && !self.is_locked().await? {
                self.tell_sandbox(&container).await?;
            }
        }
        // Of members, too: after a restart of the Engine the sandbox may be there before those who need it.
        if let Some(pod) = event.label(labels::POD)
            && event.label(labels::ONE_OFF).is_none()
            && !self.is_locked().await?
        {
            self.look_at(pod).await?;
        }
        Ok(())
    }

    /// Everything may have changed.
    async fn look_at_all(&mut self) -> anyhow::Result<()> {
        let mut pods = BTreeSet::new();
        for container in self.containers.with(labels::POD).await? {
            if container.is_up() {
                self.watch(&container);
                if container.role == Role::Sandbox
                    && let Some(pod) = container.label(labels::POD)
                    && self.readiness.begins(pod)
                {
                    self.tell_health(pod.to_owned());
                }
            }
            let own = container.label(labels::ONE_OFF).is_none();
            pods.extend(container.label(labels::POD).filter(|_| own).map(str::to_owned));
        }
        if self.is_locked().await? {
            return Ok(());
        }
        for pod in pods {
            self.look_at(&pod).await?;
        }
        self.cron_jobs.read().await?;
        self.run_what_is_due().await
    }

    fn watch(&mut self, container: &Container) {
        self.deadlines.note(container);
        self.readiness.note(container);
        self.watched.retain(|_, listener| !listener.is_finished());
        if probes::is_watched(container) && !self.watched.contains_key(&container.id) {
            let (engine, failed) = (self.containers.engine.clone(), self.failed.clone());
            let watching = tokio::spawn(probes::watch(engine, container.clone(), failed));
            self.watched.insert(container.id.clone(), watching.abort_handle());
        }
    }

    /// A sandbox does not see that one of the containers that it probes was started.
    async fn tell_sandbox(&self, started: &Container) -> anyhow::Result<()> {
        let (Some(pod), Some(name)) = (started.label(labels::POD), started.label(labels::CONTAINER)) else {
            return Ok(());
        };
        let members = self.containers.of_pod(pod).await?;
        let sandbox = members.into_iter().find(|member| member.role == Role::Sandbox && member.is_up());
        if let Some(sandbox) = sandbox
            && probes::probed(&sandbox, |_| true).any(|container| container == name)
        {
            let (engine, told) = (self.containers.engine.clone(), Told::Started(name.to_owned()));
            tokio::spawn(async move { telling::tell(&engine, &sandbox, &told).await });
        }
        Ok(())
    }

    /// Also while somebody changes the environment: who does so waits until pods are ready.
    fn tell_health(&self, pod: String) {
        let (containers, news) = (self.containers.clone(), self.news.clone());
        tokio::spawn(async move {
            telling::health(&containers, &pod).await;
            let _ = news.send(News::Told(pod));
        });
    }

    async fn look_again(&mut self, pod: &str) -> anyhow::Result<()> {
        if self.is_locked().await? { Ok(()) } else { self.look_at(pod).await }
    }

    /// Starts a pod anew that has lost its sandbox.
    async fn look_at(&mut self, name: &str) -> anyhow::Result<()> {
        let pod = self.containers.of_pod(name).await?;
        let Some(why) = pod::lost(&pod) else { return Ok(()) };
        if self.busy.contains(name) {
            self.unseen.insert(name.to_owned());
            return Ok(());
        }
        output::line(format_args!("{name}: starting it anew: {why}"));
        let (containers, name, news) = (self.containers.clone(), name.to_owned(), self.news.clone());
        self.busy.insert(name.clone());
        tokio::spawn(async move {
            let done = match containers.start_anew(&pod).await {
                Ok(()) => {
                    output::line(format_args!("{name}: started"));
                    News::Done(name)
                }
                Err(error) => {
                    output::warn(format_args!("{name}: {error}"));
                    tokio::time::sleep(AGAIN).await;
                    News::Failed(name)
                }
            };
            let _ = news.send(done);
        });
        Ok(())
    }

    /// Restarts a container whose probe has failed, as its pod's policy says.
    async fn restart(&mut self, failed: Failed) -> anyhow::Result<()> {
        let Failed { pod, container, kind, reason } = failed;
        // Who is busy now is asked again.
        if self.is_locked().await? || self.busy.contains(&pod) {
            return Ok(());
        }
        let members = self.containers.of_pod(&pod).await?;
        let member = members.into_iter().find(|one| one.label(labels::CONTAINER) == Some(&container));
        let Some(member) = member.filter(|member| member.is_up() && !self.busy.contains(&member.name)) else {
            return Ok(());
        };
        let delay = self.backoff.delay(&member.name, Timestamp::now());
        let how = match (member.restart, delay.as_secs()) {
            (Restart::Never, _) => "ending it".to_owned(),
            (_, 0) => "restarting it".to_owned(),
            (_, seconds) => format!("restarting it in {seconds} s"),
        };
        output::line(format_args!("{pod}, container {container}: {how}: {kind} probe: {reason}"));
        let (containers, news, lock) = (self.containers.clone(), self.news.clone(), self.config.lock.clone());
        self.busy.insert(member.name.clone());
        tokio::spawn(async move {
            if member.restart != Restart::Never {
                tokio::time::sleep(delay).await;
            }
            // Somebody may have begun to change the environment meanwhile.
            let restarted = match containers.engine.find(&format!("/containers/{}/json", query(&lock))).await
            {
                Ok(Some(_)) => Ok(()),
                Ok(None) => match containers.one(&member.id).await {
                    Ok(Some(now)) if now.is_up() && now.started == member.started => match member.restart {
                        Restart::Never => containers.stop([&member].into_iter()).await,
                        _ => containers.restart(&member).await,
                    },
                    // It has ended, or lives anew: that its probe failed is no longer true.
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = restarted
                && !error.is_gone()
            {
                output::warn(format_args!("{}: {error}", member.name));
            }
            let _ = news.send(News::Done(member.name));
        });
        Ok(())
    }

    /// Ends the pods whose time is over, begins the runs whose time has come, and sets the alarm.
    async fn run_what_is_due(&mut self) -> anyhow::Result<()> {
        self.tell_expiry();
        self.looked = Timestamp::now();
        self.end_what_is_over().await?;
        if !self.is_locked().await? {
            self.cron_jobs.run_what_is_due().await?;
        }
        self.set_alarm()
    }

    fn set_alarm(&self) -> anyhow::Result<()> {
        let next = [self.cron_jobs.next(self.looked), self.deadlines.next(self.looked), self.expires];
        self.alarm.set(next.into_iter().flatten().min()).context("cannot set the alarm")
    }

    /// Ends the pods whose time is over, and that have not completed; those about which something is being done, when that
    /// is over.
    async fn end_what_is_over(&mut self) -> anyhow::Result<()> {
        let over = self.deadlines.over(Timestamp::now());
        if over.is_empty() || self.is_locked().await? {
            return Ok(());
        }
        for name in over {
            if self.busy.insert(name.clone()) {
                let (containers, news) = (self.containers.clone(), self.news.clone());
                tokio::spawn(async move {
                    let told = match end(&containers, &name).await {
                        Err(error) if !error.is_gone() => {
                            output::warn(format_args!("{name}: {error}"));
                            tokio::time::sleep(AGAIN).await;
                            News::Failed(name)
                        }
                        _ => News::Met(name),
                    };
                    let _ = news.send(told);
                });
            }
        }
        Ok(())
    }

    /// Says it once.
    fn tell_expiry(&mut self) {
        if let Some(at) = self.expires.take_if(|at| *at <= Timestamp::now()) {
            output::line(format_args!(
                "environment {} was to live until {at}: `envctl list` says whether it was extended, `envctl down` removes it",
                self.config.environment
            ));
        }
    }
}

/// Ends all of a pod but its sandbox, if it has not completed.
async fn end(containers: &Containers, name: &str) -> Result<(), EngineError> {
    let pod = containers.of_pod(name).await?;
    let up = pod.iter().filter(|one| one.role != Role::Sandbox && one.is_up());
    if !deadline::is_missed(&pod) || up.clone().next().is_none() {
        return Ok(());
    }
    output::line(format_args!("{name}: ending it: its `activeDeadlineSeconds` are over"));
    containers.stop(up).await
}

/// Until when a warden was there before: this container until it ended, or nobody before it was made.
async fn last_seen(engine: &Engine) -> anyhow::Result<Timestamp> {
    let name = env::var("HOSTNAME").unwrap_or_default();
    let own = engine.find(&format!("/containers/{name}/json")).await?.and_then(|own| Container::read(&own));
    Ok(own.and_then(|own| own.finished).unwrap_or_else(Timestamp::now))
}
