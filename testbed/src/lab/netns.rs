//! The network of a lab: namespaces, devices and addresses, as the address plan says.
//!
//! A link with a wire is two veth pairs, whose inner ends lie without addresses in a namespace that holds nothing else.
//!
//! The network is made with a runtime of its own, so that neither blocking calls nor netlink replies delay other work.
//! When that runtime ends, every socket that only building needed is closed. Namespaces are made side by side, and rules are
//! loaded while the nodes get their devices and addresses. The kernel handles one request for a device or an address at a time,
//! so more threads gain nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, Scope};

use futures::future::try_join_all;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

use crate::kernel::conntrack::{Conntrack, Events};
use crate::kernel::error::{Error, Result};
use crate::kernel::link::{Device, LOOPBACK, Links};
use crate::kernel::namespace::{Inside, Namespace, Work};
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::ruleset::{DynamicSet, SetFlusher, needs_devices};
use crate::kernel::sysctl::Tree;
use crate::kernel::tcp_sockets::TcpSockets;
use crate::lab::absolute_timeout::AbsoluteTimeout;
use crate::lab::nat_rules::NatConfig;
use crate::lab::nat_state::NatState;
use crate::lab::nat_thread::Enforcement;
use crate::lab::node::at;
use crate::lab::periodic_flush::PeriodicFlush;
use crate::lab::settings;
use crate::lab::wire::Ends;
use crate::model::address_plan::{AddressPlan, LinkPlan, NodePlan};
use crate::model::topology::{NodeKind, NodeName};

/// Index of a node's first device; the loopback device has 1.
pub(super) const FIRST_DEVICE: u32 = LOOPBACK + 1;

/// The name of a switch's bridge device.
const BRIDGE: &str = "bridge";

/// What a lab stands on.
#[derive(Debug)]
pub(super) struct LabNetns {
    pub(super) nodes: BTreeMap<NodeName, NodeNetns>,
    /// Opened where the inner ends of the wires lie, if there are any; it keeps that namespace alive.
    pub(super) carrier: Option<PacketSocket>,
}

/// What a node stands on.
#[derive(Debug)]
pub(super) struct NodeNetns {
    pub(super) namespace: Namespace,
    /// For all but NATs, in which nobody opens any.
    pub(super) sockets: Option<TcpSockets>,
    pub(super) nat: Option<NatNetns>,
}

/// What there is of a NAT besides.
#[derive(Debug)]
pub(super) struct NatNetns {
    pub(super) conntrack: Conntrack,
    pub(super) events: Events,
    pub(super) sets: SetFlusher,
    pub(super) state: NatState,
    pub(super) absolute: Option<AbsoluteTimeout>,
    pub(super) flushing: Option<PeriodicFlush>,
}

/// Raises everything, in a thread of its own.
pub(super) async fn build(
    kinds: BTreeMap<NodeName, NodeKind>,
    plan: Arc<AddressPlan>,
    nats: BTreeMap<NodeName, NatConfig>,
) -> Result<LabNetns> {
    const TRIED: &str = "build a lab";
    let (sender, receiver) = oneshot::channel();
    let build = move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::io(TRIED, "epoll_create", &e));
        let ground = runtime.and_then(|runtime| Builder { kinds, plan, nats, runtime }.build());
        // Whoever waited may have given up; then the ground goes away again here.
        let _ = sender.send(ground);
    };
    let thread = thread::Builder::new().name("testbed-build".into()).spawn(build);
    thread.map_err(|e| Error::io(TRIED, "clone", &e))?;
    receiver.await.map_err(|_| Error::other(TRIED, "the thread that builds it panicked"))?
}

struct Builder {
    kinds: BTreeMap<NodeName, NodeKind>,
    plan: Arc<AddressPlan>,
    nats: BTreeMap<NodeName, NatConfig>,
    runtime: Runtime,
}

/// A namespace under construction.
struct NetnsUnderConstruction {
    plot: NodeNetns,
    links: Links,
}

