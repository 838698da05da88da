//! Addresses: the lower half of the network belongs to pods, the upper to Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::error::SubnetFull;
use crate::names::stable_hash;

/// How a network is divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Division {
    subnet: Ipv4Net,
}

/// Docker's bridge has the first address, our gateway the second.
const GATEWAY_OFFSET: u32 = 2;

impl Division {
    pub(crate) fn of(subnet: Ipv4Net) -> Self {
        Self { subnet: subnet.trunc() }
    }

    fn base(self) -> u32 {
        u32::from(self.subnet.network())
    }

    fn half(self) -> u32 {
        u32::from(self.subnet.broadcast()).wrapping_sub(self.base()) / 2 + 1
    }

    /// The host's own address in the network.
    pub(crate) fn host(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base().saturating_add(1))
    }

    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base().saturating_add(GATEWAY_OFFSET))
    }

    /// The upper half.
    pub(crate) fn vips(self) -> Ipv4Net {
        let prefix = (self.subnet.prefix_len() + 1).min(32);
        Ipv4Net::new_assert(Ipv4Addr::from(self.base().saturating_add(self.half())), prefix)
    }

    pub(crate) fn pods(self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Ipv4Addr>, SubnetFull> {
        self.assign(names, "pods", GATEWAY_OFFSET + 1, self.half())
    }

    pub(crate) fn services(self, names: &BTreeSet<String>) -> Result<BTreeMap<String, Ipv4Addr>, SubnetFull> {
        // The last address is the broadcast address.
        self.assign(names, "services", self.half(), self.half().saturating_mul(2) - 1)
    }

    /// Each name takes the place its hash points at, or the next free one: a name more or less
    /// rarely moves another, so that few pods are recreated when one is added.
    fn assign(
        self,
        names: &BTreeSet<String>,
        purpose: &'static str,
        from: u32,
        to: u32,
    ) -> Result<BTreeMap<String, Ipv4Addr>, SubnetFull> {
        let available = to.saturating_sub(from);
        if names.len() > available as usize {
            return Err(SubnetFull {
                subnet: self.subnet,
                purpose,
                available: available as usize,
                needed: names.len(),
            });
        }
        let mut taken = BTreeSet::new();
        let mut assigned = BTreeMap::new();
        for name in names {
            // The remainder is below `available`, which is a u32.
            let mut place = u32::try_from(stable_hash(name) % u64::from(available)).unwrap_or_default();
            while !taken.insert(place) {
                place = (place + 1) % available;
            }
            assigned.insert(name.clone(), Ipv4Addr::from(self.base() + from + place));
        }
        Ok(assigned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> BTreeSet<String> {
        (0..count).map(|n| format!("pod-{n}")).collect()
    }

    #[test]
    fn halves_do_not_overlap() {
        let division = Division::of("172.30.4.9/24".parse().expect("a network"));
        assert_eq!(division.gateway().to_string(), "172.30.4.2");
        assert_eq!(division.vips().to_string(), "172.30.4.128/25");
        let pods = division.pods(&names(125)).expect("fits");
        assert_eq!(pods.values().min().map(ToString::to_string).as_deref(), Some("172.30.4.3"));
        assert_eq!(pods.values().max().map(ToString::to_string).as_deref(), Some("172.30.4.127"));
        assert_eq!(pods.values().collect::<BTreeSet<_>>().len(), 125);
        let services = division.services(&names(127)).expect("fits");
        assert_eq!(services.values().max().map(ToString::to_string).as_deref(), Some("172.30.4.254"));
        assert!(division.pods(&names(126)).is_err());
    }

    #[test]
    fn one_more_pod_moves_few_others() {
        let division = Division::of("172.30.0.0/16".parse().expect("a network"));
        let before = division.pods(&names(50)).expect("fits");
        let after = division.pods(&names(51)).expect("fits");
        assert!(before.iter().filter(|(name, address)| after[*name] != **address).count() <= 1);
    }

    #[test]
    fn tiny_networks_are_errors_not_panics() {
        for prefix in 28..=32 {
            let division = Division::of(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), prefix));
            assert!(division.pods(&names(20)).is_err());
            let _ = (division.vips(), division.services(&names(1)), division.pods(&names(0)));
        }
    }
}
