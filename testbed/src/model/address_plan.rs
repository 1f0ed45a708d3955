//! Names to addresses, always the same: every device, MAC address, neighbour and route of a topology.
//!
//! | network | prefix |
//! |---|---|
//! | rendezvous server, on the core | 203.0.113.1 and .2 (TEST-NET-3) |
//! | the first two nodes on the core | 192.0.2.0/24, 198.51.100.0/24 (TEST-NET-1 and -2) |
//! | further public networks | 198.18.N.0/24 (RFC 2544) |
//! | behind a NAT, carrying another NAT | 100.64.N.0/24 (RFC 6598) |
//! | behind a NAT | 10.0.N.0/24 (RFC 1918) |
//!
//! These are the ranges of the documentation; a suite may choose others (`addresses.rs`). The harness' own server stays.
//!
//! In each network the upper node is .1 and the others follow from .2 in the order of their names; a NAT with several
//! external addresses has as many in a row. Devices are called
//! `eth0` (a host's), `wan` (a NAT's or router's way up), `lan0`, `lan1`, … (a NAT's ways down) and `to-NAME` (a
//! router's or switch's ways down). Users write their own rulesets against these names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::model::address_pool::{AddressPool, NatAddressing};
use crate::model::addresses::NetworkUse;
use crate::model::conditions::LinkConditions;
use crate::model::topology::{NodeKind, NodeName, Topology, TopologyError};

/// First endpoint of the rendezvous server.
pub const RENDEZVOUS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 31000);
/// Second endpoint of the rendezvous server: another address and another port.
pub const RENDEZVOUS_ALT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 2), 31001);

/// The addresses of the harness' own server; programs know others where a suite chooses its addresses.
const OWN_SERVER: [Ipv4Addr; 2] = [*RENDEZVOUS.ip(), *RENDEZVOUS_ALT.ip()];

/// The last octet of the broadcast address of each network, which is a /24.
const BROADCAST: u32 = 255;

/// Where the connections of neighbours go: discard (RFC 863), and nobody listens there.
pub const DISCARD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 9);

/// Everything that `lab` needs to build a topology.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressPlan {
    /// What each node gets.
    pub nodes: BTreeMap<NodeName, NodePlan>,
    /// All veth links; the index is the number that frames carry.
    pub links: Vec<LinkPlan>,
}

/// What one node gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePlan {
    /// Its network devices, the way up first.
    pub devices: Vec<DevicePlan>,
    /// Its routes.
    pub routes: Vec<RoutePlan>,
    /// Further addresses, on the loopback device.
    pub loopback: Vec<Ipv4Addr>,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePlan {
    /// Name of the device.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its address; `None` for the ports of a switch, which are bridged.
    pub address: Option<Network>,
    /// How many addresses it has, from that one on: several where they are the pool of a NAT.
    pub addresses: u8,
    /// Everybody else on this network, so that nobody asks by ARP.
    pub neighbours: Vec<(Ipv4Addr, Mac)>,
}

impl DevicePlan {
    /// All its addresses.
    #[must_use]
    pub fn pool(&self) -> Option<AddressPool> {
        Some(AddressPool { first: self.address?.address, count: self.addresses })
    }
}

/// A MAC address.
pub type Mac = [u8; 6];

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the prefix in bits, 0 to 32.
    pub prefix: u8,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutePlan {
    /// The destination; 0.0.0.0/0 is the default route.
    pub to: Network,
    /// The next hop.
    pub via: Ipv4Addr,
}

/// A veth link.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkPlan {
    /// The node further from the core.
    pub lower: NodeName,
    /// Its device: an index into its devices.
    pub lower_device: usize,
    /// The node nearer to the core.
    pub upper: NodeName,
    /// Its device: an index into its devices.
    pub upper_device: usize,
    /// `Some` for a wire.
    pub wire: Option<LinkConditions>,
}

impl Network {
    /// The network that the address lies in, with all host bits zero.
    #[must_use]
    pub fn base(self) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        Self { address: Ipv4Addr::from(u32::from(self.address) & mask), prefix: self.prefix }
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self { address, prefix: self.prefix }.base() == self.base()
    }
}

/// One IP network of a topology: the links that share it.
#[derive(Debug)]
struct Segment {
    base: Ipv4Addr,
    upper: NodeName,
    members: Vec<NodeName>,
}

impl AddressPlan {
    /// Plans `topology` with these NATs.
    ///
    /// # Errors
    /// Whatever [`Topology::check`] finds.
    pub fn new(topology: &Topology, nats: &NatAddressing) -> Result<Self, TopologyError> {
        topology.check()?;
        let transparent = &nats.transparent;
        let mut plan = Self { nodes: BTreeMap::new(), links: Vec::new() };
        plan.name_devices(topology);
        let segments = segments(topology, transparent)?;
        for segment in &segments {
            plan.give_addresses(topology, segment, nats)?;
        }
        plan.add_routes(topology, transparent, &segments);
        let core = plan.nodes.entry(NodeName::core()).or_default();
        core.loopback = vec![*RENDEZVOUS.ip(), *RENDEZVOUS_ALT.ip()];
        let as_programs_know_them = topology.addresses.rendezvous();
        core.loopback.extend(as_programs_know_them.into_iter().filter(|at| !OWN_SERVER.contains(at)));
        Ok(plan)
    }

