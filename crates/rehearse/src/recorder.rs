//! The recording while it grows: written to its file, kept in memory for the gates, and watched.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::observation::{Observation, Time};
use crate::recording::{Header, Recording, RecordingError, Writer, time_since};

/// A recording that grows. Clones write into the same one.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Mutex<Shared>>,
    /// The clock's zero.
    zero: Instant,
    began: Timestamp,
    grown: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct Shared {
    recording: Recording,
    writer: Writer,
    /// The first error of the disk: from then on nothing is recorded, and no rehearsal can pass.
    broken: Option<String>,
}

/// A recorder that cannot go on from what is there.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// What is there cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The file cannot be written.
    #[error("the recording {path} cannot be written: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

impl Recorder {
    /// Begins a recording in a file, which must not exist.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(path: &Path, seed: u64) -> Result<Self, RecorderError> {
        let header = Header { began: Timestamp::now(), seed };
        let writer = Writer::create(path, &header)
            .map_err(|error| RecorderError::Io { path: path.display().to_string(), error })?;
        Ok(Self::over(Recording::new(header), writer, Duration::ZERO))
    }

    /// Goes on with the recording of a process that died. Its clock goes on as the wall clock did.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn resume(path: &Path) -> Result<Self, RecorderError> {
        let recording = Recording::read(path)?;
        let writer = Writer::resume(path)
            .map_err(|error| RecorderError::Io { path: path.display().to_string(), error })?;
        let latest = recording.observations.iter().map(Observation::at).max().unwrap_or_default();
        // Time never goes back, even where the wall clock did.
        let elapsed = time_since(recording.header.began, Timestamp::now()).max(latest);
        Ok(Self::over(recording, writer, elapsed.since(Time(0))))
    }

    fn over(recording: Recording, writer: Writer, elapsed: Duration) -> Self {
        let now = Instant::now();
        Self {
            began: recording.header.began,
            zero: now.checked_sub(elapsed).unwrap_or(now),
            shared: Arc::new(Mutex::new(Shared { recording, writer, broken: None })),
            grown: Arc::new(watch::channel(0).0),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The moment of an instant.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Time {
        Time(u64::try_from(instant.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant that is the recording's zero.
    #[must_use]
    pub fn zero(&self) -> Instant {
        self.zero
    }

    /// What the wall clock said at zero.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The moment of a time on the wall clock, as another machine or process tells it.
    #[must_use]
    pub fn of_wall(&self, wall: Timestamp) -> Time {
        time_since(self.began, wall)
    }

    /// Adds what was seen.
    pub fn see(&self, observation: Observation) {
        self.see_all([observation]);
    }

    /// Adds what was seen.
    pub fn see_all(&self, observations: impl IntoIterator<Item = Observation>) {
        let mut shared = self.shared();
        for observation in observations {
            if shared.broken.is_none()
                && let Err(error) = shared.writer.write(&observation)
            {
                shared.broken = Some(error.to_string());
            }
            shared.recording.observations.push(observation);
        }
        drop(shared);
        self.grown.send_modify(|n| *n += 1);
    }

    /// Hands all that was seen to the system. Called around everything that changes a side, so that whoever resumes
    /// knows of it.
    ///
    /// # Errors
    /// Why something could not be written, now or earlier.
    pub fn flush(&self) -> Result<(), String> {
        let mut shared = self.shared();
        if shared.broken.is_none()
            && let Err(error) = shared.writer.flush()
        {
            shared.broken = Some(error.to_string());
        }
        shared.broken.clone().map_or(Ok(()), Err)
    }

    /// As if the disk had no room any more.
    #[cfg(test)]
    pub(crate) fn fill_the_disk(&self) {
        self.shared().broken = Some("no space left on device".to_owned());
    }

    /// Reads what was seen up to now. Whoever records waits meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Recording) -> T) -> T {
        read(&self.shared().recording)
    }

    /// Waits until `enough` says so, which is shown everything that was seen, once and in order; `false` if it did not
    /// within this time.
    pub async fn until(&self, within: Duration, mut enough: impl FnMut(&[Observation]) -> bool) -> bool {
        let mut grown = self.grown.subscribe();
        let mut shown = 0;
        let waiting = async {
            loop {
                grown.mark_unchanged();
                let done = self.read(|recording| {
                    let new = &recording.observations[shown..];
                    shown += new.len();
                    enough(new)
                });
                if done {
                    return;
                }
                if grown.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(within, waiting).await.is_ok()
    }
}