/// Where the inner ends of all wires lie.
struct WireNetns {
    namespace: Namespace,
    links: Links,
    carrier: PacketSocket,
}

impl Builder {
    fn build(&self) -> Result<LabNetns> {
        let (mut sites, wires) = self.sites()?;
        let learnt = thread::scope(|scope| {
            let mut rules = self.begin_rules(scope, &sites, DeviceState::ToCome);
            self.runtime.block_on(self.add_links(&sites, wires.as_ref()))?;
            rules.extend(self.begin_rules(scope, &sites, DeviceState::There));
            self.runtime.block_on(self.add_addresses(&sites, wires.as_ref()))?;
            self.runtime.block_on(self.wait_for_carriers(&sites, wires.as_ref()))?;
            rules.into_iter().map(finish_rules).collect::<Result<Vec<_>>>()
        })?;
        for (name, learnt) in learnt {
            let plot = sites.get_mut(&name).map(|site| &mut site.plot);
            if let Some(NodeNetns { namespace, nat: Some(nat), .. }) = plot
                && let Some(config) = self.nats.get(&name)
            {
                if config.flush_every.is_some() {
                    let start =
                        |inside: &Inside| PeriodicFlush::of(inside, config, &learnt, Enforcement::Enforced);
                    nat.flushing = namespace.enter(start).flatten().map_err(at(&name))?;
                }
                nat.state.remember(config.source, learnt);
            }
        }
        let carrier = wires.map(|wires| wires.carrier);
        let nodes = sites.into_iter().map(|(name, site)| (name, site.plot)).collect();
        Ok(LabNetns { nodes, carrier })
    }