    /// The address of a node's way up: a host's own, a NAT's external one or the first of them.
    #[must_use]
    pub fn address(&self, node: &NodeName) -> Option<Ipv4Addr> {
        self.nodes.get(node)?.devices.first()?.address.map(|a| a.address)
    }

    /// All addresses of a node's way up.
    #[must_use]
    pub fn addresses(&self, node: &NodeName) -> Option<AddressPool> {
        self.nodes.get(node)?.devices.first()?.pool()
    }

    /// The addresses of hosts that are neither a peer nor a neighbour of one, and can serve both.
    #[must_use]
    pub fn servers(&self) -> Vec<Ipv4Addr> {
        let is_host = |plan: &NodePlan| plan.devices.first().is_some_and(|device| device.name == "eth0");
        let of_sides =
            |name: &NodeName| ["peer", "neighbour"].iter().any(|side| name.as_str().starts_with(side));
        let hosts = self.nodes.iter().filter(|(name, plan)| is_host(plan) && !of_sides(name));
        let addresses = hosts.filter_map(|(name, _)| self.address(name));
        addresses.chain(self.nodes.values().flat_map(|plan| plan.loopback.iter().copied())).collect()
    }

    /// The networks below a node, in the order of its devices.
    #[must_use]
    pub fn networks_below(&self, node: &NodeName) -> Vec<(String, Network)> {
        let devices = self.nodes.get(node).map_or(&[][..], |n| &n.devices);
        let below = devices.iter().skip(1).filter_map(|d| Some((d.name.clone(), d.address?.base())));
        below.collect()
    }

    /// The link that is a node's way up.
    #[must_use]
    pub fn uplink(&self, node: &NodeName) -> Option<u16> {
        self.links.iter().position(|l| &l.lower == node).and_then(|i| u16::try_from(i).ok())
    }

    /// Makes the devices of every node (the way up first) and the links between them.
    fn name_devices(&mut self, topology: &Topology) {
        for (name, spec) in &topology.nodes {
            let node = self.nodes.entry(name.clone()).or_default();
            let up = match spec.kind {
                NodeKind::Host => "eth0",
                NodeKind::Nat | NodeKind::Router => "wan",
                NodeKind::Switch => "up",
            };
            if spec.up.is_some() {
                node.devices.push(DevicePlan::new(up.to_owned()));
            }
        }
        for (name, spec) in &topology.nodes {
            let Some(up) = &spec.up else { continue };
            let upper = self.nodes.entry(up.to.clone()).or_default();
            let upper_device = upper.devices.len();
            let ways_up = usize::from(topology.nodes[&up.to].up.is_some());
            let device = match topology.nodes[&up.to].kind {
                NodeKind::Nat => format!("lan{}", upper_device - ways_up),
                _ => format!("to-{name}"),
            };
            upper.devices.push(DevicePlan::new(device));
            self.links.push(LinkPlan {
                lower: name.clone(),
                lower_device: 0,
                upper: up.to.clone(),
                upper_device,
                wire: up.wire,
            });
        }
        for (index, link) in self.links.iter().enumerate() {
            for (end, (node, device)) in
                [(&link.lower, link.lower_device), (&link.upper, link.upper_device)].into_iter().enumerate()
            {
                let index = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
                let mac = [0x02, 0x54, 0x42, index[0], index[1], u8::try_from(end).unwrap_or(0) + 1];
                if let Some(node) = self.nodes.get_mut(node) {
                    node.devices[device].mac = mac;
                }
            }
        }
    }

    /// Gives everybody on a segment an address and the others as neighbours.
    ///
    /// # Errors
    /// When the segment has no room for the pools of all its NATs.
    fn give_addresses(
        &mut self,
        topology: &Topology,
        segment: &Segment,
        nats: &NatAddressing,
    ) -> Result<(), TopologyError> {
        let base = u32::from(segment.base);
        let one = |offset: u32| AddressPool::from(Ipv4Addr::from(base + offset));
        let mut on_it = Vec::new();
        if let Some(device) = self.device_towards(topology, &segment.upper, &segment.members[0]) {
            on_it.push((segment.upper.clone(), device, one(1)));
        }
        let mut offset = 2;
        for member in &segment.members {
            let pool = AddressPool { count: nats.count(member), ..one(offset) };
            on_it.push((member.clone(), 0, pool));
            offset += u32::from(pool.count);
        }
        if offset > BROADCAST {
            return Err(TopologyError::OutOfAddresses);
        }
        let mac = |(n, d, pool): &(NodeName, usize, AddressPool)| (*pool, self.nodes[n].devices[*d].mac);
        let macs: Vec<_> = on_it.iter().map(mac).collect();
        for (node, device, pool) in on_it {
            let Some(node) = self.nodes.get_mut(&node) else { continue };
            let device = &mut node.devices[device];
            device.address = Some(Network { address: pool.first, prefix: 24 });
            device.addresses = pool.count;
            let others = macs.iter().filter(|(other, _)| *other != pool);
            let each = |(other, mac): &(AddressPool, Mac)| {
                let mac = *mac;
                other.iter().map(move |address| (address, mac))
            };
            device.neighbours = others.flat_map(each).collect();
        }
        Ok(())
    }

