//! SIGTERM and SIGINT ask to stop; what was begun is finished first.

use crate::{Result, log};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells all who hold it that the program is to stop.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Starts to listen for the signals.
    pub fn listen() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            log::info("asked to stop", &[]);
            sender.send_replace(true);
            sender.closed().await;
        });
        Ok(Shutdown(receiver))
    }

    /// Whether it was asked for.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is asked for.
    pub async fn wait(&mut self) {
        // The sender lives as long as any receiver, so this never fails.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
