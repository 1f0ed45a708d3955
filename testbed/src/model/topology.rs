//! How a lab is wired: a tree of nodes whose root is the core.
//!
//! Every node but the core names the one node *above* it, towards the core; that is its default route. NATs translate
//! for everything below them. Wiring says nothing about how a NAT behaves: that is another axis.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::addresses::Addresses;
use crate::model::conditions::LinkConditions;

/// A drawing: named nodes, each with its way to the core.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// What the topology is called.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// All nodes by name, including the core.
    pub nodes: BTreeMap<NodeName, NodeSpec>,
    /// Which addresses its networks have.
    pub addresses: Addresses,
}

/// The name of a node: `peer-a`, `nat-b`, `core`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

/// What a node is and what it hangs on.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// What the node is.
    pub kind: NodeKind,
    /// The link towards the core; `None` for the core alone.
    pub up: Option<Uplink>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// An end host: runs programs, forwards nothing.
    Host,
    /// A NAT; which one is an axis of the suite, under the node's name.
    Nat,
    /// A router that translates nothing. The core is one.
    Router,
    /// An Ethernet switch: what hangs below it and what it hangs on share one network.
    Switch,
}

/// The link of a node towards the core.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    /// The node above.
    pub to: NodeName,
    /// `Some` makes the link a wire with these conditions; `None` is a bare veth pair without any delay.
    pub wire: Option<LinkConditions>,
}

impl NodeName {
    /// The root of every topology, where the rendezvous server runs.
    pub const CORE: &'static str = "core";

    /// Takes a name of 1 to 12 lower-case letters, digits and dashes, or says what is wrong with it.
    ///
    /// # Errors
    /// A sentence fragment that fits behind the name.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() || name.len() > 12 {
            return Err("a node name has 1 to 12 characters");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("a node name is made of lower-case letters, digits and dashes");
        }
        Ok(Self(name.to_owned()))
    }

    /// The core's name.
    #[must_use]
    pub fn core() -> Self {
        Self(Self::CORE.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for NodeName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// No topology of this name comes with testbed.
    #[error("unknown topology \"{0}\"")]
    Unknown(String),
    /// A name that no node may have.
    #[error("\"{name}\": {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The ranges of its addresses are too small.
    #[error("it has more networks of a kind than its addresses have room for")]
    OutOfAddresses,
    /// Two nodes have the same name.
    #[error("there are two nodes \"{0}\"")]
    Twice(String),
    /// A wire is meant for the link of a node that has no link towards the core, or does not exist.
    #[error("node \"{0}\" has no link towards the core that could be a wire")]
    NoLink(String),
    /// There is no node called `core`, or it is not a router, or it has something above it.
    #[error("a topology needs a router called \"core\" with nothing above it")]
    NoCore,
    /// A node names a node above it that does not exist.
    #[error("node \"{node}\" hangs on \"{up}\", which does not exist")]
    UnknownUp {
        /// The node.
        node: String,
        /// What it names.
        up: String,
    },
    /// A node cannot be reached from the core.
    #[error("node \"{0}\" has no way to the core")]
    Unreachable(String),
    /// Something hangs on a host.
    #[error("node \"{node}\" hangs on the host \"{up}\"; only routers, NATs and switches carry others")]
    BelowHost {
        /// The node.
        node: String,
        /// The host.
        up: String,
    },
}

impl Topology {
    /// Checks that the drawing is a tree below the core.
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of the node names.
    pub fn check(&self) -> Result<(), TopologyError> {
        let core = self.nodes.get(&NodeName::core()).ok_or(TopologyError::NoCore)?;
        if core.kind != NodeKind::Router || core.up.is_some() {
            return Err(TopologyError::NoCore);
        }
        for (name, spec) in &self.nodes {
            let Some(up) = &spec.up else {
                if name.as_str() == NodeName::CORE {
                    continue;
                }
                return Err(TopologyError::Unreachable(name.to_string()));
            };
            let above = self
                .nodes
                .get(&up.to)
                .ok_or_else(|| TopologyError::UnknownUp { node: name.to_string(), up: up.to.to_string() })?;
            if above.kind == NodeKind::Host {
                return Err(TopologyError::BelowHost { node: name.to_string(), up: up.to.to_string() });
            }
            if self.path_to_core(name).last().map(|n| n.as_str()) != Some(NodeName::CORE) {
                return Err(TopologyError::Unreachable(name.to_string()));
            }
        }
        Ok(())
    }

    /// The nodes from `name` (included) up to the core (included), as far as they exist; stops at a loop.
    #[must_use]
    pub fn path_to_core(&self, name: &NodeName) -> Vec<NodeName> {
        let mut path = vec![name.clone()];
        while let Some(up) = self.nodes.get(&path[path.len() - 1]).and_then(|n| n.up.as_ref()) {
            if path.contains(&up.to) {
                break;
            }
            path.push(up.to.clone());
        }
        path
    }

    /// The NATs between `name` and the core, innermost first.
    #[must_use]
    pub fn nats_above(&self, name: &NodeName) -> Vec<NodeName> {
        let is_nat = |n: &NodeName| self.nodes.get(n).is_some_and(|s| s.kind == NodeKind::Nat);
        self.path_to_core(name).into_iter().skip(1).filter(is_nat).collect()
    }

    /// All nodes of a kind, in the order of their names.
    pub fn of_kind(&self, kind: NodeKind) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().filter(move |(_, spec)| spec.kind == kind).map(|(name, _)| name)
    }
}
