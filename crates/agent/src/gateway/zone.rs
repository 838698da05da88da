//! Cluster DNS: what names mean. Pure but for the readiness of pods. The rules are those of the
//! CoreDNS plugin `kubernetes`; names of Ingress hosts and backing services come on top.

use std::net::Ipv4Addr;
use std::sync::Arc;

use envctl_wire::{Backend, GatewayConfig, Protocol, Route, Service};
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::{IpNet, Ipv4Net};

use super::routes;
use super::services::{Services, target_key};

/// As CoreDNS by default: pods come and go.
const TTL: u32 = 5;

/// What a question comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) answers: Vec<Record>,
    /// Addresses of the targets of SRV records.
    pub(super) additionals: Vec<Record>,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Records; none means that the name exists but has nothing of this type.
    Known(Records),
    /// Another name (`externalName`).
    Alias(Name),
    /// Nothing.
    Unknown,
    /// Not ours to say.
    Foreign,
}

/// All names of one environment.
pub(super) struct Zone {
    domain: Name,
    suffix: String,
    namespace: String,
    address: Ipv4Addr,
    vips: Ipv4Net,
    routes: Vec<Route>,
    backing: Vec<(String, Ipv4Addr)>,
    services: Arc<Services>,
}

impl Zone {
    pub(super) fn new(config: &GatewayConfig, services: Arc<Services>) -> Result<Self, ProtoError> {
        let suffix = config.cluster_domain.trim_matches('.').to_ascii_lowercase();
        Ok(Self {
            domain: absolute(&suffix)?,
            suffix,
            namespace: config.namespace.clone(),
            address: config.address,
            vips: config.vips,
            routes: config.routes.clone(),
            backing: config.backing.iter().map(|b| (b.name.to_ascii_lowercase(), b.vip)).collect(),
            services,
        })
    }

