//! Scenes for the tests of the pure judges: hand-drawn packets between two port-preserving NATs, 10 ms apart.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::PacketBuilder;

use crate::judge::reference::NatView;
use crate::judge::timeline::{Role, Vantage};
use crate::model::address_plan::Network;
use crate::model::address_pool::AddressPool;
use crate::model::behavior::Behavior;
use crate::model::datapath::Datapath;
use crate::model::evidence::{
    CtChange, CtEntry, CtEvent, CtState, Direction, Evidence, Fate, Frame, Nanos, NatFlush, Tuple,
};
use crate::model::kernel_rules::KernelRules;
use crate::model::topology::NodeName;

const TRIP: Nanos = 10_000_000;

/// Between the hosts and their NATs.
const HOST_LINKS: [u16; 2] = [2, 3];

/// Draws evidence, one packet at a time; times are in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct StagedEvidence {
    pub(crate) evidence: Evidence,
}

/// The rendezvous server.
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 7000);

/// A TCP packet to be drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StagedPacket {
    pub(crate) from: Role,
    pub(crate) at_ms: f64,
    pub(crate) flags: &'static str,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) payload: usize,
    /// The external address that it comes from: the usual one, or another of a pool.
    pub(crate) source_address: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) target_port: u16,
    pub(crate) ttl: u8,
}

impl StagedPacket {
    /// A packet between the two usual ports, from a host behind a NAT.
    pub(crate) fn new(from: Role, at_ms: f64, flags: &'static str) -> Self {
        let (source_port, target_port) = if from == Role::A { (4000, 5000) } else { (5000, 4000) };
        let sequence = if from == Role::A { 100 } else { 900 };
        Self {
            from,
            at_ms,
            flags,
            sequence,
            acknowledgment: 0,
            payload: 0,
            source_address: external(from),
            source_port,
            target_port,
            ttl: 63,
        }
    }

    pub(crate) fn acknowledging(self, acknowledgment: u32) -> Self {
        Self { acknowledgment, ..self }
    }

    pub(crate) fn data(self, sequence: u32, payload: usize) -> Self {
        Self { sequence, payload, ..self }
    }

    pub(crate) fn ports(self, source_port: u16, target_port: u16) -> Self {
        Self { source_port, target_port, ..self }
    }

    pub(crate) fn leaving_as(self, source_address: Ipv4Addr) -> Self {
        Self { source_address, ..self }
    }

    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }
}

pub(crate) fn external(role: Role) -> Ipv4Addr {
    if role == Role::A { Ipv4Addr::new(192, 0, 2, 2) } else { Ipv4Addr::new(198, 51, 100, 2) }
}

pub(crate) fn vantage(role: Role) -> Vantage {
    let letter = role.letter();
    let node = |kind: &str| NodeName::new(&format!("{kind}-{letter}")).expect("a good name");
    let (link, internal) =
        if role == Role::A { (0, Ipv4Addr::new(10, 0, 0, 2)) } else { (1, Ipv4Addr::new(10, 0, 1, 2)) };
    Vantage {
        peer: node("peer"),
        internal,
        nats: vec![node("nat")],
        transparent: Default::default(),
        external: external(role).into(),
        link,
        host_link: HOST_LINKS[usize::from(role == Role::B)],
    }
}

/// The links above and below the NAT of [`nat_view`].
pub(crate) const NAT_LINKS: [u16; 2] = [0, 1];

/// A NAT with the address 192.0.2.2, or as many from there on as it declares, and one network below it, 10.0.0.0/24.
pub(crate) fn nat_view<'a>(node: &'a NodeName, declared: &'a Behavior) -> NatView<'a> {
    let [up, down] = NAT_LINKS;
    NatView {
        node,
        profile: "x",
        declared,
        outer: AddressPool { first: Ipv4Addr::new(192, 0, 2, 2), count: declared.addresses.count },
        up,
        down: vec![(down, Network { address: Ipv4Addr::new(10, 0, 0, 1), prefix: 24 })],
        datapath: Datapath::default(),
        kernel: KernelRules::default(),
    }
}

impl StagedEvidence {
    /// Both peers talk to the rendezvous server first.
    pub(crate) fn met() -> Self {
        Role::BOTH.into_iter().fold(Self::default(), |staged, role| {
            let said = StagedPacket { payload: 20, ..StagedPacket::new(role, 0.0, "A") };
            staged.server_says(said.source_port, said)
        })
    }

    /// What the rendezvous server says to an external port of the side that a packet is said to be from.
    pub(crate) fn server_says(mut self, port: u16, draw: StagedPacket) -> Self {
        let (at, to) = (nanos(draw.at_ms), SocketAddrV4::new(external(draw.from), port));
        self.push(vantage(draw.from).link, Direction::Down, at, at, bytes(SERVER, to, draw));
        self
    }

    /// What leaves the usual external port of a side towards the rendezvous server.
    pub(crate) fn says_to_server(mut self, draw: StagedPacket) -> Self {
        let (at, (source, _)) = (nanos(draw.at_ms), ends(draw));
        self.push(vantage(draw.from).link, Direction::Up, at, at, bytes(source, SERVER, draw));
        self
    }

    /// A packet that arrives a trip after it was sent.
    pub(crate) fn packet(mut self, draw: StagedPacket) -> Self {
        let (source, target) = ends(draw);
        let sent = nanos(draw.at_ms);
        let frame = bytes(source, target, draw);
        self.push(vantage(draw.from).link, Direction::Up, sent, sent + TRIP / 2, frame.clone());
        self.push(vantage(draw.from.other()).link, Direction::Down, sent + TRIP / 2, sent + TRIP, frame);
        self
    }

