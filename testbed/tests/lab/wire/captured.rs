//! What wires saw, written as pcapng, says the same to an independent reader.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use testbed::kernel::clock::ClockPair;
use testbed::lab::Lab;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::lab::wire::WireEngine;
use testbed::model::behavior::Behavior;
use testbed::model::evidence::Direction;
use testbed::model::evidence::SNAP_LENGTH;
use testbed::model::packet::Packet;
use testbed::model::topology::NodeName;
use testbed::report::pcapng::{CaptureHeader, LinkName, Pcapng};

use super::cable::{Cable, LOWER, UPPER};
use crate::lab::pair::pair;
use crate::lab::{has_tool, lab_is_possible};

fn tshark(file: &std::path::Path, fields: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_capture_reads_back_in_tshark() {
    if !lab_is_possible() || !has_tool("tshark") {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::from_millis(5));
    cable.warm_up();
    let listener = cable.listen();
    let stream = cable.connect();
    listener.accept().expect("a connection");
    let port = stream.local_addr().expect("a port").port();
    let frames = cable.take().frames;

    let link = |number: u16| LinkName { name: format!("link-{number}"), description: "a wire".to_owned() };
    let links: Vec<LinkName> = (0..8).map(link).collect();
    let unix_offset = ClockPair::read().unix_offset();
    let heading = CaptureHeader {
        comment: "a cell, a trial, its outcome",
        links: &links,
        unix_offset,
        snap_length: SNAP_LENGTH,
    };
    let mut capture = Pcapng::new(&heading);
    for frame in &frames {
        capture.add(frame, &["first", "second"]).expect("a known link");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&capture.into_bytes()).expect("room for it");

    let fields =
        ["frame.time_epoch", "frame.interface_name", "ip.src", "ip.dst", "tcp.srcport", "tcp.flags.str"];
    let read = tshark(file.path(), &fields);
    let expected = [(LOWER, UPPER, port, "··········S·"), (UPPER, LOWER, 5000, "·······A··S·")];
    for ((line, (from, to, port, flags)), frame) in read.lines().zip(expected).zip(&frames) {
        let time = frame.entered + unix_offset;
        let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
        assert_eq!(line, format!("{seconds}.{nanos:09}|link-7|{from}|{to}|{port}|{flags}"));
    }
    assert_eq!(read.lines().count(), frames.len());
    let comments = tshark(file.path(), &["frame.comment"]);
    // The machine may have carried them late, never early.
    for (line, frame) in comments.lines().zip(&frames).take(expected.len()) {
        let took = Duration::from_nanos(frame.left - frame.entered);
        assert!(took >= Duration::from_millis(5), "{took:?}");
        assert_eq!(line, format!("first,second,left the link after {:.3} ms", took.as_secs_f64() * 1e3));
    }
}

#[tokio::test]
async fn every_link_shows_a_connection_before_and_after_its_translation() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let mut lab = Lab::new(&pair()).engine(&engine).build().await.expect("a lab");
    let nat = NodeName::new("nat-a").expect("a good name");
    let site = NatSite::of(lab.plan(), &nat).expect("a NAT");
    lab.set_nat(&nat, &render(&Behavior::port_preserving(), &site)).expect("good rules");
    lab.watch_every_link(&engine).expect("taps");

    let rendezvous: SocketAddr = "203.0.113.1:31000".parse().expect("an endpoint");
    let listener = lab.node("core").expect("the core").enter(|_| TcpListener::bind(rendezvous));
    let listener = listener.expect("the way in").expect("a port");
    let stream = lab.node("peer-a").expect("a peer").enter(|_| TcpStream::connect(rendezvous));
    let inside = stream.expect("the way in").expect("a connection").local_addr().expect("a port");
    let (_stream, outside) = listener.accept().expect("a connection");

    let evidence = lab.evidence().expect("the engine lives");
    assert_eq!(evidence.lost, Vec::<String>::new());
    let link_of = |name| lab.plan().uplink(&NodeName::new(name).expect("a good name")).expect("an uplink");
    // Each once, however often it was sent.
    let syns: BTreeSet<_> = evidence
        .frames
        .iter()
        .filter_map(|frame| Some((frame, Packet::of(frame)?)))
        .filter(|(_, packet)| packet.tcp().is_some_and(|segment| segment.flags.is_opening()))
        .map(|(frame, packet)| (frame.link, frame.direction, SocketAddr::from(packet.source)))
        .collect();
    let up = Direction::Up;
    let expected = [(link_of("peer-a"), up, inside), (link_of("nat-a"), up, outside)];
    assert_eq!(syns, BTreeSet::from(expected));
    let answers =
        evidence.frames.iter().filter(|f| (f.link, f.direction) == (link_of("peer-a"), Direction::Down));
    assert!(answers.count() > 0);
}
