//! Who may sign evidence: a file of the repository.

use std::path::{Path, PathBuf};

use envctl_rehearse::evidence::Signers;

use crate::ui::Failure;

/// Where the file is, in the working directory or above.
pub(crate) const SIGNERS: &str = "rehearsal/signers";

/// Reads a signers file; the one of the repository, if none is named.
pub(crate) fn read(named: Option<&Path>, from: &Path) -> Result<Signers, Failure> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => find(from)?,
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Signers::parse(&path.display().to_string(), &text).map_err(|error| Failure::Usage(error.to_string()))
}

fn find(from: &Path) -> Result<PathBuf, Failure> {
    let found = from.ancestors().map(|dir| dir.join(SIGNERS)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::Usage(format!(
            "there is no {SIGNERS} in {} or above, so nobody may sign\n  \
             name the file with --signers FILE; `envctl evidence keygen` prints a line for it",
            from.display()
        ))
    })
}
