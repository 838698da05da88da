//! When which client sends which request. All of it follows from the seed.

use std::time::Duration;

use crate::draw::{self, Weights};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// How many were due before this one.
    pub(super) n: u64,
    /// From the load's start.
    pub(super) after: Duration,
    /// Index into the kinds of clients.
    pub(super) kind: usize,
    /// Which of the clients of that kind.
    pub(super) number: u32,
    /// What it sends.
    pub(super) choice: Choice,
}

/// Which request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Index into the mix's requests.
    Listed(usize),
    /// The known bad one.
    Control,
}

/// From what a schedule is drawn.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) seed: u64,
    /// Requests per second.
    pub(super) rate: f64,
    /// How many kinds of clients there are.
    pub(super) kinds: usize,
    /// How many clients of each.
    pub(super) each: u32,
    /// The weights of the mix's requests.
    pub(super) weights: Vec<u32>,
    /// One of so many requests is the known bad one.
    pub(super) control_every: Option<u64>,
}

/// An endless schedule.
///
/// Arrivals are a Poisson process: users who know nothing of each other. Gaps are drawn from the exponential
/// distribution, so that two requests close together are as usual as they are in production. Each kind of client has a
/// turn in each round, which gives it exactly its part of the rate. The order is drawn anew for each round: in a fixed
/// one, a router that goes round its servers would have all of a kind meet the same server. The client and the request
/// are drawn, too.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    terms: Terms,
    random: fastrand::Rng,
    weights: Weights,
    seconds: f64,
    n: u64,
    /// Kinds that have not had their turn in this round.
    round: Vec<usize>,
}

impl Schedule {
    pub(super) fn new(terms: Terms) -> Self {
        let random = fastrand::Rng::with_seed(terms.seed);
        let weights = Weights::new(terms.weights.iter().copied());
        Self { terms, random, weights, seconds: 0.0, n: 0, round: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        // Every draw is made for every request: a mix with controls has the times of one without.
        self.seconds += draw::gap(&mut self.random, self.terms.rate);
        let number = self.random.u32(0..self.terms.each);
        let listed = self.weights.draw(&mut self.random);
        let n = self.n;
        self.n += 1;
        let control = self.terms.control_every.is_some_and(|every| n % every == every - 1);
        if self.round.is_empty() {
            self.round.extend(0..self.terms.kinds);
        }
        let kind = self.round.swap_remove(self.random.usize(0..self.round.len()));
        Some(Due {
            n,
            after: Duration::from_secs_f64(self.seconds),
            kind,
            number,
            choice: if control { Choice::Control } else { Choice::Listed(listed) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(seed: u64) -> Terms {
        Terms { seed, rate: 100.0, kinds: 4, each: 10, weights: vec![3, 0, 1], control_every: Some(50) }
    }

    fn drawn(terms: Terms, count: usize) -> Vec<Due> {
        Schedule::new(terms).take(count).collect()
    }

    #[test]
    fn a_seed_repeats_its_schedule_and_another_has_another() {
        assert_eq!(drawn(terms(7), 500), drawn(terms(7), 500));
        assert_ne!(drawn(terms(7), 500), drawn(terms(8), 500));
    }

    #[test]
    fn rate_weights_and_kinds_are_kept() {
        let all = drawn(terms(7), 20_000);
        let rate = 20_000.0 / all.last().unwrap().after.as_secs_f64();
        assert!((rate - 100.0).abs() < 3.0, "{rate}");
        let of = |choice| all.iter().filter(|due| due.choice == choice).count();
        assert_eq!(of(Choice::Control), 400);
        assert_eq!(of(Choice::Listed(1)), 0);
        let first = of(Choice::Listed(0)) as f64 / of(Choice::Listed(2)) as f64;
        assert!((first - 3.0).abs() < 0.2, "{first}");
        assert!((0..4).all(|kind| all.iter().filter(|due| due.kind == kind).count() == 5_000));
        assert!(all.is_sorted_by_key(|due| due.after));
    }

    #[test]
    fn no_kind_meets_always_the_same_server_of_a_router_that_goes_round_them() {
        let all = drawn(terms(7), 20_000);
        for kind in 0..4 {
            let even = all.iter().filter(|due| due.kind == kind && due.n % 2 == 0).count();
            assert!((2_300..2_700).contains(&even), "{even} of 5000 of kind {kind} have an even number");
        }
    }

    #[test]
    fn controls_change_nothing_of_the_times() {
        let without = drawn(Terms { control_every: None, ..terms(7) }, 500);
        let times = |all: &[Due]| all.iter().map(|due| due.after).collect::<Vec<_>>();
        assert_eq!(times(&without), times(&drawn(terms(7), 500)));
    }
}
