//! envctl: a whole staging environment from one Helm chart, and proof that it is gone again.

mod cli;
mod config;
mod flows;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