    /// The record that says for how long "no" holds.
    pub(super) fn authority(&self) -> Result<Record, ProtoError> {
        let server = absolute(&format!("ns.dns.{}", self.suffix))?;
        let contact = absolute(&format!("hostmaster.{}", self.suffix))?;
        let soa = SOA::new(server, contact, 1, 7200, 1800, 86400, TTL);
        Ok(Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa)))
    }

    /// What `name` means to somebody who asks for records of this type.
    pub(super) fn look_up(&self, name: &Name, kind: RecordType) -> Result<Meaning, ProtoError> {
        let question = Question { name, kind };
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if text == self.suffix {
            return Ok(NOTHING);
        }
        if let Some(rest) = text.strip_suffix(&self.suffix).and_then(|rest| rest.strip_suffix('.')) {
            return self.in_cluster(&rest.split('.').collect::<Vec<_>>(), &question);
        }
        if text.ends_with(".in-addr.arpa") {
            return self.reverse(&question);
        }
        if routes::is_host(&self.routes, &text) {
            return Ok(question.addresses([self.address]));
        }
        if let Some((_, vip)) = self.backing.iter().find(|(name, _)| *name == text) {
            return Ok(question.addresses([*vip]));
        }
        // Docker would find containers by such names; a cluster has no such thing.
        let single_label = !text.is_empty() && !text.contains('.');
        Ok(if single_label { Meaning::Unknown } else { Meaning::Foreign })
    }

    fn in_cluster(&self, labels: &[&str], question: &Question<'_>) -> Result<Meaning, ProtoError> {
        Ok(match labels {
            ["svc" | "pod"] => NOTHING,
            [namespace, "svc" | "pod"] if self.has_namespace(namespace) => NOTHING,
            [dashed, namespace, "pod"] if self.has_namespace(namespace) => {
                match dashed.replace('-', ".").parse() {
                    Ok(address) => question.addresses([address]),
                    Err(_) => Meaning::Unknown,
                }
            }
            [service, namespace, "svc"] => match self.service(service, namespace) {
                Some(service) => self.of_service(service, question)?,
                None => Meaning::Unknown,
            },
            [host, service, namespace, "svc"] => match self.service(service, namespace) {
                Some(service) => self.of_pod(service, host, question),
                None => Meaning::Unknown,
            },
            [port, protocol, service, namespace, "svc"] => match self.service(service, namespace) {
                Some(service) => self.of_port(service, port, protocol, question)?,
                None => Meaning::Unknown,
            },
            _ => Meaning::Unknown,
        })
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        namespace == self.namespace || self.services.iter().any(|(_, service)| service.namespace == namespace)
    }

    fn service(&self, name: &str, namespace: &str) -> Option<&Service> {
        let mut services = self.services.iter().map(|(_, service)| service);
        services.find(|service| service.name == name && service.namespace == namespace)
    }

    fn of_service(&self, service: &Service, question: &Question<'_>) -> Result<Meaning, ProtoError> {
        if let Some(target) = &service.external_name {
            return Ok(Meaning::Alias(absolute(target.trim_end_matches('.'))?));
        }
        if question.kind == RecordType::SRV {
            return self.of_port(service, "", "", question);
        }
        Ok(match service.vip {
            Some(vip) => question.addresses([vip]),
            None => question.addresses(self.services.ready(service).into_iter().map(|b| b.address)),
        })
    }

    fn of_pod(&self, service: &Service, host: &str, question: &Question<'_>) -> Meaning {
        let ready = self.services.ready(service).into_iter();
        question.addresses(ready.filter(|b| hostname(b) == host).map(|b| b.address))
    }

    /// `_port._protocol.service`; both empty for all ports.
    fn of_port(
        &self,
        service: &Service,
        port: &str,
        protocol: &str,
        question: &Question<'_>,
    ) -> Result<Meaning, ProtoError> {
        let wanted = service.ports.iter().filter(|candidate| {
            let its_protocol = match candidate.protocol {
                Protocol::Tcp => "_tcp",
                Protocol::Udp => "_udp",
            };
            port.is_empty() || (port.strip_prefix('_') == Some(&candidate.name) && protocol == its_protocol)
        });
        let name = self.name_of(service);
        let mut targets: Vec<(String, Ipv4Addr, u16)> = Vec::new();
        for port in wanted {
            match service.vip {
                Some(vip) => targets.push((name.clone(), vip, port.port)),
                None => {
                    let key = target_key(port.port, port.protocol);
                    targets.extend(self.services.ready(service).into_iter().filter_map(|b| {
                        let target = b.targets.get(&key)?;
                        Some((format!("{}.{name}", hostname(b)), b.address, *target))
                    }));
                }
            }
        }
        if targets.is_empty() {
            return Ok(Meaning::Unknown);
        }
        if question.kind != RecordType::SRV {
            return Ok(NOTHING);
        }
        let weight = u16::try_from(100 / targets.len()).unwrap_or_default().max(1);
        let mut records = Records::default();
        for (target, address, port) in targets {
            let target = absolute(&target)?;
            let srv = RData::SRV(SRV::new(0, weight, port, target.clone()));
            records.answers.push(question.record(srv));
            let address = Record::from_rdata(target, TTL, RData::A(A(address)));
            if !records.additionals.contains(&address) {
                records.additionals.push(address);
            }
        }
        Ok(Meaning::Known(records))
    }

    fn reverse(&self, question: &Question<'_>) -> Result<Meaning, ProtoError> {
        let address = match question.name.parse_arpa_name() {
            Ok(IpNet::V4(net)) if net.prefix_len() == 32 => net.addr(),
            _ => return Ok(Meaning::Foreign),
        };
        let of_service =
            |(_, service): (usize, &Service)| (service.vip == Some(address)).then(|| self.name_of(service));
        let of_pod = |(_, service): (usize, &Service)| {
            let backend = service.backends.iter().find(|backend| backend.address == address)?;
            Some(format!("{}.{}", hostname(backend), self.name_of(service)))
        };
        let of_backing = || {
            let (name, _) = self.backing.iter().find(|(_, vip)| *vip == address)?;
            Some(name.clone())
        };
        let mut services = self.services.iter();
        let name = services
            .find_map(of_service)
            .or_else(|| self.services.iter().find_map(of_pod))
            .or_else(of_backing);
        Ok(match name {
            Some(name) if question.kind == RecordType::PTR => Meaning::Known(Records {
                answers: vec![question.record(RData::PTR(PTR(absolute(&name)?)))],
                additionals: Vec::new(),
            }),
            Some(_) => NOTHING,
            None if self.vips.contains(&address) => Meaning::Unknown,
            None => Meaning::Foreign,
        })
    }

    fn name_of(&self, service: &Service) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.suffix)
    }
}

