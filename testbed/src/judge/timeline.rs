//! Evidence -> the timeline of a trial: which segments went between the two sides, when, and which flows they make. Pure.
//!
//! Each side is watched on one link, the one where its packets carry their outermost addresses on the way to the other
//! side: its *vantage*. A segment keeps its sequence number, acknowledgment and flags through every NAT, so a segment
//! that left one side's vantage is recognised when it arrives at the other's, whatever was translated in between.

mod arrivals;
mod layered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::model::address_plan::{AddressPlan, DISCARD};
use crate::model::address_pool::AddressPool;
use crate::model::evidence::{CtEntry, CtEvent, Direction, Evidence, Fate, Frame, Nanos, Tuple};
use crate::model::packet::{Packet, PacketKind, Segment, TcpFlags};
use crate::model::topology::{NodeName, Topology};

use arrivals::{Arrivals, Departures, Identity, doubled, identity};
use layered::LayeredNats;

/// How long a packet may take through a NAT. What a busy machine adds is far less; a NAT that holds packets back is more. A SYN is sent
/// again after a second only, so that one of the same numbers within this time is the same one.
pub(super) const LONGEST_WAY: Nanos = 250_000_000;

/// One of the two peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Peer a.
    A,
    /// Peer b.
    B,
}

impl Role {
    /// Both, a first.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The role's letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// Where one side is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vantage {
    /// The host that runs the peer's program.
    pub peer: NodeName,
    /// The peer's own address.
    pub internal: Ipv4Addr,
    /// The NATs from the peer outwards, as far as the way to the other side leads up.
    pub nats: Vec<NodeName>,
    /// Those of the lab's NATs that translate nothing.
    pub transparent: BTreeSet<NodeName>,
    /// The addresses that the side shows on its vantage: the outermost translating NAT's, or the peer's own.
    pub external: AddressPool,
    /// The link that is watched.
    pub link: u16,
    /// The host's own link, which is the same where no NAT is in between.
    pub host_link: u16,
}

/// A TCP segment, or an ICMP error about one, that left one side for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentTrace {
    /// Who sent it (the peer, or a NAT on its side).
    pub from: Role,
    /// When it entered the sender's vantage.
    pub sent: Nanos,
    /// When it left the receiver's vantage; `None` if it never did.
    pub arrived: Option<Nanos>,
    /// When the NAT at the receiver's vantage let it in, if it opens a connection and one did.
    pub let_in: Option<Nanos>,
    /// Its addresses at the sender's vantage.
    pub tuple: Tuple,
    /// Its addresses at the receiver's vantage, if it came there: others where a NAT above both turned it round.
    pub far: Option<Tuple>,
    /// Hops left at the sender's vantage.
    pub ttl: u8,
    /// What it is.
    pub packet: Packet,
    /// Index of the frame at the sender's vantage in the evidence.
    pub frame: usize,
}

/// All segments of one connection attempt, by its two endpoints as they look at a's vantage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The tuple of a's packets at a's vantage.
    pub a: Tuple,
    /// Its segments in the order of `sent`.
    pub segments: Vec<SegmentTrace>,
}

/// A SYN that a side sent, to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// When it came to the NAT before the vantage, which may have made the mapping from then on.
    pub came: Nanos,
    /// When it was on the vantage, so that the mapping stood.
    pub at: Nanos,
    /// Its addresses there.
    pub tuple: Tuple,
}

/// The timeline of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// Every flow between the two sides.
    pub flows: Vec<Flow>,
    /// ICMP errors that came to a side about its own SYNs: whose, when it arrived, type, code, and the SYN's tuple.
    pub icmp: Vec<IcmpErrorTrace>,
    /// Every opening SYN that a side sent, to anybody: this is what its NAT's mappings come from.
    pub opened: BTreeMap<Role, Vec<Opening>>,
    /// The sides that received data from the rendezvous server.
    pub met_rendezvous: BTreeSet<Role>,
    /// Segments that a link doubled on their way to a side.
    doubled: BTreeSet<(Role, Identity)>,
    /// What went on between the NATs of a side.
    layered: LayeredNats,
    /// Packets with a private source where only public ones belong.
    pub leaks: Vec<(Nanos, Packet)>,
}

