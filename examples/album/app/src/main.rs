//! Photo albums: one image, one role per subcommand.
//!
//! `api` serves albums and photos over HTTP, `worker` makes the thumbnails that the api ordered,
//! `migrate` brings the database's schema up to date, `wait` ends when all that the others need is
//! there. Everything is configured by environment variables, see [`config`].

mod api;
mod aws;
mod cache;
mod clock;
mod config;
mod credentials;
mod db;
mod log;
mod migrations;
mod shutdown;
mod sigv4;
mod thumbnail;
mod wait;
mod worker;

use std::process::ExitCode;

/// What a role ends with when it cannot go on; its text is the last line of the log.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result whose error is only ever shown.
pub type Result<T, E = Error> = std::result::Result<T, E>;

const USAGE: &str = "usage: album ROLE

  api        serve albums and photos over HTTP
  worker     make thumbnails from the queue
  migrate    bring the database's schema up to date, then end
  wait       end when database, schema, queue and bucket are there
  check-url  PHOTO  fetch the presigned URL of a photo's original, as a browser would";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["api"] => api::run().await,
        ["worker"] => worker::run().await,
        ["migrate"] => migrations::run().await,
        ["wait"] => wait::run().await,
        ["check-url", photo] => api::check_url(photo).await,
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
