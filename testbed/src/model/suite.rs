//! What one file asks for: wirings, the axes to vary on each, and the programs to run in every cell.
//!
//! A suite is data that has been checked; `suite_file` makes it from TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::conditions::{Conditions, LinkConditions};
use crate::model::expectation::Expectation;
use crate::model::topology::{NodeName, Topology};

pub use crate::model::program::{Program, Redial, ResultFormat};

/// The most trials that a cell may have: more would take a machine hours, and show no smaller change that matters.
pub const MOST_TRIALS: u32 = 1_000_000;

/// A checked suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// What the suite is called.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Its parts, at least one.
    pub parts: Vec<Arc<Section>>,
    /// The folder of its file, if a command names it.
    pub folder: Option<PathBuf>,
    /// Sentences about names that may be a typing error and may be meant: methods of a foreign program.
    pub doubts: Vec<String>,
}

/// A part of a suite: the product of some axes over one wiring.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// What the part is called; empty where it is the whole suite.
    pub name: String,
    /// One sentence for people; empty where the suite's says it all.
    pub summary: String,
    /// The wiring.
    pub topology: Topology,
    /// The axes, in the order in which a cell's id names them.
    pub axes: Vec<Axis>,
    /// Two axes of which no combination is wanted twice, the other way round.
    pub unordered: Option<[AxisKey; 2]>,
    /// Trials a cell, at least 1.
    pub trials: u32,
    /// What one side may spend in a trial.
    pub budget: Budget,
    /// What is run.
    pub program: Program,
    /// What is known of some cells from elsewhere than theory, and goes before it. The first that fits counts.
    pub recorded: Vec<RecordedExpectation>,
}

/// What is known of some cells from elsewhere than theory.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedExpectation {
    /// The axes that decide, with the values that are meant.
    pub cells: Vec<(AxisKey, Vec<String>)>,
    /// What is expected of these cells.
    pub expected: Expectation,
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
    /// Connections a second that the other hosts behind a NAT open, the topology's `neighbour…` each as many.
    Neighbours,
    /// Each frame on a wire is delayed by up to so much more; values are durations.
    Jitter,
    /// The probability that a wire delivers a frame twice, 0 to 1.
    Duplication,
    /// The probability that a frame overtakes those before it, 0 to 1.
    Reordering,
    /// The largest packet on every device, 68 to 1500 bytes.
    Mtu,
    /// What goes wrong while both peers' first punching SYNs are on their way.
    Trouble,
    /// The SYNs that one side may spend, instead of what the part says.
    BudgetSyns,
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

/// Whether source ports below 1024 may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LowPorts {
    /// If the program wants to.
    #[default]
    Allowed,
    /// The program's command forbids it, and so do the peers' nodes.
    Forbidden,
}

impl fmt::Display for LowPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allowed => "when-permitted",
            Self::Forbidden => "never",
        })
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { syns: 1280, deadline: Duration::from_secs(3), low_ports: LowPorts::default() }
    }
}

/// The local ports that peers punch from: above the privileged ones and below the kernel's ephemeral range, and far from
/// where the sequential NATs of the catalogue begin.
pub const LOCAL_PORTS: std::ops::Range<u16> = 4_000..20_000;

/// One combination of the axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its position among all cells of the suite, before any filter.
    pub index: usize,
    /// The part of the suite that it belongs to.
    pub part: SectionRef,
    /// The value of every axis.
    pub values: BTreeMap<AxisKey, String>,
    /// Its name: the part's where it has one, the values of NATs and method, then `key=value` of the other axes, joined
    /// by slashes.
    pub id: String,
}

/// Which part of its suite a cell belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SectionRef {
    /// Its place among the parts.
    pub number: usize,
    /// Its name; empty where it is the whole suite.
    pub name: String,
    /// The name of its wiring.
    pub topology: String,
}

