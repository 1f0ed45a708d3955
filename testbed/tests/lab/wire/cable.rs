//! Wires between hosts: the smallest things that frames can cross.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use testbed::kernel::namespace::{Inside, Namespace};
use testbed::kernel::packet_socket::PacketSocket;
use testbed::kernel::sysctl::Sysctl;
use testbed::lab::wire::{Ends, TapLimits, Tapped, Wire, WireEngine, WireSpec};
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::evidence::{Direction, Frame};
use testbed::model::packet::{Packet, PacketKind};

use crate::lab::{lab_is_possible, possible};

pub(super) const LOWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const UPPER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Room for datagrams that nobody has read yet, in bytes.
const ROOM: usize = 32 << 20;

/// `lower` == wire == `upper`, each host with the device `eth0`.
pub(super) struct Cable {
    pub(super) wire: Wire,
    pub(super) lower: Namespace,
    pub(super) upper: Namespace,
    /// Where the inner ends `x` and `y` lie.
    pub(super) between: Namespace,
}

impl Cable {
    pub(super) fn new(engine: &WireEngine, conditions: LinkConditions) -> Self {
        let [lower, upper] = [host(), host()];
        let (wire, between) = plug(engine, &lower, (&upper, "eth0"), conditions);
        address(&lower, "eth0", LOWER);
        address(&upper, "eth0", UPPER);
        Self { wire, lower, upper, between }
    }

    /// The same delay both ways and nothing else.
    pub(super) fn delayed(engine: &WireEngine, delay: Duration) -> Self {
        Self::new(engine, LinkConditions::symmetric(Conditions::delayed(delay)))
    }

    /// The same, warmed up, on an engine of its own, and a socket in each host.
    pub(super) fn with_sockets(delay: Duration) -> (Self, UdpSocket, UdpSocket) {
        let engine = WireEngine::start().expect("an engine");
        let cable = Self::delayed(&engine, delay);
        cable.warm_up();
        let (lower, upper) = cable.udp_pair();
        (cable, lower, upper)
    }

    pub(super) fn take(&self) -> Tapped {
        self.wire.take_frames().expect("the engine lives")
    }

    pub(super) fn begin_epoch(&self, seed: u64) {
        self.wire.begin_epoch(seed).expect("the engine lives");
    }

    /// A UDP socket in each host, connected to each other.
    pub(super) fn udp_pair(&self) -> (UdpSocket, UdpSocket) {
        let (lower, upper) = (udp_socket(&self.lower, LOWER), udp_socket(&self.upper, UPPER));
        lower.connect(upper.local_addr().expect("a port")).expect("an address");
        upper.connect(lower.local_addr().expect("a port")).expect("an address");
        (lower, upper)
    }

    /// Makes sure that both hosts know each other's MAC address, so that no frame waits for ARP; then forgets it.
    pub(super) fn warm_up(&self) {
        let (lower, upper) = self.udp_pair();
        let mut buffer = [0; 8];
        lower.send(b"ping").expect("a way out");
        receive(&upper, &mut buffer);
        upper.send(b"pong").expect("a way out");
        receive(&lower, &mut buffer);
        for (host, other) in [(&self.lower, UPPER), (&self.upper, LOWER)] {
            host.enter(|_| ip(&format!("neighbour change {other} dev eth0 nud permanent")))
                .expect("the way in");
        }
        self.begin_epoch(1);
    }

    pub(super) fn listen(&self) -> TcpListener {
        let listener = self.upper.enter(|_| TcpListener::bind((UPPER, 5000)));
        listener.expect("the way in").expect("a port")
    }

    pub(super) fn connect(&self) -> TcpStream {
        let to = SocketAddr::from((UPPER, 5000));
        let stream = self.lower.enter(|_| TcpStream::connect_timeout(&to, PATIENCE));
        stream.expect("the way in").expect("a connection")
    }
}

/// A host without any device but `lo`, and without IPv6, so that nothing is said that the test did not say.
pub(super) fn host() -> Namespace {
    let quiet = |inside: &Inside| {
        for scope in ["default", "all"] {
            let key = format!("net.ipv6.conf.{scope}.disable_ipv6");
            Sysctl::new(key, 1).write(inside).expect("IPv6 to be configurable");
        }
    };
    Namespace::create(quiet).expect("a namespace").0
}

/// A wire from the `eth0` of a lower host to a device of an upper one, and where its inner ends lie.
pub(super) fn plug(
    engine: &WireEngine,
    lower: &Namespace,
    (upper, device): (&Namespace, &str),
    conditions: LinkConditions,
) -> (Wire, Namespace) {
    let between = host();
    let make = |inside: &Inside| {
        let [x, y] = [("x", lower, "eth0"), ("y", upper, device)].map(|(end, host, device)| {
            veth(end, host, device);
            nix::net::if_::if_nametoindex(end).expect("the device just made")
        });
        (Ends { x, y }, PacketSocket::carrier_of_all(inside).expect("a packet socket"))
    };
    let (ends, carrier) = between.enter(make).expect("the way in");
    let spec =
        WireSpec { name: "the wire".to_owned(), link: 7, conditions, seed: 1, tap: TapLimits::default() };
    let junction = engine.add_junction(carrier).expect("the engine lives");
    (junction.add_wire(ends, spec).expect("a wire"), between)
}

/// A veth pair from here, up, to a host.
pub(super) fn veth(end: &str, host: &Namespace, device: &str) {
    ip(&format!("link add {end} type veth peer name {device} netns {}", host.path()));
    ip(&format!("link set {end} up"));
}

pub(super) fn address(host: &Namespace, device: &str, address: Ipv4Addr) {
    let bring_up = |_: &Inside| {
        ip("link set lo up");
        ip(&format!("address add {address}/24 dev {device}"));
        ip(&format!("link set {device} up"));
    };
    host.enter(bring_up).expect("the way in");
}

/// Runs `ip` in the namespace of this thread.
pub(super) fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().expect("ip, which is part of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn udp_socket(host: &Namespace, address: Ipv4Addr) -> UdpSocket {
    let socket = host.enter(|_| UdpSocket::bind((address, 0))).expect("the way in").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A receiver with little room would lose datagrams and the wire would be blamed.
    if setsockopt(&socket, sockopt::RcvBufForce, &ROOM).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &ROOM).expect("some room");
    }
    socket
}

/// Whether a socket may have room for thousands of datagrams, which takes a right in the host's user namespace.
pub(super) fn bursts_are_possible() -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    lab_is_possible() && possible(setsockopt(&socket, sockopt::RcvBufForce, &ROOM))
}

pub(super) fn is_udp(frame: &Frame) -> bool {
    Packet::of(frame).is_some_and(|packet| packet.kind == PacketKind::Udp)
}

/// The UDP datagrams of a direction.
pub(super) fn udp(frames: &[Frame], direction: Direction) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.direction == direction && is_udp(frame)).collect()
}

/// Sends this many numbered datagrams.
pub(super) fn send_numbers(socket: &UdpSocket, count: u32) {
    for number in 0..count {
        socket.send(&number.to_be_bytes()).expect("a way out");
    }
}

/// Receives a datagram, however often the machine is stopped and goes on meanwhile.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    loop {
        match socket.recv(buffer) {
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            received => return received.expect("a datagram"),
        }
    }
}

/// Receives until the number comes that ends it; it is not told.
pub(super) fn receive_until(socket: &UdpSocket, end: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let mut buffer = [0; 4];
        receive(socket, &mut buffer);
        match u32::from_be_bytes(buffer) {
            number if number == end => return numbers,
            number => numbers.push(number),
        }
    }
}
