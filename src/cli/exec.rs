//! `envctl exec`

use std::os::unix::process::CommandExt;

use envctl_local::logs::exec_target;
use envctl_local::state;
use envctl_model::name::EnvironmentName;

use crate::config::Base;
use crate::flows::cluster::session;
use crate::flows::local::machine::{explain, look};
use crate::flows::locate::{self, Whereabouts, whereabouts};
use crate::flows::subject::local_record;
use crate::ui::{Failure, terminal};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The component, workload or pod
    component: String,
    /// The container, if the pod has several
    #[arg(long, short)]
    container: Option<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    let name = locate::name(base)?;
    match whereabouts(base, &name)? {
        Whereabouts::Local => on_engine(base, &name, &arguments).await,
        Whereabouts::Cluster(destination) => {
            let Arguments { component, container, command } = &arguments;
            session::exec(&destination, &name, component, container.as_deref(), command).await
        }
    }
}

async fn on_engine(base: &Base, name: &EnvironmentName, arguments: &Arguments) -> Result<(), Failure> {
    let record = local_record(base, name)?;
    let reader = look(base).await?;
    let containers = state::containers(&reader, &record.identity).await.map_err(|e| explain(&e))?;
    let target = exec_target(&containers, &arguments.component, arguments.container.as_deref())
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let mut command = std::process::Command::new(&base.programs.docker.value);
    command.arg("exec").arg("--interactive");
    if terminal::is_here() {
        command.arg("--tty");
    }
    command.arg(&target.id).args(&arguments.command).env("DOCKER_HOST", reader.endpoint().to_string());
    // The terminal, the signals and the exit code are the command's: become it.
    let error = command.exec();
    Err(Failure::Failed(format!("cannot start {}: {error}", base.programs.docker.value.display())))
}
