//! envctl: a whole staging environment from one Helm chart, and proof that it is gone again.

mod cli;
mod config;
mod flows;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Terraform writes its state, with all secrets, readable by everybody. Nothing that envctl or a
    // program of its writes is anybody else's business.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    cli::main()
}
