//! A NAT, packet by packet, as `docs/nat-behaviour.md` says it behaves: what it maps to which port, whom it lets in, and
//! what it answers. A model of its own, for these tests: it shares nothing with theory but the words of a declaration.

use std::collections::{HashMap, HashSet};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use testbed::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Mapping, Overloading, SynAfterSyn, Translation,
    UnsolicitedSyn,
};
use testbed::model::port_set::PortSet;

use crate::net::{Address, Endpoint, Kind, Packet};

/// A connection that the NAT follows.
#[derive(Debug, Clone, Copy)]
struct Entry {
    external: u16,
    /// The number of the last SYN from inside; a reset that answers another one is not believed.
    syn: u64,
    /// Whether the first SYN came from inside.
    from_inside: bool,
    /// Whether a SYN has come from the other side, too.
    both: bool,
}

/// What becomes of a packet from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// To this internal port.
    To(u16),
    /// The NAT answers it.
    Refused(Kind),
    /// It vanishes.
    Lost,
}

/// A NAT with one host behind it.
#[derive(Debug)]
pub(crate) struct Nat {
    behavior: Behavior,
    /// By internal port and remote endpoint.
    entries: HashMap<(u16, Endpoint), Entry>,
    /// The same, by external port.
    inside: HashMap<(u16, Endpoint), u16>,
    /// What a mapping depends on, and its external port: for NATs that remember.
    remembered: HashMap<(u16, Option<Address>, Option<u16>), u16>,
    /// To whom an external port belongs.
    owner: HashMap<u16, u16>,
    /// Addresses that were sent to from an external port.
    admitted: HashSet<(u16, Address)>,
    /// A counter's place in its pool.
    next: u32,
}

impl Nat {
    pub(crate) fn new(behavior: Behavior, rng: &mut ChaCha8Rng) -> Self {
        assert!(!behavior.addresses.are_arbitrary(), "a NAT has one address here");
        Self {
            behavior,
            entries: HashMap::new(),
            inside: HashMap::new(),
            remembered: HashMap::new(),
            owner: HashMap::new(),
            admitted: HashSet::new(),
            next: rng.random(),
        }
    }

    /// A packet of the host: its external port; `None` if it does not leave.
    pub(crate) fn outward(&mut self, packet: Packet, rng: &mut ChaCha8Rng) -> Option<u16> {
        let key = (packet.from, packet.to);
        if self.behavior.translation == Translation::Router {
            return Some(packet.from);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            if packet.kind == Kind::Syn {
                entry.syn = packet.syn;
                entry.both |= !entry.from_inside;
            }
            let external = entry.external;
            if packet.kind == Kind::Reset {
                self.forget(key, external);
            }
            return Some(external);
        }
        if packet.kind != Kind::Syn {
            return None;
        }
        let external = self.port(packet.from, packet.to, rng);
        self.admitted.insert((external, packet.to.address));
        self.owner.insert(external, packet.from);
        self.follow(key, Entry { external, syn: packet.syn, from_inside: true, both: false });
        Some(external)
    }

    /// The external port of a connection; the internal one where nothing is translated.
    pub(crate) fn external(&self, internal: u16, to: Endpoint) -> u16 {
        self.entries.get(&(internal, to)).map_or(internal, |entry| entry.external)
    }

    /// The internal port of a connection with this port of the peer; the external one where nothing is translated.
    pub(crate) fn internal(&self, external: u16, peer: usize, port: u16) -> Option<u16> {
        if self.behavior.translation == Translation::Router {
            return Some(external);
        }
        self.inside.get(&(external, Endpoint { address: Address::Peer(peer), port })).copied()
    }

    fn follow(&mut self, key: (u16, Endpoint), entry: Entry) {
        self.inside.insert((entry.external, key.1), key.0);
        self.entries.insert(key, entry);
    }

    fn forget(&mut self, key: (u16, Endpoint), external: u16) {
        self.entries.remove(&key);
        self.inside.remove(&(external, key.1));
    }

    /// The external port of a new connection.
    fn port(&mut self, internal: u16, to: Endpoint, rng: &mut ChaCha8Rng) -> u16 {
        if self.behavior.translation != Translation::Nat {
            return internal;
        }
        let depends_on = match self.behavior.mapping {
            Mapping::EndpointIndependent => (internal, None, None),
            Mapping::AddressDependent => (internal, Some(to.address), None),
            Mapping::AddressAndPortDependent => (internal, Some(to.address), Some(to.port)),
        };
        if let Some(port) = self.remembered.get(&depends_on) {
            return *port;
        }
        let port = self.allocate(internal, to, rng);
        // A drawn or counted port of a connection is gone with the connection; everything else comes again.
        let fleeting = self.behavior.mapping == Mapping::AddressAndPortDependent
            && matches!(self.behavior.allocation, Allocation::Random | Allocation::Sequential { .. });
        if !fleeting {
            self.remembered.insert(depends_on, port);
        }
        port
    }

