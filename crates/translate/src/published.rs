//! Services that the outside reaches: NodePort and LoadBalancer.
//!
//! A cluster gives them ports of nodes, or an address of their own. Here they have the environment's
//! address on the machine's loopback: one for all of its Services, so that environments do not dispute
//! ports. The gateway has a port for each, which Docker publishes there.

use std::collections::BTreeSet;

use envctl_model::finding::Severity;
use envctl_wire::PublishedPort;

use crate::compose;
use crate::cursor::{Cursor, Remark};
use crate::input::Loopback;
use crate::output::Published;
use crate::service::ServicePlan;

/// The gateway's first port for these. Its other ports are below.
const FIRST: u16 = 30_000;

/// What the gateway listens on, what Docker publishes, and what people are told.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) listening: Vec<PublishedPort>,
    pub(crate) ports: Vec<compose::Port>,
    pub(crate) told: Vec<Published>,
}

pub(crate) fn plan(services: &[ServicePlan<'_>], loopback: Option<&Loopback>) -> Plan {
    let mut plan = Plan::default();
    let mut used = BTreeSet::new();
    for service in services {
        let Some(external) = &service.external else { continue };
        let Some(loopback) = loopback else {
            inside_only(&external.at, external.kind, "this Engine publishes nothing on loopback");
            continue;
        };
        for port in &service.ports {
            let outside = external.port(port.number, port.node_port);
            if loopback.taken.contains(&outside) || !used.insert((outside, port.protocol)) {
                inside_only(&external.at, external.kind, &format!("port {outside} is taken"));
                continue;
            }
            let Some(listen) = u16::try_from(plan.listening.len()).ok().and_then(|n| FIRST.checked_add(n))
            else {
                continue;
            };
            external.at.remark(Remark::approximated(
                Severity::Info,
                "external-service",
                format!("is published on {}: other machines do not reach it", loopback.address),
            ));
            plan.listening.push(PublishedPort {
                listen,
                protocol: port.protocol,
                service: service.name.to_owned(),
                namespace: service.namespace.clone(),
                port: port.number,
            });
            plan.ports.push(compose::Port {
                host_ip: loopback.address.to_string(),
                published: outside.to_string(),
                target: listen,
                protocol: port.protocol_name().to_owned(),
            });
            plan.told.push(Published {
                service: service.name.to_owned(),
                address: loopback.address,
                port: outside,
                protocol: port.protocol,
            });
        }
    }
    plan
}

fn inside_only(at: &Cursor<'_>, kind: &str, why: &str) {
    at.remark(
        Remark::approximated(
            Severity::Minor,
            "external-service",
            format!("{kind} is reachable inside of the environment only: {why}"),
        )
        .fix("use an Ingress, or `envctl port-forward`"),
    );
}
