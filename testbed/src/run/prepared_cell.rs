//! A cell made ready: which lab it needs, what its NATs declare, what theory expects. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::judge::timeline::{Role, Vantage};
use crate::kernel::error::Error;
use crate::model::address_plan::AddressPlan;
use crate::model::address_pool::{AddressPool, NatAddressing};
use crate::model::axis_value::Order;
use crate::model::behavior::{Behavior, UnsolicitedSyn};
use crate::model::catalogue::{Catalogue, Profile};
use crate::model::conditions::{Conditions, LinkConditions};
use crate::model::outcome::{Expectation, NoExpectation};
use crate::model::prediction::{self, NodePath};
use crate::model::suite::{Cell, Section, Suite};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::run::request::RunError;

/// The hosts that the two peers run on.
const PEERS: [&str; 2] = ["peer-a", "peer-b"];

/// How late a frame may leave the wire where nothing depends on it: the deadline is far.
const LATENESS_TOLERATED: Duration = Duration::from_millis(250);

/// How long a wire delays frames at most while a control is made.
pub(super) const LONGEST_DELAY_OF_CONTROL: Duration = Duration::from_millis(5);

/// Which lab a trial needs: two cells with equal settings can share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabSpec {
    /// The first part of the suite that is wired so, with programs that see the same root.
    pub wiring: usize,
    /// What its addresses depend on.
    pub addressing: NatAddressing,
    /// The profile of each NAT.
    pub nats: BTreeMap<NodeName, String>,
}

/// A cell made ready.
#[derive(Debug, Clone)]
pub struct PreparedCell {
    /// The part of the suite that it belongs to.
    pub part: Arc<Section>,
    /// The cell.
    pub cell: Cell,
    /// The lab that it needs.
    pub setting: LabSpec,
    /// What the NATs above both peers declare.
    pub common: BTreeMap<NodeName, Behavior>,
    /// What the NATs on peer a's side of the way to peer b declare, innermost first.
    pub a: Vec<Behavior>,
    /// What those on peer b's side declare.
    pub b: Vec<Behavior>,
    /// What theory says.
    pub expected: Result<Expectation, NoExpectation>,
    /// How late a frame may leave the wire.
    pub lateness: Duration,
    /// One way from peer to peer.
    pub trip: Duration,
    /// Where the two peers are, a first.
    pub peers: [Peer; 2],
    /// Whether a trial that passed was already kept.
    pub pass_kept: Arc<AtomicBool>,
}

/// Where a peer is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its host, and where its packets are watched.
    pub vantage: Vantage,
    /// The addresses by which the world knows it: those of its outermost NAT that translates, or its own.
    pub public: AddressPool,
}

/// Finds both peers.
fn find_peers(
    topology: &Topology,
    addressing: &NatAddressing,
    names: [&NodeName; 2],
) -> Result<[Peer; 2], RunError> {
    let tried = || format!("find the peers of the topology \"{}\"", topology.name);
    let plan = AddressPlan::new(topology, addressing).map_err(|e| Error::other(tried(), e.to_string()))?;
    let transparent = &addressing.transparent;
    let find = |[own, other]: [&NodeName; 2]| {
        let nats = topology.nats_above(own);
        let outermost = nats.iter().rfind(|nat| !transparent.contains(nat)).unwrap_or(own);
        let vantage = Vantage::of(topology, &plan, transparent, [own, other]);
        let peer = vantage.zip(plan.addresses(outermost)).map(|(vantage, public)| Peer { vantage, public });
        peer.ok_or_else(|| Error::other(tried(), format!("\"{own}\" has no way up")))
    };
    let [a, b] = names;
    Ok([find([a, b])?, find([b, a])?])
}

/// The host that a peer runs on.
///
/// # Errors
/// When the topology has none.
fn host_of(topology: &Topology, role: Role) -> Result<NodeName, RunError> {
    let name = PEERS[usize::from(role == Role::B)];
    let found = topology.of_kind(NodeKind::Host).find(|n| n.as_str() == name).cloned();
    found.ok_or_else(|| RunError::NoPeer { topology: topology.name.clone(), peer: name })
}

/// The NATs from where the ways of both peers meet up to the core, with what they declare.
fn above_both(
    topology: &Topology,
    way: &NodePath,
    profiles: &BTreeMap<NodeName, &Profile>,
) -> BTreeMap<NodeName, Behavior> {
    let path = topology.path_to_core(&way.top);
    path.into_iter().filter_map(|node| Some((node.clone(), profiles.get(&node)?.behavior))).collect()
}

