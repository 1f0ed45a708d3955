//! Frames arrive: when they are due, whole, with finished checksums.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use testbed::lab::wire::WireEngine;
use testbed::model::evidence::{Direction, Fate};
use testbed::model::packet::Packet;

use super::cable::{Cable, LOWER, UPPER, udp};
use crate::lab::lab_is_possible;

#[test]
fn a_frame_leaves_no_earlier_than_due_and_is_told_with_its_times() {
    if !lab_is_possible() {
        return;
    }
    let delay = Duration::from_millis(30);
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, delay);
    cable.warm_up();
    cable.wire.begin_epoch(1).expect("the engine lives");
    let (lower, upper) = cable.udp_pair();
    let start = Instant::now();
    lower.send(b"hello").expect("a way out");
    let mut buffer = [0; 64];
    assert_eq!(upper.recv(&mut buffer).expect("the datagram"), 5);
    assert!(start.elapsed() >= delay);

    let tapped = cable.take();
    assert_eq!(tapped.lost, Vec::<String>::new());
    let frames = udp(&tapped.frames, Direction::Up);
    assert_eq!((frames.len(), tapped.frames.len()), (1, 1), "{:?}", tapped.frames);
    let frame = frames[0];
    assert_eq!((frame.link, frame.fate, frame.length), (7, Fate::Delivered, 14 + 20 + 8 + 5));
    assert_eq!(frame.due - frame.entered, 30_000_000);
    assert!(frame.left >= frame.due);
    assert_eq!(tapped.lateness, Duration::from_nanos(frame.left - frame.due));
    let packet = Packet::of(frame).expect("a packet");
    assert_eq!((*packet.source.ip(), *packet.destination.ip()), (LOWER, UPPER));
    assert_eq!(&frame.bytes[42..], b"hello");
}

#[test]
fn a_transfer_with_segmentation_offload_arrives_whole() {
    if !lab_is_possible() {
        return;
    }
    const MEBIBYTES: usize = 16;
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::from_millis(1));
    let listener = cable.listen();
    let mut sender = cable.connect();
    let (mut receiver, _) = listener.accept().expect("a connection");
    let data: Vec<u8> =
        (0..MEBIBYTES << 20).map(|n: usize| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let got = std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&data).expect("room for the data");
            sender.shutdown(std::net::Shutdown::Write).expect("an open connection");
        });
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).expect("the data");
        got
    });
    assert!(got == data, "{} of {} bytes arrived, or others", got.len(), data.len());
    let tapped = cable.take();
    assert_eq!(tapped.lost, Vec::<String>::new());
    let longest = tapped.frames.iter().map(|frame| frame.length).max();
    assert!(longest > Some(1_514), "no frame was larger than a segment: {longest:?}");
    let told: u64 = tapped
        .frames
        .iter()
        .filter(|frame| frame.direction == Direction::Up)
        .filter_map(|frame| Packet::of(frame)?.tcp().map(|segment| u64::from(segment.payload)))
        .sum();
    assert!(told >= data.len() as u64, "the tap saw {told} bytes of data");
}
