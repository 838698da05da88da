//! Services and the readiness of their pods.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envctl_wire::{Announcement, Backend, Protocol, Reply, Service};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::control::{Connection, Registry};
use crate::output;

/// A pod's newest word, and the connection it came by.
#[derive(Debug, Clone, Copy)]
struct Word {
    connection: u64,
    ready: bool,
}

/// Who was served by whom, for Services with client affinity.
type Affinity = HashMap<(usize, IpAddr), (String, Instant)>;

/// All Services of the environment; known by their index.
pub(crate) struct Services {
    services: Vec<Service>,
    pods: watch::Sender<HashMap<String, Word>>,
    turn: AtomicUsize,
    affinity: watch::Sender<Affinity>,
    started: Instant,
}

/// How long after its start a gateway waits for pods that have not announced themselves yet. One that
/// was made anew is known to none of them; refusing would say of a healthy Service that it is down.
const ACQUAINTANCE: Duration = Duration::from_secs(4);

impl Services {
    pub(crate) fn new(services: Vec<Service>) -> Self {
        Self {
            services,
            pods: watch::Sender::default(),
            turn: AtomicUsize::new(0),
            affinity: watch::Sender::default(),
            started: Instant::now(),
        }
    }

    /// As [`Services::pick`]; a gateway that has just started waits for a pod to announce itself.
    pub(crate) async fn pick_patiently(
        &self,
        index: usize,
        port: u16,
        protocol: Protocol,
        client: IpAddr,
    ) -> Option<SocketAddr> {
        let mut pods = self.pods.subscribe();
        loop {
            let picked = self.pick(index, port, protocol, client);
            if picked.is_some() {
                return picked;
            }
            // Too late, or nobody is left who could announce anything.
            tokio::time::timeout_at(self.started + ACQUAINTANCE, pods.changed()).await.ok()?.ok()?;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Service)> {
        self.services.iter().enumerate()
    }

    /// The back ends that take traffic.
    pub(crate) fn ready<'a>(&self, service: &'a Service) -> Vec<&'a Backend> {
        let pods = self.pods.borrow();
        service
            .backends
            .iter()
            .filter(|backend| {
                service.publish_not_ready
                    || !backend.announced
                    || pods.get(&backend.pod).is_some_and(|word| word.ready)
            })
            .collect()
    }

    /// Whose turn it is. `None`: no back end is ready (or none has the port).
    pub(crate) fn pick(
        &self,
        index: usize,
        port: u16,
        protocol: Protocol,
        client: IpAddr,
    ) -> Option<SocketAddr> {
        let service = self.services.get(index)?;
        let key = target_key(port, protocol);
        let candidates: Vec<(&Backend, SocketAddr)> = self
            .ready(service)
            .into_iter()
            .filter_map(|b| Some((b, SocketAddr::from((b.address, *b.targets.get(&key)?)))))
            .collect();
        let former = service.client_ip_affinity_seconds.and_then(|_| {
            let affinity = self.affinity.borrow();
            let (pod, until) = affinity.get(&(index, client))?;
            let candidate = candidates.iter().find(|(backend, _)| backend.pod == *pod);
            candidate.filter(|_| *until > Instant::now()).copied()
        });
        let next = || {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            candidates.get(turn % candidates.len().max(1)).copied()
        };
        let (backend, address) = former.or_else(next)?;
        if let Some(seconds) = service.client_ip_affinity_seconds {
            let now = Instant::now();
            let until = now + Duration::from_secs(seconds.into());
            self.affinity.send_modify(|affinity| {
                affinity.retain(|_, (_, until)| *until > now);
                affinity.insert((index, client), (backend.pod.clone(), until));
            });
        }
        Some(address)
    }
}

/// The key of [`Backend::targets`].
pub(crate) fn target_key(port: u16, protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => format!("{port}/TCP"),
        Protocol::Udp => format!("{port}/UDP"),
    }
}

impl Registry for Services {
    fn announced(&self, connection: Connection, announcement: Announcement) -> Reply {
        match announcement {
            Announcement::Pod { pod, ready } => self.pods.send_modify(|pods| {
                pods.insert(pod, Word { connection: connection.id, ready });
            }),
            Announcement::Hosts { environment, .. } => output::warn(format_args!(
                "{environment} announces its hosts to a gateway, not to the router"
            )),
        }
        Reply::default()
    }

