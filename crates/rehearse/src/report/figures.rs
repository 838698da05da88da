//! Requests in figures: how many, how many failed, how fast.

use std::collections::HashMap;
use std::time::Duration;

use envctl_model::cutover::Side;

use crate::{Observation, Time};

/// A request of the load, and which side had it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// When it was due.
    pub(super) at: Time,
    /// None if it reached neither.
    pub(super) side: Option<Side>,
    /// From when it was due to when it was over.
    pub(super) latency: Duration,
    /// Whether it was answered as it should have been.
    pub(super) well: bool,
}

/// Many of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) failed: u64,
    /// Of those that were answered well: what half of them are faster than.
    pub(super) p50: Duration,
    /// What 99 of 100 are faster than.
    pub(super) p99: Duration,
}

/// The requests of the load. Those that were sent to be counted as failed are not part of it.
pub(super) fn samples(seen: &[&Observation]) -> Vec<Sample> {
    let mut sides = HashMap::new();
    for observation in seen.iter().copied() {
        match observation {
            Observation::Routed(routed) => {
                routed.side.map(|side| sides.entry(routed.id.as_str()).or_insert(side));
            }
            // The application knows best where it runs.
            Observation::Served(served) => _ = sides.insert(served.id.as_str(), served.side),
            _ => {}
        }
    }
    let sample = |observation: &Observation| match observation {
        Observation::Request(request) if !request.control => Some(Sample {
            at: request.intended,
            side: sides.get(request.id.as_str()).copied(),
            latency: request.done.since(request.intended),
            well: request.is_well(),
        }),
        _ => None,
    };
    seen.iter().copied().filter_map(sample).collect()
}

/// The figures of some of them.
pub(super) fn summary<'a>(samples: impl Iterator<Item = &'a Sample>) -> Summary {
    let (mut count, mut latencies) = (0, Vec::new());
    for sample in samples {
        count += 1;
        if sample.well {
            latencies.push(sample.latency);
        }
    }
    latencies.sort_unstable();
    // The nearest rank: a latency that some request really had.
    let quantile = |percent: usize| {
        let rank = (latencies.len() * percent).div_ceil(100).max(1);
        latencies.get(rank - 1).copied().unwrap_or_default()
    };
    Summary { count, failed: count - latencies.len() as u64, p50: quantile(50), p99: quantile(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(milliseconds: u64, well: bool) -> Sample {
        Sample { at: Time(0), side: None, latency: Duration::from_millis(milliseconds), well }
    }

    #[test]
    fn requests_that_are_sent_to_fail_are_no_samples_and_the_application_knows_its_side() {
        use envctl_model::cutover::plan::ClientKind;

        use crate::observation::{Outcome, Request, Routed, Served};
        let request = |id: &str, control| {
            Observation::Request(Request {
                id: id.to_owned(),
                name: "photos".to_owned(),
                client: ClientKind::Fresh,
                number: 0,
                intended: Time(1),
                sent: Time(2),
                done: Time(5),
                outcome: Outcome::Answered { status: 200 },
                expected: 200,
                control,
            })
        };
        let (id, at) = ("a".to_owned(), Time(5));
        let served =
            Served { at, id: id.clone(), side: Side::New, instance: "new-0".to_owned(), status: 200 };
        let routed = Routed { at, id, side: Some(Side::Old), status: 200, termination: "--".to_owned() };
        let all = [
            request("a", false),
            request("b", true),
            Observation::Served(served),
            Observation::Routed(routed),
        ];
        let samples = samples(&all.iter().collect::<Vec<_>>());
        assert_eq!(samples.len(), 1, "the control is none");
        assert_eq!((samples[0].side, samples[0].latency), (Some(Side::New), Duration::from_micros(4)));
    }

    #[test]
    fn quantiles_are_of_requests_that_were_answered_well() {
        let mut all: Vec<_> = (1..=100).rev().map(|ms| sample(ms, true)).collect();
        all.push(sample(9000, false));
        let expected =
            Summary { count: 101, failed: 1, p50: Duration::from_millis(50), p99: Duration::from_millis(99) };
        assert_eq!(summary(all.iter()), expected);
        assert_eq!(summary([].iter()), Summary::default());
    }
}
