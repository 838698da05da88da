//! `envctl restart`

use std::time::Duration;

use serde_json::json;

use super::in_cluster;
use crate::config::Base;
use crate::flows::cluster::restart;
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
    let (destination, name) = in_cluster(base, "restart")?;
    let timeout = Duration::from_secs(arguments.wait_timeout);
    let restarted = restart::restart(&destination, &name, &arguments.components, timeout).await?;
    if format == Format::Json {
        return print_json(&json!({"environment": name.as_str(), "restarted": restarted}));
    }
    for workload in restarted {
        print(&format!("  {workload} ✔"));
    }
    Ok(())
}
