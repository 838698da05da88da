//! `envctl run`

use crate::config::Base;
use crate::flows::cluster::session;
use crate::flows::local::one_off;
use crate::flows::locate::{self, Whereabouts, whereabouts};
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
    let name = locate::name(base)?;
    let Arguments { component, container, command } = arguments;
    match whereabouts(base, &name)? {
        Whereabouts::Local => one_off::run(base, &name, &component, container.as_deref(), &command).await,
        Whereabouts::Cluster(destination) => {
            session::run(&destination, &name, &component, container.as_deref(), &command).await
        }
    }
}
