//! Builds a lab: namespaces, links and addresses first, then the wires, the programs' init, and taps on what the NATs do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use futures::future::try_join;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::kernel::error::{Error, Result};
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::process::{self, Init};
use crate::lab::handle::Lab;
use crate::lab::nat_rules::NatConfig;
use crate::lab::netns::{self, NatNetns, NodeNetns};
use crate::lab::node::{Nat, Node, at};
use crate::lab::recorder::Recorder;
use crate::lab::wire::{TapLimits, Wire, WireEngine, WireError, WireSpec};
use crate::model::address_plan::{AddressPlan, LinkPlan};
use crate::model::address_pool::NatAddressing;
use crate::model::topology::{NodeKind, NodeName, Topology};

impl Lab {
    /// Builds a topology with what makes nodes NATs, as `nats` says for where they stand; `addressing` is theirs.
    ///
    /// To build a lab first and make its nodes NATs afterwards takes longer: here the rules are loaded while the nodes get
    /// their devices and addresses.
    ///
    /// # Errors
    /// When the topology is none, the kernel refuses, as [`Lab::become_nat`], and those of `nats`.
    #[doc(hidden)]
    pub async fn build_with_nats(
        topology: &Topology,
        addressing: &NatAddressing,
        nats: impl FnOnce(&AddressPlan) -> Result<BTreeMap<NodeName, NatConfig>>,
        engine: &WireEngine,
    ) -> Result<Self> {
        let tried = || format!("build the topology \"{}\"", topology.name);
        let plan =
            AddressPlan::new(topology, addressing).map_err(|e| Error::other(tried(), e.to_string()))?;
        let nats = nats(&plan)?;
        for node in nats.keys() {
            let spec = topology.nodes.get(node);
            let tried = || format!("make \"{node}\" a NAT");
            let spec = spec.ok_or_else(|| Error::other(tried(), "the topology has no such node"))?;
            if spec.kind != NodeKind::Nat {
                return Err(at(node)(Error::other("set the rules of a NAT", "it is none")));
            }
        }
        let (by_programs, by_rules): (BTreeMap<_, _>, BTreeMap<_, _>) =
            nats.into_iter().partition(|(_, config)| config.command.is_some());
        let mut lab = build(topology, Arc::new(plan), by_rules, engine).await?;
        for (node, config) in &by_programs {
            lab.become_nat(node, config).await?;
        }
        Ok(lab)
    }
}

/// Builds the lab of a plan, with the rules of its NATs but without their programs.
async fn build(
    topology: &Topology,
    plan: Arc<AddressPlan>,
    nats: BTreeMap<NodeName, NatConfig>,
    engine: &WireEngine,
) -> Result<Lab> {
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
    Ok(Lab { nodes, plan, wires, init, taps: None })
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
        Some(NatNetns { conntrack, events, sets, state, absolute, flushing }) => {
            let recorder = Recorder::start(name.clone(), events)?;
            let (counted, program) = (Mutex::default(), AsyncMutex::default());
            Some(Nat { conntrack, counted, recorder, sets, state, absolute, flushing, program })
        }
        None => None,
    };
    let (confined, first_free_port, before) = (OnceCell::new(), AtomicU16::new(0), Mutex::default());
    Ok(Node { name, namespace, init: Arc::clone(init), sockets, nat, confined, first_free_port, before })
}
