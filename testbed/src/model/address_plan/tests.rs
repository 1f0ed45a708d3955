//! Plans of small topologies.

use super::*;
use crate::model::addresses::{AddressSet, Addresses, Block};
use crate::model::topology::{NodeSpec, Uplink};

fn tree(nodes: &[(&str, NodeKind, &str)]) -> Topology {
    let name = |n: &str| NodeName::new(n).expect("a good name");
    let node = |(n, kind, up): &(&str, NodeKind, &str)| {
        let up = (!up.is_empty()).then(|| Uplink { to: name(up), wire: None });
        (name(n), NodeSpec { kind: *kind, up })
    };
    let nodes = nodes.iter().map(node).collect();
    Topology { name: "t".into(), summary: String::new(), nodes, addresses: Addresses::default() }
}

fn plan(nodes: &[(&str, NodeKind, &str)], transparent: &[&str]) -> AddressPlan {
    let transparent = transparent.iter().map(|n| NodeName::new(n).expect("a good name")).collect();
    let nats = NatAddressing { transparent, ..NatAddressing::default() };
    AddressPlan::new(&tree(nodes), &nats).expect("a good tree")
}

fn address(plan: &AddressPlan, node: &str) -> String {
    plan.address(&NodeName::new(node).expect("a good name")).expect("an address").to_string()
}

fn routes(plan: &AddressPlan, node: &str) -> Vec<String> {
    let routes = &plan.nodes[&NodeName::new(node).expect("a good name")].routes;
    routes.iter().map(|r| format!("{}/{} via {}", r.to.address, r.to.prefix, r.via)).collect()
}

use NodeKind::{Host, Nat, Router, Switch};

const PAIR: &[(&str, NodeKind, &str)] = &[
    ("core", Router, ""),
    ("nat-a", Nat, "core"),
    ("nat-b", Nat, "core"),
    ("peer-a", Host, "nat-a"),
    ("peer-b", Host, "nat-b"),
];

#[test]
fn a_pair_of_nats_gets_documentation_addresses() {
    let plan = plan(PAIR, &[]);
    assert_eq!(address(&plan, "nat-a"), "192.0.2.2");
    assert_eq!(address(&plan, "nat-b"), "198.51.100.2");
    assert_eq!(address(&plan, "peer-a"), "10.0.0.2");
    assert_eq!(address(&plan, "peer-b"), "10.0.1.2");
    assert_eq!(routes(&plan, "peer-a"), ["0.0.0.0/0 via 10.0.0.1"]);
    assert_eq!(routes(&plan, "nat-a"), ["0.0.0.0/0 via 192.0.2.1"]);
    assert_eq!(routes(&plan, "core"), Vec::<String>::new(), "the core must not know private networks");
}

#[test]
fn a_suite_may_choose_other_addresses() {
    for (set, expected) in [
        (AddressSet::Public, ["20.0.0.2", "20.0.1.2", "10.0.0.2"]),
        (AddressSet::Carrier, ["100.64.0.2", "100.64.1.2", "10.0.0.2"]),
    ] {
        let topology = Topology { addresses: set.into(), ..tree(PAIR) };
        let plan = AddressPlan::new(&topology, &NatAddressing::default()).expect("a good tree");
        assert_eq!(["nat-a", "nat-b", "peer-a"].map(|node| address(&plan, node)), expected);
        let core = &plan.nodes[&NodeName::core()].loopback;
        assert!(topology.addresses.rendezvous().iter().all(|at| core.contains(at)), "{core:?}");
        assert!(OWN_SERVER.iter().all(|at| core.contains(at)), "{core:?}");
    }
    let one = Block::parse("5.6.7.0/24").expect("a range");
    let addresses = Addresses::own([vec![one], vec![], vec![]], None).expect("good ranges");
    let error = AddressPlan::new(&Topology { addresses, ..tree(PAIR) }, &NatAddressing::default());
    assert_eq!(error.expect_err("two public networks"), TopologyError::OutOfAddresses);
}

#[test]
fn what_lies_behind_a_transparent_nat_is_public() {
    let plan = plan(PAIR, &["nat-b"]);
    assert_eq!(address(&plan, "peer-b"), "198.18.2.2");
    assert_eq!(routes(&plan, "core"), ["198.18.2.0/24 via 198.51.100.2"]);
}

