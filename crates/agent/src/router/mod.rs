//! The role `router`: one HTTP port per machine; the host name says which environment.

mod claims;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use envctl_wire::{CONTROL_PORT, RouterConfig};
use hyper::StatusCode;
use tokio::sync::watch;

use self::claims::Claims;
use crate::health::{self, Health};
use crate::proxy::{self, Destination, Directory, Page, Secured};
use crate::{control, net};

/// Starts the listeners.
pub(crate) async fn run(config: RouterConfig) -> anyhow::Result<()> {
    let (health, reported) = watch::channel(Health::Starting);
    health::serve(reported)?;
    let claims = Arc::new(Claims::default());
    let listen = |address: IpAddr, port| {
        net::listen((address, port).into()).with_context(|| format!("cannot listen on port {port}"))
    };
    let all = Ipv4Addr::UNSPECIFIED.into();
    tokio::spawn(control::serve(listen(all, CONTROL_PORT)?, Arc::clone(&claims)));
    tokio::spawn(proxy::serve(listen(all, config.http_port)?, Arc::clone(&claims)));
    // Where the kernel has no IPv6 nobody can come that way either.
    if let Ok(listener) = listen(Ipv6Addr::UNSPECIFIED.into(), config.http_port) {
        tokio::spawn(proxy::serve(listener, claims));
    }
    health.send_replace(Health::Ready);
    Ok(())
}

impl Directory for Claims {
    fn admits(&self, _: SocketAddr) -> bool {
        true
    }

    async fn find(&self, host: &str, _: &str, _: IpAddr) -> Result<Destination, Page> {
        let to = self
            .upstream(host)
            .ok_or_else(|| Page { status: StatusCode::NOT_FOUND, text: self.overview(host) })?;
        Ok(Destination { to, path: None })
    }

    fn secured(&self) -> Secured<'_> {
        Secured::PassedOn
    }
}
