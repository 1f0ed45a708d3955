//! testbed as a library: the example that its documentation shows, run, and what a builder makes of a choice.

use std::time::Duration;

use testbed::{Behavior, Conditions, Lab, LinkConditions, Rights, Topology, Watch};

use super::lab_is_possible;

#[path = "../../examples/two_peers.rs"]
mod two_peers;

/// What stands in the example's `main`.
const LINES: usize = 20;

#[test]
fn the_example_works() {
    if lab_is_possible() {
        two_peers::main().expect("two peers that meet");
    }
}

#[test]
fn the_example_is_short() {
    let example = include_str!("../../examples/two_peers.rs");
    let main = example.lines().skip_while(|line| !line.contains("fn main")).count();
    assert!((5..=LINES).contains(&main), "{main} lines");
}

/// Each link has its conditions, and what crosses a link without a wire is recorded where that is wanted.
#[test]
fn links_are_as_the_builder_says() {
    if !lab_is_possible() {
        return;
    }
    let delayed = |ms| Conditions::delayed(Duration::from_millis(ms));
    let home = Topology::builder("home").nat("nat", "core").host("peer", "nat").wire("nat", delayed(30));
    let home = home.build().expect("a tree");
    testbed::setup(Rights::Own).expect("rights").block_on(async {
        let lab = Lab::new(&home).nat("nat", Behavior::port_preserving()).watch(Watch::EveryLink);
        let lab = lab.build().await.expect("a lab");
        let dial = async || {
            // Nobody listens there: the core refuses, after one round trip.
            let dial = "import socket, time
began = time.monotonic()
refused = socket.socket().connect_ex(('203.0.113.1', 81))
print(refused, time.monotonic() - began)";
            let dial = testbed::Command::new("python3").args(["-c", dial]);
            let output = lab.node("peer").expect("a peer").spawn(dial).await.expect("python3").output().await;
            let text = String::from_utf8(output.expect("an end").stdout).expect("text");
            let (refused, seconds) = text.trim().split_once(' ').expect("two words");
            assert_eq!(refused, "111", "ECONNREFUSED");
            Duration::from_secs_f64(seconds.parse().expect("a number"))
        };
        assert!(dial().await >= Duration::from_millis(60));
        lab.set_link("nat", LinkConditions::symmetric(delayed(50))).expect("a wire");
        assert!(dial().await >= Duration::from_millis(100));
        let wireless = lab.set_link("peer", LinkConditions::default()).expect_err("no wire").to_string();
        assert_eq!(wireless, "node \"peer\": cannot change its link: it is no wire");
        let evidence = lab.evidence().expect("evidence");
        assert_eq!(evidence.lost, Vec::<String>::new());
        let links: Vec<u16> = evidence.packets().map(|(frame, _)| frame.link).collect();
        for node in ["nat", "peer"] {
            let name = lab.node(node).expect("a node").name();
            let link = lab.plan().uplink(name).expect("an uplink");
            // Two SYNs and two resets.
            assert_eq!(links.iter().filter(|seen| **seen == link).count(), 4, "{node}");
        }
        assert!(evidence.conntrack.iter().all(|event| event.node.as_str() == "nat"));
        assert!(!evidence.conntrack.is_empty());
    });
}
