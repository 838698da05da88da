//! The terminal, lent to a process that runs elsewhere.

use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::fs::File;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether somebody types and looks here.
pub(crate) fn is_here() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Standard input, output and error, for those who must not stand still while nobody types.
///
/// # Errors
/// When one of them is closed.
pub(crate) fn streams() -> std::io::Result<[File; 3]> {
    fn file(stream: &impl AsFd) -> std::io::Result<File> {
        Ok(File::from_std(stream.as_fd().try_clone_to_owned()?.into()))
    }
    Ok([file(&std::io::stdin())?, file(&std::io::stdout())?, file(&std::io::stderr())?])
}

/// The terminal in raw mode: every key goes to the process, Ctrl-C too. As before when this is dropped.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    /// Changes the mode.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub(crate) fn enter() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Without a terminal there is nothing to mend.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Columns and rows, from now on.
///
/// # Errors
/// When signals cannot be listened to.
pub(crate) fn sizes() -> std::io::Result<watch::Receiver<(u16, u16)>> {
    let now = || tcgetwinsize(std::io::stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
    let (sender, receiver) = watch::channel(now());
    let mut changed = signal(SignalKind::window_change())?;
    tokio::spawn(async move { while changed.recv().await.is_some() && sender.send(now()).is_ok() {} });
    Ok(receiver)
}
