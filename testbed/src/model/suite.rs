//! What one file asks for: a wiring, the axes to vary, and the programs to run in every cell.
//!
//! A suite is data that has been checked; `suite_file` makes it from TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::topology::{NodeName, Topology};

/// A checked suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// What the suite is called.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// The wiring.
    pub topology: Topology,
    /// The axes, in the order in which a cell's id names them.
    pub axes: Vec<Axis>,
    /// Trials a cell, at least 1.
    pub trials: u32,
    /// What one side may spend in a trial.
    pub budget: Budget,
    /// What is run.
    pub program: Program,
}

/// One axis with its values, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What varies.
    pub key: AxisKey,
    /// The values, as written, in the order of the file.
    pub values: Vec<String>,
}

/// What varies along an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AxisKey {
    /// The NAT in the place of this node; values are names of the catalogue.
    Nat(NodeName),
    /// The punching method; values are handed to the program, and known to the theory by name.
    Method,
    /// How much later than peer a, peer b begins; values are durations with a sign (`-50ms`).
    Skew,
    /// The one-way delay of every wire; values are durations.
    Delay,
    /// The probability that a wire loses a frame, 0 to 1.
    Loss,
    /// The order in which the first punching SYNs are delivered: `free`, `a-first`, `b-first`, `crossing`.
    Order,
}

/// What one side may spend in a trial. Theory uses these, never a program's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// SYNs, and so sockets, at least 1.
    pub syns: u32,
    /// Time from the start of the programs to the end of the trial.
    pub deadline: Duration,
    /// Whether it may punch from source ports below 1024.
    pub low_ports: LowPorts,
}

/// Whether source ports below 1024 may be used. Peers in a lab may always bind them: they are root where they live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LowPorts {
    /// If the program wants to.
    #[default]
    Allowed,
    /// The program's command forbids it.
    Forbidden,
}

impl Default for Budget {
    fn default() -> Self {
        Self { syns: 1280, deadline: Duration::from_secs(3), low_ports: LowPorts::default() }
    }
}

/// Command templates and how success is claimed; see `docs/puncher-contract.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The rendezvous server's command, program first; `None` where the method needs none.
    pub rendezvous: Option<Vec<String>>,
    /// The peers' command, program first.
    pub peer: Vec<String>,
    /// How a peer claims success.
    pub claim: Claim,
}

/// How a peer claims success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// By a `result` line of JSON and exit code 0.
    Json,
    /// By exit code 0.
    Exit,
    /// By a line on standard output that contains this text.
    Stdout(String),
}

/// One combination of the axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its position among all cells of the suite, before any filter.
    pub index: usize,
    /// The value of every axis.
    pub values: BTreeMap<AxisKey, String>,
    /// Its name: the values of NATs and method, then `key=value` of the other axes, joined by slashes.
    pub id: String,
}

impl Cell {
    /// The value of an axis.
    #[must_use]
    pub fn value(&self, key: &AxisKey) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The name of the NAT in the place of `node`.
    #[must_use]
    pub fn nat(&self, node: &NodeName) -> Option<&str> {
        self.value(&AxisKey::Nat(node.clone()))
    }

    /// The punching method; empty where the suite has no such axis.
    #[must_use]
    pub fn method(&self) -> &str {
        self.value(&AxisKey::Method).unwrap_or_default()
    }
}

impl fmt::Display for AxisKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat(node) => write!(f, "{node}"),
            Self::Method => f.write_str("method"),
            Self::Skew => f.write_str("skew"),
            Self::Delay => f.write_str("delay"),
            Self::Loss => f.write_str("loss"),
            Self::Order => f.write_str("order"),
        }
    }
}

impl Suite {
    /// All cells: the product of the axes, the last axis varying fastest.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut combinations: Vec<Vec<(AxisKey, String)>> = vec![Vec::new()];
        for axis in &self.axes {
            let extend = |so_far: &Vec<(AxisKey, String)>| {
                let with = |value: &String| {
                    let mut longer = so_far.clone();
                    longer.push((axis.key.clone(), value.clone()));
                    longer
                };
                axis.values.iter().map(with).collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(extend).collect();
        }
        let cell = |(index, values): (usize, Vec<(AxisKey, String)>)| {
            let id = cell_id(&values);
            Cell { index, id, values: values.into_iter().collect() }
        };
        combinations.into_iter().enumerate().map(cell).collect()
    }
}

/// The id of a cell, from its values in the order of the axes.
fn cell_id(values: &[(AxisKey, String)]) -> String {
    let part = |(key, value): &(AxisKey, String)| match key {
        AxisKey::Nat(_) | AxisKey::Method => value.clone(),
        _ => format!("{key}={value}"),
    };
    values.iter().map(part).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_the_product_of_the_axes_in_order() {
        let axis =
            |key, values: &[&str]| Axis { key, values: values.iter().map(|v| (*v).to_owned()).collect() };
        let suite = Suite {
            name: "t".into(),
            summary: String::new(),
            topology: Topology { name: "t".into(), summary: String::new(), nodes: BTreeMap::new() },
            axes: vec![
                axis(AxisKey::Nat(NodeName::new("nat-a").expect("a good name")), &["x", "y"]),
                axis(AxisKey::Method, &["auto"]),
                axis(AxisKey::Skew, &["0ms", "-5ms"]),
            ],
            trials: 1,
            budget: Budget::default(),
            program: Program { rendezvous: None, peer: vec!["p".into()], claim: Claim::Exit },
        };
        let ids: Vec<_> = suite.cells().into_iter().map(|c| c.id).collect();
        assert_eq!(ids, ["x/auto/skew=0ms", "x/auto/skew=-5ms", "y/auto/skew=0ms", "y/auto/skew=-5ms"]);
    }
}
