//! `envctl man DIR`

use std::path::PathBuf;

use clap::CommandFactory;

use crate::ui::{Failure, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the pages go
    dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dir = &arguments.dir;
    let failed = |e| Failure::Failed(format!("cannot write manual pages into {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(super::Cli::command(), dir).map_err(failed)?;
    print(&format!("wrote {}: man -l {}", dir.display(), dir.join("envctl.1").display()));
    Ok(())
}