    /// The device of `upper` that leads to `member`, directly or through switches.
    fn device_towards(&self, topology: &Topology, upper: &NodeName, member: &NodeName) -> Option<usize> {
        let path = topology.path_to_core(member);
        let below = path.iter().take_while(|n| *n != upper).last()?;
        let link = self.links.iter().find(|l| &l.lower == below && &l.upper == upper)?;
        Some(link.upper_device)
    }

    /// Default routes upwards, and routes downwards to everything that has public addresses for this router.
    fn add_routes(&mut self, topology: &Topology, transparent: &BTreeSet<NodeName>, segments: &[Segment]) {
        for segment in segments {
            let gateway = Ipv4Addr::from(u32::from(segment.base) + 1);
            for member in &segment.members {
                let Some(node) = self.nodes.get_mut(member) else { continue };
                node.routes.push(RoutePlan {
                    to: Network { address: Ipv4Addr::UNSPECIFIED, prefix: 0 },
                    via: gateway,
                });
            }
            let to = Network { address: segment.base, prefix: 24 };
            self.route_downwards(topology, transparent, &segment.upper, to);
        }
    }

    /// Tells every router above `owner` the way to the network `to`, up to the first NAT that translates.
    fn route_downwards(
        &mut self,
        topology: &Topology,
        transparent: &BTreeSet<NodeName>,
        owner: &NodeName,
        to: Network,
    ) {
        let path: Vec<_> = topology.path_to_core(owner);
        let carriers = path.iter().filter(|n| topology.nodes[*n].kind != NodeKind::Switch);
        let mut next = owner.clone();
        for above in carriers.skip(1) {
            let translates = topology.nodes[&next].kind == NodeKind::Nat && !transparent.contains(&next);
            let Some(via) = self.address(&next) else { return };
            if translates {
                return;
            }
            if let Some(node) = self.nodes.get_mut(above) {
                node.routes.push(RoutePlan { to, via });
            }
            next = above.clone();
        }
    }
}

impl DevicePlan {
    fn new(name: String) -> Self {
        Self { name, mac: [0; 6], address: None, addresses: 1, neighbours: Vec::new() }
    }
}

/// The IP networks of a topology, in the order of the names of their members.
///
/// # Errors
/// When the topology's addresses have no room for this many.
fn segments(topology: &Topology, transparent: &BTreeSet<NodeName>) -> Result<Vec<Segment>, TopologyError> {
    let is_switch = |n: &NodeName| topology.nodes[n].kind == NodeKind::Switch;
    let mut by_attachment: BTreeMap<NodeName, (NodeName, Vec<NodeName>)> = BTreeMap::new();
    for name in topology.nodes.keys().filter(|n| !is_switch(n)) {
        let path = topology.path_to_core(name);
        let Some(upper) = path.iter().skip(1).find(|n| !is_switch(n)) else { continue };
        // All that hang on one switch share a network: its name is the one of the topmost switch.
        let attachment = path.iter().skip(1).take_while(|n| is_switch(n)).last().unwrap_or(name);
        let entry = by_attachment.entry(attachment.clone()).or_insert_with(|| (upper.clone(), Vec::new()));
        entry.1.push(name.clone());
    }
    let mut prefixes = PrefixAllocator::default();
    let number = |(upper, members): (NodeName, Vec<NodeName>)| {
        let translated = std::iter::once(upper.clone())
            .chain(topology.path_to_core(&upper))
            .any(|n| topology.nodes[&n].kind == NodeKind::Nat && !transparent.contains(&n));
        let carries_nat = members.iter().any(|m| topology.nodes[m].kind == NodeKind::Nat);
        let purpose = match (translated, carries_nat) {
            (false, _) => NetworkUse::Public,
            (true, true) => NetworkUse::Shared,
            (true, false) => NetworkUse::Private,
        };
        let base = topology.addresses.network(purpose, prefixes.next(purpose));
        Ok(Segment { base: base.ok_or(TopologyError::OutOfAddresses)?, upper, members })
    };
    by_attachment.into_values().map(number).collect()
}

/// Counts the networks of each use.
#[derive(Debug, Default)]
struct PrefixAllocator {
    public: u32,
    shared: u32,
    private: u32,
}

impl PrefixAllocator {
    fn next(&mut self, purpose: NetworkUse) -> u32 {
        let counter = match purpose {
            NetworkUse::Public => &mut self.public,
            NetworkUse::Shared => &mut self.shared,
            NetworkUse::Private => &mut self.private,
        };
        let number = *counter;
        *counter += 1;
        number
    }
}

#[cfg(test)]
mod tests;
