//! Frames are held and go on in exactly the order that was asked for.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use testbed::kernel::namespace::Namespace;
use testbed::kernel::sysctl::Sysctl;
use testbed::lab::wire::{Held, PunchingSide, ReleaseOrder, SynOrder, SynsHeld, Wire, WireEngine, WireError};
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::evidence::{Direction, Fate, Frame};
use testbed::model::packet::{Packet, PacketKind};

use super::cable::{Cable, PATIENCE, address, host, ip, plug, receive_until, send_numbers, udp};
use crate::lab::lab_is_possible;

fn any_udp(packet: &Packet) -> bool {
    packet.kind == PacketKind::Udp
}

/// Runs to the end, but not forever.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("it to happen in time")
}

/// Four datagrams that are held on their way up a cable.
struct FourHeld {
    cable: Cable,
    held: Held,
    lower: UdpSocket,
    upper: UdpSocket,
}

impl FourHeld {
    fn new(engine: &WireEngine) -> Self {
        let cable = Cable::delayed(engine, Duration::from_millis(10));
        cable.warm_up();
        let mut held = cable.wire.hold(Direction::Up, any_udp).expect("the engine lives");
        let (lower, upper) = cable.udp_pair();
        send_numbers(&lower, 4);
        run(held.caught(4)).expect("the wire lives");
        assert_eq!(held.count(), 4);
        Self { cable, held, lower, upper }
    }
}

#[test]
fn held_frames_go_on_in_the_order_asked_for() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let orders = [
        (ReleaseOrder::AsCaught, [0, 1, 2, 3]),
        (ReleaseOrder::Reversed, [3, 2, 1, 0]),
        (ReleaseOrder::By(vec![2, 0]), [2, 0, 1, 3]),
    ];
    for (order, expected) in orders {
        let FourHeld { cable: _cable, held, lower, upper } = FourHeld::new(&engine);
        held.release(order).expect("the engine lives");
        lower.send(&9_u32.to_be_bytes()).expect("a way out");
        assert_eq!(receive_until(&upper, 9), expected);
    }
}

#[test]
fn a_held_frame_is_in_flight_and_takes_its_delay_once_released() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let FourHeld { cable, held, lower, upper } = FourHeld::new(&engine);
    held.release(ReleaseOrder::AsCaught).expect("the engine lives");
    lower.send(&9_u32.to_be_bytes()).expect("a way out");
    receive_until(&upper, 9);
    let tapped = cable.take();
    let frames = udp(&tapped.frames, Direction::Up);
    assert_eq!(frames.len(), 5);
    for frame in &frames[..4] {
        assert_eq!(frame.fate, Fate::Delivered);
        assert!(frame.due - frame.entered > 10_000_000, "the time it was held counts on top");
        assert!(frame.left >= frame.due);
    }
}

#[test]
fn other_frames_pass_a_hold_and_nobody_is_stuck_when_it_is_dropped() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let FourHeld { cable, held, upper, .. } = FourHeld::new(&engine);
    let listener = cable.listen();
    let _stream = cable.connect();
    listener.accept().expect("TCP to pass");
    drop(held);
    assert_eq!(receive_until(&upper, 3), [0, 1, 2]);
}

#[test]
fn a_new_epoch_ends_holds_and_tells_who_waits() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let FourHeld { cable, mut held, .. } = FourHeld::new(&engine);
    let sighting = cable.wire.watch(Direction::Down, any_udp).expect("the engine lives");
    cable.begin_epoch(3);
    assert!(matches!(run(held.caught(5)), Err(WireError::Reset)));
    assert!(matches!(run(sighting.delivered()), Err(WireError::Reset)));
}

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// `a` == wire == `core` == wire == `b`.
struct Street {
    a: Namespace,
    b: Namespace,
    wires: [Wire; 2],
    _core: Namespace,
}

