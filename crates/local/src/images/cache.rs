//! Remembers the hashes of files that have not changed, by what `stat` says of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// First line of the file: the format.
const HEADER: &str = "envctl file hashes 1";
/// A file that changed this recently may change again within the same tick of the file system's
/// clock, unseen.
const SETTLED_NANOSECONDS: i128 = 1_000_000_000;

/// What `stat` says of a file. Where all of it is equal, the content is taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    size: u64,
    inode: u64,
    modified: i128,
    changed: i128,
}

impl Stat {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn is_settled(&self, now: i128) -> bool {
        now - self.modified.max(self.changed) > SETTLED_NANOSECONDS
    }
}

/// Hashes by path relative to the context.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<String, (Stat, String)>,
}

impl Cache {
    /// Reads a cache. A file that is missing or damaged is an empty cache: it only saves time.
    pub(super) fn load(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Self::default();
        }
        Self { entries: lines.map_while(parse).collect() }
    }

    pub(super) fn get(&self, path: &str, stat: &Stat) -> Option<&str> {
        self.entries.get(path).filter(|(cached, _)| cached == stat).map(|(_, hash)| hash.as_str())
    }

    /// Writes the hashes of all files that have settled. Failing is no error: it only costs time.
    pub(super) fn store<'a>(file: &Path, entries: impl Iterator<Item = (&'a str, Stat, &'a str)>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        let mut text = format!("{HEADER}\n");
        for (path, stat, hash) in entries {
            if stat.is_settled(now) && !path.contains('\n') {
                let Stat { size, inode, modified, changed } = stat;
                let _ = writeln!(text, "{hash} {size} {inode} {modified} {changed} {path}");
            }
        }
        let Some(directory) = file.parent() else {
            return;
        };
        if let Ok(mut temporary) = tempfile::NamedTempFile::new_in(directory)
            && temporary.write_all(text.as_bytes()).is_ok()
        {
            let _ = temporary.persist(file);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn parse(line: &str) -> Option<(String, (Stat, String))> {
    let mut fields = line.splitn(6, ' ');
    let hash = fields.next().filter(|h| h.len() == 64)?.to_owned();
    let stat = Stat {
        size: fields.next()?.parse().ok()?,
        inode: fields.next()?.parse().ok()?,
        modified: fields.next()?.parse().ok()?,
        changed: fields.next()?.parse().ok()?,
    };
    Some((fields.next()?.to_owned(), (stat, hash)))
}
