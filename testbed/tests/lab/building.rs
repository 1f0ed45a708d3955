//! A topology comes alive as planned, is reset, and stays usable.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process;
use std::time::{Duration, Instant};

use testbed::kernel::sysctl;
use testbed::lab::nat_rules::{NatConfig, NatSite, render};
use testbed::lab::{Lab, Node, WireEngine};
use testbed::model::address_plan::{AddressPlan, RENDEZVOUS};
use testbed::model::address_pool::NatAddressing;
use testbed::model::behavior::{Behavior, Filtering};
use testbed::model::evidence::{CtChange, Direction, Evidence};
use testbed::model::topology::{NodeName, Topology};
use testbed::model::topology_file;

use super::lab_is_possible;
use super::pair::pair;

const PATIENCE: Duration = Duration::from_secs(20);

const SWITCHED: &str = r#"
name = "switched"
summary = "two hosts on one switch behind a router"

[node.core]
kind = "router"

[node.lan]
kind = "switch"
up = "core"
wire = { delay = "1ms" }

[node.a]
kind = "host"
up = "lan"

[node.b]
kind = "host"
up = "lan"
"#;

fn name(name: &str) -> NodeName {
    NodeName::new(name).expect("a good name")
}

async fn build(topology: &Topology) -> Option<Lab> {
    lab_is_possible().then_some(())?;
    Some(Lab::new(topology).build().await.expect("a lab"))
}

fn set_nat(lab: &mut Lab, node: &str, behavior: &Behavior) {
    let node = name(node);
    let site = NatSite::of(lab.plan(), &node).expect("an address");
    lab.set_nat(&node, &render(behavior, &site)).expect("good rules");
}

/// What `ip -j` says inside a node.
fn ip(node: &Node, arguments: &str) -> serde_json::Value {
    serde_json::from_str(&said_in(node, &format!("ip -j {arguments}"))).expect("JSON")
}

/// What a program says inside a node.
fn said_in(node: &Node, line: &str) -> String {
    let net = format!("--net={}", node.namespace().path());
    let output = process::Command::new("nsenter").arg(net).args(line.split(' ')).output().expect("nsenter");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All addresses of a node, as `device address/prefix`.
fn addresses(node: &Node) -> Vec<String> {
    let links = ip(node, "address");
    let mut found = Vec::new();
    for link in links.as_array().expect("a list") {
        for address in link["addr_info"].as_array().expect("a list") {
            let text = |key: &str| address[key].as_str().unwrap_or_default().to_owned();
            let device = link["ifname"].as_str().expect("a name");
            found.push(format!("{device} {}/{}", text("local"), address["prefixlen"]));
        }
    }
    found.sort();
    found
}

/// A listener on the rendezvous address, and a connection to it from `node`: what each side calls the client.
fn connect_to_core(lab: &Lab, node: &str, port: u16) -> (SocketAddr, SocketAddr, TcpStream, TcpStream) {
    let at = SocketAddrV4::new(*RENDEZVOUS.ip(), port);
    let listener = lab.node("core").expect("the core").enter(|_| TcpListener::bind(at));
    let listener = listener.expect("the way in").expect("a listener");
    let node = lab.node(node).expect("a node");
    let stream = node.enter(|_| TcpStream::connect_timeout(&at.into(), PATIENCE));
    let stream = stream.expect("the way in").expect("a connection");
    let (accepted, seen) = listener.accept().expect("a connection");
    (stream.local_addr().expect("connected"), seen, stream, accepted)
}

#[tokio::test]
async fn every_node_has_what_the_plan_says() {
    let Some(lab) = build(&pair()).await else { return };
    for node in lab.nodes() {
        let plan = &lab.plan().nodes[node.name()];
        let own = plan.devices.iter().filter_map(|d| Some((d.name.clone(), d.address?)));
        let mut expected: Vec<_> =
            own.map(|(device, network)| format!("{device} {}/{}", network.address, network.prefix)).collect();
        expected.extend(plan.loopback.iter().map(|address| format!("lo {address}/32")));
        expected.push("lo 127.0.0.1/8".to_owned());
        expected.sort();
        assert_eq!(addresses(node), expected, "{}", node.name());
        let devices = ip(node, "link");
        for device in &plan.devices {
            let seen =
                devices.as_array().expect("a list").iter().find(|d| d["ifname"] == device.name.as_str());
            let mac: Vec<_> = device.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(seen.expect("the device")["address"], mac.join(":").as_str(), "{}", node.name());
        }
        let forwards = node.enter(|inside| sysctl::read::<u8>(inside, "net.ipv4.ip_forward"));
        let is_host = node.name().as_str().starts_with("peer");
        assert_eq!(forwards.expect("the way in").expect("a setting"), u8::from(!is_host), "{}", node.name());
    }
}

#[tokio::test]
async fn a_connection_crosses_nat_and_wire_and_is_seen_by_both() {
    let Some(mut lab) = build(&pair()).await else { return };
    set_nat(&mut lab, "nat-a", &Behavior::port_preserving());
    lab.evidence().expect("the engine lives");
    let start = Instant::now();
    let (inside, outside, mut stream, mut accepted) = connect_to_core(&lab, "peer-a", 7100);
    // SYN up, SYN and ACK down: 5 ms each.
    assert!(start.elapsed() >= Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!(inside.ip(), IpAddr::from([10, 0, 0, 2]));
    assert_eq!(outside, SocketAddr::from(([192, 0, 2, 2], inside.port())));
    stream.write_all(b"hello").expect("a reader");
    let mut buffer = [0; 5];
    accepted.read_exact(&mut buffer).expect("a writer");

    let seen = lab.evidence().expect("the engine lives");
    assert_eq!(seen.lost, Vec::<String>::new());
    let new = seen.conntrack.iter().find(|e| e.change == CtChange::New).expect("a new connection");
    assert_eq!((&new.node, new.entry.original.source), (&name("nat-a"), as_v4(inside)));
    assert_eq!(new.entry.reply.destination, as_v4(outside));
    let wire = lab.plan().uplink(&name("nat-a")).expect("a wire");
    for direction in [Direction::Up, Direction::Down] {
        let passed = seen.frames.iter().any(|f| f.link == wire && f.direction == direction);
        assert!(passed, "{direction:?}");
    }
    let entries = lab.node("nat-a").expect("a node").mappings().expect("a table");
    assert!(entries.iter().any(|entry| entry.original.source == as_v4(inside)), "{entries:?}");
}

fn as_v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address}"),
    }
}

