//! Frames of single links put together to the way of a packet through the lab.
//!
//! A packet keeps its sequence number, acknowledgment, flags and length through every NAT; an ICMP error keeps what it
//! quotes. So the frame that leaves a node is the one that came to it, and where none leaves, the packet ended.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::model::event::Artefacts;
use crate::model::evidence::{Direction, Fate, Frame, Nanos, Tuple};
use crate::model::packet::{Packet, PacketKind, TcpFlags};
use crate::report::ladder::{ENDS, LegEnd, Tone};

/// How much earlier than a link let go of a packet the next may have seen it: their clocks are read in different places.
const SLACK: Nanos = 2_000_000;

/// The way of one packet.
#[derive(Debug)]
pub(super) struct Journey {
    /// When it was first seen.
    pub(super) at: Nanos,
    /// When its last link let go of it.
    pub(super) until: Nanos,
    /// The packet as it was first seen.
    pub(super) packet: Packet,
    /// The address of the server that it goes to or comes from, if it does.
    pub(super) server: Option<Ipv4Addr>,
    /// The links that it crossed.
    pub(super) hops: Vec<Hop>,
    /// How its last link treated it.
    fate: Fate,
}

/// A packet on one link.
#[derive(Debug)]
pub(super) struct Hop {
    /// Index of the frame.
    pub(super) frame: usize,
    /// The node that it left.
    pub(super) from: String,
    /// The node that it went to.
    pub(super) to: String,
    /// Its endpoints there.
    pub(super) tuple: Tuple,
    /// When the link let go of it.
    pub(super) left: Nanos,
}

/// What a packet keeps through every NAT.
type Identity = (u8, u32, u32, u8, u32);

/// All packets in the order in which they were first seen.
pub(super) fn journeys(kept: &Artefacts) -> Vec<Journey> {
    let mut all: Vec<Journey> = Vec::new();
    // Packets that may go on, by what they keep; the oldest first.
    let mut open: HashMap<Identity, Vec<usize>> = HashMap::new();
    for (index, frame) in kept.evidence.frames.iter().enumerate() {
        let Some(packet) = Packet::of(frame) else { continue };
        let Some(link) = kept.links.get(usize::from(frame.link)) else { continue };
        let (from, to) = match frame.direction {
            Direction::Up => (&link.lower, &link.upper),
            Direction::Down => (&link.upper, &link.lower),
        };
        let hop =
            Hop { frame: index, from: from.clone(), to: to.clone(), tuple: about(&packet), left: frame.left };
        let waiting = open.entry(identity(&packet)).or_default();
        let goes_on = |journey: &usize| all[*journey].waits_at(from, frame.entered);
        let place = match waiting.iter().position(goes_on) {
            Some(place) => waiting.remove(place),
            None => {
                let hops = Vec::new();
                let server = server_of(kept, &packet);
                all.push(Journey {
                    at: frame.entered,
                    until: 0,
                    packet,
                    server,
                    hops,
                    fate: Fate::Delivered,
                });
                all.len() - 1
            }
        };
        all[place].cross(hop, frame);
        waiting.push(place);
    }
    all
}

/// The address of the server that a packet goes to or comes from, if it does.
fn server_of(kept: &Artefacts, packet: &Packet) -> Option<Ipv4Addr> {
    let tuple = about(packet);
    let ends = [tuple.source, tuple.destination].map(|end| *end.ip());
    ends.into_iter().find(|end| kept.evidence.is_server(*end))
}

impl Journey {
    fn waits_at(&self, node: &str, moment: Nanos) -> bool {
        self.fate == Fate::Delivered
            && self.until <= moment + SLACK
            && self.hops.last().is_some_and(|hop| hop.to == node)
    }

    fn cross(&mut self, hop: Hop, frame: &Frame) {
        self.until = if frame.fate == Fate::Lost { frame.entered } else { frame.left };
        self.fate = frame.fate;
        self.hops.push(hop);
    }

    /// How it ended.
    pub(super) fn end(&self) -> LegEnd {
        let last = self.hops.last();
        let at_home = last.is_some_and(|hop| {
            ENDS.contains(&hop.to.as_str()) || self.server == Some(*hop.tuple.destination.ip())
        });
        match self.fate {
            Fate::Lost => LegEnd::Lost,
            Fate::InFlight => LegEnd::InFlight,
            Fate::Delivered if at_home => LegEnd::Arrived,
            Fate::Delivered => LegEnd::Dropped,
        }
    }

    /// What it is, for the eye and in words.
    pub(super) fn looks(&self) -> (Tone, String) {
        match &self.packet.kind {
            PacketKind::Tcp(segment) => {
                let flags = segment.flags;
                let tone = match () {
                    () if flags.contains(TcpFlags::RST) => Tone::Reset,
                    () if flags.is_opening() => Tone::Syn,
                    () if flags.contains(TcpFlags::SYN) => Tone::SynAck,
                    () if segment.payload > 0 => Tone::Data,
                    () => Tone::Other,
                };
                let data = format!("data {}", segment.payload);
                (tone, if tone == Tone::Data { data } else { flags.to_string() })
            }
            PacketKind::Icmp(message) => (Tone::Icmp, format!("ICMP {}/{}", message.kind, message.code)),
            PacketKind::Udp => (Tone::Other, "UDP".to_owned()),
            PacketKind::Other(protocol) => (Tone::Other, format!("protocol {protocol}")),
        }
    }
}

fn identity(packet: &Packet) -> Identity {
    match &packet.kind {
        PacketKind::Tcp(s) => (6, s.sequence, s.acknowledgment, s.flags.0, s.payload),
        PacketKind::Icmp(m) => (1, m.about.map_or(0, |q| q.sequence), u32::from(m.code), m.kind, 0),
        PacketKind::Udp => (17, 0, 0, 0, 0),
        PacketKind::Other(protocol) => (*protocol, 0, 0, 0, 0),
    }
}

/// The endpoints of a packet; of an ICMP error, those of the segment it is about.
fn about(packet: &Packet) -> Tuple {
    match &packet.kind {
        PacketKind::Icmp(message) => message.about.map_or_else(|| packet.tuple(), |quoted| quoted.tuple),
        _ => packet.tuple(),
    }
}

/// An endpoint that is the same from both directions: the ports of a tuple, the smaller endpoint first.
pub(super) fn undirected(tuple: Tuple) -> (SocketAddrV4, SocketAddrV4) {
    let (a, b) = (tuple.source, tuple.destination);
    if a <= b { (a, b) } else { (b, a) }
}
