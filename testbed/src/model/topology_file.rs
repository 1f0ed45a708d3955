//! A topology as TOML: the serde mirror, and the way from it to a checked [`Topology`].

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::model::addresses::Addresses;
use crate::model::conditions::{Conditions, LinkConditions};
use crate::model::embedded::{self, TOPOLOGIES};
use crate::model::problem::{Checker, Problems};
use crate::model::quantity;
use crate::model::topology::{NodeKind, NodeName, NodeSpec, Topology, TopologyError, Uplink};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopologyDoc {
    name: String,
    summary: String,
    node: Spanned<BTreeMap<Spanned<String>, NodeDoc>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NodeDoc {
    kind: KindDoc,
    up: Option<Spanned<String>>,
    wire: Option<Spanned<WireDoc>>,
    wire_up: Option<Spanned<WireDoc>>,
    wire_down: Option<Spanned<WireDoc>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum KindDoc {
    Host,
    Nat,
    Router,
    Switch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDoc {
    delay: Option<Spanned<String>>,
    jitter: Option<Spanned<String>>,
    loss: Option<Spanned<f64>>,
    duplication: Option<Spanned<f64>>,
    reordering: Option<Spanned<f64>>,
    rate: Option<Spanned<String>>,
}

impl From<KindDoc> for NodeKind {
    fn from(kind: KindDoc) -> Self {
        match kind {
            KindDoc::Host => Self::Host,
            KindDoc::Nat => Self::Nat,
            KindDoc::Router => Self::Router,
            KindDoc::Switch => Self::Switch,
        }
    }
}

impl Topology {
    /// A topology that comes with testbed; `testbed list` names them all.
    ///
    /// ```
    /// use testbed::Topology;
    /// assert!(Topology::named("pair").is_ok() && Topology::named("pear").is_err());
    /// ```
    ///
    /// # Errors
    /// [`TopologyError::Unknown`] when there is none of that name.
    ///
    /// # Panics
    /// Never: a test reads all of them.
    pub fn named(name: &str) -> Result<Self, TopologyError> {
        let found =
            embedded::find(TOPOLOGIES, name).ok_or_else(|| TopologyError::Unknown(name.to_owned()))?;
        Ok(parse(found.file, found.text).expect("the embedded topologies are tested"))
    }
}

/// Reads and checks a topology; `file` is the name that problems carry.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Topology, Problems> {
    let mut checker = Checker::new(file, text);
    let doc: TopologyDoc = checker.read()?;
    let whole = doc.node.span();
    let mut nodes = BTreeMap::new();
    for (name, node) in doc.node.into_inner() {
        let span = name.span();
        let refuse = |why: &str| format!("\"{}\": {why}", name.get_ref());
        let checked = NodeName::new(name.get_ref()).map_err(refuse);
        if let (Some(name), Some(spec)) =
            (checker.keep(span.clone(), checked), node_spec(&mut checker, span, &node))
        {
            nodes.insert(name, spec);
        }
    }
    let topology = Topology { name: doc.name, summary: doc.summary, nodes, addresses: Addresses::default() };
    if checker.is_clean() {
        checker.keep(whole, topology.check());
    }
    checker.finish(Some(topology))
}

/// The checked form of a node; `None` when a problem was noted.
fn node_spec(checker: &mut Checker<'_>, span: Range<usize>, node: &NodeDoc) -> Option<NodeSpec> {
    let kind = node.kind.into();
    let wire = link_conditions(checker, node)?;
    let Some(up) = &node.up else {
        if wire.is_some() {
            checker.report(span, "a wire needs a node above: add up = \"…\"");
        }
        return Some(NodeSpec { kind, up: None });
    };
    let to = checker.keep(up.span(), NodeName::new(up.get_ref()))?;
    Some(NodeSpec { kind, up: Some(Uplink { to, wire }) })
}

/// The wire of a node's link, if it has one; the outer `None` means that a problem was noted.
fn link_conditions(checker: &mut Checker<'_>, node: &NodeDoc) -> Option<Option<LinkConditions>> {
    let (both, up, down) = (&node.wire, &node.wire_up, &node.wire_down);
    if let (Some(_), Some(one_way)) = (both, up.as_ref().or(down.as_ref())) {
        checker.report(one_way.span(), "a link has either a wire or a wire-up and a wire-down, not both");
        return None;
    }
    if let Some(both) = both {
        return Some(Some(LinkConditions::symmetric(conditions(checker, both.get_ref())?)));
    }
    match (up, down) {
        (None, None) => Some(None),
        (Some(up), Some(down)) => {
            let up = conditions(checker, up.get_ref());
            let down = conditions(checker, down.get_ref());
            Some(Some(LinkConditions { up: up?, down: down? }))
        }
        (Some(one), None) | (None, Some(one)) => {
            checker.report(one.span(), "wire-up and wire-down come together");
            None
        }
    }
}

/// The checked form of a wire; `None` when a problem was noted.
fn conditions(checker: &mut Checker<'_>, wire: &WireDoc) -> Option<Conditions> {
    let delay = optional(checker, wire.delay.as_ref(), |text| quantity::delay(text));
    let jitter = optional(checker, wire.jitter.as_ref(), |text| quantity::delay(text));
    let loss = optional(checker, wire.loss.as_ref(), probability);
    let duplication = optional(checker, wire.duplication.as_ref(), probability);
    let reordering = optional(checker, wire.reordering.as_ref(), probability);
    let rate = optional(checker, wire.rate.as_ref(), |text| quantity::rate(text).map(Some));
    Some(Conditions {
        delay: delay?,
        jitter: jitter?,
        loss: loss?,
        duplication: duplication?,
        reordering: reordering?,
        rate: rate?,
    })
}

fn probability(value: &f64) -> Result<f64, String> {
    quantity::probability(&value.to_string())
}

/// The checked value, its default where there is none; `None` when a problem was noted.
fn optional<D, T: Default>(
    checker: &mut Checker<'_>,
    value: Option<&Spanned<D>>,
    check: impl Fn(&D) -> Result<T, String>,
) -> Option<T> {
    match value {
        None => Some(T::default()),
        Some(value) => checker.keep(value.span(), check(value.get_ref())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GOOD: &str = r#"
name = "t"
summary = "s"
[node.core]
kind = "router"
[node.nat-a]
kind = "nat"
up = "core"
wire = { delay = "5ms", loss = 0.1, rate = "10Mbit" }
[node.peer-a]
kind = "host"
up = "nat-a"
wire-up = { delay = "1ms" }
wire-down = { delay = "2ms" }
"#;

    #[test]
    fn a_good_file_becomes_a_topology() {
        let topology = parse("t.toml", GOOD).expect("a good file");
        let wire = |name: &str| {
            let name = NodeName::new(name).expect("a good name");
            topology.nodes[&name].up.as_ref().and_then(|up| up.wire)
        };
        let nat = wire("nat-a").expect("a wire");
        assert_eq!((nat.up, nat.up.loss, nat.up.rate), (nat.down, 0.1, Some(10_000_000)));
        let peer = wire("peer-a").expect("a wire");
        assert_eq!((peer.up.delay, peer.down.delay), (Duration::from_millis(1), Duration::from_millis(2)));
    }

    #[test]
    fn each_problem_is_named_with_its_line() {
        for (from, to, expected) in [
            ("kind = \"nat\"", "kind = \"nta\"", "t.toml:7: unknown value \"nta\""),
            ("up = \"core\"", "up = \"cor\"", "hangs on \"cor\", which does not exist"),
            ("0.1", "1.5", "t.toml:9: \"1.5\" is not a probability"),
            ("5ms", "5 meters", "t.toml:9: \"5 meters\" is not a duration"),
            ("wire-down", "wire", "t.toml:13: a link has either a wire or"),
            ("wire-down = { delay = \"2ms\" }", "", "t.toml:13: wire-up and wire-down come together"),
            ("peer-a", "Peer_A", "t.toml:10: \"Peer_A\": a node name is made of"),
            ("loss", "los", "t.toml:9: unknown key \"los\""),
            ("summary = \"s\"\n", "", "the key \"summary\" is missing"),
        ] {
            let problems = parse("t.toml", &GOOD.replacen(from, to, 1)).expect_err(expected).to_string();
            assert!(problems.contains(expected), "expected {expected}\nobserved {problems}");
        }
    }
}
