//! What samples can prove.
//!
//! One error rate holds for the whole run, and is shared among all checks that could be wrong by chance
//! (Bonferroni): a run with many checks gives no more false alarms than one with few.

use std::ops::RangeInclusive;

use envctl_model::cutover::plan::Drill;
use envctl_model::cutover::{CutoverPlan, GateKind};

/// How often a whole run may give a false alarm, or prove too much: one run in a hundred.
pub const RUN_ALPHA: f64 = 0.01;

/// The error rate of one check of a run of this plan: [`RUN_ALPHA`], shared among all of its checks.
#[must_use]
pub fn shared_alpha(plan: &CutoverPlan) -> f64 {
    let clients = plan.traffic.as_ref().map_or(0, |traffic| traffic.clients.len());
    let of_gate = |gate: &GateKind| match gate {
        // One for all requests, one for each kind of client.
        GateKind::ObservedShare => 1 + clients,
        GateKind::EveryReplicaServes | GateKind::CrossConsume => 1,
        // One proof for each side.
        GateKind::Samples => 2,
        _ => 0,
    };
    // Samples are judged at every step, whether or not the plan says so.
    let forward: usize = plan
        .steps
        .iter()
        .map(|step| {
            let said = step.gates.iter().filter(|gate| **gate != GateKind::Samples);
            said.map(of_gate).sum::<usize>() + of_gate(&GateKind::Samples)
        })
        .sum();
    // A drill from every step goes forward again after each.
    let times = match plan.rollback.drill {
        Drill::EveryStep => 2,
        Drill::LastStep => 1,
    };
    #[allow(clippy::cast_precision_loss, reason = "a plan has few steps")]
    {
        RUN_ALPHA / (forward * times).max(1) as f64
    }
}

/// The largest failure rate that does not contradict having seen `failures` in `n`: the exact upper bound of
/// Clopper and Pearson, one-sided, wrong at most so often as `alpha` says. One for nothing seen at all.
///
/// For no failure this is the rule of three: with an alpha of 5 % the bound is close to 3 / n.
#[must_use]
pub fn upper_bound(failures: u64, n: u64, alpha: f64) -> f64 {
    if n == 0 || failures >= n {
        return 1.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
    if failures == 0 {
        return 1.0 - alpha.powf(1.0 / n as f64);
    }
    #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
    let (mut low, mut high) = (failures as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(failures, n, middle) > alpha { low = middle } else { high = middle }
    }
    high
}

/// How many of `n` may be seen to have what `share` of all have, before chance no longer explains it: the range
/// outside of which each end is rarer than half of `alpha`.
#[must_use]
pub fn tolerated(n: u64, share: f64, alpha: f64) -> RangeInclusive<u64> {
    if share <= 0.0 {
        return 0..=0;
    }
    if share >= 1.0 {
        return n..=n;
    }
    let (mut below, mut low, mut high) = (0.0, None, n);
    for (hits, chance) in chances(n, share) {
        if below >= 1.0 - alpha / 2.0 {
            high = hits - 1;
            break;
        }
        below += chance;
        if low.is_none() && below > alpha / 2.0 {
            low = Some(hits);
        }
    }
    low.unwrap_or(n)..=high
}

/// The chance of at most so many hits in `n`.
fn at_most(hits: u64, n: u64, share: f64) -> f64 {
    chances(n, share).take_while(|(k, _)| *k <= hits).map(|(_, chance)| chance).sum()
}

/// The chance of each number of hits in `n`, from none to all. By logarithms: the chance of none is too small for
/// a number when `n` is some thousands.
#[allow(clippy::cast_precision_loss, reason = "counts of requests")]
fn chances(n: u64, share: f64) -> impl Iterator<Item = (u64, f64)> {
    let odds = (share / (1.0 - share)).ln();
    let mut logarithm = n as f64 * (1.0 - share).ln();
    (0..=n).map(move |hits| {
        if hits > 0 {
            logarithm += ((n - hits + 1) as f64 / hits as f64).ln() + odds;
        }
        (hits, logarithm.exp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_failed_in_three_thousand_proves_about_a_thousandth() {
        let bound = upper_bound(0, 3000, 0.05);
        assert!((bound - 3.0 / 3000.0).abs() < 5e-6, "{bound}");
    }

    /// The values are those of a table of exact binomial limits: 95 %, two-sided, hence 2.5 % at the upper end.
    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        for (failures, n, expected) in [(1, 10, 0.445), (5, 10, 0.8129), (10, 100, 0.1762), (0, 10, 0.3085)] {
            let bound = upper_bound(failures, n, 0.025);
            assert!((bound - expected).abs() < 5e-4, "{failures} of {n}: {bound}, not {expected}");
        }
    }

    #[test]
    fn nothing_seen_proves_nothing() {
        assert!((upper_bound(0, 0, 0.01) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_side_without_weight_may_get_nothing_and_one_with_all_of_it_everything() {
        assert_eq!(tolerated(100, 0.0, 0.01), 0..=0);
        assert_eq!(tolerated(100, 1.0, 0.01), 100..=100);
    }

    #[test]
    fn half_of_ten_thousand_is_tolerated_within_three_deviations() {
        let range = tolerated(10_000, 0.5, 0.0027);
        assert!((4845..=4855).contains(range.start()), "{range:?}");
        assert!((5145..=5155).contains(range.end()), "{range:?}");
    }

    proptest! {
        #[test]
        fn chances_add_up_to_one(n in 1_u64..3000, share in 0.001_f64..0.999) {
            let sum: f64 = chances(n, share).map(|(_, chance)| chance).sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{}", sum);
        }

        #[test]
        fn what_is_tolerated_is_as_likely_as_alpha_says(n in 1_u64..2000, share in 0.01_f64..0.99) {
            let alpha = 0.01;
            let range = tolerated(n, share, alpha);
            let within: f64 =
                chances(n, share).filter(|(hits, _)| range.contains(hits)).map(|(_, chance)| chance).sum();
            prop_assert!(within >= 1.0 - alpha - 1e-6, "{within}");
        }

        #[test]
        fn more_failures_prove_less(failures in 0_u64..50, more in 1_u64..50, n in 200_u64..5000) {
            prop_assert!(upper_bound(failures, n, 0.01) < upper_bound(failures + more, n, 0.01));
        }
    }
}
