//! `envctl restart`

use std::time::Duration;

use serde_json::json;

use crate::config::Base;
use crate::flows::cluster::restart;
use crate::flows::local::pods;
use crate::flows::locate::{self, Whereabouts, whereabouts};
use crate::ui::{Failure, Format, print, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Components or workloads [default: all]
    components: Vec<String>,
    /// How long to wait until all pods are ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = super::seconds())]
    wait_timeout: u64,
}

pub(super) async fn run(base: &Base, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let timeout = Duration::from_secs(arguments.wait_timeout);
    let components = &arguments.components;
    let restarted = match whereabouts(base, &name)? {
        Whereabouts::Local => pods::restart(base, &name, components, timeout).await?,
        Whereabouts::Cluster(destination) => {
            restart::restart(&destination, &name, components, timeout).await?
        }
    };
    if format == Format::Json {
        return print_json(&json!({"environment": name.as_str(), "restarted": restarted}));
    }
    for workload in restarted {
        print(&format!("  {workload} ✔"));
    }
    Ok(())
}
