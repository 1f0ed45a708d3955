//! Tables of packets for the reference NAT: what came in, what came out, and whether that is what it had to do.

mod absolute;
/// What goes through besides TCP.
mod datagrams;
mod filtering;
mod flushes;
mod handover;
mod kernels;
mod mappings;
mod order;
mod passing;
mod twice;
mod untracked;

use std::net::SocketAddrV4;

use etherparse::PacketBuilder;

use super::*;
use crate::judge::staged::{NAT_LINKS, nat_view};
use crate::model::behavior::{
    ExternalAddresses, Filtering, InvalidPackets, Pooling, SynAfterSyn, UnsolicitedSyn,
};
use crate::model::evidence::{CtCounters, CtEntry, Direction, Fate, Frame, NatFlush};

const MS: Nanos = 1_000_000;
const TOO_MANY_HOPS: etherparse::Icmpv4Type =
    etherparse::Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const UP: u16 = NAT_LINKS[0];
const DOWN: u16 = NAT_LINKS[1];

/// The usual host, external and remote endpoint; a stranger at another port, and one at another address.
const HOST: &str = "10.0.0.2:4000";
const EXTERNAL: &str = "192.0.2.2:4000";
const REMOTE: &str = "198.51.100.2:5000";
const OTHER_PORT: &str = "198.51.100.2:5001";
const OTHER: &str = "198.51.100.9:5000";

/// Draws what both sides of a NAT saw.
#[derive(Clone, Default)]
struct Drawing {
    frames: Vec<Frame>,
    told: Vec<CtEvent>,
    flushes: Vec<NatFlush>,
    counted: CtCounters,
    kernel: KernelRules,
    datapath: Datapath,
    now: Nanos,
}

