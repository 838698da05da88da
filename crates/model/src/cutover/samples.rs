//! How long samples take to come, and what they prove.

use std::time::Duration;

use super::plan::CutoverPlan;
use super::standing::Standing;

/// The longest that samples may take to come: who waits longer does not rehearse.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// Of how many requests at least a p99 can be told: of fewer than a hundred not one is the hundredth part.
pub const LEAST_FOR_P99: u32 = 100;

/// How long it takes at a step until each side that gets any has so many samples.
pub(super) fn time_for(plan: &CutoverPlan, after: usize, samples: u32) -> Duration {
    let per_second = rate(plan) * Standing::after(plan, after).smaller_part();
    Duration::try_from_secs_f64(f64::from(samples) / per_second).unwrap_or(Duration::MAX)
}

/// Requests or jobs per second.
pub(super) fn rate(plan: &CutoverPlan) -> f64 {
    let requests = plan.traffic.as_ref().map(|traffic| traffic.rate);
    requests.or(plan.work.as_ref().map(|work| work.rate)).unwrap_or(1.0)
}

/// How many requests without a failure prove an availability, with 95 % confidence: none in n says that less
/// than 3/n fail (the rule of three).
pub(super) fn proof(availability: f64) -> u32 {
    // 1 - 0.999 is a little more than 0.001: what is beyond the sixth digit is not meant.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and huge ones saturate"
    )]
    {
        (3.0 / (1.0 - availability) - 1e-6).ceil() as u32
    }
}

/// The part that may fail after `samples` without a failure, as [`proof`] counts.
pub(super) fn proven(samples: u32) -> f64 {
    (3.0 / f64::from(samples.max(1))).min(1.0)
}

/// Such as `10 h` or `5 min`.
pub(super) fn rounded(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        7200.0.. => format!("{:.0} h", seconds / 3600.0),
        90.0.. => format!("{:.0} min", seconds / 60.0),
        _ => format!("{seconds:.0} s"),
    }
}
