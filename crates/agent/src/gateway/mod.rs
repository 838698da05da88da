//! The role `gateway`: what a cluster's network is to one environment.
//!
//! ```text
//! anyip       makes the virtual addresses ours
//! services    which pods are ready, and whose turn it is
//! tcp, udp    ClusterIPs, published ports and backing services
//! zone        cluster DNS: what the names mean
//! nameserver  cluster DNS: the sockets
//! routes      Ingress
//! ```

mod anyip;
mod nameserver;
mod routes;
mod services;
mod tcp;
mod udp;
mod zone;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use envctl_wire::{Announcement, CONTROL_PORT, GatewayConfig, Protocol};
use tokio::sync::watch;

use self::nameserver::Nameserver;
use self::routes::Ingress;
use self::services::Services;
use self::tcp::Upstream;
use self::zone::Zone;
use crate::control::{self, Announcer};
use crate::health::{self, Health};
use crate::resolver::Resolver;
use crate::{net, proxy};

/// Starts all listeners.
pub(crate) async fn run(config: GatewayConfig) -> anyhow::Result<()> {
    let (health, reported) = watch::channel(Health::Starting);
    health::serve(reported)?;
    anyip::claim(config.vips).await?;
    let resolver = Resolver::from_system()?;
    let services = Arc::new(Services::new(config.services.clone()));

    let control = listen(SocketAddr::from((config.address, CONTROL_PORT)))?;
    tokio::spawn(control::serve(control, Arc::clone(&services)));
    serve_cluster_ips(&services)?;
    serve_published(&config, &services)?;
    serve_backing(&config, &resolver)?;
    serve_dns(&config, &services, &resolver)?;
    serve_http(&config, services, resolver.clone())?;
    announce_hosts(&config, resolver);
    health.send_replace(Health::Ready);
    Ok(())
}

fn listen(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    net::listen(address).with_context(|| format!("cannot listen on {address}"))
}

fn serve_cluster_ips(services: &Arc<Services>) -> anyhow::Result<()> {
    for (index, service) in services.iter() {
        let Some(vip) = service.vip else { continue };
        for port in &service.ports {
            serve(services, index, port.port, port.protocol, (vip, port.port).into())?;
        }
    }
    Ok(())
}

fn serve_published(config: &GatewayConfig, services: &Arc<Services>) -> anyhow::Result<()> {
    for published in &config.published {
        let found = services.iter().find(|(_, service)| {
            service.name == published.service && service.namespace == published.namespace
        });
        let Some((index, _)) = found else {
            bail!("there is no Service {}/{}", published.namespace, published.service);
        };
        // Docker leads published ports to the network that it likes best, which may be the router's.
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, published.listen));
        serve(services, index, published.port, published.protocol, address)?;
    }
    Ok(())
}

/// Listens on `address` for a port of the Service with this index.
fn serve(
    services: &Arc<Services>,
    service: usize,
    port: u16,
    protocol: Protocol,
    address: SocketAddr,
) -> anyhow::Result<()> {
    match protocol {
        Protocol::Tcp => {
            let upstream = Upstream::Service { services: Arc::clone(services), service, port };
            tokio::spawn(tcp::serve(listen(address)?, upstream));
        }
        Protocol::Udp => {
            let socket =
                net::listen_udp(address).with_context(|| format!("cannot listen on {address}/UDP"))?;
            tokio::spawn(udp::serve(socket, Arc::clone(services), service, port));
        }
    }
    Ok(())
}

fn serve_backing(config: &GatewayConfig, resolver: &Resolver) -> anyhow::Result<()> {
    for backing in &config.backing {
        for &port in &backing.ports {
            let upstream =
                Upstream::Host { resolver: resolver.clone(), host: backing.upstream.clone(), port };
            tokio::spawn(tcp::serve(listen((backing.vip, port).into())?, upstream));
        }
    }
    Ok(())
}

fn serve_dns(config: &GatewayConfig, services: &Arc<Services>, resolver: &Resolver) -> anyhow::Result<()> {
    let address = SocketAddr::from((config.address, 53));
    let socket = net::listen_udp(address).with_context(|| format!("cannot listen on {address}/UDP"))?;
    let zone = Zone::new(config, Arc::clone(services)).context("the names of the cluster")?;
    let nameserver = Arc::new(Nameserver::new(zone, resolver.clone()));
    tokio::spawn(nameserver::serve_tcp(listen(address)?, Arc::clone(&nameserver)));
    tokio::spawn(nameserver::serve_udp(socket, nameserver));
    Ok(())
}

fn serve_http(config: &GatewayConfig, services: Arc<Services>, resolver: Resolver) -> anyhow::Result<()> {
    let ingress = Ingress::new(config, services, resolver)?;
    // The router comes in from a network of its own, on an address that Docker chose.
    let listener = listen((Ipv4Addr::UNSPECIFIED, config.http_port).into())?;
    tokio::spawn(proxy::serve(listener, Arc::new(ingress)));
    Ok(())
}

fn announce_hosts(config: &GatewayConfig, resolver: Resolver) {
    let Some(router) = config.router.clone() else {
        return;
    };
    let announcement = Announcement::Hosts {
        environment: config.environment.clone(),
        hosts: routes::hosts(&config.routes),
        port: config.http_port,
    };
    // The hosts do not change while the gateway lives, so nobody keeps the announcer.
    let _ = Announcer::start(announcement, move || {
        let (router, resolver) = (router.clone(), resolver.clone());
        async move {
            let Some((host, port)) = router.rsplit_once(':') else {
                bail!("the router `{router}` is not host:port");
            };
            let address = IpAddr::V4(resolver.address(host).await?);
            Ok(SocketAddr::new(address, port.parse().context("the router's port")?))
        }
    });
}
