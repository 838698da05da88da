//! The network of an environment: a subnet that nobody else on this machine uses.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::engine::{EngineError, EngineReader, VerifiedEngine, found};
use envctl_model::labels;

/// Where subnets are taken from unless the user says otherwise: private addresses outside of the
/// ranges that Docker, Kubernetes and home routers take by default.
pub const DEFAULT_BASE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 64, 0, 0), 10);
/// The size of an environment's subnet.
pub const PREFIX: u8 = 20;

/// An environment's network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The name is taken by somebody else's network.
    #[error(
        "there is a network {name} already, and it is not this environment's; choose another name with --name"
    )]
    NotOurs {
        /// Its name.
        name: String,
    },
    /// No free subnet.
    #[error(
        "every /{PREFIX} subnet of {base} is in use on this machine; remove environments, or configure another base"
    )]
    Exhausted {
        /// Where we looked.
        base: Ipv4Net,
    },
}

/// An environment's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentNetwork {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// Whether it was made just now.
    pub created: bool,
}

/// How the addresses of an environment's subnet are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet(pub Ipv4Net);

impl Subnet {
    /// The Engine's own address: `.1`.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()) + 1)
    }

    /// Addresses that are given out one by one: from `.2` up to here, exclusively, is for
    /// containers with a fixed address. A quarter of the subnet.
    #[must_use]
    pub fn fixed(self) -> Ipv4Net {
        self.quarter(0)
    }

    /// Where the Engine takes addresses for containers that ask for none, so that they never hold
    /// one that is meant for a container with a fixed address.
    #[must_use]
    pub fn dynamic(self) -> Ipv4Net {
        self.quarter(1)
    }

    /// The half for virtual addresses: no container has one of these.
    #[must_use]
    pub fn virtual_addresses(self) -> Ipv4Net {
        let half = self.0.prefix_len() + 1;
        let start = u32::from(self.0.network()) + (1 << (32 - u32::from(half)));
        Ipv4Net::new_assert(Ipv4Addr::from(start), half)
    }

    fn quarter(self, which: u32) -> Ipv4Net {
        let quarter = self.0.prefix_len() + 2;
        let start = u32::from(self.0.network()) + which * (1 << (32 - u32::from(quarter)));
        Ipv4Net::new_assert(Ipv4Addr::from(start), quarter)
    }
}

/// What network is wanted.
#[derive(Debug, Clone)]
pub struct NetworkRequest<'a> {
    /// Its name.
    pub name: &'a str,
    /// The environment's identity.
    pub identity: &'a str,
    /// Labels beside the identity.
    pub labels: &'a HashMap<String, String>,
    /// Where to take the subnet from.
    pub base: Ipv4Net,
    /// Networks of the host that must not be covered ([`host_routes`]).
    pub taken: &'a [Ipv4Net],
}

