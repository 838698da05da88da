//! `envctl run`

use super::in_cluster;
use crate::config::Base;
use crate::flows::cluster::session;
use crate::ui::Failure;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The component or workload whose spec the new pod has
    component: String,
    /// The container, if the pod has several
    #[arg(long, short)]
    container: Option<String>,
    /// The command and its arguments [default: the container's own]
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    let (destination, name) = in_cluster(base, "run")?;
    let Arguments { component, container, command } = arguments;
    session::run(&destination, &name, &component, container.as_deref(), &command).await
}
