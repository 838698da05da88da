//! Services and Endpoints: names that lead to pods.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use envctl_model::finding::Severity;
use envctl_wire::{Backend, Protocol, Service as WireService, ServicePort};

use crate::cursor::{Cursor, Remark};
use crate::workload::PodPlan;

/// A Service as written.
#[derive(Debug)]
pub(crate) struct ServicePlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: String,
    pub(crate) access: Access<'a>,
    pub(crate) ports: Vec<Port>,
    selector: BTreeMap<String, String>,
    publish_not_ready: bool,
    affinity: Option<u32>,
    /// How the outside reaches it.
    pub(crate) external: Option<External<'a>>,
}

/// A Service that the outside reaches.
#[derive(Debug)]
pub(crate) struct External<'a> {
    /// Its `type`.
    pub(crate) at: Cursor<'a>,
    pub(crate) kind: &'a str,
}

impl External<'_> {
    /// The port by which the outside knows a port of the Service.
    pub(crate) fn port(&self, number: u16, node_port: Option<u16>) -> u16 {
        match self.kind {
            // Without one the cluster would draw it.
            "NodePort" => node_port.unwrap_or(number),
            _ => number,
        }
    }
}

/// What the Service's name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Access<'a> {
    /// A virtual address.
    ClusterIp,
    /// The pods' own addresses.
    Headless,
    /// Another name.
    ExternalName(&'a str),
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
    pub(crate) node_port: Option<u16>,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Number(u16),
    Name(String),
}

/// `TCP` if absent; `None` for what cannot be carried.
pub(crate) fn protocol(field: &Cursor<'_>) -> Option<Protocol> {
    match field.string().unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        other => {
            field.remark(Remark::dropped(Severity::Major, "protocol", format!("{other} is not carried")));
            None
        }
    }
}