    fn closed(&self, connection: Connection) {
        // A pod that is back already speaks by another connection.
        self.pods.send_modify(|pods| pods.retain(|_, word| word.connection != connection.id));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use envctl_wire::ServicePort;

    use super::*;

    pub(crate) fn backend(pod: &str, last_byte: u8) -> Backend {
        Backend {
            pod: pod.to_owned(),
            address: Ipv4Addr::new(10, 0, 0, last_byte),
            hostname: None,
            targets: [("80/TCP".to_owned(), 8000 + u16::from(last_byte))].into(),
            announced: true,
        }
    }

    pub(crate) fn service(name: &str, backends: Vec<Backend>) -> Service {
        Service {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            vip: Some(Ipv4Addr::new(10, 0, 8, 1)),
            external_name: None,
            ports: vec![ServicePort { name: "http".to_owned(), port: 80, protocol: Protocol::Tcp }],
            publish_not_ready: false,
            client_ip_affinity_seconds: None,
            backends,
        }
    }

    pub(crate) fn announce(services: &Services, id: u64, pod: &str, ready: bool) {
        let connection = Connection { id, peer: SocketAddr::from(([10, 0, 0, 9], 1)) };
        services.announced(connection, Announcement::Pod { pod: pod.to_owned(), ready });
    }

    fn close(services: &Services, id: u64) {
        services.closed(Connection { id, peer: SocketAddr::from(([10, 0, 0, 9], 1)) });
    }

    fn client(last_byte: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 1, last_byte))
    }

    fn pick(services: &Services, from: u8) -> Option<String> {
        services.pick(0, 80, Protocol::Tcp, client(from)).map(|address| address.to_string())
    }

    #[test]
    fn ready_pods_take_turns() {
        let services = Services::new(vec![service("web", vec![backend("a", 1), backend("b", 2)])]);
        assert_eq!(pick(&services, 1), None);
        announce(&services, 1, "a", true);
        announce(&services, 2, "b", false);
        assert_eq!(pick(&services, 1).unwrap(), "10.0.0.1:8001");
        assert_eq!(pick(&services, 1).unwrap(), "10.0.0.1:8001");
        announce(&services, 2, "b", true);
        let (first, second) = (pick(&services, 1).unwrap(), pick(&services, 1).unwrap());
        assert_ne!(first, second);
        close(&services, 1);
        assert_eq!(pick(&services, 1).unwrap(), "10.0.0.2:8002");
    }

    #[test]
    fn the_end_of_an_older_connection_changes_nothing() {
        let services = Services::new(vec![service("web", vec![backend("a", 1)])]);
        announce(&services, 1, "a", true);
        announce(&services, 2, "a", true);
        close(&services, 1);
        assert!(pick(&services, 1).is_some());
    }

    #[test]
    fn some_are_always_ready() {
        let mut fixed = backend("outside", 1);
        fixed.announced = false;
        assert!(pick(&Services::new(vec![service("db", vec![fixed])]), 1).is_some());
        let mut eager = service("web", vec![backend("a", 1)]);
        eager.publish_not_ready = true;
        assert!(pick(&Services::new(vec![eager]), 1).is_some());
    }

    #[test]
    fn a_pod_without_the_port_is_passed_over() {
        let services = Services::new(vec![service("web", vec![backend("a", 1)])]);
        announce(&services, 1, "a", true);
        assert_eq!(services.pick(0, 443, Protocol::Tcp, client(1)), None);
        assert_eq!(services.pick(0, 80, Protocol::Udp, client(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn affinity_lasts_as_long_as_it_is_used() {
        let mut sticky = service("web", vec![backend("a", 1), backend("b", 2)]);
        sticky.client_ip_affinity_seconds = Some(60);
        let services = Services::new(vec![sticky]);
        announce(&services, 1, "a", true);
        announce(&services, 2, "b", true);
        let mine = pick(&services, 1);
        let other = pick(&services, 2);
        assert_ne!(mine, other);
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(45)).await;
            assert_eq!(pick(&services, 1), mine);
        }
        assert_eq!(services.affinity.borrow().len(), 1, "the other has been forgotten");
        announce(&services, 1, "a", false);
        announce(&services, 2, "b", false);
        assert_eq!(pick(&services, 1), None);
    }
}
