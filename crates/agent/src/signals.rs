//! What the first process of a container owes: it ends when asked to, and it buries orphans.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The container being asked to stop.
pub(crate) struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Starts to listen.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Completes at SIGTERM or SIGINT.
    pub(crate) async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Collects processes that were left to us (a pod that shares its process namespace).
pub(crate) fn reap_orphans() -> anyhow::Result<()> {
    let mut died = signal(SignalKind::child()).context("cannot listen to signals")?;
    tokio::spawn(async move {
        while died.recv().await.is_some() {
            while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        }
    });
    Ok(())
}
