//! `envctl job`

use std::time::Duration;

use crate::config::Base;
use crate::flows::cluster::restart;
use crate::flows::local::one_off;
use crate::flows::locate::{self, Whereabouts, whereabouts};
use crate::ui::Failure;

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Have a CronJob run now, and wait for its end
    Run {
        /// The CronJob
        job: String,
        /// How long to wait for its end, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = super::seconds())]
        wait_timeout: u64,
    },
}

pub(super) async fn run(base: &Base, arguments: Arguments) -> Result<(), Failure> {
    let Verb::Run { job, wait_timeout } = arguments.verb;
    let name = locate::name(base)?;
    let timeout = Duration::from_secs(wait_timeout);
    match whereabouts(base, &name)? {
        Whereabouts::Local => one_off::job(base, &name, &job, timeout).await,
        Whereabouts::Cluster(destination) => restart::job(&destination, &name, &job, timeout).await,
    }
}
