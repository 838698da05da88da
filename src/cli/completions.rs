//! `envctl completions SHELL`

use clap::CommandFactory;

use crate::ui::Failure;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Cli::command(), "envctl", &mut text);
    crate::ui::print(String::from_utf8_lossy(&text).trim_end());
    Ok(())
}
