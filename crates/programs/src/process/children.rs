//! Programs as the journal knows them: by pid and start time, so that after a crash a rerun can
//! tell a child that is still alive from a stranger that was given the same pid.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::signals::{Signals, Urgency};

/// A started program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Child {
    /// Its process id, which is its process group's too.
    pub pid: u32,
    /// When it started, in words of the operating system: to be compared, not to be read.
    pub started: String,
    /// The program's name.
    pub program: String,
}

/// Hears of every program that is started and ended, so that it can be journalled.
pub trait Children: Send + Sync {
    /// Called right after the start. The program is interrupted again where this fails, because a
    /// child that the journal does not know could outlive a crash unseen.
    ///
    /// # Errors
    /// When the child could not be written down.
    fn started(&self, child: &Child) -> io::Result<()>;

    /// Called when the program has ended.
    fn ended(&self, child: &Child);
}

/// For programs that change nothing: nobody needs to know of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Children for Unwatched {
    fn started(&self, _: &Child) -> io::Result<()> {
        Ok(())
    }

    fn ended(&self, _: &Child) {}
}

impl fmt::Debug for dyn Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Children")
    }
}

/// Whether this very program is still running. A pid alone would not say: pids are given again.
#[must_use]
pub fn still_alive(child: &Child) -> bool {
    start_time(child.pid).is_some_and(|started| started == child.started)
}

/// Waits until a child that a former run left has ended by itself.
pub async fn gone(child: &Child) {
    // It is not our child any more, so there is nothing to be notified by on every platform.
    while still_alive(child) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Interrupts a child that a former run left, and waits until it has ended. Requests that arrive
/// meanwhile interrupt it again, and from the third on kill it.
///
/// # Errors
/// When the child may not be signalled by us.
pub async fn end(child: &Child, signals: &Signals) -> io::Result<()> {
    let mut signals = signals.clone();
    // Requests from before are about something else; our own interrupt counts as the first.
    let mut seen = signals.requested();
    let mut sent = 0;
    let mut urgency = Urgency::Interrupt;
    loop {
        if !still_alive(child) {
            return Ok(());
        }
        sent += 1;
        if sent >= 3 {
            urgency = Urgency::Kill;
        }
        signal_group(child.pid, urgency)?;
        tokio::select! {
            () = gone(child) => return Ok(()),
            next = signals.next(&mut seen) => urgency = next,
        }
    }
}

/// Signals all processes of a group; one that is gone already is no error.
pub(crate) fn signal_group(pid: u32, urgency: Urgency) -> io::Result<()> {
    let signal = match urgency {
        Urgency::Interrupt => Signal::INT,
        Urgency::Kill => Signal::KILL,
    };
    let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    match kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Names the processes that can be seen from here: what a boot of this machine has started, in this namespace.
/// None where the system does not say.
#[must_use]
pub fn process_space() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let output =
            std::process::Command::new("sysctl").args(["-n", "kern.bootsessionuuid"]).output().ok()?;
        let session = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (!session.is_empty()).then_some(session)
    }
}

/// When a live process started, in words of the operating system that no other process will ever have;
/// none for one that has ended, even if nobody has reaped it yet.
#[cfg(target_os = "linux")]
#[must_use]
pub fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces and parentheses itself: count from its end.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // Field 22 counts ticks since the boot, so the boot belongs to it.
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks}@{}", boot.trim()))
}

/// When a live process started, in words of the operating system; none for one that has ended.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn start_time(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout);
    let (state, started) = line.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}
