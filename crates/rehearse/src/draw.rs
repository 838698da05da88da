//! What loads draw by chance. All of it follows from a seed.

/// Indices, each with its part of the draws.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    weights: Vec<u64>,
    total: u64,
}

impl Weights {
    /// The sum of the weights must be above 0, or nothing can be drawn.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<u64> = weights.into_iter().map(u64::from).collect();
        Self { total: weights.iter().sum(), weights }
    }

    /// An index.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let mut left = random.u64(0..self.total);
        for (index, weight) in self.weights.iter().enumerate() {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        unreachable!("what is drawn is less than the sum of the weights")
    }
}

/// The seconds between two arrivals of a Poisson process with so many a second.
pub(crate) fn gap(random: &mut fastrand::Rng, rate: f64) -> f64 {
    -(1.0 - random.f64()).ln() / rate
}
