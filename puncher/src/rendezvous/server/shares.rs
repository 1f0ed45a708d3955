//! Who may hold a place when places run out, and who makes room: pure, and never a look at every holder.
//!
//! Places are shared between networks (/24), and within a network between its addresses. While there is room, an address
//! may hold as many as its own limit says. When all places are held, a newcomer replaces a client of the network that
//! holds most, there of the address that holds most, if that network holds at least two more than the newcomer's. The
//! largest holder is always above the average, so nobody is evicted whose address is within its share, and the share
//! shrinks with the number of addresses.
//!
//! In the address that makes room, clients that have not joined a meeting go first. Where everybody holds as little, the
//! oldest client that has not joined goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::rendezvous::lobby::ConnectionId;
use crate::rendezvous::server::network::Network;

/// Places that a network gets at the expense of the oldest stranger, even if everybody holds as little: two peers behind
/// one NAT connect to each endpoint of the server, some of them twice, and a few times more to measure. Of few places it is
/// a quarter.
const LEAST_SHARE: usize = 16;

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) total: usize,
    pub(super) per_network: usize,
    pub(super) per_address: usize,
}

/// Whether a client has a right to stay that a mere connection has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientRank {
    /// Connected, and nothing more.
    Stranger,
    /// In a meeting.
    Member,
}

/// The answer to a new client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A place is free.
    Room,
    /// This client has to leave first.
    Instead(ConnectionId),
    /// No place can be had.
    Full,
}

/// What being a member says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// Nothing: everybody may join.
    Anybody,
    /// That it has shown a token. No member makes room while there are strangers that can.
    Proven,
}

/// Who holds places. Every operation takes logarithmic time, or that much on average.
#[derive(Debug)]
pub(super) struct Shares {
    places: Places,
    members: Members,
    held: usize,
    networks: HashMap<Network, NetworkClients>,
    by_size: BTreeSet<(usize, Network)>,
    /// Strangers in the order in which they came. Some may have gained a member beside them since.
    strangers: BTreeMap<ConnectionId, Ipv4Addr>,
}

/// The addresses of one network.
#[derive(Debug, Default)]
struct NetworkClients {
    held: usize,
    addresses: HashMap<Ipv4Addr, Clients>,
    by_size: BTreeSet<(usize, Ipv4Addr)>,
}

/// The clients of one address, oldest first.
#[derive(Debug, Default)]
struct Clients {
    strangers: BTreeSet<ConnectionId>,
    members: BTreeSet<ConnectionId>,
}

impl Clients {
    fn held(&self) -> usize {
        self.strangers.len() + self.members.len()
    }

    fn first_to_leave(&self) -> Option<ConnectionId> {
        self.strangers.first().or(self.members.first()).copied()
    }
}

impl NetworkClients {
    fn held_by(&self, address: Ipv4Addr) -> usize {
        self.addresses.get(&address).map_or(0, Clients::held)
    }

    /// Of the address that holds most.
    fn first_to_leave(&self) -> Option<ConnectionId> {
        let (_, address) = self.by_size.last()?;
        self.addresses.get(address)?.first_to_leave()
    }

    /// Of the address that holds most, if it holds at least two more than this many.
    fn above(&self, held: usize) -> Option<ConnectionId> {
        let (most, _) = self.by_size.last()?;
        if *most > held + 1 { self.first_to_leave() } else { None }
    }

    /// Changes the clients of one address and keeps the count of them.
    fn change<T>(&mut self, address: Ipv4Addr, change: impl FnOnce(&mut Clients) -> T) -> T {
        let clients = self.addresses.entry(address).or_default();
        let before = clients.held();
        let changed = change(clients);
        let after = clients.held();
        if after == 0 {
            self.addresses.remove(&address);
        }
        self.held = self.held + after - before;
        self.by_size.remove(&(before, address));
        if after > 0 {
            self.by_size.insert((after, address));
        }
        changed
    }
}

impl Shares {
    /// All places are free.
    pub(super) fn new(places: Places, members: Members) -> Self {
        Self {
            places,
            members,
            held: 0,
            networks: HashMap::new(),
            by_size: BTreeSet::new(),
            strangers: BTreeMap::new(),
        }
    }

