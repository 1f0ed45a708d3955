//! Builds a lab: the ground first, then what lives on it: wires, programs' init, and taps for what NATs do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Instant;

use futures::future::try_join;
use tokio::sync::{Mutex, OnceCell};

use crate::kernel::error::{Error, Result};
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::process::{self, Init};
use crate::lab::handle::Lab;
use crate::lab::nat_rules::NatConfig;
use crate::lab::netns::{self, BuildTimes, NatNetns, NodeNetns};
use crate::lab::node::{Nat, Node, at};
use crate::lab::recorder::Recorder;
use crate::lab::wire::{TapLimits, Wire, WireEngine, WireError, WireSpec};
use crate::model::address_plan::{AddressPlan, LinkPlan};
use crate::model::topology::{NodeName, Topology};

/// Builds the lab of a plan, with the rules of its NATs but without their programs.
pub(super) async fn build(
    topology: &Topology,
    plan: Arc<AddressPlan>,
    nats: BTreeMap<NodeName, NatConfig>,
    engine: &WireEngine,
) -> Result<Lab> {
    let start = Instant::now();
    // Before this process has grown by all that a lab has.
    process::prepare()?;
    let kinds = topology.nodes.iter().map(|(name, spec)| (name.clone(), spec.kind)).collect();
    let ground = netns::build(kinds, Arc::clone(&plan), nats);
    let (init, ground) = try_join(Init::start(), ground).await?;
    let wires = make_wires(&plan, ground.carrier, engine)?;
    let init = Arc::new(init);
    let nodes = ground.nodes.into_iter().map(|(name, plot)| {
        let node = node(name.clone(), plot, &init).map_err(at(&name))?;
        Ok((name, node))
    });
    let nodes = nodes.collect::<Result<_>>()?;
    let times = BuildTimes { total: start.elapsed(), ..ground.times };
    Ok(Lab { nodes, plan, wires, init, times, taps: None })
}

fn make_wires(
    plan: &AddressPlan,
    carrier: Option<PacketSocket>,
    engine: &WireEngine,
) -> Result<BTreeMap<u16, Wire>> {
    let failed = |why: WireError| Error::other("make a wire", why.to_string());
    let Some(carrier) = carrier else { return Ok(BTreeMap::new()) };
    let junction = engine.add_junction(carrier).map_err(failed)?;
    let make = |(number, link): (u16, &LinkPlan)| {
        let name = format!("wire of \"{}\"", link.lower);
        let spec =
            WireSpec { name, link: number, conditions: link.wire?, seed: 0, tap: TapLimits::default() };
        let wire = junction.add_wire(netns::wire_ends(number), spec).map_err(failed);
        Some(wire.map(|wire| (number, wire)))
    };
    (0..).zip(&plan.links).filter_map(make).collect()
}

fn node(name: NodeName, plot: NodeNetns, init: &Arc<Init>) -> Result<Node> {
    let NodeNetns { namespace, sockets, nat } = plot;
    let nat = match nat {
        Some(NatNetns { conntrack, events, state }) => {
            let recorder = Recorder::start(name.clone(), events)?;
            Some(Nat { conntrack, recorder, state, program: Mutex::default() })
        }
        None => None,
    };
    let (confined, first_free_port) = (OnceCell::new(), AtomicU16::new(0));
    Ok(Node { name, namespace, init: Arc::clone(init), sockets, nat, confined, first_free_port })
}
