//! `envctl down`

use std::io::{BufRead, IsTerminal, Write};

use envctl_model::name::EnvironmentName;

use crate::config::Base;
use crate::flows::down;
use crate::ui::{Failure, Format};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    // A name is enough: the sources may be gone.
    let name = match base.explicit_name()? {
        Some(name) => name.value,
        None => base.settings(&base.stack()?)?.name.value,
    };
    if !arguments.yes {
        ask(&name)?;
    }
    down::down(base, &name, format).await
}

fn ask(name: &EnvironmentName) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "`down` removes environment `{name}` with all its data, and nobody can be asked here: say --yes"
        )));
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "Remove environment {name} with all its data? [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::Refused("nothing was removed".to_owned())),
    }
}