impl Street {
    fn new(engine: &WireEngine) -> Self {
        let [a, b, core] = [host(), host(), host()];
        let five = LinkConditions::symmetric(Conditions::delayed(Duration::from_millis(5)));
        let sides = [(&a, "to-a", A), (&b, "to-b", B)];
        let wires = sides.map(|(end, device, of_end)| {
            let gateway = Ipv4Addr::from(u32::from(of_end) - 1);
            let (wire, _) = plug(engine, end, (&core, device), five);
            address(end, "eth0", of_end);
            address(&core, device, gateway);
            end.enter(|_| ip(&format!("route add default via {gateway}"))).expect("the way in");
            wire
        });
        let forward = Sysctl::new("net.ipv4.ip_forward", 1);
        core.enter(|inside| forward.write(inside)).expect("the way in").expect("a setting");
        Self { a, b, wires, _core: core }
    }

    /// Both ends connect to each other, and the SYNs meet as `order` says. What the wires saw of it.
    fn punch(&self, order: SynOrder) -> [Vec<Frame>; 2] {
        let side = |wire, external: std::net::Ipv4Addr| PunchingSide { wire, external: external.into() };
        let [wire_a, wire_b] = &self.wires;
        let held = SynsHeld::arm(side(wire_a, A), side(wire_b, B)).expect("the engine lives");
        let sockets = [connecting(&self.a, A, B), connecting(&self.b, B, A)];
        run(held.play(order)).expect("the wires live");
        for socket in &sockets {
            await_connection(socket);
        }
        self.wires.each_ref().map(|wire| {
            let tapped = wire.take_frames().expect("the engine lives");
            assert_eq!(tapped.lost, Vec::<String>::new());
            tapped.frames
        })
    }
}

/// A socket that has sent its SYN, or is about to once the gateway's MAC address is known.
fn connecting(host: &Namespace, from: Ipv4Addr, to: Ipv4Addr) -> Socket {
    let socket = host.enter(|_| Socket::new(Domain::IPV4, Type::STREAM, None));
    let socket = socket.expect("the way in").expect("a socket");
    socket.bind(&SocketAddr::from((from, 6000)).into()).expect("a port");
    socket.set_nonblocking(true).expect("a setting");
    let _in_progress = socket.connect(&SocketAddr::from((to, 6000)).into());
    socket
}

fn await_connection(socket: &Socket) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut set = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(PATIENCE).expect("some seconds");
    assert_eq!(poll(&mut set, timeout), Ok(1), "no connection in time");
    assert!(socket.take_error().expect("an open socket").is_none());
    assert!(socket.peer_addr().is_ok());
}

/// The SYN from one host to the other on its way in a direction.
fn syn(frames: &[Frame], direction: Direction, from: Ipv4Addr) -> &Frame {
    let is_it = |frame: &&Frame| {
        let opening =
            |p: Packet| *p.source.ip() == from && p.tcp().is_some_and(|segment| segment.flags.is_opening());
        frame.direction == direction && Packet::of(frame).is_some_and(opening)
    };
    frames.iter().find(is_it).expect("a SYN")
}

#[test]
fn the_first_syn_has_arrived_before_the_second_starts() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    for (order, first) in [(SynOrder::AFirst, 0), (SynOrder::BFirst, 1)] {
        let frames = Street::new(&engine).punch(order);
        let (second, from) = (1 - first, [A, B]);
        let arrived = syn(&frames[second], Direction::Down, from[first]);
        let started = syn(&frames[second], Direction::Up, from[second]);
        assert_eq!(arrived.fate, Fate::Delivered);
        let moved = started.due - 5_000_000;
        assert!(arrived.left <= moved, "{order:?}: arrived {} ns too late", arrived.left - moved);
        assert!(started.entered < arrived.entered, "{order:?}: the second was there before the first moved");
    }
}

#[test]
fn crossing_syns_start_at_the_same_moment() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let frames = Street::new(&engine).punch(SynOrder::Crossing);
    let (a, b) = (syn(&frames[0], Direction::Up, A), syn(&frames[1], Direction::Up, B));
    assert_eq!(a.due, b.due);
}
