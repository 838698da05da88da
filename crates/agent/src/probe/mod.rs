//! The probes of a pod's containers, made from its sandbox as the kubelet makes them from the node:
//! against the pod's own address, so that a program which listens on loopback only fails here too.
//!
//! One difference cannot be avoided: the kubelet knows when a container starts, the sandbox does
//! not (init containers may still run). A refused connection before the first accepted one is
//! therefore "not started yet": it is tried again soon, reported once a period has passed, and
//! does not count towards the threshold of a startup or liveness probe. That a container was
//! started again, the warden tells.

pub(crate) mod check;
mod grpc;
mod http;
pub(crate) mod state;
pub(crate) mod timeline;
mod tls;

use std::net::Ipv4Addr;
use std::sync::Arc;

use envctl_wire::SandboxConfig;

use self::state::States;
use crate::output;
use crate::resolver::Resolver;

/// Starts all probes of a sandbox; what they have found is in the result.
pub(crate) fn start(config: &SandboxConfig, pod: Ipv4Addr, resolver: Resolver) -> Arc<States> {
    let states = States::new(&config.probes, config.restarts, output::event);
    let states = Arc::new(states.with_health_checks(&config.health_checks));
    let target = Arc::new(check::Target { pod, resolver });
    for (index, probe) in config.probes.iter().cloned().enumerate() {
        let (states, target) = (Arc::clone(&states), Arc::clone(&target));
        tokio::spawn(async move {
            timeline::follow(index, &probe, &states, || target.check(&probe)).await;
        });
    }
    states
}
