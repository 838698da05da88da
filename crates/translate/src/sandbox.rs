//! The sandbox: the one container of a pod that holds its network.

use std::net::SocketAddr;

use envctl_model::finding::Severity;
use envctl_model::labels::DEADLINE;
use envctl_wire::{
    AGENT_PATH, CONFIG_VARIABLE, CONTROL_PORT, Forward, HEALTH_TIMEOUT_SECONDS, Probe, Resolv, SandboxConfig,
};

use crate::compose::{Attachment, HealthCheck, Port, Service};
use crate::cursor::{Cursor, Remark};
use crate::downward::Downward;
use crate::gateway::{CLUSTER_DOMAIN, NETWORK};
use crate::input::Input;
use crate::names::LABEL_MAX;

pub(crate) fn service(
    input: &Input,
    downward: &Downward<'_, '_>,
    gateway: std::net::Ipv4Addr,
    probes: Vec<Probe>,
    health_checks: Vec<envctl_wire::HealthCheck>,
) -> Service {
    let pod = downward.pod;
    let spec = &pod.spec;
    let forwards = input.router.iter().map(|router| Forward {
        listen: router.http_port,
        to: SocketAddr::from((gateway, router.http_port)),
    });
    let config = SandboxConfig {
        pod: pod.name.clone(),
        resolv: resolv(spec, &pod.namespace, gateway),
        gateway: Some(SocketAddr::from((gateway, CONTROL_PORT))),
        forwards: forwards.collect(),
        probes,
        health_checks,
        restarts: input.warden.is_on(),
    };
    let mut service = agent(input, "pause");
    service.environment.insert(CONFIG_VARIABLE.to_owned(), json(&config));
    service.labels.extend(pod.deadline.map(|seconds| (DEADLINE.to_owned(), seconds.to_string())));
    // `hostname -f` gives the name under the governing Service, as the kubelet's /etc/hosts does.
    service.domainname = pod.subdomain.map(|name| format!("{name}.{}.svc.{CLUSTER_DOMAIN}", pod.namespace));
    service.hostname = Some(hostname(spec, &pod.hostname, service.domainname.as_deref()));
    let attachment = Attachment { ipv4_address: Some(downward.address.to_string()), ..Attachment::default() };
    service.networks.insert(NETWORK.to_owned(), attachment);
    service.ports = ports(spec);
    service.extra_hosts = host_aliases(spec);
    for sysctl in spec.at(&["securityContext", "sysctls"]).items() {
        let value = sysctl.get("value").string().unwrap_or_default();
        service.sysctls.insert(sysctl.get("name").required().to_owned(), value.to_owned());
    }
    service.ipc = Some("shareable".to_owned());
    service.restart = Some("unless-stopped".to_owned());
    service.healthcheck = Some(health());
    service
}

/// What `hostname` says: the whole name where the pod asks for it, and the kernel takes it.
fn hostname(spec: &Cursor<'_>, short: &str, domain: Option<&str>) -> String {
    let whole = spec.get("setHostnameAsFQDN");
    let (Some(true), Some(domain)) = (whole.boolean(), domain) else {
        return short.to_owned();
    };
    let name = format!("{short}.{domain}");
    if name.len() > LABEL_MAX {
        // The kubelet would keep the pod from starting.
        whole.invalid(&name, "a host name: more than 63 characters");
    }
    name
}

/// A service that runs one of the agent's roles.
pub(crate) fn agent(input: &Input, role: &str) -> Service {
    Service {
        image: input.agent_image.clone(),
        // envctl loads the image: no registry has it.
        pull_policy: Some("never"),
        command: vec![role.to_owned()],
        ..Service::default()
    }
}

/// The agent's `health` waits for a change and reports it, so that the next check follows at once.
pub(crate) fn health() -> HealthCheck {
    HealthCheck::Test {
        test: vec!["CMD".to_owned(), AGENT_PATH.to_owned(), "health".to_owned()],
        interval: "100ms".to_owned(),
        timeout: crate::probe::seconds(HEALTH_TIMEOUT_SECONDS),
        retries: 1,
        start_period: "0s".to_owned(),
        start_interval: None,
    }
}

/// JSON of a type of the agent's contract, which has string keys only: this cannot fail.
pub(crate) fn json(config: &impl serde::Serialize) -> String {
    serde_json::to_string(config).unwrap_or_default()
}

fn resolv(spec: &Cursor<'_>, namespace: &str, gateway: std::net::Ipv4Addr) -> Option<Resolv> {
    let config = spec.get("dnsConfig");
    let mut resolv = match spec.get("dnsPolicy").string().unwrap_or("ClusterFirst") {
        "Default" => return None,
        "None" => Resolv { nameservers: Vec::new(), search: Vec::new(), options: Vec::new() },
        _ => Resolv {
            nameservers: vec![gateway],
            search: vec![
                format!("{namespace}.svc.{CLUSTER_DOMAIN}"),
                format!("svc.{CLUSTER_DOMAIN}"),
                CLUSTER_DOMAIN.to_owned(),
            ],
            options: vec!["ndots:5".to_owned()],
        },
    };
    for server in config.get("nameservers").items() {
        match server.string().map(str::parse) {
            Some(Ok(address)) => resolv.nameservers.push(address),
            _ => server.remark(Remark::dropped(Severity::Minor, "dns", "only IPv4 name servers are used")),
        }
    }
    resolv.search.extend(config.get("searches").strings().into_iter().map(str::to_owned));
    for option in config.get("options").items() {
        let name = option.get("name").required();
        // A later option of the same name wins; resolvers differ in how they read two.
        resolv.options.retain(|own| own.split(':').next() != Some(name));
        resolv.options.push(match option.get("value").string() {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        });
    }
    Some(resolv)
}

fn ports(spec: &Cursor<'_>) -> Vec<Port> {
    let host_network = spec.get("hostNetwork");
    let on_host = host_network.boolean() == Some(true);
    if on_host {
        host_network.remark(
            Remark::approximated(
                Severity::Major,
                "host-network",
                "the pod has a network of its own, and the host does not have its ports",
            )
            .fix("reach the pod through a Service"),
        );
    }
    let containers = [spec.get("containers").items(), spec.get("initContainers").items()].concat();
    let mut ports = Vec::new();
    for port in containers.iter().flat_map(|container| container.get("ports").items()) {
        let at = port.get("hostPort");
        let (Some(published), Some(target)) = (at.number::<u16>(), port.get("containerPort").number::<u16>())
        else {
            continue;
        };
        if published == 0 || on_host {
            continue;
        }
        at.remark(Remark::approximated(
            Severity::Info,
            "host-port",
            "is published on 127.0.0.1: other machines do not reach it",
        ));
        let protocol = port.get("protocol").string().unwrap_or("TCP").to_ascii_lowercase();
        let port =
            Port { host_ip: "127.0.0.1".to_owned(), published: published.to_string(), target, protocol };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

fn host_aliases(spec: &Cursor<'_>) -> Vec<String> {
    spec.get("hostAliases")
        .items()
        .iter()
        .flat_map(|alias| {
            let address = alias.get("ip").required();
            alias.get("hostnames").strings().into_iter().map(move |name| format!("{name}={address}"))
        })
        .collect()
}
