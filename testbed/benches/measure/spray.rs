//! How long a spray takes to leave: the guesses and the draws of two peers, seen on the wires behind their NATs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use testbed::kernel::process::{Command, Process};
use testbed::lab::Lab;
use testbed::model::address_plan::{RENDEZVOUS, RENDEZVOUS_ALT};
use testbed::model::evidence::{Direction, Frame, Nanos};
use testbed::model::packet::Packet;
use testbed::model::topology::NodeName;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::labs::{Builder, set_nats};
use crate::runs::program;
use crate::table::Table;

const ROUNDS: u64 = 15;

/// The rendezvous server listens, or both peers have ended, well before.
const PATIENCE: Duration = Duration::from_secs(20);

/// One side guesses at the ports that the other's NAT draws.
const NATS: [(&str, &str); 2] = [("nat-a", "port-preserving"), ("nat-b", "random")];

pub(crate) fn spray(table: &mut Table) {
    let builder = Builder::new();
    let mut lab = builder.build();
    set_nats(&mut lab, NATS);
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "5".repeat(64)).expect("room on the disk");
    let mut bursts: [Vec<Burst>; 2] = Default::default();
    for seed in 1..=ROUNDS {
        builder.runtime.block_on(async {
            lab.reset(seed).await.expect("a lab as new");
            punch(&lab, key.to_str().expect("a path in plain letters"), seed).await;
        });
        let evidence = lab.evidence().expect("the wire lives");
        assert!(evidence.lost.is_empty(), "{:?}", evidence.lost);
        let [ours, theirs] = NATS.map(|(node, _)| {
            let node = NodeName::new(node).expect("a good name");
            lab.plan().address(&node).expect("an address")
        });
        bursts[0].push(Burst::of(&evidence.frames, ours, theirs));
        bursts[1].push(Burst::of(&evidence.frames, theirs, ours));
    }
    for (what, side) in ["guesses", "draws"].into_iter().zip(bursts) {
        let counts = side.iter().map(|burst| burst.count as f64).collect();
        table.add(format!("spray: {what} of one side"), "SYNs", counts);
        let times: Vec<_> = side.iter().map(|burst| burst.took).collect();
        table.add_times(format!("spray: first to last of these {what}"), &times);
    }
}

/// Both peers and their rendezvous server, from beginning to end.
async fn punch(lab: &Lab, key: &str, seed: u64) {
    let puncher = program("PUNCHER", "puncher");
    let endpoints = [RENDEZVOUS, RENDEZVOUS_ALT].map(|endpoint| format!("--listen={endpoint}"));
    let mut server = start(lab, "core", Command::new(&puncher).arg("rendezvous").args(endpoints)).await;
    let mut said = String::new();
    let mut lines = BufReader::new(server.stdout.take().expect("a pipe"));
    let listens = timeout(PATIENCE, lines.read_line(&mut said)).await;
    assert!(matches!(listens, Ok(Ok(_))) && said.contains("listening"), "{said}");
    let mut peers = Vec::new();
    for role in ["a", "b"] {
        let command = Command::new(&puncher).arg("connect").args([
            format!("--rendezvous={RENDEZVOUS}"),
            format!("--rendezvous={RENDEZVOUS_ALT}"),
            "--meeting=bench".to_owned(),
            format!("--role={role}"),
            format!("--key-file={key}"),
            "--method=spray".to_owned(),
            "--low-ports=never".to_owned(),
            format!("--seed={seed}"),
            "--json".to_owned(),
        ]);
        peers.push(start(lab, &format!("peer-{role}"), command).await);
    }
    for peer in peers {
        let output = timeout(PATIENCE, peer.output()).await.expect("an end").expect("its output");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

async fn start(lab: &Lab, node: &str, command: Command) -> Process {
    lab.node(node).expect("a node").spawn(&command).await.expect("puncher starts")
}

/// What one side sent towards the other at once.
#[derive(Debug)]
struct Burst {
    count: usize,
    took: Duration,
}

impl Burst {
    /// The SYNs that one NAT let out towards the other, each connection's first.
    fn of(frames: &[Frame], from: Ipv4Addr, to: Ipv4Addr) -> Self {
        let mut first: BTreeMap<(SocketAddrV4, SocketAddrV4), Nanos> = BTreeMap::new();
        for frame in frames.iter().filter(|frame| frame.direction == Direction::Up) {
            let Some(packet) = Packet::of(frame) else { continue };
            let opens = packet.tcp().is_some_and(|segment| segment.flags.is_opening());
            if opens && (*packet.source.ip(), *packet.destination.ip()) == (from, to) {
                first.entry((packet.source, packet.destination)).or_insert(frame.entered);
            }
        }
        assert!(first.len() > 1, "{from} did not spray");
        let (start, end) = (first.values().min().unwrap_or(&0), first.values().max().unwrap_or(&0));
        Self { count: first.len(), took: Duration::from_nanos(end - start) }
    }
}