/// A segment: flags, sequence and acknowledgment number, bytes of data.
type Drawn = (&'static str, u32, u32, usize);

const SYN: Drawn = ("S", 100, 0, 0);
const SYN_BACK: Drawn = ("S", 900, 0, 0);
const SYN_ACK_BACK: Drawn = ("SA", 900, 101, 0);
const ACK: Drawn = ("A", 101, 901, 0);

impl Drawing {
    /// Puts a frame on a link.
    fn put(&mut self, link: u16, direction: Direction, (from, to): (&str, &str), drawn: Drawn, ttl: u8) {
        self.record(link, direction, bytes(from, to, drawn, ttl));
    }

    fn record(&mut self, link: u16, direction: Direction, bytes: Vec<u8>) {
        let (at, length) = (self.now, u32::try_from(bytes.len()).expect("short"));
        let fate = Fate::Delivered;
        self.frames.push(Frame {
            link,
            direction,
            entered: at,
            due: at,
            left: at,
            fate,
            is_copy: false,
            length,
            bytes: bytes.into(),
        });
        self.now += MS / 100;
    }

    /// A packet from inside, and what of it leaves to the outside.
    fn out(mut self, from: (&str, &str), left_as: Option<(&str, &str)>, drawn: Drawn) -> Self {
        self.now += 10 * MS;
        self.put(DOWN, Direction::Up, from, drawn, 64);
        if let Some(ends) = left_as {
            self.put(UP, Direction::Up, ends, drawn, 63);
        }
        self
    }

    /// A packet from outside, and what of it goes in.
    fn back(mut self, from: (&str, &str), left_as: Option<(&str, &str)>, drawn: Drawn) -> Self {
        self.now += 10 * MS;
        self.put(UP, Direction::Down, from, drawn, 60);
        if let Some(ends) = left_as {
            self.put(DOWN, Direction::Down, ends, drawn, 59);
        }
        self
    }

    /// A packet that the NAT makes itself, to the outside.
    fn made(mut self, ends: (&str, &str), drawn: Drawn) -> Self {
        self.put(UP, Direction::Up, ends, drawn, 64);
        self
    }

    /// What the NAT says of a packet that had no hop left.
    fn complaint(&mut self, to: &str, about: (&str, &str), sequence: u32) {
        self.error(TOO_MANY_HOPS, to, about, sequence);
    }

    /// An ICMP error that the NAT sends outside, about a SYN.
    fn error(&mut self, kind: etherparse::Icmpv4Type, to: &str, about: (&str, &str), sequence: u32) {
        self.error_on((UP, Direction::Up), kind, to, about, sequence);
    }

    fn error_on(
        &mut self,
        (link, direction): (u16, Direction),
        kind: etherparse::Icmpv4Type,
        to: &str,
        about: (&str, &str),
        sequence: u32,
    ) {
        let quoted = &bytes(about.0, about.1, ("S", sequence, 0, 0), 1)[14..];
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(OUTER.octets(), end(to).ip().octets(), 64)
            .icmpv4(kind)
            .write(&mut bytes, quoted)
            .expect("a writable packet");
        self.record(link, direction, bytes);
    }

    /// The usual SYN, which went out.
    fn opened() -> Self {
        Self::default().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), SYN)
    }

    /// The usual connection.
    fn stands() -> Self {
        Self::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_ACK_BACK).out(
            (HOST, REMOTE),
            Some((EXTERNAL, REMOTE)),
            ACK,
        )
    }

    /// The NAT tells that the usual connection's entry ended.
    fn forgotten(self) -> Self {
        let now = self.now;
        self.forgotten_after(now)
    }

    /// The same, read now, and perhaps as long ago as that.
    fn forgotten_after(self, after: Nanos) -> Self {
        self.told(CtChange::Destroy, after)
    }

    /// The NAT forgets everything, in a moment.
    fn flushed(mut self) -> Self {
        let node = NodeName::new("nat-a").expect("a good name");
        self.flushes.push(NatFlush { node, before: self.now, after: self.now + MS / 10 });
        self.now += MS / 10;
        self
    }

    /// The NAT tells that the usual connection's entry began.
    fn begun(self) -> Self {
        let now = self.now;
        self.told(CtChange::New, now)
    }

    fn told(mut self, change: CtChange, after: Nanos) -> Self {
        let tuple = |source, destination| Tuple { source: end(source), destination: end(destination) };
        let (original, reply) = (tuple(HOST, REMOTE), tuple(REMOTE, EXTERNAL));
        self.told.push(CtEvent {
            node: NodeName::new("nat-a").expect("a good name"),
            at: self.now,
            after,
            change,
            entry: CtEntry { original, reply, state: None, status: 0, id: 1 },
        });
        self.now += MS / 100;
        self
    }

    /// The kernel of the NAT does this.
    fn by_kernel(mut self, kernel: KernelRules) -> Self {
        self.kernel = kernel;
        self
    }

    /// The NAT's connection tracking counted failures of its own.
    fn counted(mut self, counted: CtCounters) -> Self {
        self.counted = counted;
        self
    }

    fn later(mut self, time: Nanos) -> Self {
        self.now += time;
        self
    }

    /// What the reference says: the axis of the first contradiction.
    fn says(self, declared: &Behavior) -> Option<&'static str> {
        self.findings(declared).contradictions.first().map(|found| {
            assert!(found.sentence.contains("\"nat-a\""), "{}", found.sentence);
            assert!(!found.frames.is_empty(), "nothing proves it: {}", found.sentence);
            found.rule.axis
        })
    }

    fn findings(mut self, declared: &Behavior) -> Findings {
        self.now += 100 * MS;
        self.put(7, Direction::Up, (HOST, REMOTE), SYN, 64);
        self.findings_at_once(declared)
    }

    /// The same of evidence that was taken at the time of the last packet.
    fn findings_at_once(self, declared: &Behavior) -> Findings {
        let node = NodeName::new("nat-a").expect("a good name");
        let (datapath, kernel) = (self.datapath, self.kernel);
        let nat = NatView { datapath, kernel, ..nat_view(&node, declared) };
        let counters = vec![(node.clone(), self.counted)];
        let (frames, conntrack, flushes) = (self.frames, self.told, self.flushes);
        check(&Evidence { frames, conntrack, flushes, counters, ..Evidence::default() }, &nat)
    }
}

fn end(text: &str) -> SocketAddrV4 {
    text.parse().expect("an endpoint")
}

fn bytes(from: &str, to: &str, (flags, sequence, acknowledgment, data): Drawn, ttl: u8) -> Vec<u8> {
    let (from, to) = (end(from), end(to));
    let mut tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from.ip().octets(), to.ip().octets(), ttl)
        .tcp(from.port(), to.port(), sequence, 64_000);
    for flag in flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'A' => tcp.ack(acknowledgment),
            'R' => tcp.rst(),
            'F' => tcp.fin(),
            other => panic!("no such flag: {other}"),
        };
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, &vec![7; data]).expect("a writable packet");
    frame
}

fn plain() -> Behavior {
    Behavior::port_preserving()
}
