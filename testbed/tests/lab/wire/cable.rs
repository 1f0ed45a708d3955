//! A wire between two hosts: the smallest thing that frames can cross.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use testbed::kernel::namespace::{Inside, Namespace};
use testbed::kernel::packet_socket::PacketSocket;
use testbed::kernel::sysctl::Sysctl;
use testbed::lab::wire::{TapLimits, Tapped, Wire, WireEngine, WireSpec};
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::evidence::{Direction, Frame};
use testbed::model::packet::{Packet, PacketKind};

pub(super) const LOWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const UPPER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// `lower` == wire == `upper`, each host with the device `eth0`.
pub(super) struct Cable {
    pub(super) wire: Wire,
    pub(super) lower: Namespace,
    pub(super) upper: Namespace,
}

impl Cable {
    pub(super) fn new(engine: &WireEngine, conditions: LinkConditions) -> Self {
        let [lower, upper, between] =
            std::array::from_fn(|_| Namespace::create(quiet).expect("a namespace").0);
        for (end, host, address) in [("x", &lower, LOWER), ("y", &upper, UPPER)] {
            between.enter(|_| veth(end, &host.path())).expect("the way in");
            host.enter(|_| bring_up(address)).expect("the way in");
        }
        let sockets = between.enter(|inside| {
            ip("link set x up");
            ip("link set y up");
            ["x", "y"].map(|end| PacketSocket::carrier(inside, end).expect("a packet socket"))
        });
        let [x, y] = sockets.expect("the way in");
        let spec =
            WireSpec { name: "the wire".to_owned(), link: 7, conditions, seed: 1, tap: TapLimits::default() };
        Self { wire: engine.add(x, y, spec).expect("a wire"), lower, upper }
    }

    /// The same delay both ways and nothing else.
    pub(super) fn delayed(engine: &WireEngine, delay: Duration) -> Self {
        Self::new(engine, LinkConditions::symmetric(Conditions::delayed(delay)))
    }

    pub(super) fn take(&self) -> Tapped {
        self.wire.take_frames().expect("the engine lives")
    }

    /// A UDP socket in each host, connected to each other.
    pub(super) fn udp_pair(&self) -> (UdpSocket, UdpSocket) {
        let bind = |host: &Namespace, address: Ipv4Addr| {
            let socket =
                host.enter(|_| UdpSocket::bind((address, 4000))).expect("the way in").expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        let (lower, upper) = (bind(&self.lower, LOWER), bind(&self.upper, UPPER));
        lower.connect((UPPER, 4000)).expect("an address");
        upper.connect((LOWER, 4000)).expect("an address");
        (lower, upper)
    }

    /// Makes sure that both hosts know each other's MAC address, so that no frame waits for ARP.
    pub(super) fn warm_up(&self) {
        let (lower, upper) = self.udp_pair();
        let mut buffer = [0; 8];
        lower.send(b"ping").expect("a way out");
        upper.recv(&mut buffer).expect("the ping");
        upper.send(b"pong").expect("a way out");
        lower.recv(&mut buffer).expect("the pong");
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

/// No IPv6, so that nothing is said on the link that the test did not say.
fn quiet(inside: &Inside) {
    for scope in ["default", "all"] {
        let key = format!("net.ipv6.conf.{scope}.disable_ipv6");
        Sysctl::new(key, 1).write(inside).expect("IPv6 to be configurable");
    }
}

fn veth(end: &str, host: &str) {
    ip(&format!("link add {end} type veth peer name eth0 netns {host}"));
}

fn bring_up(address: Ipv4Addr) {
    ip("link set lo up");
    ip(&format!("address add {address}/24 dev eth0"));
    ip("link set eth0 up");
}

/// Runs `ip` in the namespace of this thread.
pub(super) fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split(' ')).output().expect("ip, which is part of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The UDP datagrams among frames, as direction and payload length.
pub(super) fn is_udp(frame: &Frame) -> bool {
    Packet::of(frame).is_some_and(|packet| packet.kind == PacketKind::Udp)
}

pub(super) fn udp(frames: &[Frame], direction: Direction) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.direction == direction && is_udp(frame)).collect()
}
