//! Builds a lab: namespaces first, then the links between them, then addresses and routes, wires last.
//!
//! The kernel serialises most of this behind one lock, so it is done in one go and in order; what overlaps is the
//! waiting for answers. A link with a wire is two veth pairs whose inner ends lie without addresses in a namespace that
//! holds nothing else; the wire engine carries frames between the two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use tokio::runtime;

use crate::kernel::conntrack::{Conntrack, Events};
use crate::kernel::error::{Error, Result};
use crate::kernel::link::{Device, LOOPBACK, Links};
use crate::kernel::namespace::{Inside, Namespace};
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::process::Init;
use crate::kernel::sysctl::Sysctl;
use crate::kernel::time_namespace::TimeNamespace;
use crate::lab::handle::Lab;
use crate::lab::node::{Nat, Node};
use crate::lab::recorder::Recorder;
use crate::lab::wire::{TapLimits, Wire, WireEngine, WireSpec};
use crate::model::address_plan::{AddressPlan, DevicePlan, LinkPlan};
use crate::model::topology::{NodeKind, NodeName, Topology};

/// Index of the first device behind the loopback.
const FIRST_DEVICE: u32 = LOOPBACK + 1;

/// What is needed of a namespace while the lab is being built.
struct Site {
    namespace: Namespace,
    links: Links,
    conntrack: Option<(Conntrack, Events)>,
}

/// Builds the lab of a plan.
pub(super) async fn build(topology: &Topology, plan: Arc<AddressPlan>, engine: &WireEngine) -> Result<Lab> {
    let (init, (sites, wiring)) = try_join(Init::start(), make_namespaces(topology)).await?;
    for (index, link) in plan.links.iter().enumerate() {
        make_link(&sites, &wiring, &plan, index, link).await?;
    }
    try_join_all(plan.nodes.keys().map(|name| configure(topology, &plan, name, &sites[name]))).await?;
    let ends = wire_ends(&plan);
    try_join_all(ends.iter().map(|index| wiring.links.set_up(*index))).await?;
    let everywhere = plan.nodes.iter().flat_map(|(name, node)| {
        (FIRST_DEVICE..).zip(&node.devices).map(|(index, _)| sites[name].links.wait_for_carrier(index))
    });
    try_join_all(everywhere).await?;
    try_join_all(ends.iter().map(|index| wiring.links.wait_for_carrier(*index))).await?;
    let wires = make_wires(&plan, &wiring.namespace, engine)?;
    let init = Arc::new(init);
    let nodes = sites.into_iter().map(|(name, site)| node(topology, name, site, &init));
    Ok(Lab { nodes: nodes.collect::<Result<_>>()?, plan, wires, init })
}

/// One namespace for each node, and one for the inner ends of the wires.
async fn make_namespaces(topology: &Topology) -> Result<(BTreeMap<NodeName, Site>, Site)> {
    let kinds: Vec<_> = topology.nodes.iter().map(|(name, spec)| (name.clone(), spec.kind)).collect();
    let runtime = runtime::Handle::current();
    let make = move || {
        let sites = kinds.into_iter().map(|(name, kind)| Ok((name, site(&runtime, kind)?)));
        Ok((sites.collect::<Result<_>>()?, site(&runtime, NodeKind::Switch)?))
    };
    let made = tokio::task::spawn_blocking(make).await;
    made.map_err(|e| Error::other("build a lab", e.to_string()))?
}

fn site(runtime: &runtime::Handle, kind: NodeKind) -> Result<Site> {
    let (namespace, inside) = Namespace::create(|inside| {
        let _context = runtime.enter();
        for sysctl in settings(kind) {
            sysctl.write(inside)?;
        }
        Result::Ok((Links::open(inside)?, watch(inside, kind)?))
    })?;
    let (links, conntrack) = inside?;
    Ok(Site { namespace, links, conntrack })
}

fn watch(inside: &Inside, kind: NodeKind) -> Result<Option<(Conntrack, Events)>> {
    Ok(match kind {
        NodeKind::Nat => Some((Conntrack::open(inside)?, Events::open(inside)?)),
        NodeKind::Host | NodeKind::Router | NodeKind::Switch => None,
    })
}

/// What every namespace of a kind is pinned to, before it has any device.
fn settings(kind: NodeKind) -> Vec<Sysctl> {
    let mut settings = vec![
        // `default` and not `all`: that one takes longer the more namespaces there are.
        Sysctl::new("net.ipv6.conf.default.disable_ipv6", 1),
        // A closed connection with unsent data keeps its namespace for two minutes; so, for less than two seconds.
        Sysctl::new("net.ipv4.tcp_orphan_retries", 1),
        // A NAT that answers by ICMP answers always: the limiter would make it silent at random.
        Sysctl::new("net.ipv4.icmp_ratemask", 0),
    ];
    if matches!(kind, NodeKind::Nat | NodeKind::Router) {
        settings.push(Sysctl::new("net.ipv4.ip_forward", 1));
    }
    settings
}