    /// A packet that its own link loses.
    pub(crate) fn lost(mut self, draw: StagedPacket) -> Self {
        let (source, target) = ends(draw);
        let sent = nanos(draw.at_ms);
        self.push(vantage(draw.from).link, Direction::Up, sent, sent, bytes(source, target, draw));
        self.evidence.frames.last_mut().expect("just pushed").fate = Fate::Lost;
        self
    }

    /// A packet on its way from the host to its NAT.
    pub(crate) fn inside(mut self, draw: StagedPacket) -> Self {
        let source = SocketAddrV4::new(vantage(draw.from).internal, draw.source_port);
        let (link, sent) = (vantage(draw.from).host_link, nanos(draw.at_ms));
        self.push(link, Direction::Up, sent, sent, bytes(source, ends(draw).1, draw));
        self
    }

    /// A packet that comes to the other side's host, behind its NAT.
    pub(crate) fn reaches(mut self, draw: StagedPacket) -> Self {
        let to = vantage(draw.from.other());
        let target = SocketAddrV4::new(to.internal, draw.target_port);
        let at = nanos(draw.at_ms);
        self.push(to.host_link, Direction::Down, at, at, bytes(ends(draw).0, target, draw));
        self
    }

    /// The NATs' records of the usual flow.
    pub(crate) fn recorded(self) -> Self {
        Role::BOTH.into_iter().fold(self, |staged, role| {
            let (_, remote) = ends(StagedPacket::new(role, 0.0, "S"));
            staged.told(role, remote, &[(CtChange::New, 0)])
        })
    }

    /// What the NAT of a side tells of its usual mapping towards `remote`, and when, in ms.
    pub(crate) fn told(mut self, role: Role, remote: SocketAddrV4, changes: &[(CtChange, u64)]) -> Self {
        let (outside, _) = ends(StagedPacket::new(role, 0.0, "S"));
        let inside = SocketAddrV4::new(vantage(role).internal, outside.port());
        let entry = CtEntry {
            original: Tuple { source: inside, destination: remote },
            reply: Tuple { source: remote, destination: outside },
            state: Some(CtState::SynSent),
            status: 0,
            id: 1,
        };
        for (change, ms) in changes.iter().copied() {
            let (node, at) = (vantage(role).nats[0].clone(), ms * 1_000_000);
            self.evidence.conntrack.push(CtEvent { node, at, after: at, change, entry });
        }
        self
    }

    /// The NAT of a side forgets everything, within a millisecond.
    pub(crate) fn flushed(mut self, role: Role, ms: u64) -> Self {
        let (node, before) = (vantage(role).nats[0].clone(), ms * 1_000_000);
        self.evidence.flushes.push(NatFlush { node, before, after: before + 1_000_000 });
        self
    }

    /// The packets of a connection whose SYNs cross: handshake, data both ways, acknowledgments.
    pub(crate) fn crossing() -> Self {
        use Role::{A, B};
        Self::met()
            .recorded()
            .packet(StagedPacket::new(A, 0.0, "S"))
            .packet(StagedPacket::new(B, 0.2, "S"))
            .packet(StagedPacket::new(A, 10.3, "SA").acknowledging(901))
            .packet(StagedPacket::new(B, 10.1, "SA").acknowledging(101))
            .with_data(20.5)
    }

    /// Data both ways, acknowledged.
    pub(crate) fn with_data(self, at_ms: f64) -> Self {
        use Role::{A, B};
        self.packet(StagedPacket::new(A, at_ms, "A").data(101, 32).acknowledging(901))
            .packet(StagedPacket::new(B, at_ms, "A").data(901, 32).acknowledging(101))
            .packet(StagedPacket::new(A, at_ms + 10.1, "A").data(133, 0).acknowledging(933))
            .packet(StagedPacket::new(B, at_ms + 10.1, "A").data(933, 0).acknowledging(133))
    }

    fn push(&mut self, link: u16, direction: Direction, entered: Nanos, left: Nanos, bytes: Vec<u8>) {
        let length = u32::try_from(bytes.len()).expect("a short frame");
        let bytes = bytes.into_boxed_slice();
        let frame = Frame {
            link,
            direction,
            entered,
            due: left,
            left,
            fate: Fate::Delivered,
            is_copy: false,
            length,
            bytes,
        };
        self.evidence.frames.push(frame);
        self.evidence.frames.sort_by_key(|f| f.entered);
    }
}

fn nanos(ms: f64) -> Nanos {
    (ms * 1e6) as Nanos
}

fn ends(draw: StagedPacket) -> (SocketAddrV4, SocketAddrV4) {
    let source = SocketAddrV4::new(draw.source_address, draw.source_port);
    (source, SocketAddrV4::new(external(draw.from.other()), draw.target_port))
}

fn bytes(source: SocketAddrV4, target: SocketAddrV4, draw: StagedPacket) -> Vec<u8> {
    let mut tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(source.ip().octets(), target.ip().octets(), draw.ttl)
        .tcp(source.port(), target.port(), draw.sequence, 64_000);
    for flag in draw.flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'A' => tcp.ack(draw.acknowledgment),
            'R' => tcp.rst(),
            'F' => tcp.fin(),
            'P' => tcp.psh(),
            other => panic!("no such flag: {other}"),
        };
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, &vec![7; draw.payload]).expect("a writable packet");
    frame
}
