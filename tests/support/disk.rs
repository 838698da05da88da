//! A small disk, which a test can fill.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip;

/// A disk that is soon full. It is gone when this is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of such a size (`64k`) at an empty directory, which is made; `None`, and said, where nothing may be mounted.
    pub(crate) fn at(directory: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(directory).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(directory);
        let why = match mount.output() {
            Ok(mounted) if mounted.status.success() => return Some(Self(directory.to_owned())),
            Ok(refused) => String::from_utf8_lossy(&refused.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        skip(format!("no disk to fill: {why}"));
        None
    }

    /// Leaves no room on it.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let refused = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
