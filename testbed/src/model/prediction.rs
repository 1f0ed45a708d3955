//! From a cell of a suite to what theory says of it: which NATs stand on each side, and how far the peers are apart.

use std::time::Duration;

use crate::model::axis_value::{self, Trouble};
use crate::model::behavior::{
    Allocation, Behavior, ExternalAddresses, Mapping, Pool, Translation, UnsolicitedSyn,
};
use crate::model::catalogue::Catalogue;
use crate::model::conditions::{Conditions, LinkConditions};
use crate::model::datapath::Datapath;
use crate::model::outcome::{Expectation, NoExpectation};
use crate::model::suite::{AxisKey, Cell, Suite};
use crate::model::theory::{self, Method, TheoryInput};
use crate::model::topology::{NodeKind, NodeName, Topology};

/// What the suite has recorded of a cell, or else what theory says of it.
///
/// # Errors
/// Why theory says nothing: it does not know the method, or not what such a network does to it.
pub fn expect(suite: &Suite, cell: &Cell, catalogue: &Catalogue) -> Result<Expectation, NoExpectation> {
    let part = suite.part(cell);
    if let Some(recorded) = part.recorded.iter().find(|recorded| recorded.fits(cell)) {
        return Ok(recorded.expected.clone());
    }
    // Any other name belongs to a foreign program, and theory has nothing to say of it.
    let method: Method = cell.method().parse().map_err(|_| silent("theory does not know this method"))?;
    let unknown = || silent("theory does not know what stands between the peers");
    let way = NodePath::between(&part.topology, "peer-a", "peer-b").ok_or_else(unknown)?;
    let whole = part.topology.path_to_core(&way.top);
    if way.up.iter().chain(&way.down).chain(&whole).any(|node| is_of_sockets(cell, catalogue, node)) {
        return Err(silent("theory does not know what a NAT does that ends connections and opens its own"));
    }
    let nats = |nodes: &[NodeName]| behaviors(&part.topology, cell, catalogue, nodes).ok_or_else(unknown);
    let input = TheoryInput {
        a: nats(&way.up)?,
        b: nats(&way.down)?,
        common: nats(&whole)?,
        competing: [0, 0],
        method,
        budget: part.budget_of(cell),
        skew_ms: cell.skew().map_or(0.0, |skew| skew.as_secs_f64() * 1e3),
        trip: way.trip(&part.topology, cell.delay()),
        reach: way.reach(&part.topology, cell.delay()),
        redial: part.program.redial,
    };
    // What never happens with a large pool may happen with these.
    if has_few_ports(&input) {
        return Err(silent("theory does not count the ports of a small pool that are in use, or come again"));
    }
    let expected = disturbed(&input, competitors(&part.topology, &way, cell, input.trip));
    let unsettled = unsettled(cell, &input, &way.wires(&part.topology))
        .or_else(|| too_far(&input, way.trip_back(&part.topology, cell.delay())));
    match unsettled {
        // What cannot be does not come about because packets are lost or come late.
        Some(why) if expected.high > 0.0 => Err(silent(&why)),
        _ if expected.low <= 0.0 && expected.high >= 1.0 => {
            Err(silent(&format!("theory does not decide between 0 % and 100 %: {}", expected.because)))
        }
        _ => Ok(expected),
    }
}

fn silent(because: &str) -> NoExpectation {
    NoExpectation { because: because.to_owned() }
}

/// Whether a node is a NAT through which no packet passes.
fn is_of_sockets(cell: &Cell, catalogue: &Catalogue, node: &NodeName) -> bool {
    let profile = cell.nat(node).and_then(|name| catalogue.get(name));
    profile.is_some_and(|profile| profile.datapath == Datapath::Sockets)
}