    fn allocate(&mut self, internal: u16, to: Endpoint, rng: &mut ChaCha8Rng) -> u16 {
        loop {
            let port = match self.behavior.allocation {
                Allocation::Preserving if self.keeps(internal) => return internal,
                Allocation::Preserving if self.behavior.collision == Collision::Sequential => self.count(1),
                Allocation::Preserving | Allocation::Random | Allocation::Hash { .. } => self.draw(rng),
                Allocation::Sequential { step } => self.count(step),
            };
            // A hash gives what it gives; others look for a free one.
            let hashed = matches!(self.behavior.allocation, Allocation::Hash { .. });
            let taken = match self.behavior.overloading {
                Overloading::Off => self.owner.contains_key(&port),
                Overloading::On => self.inside.contains_key(&(port, to)),
            };
            if hashed || !taken {
                return port;
            }
        }
    }

    /// Whether a port is kept: the first time, if the pool has it and a counter has given it to nobody.
    fn keeps(&self, internal: u16) -> bool {
        let is_in_pool = self.ports().is_none_or(|ports| ports.contains(internal));
        let is_taken = self.behavior.overloading == Overloading::Off && self.owner.contains_key(&internal);
        is_in_pool && !is_taken && !self.owner.values().any(|owner| *owner == internal)
    }

    fn count(&mut self, step: i16) -> u16 {
        let ports = self.ports().expect("a counter has ports");
        self.next = self.next.wrapping_add_signed(i32::from(step));
        ports.nth(self.next % ports.size()).expect("a port of the pool")
    }

    /// The first host's ports; `None` for the kernel's own.
    fn ports(&self) -> Option<PortSet> {
        self.behavior.pool.parts().into_iter().next().flatten()
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> u16 {
        match self.ports() {
            None => 1024 + rng.random::<u16>() % 64_512,
            Some(ports) => ports.nth(rng.random_range(0..ports.size())).expect("a port of the pool"),
        }
    }

    /// A packet from outside.
    pub(crate) fn inward(&mut self, packet: Packet, sender: Endpoint) -> Passage {
        if self.behavior.translation == Translation::Router {
            return Passage::To(packet.to.port);
        }
        let external = packet.to.port;
        let Some(internal) = self.inside.get(&(external, sender)).copied() else {
            return if packet.kind == Kind::Syn { self.unsolicited(packet, sender) } else { Passage::Lost };
        };
        let key = (internal, sender);
        let entry = self.entries.get_mut(&key).expect("both tables hold the same");
        match packet.kind {
            Kind::Syn if entry.from_inside && !entry.both => match self.behavior.syn_after_syn {
                SynAfterSyn::Accept => {
                    entry.both = true;
                    Passage::To(internal)
                }
                SynAfterSyn::Drop => Passage::Lost,
                SynAfterSyn::Reset => {
                    self.forget(key, external);
                    Passage::Refused(Kind::Reset)
                }
            },
            Kind::Reset if entry.from_inside && !entry.both && packet.syn != entry.syn => Passage::Lost,
            Kind::Reset => {
                self.forget(key, external);
                Passage::To(internal)
            }
            Kind::Syn | Kind::SynAck | Kind::Ack | Kind::Unreachable | Kind::TimeExceeded => {
                Passage::To(internal)
            }
        }
    }

    /// A SYN for which there is no connection.
    fn unsolicited(&mut self, packet: Packet, sender: Endpoint) -> Passage {
        let external = packet.to.port;
        let let_in = match self.behavior.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.admitted.contains(&(external, sender.address)),
            Filtering::AddressAndPortDependent => false,
        };
        if let (true, Some(internal)) = (let_in, self.owner.get(&external).copied()) {
            self.follow(
                (internal, sender),
                Entry { external, syn: packet.syn, from_inside: false, both: false },
            );
            return Passage::To(internal);
        }
        match self.behavior.unsolicited_syn {
            // Six seconds are longer than any trial here.
            UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds => Passage::Lost,
            UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel => Passage::Refused(Kind::Reset),
            UnsolicitedSyn::Icmp(_) => Passage::Refused(Kind::Unreachable),
        }
    }
}