impl RecordedExpectation {
    /// Whether it is about this cell.
    #[must_use]
    pub fn fits(&self, cell: &Cell) -> bool {
        let means = |(key, values): &(AxisKey, Vec<String>)| {
            cell.value(key).is_some_and(|value| values.iter().any(|meant| meant == value))
        };
        self.cells.iter().all(means)
    }
}

impl Cell {
    /// The value of an axis.
    #[must_use]
    pub fn value(&self, key: &AxisKey) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// What a wire does in this cell that the topology has planned so.
    #[must_use]
    pub fn conditions(&self, planned: LinkConditions) -> LinkConditions {
        let here = |planned: Conditions| Conditions {
            delay: planned.delay_or(self.delay()),
            loss: self.loss().unwrap_or(planned.loss),
            jitter: self.jitter().unwrap_or(planned.jitter),
            duplication: self.duplication().unwrap_or(planned.duplication),
            reordering: self.reordering().unwrap_or(planned.reordering),
            rate: planned.rate,
        };
        LinkConditions { up: here(planned.up), down: here(planned.down) }
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

/// The names of all axes but those of NATs, which go by their node: one list, so that none can be left out.
macro_rules! axis_names {
    ($($key:ident => $word:literal),+ $(,)?) => {
        impl AxisKey {
            /// All axes but those of NATs.
            pub const NAMED: &'static [Self] = &[$(Self::$key),+];
        }

        impl fmt::Display for AxisKey {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Nat(node) => write!(f, "{node}"),
                    $(Self::$key => f.write_str($word)),+
                }
            }
        }
    };
}

axis_names! {
    Method => "method",
    Skew => "skew",
    Delay => "delay",
    Loss => "loss",
    Order => "order",
    Neighbours => "neighbours",
    Jitter => "jitter",
    Duplication => "duplication",
    Reordering => "reordering",
    Mtu => "mtu",
    Trouble => "trouble",
    BudgetSyns => "budget-syns",
}

impl Suite {
    /// All cells, part by part.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let parts = self.parts.iter().enumerate();
        let all = parts.flat_map(|(number, part)| part.cells(number)).enumerate();
        all.map(|(index, cell)| Cell { index, ..cell }).collect()
    }

    /// The part that a cell of this suite belongs to.
    #[must_use]
    pub fn part(&self, cell: &Cell) -> &Arc<Section> {
        &self.parts[cell.part.number]
    }

    /// Lets `change` change every part.
    pub fn change_sections(&mut self, mut change: impl FnMut(&mut Section)) {
        self.parts.iter_mut().for_each(|part| change(Arc::make_mut(part)));
    }

    /// The names of all axes of all parts, in the order in which they occur.
    #[must_use]
    pub fn axis_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for axis in self.parts.iter().flat_map(|part| &part.axes) {
            let name = axis.key.to_string();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The most trials that a cell has.
    #[must_use]
    pub fn trials_at_most(&self) -> u32 {
        self.parts.iter().map(|part| part.trials).max().unwrap_or_default()
    }
}

/// The values of a cell in the order of the axes.
type Combination = Vec<(AxisKey, String)>;

impl Section {
    /// What one side may spend in a trial of this cell.
    #[must_use]
    pub fn budget_of(&self, cell: &Cell) -> Budget {
        Budget { syns: cell.budget_syns().unwrap_or(self.budget.syns), ..self.budget }
    }

