//! Takes jobs from a queue, one after the other, until asked to stop. A job can be delivered twice
//! (queues deliver at least once): that it has its effect once is for the work itself to see to.

use crate::queue::{Message, Queue};
use crate::shutdown::Shutdown;
use crate::{Result, config, log};
use std::future::Future;
use std::time::{Duration, Instant};

/// What became of a delivery that did not fail.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The job is done, by this delivery or by an earlier one.
    Done,
    /// Not yet: it is to be delivered again after this time.
    Later(Duration),
}

/// What is done with a queue's messages.
pub trait Work: Sync {
    /// Does the job, or leaves it for later when `stop` is overdue.
    fn attempt(&self, message: &Message, stop: Shutdown) -> impl Future<Output = Result<Outcome>> + Send;

    /// The delivery failed, and the next one starts anew.
    fn failed(&self, message: &Message, error: &str) -> impl Future<Output = ()> + Send;
}

/// Works until asked to stop; the job in hand is finished or given back first.
pub async fn consume(queue: &Queue, jobs: &config::Jobs, mut shutdown: Shutdown, work: &impl Work) {
    while !shutdown.requested() {
        // A poll under way is not broken off: a message that the queue hands to a closed connection
        // stays hidden until its visibility times out. So keep QUEUE_WAIT_SECONDS short.
        match queue.receive(jobs.poll, jobs.visibility).await {
            Ok(Some(message)) => handle(queue, jobs, &shutdown, work, message).await,
            Ok(None) => {}
            Err(error) => {
                log::error("no answer from the queue", &[("error", &error.to_string())]);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(2)) => {}
                    () = shutdown.wait() => {}
                }
            }
        }
    }
}

async fn handle(queue: &Queue, jobs: &config::Jobs, shutdown: &Shutdown, work: &impl Work, message: Message) {
    let started = Instant::now();
    let deliveries = message.deliveries();
    let delivery = deliveries.to_string();
    let mut fields =
        vec![("order", message.body.as_str()), ("delivery", &delivery), ("instance", log::instance())];
    log::info("job received", &fields);
    let outcome = match tokio::time::timeout(jobs.longest, work.attempt(&message, shutdown.clone())).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("took longer than {} s", jobs.longest.as_secs_f64()).into()),
    };
    let milliseconds = started.elapsed().as_millis().to_string();
    fields.push(("milliseconds", &milliseconds));
    // Not giving back costs only time: the message comes again when its visibility times out.
    let answered = match outcome {
        Ok(Outcome::Done) => {
            log::info("job done", &fields);
            queue.done(&message).await
        }
        Ok(Outcome::Later(delay)) => {
            log::info("job given back", &fields);
            queue.give_back(&message, delay).await
        }
        Err(error) => {
            let error = error.to_string();
            fields.push(("error", &error));
            log::error("job failed", &fields);
            work.failed(&message, &error).await;
            queue.give_back(&message, pause(deliveries)).await
        }
    };
    if let Err(error) = answered {
        log::warn("the queue did not take the outcome", &[("error", &error.to_string())]);
    }
}

/// 1, 2, 4 ... at most 60 seconds before the next attempt.
fn pause(deliveries: u32) -> Duration {
    Duration::from_secs((1u64 << deliveries.saturating_sub(1).min(6)).min(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 7, 1000].map(|count| pause(count).as_secs()).to_vec();
        assert_eq!(seconds, [1, 1, 2, 4, 60, 60]);
    }
}
