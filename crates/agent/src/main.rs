//! `envctl-agent`: one small program that runs beside the pods. Its first argument is its role;
//! what each role is told is described in [`envctl_wire`].
//!
//! ```text
//! pause    the sandbox of one pod: pause/, probe/
//! seed     fills volumes:          seed/
//! gateway  one per environment:    gateway/
//! router   one per machine:        router/
//! warden   one per environment:    warden/
//! health   asks one of the above:  health.rs
//! tell     tells one of the above: told.rs
//! check    makes one request:      probe/check.rs
//! dial     carries one connection: dial.rs
//! hold     nothing
//! ```
//!
//! Every pod carries one, so it is frugal: one thread, and memory only for what is going on.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::env;
use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use envctl_wire::CONFIG_VARIABLE;
use serde::de::DeserializeOwned;

mod control;
mod dial;
mod gateway;
mod health;
mod net;
mod output;
mod pause;
mod probe;
mod proxy;
mod relay;
mod resolver;
mod router;
mod seed;
mod signals;
mod tls;
mod told;
mod warden;

const ROLES: &str = "pause, seed, gateway, router, warden, health, tell, check, dial or hold";

fn main() -> ExitCode {
    let argument = env::args().nth(1);
    let outcome = match argument.as_deref() {
        Some("pause") => configured(pause::run),
        Some("gateway") => configured(gateway::run),
        Some("router") => configured(router::run),
        Some("warden") => configured(warden::run),
        Some("hold") => serve(async || Ok(())),
        Some("seed") => seed::run().map(|()| ExitCode::SUCCESS),
        Some("health") => Ok(health::ask()),
        Some("tell") => told::tell(env::args().nth(2).as_deref()),
        Some("check") => probe::check::once(env::args().nth(2).as_deref()),
        Some("dial") => dial::run(env::args().nth(2).as_deref(), env::args().nth(3).is_none()),
        Some("--version") => {
            output::line(concat!("envctl-agent ", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(anyhow::anyhow!("unknown role `{other}`: {ROLES}")),
        None => Err(anyhow::anyhow!("no role given: {ROLES}")),
    };
    outcome.unwrap_or_else(|error| {
        output::warn(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Runs a role with the configuration from the environment.
fn configured<C, F>(role: impl FnOnce(C) -> F) -> anyhow::Result<ExitCode>
where
    C: DeserializeOwned,
    F: Future<Output = anyhow::Result<()>>,
{
    let text = env::var(CONFIG_VARIABLE).with_context(|| format!("{CONFIG_VARIABLE} is not set"))?;
    let text = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
        None => text,
    };
    let config =
        serde_json::from_str(&text).with_context(|| format!("{CONFIG_VARIABLE} is not understood"))?;
    serve(async || role(config).await)
}

/// Starts a role and keeps it until the container is asked to stop. A role returns once it is set
/// up; what it serves goes on in tasks, which end with the process.
fn serve(role: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let outcome = runtime.block_on(async {
        // First, because PID 1 ignores signals that it has no handler for.
        let mut termination = signals::Termination::new()?;
        signals::reap_orphans()?;
        tokio::select! {
            () = termination.requested() => return Ok(ExitCode::SUCCESS),
            outcome = role() => outcome?,
        }
        termination.requested().await;
        Ok(ExitCode::SUCCESS)
    });
    // A name lookup or a connection under way must not delay the end of the container.
    runtime.shutdown_background();
    outcome
}