    /// Whether a newcomer from this address gets a place. Whoever has to leave for it must be removed before the newcomer
    /// is added.
    pub(super) fn admit(&mut self, address: Ipv4Addr) -> Verdict {
        let network = Network::of(address);
        let neighbours = self.networks.get(&network);
        let near = neighbours.map_or(0, |neighbours| neighbours.held);
        let own = neighbours.map_or(0, |neighbours| neighbours.held_by(address));
        if own >= self.places.per_address {
            return Verdict::Full;
        }
        let beside = neighbours.and_then(|neighbours| neighbours.above(own));
        if near >= self.places.per_network {
            return beside.map_or(Verdict::Full, Verdict::Instead);
        }
        if self.held < self.places.total {
            return Verdict::Room;
        }
        let least = LEAST_SHARE.min(self.places.total / 4).max(1);
        let large = self.largest_above(near.max(least - 1));
        let stranger = |id: &ConnectionId| self.strangers.contains_key(id);
        let first = large.filter(|id| self.members == Members::Anybody || stranger(id));
        let oldest = if first.is_none() && near < least { self.oldest_stranger() } else { None };
        let largest = first.or(oldest).or(large).or_else(|| self.largest_above(near));
        let victim = largest.or(beside).or_else(|| self.clients(address)?.strangers.first().copied());
        victim.map_or(Verdict::Full, Verdict::Instead)
    }

    /// Somebody of the network that holds most, if it holds at least two more than this many.
    fn largest_above(&self, near: usize) -> Option<ConnectionId> {
        let (most, network) = self.by_size.last()?;
        if *most <= near + 1 {
            return None;
        }
        self.networks.get(network)?.first_to_leave()
    }

    /// The oldest stranger whose address has no member.
    fn oldest_stranger(&mut self) -> Option<ConnectionId> {
        loop {
            let (id, from) = self.strangers.first_key_value().map(|(id, from)| (*id, *from))?;
            if self.clients(from).is_none_or(|clients| clients.members.is_empty()) {
                return Some(id);
            }
            // Its address has joined a meeting: this may be the connection that holds a mapping for it.
            self.strangers.remove(&id);
        }
    }

    fn clients(&self, address: Ipv4Addr) -> Option<&Clients> {
        self.networks.get(&Network::of(address))?.addresses.get(&address)
    }

    /// Gives a place away; [`Shares::admit`] has been asked.
    pub(super) fn add(&mut self, address: Ipv4Addr, id: ConnectionId, rank: ClientRank) {
        self.change(address, |clients| match rank {
            ClientRank::Stranger => clients.strangers.insert(id),
            ClientRank::Member => clients.members.insert(id),
        });
        if rank == ClientRank::Stranger {
            self.strangers.insert(id, address);
        }
    }

    /// A stranger has joined a meeting.
    pub(super) fn promote(&mut self, address: Ipv4Addr, id: ConnectionId) {
        self.strangers.remove(&id);
        self.change(address, |clients| {
            if clients.strangers.remove(&id) {
                clients.members.insert(id);
            }
        });
    }

    /// Takes a place back, if this client holds one.
    pub(super) fn remove(&mut self, address: Ipv4Addr, id: ConnectionId) {
        self.strangers.remove(&id);
        self.change(address, |clients| clients.strangers.remove(&id) || clients.members.remove(&id));
    }

    fn change<T>(&mut self, address: Ipv4Addr, change: impl FnOnce(&mut Clients) -> T) -> T {
        let network = Network::of(address);
        let neighbours = self.networks.entry(network).or_default();
        let before = neighbours.held;
        let changed = neighbours.change(address, change);
        let after = neighbours.held;
        if after == 0 {
            self.networks.remove(&network);
        }
        self.held = self.held + after - before;
        self.by_size.remove(&(before, network));
        if after > 0 {
            self.by_size.insert((after, network));
        }
        changed
    }
}

#[cfg(test)]
mod tests;