impl<'a> ServicePlan<'a> {
    pub(crate) fn read(root: &Cursor<'a>, namespace: String) -> Self {
        let spec = root.get("spec");
        let kind = spec.get("type").string().unwrap_or("ClusterIP");
        let cluster_ip = spec.get("clusterIP");
        let access = if kind == "ExternalName" {
            Access::ExternalName(spec.get("externalName").required())
        } else if cluster_ip.string() == Some("None") {
            Access::Headless
        } else {
            if cluster_ip.string().is_some_and(|ip| !ip.is_empty()) {
                cluster_ip.remark(Remark::approximated(
                    Severity::Minor,
                    "cluster-ip",
                    "the Service gets another address here",
                ));
            }
            Access::ClusterIp
        };
        let affinity = spec.get("sessionAffinity").string() == Some("ClientIP");
        let timeout = spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).number();
        Self {
            name: &root.object().name,
            namespace,
            access,
            ports: spec.get("ports").items().iter().filter_map(Port::read).collect(),
            selector: spec.get("selector").string_map(),
            publish_not_ready: spec.get("publishNotReadyAddresses").boolean().unwrap_or(false),
            affinity: affinity.then(|| timeout.unwrap_or(10_800)),
            external: matches!(kind, "NodePort" | "LoadBalancer")
                .then(|| External { at: spec.get("type"), kind }),
        }
    }

    /// What identifies its virtual address.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn selects(&self, pod: &PodPlan<'_>) -> bool {
        !self.selector.is_empty()
            && pod.namespace == self.namespace
            && self.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    /// The port's number by number or name, as an Ingress gives it.
    pub(crate) fn port(&self, wanted: &str) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| port.name == wanted || port.number.to_string() == wanted)
            .map(|port| port.number)
    }

    pub(crate) fn wire(
        &self,
        vip: Option<Ipv4Addr>,
        pods: &[PodPlan<'_>],
        addresses: &BTreeMap<String, Ipv4Addr>,
        endpoints: &[Endpoints<'_>],
    ) -> WireService {
        let mut backends: Vec<Backend> = pods
            .iter()
            .filter(|pod| self.selects(pod))
            .filter_map(|pod| Some(self.backend(pod, *addresses.get(&pod.name)?)))
            .collect();
        if self.selector.is_empty() {
            let own =
                endpoints.iter().filter(|own| own.namespace == self.namespace && own.service == self.name);
            backends.extend(own.flat_map(|own| own.backends(&self.ports)));
        }
        WireService {
            name: self.name.to_owned(),
            namespace: self.namespace.clone(),
            vip,
            external_name: match self.access {
                Access::ExternalName(name) => Some(name.to_owned()),
                _ => None,
            },
            ports: self
                .ports
                .iter()
                .map(|port| ServicePort {
                    name: port.name.clone(),
                    port: port.number,
                    protocol: port.protocol,
                })
                .collect(),
            publish_not_ready: self.publish_not_ready,
            client_ip_affinity_seconds: self.affinity,
            backends,
        }
    }

    fn backend(&self, pod: &PodPlan<'_>, address: Ipv4Addr) -> Backend {
        let targets = self.ports.iter().filter_map(|port| Some((port.key(), port.target(pod)?))).collect();
        Backend {
            pod: pod.name.clone(),
            address,
            hostname: (self.access == Access::Headless && pod.subdomain == Some(self.name))
                .then(|| pod.hostname.clone()),
            targets,
            announced: true,
        }
    }

    /// The variables that tell pods of the namespace about this Service.
    pub(crate) fn links(&self, vip: Ipv4Addr) -> Vec<(String, String)> {
        let shout = |text: &str| text.to_ascii_uppercase().replace('-', "_");
        let service = shout(self.name);
        let Some(first) = self.ports.first() else {
            return Vec::new();
        };
        let mut links = vec![
            (format!("{service}_SERVICE_HOST"), vip.to_string()),
            (format!("{service}_SERVICE_PORT"), first.number.to_string()),
        ];
        for port in self.ports.iter().filter(|port| !port.name.is_empty()) {
            links.push((format!("{service}_SERVICE_PORT_{}", shout(&port.name)), port.number.to_string()));
        }
        let url = |port: &Port| format!("{}://{vip}:{}", port.protocol_name(), port.number);
        links.push((format!("{service}_PORT"), url(first)));
        for port in &self.ports {
            let prefix =
                format!("{service}_PORT_{}_{}", port.number, port.protocol_name().to_ascii_uppercase());
            links.push((format!("{prefix}_PROTO"), port.protocol_name().to_owned()));
            links.push((format!("{prefix}_PORT"), port.number.to_string()));
            links.push((format!("{prefix}_ADDR"), vip.to_string()));
            links.push((prefix, url(port)));
        }
        links
    }
}

/// The port of a Service that a route leads to; a finding at `field` where there is none.
pub(crate) fn routed(
    field: &Cursor<'_>,
    services: &[ServicePlan<'_>],
    namespace: &str,
    name: &str,
    wanted: &str,
) -> Option<u16> {
    let found = services.iter().find(|own| own.namespace == namespace && own.name == name);
    let port = found.and_then(|own| own.port(wanted));
    if port.is_none() {
        let what = match found {
            Some(_) => format!("Service `{name}` has no port `{wanted}`"),
            None => format!("there is no Service `{name}`"),
        };
        let message = format!("{what}: nothing is routed");
        field.remark(Remark::dropped(Severity::Major, "ingress-backend", message));
    }
    port
}

impl Port {
    fn read(field: &Cursor<'_>) -> Option<Self> {
        let number = field.get("port");
        if !number.present() {
            field.get("port").required();
        }
        let number = number.number()?;
        let target = match field.get("targetPort").int_or_string() {
            None => Target::Number(number),
            Some(text) => text
                .parse()
                .map_or(Target::Name(text), |port| Target::Number(if port == 0 { number } else { port })),
        };
        let node_port = field.get("nodePort").number().filter(|port| *port != 0);
        Some(Self {
            node_port,
            name: field.get("name").string().unwrap_or_default().to_owned(),
            number,
            protocol: protocol(&field.get("protocol"))?,
            target,
        })
    }

    pub(crate) fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    fn key(&self) -> String {
        format!("{}/{}", self.number, self.protocol_name().to_ascii_uppercase())
    }

    fn target(&self, pod: &PodPlan<'_>) -> Option<u16> {
        match &self.target {
            Target::Number(number) => Some(*number),
            Target::Name(name) => pod.named_ports.get(&(name.clone(), self.protocol)).copied(),
        }
    }
}

/// Addresses that somebody wrote down for a Service without selector.
#[derive(Debug)]
pub(crate) struct Endpoints<'a> {
    namespace: String,
    service: &'a str,
    subsets: Vec<Subset>,
}

#[derive(Debug)]
struct Subset {
    addresses: Vec<Ipv4Addr>,
    ports: Vec<(String, u16, Protocol)>,
}

impl<'a> Endpoints<'a> {
    /// From `v1 Endpoints`.
    pub(crate) fn read(root: &Cursor<'a>, namespace: String) -> Self {
        let subsets = root
            .get("subsets")
            .items()
            .iter()
            .map(|subset| Subset {
                addresses: subset
                    .get("addresses")
                    .items()
                    .iter()
                    .filter_map(|field| address(&field.get("ip")))
                    .collect(),
                ports: ports(&subset.get("ports")),
            })
            .collect();
        Self { namespace, service: &root.object().name, subsets }
    }

    /// From `discovery.k8s.io/v1 EndpointSlice`.
    pub(crate) fn read_slice(root: &Cursor<'a>, namespace: String) -> Self {
        let service =
            root.at(&["metadata", "labels"]).get("kubernetes.io/service-name").string().unwrap_or_default();
        if root.get("addressType").string() != Some("IPv4") {
            root.get("addressType").remark(Remark::dropped(
                Severity::Major,
                "address-type",
                "only IPv4 end points are carried",
            ));
        }
        let addresses = root
            .get("endpoints")
            .items()
            .iter()
            .filter(|end_point| end_point.at(&["conditions", "ready"]).boolean() != Some(false))
            .flat_map(|end_point| end_point.get("addresses").items())
            .filter_map(|field| address(&field))
            .collect();
        Self { namespace, service, subsets: vec![Subset { addresses, ports: ports(&root.get("ports")) }] }
    }

    fn backends(&self, service_ports: &[Port]) -> Vec<Backend> {
        let mut backends = Vec::new();
        for subset in &self.subsets {
            let targets: BTreeMap<String, u16> = service_ports
                .iter()
                .filter_map(|port| {
                    let own = subset
                        .ports
                        .iter()
                        .find(|(name, _, protocol)| *name == port.name && *protocol == port.protocol);
                    own.map(|(_, number, _)| (port.key(), *number))
                })
                .collect();
            backends.extend(subset.addresses.iter().map(|address| Backend {
                pod: address.to_string(),
                address: *address,
                hostname: None,
                targets: targets.clone(),
                announced: false,
            }));
        }
        backends
    }
}

fn ports(field: &Cursor<'_>) -> Vec<(String, u16, Protocol)> {
    field
        .items()
        .iter()
        .filter_map(|port| {
            let name = port.get("name").string().unwrap_or_default().to_owned();
            Some((name, port.get("port").number()?, protocol(&port.get("protocol"))?))
        })
        .collect()
}

fn address(field: &Cursor<'_>) -> Option<Ipv4Addr> {
    let text = field.string()?;
    text.parse().ok().or_else(|| {
        field.remark(Remark::dropped(Severity::Major, "address-type", "only IPv4 addresses are carried"));
        None
    })
}
