//! A program at work, whose output is read as it comes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::Ran;

/// A program at work. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, said: String::new() }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until it says this, while it is at work.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) -> &mut Self {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            if self.out.read_line(&mut line).unwrap() == 0 {
                let mut err = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
                panic!("it ended without saying `{text}`\nstdout:\n{}\nstderr:\n{err}", self.said);
            }
            self.said.push_str(&line);
        }
        assert!(self.child.try_wait().unwrap().is_none(), "it said `{text}` only when it ended");
        self
    }

    /// What it has said up to now.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }

    /// Waits until it ends; with all that it said.
    pub(crate) fn ends(mut self) -> Ran {
        let mut stdout = std::mem::take(&mut self.said);
        self.out.read_to_string(&mut stdout).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { code: self.child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