/// What of the wires theory does not reckon with, if there is something.
fn unsettled(cell: &Cell, input: &TheoryInput<'_>, wires: &[LinkConditions]) -> Option<String> {
    let here = |planned: &LinkConditions| cell.conditions(*planned);
    // An axis may be there without a wire that it changes.
    let wires: Vec<Conditions> = wires
        .iter()
        .chain(&[LinkConditions::default()])
        .map(here)
        .flat_map(|wire| [wire.up, wire.down])
        .collect();
    let one = |does: fn(&Conditions) -> bool| wires.iter().any(does);
    if one(|wire| wire.loss > 0.0) {
        return Some("theory does not know how often a program that loses packets tries again".to_owned());
    }
    if let Some(why) = not_reckoned_with(cell, input) {
        return Some(why.to_owned());
    }
    // Where every refusal is silence, packets that come twice, late or before others only come again.
    let nats = input.a.iter().chain(&input.b).chain(&input.common);
    let answers = nats.into_iter().any(|nat| answers_a_syn(nat));
    let axes = [
        (AxisKey::Jitter, one(|wire| !wire.jitter.is_zero())),
        (AxisKey::Duplication, one(|wire| wire.duplication > 0.0)),
        (AxisKey::Reordering, one(|wire| wire.reordering > 0.0)),
    ];
    let (axis, _) = axes.into_iter().find(|(_, does)| *does && answers)?;
    Some(format!(
        "theory does not know what {axis} does to a NAT that answers a SYN which it does not expect"
    ))
}

/// Whether the deadline may not leave enough time for so long a way. With 3 s, `puncher` connects over trips of 250 ms and not over
/// trips of 400 ms: it meets the server, measures, meets its peer, dials, and proves who it is.
fn too_far(input: &TheoryInput<'_>, back: Duration) -> Option<String> {
    const TRIPS: u32 = 12;
    let trips = (input.trip + back) / 2 * TRIPS;
    let skew = Duration::from_secs_f64(input.skew_ms.abs() / 1e3);
    let is_short = trips + skew > input.budget.deadline;
    is_short
        .then(|| "theory does not know whether the deadline leaves enough time for so long a way".to_owned())
}

/// A quota below this may be used up by what finds out about the NAT.
const FEW_MAPPINGS: u32 = 16;

/// How much older than its deadline a connection of a trial may be: programs have to start, and measure first.
const BEFORE_DEADLINE: Duration = Duration::from_secs(10);

/// What of the NATs theory does not reckon with, if there is something: mappings that are refused or forgotten.
fn not_reckoned_with(cell: &Cell, input: &TheoryInput) -> Option<&'static str> {
    let nats = || input.a.iter().chain(&input.b).chain(&input.common);
    let oldest = input.budget.deadline + BEFORE_DEADLINE;
    if nats().any(|nat| nat.timeouts.absolute.is_some_and(|timeout| timeout <= oldest)) {
        return Some(
            "a NAT ends connections at an absolute timeout that a trial may outlast, and theory does not know which",
        );
    }
    // Whatever the interval, nobody knows when it began.
    if nats().any(|nat| nat.timeouts.flush_every.is_some()) {
        return Some("theory does not know when in a trial a NAT forgets everything");
    }
    if nats().any(|nat| nat.quota.is_some_and(|quota| quota < FEW_MAPPINGS)) {
        return Some("theory does not count the mappings that a small quota allows");
    }
    let comes_again = |nat: &Behavior| {
        nat.translation != Translation::Nat
            || nat.mapping == Mapping::EndpointIndependent
                && nat.allocation == Allocation::Preserving
                && nat.addresses == ExternalAddresses::ONE
    };
    let many = matches!(input.method, Method::Auto | Method::Spray);
    if many && nats().any(|nat| nat.syn_after_syn.ends_the_first()) {
        return Some(
            "theory does not know which of many tries comes first where a NAT resets a SYN after a SYN",
        );
    }
    match cell.trouble()? {
        Trouble::None | Trouble::LinkDown => None,
        Trouble::NatRestarts if input.a.iter().all(|nat| comes_again(nat)) => None,
        Trouble::NatRestarts => {
            Some("theory does not know which mappings come again when a NAT has restarted")
        }
        Trouble::NatRenumbered => {
            Some("theory does not know how a program learns that a NAT has another address")
        }
    }
}

/// Whether a NAT that draws or counts its ports has so few that one punch may use them up, or come to the same ones again.
fn has_few_ports(input: &TheoryInput<'_>) -> bool {
    const FEW: u32 = 64;
    let few = |nat: &&Behavior| {
        let step = match nat.allocation {
            Allocation::Sequential { step } => u32::from(step.unsigned_abs()).max(1),
            Allocation::Random => 1,
            _ => return false,
        };
        let ports = match &nat.pool {
            Pool::Kernel => return false,
            Pool::Range(range) => range.size(),
            Pool::Ranges(ranges) => ranges.size(),
            Pool::Blocks { size, .. } => u32::from(*size),
        };
        nat.translation == Translation::Nat && ports / step < FEW
    };
    let tries_much = matches!(input.method, Method::Auto | Method::Spray | Method::ObservedPort);
    tries_much && input.a.iter().chain(&input.b).chain(&input.common).copied().any(|nat| few(&nat))
}

