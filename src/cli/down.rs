//! `envctl down`

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use envctl_model::name::EnvironmentName;

use crate::config::Base;
use crate::flows::{down, locate};
use crate::ui::{Failure, Format};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// In a cluster: how long to wait for controllers and for the namespace, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = super::seconds())]
    wait_timeout: u64,
    /// In a cluster: take the finalizers off this object, such as Ingress/web. What its controller made
    /// outside of the cluster stays there
    #[arg(long, value_name = "KIND/NAME")]
    strip_finalizers: Vec<String>,
    /// In a cluster: go on without the chart's hooks, when one of them fails
    #[arg(long)]
    no_hooks: bool,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    // A name is enough: the sources may be gone.
    let name = locate::name(base)?;
    if !arguments.yes {
        ask(&name)?;
    }
    let options = down::Options {
        timeout: Duration::from_secs(arguments.wait_timeout),
        strip: arguments.strip_finalizers,
        hooks: !arguments.no_hooks,
        only: None,
    };
    down::down(base, &name, &options, format).await
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
