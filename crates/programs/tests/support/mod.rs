//! Small programs made on the spot, and waiting for conditions.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

#[path = "../../../../tests/support/skip.rs"]
mod skip;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use skip::skip;

/// A directory of shell scripts.
pub struct Scripts(tempfile::TempDir);

impl Scripts {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        // Written by another process: were it written here, a program that another test starts at
        // this moment could inherit the open file, and starting it would fail ("text file busy").
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{body}\n").unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }
}

/// Waits for a condition that has nothing to be notified by.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process is gone, or only waits to be reaped.
pub fn is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// A program on PATH; where it is missing, the test says that it is skipped.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skip(format_args!("{program} is not on PATH"));
    }
    found
}

pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