/// Whether a SYN that it does not let in gets an answer.
fn answers_a_syn(nat: &Behavior) -> bool {
    let unsolicited = match nat.unsolicited_syn {
        UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds => false,
        UnsolicitedSyn::Reset | UnsolicitedSyn::Icmp(_) | UnsolicitedSyn::Kernel => true,
    };
    unsolicited || nat.syn_after_syn.ends_the_first()
}

/// Trips from the moment when a peer's own mappings are measured until its punching SYN makes another one: to the
/// server and back twice, for the handshake of the measuring connections and for what they carry.
const TRIPS_BETWEEN: f64 = 2.0;

/// … and what the programs take for it.
const WORK_BETWEEN: Duration = Duration::from_millis(3);

/// Competing mappings that are reckoned with at most: no method finds its way among more.
const MANY: u32 = 128;

/// Mappings that neighbours are expected to make on each side between measurement and punch.
fn competitors(topology: &Topology, way: &NodePath, cell: &Cell, trip: Duration) -> [f64; 2] {
    let rate = cell.neighbours().unwrap_or_default();
    let between = trip.as_secs_f64() * TRIPS_BETWEEN + WORK_BETWEEN.as_secs_f64();
    [&way.up, &way.down].map(|side| {
        let above =
            |host: &&&NodeName| topology.nats_above(host).first().is_some_and(|nat| side.contains(nat));
        let hosts = axis_value::neighbours(topology);
        rate * between * hosts.iter().filter(above).count() as f64
    })
}

/// A difference of probabilities that comes of rounding, and of what is left out beyond [`MANY`].
const NOTHING: f64 = 1e-9;

/// What theory says where neighbours make this many mappings on average, each side's number being a Poisson variable.
fn disturbed(input: &TheoryInput<'_>, means: [f64; 2]) -> Expectation {
    let quiet = theory::expect(input);
    if means == [0.0, 0.0] {
        return quiet;
    }
    let [a, b] = means.map(poisson);
    let [mut low, mut middle, mut high] = [0.0; 3];
    for (competing_a, chance_a) in (0..).zip(&a) {
        for (competing_b, chance_b) in (0..).zip(&b) {
            let input = TheoryInput { competing: [competing_a, competing_b], ..input.clone() };
            let (chance, expected) = (chance_a * chance_b, theory::expect(&input));
            low += chance * expected.low;
            middle += chance * expected.probability;
            high += chance * expected.high;
        }
    }
    if (middle - quiet.probability).abs() < NOTHING {
        return quiet;
    }
    let [low, middle, high] = [low, middle, high].map(|probability| probability.clamp(0.0, 1.0));
    let because = format!(
        "{}, as long as no neighbour takes it first: between measurement and punch they open {:.1} connections \
         behind NAT-a and {:.1} behind NAT-b on average",
        quiet.because, means[0], means[1]
    );
    Expectation::between(middle, [low, high], because)
}

/// The probabilities of 0, 1, 2, … events where `mean` are expected; what lies beyond [`MANY`] is left out.
fn poisson(mean: f64) -> Vec<f64> {
    let next = |(number, chance): &(u32, f64)| Some((number + 1, chance * mean / f64::from(number + 1)));
    let all = std::iter::successors(Some((0, (-mean).exp())), next).take_while(|(number, _)| *number <= MANY);
    // Nothing follows when nothing is expected.
    all.map(|(_, chance)| chance).take_while(|chance| *chance > 1e-12 || mean > 1.0).collect()
}

/// The way from one node to another: up to the node that carries both, and down again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePath {
    /// The nodes below the top on the way up, the start first.
    pub up: Vec<NodeName>,
    /// The node that carries both.
    pub top: NodeName,
    /// The nodes below the top on the other side, the destination first.
    pub down: Vec<NodeName>,
}

impl NodePath {
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