/// An ICMP error about a segment of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpErrorTrace {
    /// Whose segment it is about.
    pub to: Role,
    /// When it arrived at that side's vantage.
    pub arrived: Nanos,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// ICMP type and code.
    pub code: (u8, u8),
    /// The segment, as it left the vantage.
    pub about: Tuple,
}

impl Vantage {
    /// The vantage of `peer` on its way to `other`; `None` if the two do not hang in the same tree.
    #[must_use]
    pub fn of(
        topology: &Topology,
        plan: &AddressPlan,
        transparent: &BTreeSet<NodeName>,
        [peer, other]: [&NodeName; 2],
    ) -> Option<Self> {
        let theirs = topology.path_to_core(other);
        let below_common: Vec<_> =
            topology.path_to_core(peer).into_iter().take_while(|n| !theirs.contains(n)).collect();
        let nats: Vec<_> =
            topology.nats_above(peer).into_iter().filter(|nat| below_common.contains(nat)).collect();
        Some(Self {
            peer: peer.clone(),
            internal: plan.address(peer)?,
            external: plan.addresses(nats.iter().rfind(|nat| !transparent.contains(nat)).unwrap_or(peer))?,
            transparent: transparent.clone(),
            link: plan.uplink(below_common.last()?)?,
            host_link: plan.uplink(peer)?,
            nats,
        })
    }

    /// Whether the peer's packets leave with another address than they began with.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.external != self.internal.into()
    }

    /// The tuples of the peer's packets at the vantage, from the one its socket names, by the NATs' own records: the
    /// latest first. There are several when a NAT forgot a mapping and made another.
    ///
    /// None when some NAT that translates has no record of such a flow.
    #[must_use]
    pub fn translate(&self, events: &[CtEvent], tuple: Tuple) -> Vec<Tuple> {
        let translating = self.nats.iter().filter(|nat| !self.transparent.contains(nat));
        translating.fold(vec![tuple], |tuples, nat| {
            let entries = events.iter().rev().filter(|e| &e.node == nat).map(|e| &e.entry);
            let outer = |e: &CtEntry, tuple: Tuple| {
                let forth = (e.original == tuple).then_some(e.reply.reversed());
                forth.or((e.reply == tuple).then_some(e.original.reversed()))
            };
            let found = entries.flat_map(|e| tuples.iter().filter_map(move |tuple| outer(e, *tuple)));
            let mut each = Vec::new();
            found.for_each(|tuple| {
                if !each.contains(&tuple) {
                    each.push(tuple)
                }
            });
            each
        })
    }
}

impl Timeline {
    /// Reads the evidence from the two vantages.
    #[must_use]
    pub fn read(evidence: &Evidence, a: &Vantage, b: &Vantage) -> Self {
        let mut timeline = Self::default();
        let mut reader = Reader {
            evidence,
            arrivals: Arrivals::read(evidence, a, b),
            departures: Departures::default(),
            flows: BTreeMap::new(),
        };
        for (index, frame) in evidence.frames.iter().enumerate() {
            let Some((role, direction)) = seen_from(frame, a, b) else {
                reader.departures.note(frame);
                continue;
            };
            let Some(packet) = Packet::of(frame) else { continue };
            match direction {
                Direction::Up => reader.sent(&mut timeline, role, frame, index, packet),
                Direction::Down => {
                    timeline.note_icmp(role, frame, &packet);
                    if evidence.is_server(*packet.source.ip()) && packet.tcp().is_some_and(|s| s.payload > 0)
                    {
                        timeline.met_rendezvous.insert(role);
                    }
                }
            }
            if direction == Direction::Up && is_private_leak(&packet, if role == Role::A { a } else { b }) {
                timeline.leaks.push((frame.entered, packet));
            }
        }
        timeline.doubled = doubled(evidence, a, b);
        timeline.layered = LayeredNats::read(evidence, a, b);
        timeline.flows = reader.flows.into_values().collect();
        timeline
    }

    fn note_icmp(&mut self, to: Role, frame: &Frame, packet: &Packet) {
        let PacketKind::Icmp(message) = &packet.kind else { return };
        if let Some(quoted) = message.about {
            self.icmp.push(IcmpErrorTrace {
                to,
                arrived: frame.left,
                source: *packet.source.ip(),
                code: (message.kind, message.code),
                about: quoted.tuple,
            });
        }
    }

