//! The role `pause`: the first process of a pod's sandbox.

mod forwards;
mod resolv;

use std::future::ready;
use std::time::Duration;

use anyhow::Context;
use envctl_wire::{Announcement, SandboxConfig, SandboxEvent, Told};
use tokio::sync::watch;

use self::forwards::Forwards;
use crate::control::Announcer;
use crate::health::{self, Health};
use crate::resolver::Resolver;
use crate::{net, output, probe, told};

/// How long a ready pod waits for its gateway before it calls itself ready all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sets the sandbox up; the rest goes on in tasks.
pub(crate) async fn run(config: SandboxConfig) -> anyhow::Result<()> {
    let (health, reported) = watch::channel(Health::Starting);
    health::serve(reported)?;
    // The kubelet looks names up as the node does, not as the pod does.
    let resolver = Resolver::from_system()?;
    if let Some(resolv) = &config.resolv {
        resolv::write(resolv)?;
    }
    let address = net::own_address().await.context("cannot list the pod's addresses")?;
    let states = probe::start(&config, address, resolver);
    let pod = states.health();
    told::serve(move |told| {
        match told {
            Told::Started(container) => states.restarted(&container),
            Told::Health(containers) => states.checked(&containers),
        }
        ready(Ok(()))
    })?;
    tokio::spawn(follow(config, pod, health));
    Ok(())
}

/// Carries what the probes say to everybody who needs it, in an order in which "ready" is true when
/// it is heard: forwards, gateway, Docker, envctl.
async fn follow(config: SandboxConfig, mut pod: watch::Receiver<Health>, health: watch::Sender<Health>) {
    let announcement = |ready| Announcement::Pod { pod: config.pod.clone(), ready };
    let announcer = config
        .gateway
        .map(|gateway| Announcer::start(announcement(false), move || async move { Ok(gateway) }));
    let mut forwards = Forwards::new(config.forwards.clone());
    let mut was_ready = false;
    loop {
        let state = pod.borrow_and_update().clone();
        let ready = state == Health::Ready;
        if ready {
            forwards.open().await;
        } else {
            forwards.close();
        }
        if let Some(announcer) = &announcer {
            let patience = if ready { PATIENCE } else { Duration::ZERO };
            let answered = announcer.announce(announcement(ready), patience);
            if !answered.await && ready {
                output::event(&SandboxEvent::Warning {
                    message: "the gateway does not answer: no Service leads to this pod yet".to_owned(),
                });
            }
        }
        health.send_replace(state);
        if ready != was_ready {
            output::event(&SandboxEvent::Ready { ready });
            was_ready = ready;
        }
        if pod.changed().await.is_err() {
            // No probe is left that could change anything.
            std::future::pending::<()>().await;
        }
    }
}