/// Finds the environment's network or makes it.
///
/// # Errors
/// When the name belongs to a network that is not ours, no subnet is free, or the Engine does not
/// answer.
pub async fn ensure(
    engine: &VerifiedEngine,
    request: &NetworkRequest<'_>,
) -> Result<EnvironmentNetwork, NetworkError> {
    if let Some(network) = existing(engine.reader(), request).await? {
        return Ok(network);
    }
    let mut taken = request.taken.to_vec();
    taken.extend(subnets(engine.reader()).await?);
    for subnet in candidates(request.base, request.identity) {
        if taken.iter().any(|other| overlap(*other, subnet)) {
            continue;
        }
        match create(engine, request, Subnet(subnet)).await {
            Ok(id) => {
                let name = request.name.to_owned();
                return Ok(EnvironmentNetwork { name, id, subnet: Subnet(subnet), created: true });
            }
            Err(error) if error.to_string().contains("overlaps") => {}
            // Made by another run of the same `up` meanwhile, or by somebody else.
            Err(error) if error.is_conflict() => {
                if let Some(made) = existing(engine.reader(), request).await? {
                    return Ok(made);
                }
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(NetworkError::Exhausted { base: request.base })
}

/// Every subnet of `base` once, in an order that the identity decides: two environments begin at
/// different places, and the same one always at the same.
fn candidates(base: Ipv4Net, identity: &str) -> impl Iterator<Item = Ipv4Net> {
    let prefix = PREFIX.max(base.prefix_len());
    let count = 1_u32 << (prefix - base.prefix_len()).min(31);
    let digest = Sha256::digest(identity.as_bytes());
    let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    // Odd, and so without a common divisor with the count, a power of two.
    let stride = u32::from_be_bytes([digest[4], digest[5], digest[6], digest[7]]) | 1;
    (0..count).map(move |n| {
        let index = start.wrapping_add(stride.wrapping_mul(n)) % count;
        let address = u32::from(base.network()) + (index << (32 - u32::from(prefix)));
        Ipv4Net::new_assert(Ipv4Addr::from(address), prefix)
    })
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

async fn existing(
    reader: &EngineReader,
    request: &NetworkRequest<'_>,
) -> Result<Option<EnvironmentNetwork>, NetworkError> {
    let inspected = reader.docker().inspect_network(request.name, None).await;
    let Some(network) = found(inspected.map_err(reader.failed("looking for the environment's network")))?
    else {
        return Ok(None);
    };
    // `inspect` also takes prefixes of ids.
    if network.name.as_deref() != Some(request.name) {
        return Ok(None);
    }
    let ours =
        network.labels.as_ref().and_then(|l| l.get(labels::IDENTITY)).is_some_and(|i| i == request.identity);
    let subnet = network
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default()
        .into_iter()
        .find_map(|config| config.subnet?.parse().ok());
    match (ours, network.id, subnet) {
        (true, Some(id), Some(subnet)) => {
            let name = request.name.to_owned();
            Ok(Some(EnvironmentNetwork { name, id, subnet: Subnet(subnet), created: false }))
        }
        _ => Err(NetworkError::NotOurs { name: request.name.to_owned() }),
    }
}

async fn create(
    engine: &VerifiedEngine,
    request: &NetworkRequest<'_>,
    subnet: Subnet,
) -> Result<String, EngineError> {
    let mut marks = request.labels.clone();
    marks.insert(labels::IDENTITY.to_owned(), request.identity.to_owned());
    let wanted = NetworkCreateRequest {
        name: request.name.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.0.to_string()),
                gateway: Some(subnet.gateway().to_string()),
                ip_range: Some(subnet.dynamic().to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        labels: Some(marks),
        ..NetworkCreateRequest::default()
    };
    let created = engine.docker().create_network(wanted).await;
    Ok(created.map_err(engine.failed("making the environment's network"))?.id)
}

/// The IPv4 subnets of all networks of the Engine.
async fn subnets(reader: &EngineReader) -> Result<Vec<Ipv4Net>, EngineError> {
    let networks = reader
        .docker()
        .list_networks(None::<ListNetworksOptions>)
        .await
        .map_err(reader.failed("listing networks"))?;
    Ok(networks
        .into_iter()
        .filter_map(|network| network.ipam?.config)
        .flatten()
        .filter_map(|config| config.subnet?.parse().ok())
        .collect())
}

/// The IPv4 networks that this machine has a route to (a company's VPN, for instance), the default
/// route left out. Empty where the system does not tell.
#[must_use]
pub fn host_routes() -> Vec<Ipv4Net> {
    parse_routes(&std::fs::read_to_string("/proc/net/route").unwrap_or_default())
}

fn parse_routes(table: &str) -> Vec<Ipv4Net> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let address = u32::from_str_radix(fields.next()?, 16).ok()?.swap_bytes();
            let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
            (mask != 0).then(|| Ipv4Net::with_netmask(address.into(), mask.into()).ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn candidates_cover_the_base_once_and_start_at_a_place_of_their_own() {
        let all: Vec<_> = candidates(DEFAULT_BASE, "a").collect();
        assert_eq!(all.len(), 1024);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1024);
        assert!(all.iter().all(|net| DEFAULT_BASE.contains(net)));
        assert_eq!(all, candidates(DEFAULT_BASE, "a").collect::<Vec<_>>());
        assert_ne!(all[0], candidates(DEFAULT_BASE, "b").next().unwrap());
        let small = "192.168.7.0/24".parse().unwrap();
        assert_eq!(candidates(small, "a").collect::<Vec<_>>(), [small]);
    }

    #[test]
    fn a_subnet_is_divided_without_overlap() {
        let subnet = Subnet("10.64.16.0/20".parse().unwrap());
        assert_eq!(subnet.gateway().to_string(), "10.64.16.1");
        assert_eq!(subnet.fixed().to_string(), "10.64.16.0/22");
        assert_eq!(subnet.dynamic().to_string(), "10.64.20.0/22");
        assert_eq!(subnet.virtual_addresses().to_string(), "10.64.24.0/21");
    }

    #[test]
    fn routes_of_the_host_are_read_without_the_default_route() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                     eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n\
                     tun0 0000400A 00000000 0001 0 0 0 0000C0FF 0 0 0\n";
        assert_eq!(parse_routes(table), ["10.64.0.0/10".parse().unwrap()]);
        assert!(overlap("10.64.0.0/10".parse().unwrap(), "10.64.16.0/20".parse().unwrap()));
        assert!(!overlap("10.64.0.0/20".parse().unwrap(), "10.64.16.0/20".parse().unwrap()));
    }
}