    /// The first opening SYN of a side towards the other: when, and where to.
    #[must_use]
    pub fn first_syn(&self, role: Role) -> Option<&SegmentTrace> {
        self.syns(role).min_by_key(|s| s.sent)
    }

    /// Whether a link doubled this segment, so that an answer may be one to its copy.
    #[must_use]
    pub fn was_doubled(&self, segment_trace: &SegmentTrace) -> bool {
        self.doubled.contains(&(segment_trace.from.other(), identity(&segment_trace.packet)))
    }

    /// Whether an inner NAT of several may have been open for a SYN, so that this may have been let in though nothing at the vantage opened
    /// the way.
    #[must_use]
    pub fn may_be_open_inside(&self, syn: &SegmentTrace) -> bool {
        self.layered.may_be_open_inside(syn)
    }

    /// All opening SYNs of a side towards the other.
    pub fn syns(&self, role: Role) -> impl Iterator<Item = &SegmentTrace> {
        let all = self.flows.iter().flat_map(|f| &f.segments);
        all.filter(move |s| s.from == role && s.is_opening())
    }
}

/// Collects segments into flows.
#[derive(Debug)]
struct Reader<'a> {
    evidence: &'a Evidence,
    arrivals: Arrivals,
    departures: Departures,
    flows: BTreeMap<Tuple, Flow>,
}

impl Reader<'_> {
    fn sent(&mut self, timeline: &mut Timeline, from: Role, frame: &Frame, index: usize, packet: Packet) {
        let Some(segment) = packet.tcp() else { return };
        // A neighbour's, behind the same NAT: none of the peer's mappings comes from it.
        if packet.destination == DISCARD {
            return;
        }
        if segment.flags.is_opening() {
            let came = self.departures.came(&packet, frame.entered);
            let opening = Opening { came, at: frame.entered, tuple: packet.tuple() };
            timeline.opened.entry(from).or_default().push(opening);
        }
        if [packet.destination, packet.source].iter().any(|end| self.evidence.is_server(*end.ip())) {
            return;
        }
        let arrival = match frame.fate {
            Fate::Lost | Fate::InFlight => None,
            Fate::Delivered => self.arrivals.next(from.other(), &packet),
        };
        // A flow goes by a's addresses at a's vantage: b's segments are named by what arrived there.
        let key = match (from, arrival) {
            (Role::A, _) => packet.tuple(),
            (Role::B, Some(arrival)) => arrival.tuple.reversed(),
            (Role::B, None) => packet.tuple().reversed(),
        };
        let segment_trace = SegmentTrace {
            from,
            sent: frame.entered,
            arrived: arrival.and_then(|arrival| arrival.at),
            let_in: arrival.and_then(|arrival| arrival.let_in),
            tuple: packet.tuple(),
            far: arrival.map(|arrival| arrival.tuple),
            ttl: packet.ttl,
            packet,
            frame: index,
        };
        self.flows
            .entry(key)
            .or_insert_with(|| Flow { a: key, segments: Vec::new() })
            .segments
            .push(segment_trace);
    }
}

impl SegmentTrace {
    /// Whether this is a SYN that opens a connection.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.packet.tcp().is_some_and(|s| s.flags.is_opening())
    }

    /// Whether this is a reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.packet.tcp().is_some_and(|s| s.flags.contains(TcpFlags::RST))
    }

    /// Whether this answers a SYN by another.
    #[must_use]
    pub fn is_syn_ack(&self) -> bool {
        let both = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        self.packet.tcp().is_some_and(|s| s.flags.contains(both)) && !self.is_reset()
    }

    /// Whether its sender ends the connection by it.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        let ends = |s: &Segment| s.flags.contains(TcpFlags::FIN) || s.flags.contains(TcpFlags::RST);
        self.packet.tcp().is_some_and(ends)
    }

    /// The acknowledgment number, if it carries one and is no reset.
    fn acknowledges(&self) -> Option<u32> {
        let segment = self.packet.tcp()?;
        (segment.flags.contains(TcpFlags::ACK) && !self.is_reset()).then_some(segment.acknowledgment)
    }

    /// How many hops it had made before it was on its sender's vantage, if it began with the kernel's first TTL.
    #[must_use]
    pub fn hops(&self) -> usize {
        /// `net.ipv4.ip_default_ttl`.
        const FIRST_TTL: u8 = 64;
        FIRST_TTL.saturating_sub(self.ttl).into()
    }

    /// The number that follows its data.
    #[must_use]
    pub fn end(&self) -> Option<u32> {
        self.packet.tcp().map(|segment| segment.sequence.wrapping_add(segment.payload))
    }

    /// Bytes of data.
    #[must_use]
    pub fn payload(&self) -> u32 {
        self.packet.tcp().map_or(0, |s| s.payload)
    }
}

