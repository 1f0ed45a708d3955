//! Frames arrive: when they are due, whole, with finished checksums.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use testbed::kernel::clock::monotonic;
use testbed::lab::wire::WireEngine;
use testbed::model::evidence::{Direction, Fate};
use testbed::model::packet::Packet;

use super::cable::{Cable, LOWER, UPPER, bursts_are_possible, receive, receive_until, send_numbers, udp};
use crate::lab::lab_is_possible;

#[test]
fn a_frame_leaves_no_earlier_than_due_and_is_told_with_its_times() {
    if !lab_is_possible() {
        return;
    }
    let delay = Duration::from_millis(30);
    let (cable, lower, upper) = Cable::with_sockets(delay);
    let start = Instant::now();
    lower.send(b"hello").expect("a way out");
    let mut buffer = [0; 64];
    assert_eq!(receive(&upper, &mut buffer), 5);
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
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&data).expect("room for the data");
            sender.shutdown(Shutdown::Write).expect("an open connection");
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
    let up = tapped.frames.iter().filter(|frame| frame.direction == Direction::Up);
    let told: u64 =
        up.filter_map(|frame| Packet::of(frame)?.tcp().map(|segment| u64::from(segment.payload))).sum();
    assert!(told >= data.len() as u64, "the tap saw {told} bytes of data");
}

#[test]
fn a_burst_finds_room_and_stays_in_order() {
    if !bursts_are_possible() {
        return;
    }
    const BURST: u32 = 1_500;
    let (cable, lower, upper) = Cable::with_sockets(Duration::from_millis(50));
    send_numbers(&lower, BURST);
    let got = receive_until(&upper, BURST - 1);
    assert!(got.into_iter().eq(0..BURST - 1), "all of them, in order");
    assert_eq!(cable.take().lost, Vec::<String>::new());
}

#[test]
fn a_delay_counts_from_when_a_frame_came_and_not_from_when_it_was_read() {
    if !lab_is_possible() {
        return;
    }
    let (cable, lower, upper) = Cable::with_sockets(Duration::from_millis(1));
    // The first frame keeps the carrying thread busy until the second has long been waiting.
    let (go_on, wait) = mpsc::channel();
    let busy = move |_: &Packet| wait.recv().is_err();
    let _held = cable.wire.hold(Direction::Up, busy).expect("the engine lives");
    send_numbers(&lower, 1);
    lower.send(&9_u32.to_be_bytes()).expect("a way out");
    let sent = monotonic();
    while monotonic() < sent + 50_000_000 {
        thread::yield_now();
    }
    for _ in 0..2 {
        go_on.send(()).expect("a busy thread");
    }
    assert_eq!(receive_until(&upper, 9), [0]);
    let tapped = cable.take();
    let second = udp(&tapped.frames, Direction::Up)[1];
    assert!(second.entered <= sent, "it entered {} ns after it was sent", second.entered - sent);
    assert!(tapped.lateness > Duration::from_millis(40), "being late is told: {:?}", tapped.lateness);
}
