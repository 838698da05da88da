//! What git knows of a working tree.

use std::path::{Path, PathBuf};

use crate::process::{Command, ProgramError, Supervisor, Tool};

/// The state of a working tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkTree {
    /// The directory that holds `.git`.
    pub toplevel: PathBuf,
    /// The commit; none before the first one.
    pub commit: Option<Commit>,
    /// The branch; none when a commit is checked out by itself.
    pub branch: Option<String>,
    /// Whether files differ from the commit, or are not known to git.
    pub dirty: bool,
}

/// A commit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// In full.
    pub sha: String,
    /// As short as it is still unique here.
    pub short: String,
}

/// The working tree that a directory lies in; none where it lies in none.
///
/// # Errors
/// When git is not installed, or fails for another reason than that there is no repository.
pub async fn work_tree(
    program: &Path,
    directory: &Path,
    by: &Supervisor,
) -> Result<Option<WorkTree>, ProgramError> {
    let git = |arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .how_to_get(Tool::Git.how_to_get())
            // Its words are compared below.
            .env("LC_ALL", "C")
            // Looking must not write: another git may be working here.
            .env("GIT_OPTIONAL_LOCKS", "0")
    };
    let toplevel = match git(&["rev-parse", "--show-toplevel"]).run(by).await {
        Ok(output) => PathBuf::from(output.stdout_text().trim_end_matches('\n')),
        Err(ProgramError::Failed(failure)) if no_work_tree(&failure.message) => return Ok(None),
        Err(error) => return Err(error),
    };
    let status = git(&["status", "--porcelain=v2", "--branch"]).whole_stdout().run(by).await?;
    let status = status.stdout_text();
    let header = |name: &str| {
        let prefix = format!("# branch.{name} ");
        status.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    };
    let commit = match header("oid").filter(|oid| oid != "(initial)") {
        None => None,
        Some(sha) => {
            let short = git(&["rev-parse", "--short", &sha]).run(by).await?;
            Some(Commit { short: short.stdout_text().trim().to_owned(), sha })
        }
    };
    let branch = header("head").filter(|branch| branch != "(detached)");
    let dirty = status.lines().any(|line| !line.starts_with('#'));
    Ok(Some(WorkTree { toplevel, commit, branch, dirty }))
}

/// Whether the commit of a working tree is on some branch of a remote, as far as the last fetch or push
/// tells: then whoever builds from there has it.
///
/// # Errors
/// When git is not installed, or fails.
pub async fn is_pushed(program: &Path, directory: &Path, by: &Supervisor) -> Result<bool, ProgramError> {
    let output = Command::new(program)
        .args(["branch", "--remotes", "--contains", "HEAD"])
        .current_dir(directory)
        .how_to_get(Tool::Git.how_to_get())
        .env("GIT_OPTIONAL_LOCKS", "0")
        .run(by)
        .await?;
    Ok(!output.stdout_text().trim().is_empty())
}

fn no_work_tree(message: &str) -> bool {
    message.contains("not a git repository") || message.contains("must be run in a work tree")
}
