//! `envctl run`

use super::only_in_clusters;
use crate::config::Base;
use crate::flows::cluster::session;
use crate::flows::subject::{Subject, find};
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
    let Subject::Cluster(within) = find(base).await? else { return Err(only_in_clusters("run")) };
    let Arguments { component, container, command } = arguments;
    session::run(&within, &component, container.as_deref(), &command).await
}
