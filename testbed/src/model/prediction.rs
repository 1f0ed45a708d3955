//! From a cell of a suite to what theory says of it: which NATs stand on each side, and how far the peers are apart.

use std::time::Duration;

use crate::model::behavior::Behavior;
use crate::model::catalogue::Catalogue;
use crate::model::outcome::Expectation;
use crate::model::suite::{Cell, Suite};
use crate::model::theory::{self, Situation};
use crate::model::topology::{NodeKind, NodeName, Topology};

/// What theory says of a cell.
///
/// `None` for a method that theory does not know.
#[must_use]
pub fn expect(suite: &Suite, cell: &Cell, catalogue: &Catalogue) -> Option<Expectation> {
    let part = suite.part(cell);
    let way = Way::between(&part.topology, "peer-a", "peer-b")?;
    theory::expect(&Situation {
        a: behaviors(&part.topology, cell, catalogue, &way.up)?,
        b: behaviors(&part.topology, cell, catalogue, &way.down)?,
        common: behaviors(&part.topology, cell, catalogue, &part.topology.path_to_core(&way.top))?,
        competing: [0, 0],
        method: cell.method(),
        budget: part.budget,
        skew_ms: cell.skew().map_or(0.0, |skew| skew.as_secs_f64() * 1e3),
        trip: way.trip(&part.topology, cell.delay()),
    })
}

/// The way from one node to another: up to the node that carries both, and down again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The nodes below the top on the way up, the start first.
    pub up: Vec<NodeName>,
    /// The node that carries both.
    pub top: NodeName,
    /// The nodes below the top on the other side, the destination first.
    pub down: Vec<NodeName>,
}

impl Way {
    /// The way between two nodes; `None` if there is none.
    #[must_use]
    pub fn between(topology: &Topology, from: &str, to: &str) -> Option<Self> {
        let mut up = topology.path_to_core(&NodeName::new(from).ok()?);
        let mut down = topology.path_to_core(&NodeName::new(to).ok()?);
        let mut top = None;
        while up.last().is_some() && up.last() == down.last() {
            top = up.pop();
            down.pop();
        }
        Some(Self { up, top: top?, down })
    }

    /// One way from the first peer to the second; `delay` stands in for the delay of every wire.
    #[must_use]
    pub fn trip(&self, topology: &Topology, delay: Option<Duration>) -> Duration {
        let wire = |node: &NodeName| topology.nodes.get(node)?.up.as_ref()?.wire;
        let up = self.up.iter().filter_map(wire).map(|wire| wire.up.delay_or(delay));
        let down = self.down.iter().filter_map(wire).map(|wire| wire.down.delay_or(delay));
        up.chain(down).sum()
    }
}

/// The behaviours of the NATs among `nodes`, in their order; `None` if one has no value or is not in the catalogue.
fn behaviors<'a>(
    topology: &Topology,
    cell: &Cell,
    catalogue: &'a Catalogue,
    nodes: &[NodeName],
) -> Option<Vec<&'a Behavior>> {
    let is_nat = |node: &&NodeName| topology.nodes.get(*node).is_some_and(|n| n.kind == NodeKind::Nat);
    nodes.iter().filter(is_nat).map(|node| Some(&catalogue.get(cell.nat(node)?)?.behavior)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{embedded, topology_file};

    #[test]
    fn a_trip_crosses_both_wires() {
        let pair = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is embedded");
        let pair = topology_file::parse(pair.file, pair.text).expect("a good file");
        let way = Way::between(&pair, "peer-a", "peer-b").expect("a way");
        let names = |nodes: &[NodeName]| nodes.iter().map(NodeName::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!((names(&way.up), names(&way.down)), ("peer-a nat-a".into(), "peer-b nat-b".into()));
        assert_eq!(way.top.as_str(), "core");
        assert_eq!(way.trip(&pair, None), Duration::from_millis(10));
        assert_eq!(way.trip(&pair, Some(Duration::from_millis(50))), Duration::from_millis(100));
        assert_eq!(Way::between(&pair, "peer-a", "nobody"), None);
    }
}
