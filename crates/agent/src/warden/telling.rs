//! What sandboxes are told of their pods: the role `tell`, run in them.

use std::time::Duration;

use envctl_wire::{Told, agent_command};

use super::container::Container;
use super::containers::Containers;
use super::engine::Engine;
use super::{AGAIN, probes, readiness};
use crate::output;

/// How long a sandbox may take to hear something.
const WITHIN: Duration = Duration::from_secs(30);

/// Tells a pod's sandbox how its members are, until it has heard it.
pub(super) async fn health(containers: &Containers, pod: &str) {
    loop {
        let told = match containers.of_pod(pod).await {
            Ok(members) => match readiness::tells(&members) {
                Some((sandbox, told)) => tell(&containers.engine, sandbox, &told).await,
                None => true,
            },
            Err(error) => {
                output::warn(format_args!("{pod}: {error}"));
                error.is_gone()
            }
        };
        if told {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells a sandbox something. Whether that is done: one that is gone need not be told.
pub(super) async fn tell(engine: &Engine, sandbox: &Container, told: &Told) -> bool {
    let command = agent_command("tell", told);
    match tokio::time::timeout(WITHIN, probes::run(engine, &sandbox.id, &command)).await {
        Ok(Ok((0, _))) => true,
        Ok(Ok((_, said))) => {
            output::warn(format_args!("{}: {said}", sandbox.name));
            false
        }
        Err(_) => {
            output::warn(format_args!("{}: it does not listen", sandbox.name));
            false
        }
        Ok(Err(error)) => {
            if !error.is_gone() {
                output::warn(format_args!("{}: {error}", sandbox.name));
            }
            error.is_gone()
        }
    }
}
