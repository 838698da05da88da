//! How long a container waits for its next restart: the kubelet's numbers. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran for so long has recovered.
const RECOVERED: SignedDuration = SignedDuration::from_mins(10);

/// The restarts of containers, by name.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    restarts: HashMap<String, (u32, Timestamp)>,
}

impl Backoff {
    /// How long to wait with the restart that is wanted now.
    pub(super) fn delay(&mut self, container: &str, now: Timestamp) -> Duration {
        let (count, last) = self.restarts.get(container).copied().unwrap_or_default();
        let count = if now.duration_since(last) > RECOVERED { 0 } else { count };
        let delay = match count {
            0 => Duration::ZERO,
            again => FIRST.saturating_mul(1 << (again - 1).min(8)).min(LONGEST),
        };
        let at = now.checked_add(delay).unwrap_or(now);
        self.restarts.insert(container.to_owned(), (count + 1, at));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_restart_waits_longer_until_the_container_has_recovered() {
        let mut backoff = Backoff::default();
        let mut now = Timestamp::from_second(1_000_000).unwrap();
        let mut delays = Vec::new();
        for _ in 0..8 {
            let delay = backoff.delay("web", now);
            delays.push(delay.as_secs());
            now = now + delay + Duration::from_secs(30);
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.delay("other", now), Duration::ZERO);
        assert_eq!(backoff.delay("web", now + Duration::from_secs(601)), Duration::ZERO);
    }
}