impl Flow {
    /// The opening SYNs of one side, in the order in which they were sent.
    pub fn syns(&self, role: Role) -> impl Iterator<Item = &SegmentTrace> {
        self.segments.iter().filter(move |s| s.from == role && s.is_opening())
    }

    /// Whether a reset refuses a SYN: its sender had acknowledged nothing on this flow before. A reset on a connection that
    /// stood, or was coming about, is no answer to a SYN, whatever number it acknowledges.
    #[must_use]
    pub fn is_refusal(&self, reset: &SegmentTrace) -> bool {
        let own = self.segments.iter().filter(|s| s.from == reset.from && s.sent < reset.sent);
        reset.is_reset() && !own.filter(|s| !s.is_reset()).any(|s| s.acknowledges().is_some())
    }

    /// The resets that refuse a SYN.
    pub fn refusals(&self) -> impl Iterator<Item = &SegmentTrace> {
        self.segments.iter().filter(|s| self.is_refusal(s))
    }

    /// When a side's end became established: when the other side's acknowledgment of its SYN arrived.
    #[must_use]
    pub fn established(&self, role: Role) -> Option<Nanos> {
        self.establishing(role).filter_map(|s| s.arrived).min()
    }

    /// The segments of the other side that establish the end of `role`: those that acknowledge its SYN.
    pub fn establishing(&self, role: Role) -> impl Iterator<Item = &SegmentTrace> {
        let synchronised: Vec<u32> = self
            .segments
            .iter()
            .filter(|s| s.from == role)
            .filter_map(|s| s.packet.tcp())
            .filter(|s| s.flags.contains(TcpFlags::SYN) && !s.flags.contains(TcpFlags::RST))
            .map(|s| s.sequence.wrapping_add(1))
            .collect();
        let theirs = self.segments.iter().filter(move |s| s.from == role.other());
        theirs.filter(move |s| {
            s.acknowledges().is_some_and(|ack| synchronised.contains(&ack) || s.payload() > 0)
        })
    }

    /// When the first payload from `role` arrived at the other side, if its receipt was acknowledged.
    #[must_use]
    pub fn delivered_payload(&self, role: Role) -> Option<Nanos> {
        let data = self.segments.iter().filter(|s| s.from == role && s.payload() > 0);
        let confirmed = |s: &&SegmentTrace| {
            let end = s.packet.tcp().map(|t| t.sequence.wrapping_add(t.payload));
            self.segments
                .iter()
                .filter(|answer| answer.from == role.other())
                .filter_map(SegmentTrace::acknowledges)
                .any(|ack| end.is_some_and(|end| ack.wrapping_sub(end) < 1 << 31))
        };
        data.filter(confirmed).filter_map(|s| s.arrived).min()
    }

    /// Whether both ends were established and payload was received in both directions.
    #[must_use]
    pub fn carried_both_ways(&self) -> bool {
        Role::BOTH.iter().all(|w| self.established(*w).is_some() && self.delivered_payload(*w).is_some())
    }

    /// Whether this side may believe that it carried data both ways: what it sent may have been lost.
    #[must_use]
    pub fn seems_to_have_carried(&self, to: Role) -> bool {
        let sent = self.segments.iter().any(|s| s.from == to && s.payload() > 0);
        let both = Role::BOTH.iter().all(|w| self.established(*w).is_some());
        both && sent && self.delivered_payload(to.other()).is_some()
    }
}

/// Whose vantage a frame was seen from.
fn seen_from(frame: &Frame, a: &Vantage, b: &Vantage) -> Option<(Role, Direction)> {
    match frame.link {
        link if link == a.link => Some((Role::A, frame.direction)),
        link if link == b.link => Some((Role::B, frame.direction)),
        _ => None,
    }
}

/// Whether a packet left a side that translates, untranslated.
fn is_private_leak(packet: &Packet, vantage: &Vantage) -> bool {
    !vantage.nats.is_empty() && *packet.source.ip() == vantage.internal && vantage.is_translated()
}
