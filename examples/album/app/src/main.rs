//! Photo albums: one image, one role per subcommand.
//!
//! `api` serves albums and photos over HTTP, `worker` makes the pictures that the api ordered,
//! `shipping` sends prints, `admin` shows what there is and what has run, `batch` is what runs at
//! certain times. `migrate` brings a database's schema up to date, `wait` ends when all that the
//! worker needs is there. Everything is configured by environment variables, see [`config`].

mod admin;
mod allow;
mod api;
mod aws;
mod batch;
mod cache;
mod clock;
mod config;
mod consume;
mod credentials;
mod db;
mod http;
mod jobs;
mod log;
mod migrations;
mod orders;
mod prints;
mod queue;
mod rehearsal;
mod shipping;
mod shutdown;
mod sigv4;
mod storage;
mod thumbnail;
mod wait;
mod worker;

use batch::Batch;
use std::process::ExitCode;

/// What a role ends with when it cannot go on; its text is the last line of the log.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result whose error is only ever shown.
pub type Result<T, E = Error> = std::result::Result<T, E>;

const USAGE: &str = "usage: album ROLE

  api              serve albums and photos over HTTP
  worker           make thumbnails and posters from the queue
  shipping         take orders of prints over HTTP, and work them off from a queue
  admin            show what there is and what has run, to whom ADMIN_ALLOW names
  batch digest     count what came since the digest before, then end
  batch expire     remove photos older than EXPIRE_DAYS, then end
  migrate          bring the database's schema up to date, then end
  migrate shipping the same for shipping's database
  wait             end when database, schema, queue and bucket are there
  check-url PHOTO  fetch the presigned URL of a photo's original, as a browser would

for rehearsals of a cutover:
  sample           make albums 1 and 2 and photo 1, unless they are there, then end
  sample shipping  make order 1, unless it is there, then end
  enqueue          put the jobs that standard input names into the worker's queue
  ledger jobs      tell what becomes of the worker's jobs
  ledger runs      tell which batches run";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["api"] => api::run().await,
        ["worker"] => worker::run().await,
        ["shipping"] => shipping::run().await,
        ["admin"] => admin::run().await,
        ["batch", "digest"] => batch::run(Batch::Digest).await,
        ["batch", "expire"] => batch::run(Batch::Expire).await,
        ["migrate"] => migrations::run(migrations::ALBUM).await,
        ["migrate", "shipping"] => migrations::run(migrations::SHIPPING).await,
        ["wait"] => wait::run().await,
        ["check-url", photo] => api::check_url(photo).await,
        ["sample"] => rehearsal::sample::run().await,
        ["sample", "shipping"] => rehearsal::sample::run_shipping().await,
        ["enqueue"] => rehearsal::enqueue::run().await,
        ["ledger", "jobs"] => rehearsal::ledger::jobs().await,
        ["ledger", "runs"] => rehearsal::ledger::runs().await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("stopped", &[("error", &error.to_string())]);
            ExitCode::FAILURE
        }
    }
}
