//! How an interruption reaches the programs that run.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks running programs to end. Each request is stronger than the one before: the first and the
/// second interrupt (a program may save its state first), the third kills.
#[derive(Debug, Clone)]
pub struct Interrupter(Arc<watch::Sender<u32>>);

/// What a running program listens to.
#[derive(Debug, Clone)]
pub struct Signals {
    requests: watch::Receiver<u32>,
    /// Keeps the channel open when nobody can interrupt.
    _open: Option<Arc<watch::Sender<u32>>>,
}

/// What the nth request does to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Interrupt,
    Kill,
}

impl Interrupter {
    /// One request more.
    pub fn request(&self) {
        self.0.send_modify(|requests| *requests += 1);
    }
}

impl Signals {
    /// A pair: who asks, and what the programs listen to.
    #[must_use]
    pub fn new() -> (Interrupter, Self) {
        let (sender, requests) = watch::channel(0);
        let signals = Self { requests, _open: None };
        (Interrupter(Arc::new(sender)), signals)
    }

    /// Signals that never come.
    #[must_use]
    pub fn none() -> Self {
        let (sender, requests) = watch::channel(0);
        Self { requests, _open: Some(Arc::new(sender)) }
    }

    /// How many requests there were.
    #[must_use]
    pub fn requested(&self) -> u32 {
        *self.requests.borrow()
    }

    /// Waits for the first request; there may have been one already.
    pub async fn asked(&self) {
        let mut requests = self.requests.clone();
        if requests.wait_for(|requests| *requests > 0).await.is_err() {
            // Whoever could ask is gone, so nothing will come any more.
            std::future::pending::<()>().await;
        }
    }

    /// The next request that this handle has not seen yet.
    pub(crate) async fn next(&mut self, seen: &mut u32) -> Urgency {
        loop {
            let requested = *self.requests.borrow_and_update();
            if requested > *seen {
                *seen += 1;
                return if *seen >= 3 { Urgency::Kill } else { Urgency::Interrupt };
            }
            if self.requests.changed().await.is_err() {
                // Whoever could ask is gone, so nothing will come any more.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_third_request_kills() {
        let (interrupter, mut signals) = Signals::new();
        let mut seen = 0;
        for _ in 0..4 {
            interrupter.request();
        }
        assert_eq!(signals.next(&mut seen).await, Urgency::Interrupt);
        assert_eq!(signals.next(&mut seen).await, Urgency::Interrupt);
        assert_eq!(signals.next(&mut seen).await, Urgency::Kill);
        assert_eq!(signals.next(&mut seen).await, Urgency::Kill);
    }
}