    /// The product of the axes, the last axis varying fastest; what lies twice along unordered axes comes once.
    fn cells(&self, number: usize) -> Vec<Cell> {
        let mut combinations: Vec<Combination> = vec![Vec::new()];
        for axis in &self.axes {
            let extend = |so_far: &Combination| {
                let with = |value: &String| {
                    let mut longer = so_far.clone();
                    longer.push((axis.key.clone(), value.clone()));
                    longer
                };
                axis.values.iter().map(with).collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(extend).collect();
        }
        let mut seen = BTreeSet::new();
        combinations
            .retain(|values| self.unordered.as_ref().is_none_or(|pair| seen.insert(sorted(values, pair))));
        let part = SectionRef { number, name: self.name.clone(), topology: self.topology.name.clone() };
        let cell = |values: Combination| {
            let id = cell_id(&self.name, &values);
            Cell { index: 0, part: part.clone(), id, values: values.into_iter().collect() }
        };
        combinations.into_iter().map(cell).collect()
    }
}

/// A combination with the values of two axes in the order of the alphabet.
fn sorted(values: &Combination, pair: &[AxisKey; 2]) -> BTreeMap<AxisKey, String> {
    let mut sorted: BTreeMap<AxisKey, String> = values.iter().cloned().collect();
    if let (Some(one), Some(other)) = (sorted.get(&pair[0]).cloned(), sorted.get(&pair[1]).cloned())
        && other < one
    {
        sorted.insert(pair[0].clone(), other);
        sorted.insert(pair[1].clone(), one);
    }
    sorted
}

/// The id of a cell, from its values in the order of the axes.
fn cell_id(part: &str, values: &[(AxisKey, String)]) -> String {
    let value = |(key, value): &(AxisKey, String)| match key {
        AxisKey::Nat(_) | AxisKey::Method => value.clone(),
        _ => format!("{key}={value}"),
    };
    let part = (!part.is_empty()).then(|| part.to_owned());
    part.into_iter().chain(values.iter().map(value)).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addresses::Addresses;

    fn nat(node: &str) -> AxisKey {
        AxisKey::Nat(NodeName::new(node).expect("a good name"))
    }

    fn part(name: &str, axes: &[(AxisKey, &[&str])]) -> Section {
        let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        Section {
            name: name.into(),
            summary: String::new(),
            topology: Topology {
                name: "t".into(),
                summary: String::new(),
                nodes: BTreeMap::new(),
                addresses: Addresses::default(),
            },
            axes: axes.iter().map(|(key, values)| Axis { key: key.clone(), values: owned(values) }).collect(),
            unordered: None,
            trials: 1,
            budget: Budget::default(),
            program: Program::new(vec!["p".into()], ResultFormat::Exit),
            recorded: Vec::new(),
        }
    }

    fn ids(parts: Vec<Section>) -> Vec<String> {
        let parts = parts.into_iter().map(Arc::new).collect();
        let cells =
            Suite { name: "t".into(), summary: String::new(), parts, folder: None, doubts: Vec::new() }
                .cells();
        assert!(cells.iter().enumerate().all(|(index, cell)| cell.index == index));
        cells.into_iter().map(|c| c.id).collect()
    }

    #[test]
    fn cells_are_the_product_of_the_axes_in_order() {
        let only = part(
            "",
            &[(nat("nat-a"), &["x", "y"]), (AxisKey::Method, &["auto"]), (AxisKey::Skew, &["0ms", "-5ms"])],
        );
        assert_eq!(
            ids(vec![only]),
            ["x/auto/skew=0ms", "x/auto/skew=-5ms", "y/auto/skew=0ms", "y/auto/skew=-5ms"]
        );
    }

    #[test]
    fn the_cells_of_named_parts_follow_each_other() {
        let parts = vec![
            part("one", &[(nat("nat-a"), &["x"])]),
            part("two", &[(nat("home"), &["x", "y"]), (nat("cgn"), &["z"])]),
        ];
        assert_eq!(ids(parts), ["one/x", "two/x/z", "two/y/z"]);
    }

    #[test]
    fn unordered_axes_have_each_pair_once() {
        let axes: [(AxisKey, &[&str]); 3] =
            [(nat("nat-a"), &["x", "y"]), (nat("nat-b"), &["y", "x"]), (AxisKey::Method, &["m", "n"])];
        let unordered = Some([nat("nat-a"), nat("nat-b")]);
        let one = Section { unordered, ..part("", &axes) };
        assert_eq!(ids(vec![one]), ["x/y/m", "x/y/n", "x/x/m", "x/x/n", "y/y/m", "y/y/n"]);
    }
}