    /// Begins to load the rules that can be loaded by now and could not before.
    fn begin_rules<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        sites: &'scope BTreeMap<NodeName, NetnsUnderConstruction>,
        devices: DeviceState,
    ) -> Vec<LoadingRules<'scope>> {
        let ready =
            self.nats.iter().filter(|(_, c)| needs_devices(&c.ruleset) == (devices == DeviceState::There));
        let begin = |(name, config): (&'scope NodeName, &'scope NatConfig)| {
            let load = |inside: &Inside| NatState::load(inside, config);
            (name.clone(), sites[name].plot.namespace.begin_work(scope, load))
        };
        ready.map(begin).collect()
    }

    /// Makes all namespaces, and the one for the ends of wires if there are any.
    fn sites(&self) -> Result<(BTreeMap<NodeName, NetnsUnderConstruction>, Option<WireNetns>)> {
        let mut plans: Vec<_> = self.kinds.iter().map(|(name, kind)| Some((name, *kind))).collect();
        if self.plan.links.iter().any(|link| link.wire.is_some()) {
            plans.push(None);
        }
        let made = Namespace::create_each(&plans, |inside, plan| {
            let _context = self.runtime.enter();
            match plan {
                Some((name, kind)) => self.prepare(inside, name, *kind).map_err(at(name)),
                None => prepare_between(inside),
            }
        })?;
        let (mut sites, mut wires) = (BTreeMap::new(), None);
        for (namespace, prepared) in made {
            match prepared? {
                NetnsContents::Node { name, sockets, nat, links } => {
                    sites.insert(
                        name,
                        NetnsUnderConstruction { plot: NodeNetns { namespace, sockets, nat }, links },
                    );
                }
                NetnsContents::WireNetns { links, carrier } => {
                    wires = Some(WireNetns { namespace, links, carrier })
                }
            }
        }
        Ok((sites, wires))
    }

    /// The first work in a node's namespace: its settings, and the sockets that must be there before its devices.
    fn prepare(&self, inside: &Inside, name: &NodeName, kind: NodeKind) -> Result<NetnsContents> {
        let mut tree = Tree::of(inside);
        tree.write_all(&settings::settings(kind))?;
        let (sockets, nat) = match kind {
            NodeKind::Nat => {
                let (conntrack, events) = (Conntrack::open(inside)?, Events::open(inside)?);
                let (mut state, mut absolute) = (NatState::default(), None);
                if let Some(config) = self.nats.get(name) {
                    state.set(&mut tree, &config.sysctls)?;
                    absolute = AbsoluteTimeout::of(inside, config, Enforcement::Enforced)?;
                }
                let sets = SetFlusher::open(inside)?;
                (None, Some(NatNetns { conntrack, events, sets, state, absolute, flushing: None }))
            }
            NodeKind::Host | NodeKind::Router | NodeKind::Switch => (Some(TcpSockets::open(inside)?), None),
        };
        Ok(NetnsContents::Node { name: name.clone(), sockets, nat, links: Links::open(inside)? })
    }

    /// Makes all veth pairs and the bridges of the switches, and attaches their ports.
    async fn add_links(
        &self,
        sites: &BTreeMap<NodeName, NetnsUnderConstruction>,
        wires: Option<&WireNetns>,
    ) -> Result<()> {
        try_join_all((0..).zip(&self.plan.links).map(async |(number, link): (u16, &LinkPlan)| {
            let (lower, upper) = (self.device(&link.lower, link.lower_device), self.upper(link));
            let (below, above) = (&sites[&link.lower], &sites[&link.upper]);
            match (link.wire, wires) {
                (Some(_), Some(WireNetns { namespace, .. })) => {
                    let [x, y] = wire_names(number);
                    let x = Device { name: &x, ..wire_device(number, 0) };
                    let y = Device { name: &y, ..wire_device(number, 1) };
                    below.links.add_veth(lower, x, namespace).await.map_err(at(&link.lower))?;
                    above.links.add_veth(upper, y, namespace).await.map_err(at(&link.upper))
                }
                _ => {
                    let there = &above.plot.namespace;
                    below.links.add_veth(lower, upper, there).await.map_err(at(&link.lower))
                }
            }
        }))
        .await?;
        try_join_all(self.of_kind(NodeKind::Switch).map(async |(name, plan)| {
            let links = &sites[name].links;
            let bridge = FIRST_DEVICE + count(plan.devices.len());
            let mac = plan.devices.first().map_or([2, 0, 0, 0, 0, 1], |d| d.mac);
            let device = Device { index: bridge, name: BRIDGE, mac };
            links.add_bridge(device).await.map_err(at(name))?;
            let ports = (FIRST_DEVICE..bridge).map(|port| links.attach(port, bridge));
            try_join_all(ports).await.map_err(at(name))?;
            links.set_up(bridge).await.map_err(at(name))
        }))
        .await?;
        Ok(())
    }

    /// Sets all devices up and gives the nodes their addresses, neighbours and routes.
    async fn add_addresses(
        &self,
        sites: &BTreeMap<NodeName, NetnsUnderConstruction>,
        wires: Option<&WireNetns>,
    ) -> Result<()> {
        if let Some(WireNetns { links, .. }) = wires {
            try_join_all(self.wire_indices().map(|index| links.set_up(index))).await?;
        }
        try_join_all(
            self.plan
                .nodes
                .iter()
                .map(async |(name, plan)| configure(&sites[name].links, plan).await.map_err(at(name))),
        )
        .await?;
        Ok(())
    }

    async fn wait_for_carriers(
        &self,
        sites: &BTreeMap<NodeName, NetnsUnderConstruction>,
        wires: Option<&WireNetns>,
    ) -> Result<()> {
        if let Some(WireNetns { links, .. }) = wires {
            try_join_all(self.wire_indices().map(|index| links.wait_for_carrier(index))).await?;
        }
        try_join_all(self.plan.nodes.iter().map(async |(name, plan)| {
            let links = &sites[name].links;
            let devices = (FIRST_DEVICE..).zip(&plan.devices);
            try_join_all(devices.map(|(index, _)| links.wait_for_carrier(index))).await.map_err(at(name))
        }))
        .await?;
        Ok(())
    }

    fn device(&self, node: &NodeName, number: usize) -> Device<'_> {
        let device = &self.plan.nodes[node].devices[number];
        Device { index: FIRST_DEVICE + count(number), name: &device.name, mac: device.mac }
    }

    fn upper(&self, link: &LinkPlan) -> Device<'_> {
        self.device(&link.upper, link.upper_device)
    }

    fn of_kind(&self, kind: NodeKind) -> impl Iterator<Item = (&NodeName, &NodePlan)> {
        self.plan.nodes.iter().filter(move |(name, _)| self.kinds.get(*name) == Some(&kind))
    }

    /// The indices of all inner ends of wires.
    fn wire_indices(&self) -> impl Iterator<Item = u32> {
        let wired = (0..).zip(&self.plan.links).filter(|(_, link)| link.wire.is_some());
        wired.flat_map(|(number, _)| [wire_device(number, 0).index, wire_device(number, 1).index])
    }
}

