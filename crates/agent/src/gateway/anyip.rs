//! AnyIP: one route makes a whole range of addresses this container's own, so that the kernel
//! answers ARP for each and lets programs listen on it.

use std::net::Ipv4Addr;

use anyhow::Context;
use ipnet::Ipv4Net;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteScope, RouteType};

/// The index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

/// The routing table of the addresses that are this machine's own.
const LOCAL_TABLE: u32 = 255;

/// `ip route replace local RANGE dev lo`; needs the capability NET_ADMIN.
pub(super) async fn claim(range: Ipv4Net) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("netlink")?;
    let connection = tokio::spawn(connection);
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .table_id(LOCAL_TABLE)
        .destination_prefix(range.network(), range.prefix_len())
        .output_interface(LOOPBACK)
        .build();
    let added = handle.route().add(route).replace().execute().await;
    connection.abort();
    added.with_context(|| format!("cannot make {range} local (is the capability NET_ADMIN there?)"))
}
