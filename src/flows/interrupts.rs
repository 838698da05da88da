//! Ctrl-C.

use std::sync::Arc;

use envctl_programs::process::{Interrupter, Signals};

use crate::ui::Failure;

/// Ctrl-C, SIGTERM, or a terminal that is gone, as often as it comes: the first stops the run and interrupts the
/// programs it started, the second interrupts them again, the third kills them.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    /// What programs listen to.
    pub(crate) signals: Signals,
    /// What the runner listens to.
    pub(crate) token: tokio_util::sync::CancellationToken,
    requests: tokio::sync::watch::Receiver<u32>,
    raising: Raising,
}

/// What one more request sets off.
#[derive(Debug, Clone)]
struct Raising {
    interrupter: Interrupter,
    token: tokio_util::sync::CancellationToken,
    counted: Arc<tokio::sync::watch::Sender<u32>>,
}

impl Raising {
    fn raise(&self) {
        self.interrupter.request();
        self.token.cancel();
        self.counted.send_modify(|n| *n += 1);
    }
}

impl Interrupts {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupter, signals): (Interrupter, Signals) = Signals::new();
        let token = tokio_util::sync::CancellationToken::new();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let (counted, requests) = tokio::sync::watch::channel(0);
        let raising = Raising { interrupter, token: token.clone(), counted: Arc::new(counted) };
        let raised = raising.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if !raised.token.is_cancelled() {
                    crate::ui::notice("interrupted: waiting for what runs to end well; Ctrl-C again insists");
                }
                raised.raise();
            }
        });
        Ok(Self { signals, token, requests, raising })
    }

    /// Interrupts the run ourselves, as the first Ctrl-C would.
    pub(crate) fn raise(&self) {
        self.raising.raise();
    }

    /// Signals that follow these, and that we can raise ourselves: for a program that is to end for a
    /// reason that only we know.
    pub(crate) fn derived(&self) -> (Interrupter, Signals) {
        let (interrupter, signals) = Signals::new();
        let (follower, mut requests) = (interrupter.clone(), self.requests.clone());
        tokio::spawn(async move {
            while requests.changed().await.is_ok() {
                follower.request();
            }
        });
        (interrupter, signals)
    }
}