/// Whether the devices of the nodes are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeviceState {
    ToCome,
    There,
}

/// Rules that are being loaded, and the sets and maps that they fill.
type LoadingRules<'scope> = (NodeName, Result<Work<'scope, Result<Vec<DynamicSet>>>>);

fn finish_rules((name, rules): LoadingRules<'_>) -> Result<(NodeName, Vec<DynamicSet>)> {
    let learnt = rules.and_then(Work::finish).flatten().map_err(at(&name))?;
    Ok((name, learnt))
}

/// What there is in a namespace before its devices.
enum NetnsContents {
    Node { name: NodeName, sockets: Option<TcpSockets>, nat: Option<NatNetns>, links: Links },
    WireNetns { links: Links, carrier: PacketSocket },
}

/// The first work in the namespace that the inner ends of all wires lie in.
fn prepare_between(inside: &Inside) -> Result<NetnsContents> {
    Tree::of(inside).write_all(&settings::silence())?;
    Ok(NetnsContents::WireNetns {
        links: Links::open(inside)?,
        carrier: PacketSocket::carrier_of_all(inside)?,
    })
}

async fn configure(links: &Links, plan: &NodePlan) -> Result<()> {
    let devices = || (FIRST_DEVICE..).zip(&plan.devices);
    let up = std::iter::once(LOOPBACK).chain(devices().map(|(index, _)| index));
    try_join_all(up.map(|index| links.set_up(index))).await?;
    let own = devices().filter_map(|(index, d)| Some((index, d.pool()?, d.address?.prefix)));
    let own = own.flat_map(|(index, pool, prefix)| pool.iter().map(move |address| (index, address, prefix)));
    let further = plan.loopback.iter().map(|address| (LOOPBACK, *address, 32));
    let addresses =
        own.chain(further).map(|(index, address, prefix)| links.add_address(index, address, prefix));
    let neighbours = devices().flat_map(|(index, d)| d.neighbours.iter().map(move |n| (index, *n)));
    let neighbours = neighbours.map(|(index, (address, mac))| links.add_neighbour(index, address, mac));
    tokio::try_join!(try_join_all(addresses), try_join_all(neighbours))?;
    let routes =
        plan.routes.iter().map(|route| links.add_route(route.to.address, route.to.prefix, route.via));
    try_join_all(routes).await.map(drop)
}

/// What the inner ends of a wire are called: towards the lower node, and towards the core.
fn wire_names(link: u16) -> [String; 2] {
    [format!("w{link}-lower"), format!("w{link}-upper")]
}

/// Which devices the inner ends of a wire are, in the namespace of the carrier.
pub(super) fn wire_ends(link: u16) -> Ends {
    Ends { x: wire_device(link, 0).index, y: wire_device(link, 1).index }
}

/// Index and MAC address of an inner end; frames pass it without caring for either.
fn wire_device(link: u16, end: u8) -> Device<'static> {
    let number = u32::from(link) * 2 + u32::from(end);
    let [_, _, high, low] = number.to_be_bytes();
    Device { index: FIRST_DEVICE + number, name: "", mac: [0x02, 0x57, 0x57, high, low, 1] }
}

/// Counts of devices and links are small.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX / 4)
}
