//! When which job is put into the queue. All of it follows from the seed.

use std::time::Duration;

use envctl_model::cutover::plan::JobClass;

use crate::draw::{self, Weights};

/// One of so many jobs of a class takes as long as its longest.
const ONE_LONGEST_OF: u32 = 20;

/// A job that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// From the load's start.
    pub after: Duration,
    /// The seed in hexadecimal, a hyphen, and how many were due before this one.
    pub id: String,
    /// Its class.
    pub class: String,
    /// How long it is to take, in seconds.
    pub seconds: f64,
}

/// An endless schedule.
///
/// Arrivals are a Poisson process, as those of requests are. Of each class one job of twenty takes exactly as long as
/// the longest: what a grace period or a visibility time-out is too short for is there in every rehearsal, not only
/// with luck. All others are short, half of them less than a sixteenth of it: a queue that is full of long jobs is no
/// usual one.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    /// Jobs per second.
    rate: f64,
    classes: Vec<Class>,
    weights: Weights,
    random: fastrand::Rng,
    seconds: f64,
    n: u64,
}

#[derive(Debug, Clone)]
struct Class {
    name: String,
    longest: f64,
    /// How many jobs are due before the next longest one.
    until_longest: u32,
}

impl Schedule {
    /// The schedule of a seed, with so many jobs a second over all classes.
    ///
    /// # Panics
    /// When the rate is not above 0, or no class has a weight above 0: a plan that was checked has both.
    #[must_use]
    pub fn new(seed: u64, rate: f64, classes: &[JobClass]) -> Self {
        assert!(rate > 0.0 && classes.iter().any(|class| class.weight > 0), "jobs have a rate and classes");
        let mut random = fastrand::Rng::with_seed(seed);
        let weights = Weights::new(classes.iter().map(|class| class.weight));
        let classes = classes
            .iter()
            .map(|class| Class {
                name: class.class.clone(),
                longest: class.longest_seconds,
                until_longest: random.u32(0..ONE_LONGEST_OF),
            })
            .collect();
        Self { seed, rate, classes, weights, random, seconds: 0.0, n: 0 }
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        self.seconds += draw::gap(&mut self.random, self.rate);
        let class = &mut self.classes[self.weights.draw(&mut self.random)];
        // Milliseconds, so that people and tools read the same.
        let short = (class.longest / 2.0 * self.random.f64().powi(3) * 1000.0).floor() / 1000.0;
        let is_longest = class.until_longest == 0;
        class.until_longest = class.until_longest.checked_sub(1).unwrap_or(ONE_LONGEST_OF - 1);
        let id = format!("{:x}-{}", self.seed, self.n);
        self.n += 1;
        Some(Due {
            after: Duration::from_secs_f64(self.seconds),
            id,
            class: class.name.clone(),
            seconds: if is_longest { class.longest } else { short },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(class: &str, weight: u32, longest_seconds: f64) -> JobClass {
        JobClass { class: class.into(), weight, longest_seconds }
    }

    fn drawn(seed: u64, count: usize) -> Vec<Due> {
        Schedule::new(seed, 20.0, &[class("mail", 3, 1.0), class("thumbnail", 1, 9.1)]).take(count).collect()
    }

    proptest! {
        #[test]
        fn a_seed_repeats_its_schedule_and_another_has_another(seed: u64, other: u64) {
            let schedule = drawn(seed, 50);
            prop_assert_eq!(&schedule, &drawn(seed, 50));
            prop_assert_eq!(&schedule[7].id, &format!("{seed:x}-7"));
            prop_assert!(schedule.is_sorted_by_key(|due| due.after));
            if seed != other {
                prop_assert_ne!(schedule, drawn(other, 50));
            }
        }

        #[test]
        fn of_twenty_jobs_of_a_class_one_takes_as_long_as_the_longest_and_most_are_short(seed: u64) {
            for (class, longest) in [("mail", 1.0), ("thumbnail", 9.1)] {
                let of_it: Vec<f64> =
                    drawn(seed, 2_000).into_iter().filter(|due| due.class == class).map(|due| due.seconds).collect();
                for twenty in of_it.chunks_exact(20) {
                    prop_assert_eq!(twenty.iter().filter(|seconds| **seconds == longest).count(), 1);
                    prop_assert!(twenty.iter().all(|seconds| *seconds == longest || *seconds <= longest / 2.0));
                }
                let short = of_it.iter().filter(|seconds| **seconds < longest / 5.0).count();
                prop_assert!(short * 2 > of_it.len(), "{} of {}", short, of_it.len());
            }
        }
    }

    #[test]
    fn rate_and_weights_are_kept() {
        let all = drawn(7, 20_000);
        let rate = 20_000.0 / all.last().unwrap().after.as_secs_f64();
        assert!((rate - 20.0).abs() < 0.6, "{rate}");
        let mails = all.iter().filter(|due| due.class == "mail").count();
        assert!((14_500..15_500).contains(&mails), "{mails}");
    }
}
