//! Things that cannot be taken back from whoever holds them: sockets of a probe, bytes that wait for a reader.
//!
//! An address may hold no more than is free: one network alone gets half of all, two a third each, and so on. So there is
//! always something left for a newcomer, without a look at who holds how much.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::rendezvous::server::network::Network;
use crate::rendezvous::server::shares::Places;
use crate::sync;

/// How much is held by whom: pure.
#[derive(Debug)]
struct Quota {
    places: Places,
    held: usize,
    networks: HashMap<Network, usize>,
    addresses: HashMap<Ipv4Addr, usize>,
}

impl Quota {
    fn new(places: Places) -> Self {
        Self { places, held: 0, networks: HashMap::new(), addresses: HashMap::new() }
    }

    fn take(&mut self, address: Ipv4Addr, amount: usize) -> bool {
        let network = Network::of(address);
        let free = self.places.total - self.held;
        let near = self.networks.get(&network).copied().unwrap_or(0) + amount;
        let own = self.addresses.get(&address).copied().unwrap_or(0) + amount;
        let may = near <= self.places.per_network.min(free) && own <= self.places.per_address;
        if may {
            self.held += amount;
            self.networks.insert(network, near);
            self.addresses.insert(address, own);
        }
        may
    }

    fn give_back(&mut self, address: Ipv4Addr, amount: usize) {
        self.held -= amount;
        subtract(&mut self.networks, Network::of(address), amount);
        subtract(&mut self.addresses, address, amount);
    }
}

fn subtract<K: Eq + Hash>(held: &mut HashMap<K, usize>, key: K, amount: usize) {
    if let std::collections::hash_map::Entry::Occupied(mut entry) = held.entry(key) {
        *entry.get_mut() -= amount;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

/// A quota that many tasks take from.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Mutex<Quota>>);

impl Pool {
    /// Nothing is held.
    pub(super) fn new(places: Places) -> Self {
        Self(Arc::new(Mutex::new(Quota::new(places))))
    }

    /// So much for this address, if it may have that.
    pub(super) fn take(&self, address: Ipv4Addr, amount: usize) -> Option<QuotaHold> {
        self.lock().take(address, amount).then(|| QuotaHold { pool: self.clone(), address, amount })
    }

    /// How much is held by all together.
    pub(super) fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, Quota> {
        sync::lock(&self.0)
    }
}

/// What was taken; given back when dropped.
#[derive(Debug)]
pub(super) struct QuotaHold {
    pool: Pool,
    address: Ipv4Addr,
    amount: usize,
}

impl Drop for QuotaHold {
    fn drop(&mut self) {
        self.pool.lock().give_back(self.address, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(network: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, network, host)
    }

    #[test]
    fn one_network_gets_half_two_get_a_third_each_and_a_newcomer_always_something() {
        let pool = Pool::new(Places { total: 60, per_network: 60, per_address: 60 });
        let mut holds = Vec::new();
        for networks in 1..=5u8 {
            drop(std::mem::take(&mut holds));
            let mut held = vec![0; networks.into()];
            // All of them ask again and again.
            for _ in 0..60 {
                for network in 0..networks {
                    if let Some(hold) = pool.take(address(network, 1), 1) {
                        held[usize::from(network)] += 1;
                        holds.push(hold);
                    }
                }
            }
            let share = 60 / (usize::from(networks) + 1);
            assert!(held.iter().all(|held| *held == share), "{held:?}, expected {share} each");
            assert!(pool.take(address(99, 1), share).is_some(), "a newcomer gets as much");
        }
    }

    #[test]
    fn the_limits_of_an_address_and_of_a_network_hold() {
        let pool = Pool::new(Places { total: 100, per_network: 6, per_address: 4 });
        let first = pool.take(address(1, 1), 4);
        assert!(first.is_some() && pool.take(address(1, 1), 1).is_none());
        let second = pool.take(address(1, 2), 2);
        assert!(second.is_some() && pool.take(address(1, 2), 1).is_none());
        drop((first, second));
        assert_eq!(pool.held(), 0);
        assert!(pool.0.lock().unwrap().networks.is_empty() && pool.0.lock().unwrap().addresses.is_empty());
    }
}