#[tokio::test]
async fn the_first_packet_arrives_in_every_new_lab() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    for round in 0..20 {
        let lab = Lab::new(&pair()).engine(&engine).build().await.expect("a lab");
        // Every link once, each with its very first frame.
        for (port, (from, to, address)) in (4000..).zip([
            ("peer-a", "nat-a", [10, 0, 0, 1]),
            ("peer-b", "nat-b", [10, 0, 1, 1]),
            ("core", "nat-a", [192, 0, 2, 2]),
            ("nat-b", "core", [198, 51, 100, 1]),
        ]) {
            let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a port");
            let receiver = lab.node(to).expect("a node").enter(|_| bind()).expect("the way in");
            receiver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let sender = lab.node(from).expect("a node").enter(|_| bind()).expect("the way in");
            sender.send_to(b"first", (Ipv4Addr::from(address), port)).expect("a way");
            let mut buffer = [0; 8];
            // A socket with a timeout is interrupted by the end of some other test's child.
            let length = loop {
                match receiver.recv(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            assert!(matches!(length, Ok(5)), "round {round}, {from} to {to}: {length:?}");
        }
    }
}

#[tokio::test]
async fn hosts_on_a_switch_reach_each_other_and_the_core() {
    let topology = topology_file::parse("switched.toml", SWITCHED).expect("a good topology");
    let Some(lab) = build(&topology).await else { return };
    let (a, b) = (lab.node("a").expect("a node"), lab.node("b").expect("a node"));
    let to = lab.plan().address(b.name()).expect("an address");
    let listener = b.enter(|_| TcpListener::bind((to, 5000))).expect("the way in").expect("a listener");
    let stream = a.enter(|_| TcpStream::connect_timeout(&(to, 5000).into(), PATIENCE)).expect("the way in");
    let (_, seen) = listener.accept().expect("a connection");
    assert_eq!(seen, stream.expect("a connection").local_addr().expect("connected"));
    let (inside, outside, ..) = connect_to_core(&lab, "a", 7100);
    assert_eq!(inside, outside);
}

#[tokio::test]
async fn a_reset_lab_remembers_nothing() {
    let Some(mut lab) = build(&pair()).await else { return };
    let full_cone = Behavior { filtering: Filtering::EndpointIndependent, ..Behavior::port_preserving() };
    set_nat(&mut lab, "nat-a", &full_cone);
    let nat = lab.node("nat-a").expect("a node");
    let (.., stream, _accepted) = connect_to_core(&lab, "peer-a", 7100);
    let mut program = lab.node("peer-a").expect("a node").spawn("sleep 1000").await.expect("a program");
    assert!(!nat.mappings().expect("a table").is_empty());
    let contents = || said_in(nat, "nft list ruleset").matches("elements = {").count();
    assert_ne!(contents(), 0, "a full cone remembers who owns a port");
    // The kernel has something left to say for a connection that nobody owns any more.
    let mut stream = stream;
    stream.write_all(&[0; 100_000]).expect("a way");
    drop(stream);
    let connections = |node: &str| said_in(lab.node(node).expect("a node"), "ss -Htn");
    assert!(connections("peer-a").contains("203.0.113.1:7100"), "{}", connections("peer-a"));

    lab.reset(2).await.expect("a reset");
    program.wait().await.expect("an end");
    assert_eq!(nat.mappings().expect("a table"), []);
    assert_eq!(contents(), 0);
    for node in ["peer-a", "core"] {
        assert_eq!(connections(node), "", "{node}");
    }
    let evidence = lab.evidence().expect("the engine lives");
    let servers = evidence.servers.clone();
    assert_eq!(evidence, Evidence { servers, ..Evidence::default() });
    // The rules are still in force.
    let (inside, outside, ..) = connect_to_core(&lab, "peer-a", 7200);
    assert_ne!(inside.ip(), outside.ip());
}

#[tokio::test]
async fn what_a_nat_is_known_to_remember_is_forgotten_by_name() {
    let Some(mut lab) = build(&pair()).await else { return };
    set_nat(&mut lab, "nat-a", &Behavior::port_preserving());
    let connections: Vec<_> = (7100..7108).map(|port| connect_to_core(&lab, "peer-a", port)).collect();
    let nat = lab.node("nat-a").expect("a node");
    assert_eq!(nat.mappings().expect("a table").len(), connections.len());
    nat.forget().expect("a flush");
    assert_eq!(nat.mappings().expect("a table"), []);
    let seen = lab.evidence().expect("the engine lives").conntrack;
    let ended: Vec<_> = seen.iter().filter(|e| e.change == CtChange::Destroy).map(|e| e.entry.id).collect();
    assert_eq!(ended.len(), connections.len());
    // In the order of their numbers, which the kernel draws; a search of its table would find them in another, but for one
    // time in 40,320.
    assert!(ended.is_sorted(), "{ended:?}");
}

#[tokio::test]
async fn nats_are_swapped_whole_or_not_at_all() {
    let Some(mut lab) = build(&pair()).await else { return };
    set_nat(&mut lab, "nat-a", &Behavior::port_preserving());
    let rules = |lab: &Lab| lab.node("nat-a").expect("a node").ruleset().expect("a listing");
    let before = rules(&lab);
    assert!(before.contains("masquerade"), "{before}");
    let wrong = NatConfig {
        ruleset: "table ip nat {\n chain x {\n  masqerade\n }\n}\n".into(),
        ..NatConfig::default()
    };
    let error = lab.set_nat(&name("nat-a"), &wrong).expect_err("wrong rules");
    assert!(error.to_string().starts_with("node \"nat-a\": nft refused its ruleset at line 3: "), "{error}");
    assert_eq!(rules(&lab), before);
    let none = NatConfig::default();
    lab.set_nat(&name("nat-a"), &none).expect("no rules");
    assert_eq!(rules(&lab), "");
}

#[tokio::test]
async fn a_lab_is_built_with_its_nats() {
    if !lab_is_possible() {
        return;
    }
    let (engine, topology, none) = (WireEngine::start().expect("a thread"), pair(), NatAddressing::default());
    let build = async |node: &str, config: NatConfig| {
        let nats = |_: &_| Ok(BTreeMap::from([(name(node), config)]));
        Lab::build_with_nats(&topology, &none, nats, &engine).await
    };
    let setting = |lab: &Lab, key: &str| {
        let read = |inside: &_| sysctl::read::<String>(inside, key);
        lab.node("nat-a").expect("a node").enter(read).expect("the way in").expect("a setting")
    };
    let full_cone = Behavior { filtering: Filtering::EndpointIndependent, ..Behavior::port_preserving() };
    let site = |plan: &_| NatSite::of(plan, &name("nat-a")).expect("an address");
    let plan = AddressPlan::new(&topology, &none).expect("a topology");
    // With a value that no NAT of ours has.
    let mut config = render(&full_cone, &site(&plan));
    const KEY: &str = "net.netfilter.nf_conntrack_tcp_timeout_close";
    config.sysctls.push((KEY.into(), "77".into()));
    let mut lab = build("nat-a", config).await.expect("a lab");
    assert_eq!(setting(&lab, KEY), "77");
    let (.., _accepted) = connect_to_core(&lab, "peer-a", 7100);
    let contents = |lab: &Lab| {
        let nat = lab.node("nat-a").expect("a node");
        said_in(nat, "nft list ruleset").matches("elements = {").count()
    };
    assert_ne!(contents(&lab), 0, "a full cone remembers who owns a port");
    lab.reset(2).await.expect("a reset");
    assert_eq!(contents(&lab), 0, "what its rules remember is known");
    let other = NatConfig { sysctls: vec![(KEY.into(), "55".into())], ..NatConfig::default() };
    lab.set_nat(&name("nat-a"), &other).expect("no rules");
    assert_eq!(setting(&lab, KEY), "55");
    lab.set_nat(&name("nat-a"), &NatConfig::default()).expect("no rules");
    assert_eq!(setting(&lab, KEY), "10", "the kernel's, as it was before the first of them");

    let wrong = NatConfig { ruleset: "table ip nat {\n masqerade\n}\n".into(), ..NatConfig::default() };
    let error = build("nat-a", wrong).await.expect_err("wrong rules").to_string();
    assert!(error.starts_with("node \"nat-a\": nft refused its ruleset at line 2: "), "{error}");
    let wrong = NatConfig { sysctls: vec![("net.ipv4.none".into(), "1".into())], ..NatConfig::default() };
    let error = build("nat-a", wrong).await.expect_err("no such setting").to_string();
    assert!(error.starts_with("node \"nat-a\": cannot set net.ipv4.none to 1: "), "{error}");
    let error = build("peer-a", NatConfig::default()).await.expect_err("a host").to_string();
    assert_eq!(error, "node \"peer-a\": cannot set the rules of a NAT: it is none");
}

/// Loaded beside the making of devices, they would come too early now and then.
#[tokio::test]
async fn rules_that_need_devices_wait_for_them() {
    if !lab_is_possible() {
        return;
    }
    let (engine, topology, none) = (WireEngine::start().expect("a thread"), pair(), NatAddressing::default());
    for _ in 0..20 {
        let ruleset = "table ip own {\n chain c {\n  iif lan0 oif wan accept\n }\n}\n".to_owned();
        let config = NatConfig { ruleset, ..NatConfig::default() };
        let nats = |_: &_| Ok(["nat-a", "nat-b"].map(|nat| (name(nat), config.clone())).into());
        Lab::build_with_nats(&topology, &none, nats, &engine).await.expect("a lab");
    }
}

#[tokio::test]
async fn mistakes_name_the_node() {
    let Some(mut lab) = build(&pair()).await else { return };
    let error = lab.node("peer-x").expect_err("no such node").to_string();
    let expected = "cannot find the node \"peer-x\": the lab has core, nat-a, nat-b, peer-a, peer-b";
    assert_eq!(error, expected);
    let none = NatConfig::default();
    let error = lab.set_nat(&name("peer-a"), &none).expect_err("a host");
    assert_eq!(error.to_string(), "node \"peer-a\": cannot set the rules of a NAT: it is none");
    let error = lab.node("peer-a").expect("a node").spawn("/no/such/program").await.expect_err("no program");
    assert_eq!(
        error.to_string(),
        "node \"peer-a\": cannot start \"/no/such/program\": execve: No such file or directory (ENOENT)"
    );
}

#[tokio::test]
async fn many_labs_stand_side_by_side() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let topology = pair();
    let labs = (0..8).map(|_| Lab::new(&topology).engine(&engine).build());
    let mut labs = futures::future::try_join_all(labs).await.expect("labs");
    for lab in &mut labs {
        set_nat(lab, "nat-b", &Behavior::port_preserving());
    }
    for lab in &labs {
        // The same addresses and ports in each, and nobody minds.
        let (inside, outside, ..) = connect_to_core(lab, "peer-b", 7100);
        assert_eq!(inside.ip(), IpAddr::from([10, 0, 1, 2]));
        assert_eq!(outside.ip(), IpAddr::from([198, 51, 100, 2]));
    }
}
