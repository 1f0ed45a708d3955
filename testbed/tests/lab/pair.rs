//! A whole lab: two peers, two NATs, a core, wires between; built, used, reset and dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use testbed::kernel::process::Command;
use testbed::lab::Lab;
use testbed::model::behavior::Behavior;
use testbed::model::evidence::CtChange;
use testbed::model::packet::Packet;
use testbed::model::topology::Topology;

use super::lab_is_possible;

pub(crate) fn pair() -> Topology {
    Topology::named("pair").expect("it is built in")
}

/// A lab of two port-preserving NATs.
async fn lab() -> Lab {
    let lab = Lab::new(&pair()).nat("nat-a", "port-preserving").nat("nat-b", Behavior::port_preserving());
    lab.build().await.expect("a lab")
}

const PYTHON_CONNECT: &str = "import socket, sys
s = socket.socket()
s.bind(('10.0.0.2', 4321))
s.connect(('203.0.113.1', 7000))
s.sendall(b'hello')
print(s.recv(100).decode())";

pub(crate) fn in_lab(test: impl AsyncFnOnce(Lab)) {
    if !lab_is_possible() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    runtime.block_on(async { test(lab().await).await });
}

/// A listener on the core, bound before anybody is told.
fn listen(lab: &Lab) -> tokio::net::TcpListener {
    let core = lab.node("core").expect("the core");
    let listener =
        core.enter(|_| TcpListener::bind("203.0.113.1:7000").expect("a free port")).expect("the way in");
    listener.set_nonblocking(true).expect("a socket");
    tokio::net::TcpListener::from_std(listener).expect("a runtime")
}

#[test]
fn a_peer_reaches_the_core_through_its_nat_and_the_wire_and_conntrack_saw_it() {
    in_lab(async |lab| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = listen(&lab);
        let peer = lab.node("peer-a").expect("a peer");
        let program =
            peer.spawn(&Command::new("python3").args(["-c", PYTHON_CONNECT])).await.expect("python");
        let (mut stream, from) = listener.accept().await.expect("a connection");
        assert_eq!(from, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), 4321)), "translated, port preserved");
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.expect("data");
        stream.write_all(b"welcome").await.expect("an open stream");
        let output = program.output().await.expect("an end");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"welcome\n");
        let evidence = lab.evidence().expect("evidence");
        assert_eq!(evidence.lost, Vec::<String>::new());
        let syn = evidence.frames.iter().filter_map(Packet::of).next().expect("a frame");
        assert_eq!(syn.source.to_string(), "192.0.2.2:4321");
        let new: Vec<_> = evidence.conntrack.iter().filter(|e| e.change == CtChange::New).collect();
        assert_eq!(new.len(), 1, "{new:?}");
        assert_eq!(new[0].entry.original.source.to_string(), "10.0.0.2:4321");
        assert_eq!(new[0].node.as_str(), "nat-a");
    });
}

#[test]
fn a_reset_ends_programs_and_forgets_mappings() {
    in_lab(async |lab| {
        let listener = listen(&lab);
        let peer = lab.node("peer-a").expect("a peer");
        let mut program =
            peer.spawn(&Command::new("python3").args(["-c", PYTHON_CONNECT])).await.expect("python");
        let _stream = listener.accept().await.expect("a connection");
        let nat = lab.node("nat-a").expect("a NAT");
        assert_eq!(nat.mappings().expect("a dump").len(), 1);
        lab.reset(1).await.expect("a reset");
        assert!(!program.wait().await.expect("an end").success());
        assert_eq!(nat.mappings().expect("a dump"), []);
        let evidence = lab.evidence().expect("evidence");
        assert!(evidence.frames.is_empty() && evidence.conntrack.is_empty(), "{evidence:?}");
        assert!(evidence.lost.is_empty(), "{evidence:?}");
    });
}

#[test]
fn peers_live_by_clocks_of_their_own() {
    in_lab(async |lab| {
        let mut clocks = Vec::new();
        for peer in ["peer-a", "peer-b"] {
            let peer = lab.node(peer).expect("a peer");
            let program = "import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))";
            let output = peer.spawn(&Command::new("python3").args(["-c", program])).await.expect("python");
            let output = output.output().await.expect("an end");
            clocks.push(String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number"));
        }
        let apart = Duration::from_nanos(clocks[0].abs_diff(clocks[1]));
        assert!(apart > Duration::from_secs(60), "{apart:?}");
    });
}
