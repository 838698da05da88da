//! An open-model load: each request is sent when it is due, whether or not others were answered, and its latency
//! counts from when it was due. A server that stands still for a second is seen by all who would have come in that
//! second, which a load that waits for answers leaves out.
//!
//! One thread does nothing but wait for the next request that is due; a few others, each with a runtime of its own,
//! send them. What the caller's runtime is busy with does not make the load late.

mod client;
mod mix;
mod pace;
mod schedule;
mod sender;
mod template;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use envctl_model::cutover::plan::ClientKind;
use hdrhistogram::Histogram;
use http::HeaderValue;
use tokio::sync::mpsc;

pub use client::Resolver;
pub(crate) use client::is_ours;
pub(crate) use mix::MixRequest;
pub use mix::{Mix, MixError};

use schedule::{Due, Schedule, Terms};
use sender::{Sender, Shared};

use crate::observation::Sink;

/// Requests that are due and that no thread has begun to send. More than that is a machine that stands still.
const QUEUE: usize = 1 << 14;

/// What a load is.
#[derive(Clone)]
pub struct LoadSpec {
    /// What is sent.
    pub mix: Mix,
    /// What the requests say in `Host`.
    pub host: HeaderValue,
    /// Requests per second, over all clients. Above 0.
    pub rate: f64,
    /// Kinds of clients, each with an equal part of the rate. At least one. All but the keep-alive ones make a
    /// connection for each request, so that what they show comes of cookies and addresses alone.
    pub clients: Vec<ClientKind>,
    /// Fixes times, clients and requests; stands before the hyphen of each request's id, in hexadecimal.
    pub seed: u64,
    /// After how long a request without a whole answer is given up.
    pub timeout: Duration,
    /// Where the component is. A client that ignores TTLs asks once, when the load starts; the others ask for each
    /// connection.
    pub resolver: Resolver,
    /// When the recording began.
    pub clock: Instant,
}

/// What a load did.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Requests that were sent; each was handed to the sink as a [`crate::observation::Request`].
    pub sent: u64,
    /// Requests that were due and were not sent, for want of files, ports or time on this machine. A load with any
    /// of these proves nothing.
    pub unsent: u64,
    /// How much later than due requests were sent, in microseconds.
    pub lateness: Histogram<u64>,
}

/// A load that runs. Dropped, it sends nothing more; the sink still hears what came of the requests on their way.
#[derive(Debug)]
pub struct Load {
    stopped: Arc<AtomicBool>,
    pacer: Option<JoinHandle<u64>>,
    senders: Vec<JoinHandle<Summary>>,
}

impl Load {
    /// Starts to send. What becomes of each request is handed to the sink, and after each known bad one the count of
    /// these.
    ///
    /// # Errors
    /// When no thread or runtime can be made.
    ///
    /// # Panics
    /// When the rate is not above 0, or there is no kind of client: a plan that was checked has both.
    pub fn start(spec: LoadSpec, sink: Sink) -> io::Result<Self> {
        assert!(spec.rate > 0.0 && !spec.clients.is_empty(), "a load has a rate and clients");
        raise_file_limit();
        let each = clients_of_a_kind(spec.rate);
        let schedule = Schedule::new(Terms {
            seed: spec.seed,
            rate: spec.rate,
            kinds: spec.clients.len(),
            each,
            weights: spec.mix.requests.iter().map(|request| request.weight).collect(),
            control_every: spec.mix.control_every(),
        });
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, began) = (Arc::new(Shared::new(spec, each, sink)), Instant::now());
        let mut load = Self { stopped: stopped.clone(), pacer: None, senders: Vec::new() };
        let mut queues = Vec::new();
        for index in 0..std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)) {
            let (queue, due) = mpsc::channel(QUEUE);
            let sender = Sender::new(shared.clone(), began)?;
            let thread = std::thread::Builder::new().name(format!("load-{index}"));
            load.senders.push(thread.spawn(move || sender.run(due))?);
            queues.push(queue);
        }
        let pacer = std::thread::Builder::new().name("load-pacer".to_owned());
        load.pacer = Some(pacer.spawn(move || pace(schedule, &queues, began, &stopped))?);
        Ok(load)
    }

    /// Sends nothing more, and waits for what is on its way: until it is answered, at most as long as a request may
    /// take. It blocks the calling thread that long.
    #[must_use]
    pub fn stop(mut self) -> Summary {
        self.end();
        let mut summary = Summary { sent: 0, unsent: 0, lateness: sender::histogram() };
        if let Some(pacer) = self.pacer.take() {
            summary.unsent += joined(pacer);
        }
        for one in self.senders.drain(..).map(joined) {
            summary.sent += one.sent;
            summary.unsent += one.unsent;
            summary.lateness += one.lateness;
        }
        summary
    }

    fn end(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(pacer) = &self.pacer {
            pacer.thread().unpark();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// One for ten requests a second, so that none has to send two at a time as long as answers take less than a second
/// or so; at least four, so that there are always several.
fn clients_of_a_kind(rate: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is above 0; more saturates"
    )]
    let tenth = (rate / 10.0).ceil() as u32;
    tenth.clamp(4, 10_000)
}

/// Hands out what is due when it is due, until it is told to stop. Gives how many nobody could take.
fn pace(schedule: Schedule, queues: &[mpsc::Sender<Due>], began: Instant, stopped: &AtomicBool) -> u64 {
    let mut refused = 0;
    for due in schedule {
        if !pace::until(began + due.after, stopped) {
            break;
        }
        // A client stays with one thread: its connection and cookies are there.
        let queue = &queues[(due.kind + due.number as usize) % queues.len()];
        refused += u64::from(queue.try_send(due).is_err());
    }
    refused
}

/// Each request on its way has a file. What this process may open without asking anybody, it opens.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where this is refused, what cannot be sent is counted.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// What a thread gives; its panic is passed on.
fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