/// Makes the veth pair, or the two pairs, of a link.
async fn make_link(
    sites: &BTreeMap<NodeName, Site>,
    wiring: &Site,
    plan: &AddressPlan,
    index: usize,
    link: &LinkPlan,
) -> Result<()> {
    let (lower, upper) = (&sites[&link.lower], &sites[&link.upper]);
    let near = device(&plan.nodes[&link.lower].devices, link.lower_device);
    let far = device(&plan.nodes[&link.upper].devices, link.upper_device);
    if link.wire.is_none() {
        return lower.links.add_veth(near, far, &upper.namespace).await;
    }
    let [(x, x_index), (y, y_index)] = inner_ends(index);
    // The inner ends are addressed by nobody; they need a MAC of their own all the same.
    let inner = |name, index: u32| Device {
        index,
        name,
        mac: [2, 0x54, 0x57, 0, 0, u8::try_from(index).unwrap_or(0)],
    };
    wiring.links.add_veth(inner(&x, x_index), near, &lower.namespace).await?;
    wiring.links.add_veth(inner(&y, y_index), far, &upper.namespace).await
}

/// Name and index of the two inner ends of a link: towards the lower node, and towards the core.
fn inner_ends(link: usize) -> [(String, u32); 2] {
    let first = FIRST_DEVICE + 2 * u32::try_from(link).unwrap_or(0);
    [(format!("x{link}"), first), (format!("y{link}"), first + 1)]
}

/// The indices of all inner ends.
fn wire_ends(plan: &AddressPlan) -> Vec<u32> {
    let wired = plan.links.iter().enumerate().filter(|(_, link)| link.wire.is_some());
    wired.flat_map(|(index, _)| inner_ends(index)).map(|(_, index)| index).collect()
}

fn device(devices: &[DevicePlan], position: usize) -> Device<'_> {
    let plan = &devices[position];
    Device { index: FIRST_DEVICE + u32::try_from(position).unwrap_or(0), name: &plan.name, mac: plan.mac }
}

/// Sets a node's devices up, and gives it its addresses, neighbours and routes.
async fn configure(topology: &Topology, plan: &AddressPlan, name: &NodeName, site: &Site) -> Result<()> {
    let node = &plan.nodes[name];
    let links = &site.links;
    links.set_up(LOOPBACK).await?;
    for address in &node.loopback {
        links.add_address(LOOPBACK, *address, 32).await?;
    }
    if topology.nodes[name].kind == NodeKind::Switch {
        return bridge(links, &node.devices).await;
    }
    for (index, device) in (FIRST_DEVICE..).zip(&node.devices) {
        if let Some(network) = device.address {
            links.add_address(index, network.address, network.prefix).await?;
        }
        links.set_up(index).await?;
        for (address, mac) in &device.neighbours {
            links.add_neighbour(index, *address, *mac).await?;
        }
    }
    for route in &node.routes {
        links.add_route(route.to.address, route.to.prefix, route.via).await?;
    }
    Ok(())
}

/// Joins all devices of a switch.
async fn bridge(links: &Links, devices: &[DevicePlan]) -> Result<()> {
    let index = FIRST_DEVICE + u32::try_from(devices.len()).unwrap_or(0);
    links.add_bridge(Device { index, name: "bridge", mac: [2, 0x54, 0x42, 0xff, 0xff, 1] }).await?;
    for (port, _) in (FIRST_DEVICE..).zip(devices) {
        links.attach(port, index).await?;
        links.set_up(port).await?;
    }
    links.set_up(index).await
}

fn make_wires(plan: &AddressPlan, namespace: &Namespace, engine: &WireEngine) -> Result<BTreeMap<u16, Wire>> {
    let mut wires = BTreeMap::new();
    for (index, link) in plan.links.iter().enumerate() {
        let Some(conditions) = link.wire else { continue };
        let [(x, _), (y, _)] = inner_ends(index);
        let (x, y) = namespace.enter(|inside| {
            Result::Ok((PacketSocket::carrier(inside, &x)?, PacketSocket::carrier(inside, &y)?))
        })??;
        let link_number = u16::try_from(index).unwrap_or(u16::MAX);
        let name = format!("wire of \"{}\"", link.lower);
        let spec = WireSpec { name, link: link_number, conditions, seed: 0, tap: TapLimits::default() };
        let wire = engine.add(x, y, spec).map_err(|e| Error::other("make a wire", e.to_string()))?;
        wires.insert(link_number, wire);
    }
    Ok(wires)
}

fn node(topology: &Topology, name: NodeName, site: Site, init: &Arc<Init>) -> Result<(NodeName, Node)> {
    let nat = match site.conntrack {
        Some((conntrack, events)) => {
            let recorder = Recorder::start(name.clone(), events)?;
            Some(Nat { conntrack, recorder, memory: Vec::new(), changed: Vec::new() })
        }
        None => None,
    };
    let clocks = match topology.nodes[&name].kind {
        NodeKind::Host => Some(TimeNamespace::new(clock_offset(&name))?),
        NodeKind::Nat | NodeKind::Router | NodeKind::Switch => None,
    };
    let node = Node { name: name.clone(), namespace: site.namespace, clocks, init: Arc::clone(init), nat };
    Ok((name, node))
}

/// How far a host's clocks are ahead of the machine's: no two hosts share a clock. Fixed by the name, so that the same
/// lab is the same lab; between an hour and some days.
fn clock_offset(name: &NodeName) -> Duration {
    // FNV-1a, with its low bits, which differ least between like names, shifted out.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix) >> 20;
    Duration::from_secs(3_600 + hash % 500_000) + Duration::from_micros(hash % 999_983)
}
