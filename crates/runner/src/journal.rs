//! The append-only, fsynced log of intents and outcomes.
//!
//! One entry a line: `{"sum": "<8 hex digits>", "entry": {...}}`, where the sum is the start of the
//! SHA-256 of the entry's text, so that a line damaged by a full disk or an editor is noticed. A
//! damaged line is reported and passed over: whoever resumes observes the world anyway, and a journal
//! that refuses to be read would leave things behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use envctl_model::name::hash;
use envctl_model::{StepId, Thing};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// A run of `up` or `down` began.
    Begun {
        /// `up` or `down`.
        verb: String,
        /// When.
        at: Timestamp,
    },
    /// A step is about to happen and may bring these things into existence.
    Intent {
        /// Which.
        step: StepId,
        /// What it may create.
        things: Vec<Thing>,
        /// When.
        at: Timestamp,
    },
    /// A step is done.
    Done {
        /// Which.
        step: StepId,
        /// What it created, or found already created by an earlier run.
        things: Vec<Thing>,
        /// What came of it.
        summary: String,
        /// When.
        at: Timestamp,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: StepId,
        /// Why.
        error: String,
        /// Whether somebody must act before it is worth trying again.
        stuck: bool,
        /// When.
        at: Timestamp,
    },
    /// A program was started.
    Child(Child),
    /// A program ended.
    ChildEnded {
        /// Which.
        pid: u32,
    },
    /// The run ended.
    Ended {
        /// Whether all its steps were done.
        ok: bool,
        /// When.
        at: Timestamp,
    },
}

/// A program that was started. Pid and start time together name a process even after its pid has
/// been used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Process id.
    pub pid: u32,
    /// When it started, in words of the operating system: to be compared, not to be read.
    pub started: String,
    /// Its name.
    pub program: String,
}

