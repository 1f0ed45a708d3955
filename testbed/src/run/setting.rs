//! A cell made ready: which lab it needs, what its NATs declare, what theory expects. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::axis_value::Order;
use crate::model::behavior::{Behavior, Translation, UnsolicitedSyn};
use crate::model::catalogue::Catalogue;
use crate::model::conditions::LinkConditions;
use crate::model::outcome::Expectation;
use crate::model::suite::{Cell, Suite};
use crate::model::theory::{self, Situation};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::run::request::RunError;
use crate::run::story::Who;

/// The hosts that the two peers run on.
const PEERS: [&str; 2] = ["peer-a", "peer-b"];

/// How late a frame may leave the wire where nothing depends on it: the deadline is far.
const LATENESS_TOLERATED: Duration = Duration::from_millis(250);

/// Which lab a trial needs: two cells with equal settings can share one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// The NATs that translate nothing.
    pub transparent: BTreeSet<NodeName>,
    /// The profile of each NAT.
    pub nats: BTreeMap<NodeName, String>,
}

/// A cell made ready.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The cell.
    pub cell: Cell,
    /// The lab that it needs.
    pub setting: Setting,
    /// What the NATs above peer a declare, innermost first.
    pub a: Vec<Behavior>,
    /// What the NATs above peer b declare.
    pub b: Vec<Behavior>,
    /// What theory says.
    pub expected: Option<Expectation>,
    /// How late a frame may leave the wire.
    pub lateness: Duration,
    /// One way from peer to peer.
    pub trip: Duration,
}

/// The host that a peer runs on.
///
/// # Errors
/// When the topology has none.
pub(super) fn peer(topology: &Topology, who: Who) -> Result<NodeName, RunError> {
    let name = PEERS[usize::from(who == Who::B)];
    let found = topology.of_kind(NodeKind::Host).find(|n| n.as_str() == name).cloned();
    found.ok_or_else(|| RunError::NoPeer { topology: topology.name.clone(), peer: name })
}

impl Ready {
    /// Makes a cell ready.
    ///
    /// # Errors
    /// When it names a NAT that there is not, or the topology has no place for a peer.
    pub fn new(suite: &Suite, catalogue: &Catalogue, cell: &Cell) -> Result<Self, RunError> {
        let behavior = |node: &NodeName| {
            let name = cell.nat(node).unwrap_or_default();
            let profile = catalogue.get(name).ok_or_else(|| RunError::UnknownNat(name.to_owned()))?;
            Ok((node.clone(), profile))
        };
        let profiles: BTreeMap<_, _> =
            suite.topology.of_kind(NodeKind::Nat).map(behavior).collect::<Result<_, RunError>>()?;
        let above = |who| -> Result<Vec<Behavior>, RunError> {
            let nats = suite.topology.nats_above(&peer(&suite.topology, who)?);
            Ok(nats.iter().map(|nat| profiles[nat].behavior.clone()).collect())
        };
        let (a, b) = (above(Who::A)?, above(Who::B)?);
        let transparent = profiles.iter().filter(|(_, p)| p.behavior.translation != Translation::Nat);
        let setting = Setting {
            transparent: transparent.map(|(node, _)| node.clone()).collect(),
            nats: profiles.iter().map(|(node, p)| (node.clone(), p.name.clone())).collect(),
        };
        let trip = trip(suite, cell)?;
        let mut ready =
            Self { cell: cell.clone(), setting, a, b, expected: None, lateness: LATENESS_TOLERATED, trip };
        ready.lateness = ready.tolerated_lateness();
        ready.expected = theory::expect(&Situation {
            a: ready.a.iter().collect(),
            b: ready.b.iter().collect(),
            method: cell.method(),
            budget: suite.budget,
            skew_ms: cell.skew().unwrap_or_default().as_secs_f64() * 1000.0,
            trip,
        });
        Ok(ready)
    }

    /// What the wire of a link does in this cell.
    #[must_use]
    pub fn conditions(&self, planned: LinkConditions) -> LinkConditions {
        let mut conditions = planned;
        for direction in [&mut conditions.up, &mut conditions.down] {
            direction.delay = self.cell.delay().unwrap_or(direction.delay);
            direction.loss = self.cell.loss().unwrap_or(direction.loss);
        }
        conditions
    }

    /// Where a refused SYN is answered, or an order is asked for, half a trip decides; elsewhere hardly anything does.
    fn tolerated_lateness(&self) -> Duration {
        let answers = |nat: &Behavior| nat.unsolicited_syn != UnsolicitedSyn::Drop;
        let ordered = self.cell.order().unwrap_or_default() != Order::Free;
        if ordered || self.a.iter().chain(&self.b).any(answers) {
            (self.trip / 2).max(Duration::from_millis(1))
        } else {
            LATENESS_TOLERATED
        }
    }
}

/// One way from peer to peer: the wires up from a to the core and down to b.
fn trip(suite: &Suite, cell: &Cell) -> Result<Duration, RunError> {
    let mut trip = Duration::ZERO;
    let (a, b) = (peer(&suite.topology, Who::A)?, peer(&suite.topology, Who::B)?);
    let (up, down) = (suite.topology.path_to_core(&a), suite.topology.path_to_core(&b));
    let wire = |node: &NodeName| suite.topology.nodes[node].up.as_ref().and_then(|up| up.wire);
    let planned = |delay: Duration| cell.delay().unwrap_or(delay);
    for conditions in up.iter().filter(|n| !down.contains(n)).filter_map(wire) {
        trip += planned(conditions.up.delay);
    }
    for conditions in down.iter().filter(|n| !up.contains(n)).filter_map(wire) {
        trip += planned(conditions.down.delay);
    }
    Ok(trip)
}
