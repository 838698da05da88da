//! A thread that sends what is due, and says what came of it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use super::client::{Client, Unsent};
use super::mix::MixRequest;
use super::schedule::{Choice, Due};
use super::{LoadSpec, Summary};
use crate::observation::{self, Observation, Outcome, Sink, Time};

/// What all threads share.
pub(super) struct Shared {
    spec: LoadSpec,
    /// Clients of each kind.
    each: u32,
    sink: Sink,
    /// How many known bad requests are over, and how many of these were counted as failed.
    controls: Mutex<(u64, u64)>,
}

impl Shared {
    pub(super) fn new(spec: LoadSpec, each: u32, sink: Sink) -> Self {
        Self { spec, each, sink, controls: Mutex::new((0, 0)) }
    }

    fn asked(&self, choice: Choice) -> &MixRequest {
        match (choice, &self.spec.mix.control) {
            (Choice::Control, Some(control)) => &control.request,
            (Choice::Control, None) => unreachable!("a mix without a control has none on its schedule"),
            (Choice::Listed(index), _) => &self.spec.mix.requests[index],
        }
    }

    /// Tells what came of a request.
    fn tell(&self, request: observation::Request) {
        let (at, control, well) = (request.done, request.control, request.is_well());
        (self.sink)(Observation::Request(request));
        if control {
            // Told under the lock: counts arrive in the order in which they were made.
            let mut counts = self.controls.lock().unwrap_or_else(PoisonError::into_inner);
            counts.0 += 1;
            counts.1 += u64::from(!well);
            (self.sink)(Observation::Control { at, sent: counts.0, counted: counts.1 });
        }
    }
}

/// What one thread needs.
pub(super) struct Sender {
    shared: Arc<Shared>,
    began: Instant,
    runtime: Runtime,
    clients: Vec<Client>,
}

/// Lateness up to a minute, with three digits; more counts as a minute.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!("these bounds are valid"))
}

/// What one thread did up to now.
struct Done {
    clients: Vec<Client>,
    summary: RefCell<Summary>,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, began: Instant) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let of_kind = |kind| (0..shared.each).map(move |_| kind);
        let kinds = shared.spec.clients.iter().copied().flat_map(of_kind);
        let clients = kinds.map(|kind| Client::new(kind, &shared.spec.resolver)).collect();
        Ok(Self { shared, began, runtime, clients })
    }

    /// Sends what is due until nothing is any more, and waits for the last answer.
    pub(super) fn run(self, mut queue: mpsc::Receiver<Due>) -> Summary {
        let Self { shared, began, runtime, clients } = self;
        let summary = Summary { sent: 0, unsent: 0, lateness: histogram() };
        let done = Rc::new(Done { clients, summary: RefCell::new(summary) });
        LocalSet::new().block_on(&runtime, async {
            let mut sending = JoinSet::new();
            while let Some(due) = queue.recv().await {
                sending.spawn_local(send(shared.clone(), done.clone(), began, due));
                while let Some(ended) = sending.try_join_next() {
                    pass_on(ended);
                }
            }
            while let Some(ended) = sending.join_next().await {
                pass_on(ended);
            }
        });
        done.summary.borrow().clone()
    }
}

async fn send(shared: Arc<Shared>, done: Rc<Done>, began: Instant, due: Due) {
    let spec = &shared.spec;
    let id = format!("{:x}-{}", spec.seed, due.n);
    let asked = shared.asked(due.choice);
    let request = asked.render(due.n, &id, &spec.host);
    let client = &done.clients[due.kind * shared.each as usize + due.number as usize];
    let (intended, sent) = (began + due.after, Instant::now());
    let outcome = match tokio::time::timeout(spec.timeout, client.exchange(&spec.resolver, request)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(Unsent)) => return done.summary.borrow_mut().unsent += 1,
        Err(_) => Outcome::TimedOut,
    };
    let late = sent.saturating_duration_since(intended).as_micros();
    {
        let mut summary = done.summary.borrow_mut();
        summary.sent += 1;
        summary.lateness.saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
    }
    let time = |moment| Time::of(spec.clock, moment);
    shared.tell(observation::Request {
        id,
        name: asked.name.clone(),
        client: spec.clients[due.kind],
        number: due.number,
        intended: time(intended),
        sent: time(sent),
        done: time(Instant::now()),
        outcome,
        expected: asked.expect,
        control: due.choice == Choice::Control,
    });
}

/// A task's panic is this thread's.
fn pass_on(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
