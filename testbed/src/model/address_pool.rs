//! The external addresses of a NAT, or the one address of anybody else: consecutive ones from the first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use crate::model::behavior::{Behavior, ExternalAddresses, Translation};
use crate::model::topology::NodeName;

/// Consecutive addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressPool {
    /// The first. It is the one that a node is called by.
    pub first: Ipv4Addr,
    /// How many there are.
    pub count: u8,
}

impl AddressPool {
    /// All of them, in their order.
    pub fn iter(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.first);
        (0..u32::from(self.count)).map(move |n| Ipv4Addr::from(first.wrapping_add(n)))
    }

    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address).wrapping_sub(u32::from(self.first)) < u32::from(self.count)
    }

    /// The last one.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first).wrapping_add(u32::from(self.count.max(1)) - 1))
    }
}

impl From<Ipv4Addr> for AddressPool {
    fn from(first: Ipv4Addr) -> Self {
        Self { first, count: 1 }
    }
}

/// `192.0.2.2`, or `192.0.2.2-192.0.2.4`.
impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 | 1 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last()),
        }
    }
}

/// What the addresses of a lab depend on beside its topology: what its NATs do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NatAddressing {
    /// The NATs that translate nothing, so that what lies behind them has public addresses.
    pub transparent: BTreeSet<NodeName>,
    /// How many external addresses a NAT has, where it has several.
    pub pools: BTreeMap<NodeName, u8>,
}

impl NatAddressing {
    /// That of these NATs.
    #[must_use]
    pub fn of<'a>(nats: impl IntoIterator<Item = (&'a NodeName, &'a Behavior)>) -> Self {
        let mut addressing = Self::default();
        for (node, nat) in nats {
            if nat.translation != Translation::Nat {
                addressing.transparent.insert(node.clone());
            }
            if nat.addresses != ExternalAddresses::ONE {
                addressing.pools.insert(node.clone(), nat.addresses.count);
            }
        }
        addressing
    }

    /// How many addresses a node has on its way up.
    #[must_use]
    pub fn count(&self, node: &NodeName) -> u8 {
        self.pools.get(node).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_holds_its_addresses_and_no_others() {
        let pool = AddressPool { first: [192, 0, 2, 2].into(), count: 3 };
        assert_eq!(pool.to_string(), "192.0.2.2-192.0.2.4");
        let held: Vec<u8> = (0..=255).filter(|n| pool.contains([192, 0, 2, *n].into())).collect();
        assert_eq!(held, [2, 3, 4]);
        assert!(pool.iter().all(|address| pool.contains(address)) && pool.iter().count() == 3);
        let one = AddressPool::from(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((one.to_string(), one.last()), ("10.0.0.1".to_owned(), one.first));
    }
}