    /// What the topology has planned for the wires that packets take between the peers and from each of them to the core.
    #[must_use]
    pub fn wires(&self, topology: &Topology) -> Vec<LinkConditions> {
        let above = topology.path_to_core(&self.top);
        let nodes = self.up.iter().chain(&self.down).chain(&above);
        nodes.filter_map(|node| topology.nodes.get(node)?.up.as_ref()?.wire).collect()
    }

    /// One way from the first peer to the second; `delay` stands in for the delay of every wire.
    #[must_use]
    pub fn trip(&self, topology: &Topology, delay: Option<Duration>) -> Duration {
        let wire = |node: &NodeName| topology.nodes.get(node)?.up.as_ref()?.wire;
        let up = self.up.iter().filter_map(wire).map(|wire| wire.up.delay_or(delay));
        let down = self.down.iter().filter_map(wire).map(|wire| wire.down.delay_or(delay));
        up.chain(down).sum()
    }

    /// One way from the second peer to the first.
    #[must_use]
    pub fn trip_back(&self, topology: &Topology, delay: Option<Duration>) -> Duration {
        let back = Self { up: self.down.clone(), top: self.top.clone(), down: self.up.clone() };
        back.trip(topology, delay)
    }

    /// One way from the first peer to the first NAT on the way down, and from the second peer to the last on the way up: where
    /// a refusal may come from at the earliest.
    #[must_use]
    pub fn reach(&self, topology: &Topology, delay: Option<Duration>) -> [Duration; 2] {
        let wire = |node: &NodeName| topology.nodes.get(node)?.up.as_ref()?.wire;
        let rise = |nodes: &[NodeName]| -> Duration {
            nodes.iter().filter_map(wire).map(|wire| wire.up.delay_or(delay)).sum()
        };
        let fall = |nodes: &[NodeName]| {
            nodes.last().and_then(wire).map_or(Duration::ZERO, |wire| wire.down.delay_or(delay))
        };
        [rise(&self.up) + fall(&self.down), rise(&self.down) + fall(&self.up)]
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
    use crate::model::behavior::{Allocation, Mapping};
    use crate::model::embedded;
    use crate::model::suite_file::{self, KnownNames};
    use crate::model::theory::METHODS;

    #[test]
    fn expected_numbers_of_neighbours_connections_are_those_in_the_books() {
        assert_eq!(poisson(0.0), [1.0]);
        let three = poisson(3.0);
        assert!((three[0] - 0.049_787).abs() < 1e-6 && (three[2] - 0.224_042).abs() < 1e-6, "{three:?}");
        assert!((three.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_counting_nat_fades_with_its_neighbours_and_a_preserving_one_does_not() {
        let counts = Behavior {
            mapping: Mapping::AddressAndPortDependent,
            allocation: Allocation::Sequential { step: 1 },
            ..Behavior::port_preserving()
        };
        let keeps = Behavior::port_preserving();
        let chance = |nat: &Behavior, mean: f64| {
            let input = TheoryInput {
                a: vec![nat],
                b: vec![&keeps],
                common: Vec::new(),
                competing: [0, 0],
                method: Method::SimultaneousOpen,
                budget: Default::default(),
                skew_ms: 0.0,
                trip: Duration::from_millis(10),
                reach: [Duration::from_millis(10); 2],
                redial: None,
            };
            disturbed(&input, [mean, mean]).probability
        };
        for mean in [0.0_f64, 0.5, 2.0, 6.0] {
            assert!((chance(&counts, mean) - (-mean).exp()).abs() < 1e-9, "{mean}");
            assert!((chance(&keeps, mean) - 1.0).abs() < f64::EPSILON, "{mean}");
        }
    }

    #[test]
    fn a_trip_crosses_both_wires() {
        let pair = Topology::named("pair").expect("it is embedded");
        let way = NodePath::between(&pair, "peer-a", "peer-b").expect("a way");
        let names = |nodes: &[NodeName]| nodes.iter().map(NodeName::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!((names(&way.up), names(&way.down)), ("peer-a nat-a".into(), "peer-b nat-b".into()));
        assert_eq!(way.top.as_str(), "core");
        assert_eq!(way.trip(&pair, None), Duration::from_millis(10));
        assert_eq!(way.trip(&pair, Some(Duration::from_millis(50))), Duration::from_millis(100));
        assert_eq!(NodePath::between(&pair, "peer-a", "nobody"), None);
    }

    #[test]
    fn wires_that_lose_packets_leave_no_expectation_but_for_the_impossible() {
        let catalogue = Catalogue::embedded();
        let said = |nat: &str, axis: &str| said_of(&catalogue, nat, axis);
        assert_eq!(said("port-preserving", "loss = [\"0\"]"), Ok(1.0));
        let lossy = said("port-preserving", "loss = [\"0.4\"]").expect_err("no expectation");
        assert!(lossy.because.contains("loses packets"), "{lossy:?}");
        assert_eq!(said("no-syn-after-syn", "loss = [\"0.4\"]"), Ok(0.0));
        for axis in ["jitter = [\"5ms\"]", "duplication = [\"0.1\"]", "reordering = [\"0.1\"]"] {
            assert_eq!(said("port-preserving", axis), Ok(1.0), "{axis}");
            said("reset", axis).expect_err("no expectation");
        }
    }

    #[test]
    fn what_a_nat_refuses_or_forgets_leaves_no_expectation() {
        let few = "[nat.few]\nsummary = \"s\"\nquota = 3\n[nat.many]\nsummary = \"s\"\nquota = 40\n";
        let catalogue = Catalogue::embedded().with(Catalogue::parse(few, "few.toml").expect("good NATs"));
        let said = |nat: &str, rest: &str| said_of(&catalogue, nat, rest);
        assert!(said("few", "").is_err_and(|why| why.because.contains("quota")));
        assert_eq!(said("many", ""), Ok(1.0));
        let short = "[nat.short]\nsummary = \"s\"\ntimeouts = { absolute = \"13s\" }\n[nat.shut]\nsummary = \"s\"\nsyn-after-syn = \"drop\"\n\
                     timeouts = { absolute = \"2s\" }\n[nat.long]\nsummary = \"s\"\ntimeouts = { absolute = \"14s\" }\n";
        let short = Catalogue::embedded().with(Catalogue::parse(short, "short.toml").expect("good NATs"));
        assert!(said_of(&short, "short", "").is_err_and(|why| why.because.contains("absolute timeout")));
        assert_eq!(said_of(&short, "long", ""), Ok(1.0));
        assert_eq!(said_of(&short, "shut", ""), Ok(0.0), "what cannot be");
        let flushed = "[nat.often]\nsummary = \"s\"\ntimeouts = { flush-every = \"1s\" }\n[nat.seldom]\nsummary = \"s\"\n\
                       timeouts = { flush-every = \"23days\" }\n[nat.shut]\nsummary = \"s\"\nsyn-after-syn = \"drop\"\n\
                       timeouts = { flush-every = \"1s\" }\n";
        let flushed = Catalogue::embedded().with(Catalogue::parse(flushed, "f.toml").expect("good NATs"));
        for nat in ["often", "seldom"] {
            assert!(said_of(&flushed, nat, "").is_err_and(|why| why.because.contains("forgets everything")));
        }
        assert_eq!(said_of(&flushed, "shut", ""), Ok(0.0), "what cannot be");
        let restarts = "trouble = [\"nat-a-restarts\"]";
        assert_eq!(said("port-preserving", restarts), Ok(1.0));
        assert!(said("paired-pool", restarts).is_err_and(|why| why.because.contains("restarted")));
        assert!(said("eim-random", restarts).is_err_and(|why| why.because.contains("restarted")));
        let renumbered = "trouble = [\"nat-a-renumbered\"]";
        assert!(
            said("port-preserving", renumbered).is_err_and(|why| why.because.contains("another address"))
        );
        assert_eq!(said("port-preserving", "trouble = [\"link-a-down\"]"), Ok(1.0));
    }

    #[test]
    fn a_strangers_program_that_may_dial_in_lock_step_leaves_no_expectation() {
        let catalogue = Catalogue::embedded();
        let program = "[program]\njudge = \"exit\"\npeer = [\"/bin/true\"]\nredial = \"after-refusal\"";
        let why = said_of(&catalogue, "reset", program).expect_err("no expectation").because;
        assert!(why.contains("lock step"), "{why}");
        assert_eq!(said_of(&catalogue, "port-preserving", program), Ok(1.0));
    }

    #[test]
    fn a_way_that_is_long_for_the_deadline_leaves_no_expectation() {
        let catalogue = Catalogue::embedded();
        let said = |nat: &str, axes: &str| said_of(&catalogue, nat, axes);
        assert_eq!(said("port-preserving", "delay = [\"100ms\"]"), Ok(1.0));
        let far = said("port-preserving", "delay = [\"200ms\"]").expect_err("no expectation");
        assert!(far.because.contains("deadline"), "{far:?}");
        said("port-preserving", "delay = [\"100ms\"]\nskew = [\"-700ms\"]").expect_err("no expectation");
        assert_eq!(said("no-syn-after-syn", "delay = [\"200ms\"]"), Ok(0.0));
    }

    #[test]
    fn small_pools_and_resets_of_a_second_syn_leave_no_expectation_where_much_is_tried() {
        let own = "[nat.few]\nsummary = \"s\"\nmapping = \"address-and-port-dependent\"\nallocation = \"sequential\"\n\
                   step = 7\nports = \"20000-20099\"\n[nat.more]\nsummary = \"s\"\n\
                   mapping = \"address-and-port-dependent\"\nallocation = \"sequential\"\nports = \"20000-20099\"\n\
                   [nat.resets]\nsummary = \"s\"\nsyn-after-syn = \"reset\"\n";
        let catalogue = Catalogue::embedded().with(Catalogue::parse(own, "own.toml").expect("good NATs"));
        let pair = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is embedded").text;
        let said = |nat: &str, method: &str| {
            let methods = format!("method = [\"{method}\"]");
            said_in(pair, &catalogue, [nat, "port-preserving"], &methods)
        };
        for (nat, method, known) in [
            ("few", "observed-port", false),
            ("few", "auto", false),
            ("few", "simultaneous-open", true),
            ("more", "observed-port", true),
            ("resets", "spray", false),
            ("resets", "auto", false),
            ("resets", "simultaneous-open", true),
            ("port-preserving", "spray", true),
        ] {
            assert_eq!(said(nat, method).is_ok(), known, "{nat}, {method}: {:?}", said(nat, method));
        }
    }

    #[test]
    fn what_a_topology_has_its_wires_do_counts_as_the_axes_of_a_suite() {
        const PLAIN: &str = "wire = { delay = \"5ms\" }";
        let pair = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is embedded").text;
        assert!(pair.contains(PLAIN), "{pair}");
        let with = |does: &str| pair.replacen(PLAIN, &format!("wire = {{ delay = \"5ms\", {does} }}"), 1);
        let catalogue = Catalogue::embedded();
        let said = |nat: &str, does: &str, rest: &str| {
            let rest = format!("method = [\"simultaneous-open\"]\n{rest}");
            said_in(&with(does), &catalogue, [nat, nat], &rest)
        };
        let lossy = said("port-preserving", "loss = 0.02", "").expect_err("no expectation");
        assert!(lossy.because.contains("loses packets"), "{lossy:?}");
        assert_eq!(
            said("port-preserving", "loss = 0.02", "loss = [\"0\"]"),
            Ok(1.0),
            "the suite says otherwise"
        );
        for does in ["jitter = \"5ms\"", "duplication = 0.1", "reordering = 0.1"] {
            assert_eq!(said("port-preserving", does, ""), Ok(1.0), "{does}");
            said("reset", does, "").expect_err("no expectation");
        }
    }

    /// What theory says of a cell with the same NAT on both sides, in a suite that ends so.
    fn said_of(catalogue: &Catalogue, nat: &str, rest: &str) -> Result<f64, NoExpectation> {
        let pair = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is embedded");
        said_in(pair.text, catalogue, [nat, nat], &format!("method = [\"simultaneous-open\"]\n{rest}"))
    }

    /// The same over another topology, with these NATs.
    fn said_in(
        pair: &str,
        catalogue: &Catalogue,
        [a, b]: [&str; 2],
        rest: &str,
    ) -> Result<f64, NoExpectation> {
        let text = format!(
            "name = \"t\"\nsummary = \"s\"\ntopology = \"pair\"\ntrials = 1\n[axes]\nnat-a = [\"{a}\"]\n\
                 nat-b = [\"{b}\"]\n{rest}\n"
        );
        let nats: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
        let topology = |_: &str| Ok(("pair.toml".to_owned(), pair.to_owned()));
        let known = KnownNames { nats: &nats, methods: METHODS, topology: &topology, path: &|_, _| Ok(()) };
        let suite = suite_file::parse("t.toml", &text, &known).expect("a good suite");
        expect(&suite, &suite.cells()[0], catalogue).map(|expected| expected.probability)
    }
}
