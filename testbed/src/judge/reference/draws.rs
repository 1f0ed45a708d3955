//! Which ports a NAT drew: what the reference reads and does not judge, because one draw proves nothing.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;

use super::NatView;
use crate::model::behavior::PortRange;
use crate::model::port_set::PortSet;

/// A port that a NAT drew for a connection, and what it had drawn before in the same trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The port.
    pub port: u16,
    /// What it was drawn from.
    pub pool: PortSet,
    /// How many ports were taken towards the same remote endpoint, so that they could not be drawn.
    pub taken: u32,
    /// How many different ports the same inside endpoint had had.
    pub of_same: u32,
    /// Whether this is one of them.
    pub is_of_same: bool,
    /// Whether it is the port of the inside endpoint itself.
    pub is_own: bool,
    /// How many different ports all inside endpoints had had.
    pub of_all: u32,
    /// Whether this is one of them.
    pub is_of_all: bool,
    /// The port before.
    pub before: Option<u16>,
}

/// The draws of one NAT in one trial.
#[derive(Debug, Default)]
pub(super) struct Draws {
    pub(super) all: Vec<Draw>,
    of_inside: HashMap<SocketAddrV4, HashSet<u16>>,
    seen: HashSet<u16>,
}

impl Draws {
    /// Notes the port of a connection from `inside` that had to get one by chance, where nothing but chance decides.
    pub(super) fn note(&mut self, nat: &NatView<'_>, (inside, port): (SocketAddrV4, u16), taken: u32) {
        let Some(ports) = nat.ports_of(*inside.ip()) else { return };
        let of_same = self.of_inside.entry(inside).or_default();
        let count = |ports: &HashSet<u16>| u32::try_from(ports.len()).unwrap_or(u32::MAX);
        self.all.push(Draw {
            port,
            pool: ports.unwrap_or_else(|| drawn_from(inside.port())),
            taken,
            of_same: count(of_same),
            is_of_same: of_same.contains(&port),
            is_own: port == inside.port(),
            of_all: count(&self.seen),
            is_of_all: self.seen.contains(&port),
            before: self.all.last().map(|draw| draw.port),
        });
        of_same.insert(port);
        self.seen.insert(port);
    }
}

/// The ports that the kernel draws from for a source port that it cannot or may not keep
/// (`nf_nat_l4proto_unique_tuple`).
pub(super) fn drawn_from(port: u16) -> PortSet {
    let range = match port {
        0..512 => PortRange { low: 1, high: 511 },
        512..1024 => PortRange { low: 600, high: 1023 },
        _ => PortRange { low: 1024, high: u16::MAX },
    };
    range.into()
}
