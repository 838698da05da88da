//! `envctl use`

use envctl_model::name::EnvironmentName;

use crate::config::Base;
use crate::ui::{Failure, print};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environment that this directory, and all below it, mean from now on [default: show which]
    environment: Option<String>,
    /// Forget what was chosen
    #[arg(long, conflicts_with = "environment")]
    forget: bool,
}

pub(super) fn run(base: &Base, arguments: &Arguments) -> Result<(), Failure> {
    let dir = base.variables.current_dir.clone();
    if arguments.forget {
        base.chosen().forget(&dir)?;
        return Ok(());
    }
    match &arguments.environment {
        Some(name) => {
            let name = EnvironmentName::from_text(name).map_err(|e| Failure::Usage(e.to_string()))?;
            base.chosen().choose(&dir, &name)?;
            print(&format!("{} uses {name}", dir.display()));
        }
        None => match base.chosen().of(&dir)? {
            Some((dir, name)) => print(&format!("{} uses {name}", dir.display())),
            None => print("nothing was chosen here; the name is PROJECT-USER"),
        },
    }
    Ok(())
}
