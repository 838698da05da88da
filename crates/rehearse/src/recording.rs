//! All that was observed, as one file: a JSON line each, in the order in which it was learnt.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::{Observation, Time};

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// What the wall clock said at [`Time`] zero.
    pub began: Timestamp,
    /// The seed of everything that is drawn at random.
    pub seed: u64,
}

/// All that was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// When it began, and from which seed.
    pub header: Header,
    /// What was seen, in the order in which it was learnt, which is not always that in which it happened.
    pub observations: Vec<Observation>,
}

/// A recording that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A line says nothing that this version knows.
    #[error("{path}, line {line}: {error}")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Not even the first line is there.
    #[error("{0}: empty")]
    Empty(String),
}

impl Recording {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self { header, observations: Vec::new() }
    }

    /// The wall clock's time of a moment.
    #[must_use]
    pub fn wall(&self, at: Time) -> Timestamp {
        self.header.began + jiff::SignedDuration::from_micros(i64::try_from(at.0).unwrap_or(i64::MAX))
    }

    /// The moment of a time on the wall clock; zero for what was before the beginning.
    #[must_use]
    pub fn time(&self, wall: Timestamp) -> Time {
        time_since(self.header.began, wall)
    }

    /// Reads one from its file. A last line without an end, which a killed process leaves, is passed over.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it says nothing that is known.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let shown = || path.display().to_string();
        let io = |error| RecordingError::Io { path: shown(), error };
        let mut reader = BufReader::new(File::open(path).map_err(io)?);
        let (mut recording, mut line, mut number) = (None, String::new(), 0);
        loop {
            line.clear();
            number += 1;
            if reader.read_line(&mut line).map_err(io)? == 0 || !line.ends_with('\n') {
                return recording.ok_or_else(|| RecordingError::Empty(shown()));
            }
            let wrong = |error| RecordingError::Line { path: shown(), line: number, error };
            match &mut recording {
                None => recording = Some(Self::new(serde_json::from_str(&line).map_err(wrong)?)),
                Some(recording) => recording.observations.push(serde_json::from_str(&line).map_err(wrong)?),
            }
        }
    }
}

/// The moment of a time on the wall clock in a recording that began then; zero for what was before.
#[must_use]
pub fn time_since(began: Timestamp, wall: Timestamp) -> Time {
    Time(u64::try_from(wall.as_microsecond() - began.as_microsecond()).unwrap_or(0))
}

/// Writes a recording as it grows.
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Begins a file, which must not exist. Only its owner may read it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self(BufWriter::new(File::create_new(path)?));
        writer.line(header)?;
        writer.0.flush()?;
        Ok(writer)
    }

    /// Goes on with a file that an earlier process left: its last line is cut off if it has no end.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn resume(path: &Path) -> io::Result<Self> {
        let text = std::fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let file = File::options().append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(Self(BufWriter::new(file)))
    }

    /// Adds what was seen. It reaches the disk with the next [`Writer::flush`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, observation: &Observation) -> io::Result<()> {
        self.line(observation)
    }

    /// Hands what was written to the system, where it survives the death of this process.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")
    }
}