/// The record that leads from `name` to its target.
pub(super) fn alias(name: Name, target: Name) -> Record {
    Record::from_rdata(name, TTL, RData::CNAME(CNAME(target)))
}

const NOTHING: Meaning = Meaning::Known(Records { answers: Vec::new(), additionals: Vec::new() });

struct Question<'a> {
    name: &'a Name,
    kind: RecordType,
}

impl Question<'_> {
    fn record(&self, data: RData) -> Record {
        Record::from_rdata(self.name.clone(), TTL, data)
    }

    /// No address at all means that there is no such name, as in CoreDNS for a headless Service
    /// without ready pods. All have IPv4 only.
    fn addresses(&self, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Meaning {
        let answers: Vec<Record> =
            addresses.into_iter().map(|address| self.record(RData::A(A(address)))).collect();
        match answers {
            none if none.is_empty() => Meaning::Unknown,
            answers if self.kind == RecordType::A => {
                Meaning::Known(Records { answers, additionals: Vec::new() })
            }
            _ => NOTHING,
        }
    }
}

/// What a pod is called under its Service.
fn hostname(backend: &Backend) -> String {
    match &backend.hostname {
        Some(hostname) => hostname.clone(),
        None => backend.address.to_string().replace('.', "-"),
    }
}

fn absolute(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
pub(super) mod tests {
    use envctl_wire::{BackingService, PathMatch, RouteTarget};

    use super::super::services::tests::{announce, backend, service};
    use super::*;

    pub(in super::super) fn zone() -> Zone {
        let web = service("web", vec![backend("web-1", 1)]);
        let mut db = service("db", vec![backend("db-0", 10), backend("db-1", 11)]);
        db.vip = None;
        for backend in &mut db.backends {
            backend.hostname = Some(backend.pod.clone());
        }
        let mut mail = service("mail", Vec::new());
        mail.vip = None;
        mail.external_name = Some("smtp.example.com".to_owned());
        let services = Arc::new(Services::new(vec![web, db, mail]));
        announce(&services, 1, "db-0", true);
        let config = GatewayConfig {
            environment: "shop-aki".to_owned(),
            namespace: "shop".to_owned(),
            address: Ipv4Addr::new(10, 0, 0, 2),
            vips: "10.0.8.0/21".parse().unwrap(),
            cluster_domain: "cluster.local".to_owned(),
            services: Vec::new(),
            backing: vec![BackingService {
                name: "mysql".to_owned(),
                upstream: "shop-mysql-1".to_owned(),
                vip: Ipv4Addr::new(10, 0, 8, 9),
                ports: vec![3306],
            }],
            routes: vec![Route {
                host: Some("web.shop-aki.localhost".to_owned()),
                path: "/".to_owned(),
                match_kind: PathMatch::Prefix,
                to: RouteTarget::Service { name: "web".to_owned(), port: 80 },
                rewrite: None,
            }],
            published: Vec::new(),
            http_port: 8080,
            router: None,
            certificate: None,
        };
        Zone::new(&config, services).unwrap()
    }

    /// The answer in short: record data, `nothing`, `unknown`, `foreign` or an alias.
    fn look_up(zone: &Zone, name: &str, kind: RecordType) -> String {
        match zone.look_up(&absolute(name).unwrap(), kind).unwrap() {
            Meaning::Known(records) if records.answers.is_empty() => "nothing".to_owned(),
            Meaning::Known(records) => {
                records.answers.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(" | ")
            }
            Meaning::Alias(target) => format!("-> {target}"),
            Meaning::Unknown => "unknown".to_owned(),
            Meaning::Foreign => "foreign".to_owned(),
        }
    }

    #[test]
    fn services() {
        let zone = zone();
        let a = |name| look_up(&zone, name, RecordType::A);
        assert_eq!(a("web.shop.svc.cluster.local"), "10.0.8.1");
        assert_eq!(a("WEB.Shop.svc.Cluster.local"), "10.0.8.1");
        assert_eq!(look_up(&zone, "web.shop.svc.cluster.local", RecordType::AAAA), "nothing");
        assert_eq!(a("web.other.svc.cluster.local"), "unknown");
        assert_eq!(a("example.com.shop.svc.cluster.local"), "unknown");
        assert_eq!(a("shop.svc.cluster.local"), "nothing");
        assert_eq!(a("cluster.local"), "nothing");
        assert_eq!(a("mail.shop.svc.cluster.local"), "-> smtp.example.com.");
        assert_eq!(a("10-0-0-7.shop.pod.cluster.local"), "10.0.0.7");
    }

    #[test]
    fn headless_services_show_their_ready_pods() {
        let zone = zone();
        let a = |name| look_up(&zone, name, RecordType::A);
        assert_eq!(a("db.shop.svc.cluster.local"), "10.0.0.10");
        assert_eq!(a("db-0.db.shop.svc.cluster.local"), "10.0.0.10");
        assert_eq!(a("db-1.db.shop.svc.cluster.local"), "unknown");
        announce(&zone.services, 2, "db-1", true);
        assert_eq!(a("db.shop.svc.cluster.local"), "10.0.0.10 | 10.0.0.11");
        assert_eq!(a("db-1.db.shop.svc.cluster.local"), "10.0.0.11");
        announce(&zone.services, 1, "db-0", false);
        announce(&zone.services, 2, "db-1", false);
        assert_eq!(a("db.shop.svc.cluster.local"), "unknown");
    }

    #[test]
    fn service_records() {
        let zone = zone();
        let srv = |name| look_up(&zone, name, RecordType::SRV);
        assert_eq!(srv("_http._tcp.web.shop.svc.cluster.local"), "0 100 80 web.shop.svc.cluster.local.");
        assert_eq!(srv("_http._tcp.db.shop.svc.cluster.local"), "0 100 8010 db-0.db.shop.svc.cluster.local.");
        assert_eq!(srv("_http._udp.web.shop.svc.cluster.local"), "unknown");
        let name = "_http._tcp.web.shop.svc.cluster.local";
        assert_eq!(look_up(&zone, name, RecordType::A), "nothing");
    }

    #[test]
    fn reverse() {
        let zone = zone();
        let ptr = |name| look_up(&zone, name, RecordType::PTR);
        assert_eq!(ptr("1.8.0.10.in-addr.arpa"), "web.shop.svc.cluster.local.");
        assert_eq!(ptr("10.0.0.10.in-addr.arpa"), "db-0.db.shop.svc.cluster.local.");
        assert_eq!(ptr("1.0.0.10.in-addr.arpa"), "10-0-0-1.web.shop.svc.cluster.local.");
        assert_eq!(ptr("200.8.0.10.in-addr.arpa"), "unknown");
        assert_eq!(ptr("8.8.8.8.in-addr.arpa"), "foreign");
    }

    #[test]
    fn names_beside_the_cluster() {
        let zone = zone();
        let a = |name| look_up(&zone, name, RecordType::A);
        assert_eq!(a("web.shop-aki.localhost"), "10.0.0.2");
        assert_eq!(look_up(&zone, "web.shop-aki.localhost", RecordType::AAAA), "nothing");
        assert_eq!(a("mysql"), "10.0.8.9");
        assert_eq!(a("web"), "unknown", "without its search list a pod cannot find it either");
        assert_eq!(a("some-container"), "unknown");
        assert_eq!(a("example.com"), "foreign");
    }
}
