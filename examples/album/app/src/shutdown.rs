//! SIGTERM and SIGINT ask to stop; what was begun is finished first.

use crate::{Result, log};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Tells all who hold it that the program is to stop.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<Option<Instant>>);

impl Shutdown {
    /// Starts to listen for the signals.
    pub fn listen() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            log::info("asked to stop", &[]);
            sender.send_replace(Some(Instant::now()));
            sender.closed().await;
        });
        Ok(Shutdown(receiver))
    }

    /// Whether it was asked for.
    pub fn requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns when it is asked for.
    pub async fn wait(&mut self) {
        self.overdue(Duration::ZERO).await;
    }

    /// Returns when it was asked for so long ago.
    pub async fn overdue(&mut self, patience: Duration) {
        // The sender lives as long as any receiver, so this never fails.
        let asked = self.0.wait_for(Option::is_some).await.ok().and_then(|asked| *asked);
        if let Some(asked) = asked {
            tokio::time::sleep_until(asked + patience).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_counts_from_when_it_was_asked_for() {
        let (sender, receiver) = watch::channel(None);
        let mut shutdown = Shutdown(receiver);
        assert!(!shutdown.requested());
        sender.send_replace(Some(Instant::now()));
        assert!(shutdown.requested());
        shutdown.wait().await;
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(Duration::ZERO, shutdown.overdue(hour)).await.is_err());
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(5)) else { return };
        sender.send_replace(Some(long_ago));
        let over = shutdown.overdue(Duration::from_secs(4));
        tokio::time::timeout(Duration::from_secs(2), over).await.unwrap();
    }
}