/// Something about the journal file that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A damaged line.
    #[error(
        "{}:{line}: this line of the journal is damaged and was passed over; what the environment consists of \
         is looked up instead", file.display()
    )]
    Damaged {
        /// The journal.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed: a full disk, rights.
    #[error("the journal {} cannot be written: {source}", file.display())]
    Io {
        /// The journal.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The caller is wrong, not the world: an outcome without intent, a second intent.
    #[error("illegal entry in the journal: {0}")]
    Illegal(String),
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    things: BTreeSet<Thing>,
    children: BTreeMap<u32, Child>,
    open: BTreeSet<StepId>,
    done: BTreeSet<StepId>,
    running: bool,
    /// Whether an entry that the disk refuses is passed over.
    tolerates_loss: bool,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sum: String,
    entry: Box<RawValue>,
}

impl Journal {
    /// Opens a journal, or begins one, and reads what is in it. A last line without a line feed was
    /// being written when the process died: it is cut off in silence, since its effect had not begun
    /// or its outcome had not been published.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: &Path) -> Result<(Self, Vec<Warning>), JournalError> {
        let io = |source| JournalError::Io { file: path.to_owned(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            things: BTreeSet::new(),
            children: BTreeMap::new(),
            open: BTreeSet::new(),
            done: BTreeSet::new(),
            running: false,
            tolerates_loss: false,
        };
        let mut warnings = Vec::new();
        for (at, line) in bytes[..whole].split(|b| *b == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            match read_line(line) {
                Some(entry) => journal.take(&entry),
                None => warnings.push(Warning::Damaged { file: path.to_owned(), line: at + 1 }),
            }
        }
        Ok((journal, warnings))
    }

    /// From here on, entries that the disk refuses are passed over. For what must be done though nothing can be written, such
    /// as going back: whoever resumes observes the world anyway.
    pub fn tolerate_loss(&mut self) {
        self.tolerates_loss = true;
    }

    /// Appends an entry and waits until it is on the disk.
    ///
    /// # Errors
    /// When the disk refuses, or the entry does not follow from those before it.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.check(entry)?;
        let io = |source| JournalError::Io { file: self.path.clone(), source };
        let text = serde_json::to_string(entry).map_err(|e| io(e.into()))?;
        let sum = hash(&text, 8);
        let entry_text = RawValue::from_string(text).map_err(|e| io(e.into()))?;
        let mut line = serde_json::to_vec(&Line { sum, entry: entry_text }).map_err(|e| io(e.into()))?;
        line.push(b'\n');
        let before = self.file.metadata().map_err(io)?.len();
        if let Err(source) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // Half a line would swallow the next one. If this fails too, the sum tells.
            let _ = self.file.set_len(before);
            if !self.tolerates_loss {
                return Err(io(source));
            }
        }
        self.take(entry);
        Ok(())
    }

    fn check(&self, entry: &Entry) -> Result<(), JournalError> {
        let illegal = |text: String| Err(JournalError::Illegal(text));
        match entry {
            Entry::Begun { .. } => Ok(()),
            _ if !self.running => illegal("an entry before the run has begun".into()),
            Entry::Intent { step, .. } if self.open.contains(step) || self.done.contains(step) => {
                illegal(format!("a second intent for step `{step}` in one run"))
            }
            Entry::Done { step, .. } | Entry::Failed { step, .. } if !self.open.contains(step) => {
                illegal(format!("an outcome of step `{step}` without its intent"))
            }
            Entry::Ended { ok: true, .. } if !self.open.is_empty() => {
                illegal("a run that ends well while steps are open".into())
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Begun { .. } => {
                self.running = true;
                self.open.clear();
                self.done.clear();
            }
            Entry::Intent { step, things, .. } => {
                self.open.insert(step.clone());
                self.things.extend(things.iter().cloned());
            }
            Entry::Done { step, things, .. } => {
                self.open.remove(step);
                self.done.insert(step.clone());
                self.things.extend(things.iter().cloned());
            }
            Entry::Failed { step, .. } => {
                self.open.remove(step);
            }
            Entry::Child(child) => {
                self.children.insert(child.pid, child.clone());
            }
            Entry::ChildEnded { pid } => {
                self.children.remove(pid);
            }
            Entry::Ended { .. } => self.running = false,
        }
    }

    /// Everything that any run created or meant to create.
    #[must_use]
    pub fn things(&self) -> &BTreeSet<Thing> {
        &self.things
    }

    /// Programs of which no end was written down: they may still be alive.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.values()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_line(line: &[u8]) -> Option<Entry> {
    let line: Line = serde_json::from_slice(line).ok()?;
    (hash(line.entry.get(), 8) == line.sum).then(|| serde_json::from_str(line.entry.get()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use envctl_model::ThingKind;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn begun() -> Entry {
        Entry::Begun { verb: "up".into(), at: now() }
    }
    fn intent(step: &str) -> Entry {
        Entry::Intent {
            step: StepId::new(step),
            things: vec![Thing::new(ThingKind::Network, step)],
            at: now(),
        }
    }
    fn done(step: &str) -> Entry {
        Entry::Done { step: StepId::new(step), things: vec![], summary: String::new(), at: now() }
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_last_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for entry in [begun(), intent("a"), done("a"), intent("b")] {
            journal.append(&entry).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend(b"{\"sum\":\"12");
        std::fs::write(&path, bytes).unwrap();
        let (journal, warnings) = Journal::open(&path).unwrap();
        assert_eq!(warnings, []);
        assert_eq!(journal.things().len(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole as u64);
    }

    #[test]
    fn what_the_disk_refuses_ends_a_run_unless_it_is_to_be_done_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        // Nothing can be written by this.
        journal.file = File::open(&path).unwrap();
        let error = journal.append(&begun()).unwrap_err().to_string();
        assert!(error.contains("cannot be written"), "{error}");
        journal.tolerate_loss();
        for entry in [begun(), intent("a"), done("a")] {
            journal.append(&entry).unwrap();
        }
        assert!(journal.append(&done("b")).is_err(), "what does not follow is still an error");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_damaged_line_is_named_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for entry in [begun(), intent("a"), intent("b"), intent("c")] {
            journal.append(&entry).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"step\":\"b\"", "\"step\":\"x\"", 1);
        std::fs::write(&path, text).unwrap();
        let (journal, warnings) = Journal::open(&path).unwrap();
        assert_eq!(journal.things().iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let text = warnings[0].to_string();
        assert!(text.contains("journal:3: this line of the journal is damaged"), "{text}");
    }

    #[test]
    fn illegal_transitions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
        assert!(journal.append(&intent("a")).is_err(), "before the run has begun");
        journal.append(&begun()).unwrap();
        assert!(journal.append(&done("a")).is_err(), "without intent");
        journal.append(&intent("a")).unwrap();
        assert!(journal.append(&intent("a")).is_err(), "twice");
        assert!(journal.append(&Entry::Ended { ok: true, at: now() }).is_err(), "while a step is open");
    }

    #[test]
    fn children_without_an_end_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&begun()).unwrap();
        for pid in [7, 8] {
            journal
                .append(&Entry::Child(Child { pid, started: "1".into(), program: "helm".into() }))
                .unwrap();
        }
        journal.append(&Entry::ChildEnded { pid: 7 }).unwrap();
        let (journal, _) = Journal::open(&path).unwrap();
        assert_eq!(journal.children().map(|c| c.pid).collect::<Vec<_>>(), [8]);
    }
}
