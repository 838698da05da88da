//! What `up` and `down` share: the lock, the journal, the executor and the screen around a plan.

use std::sync::{Arc, Mutex, PoisonError};

use envctl_model::{Event, Plan};
use envctl_programs::process::{Child, Children, Supervisor};
use envctl_runner::{Context, Executor, Failpoints, Journal, Killed, Lock, RunError, Unlocked, World};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::Home;
use super::interrupts::Interrupts;
use crate::config::Base;
use crate::config::variables::Variables;
use crate::ui::{Failure, Format, Printer};

/// The screen, fed by events until they end.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Where events go.
    pub(crate) events: UnboundedSender<Event>,
    drawing: JoinHandle<()>,
}

impl Screen {
    /// A screen on standard output.
    pub(crate) fn new(format: Format) -> Self {
        let (events, received) = unbounded_channel();
        Self { events, drawing: tokio::spawn(draw(Printer::new(format), received)) }
    }

    /// Publishes an event.
    pub(crate) fn show(&self, event: Event) {
        // The screen ends only after all senders did.
        let _ = self.events.send(event);
    }

    /// Publishes a warning.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.show(Event::Warning { message: message.into() });
    }

    /// Waits until all events are drawn.
    pub(crate) async fn finish(self) {
        drop(self.events);
        let _ = self.drawing.await;
    }
}

async fn draw(mut printer: Printer, mut received: UnboundedReceiver<Event>) {
    while let Some(event) = received.recv().await {
        printer.show(&event);
    }
}

/// Opens the journal, says what is wrong with it, and ends what a crashed run left running.
pub(crate) async fn open_journal(
    home: &Home,
    screen: &Screen,
    interrupts: &Interrupts,
) -> Result<Arc<Mutex<Journal>>, Failure> {
    clear_scratch(home);
    let (journal, warnings) = Journal::open(&home.file("journal.jsonl")).map_err(disk)?;
    for warning in warnings {
        screen.show(Event::Warning { message: warning.to_string() });
    }
    for child in journal.children() {
        let child = Child { pid: child.pid, started: child.started.clone(), program: child.program.clone() };
        if !envctl_programs::process::still_alive(&child) {
            continue;
        }
        screen.show(Event::Warning {
            message: format!(
                "{} (pid {}) of an earlier run is still at work; waiting for it to end",
                child.program, child.pid
            ),
        });
        tokio::select! {
            () = envctl_programs::process::gone(&child) => {}
            () = interrupts.token.cancelled() => {
                envctl_programs::process::end(&child, &interrupts.signals).await.map_err(Failure::failed)?;
                return Err(Failure::Interrupted);
            }
        }
    }
    Ok(Arc::new(Mutex::new(journal)))
}

/// What programs were given for one run holds secrets: credentials and values. If it cannot be removed, the
/// next program that needs the place says why.
fn clear_scratch(home: &Home) {
    let _ = std::fs::remove_dir_all(home.file(super::chart::SCRATCH));
}

fn disk(error: envctl_runner::JournalError) -> Failure {
    let full = matches!(&error, envctl_runner::JournalError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    let help = if full { "\n  the disk is full: make room, then type the same command again" } else { "" };
    Failure::Failed(format!("{error}{help}"))
}

/// Dies here if a test wants it: a moment of a verb that belongs to no step.
pub(crate) fn reach(failpoints: &Failpoints, verb: &str, moment: &str) -> Result<(), Failure> {
    failpoints.reach(verb, moment).map_err(|Killed| Failure::Interrupted)
}

/// Everything around a plan while it runs.
#[derive(Debug)]
pub(crate) struct Run<'a, L> {
    /// `up` or `down`.
    pub(crate) verb: &'a str,
    /// The only writer.
    pub(crate) lock: &'a L,
    /// The log.
    pub(crate) journal: Arc<Mutex<Journal>>,
    /// Where to publish.
    pub(crate) screen: &'a Screen,
    /// Ctrl-C.
    pub(crate) interrupts: &'a Interrupts,
    /// For tests.
    pub(crate) failpoints: Failpoints,
    /// The environment's directory.
    pub(crate) home: &'a Home,
}

/// Where a test has this process die.
pub(crate) fn failpoints(variables: &Variables) -> Failpoints {
    let failpoints = variables.failpoint.as_deref().map_or_else(Failpoints::none, Failpoints::kill_at);
    match &variables.failpoint_log {
        Some(file) => failpoints.logged_to(file),
        None => failpoints,
    }
}

impl<'a> Run<'a, Unlocked> {
    /// What nobody but this process works on: its directory is held.
    pub(crate) async fn alone(
        verb: &'a str,
        base: &Base,
        home: &'a Home,
        screen: &'a Screen,
        interrupts: &'a Interrupts,
    ) -> Result<Self, Failure> {
        let journal = open_journal(home, screen, interrupts).await?;
        let failpoints = failpoints(&base.variables);
        Ok(Self { verb, lock: &Unlocked, journal, screen, interrupts, failpoints, home })
    }
}

impl<L: Lock> Run<'_, L> {
    /// Goes on though nothing can be written down.
    pub(crate) fn whatever_the_disk_says(self) -> Self {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).tolerate_loss();
        self
    }

    /// Runs a plan to its end.
    pub(crate) async fn execute<W: World>(self, world: &W, plan: &Plan<W::Action>) -> Result<(), Failure> {
        let executor = Executor {
            world,
            lock: self.lock,
            journal: self.journal,
            events: self.screen.events.clone(),
            failpoints: self.failpoints,
            interrupted: self.interrupts.token.clone(),
        };
        let ran = executor.run(self.verb, plan).await;
        clear_scratch(self.home);
        ran.map_err(|error| match error {
            RunError::Failed(_) => Failure::Reported,
            RunError::Refused(_) => Failure::RefusalReported,
            RunError::Interrupted | RunError::Killed => Failure::Interrupted,
            RunError::LockLost(reason) => Failure::Refused(reason),
            RunError::Journal(error) => disk(error),
        })
    }
}

/// A supervisor that writes the programs of a step into the journal.
pub(crate) fn supervisor(interrupts: &Interrupts, context: &Context) -> Supervisor {
    Supervisor { signals: interrupts.signals.clone(), children: Arc::new(Journalled(context.clone())) }
}

#[derive(Debug)]
struct Journalled(Context);

impl Children for Journalled {
    fn started(&self, child: &Child) -> std::io::Result<()> {
        let Child { pid, started, program } = child.clone();
        self.0.child_started(envctl_runner::Child { pid, started, program }).map_err(std::io::Error::other)
    }

    fn ended(&self, child: &Child) {
        // An end that is not written down costs the next run one look at the process table.
        let _ = self.0.child_ended(child.pid);
    }
}
