//! An alarm on the wall's clock. Timers of the event loop stand still while the machine sleeps, and do not hear of a
//! clock that was set.

use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// The alarm.
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// One that is not set.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // SAFETY: the descriptor is ours, and lives and dies with the registration.
        Ok(Self(unsafe { AsyncFd::register(timer)? }))
    }

    /// Has it ring at that time, and not at any other; `None`: not at all.
    pub(super) fn set(&self, at: Option<Timestamp>) -> io::Result<()> {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A time of zero would switch it off.
        let at = at.map_or(none, |at| Timespec {
            tv_sec: at.as_second().max(1),
            tv_nsec: at.subsec_nanosecond().max(0).into(),
        });
        let when = Itimerspec { it_interval: none, it_value: at };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(self.0.get_ref(), flags, &when)?;
        Ok(())
    }

    /// Completes when it rings, and when the clock was set: what time it is then, somebody has to look.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match rustix::io::read(self.0.get_ref(), &mut count) {
                Err(rustix::io::Errno::WOULDBLOCK) => ready.clear_ready(),
                Ok(_) | Err(rustix::io::Errno::CANCELED) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rings_at_its_time_and_can_be_set_again() {
        let alarm = Alarm::new().unwrap();
        alarm.set(Timestamp::now().checked_add(jiff::SignedDuration::from_hours(1)).ok()).unwrap();
        let soon = Timestamp::now() + jiff::SignedDuration::from_millis(20);
        alarm.set(Some(soon)).unwrap();
        alarm.rings().await.unwrap();
        assert!(Timestamp::now() >= soon);
        alarm.set(Some(Timestamp::UNIX_EPOCH)).unwrap();
        alarm.rings().await.unwrap();
    }
}
