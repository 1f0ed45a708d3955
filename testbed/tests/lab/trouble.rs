//! A NAT that restarts, a NAT that gets another address, links for small packets only.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use testbed::lab::Lab;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::model::behavior::Behavior;
use testbed::model::evidence::CtChange;
use testbed::model::topology::NodeName;

use super::pair::in_lab;

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects peer-a with the core, through NAT-a; both ends and the address that the core saw.
fn connect(lab: &Lab, port: u16) -> (TcpStream, TcpStream, SocketAddr) {
    let server = SocketAddr::from(([203, 0, 113, 1], port));
    let core = lab.node("core").expect("the core");
    let listener = core.enter(|_| TcpListener::bind(server).expect("a free port")).expect("the way in");
    let peer = lab.node("peer-a").expect("a peer");
    let stream = peer.enter(|_| TcpStream::connect_timeout(&server, PATIENCE)).expect("the way in");
    let (accepted, from) = listener.accept().expect("a connection");
    accepted.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (stream.expect("a connection"), accepted, from)
}

fn nat() -> NodeName {
    NodeName::new("nat-a").expect("a good name")
}

#[test]
fn a_restarted_nat_has_forgotten_its_mappings() {
    in_lab(async |lab| {
        let (_stream, _accepted, _) = connect(&lab, 7000);
        assert_eq!(lab.node(&nat()).expect("the NAT").mappings().expect("a list").len(), 1);
        lab.restart_nat(&nat()).await.expect("a restart");
        assert_eq!(lab.node(&nat()).expect("the NAT").mappings().expect("a list"), []);
        let events = lab.evidence().expect("evidence").conntrack;
        assert!(events.iter().any(|event| event.change == CtChange::Destroy), "{events:?}");
    });
}

#[test]
fn a_nat_with_another_address_shows_it_and_its_old_mappings_are_gone() {
    in_lab(async |lab| {
        let (_stream, _accepted, before) = connect(&lab, 7000);
        assert_eq!(before.ip(), Ipv4Addr::new(192, 0, 2, 2));
        let rules = |site: &NatSite| Ok(render(&Behavior::port_preserving(), site));
        let new = lab.renumber(&nat(), rules).await.expect("another address");
        assert_eq!(lab.node(&nat()).expect("the NAT").mappings().expect("a list"), [], "they went with it");
        let (_stream, _accepted, after) = connect(&lab, 7001);
        assert_eq!(after.ip(), new);
        assert_ne!(new, before.ip());
    });
}

#[test]
fn small_packets_carry_large_data() {
    const MTU: u32 = 576;
    in_lab(async |lab| {
        for node in ["peer-a", "nat-a", "core"] {
            lab.set_mtu(&NodeName::new(node).expect("a good name"), MTU).await.expect("a small MTU");
        }
        let (mut stream, mut accepted, _) = connect(&lab, 7000);
        let sent = vec![7; 20_000];
        stream.write_all(&sent).expect("an open stream");
        let mut got = vec![0; sent.len()];
        accepted.read_exact(&mut got).expect("all of it");
        assert_eq!(got, sent);
        // The longest segment: the MTU without the headers of IP and TCP.
        let segment = SockRef::from(&stream).tcp_mss().expect("a connected socket");
        assert!(segment <= MTU - 40, "segments of {segment} bytes");
    });
}
