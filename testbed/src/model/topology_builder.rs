//! Draws a topology in code, node by node; [`crate::model::topology_file`] reads the same from a file.

use std::collections::BTreeMap;

use crate::model::addresses::Addresses;
use crate::model::conditions::{Conditions, LinkConditions};
use crate::model::topology::{NodeKind, NodeName, NodeSpec, Topology, TopologyError, Uplink};

/// A drawing under way. The core is there from the start; every other node names the node above it.
///
/// ```
/// use std::time::Duration;
/// use testbed::{Conditions, Topology};
///
/// let topology = Topology::builder("behind-cgn")
///     .nat("cgn", "core")
///     .nat("home-a", "cgn")
///     .host("peer-a", "home-a")
///     .wire("cgn", Conditions::delayed(Duration::from_millis(5)))
///     .build()?;
/// assert_eq!(topology.nodes.len(), 4);
/// # Ok::<(), testbed::TopologyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TopologyBuilder {
    name: String,
    nodes: Vec<DrawnNode>,
    wires: Vec<(String, LinkConditions)>,
}

/// A node as it was named, right or wrong.
#[derive(Debug, Clone)]
struct DrawnNode {
    name: String,
    kind: NodeKind,
    up: String,
}

impl Topology {
    /// Begins to draw a topology. `name` appears in messages.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> TopologyBuilder {
        TopologyBuilder { name: name.into(), nodes: Vec::new(), wires: Vec::new() }
    }
}

impl TopologyBuilder {
    /// Adds an end host below the node `up`.
    #[must_use]
    pub fn host(self, name: impl Into<String>, up: impl Into<String>) -> Self {
        self.node(name, NodeKind::Host, up)
    }

    /// Adds a NAT below the node `up`. It translates for everything below itself; the lab decides how.
    #[must_use]
    pub fn nat(self, name: impl Into<String>, up: impl Into<String>) -> Self {
        self.node(name, NodeKind::Nat, up)
    }

    /// Adds a router, which translates nothing, below the node `up`.
    #[must_use]
    pub fn router(self, name: impl Into<String>, up: impl Into<String>) -> Self {
        self.node(name, NodeKind::Router, up)
    }

    /// Adds an Ethernet switch below the node `up`: all nodes below it share one network.
    #[must_use]
    pub fn switch(self, name: impl Into<String>, up: impl Into<String>) -> Self {
        self.node(name, NodeKind::Switch, up)
    }

    /// Makes the link from `node` towards the core a wire with these conditions, both ways. A link without a wire has no
    /// delay and loses nothing.
    #[must_use]
    pub fn wire(self, node: impl Into<String>, conditions: Conditions) -> Self {
        self.asymmetric_wire(node, LinkConditions::symmetric(conditions))
    }

    /// As [`TopologyBuilder::wire`], with conditions for each direction.
    #[must_use]
    pub fn asymmetric_wire(mut self, node: impl Into<String>, conditions: LinkConditions) -> Self {
        self.wires.push((node.into(), conditions));
        self
    }

    fn node(mut self, name: impl Into<String>, kind: NodeKind, up: impl Into<String>) -> Self {
        self.nodes.push(DrawnNode { name: name.into(), kind, up: up.into() });
        self
    }

    /// The checked topology.
    ///
    /// # Errors
    /// When a name is no node name or is used twice, a wire belongs to no node, or the nodes are no tree below the core.
    pub fn build(self) -> Result<Topology, TopologyError> {
        let core = NodeSpec { kind: NodeKind::Router, up: None };
        let mut nodes = BTreeMap::from([(NodeName::core(), core)]);
        for DrawnNode { name, kind, up } in self.nodes {
            let spec = NodeSpec { kind, up: Some(Uplink { to: checked(&up)?, wire: None }) };
            if nodes.insert(checked(&name)?, spec).is_some() {
                return Err(TopologyError::Twice(name));
            }
        }
        for (node, conditions) in self.wires {
            let up = nodes.get_mut(&checked(&node)?).and_then(|spec| spec.up.as_mut());
            up.ok_or(TopologyError::NoLink(node))?.wire = Some(conditions);
        }
        let topology =
            Topology { name: self.name, summary: String::new(), nodes, addresses: Addresses::default() };
        topology.check().map(|()| topology)
    }
}

fn checked(name: &str) -> Result<NodeName, TopologyError> {
    NodeName::new(name).map_err(|why| TopologyError::BadName { name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_drawing_is_what_a_file_says() {
        let delayed = Conditions::delayed(Duration::from_millis(10));
        let drawn = Topology::builder("pair")
            .nat("nat-a", "core")
            .nat("nat-b", "core")
            .host("peer-a", "nat-a")
            .host("peer-b", "nat-b")
            .wire("nat-a", delayed)
            .wire("nat-b", delayed)
            .build()
            .expect("a good drawing");
        let read = Topology::named("pair").expect("it is built in");
        assert_eq!(drawn.nodes.keys().collect::<Vec<_>>(), read.nodes.keys().collect::<Vec<_>>());
        for (name, spec) in &drawn.nodes {
            let same = &read.nodes[name];
            assert_eq!(
                (spec.kind, spec.up.as_ref().map(|up| &up.to)),
                (same.kind, same.up.as_ref().map(|up| &up.to))
            );
            assert_eq!(
                spec.up.as_ref().is_some_and(|up| up.wire.is_some()),
                same.up.as_ref().is_some_and(|up| up.wire.is_some()),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_drawing_is_named() {
        let two = || Topology::builder("two").nat("nat-a", "core");
        for (drawing, expected) in [
            (
                two().host("Peer", "nat-a"),
                TopologyError::BadName {
                    name: "Peer".to_owned(),
                    why: "a node name is made of lower-case letters, digits and dashes",
                },
            ),
            (two().router("nat-a", "core"), TopologyError::Twice("nat-a".to_owned())),
            (two().router("core", "nat-a"), TopologyError::Twice("core".to_owned())),
            (two().wire("core", Conditions::default()), TopologyError::NoLink("core".to_owned())),
            (two().wire("nat-b", Conditions::default()), TopologyError::NoLink("nat-b".to_owned())),
            (
                two().host("peer-a", "nat-b"),
                TopologyError::UnknownUp { node: "peer-a".to_owned(), up: "nat-b".to_owned() },
            ),
        ] {
            assert_eq!(drawing.build(), Err(expected));
        }
    }
}
