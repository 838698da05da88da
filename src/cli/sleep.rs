//! `envctl sleep` and `envctl wake`

use std::time::Duration;

use envctl_model::record::Asleep;
use serde_json::json;

use crate::config::Base;
use crate::flows::cluster::sleep;
use crate::flows::local::pods;
use crate::flows::locate::{self, Whereabouts, whereabouts};
use crate::ui::{Failure, Format, print, print_json};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Wake {
    /// How long to wait until all pods are ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = super::seconds())]
    wait_timeout: u64,
}

pub(super) async fn sleep(base: &Base, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let slept = match whereabouts(base, &name)? {
        Whereabouts::Local => pods::sleep(base, &name).await?,
        Whereabouts::Cluster(destination) => sleep::sleep(base, &destination, &name).await?,
    };
    if format == Format::Json {
        return print_json(&json!({
            "environment": name.as_str(),
            "asleep": shown(&slept.asleep),
            "sleepless": slept.sleepless,
            "ending": slept.ending,
        }));
    }
    for (workload, replicas) in &slept.asleep.replicas {
        print(&format!("  {workload}: {replicas} -> 0"));
    }
    for cron_job in &slept.asleep.cron_jobs {
        print(&format!("  CronJob/{cron_job}: suspended"));
    }
    for workload in &slept.sleepless {
        print(&format!("  {workload}: runs on, since it has no replicas to take away"));
    }
    for workload in &slept.ending {
        print(&format!("  {workload}: its pods have not ended yet; `envctl status` shows them"));
    }
    print(&format!("{name} sleeps; `envctl wake` wakes it, and `envctl up` too"));
    Ok(())
}

pub(super) async fn wake(base: &Base, arguments: Wake, format: Format) -> Result<(), Failure> {
    let name = locate::name(base)?;
    let timeout = Duration::from_secs(arguments.wait_timeout);
    let woken = match whereabouts(base, &name)? {
        Whereabouts::Local => pods::wake(base, &name, timeout).await?,
        Whereabouts::Cluster(destination) => sleep::wake(base, &destination, &name, timeout).await?,
    };
    if format == Format::Json {
        return print_json(&json!({"environment": name.as_str(), "woken": woken.as_ref().map(shown)}));
    }
    let Some(before) = woken else {
        print(&format!("{name} was awake"));
        return Ok(());
    };
    for (workload, replicas) in &before.replicas {
        print(&format!("  {workload}: {replicas}"));
    }
    print(&format!("{name} is awake and ready"));
    Ok(())
}

fn shown(asleep: &Asleep) -> serde_json::Value {
    json!({"since": asleep.since.to_string(), "replicas": asleep.replicas, "cronJobs": asleep.cron_jobs})
}
