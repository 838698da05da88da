//! The gateway: virtual addresses, cluster DNS and Ingress of the environment.

use std::net::Ipv4Addr;

use envctl_wire::{
    BackingService, CONFIG_VARIABLE, GatewayConfig, PublishedPort, Route, Service as WireService,
};

use crate::address::Division;
use crate::compose::{Attachment, ConfigMount, File, Port, Service};
use crate::input::Input;
use crate::sandbox::{agent, health, json};

/// The Compose service of the gateway.
pub const GATEWAY: &str = "envctl-gateway";
/// The key of the environment's network in the Compose file.
pub(crate) const NETWORK: &str = "default";
/// The domain of Services: the default of every distribution.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";

const ROUTER_NETWORK: &str = "router";
const BACKING_NETWORK: &str = "backing";
/// Where a configuration that is too large for a variable is mounted.
const CONFIG_FILE: &str = "/envctl-gateway.json";
/// Linux takes 128 KiB for one variable.
const VARIABLE_MAX: usize = 100 << 10;
/// The port of Ingress where there is no router.
const HTTP_PORT: u16 = 80;

/// What the gateway serves.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) services: Vec<WireService>,
    pub(crate) backing: Vec<BackingService>,
    pub(crate) routes: Vec<Route>,
    pub(crate) published: Vec<PublishedPort>,
    /// What Docker publishes of it.
    pub(crate) ports: Vec<Port>,
}

/// Adds the gateway with its networks to the file.
pub(crate) fn add(input: &Input, division: Division, served: Served, file: &mut File) {
    let address = division.gateway();
    let config = json(&GatewayConfig {
        environment: input.environment.name.clone(),
        namespace: input.environment.namespace.clone(),
        address,
        vips: division.vips(),
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        services: served.services,
        backing: served.backing,
        routes: served.routes,
        published: served.published,
        http_port: input.router.as_ref().map_or(HTTP_PORT, |router| router.http_port),
        router: input.router.as_ref().map(|router| router.control.clone()),
        certificate: input.certificate.clone(),
    });
    let mut service = agent(input, "gateway");
    let variable = if config.len() > VARIABLE_MAX {
        file.configs.insert(GATEWAY.to_owned(), config);
        service.configs.push(ConfigMount { source: GATEWAY.to_owned(), target: CONFIG_FILE.to_owned() });
        format!("@{CONFIG_FILE}")
    } else {
        config
    };
    service.environment.insert(CONFIG_VARIABLE.to_owned(), variable);
    service.cap_add = vec!["NET_ADMIN".to_owned()];
    service.ports = served.ports;
    service.restart = Some("unless-stopped".to_owned());
    service.healthcheck = Some(health());
    networks(input, address, &mut service, file);
    file.services.insert(GATEWAY.to_owned(), service);
}

fn networks(input: &Input, address: Ipv4Addr, service: &mut Service, file: &mut File) {
    let [a, b, c, d] = address.octets();
    let own = Attachment {
        ipv4_address: Some(address.to_string()),
        // Pods keep the gateway's address in their neighbour tables when it is recreated.
        mac_address: Some(format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")),
        // The first network is the one whose MAC address older engines set.
        priority: Some(1000),
    };
    service.networks.insert(NETWORK.to_owned(), own);
    file.networks.insert(NETWORK.to_owned(), input.network.name.clone());
    let others = [
        (ROUTER_NETWORK, input.router.as_ref().map(|router| &router.network)),
        (BACKING_NETWORK, input.backing.as_ref().map(|backing| &backing.network)),
    ];
    for (key, name) in others {
        let Some(name) = name else { continue };
        // Two keys for one network would attach the container twice, which Docker refuses.
        if !file.networks.values().any(|known| known == name) {
            service.networks.insert(key.to_owned(), Attachment::default());
            file.networks.insert(key.to_owned(), name.clone());
        }
    }
}