impl PreparedCell {
    /// Makes a cell ready.
    ///
    /// # Errors
    /// When it names a NAT that there is not, or the topology has no place for a peer.
    pub fn new(suite: &Suite, catalogue: &Catalogue, cell: &Cell) -> Result<Self, RunError> {
        let part = Arc::clone(suite.part(cell));
        let topology = &part.topology;
        let (from, to) = (host_of(topology, Role::A)?, host_of(topology, Role::B)?);
        let nowhere = || RunError::NoPeer { topology: topology.name.clone(), peer: PEERS[1] };
        let way = NodePath::between(topology, from.as_str(), to.as_str()).ok_or_else(nowhere)?;
        let profile = |node: &NodeName| {
            let name = cell.nat(node).unwrap_or_default();
            catalogue.get(name).ok_or_else(|| RunError::UnknownNat(name.to_owned()))
        };
        let profiles = topology.of_kind(NodeKind::Nat).map(|node| Ok((node.clone(), profile(node)?)));
        let profiles: BTreeMap<_, _> = profiles.collect::<Result<_, RunError>>()?;
        let declared = |path: &[NodeName]| {
            path.iter().filter_map(|node| profiles.get(node)).map(|profile| profile.behavior).collect()
        };
        let alike =
            |other: &Arc<Section>| other.topology == *topology && other.program.root == part.program.root;
        let wiring = suite.parts.iter().position(alike);
        let setting = LabSpec {
            wiring: wiring.unwrap_or(cell.part.number),
            addressing: NatAddressing::of(profiles.iter().map(|(node, p)| (node, &p.behavior))),
            nats: profiles.iter().map(|(node, p)| (node.clone(), p.name.clone())).collect(),
        };
        let peers = find_peers(topology, &setting.addressing, [&from, &to])?;
        let mut ready = Self {
            cell: cell.clone(),
            setting,
            peers,
            common: above_both(topology, &way, &profiles),
            a: declared(&way.up),
            b: declared(&way.down),
            expected: prediction::expect(suite, cell, catalogue),
            lateness: LATENESS_TOLERATED,
            trip: way.trip(topology, cell.delay()),
            part,
            pass_kept: Arc::default(),
        };
        ready.lateness = ready.tolerated_lateness();
        Ok(ready)
    }

    /// Where a peer is.
    #[must_use]
    pub fn peer(&self, role: Role) -> &Peer {
        let [a, b] = &self.peers;
        match role {
            Role::A => a,
            Role::B => b,
        }
    }

    /// Where each side is watched, a first.
    #[must_use]
    pub fn vantages(&self) -> [&Vantage; 2] {
        Role::BOTH.map(|role| &self.peer(role).vantage)
    }

    /// What the wire of a link does in this cell.
    #[must_use]
    pub fn conditions(&self, planned: LinkConditions) -> LinkConditions {
        self.cell.conditions(planned)
    }

    /// What the wire of a link does in the control and the proof of a lab, which are about its NATs and not about its ways: a frame gets
    /// through, and soon.
    #[must_use]
    pub fn conditions_of_control(planned: LinkConditions) -> LinkConditions {
        let soon = |planned: Conditions| Conditions::delayed(planned.delay.min(LONGEST_DELAY_OF_CONTROL));
        LinkConditions { up: soon(planned.up), down: soon(planned.down) }
    }

    /// Whether neighbours of the peers open connections all the time. Testbed itself opens them, and with too many such trials at a
    /// time they would come late and in bursts, which lets more ports be predicted than theory says.
    #[must_use]
    pub fn has_neighbours(&self) -> bool {
        self.cell.neighbours().unwrap_or_default() > 0.0
    }

    /// Whether a NAT between the peers forgets everything at regular intervals.
    #[must_use]
    pub fn forgets(&self) -> bool {
        let mut nats = self.a.iter().chain(&self.b).chain(self.common.values());
        nats.any(|nat| nat.timeouts.flush_every.is_some())
    }

    /// How long a program may wait for a processor: where half a trip decides, a trip, after which two SYNs do not cross any
    /// more.
    #[must_use]
    pub fn wait_tolerated(&self) -> Duration {
        if self.is_decided_by_half_a_trip() { 2 * self.lateness } else { LATENESS_TOLERATED }
    }

    fn tolerated_lateness(&self) -> Duration {
        if self.is_decided_by_half_a_trip() {
            (self.trip / 2).max(Duration::from_millis(1))
        } else {
            LATENESS_TOLERATED
        }
    }

    /// Where a refused SYN is answered, SYNs are to cross, or neighbours open connections meanwhile, half a trip decides; elsewhere
    /// hardly anything does. That one SYN comes before the other is exact however late both are: the second is held until the first
    /// has arrived.
    fn is_decided_by_half_a_trip(&self) -> bool {
        let answers = |nat: &Behavior| nat.unsolicited_syn != UnsolicitedSyn::Drop;
        let crossing = self.cell.order() == Some(Order::Crossing);
        crossing
            || self.has_neighbours()
            || self.a.iter().chain(&self.b).chain(self.common.values()).any(answers)
    }
}
