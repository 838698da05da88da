//! The Python of these tests, with what `scripts/setup --tests` installed for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skip;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A script of `tests/rehearsal` that needs these modules. Where one is missing, says so.
pub(crate) fn script(name: &str, modules: &[&str]) -> Option<Command> {
    let python = root().join(".tools/rehearsal/bin/python3");
    let imports = modules.join(", ");
    let probe = Command::new(&python).args(["-c", &format!("import {imports}")]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skip(format_args!("{} with {imports} is missing; scripts/setup --tests makes it", python.display()));
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root().join("tests/rehearsal").join(name));
    Some(command)
}
