//! What a wire tells of its frames: once, within its limits, and never silently less.

use std::time::Duration;

use testbed::kernel::clock::monotonic;
use testbed::kernel::packet_socket::PacketSocket;
use testbed::lab::wire::{TapLimits, TapSpec, WireEngine};
use testbed::model::evidence::{Direction, Fate};

use super::cable::{
    Cable, LOWER, UPPER, address, host, ip, is_udp, receive, receive_until, send_numbers, udp, udp_socket,
    veth,
};
use crate::lab::lab_is_possible;

#[test]
fn a_new_epoch_drops_what_is_on_the_wire() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::from_millis(200));
    cable.warm_up();
    // Where the epoch began too late, some had arrived by then: that tells nothing, and others are sent.
    let interrupted = (2..12).find_map(|epoch| {
        let sockets = cable.udp_pair();
        send_numbers(&sockets.0, 5);
        let on_the_wire = cable.take().frames;
        cable.begin_epoch(epoch);
        (monotonic() < on_the_wire[0].due).then_some((on_the_wire, sockets))
    });
    let (on_the_wire, (lower, upper)) = interrupted.expect("an epoch that begins within 200 ms");
    assert_eq!(on_the_wire.iter().map(|frame| frame.fate).collect::<Vec<_>>(), [Fate::InFlight; 5]);
    lower.send(&77_u32.to_be_bytes()).expect("a way out");
    assert_eq!(receive_until(&upper, 77), Vec::<u32>::new(), "frames of the epoch before arrived");
    let after = cable.take().frames;
    assert_eq!(after.iter().map(|frame| frame.fate).collect::<Vec<_>>(), [Fate::Delivered]);
}

#[test]
fn what_the_tap_does_not_keep_is_reported() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::ZERO);
    cable.warm_up();
    cable.wire.set_tap_limits(TapLimits { snap_length: 44, frames: 3 }).expect("the engine lives");
    let (lower, upper) = cable.udp_pair();
    send_numbers(&lower, 10);
    receive_until(&upper, 9);
    let tapped = cable.take();
    assert_eq!(tapped.lost, ["the wire: 7 frames beyond the first 3 were not recorded"]);
    let kept: Vec<_> = tapped.frames.iter().map(|frame| (frame.bytes.len(), frame.length)).collect();
    assert_eq!(kept, [(44, 46); 3]);
}

#[test]
fn a_frame_that_finds_no_way_out_is_reported() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::ZERO);
    cable.warm_up();
    let (lower, _upper) = cable.udp_pair();
    cable.between.enter(|_| ip("link set y down")).expect("the way in");
    lower.send(b"into the void").expect("a way out");
    let tapped = cable.take();
    // What arrives elsewhere was due later, so that the frame above has had its turn.
    Cable::delayed(&engine, Duration::ZERO).warm_up();
    let later = cable.take();
    let lost = [tapped.lost, later.lost].concat();
    assert!(lost.iter().any(|line| line.contains("the kernel refused 1 frames")), "{lost:?}");
}

#[test]
fn a_tap_sees_both_directions_of_a_bare_link() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let [lower, upper] = [host(), host()];
    let listener = upper.enter(|inside| {
        veth("lan0", &lower, "eth0");
        PacketSocket::listener(inside, "lan0").expect("a packet socket")
    });
    address(&lower, "eth0", LOWER);
    address(&upper, "lan0", UPPER);
    let spec = TapSpec {
        name: "the link".to_owned(),
        link: 3,
        inward: Direction::Up,
        limits: TapLimits { snap_length: 44, frames: 100 },
    };
    let tap = engine.add_tap(listener.expect("the way in"), spec).expect("a tap");
    let (below, above) = (udp_socket(&lower, LOWER), udp_socket(&upper, UPPER));
    let mut buffer = [0; 8];
    below.send_to(b"ping", above.local_addr().expect("a port")).expect("a way out");
    receive(&above, &mut buffer);
    above.send_to(b"pong", below.local_addr().expect("a port")).expect("a way out");
    receive(&below, &mut buffer);

    let tapped = tap.take_frames().expect("the engine lives");
    assert_eq!(tapped.lost, Vec::<String>::new());
    let seen: Vec<_> = tapped.frames.iter().filter(|frame| is_udp(frame)).collect();
    let directions: Vec<_> = seen.iter().map(|frame| frame.direction).collect();
    assert_eq!(directions, [Direction::Up, Direction::Down]);
    for frame in seen {
        assert_eq!((frame.link, frame.fate, frame.length, frame.bytes.len()), (3, Fate::Delivered, 46, 44));
        assert_eq!((frame.due, frame.left), (frame.entered, frame.entered));
    }
    tap.begin_epoch().expect("the engine lives");
    assert_eq!(tap.take_frames().expect("the engine lives").frames, []);
}

#[test]
fn a_wire_that_is_dropped_leaves_the_others_alone() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let (gone, stays) = (Cable::delayed(&engine, Duration::ZERO), Cable::delayed(&engine, Duration::ZERO));
    stays.warm_up();
    let (lower, upper) = stays.udp_pair();
    drop(gone);
    drop(engine);
    send_numbers(&lower, 100);
    receive_until(&upper, 99);
    assert_eq!(udp(&stays.take().frames, Direction::Up).len(), 100);
}