#[test]
fn a_carrier_grade_nat_carries_shared_address_space() {
    let plan = plan(
        &[("core", Router, ""), ("cgn", Nat, "core"), ("home", Nat, "cgn"), ("peer", Host, "home")],
        &[],
    );
    assert_eq!(address(&plan, "home"), "100.64.0.2");
    assert_eq!(address(&plan, "peer"), "10.0.0.2");
    assert_eq!(routes(&plan, "cgn"), ["0.0.0.0/0 via 192.0.2.1"]);
}

#[test]
fn hosts_on_a_switch_share_a_network() {
    let plan = plan(
        &[
            ("core", Router, ""),
            ("nat", Nat, "core"),
            ("lan", Switch, "nat"),
            ("peer-a", Host, "lan"),
            ("peer-b", Host, "lan"),
        ],
        &[],
    );
    assert_eq!(address(&plan, "peer-a"), "10.0.0.2");
    assert_eq!(address(&plan, "peer-b"), "10.0.0.3");
    let nat = &plan.nodes[&NodeName::new("nat").expect("a good name")];
    let names: Vec<_> = nat.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["wan", "lan0"]);
    assert_eq!(nat.devices[1].neighbours.len(), 2);
    let switch = &plan.nodes[&NodeName::new("lan").expect("a good name")];
    assert!(switch.devices.iter().all(|d| d.address.is_none()));
}

#[test]
fn two_hosts_behind_one_nat_have_a_network_each() {
    let plan = plan(
        &[("core", Router, ""), ("nat", Nat, "core"), ("peer-a", Host, "nat"), ("peer-b", Host, "nat")],
        &[],
    );
    let below = plan.networks_below(&NodeName::new("nat").expect("a good name"));
    let below: Vec<_> = below.iter().map(|(d, n)| format!("{d} {}/{}", n.address, n.prefix)).collect();
    assert_eq!(below, ["lan0 10.0.0.0/24", "lan1 10.0.1.0/24"]);
}

#[test]
fn routers_know_the_way_down_past_other_routers() {
    let plan = plan(&[("core", Router, ""), ("isp", Router, "core"), ("web", Host, "isp")], &[]);
    assert_eq!(routes(&plan, "core"), ["198.51.100.0/24 via 192.0.2.2"]);
    assert_eq!(address(&plan, "web"), "198.51.100.2");
}

#[test]
fn a_pool_has_addresses_in_a_row_that_its_neighbours_know() {
    const NATS: &[(&str, NodeKind, &str)] = &[
        ("core", Router, ""),
        ("lan", Switch, "core"),
        ("nat-a", Nat, "lan"),
        ("nat-b", Nat, "lan"),
        ("web", Host, "lan"),
    ];
    let of = |count| NatAddressing {
        pools: [(NodeName::new("nat-a").expect("a good name"), count)].into(),
        ..NatAddressing::default()
    };
    let plan = AddressPlan::new(&tree(NATS), &of(3)).expect("a good tree");
    let nat = NodeName::new("nat-a").expect("a good name");
    let pool = plan.addresses(&nat).expect("a way up");
    assert_eq!(pool.to_string(), "192.0.2.2-192.0.2.4");
    assert_eq!([address(&plan, "nat-b"), address(&plan, "web")], ["192.0.2.5", "192.0.2.6"]);
    let mac = plan.nodes[&nat].devices[0].mac;
    for other in ["core", "nat-b", "web"] {
        let node = &plan.nodes[&NodeName::new(other).expect("a good name")];
        let known = node.devices.iter().flat_map(|device| &device.neighbours).filter(|(_, m)| *m == mac);
        assert_eq!(known.map(|(address, _)| *address).collect::<Vec<_>>(), pool.iter().collect::<Vec<_>>());
    }
    let error = AddressPlan::new(&tree(NATS), &of(252)).expect_err("no room");
    assert_eq!(error, TopologyError::OutOfAddresses);
}

#[test]
fn every_device_has_its_own_mac_address() {
    let plan = plan(PAIR, &[]);
    let macs: BTreeSet<_> = plan.nodes.values().flat_map(|n| &n.devices).map(|d| d.mac).collect();
    assert_eq!(macs.len(), 8);
}

#[test]
fn a_loop_is_refused() {
    let error = AddressPlan::new(
        &tree(&[("core", Router, ""), ("x", Router, "y"), ("y", Router, "x")]),
        &NatAddressing::default(),
    )
    .expect_err("a loop");
    assert_eq!(error.to_string(), "node \"x\" has no way to the core");
}
