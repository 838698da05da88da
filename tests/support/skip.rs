//! Tests that cannot run here say so.

use std::fmt::Display;
use std::io::Write as _;

/// Says that this test, or a part of it, is skipped, and why. Of a test that passes, cargo shows nothing: the
/// file that `ENVCTL_TEST_SKIPPED` names collects it for `scripts/test`, which shows and counts.
pub(crate) fn skip(why: impl Display) {
    // So libtest names the threads of its tests.
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED {test}: {why}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("ENVCTL_TEST_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
