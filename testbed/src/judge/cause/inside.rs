//! What the hosts themselves sent and got, from the links inside of their NATs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::judge::cause::tracking::{EndedEntry, READ_LATER};
use crate::judge::timeline::Vantage;
use crate::model::address_plan::DISCARD;
use crate::model::address_pool::AddressPool;
use crate::model::evidence::{Direction, Evidence, Fate, Frame, Nanos, Tuple};
use crate::model::packet::{Packet, Segment, TcpFlags};

/// One host, seen from its own link.
#[derive(Debug, Default)]
pub(super) struct HostLink {
    /// Whether its link was watched.
    pub(super) watched: bool,
    /// The address that its side shows.
    external: Option<AddressPool>,
    /// Its opening SYNs, each once, in order.
    pub(super) syns: Vec<InnerSyn>,
    /// Sequence number, acknowledgment and flags of each segment that it sent.
    sent: Vec<(u32, u32, u8, usize)>,
    /// The same of each that came to it.
    got: Vec<(u32, u32, u8, usize)>,
}

/// An opening SYN where it left its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InnerSyn {
    /// When.
    pub(super) at: Nanos,
    /// With the host's own address.
    pub(super) tuple: Tuple,
    /// Index of its frame.
    pub(super) frame: usize,
    /// Whether it is for a server.
    pub(super) to_server: bool,
    /// How many NATs let it pass.
    pub(super) passed: usize,
    /// Whether it left the last NAT.
    pub(super) left: bool,
    /// Whether a link inside lost it, where it was seen last, or still had it at the end.
    pub(super) lost: bool,
}

impl HostLink {
    /// Reads what `vantage`'s host did.
    pub(super) fn read(evidence: &Evidence, vantage: &Vantage) -> Self {
        let mut inside = Self { external: Some(vantage.external), ..Self::default() };
        // Where each SYN was last seen: by its number, its place among the SYNs.
        let mut known: BTreeMap<u32, usize> = BTreeMap::new();
        for (index, frame) in evidence.frames.iter().enumerate() {
            let Some(packet) = Packet::of(frame) else { continue };
            let Some(segment) = packet.tcp().filter(|_| !is_of_neighbour(&packet)) else { continue };
            if frame.link == vantage.link {
                if frame.direction == Direction::Up
                    && let Some(place) = known.get(&segment.sequence)
                {
                    inside.syns[*place].left |= segment.flags.is_opening();
                }
                if vantage.is_translated() {
                    continue;
                }
            }
            let to_server = evidence.is_server(*packet.destination.ip());
            inside.note(&mut known, (index, frame), (&packet, segment, to_server), vantage);
        }
        inside
    }

    fn note(
        &mut self,
        known: &mut BTreeMap<u32, usize>,
        (index, frame): (usize, &Frame),
        (packet, segment, to_server): (&Packet, &Segment, bool),
        vantage: &Vantage,
    ) {
        let identity = (segment.sequence, segment.acknowledgment, segment.flags.0, index);
        let of_host = frame.link == vantage.host_link;
        let lost = matches!(frame.fate, Fate::Lost | Fate::InFlight);
        match frame.direction {
            Direction::Up if of_host && *packet.source.ip() == vantage.internal => {
                self.watched = true;
                self.sent.push(identity);
                if segment.flags.is_opening() && !known.contains_key(&segment.sequence) {
                    known.insert(segment.sequence, self.syns.len());
                    let left = frame.link == vantage.link;
                    let tuple = packet.tuple();
                    self.syns.push(InnerSyn {
                        at: frame.entered,
                        tuple,
                        frame: index,
                        to_server,
                        passed: 0,
                        left,
                        lost,
                    });
                } else if let Some(place) = known.get(&segment.sequence) {
                    self.syns[*place].lost = lost;
                }
            }
            Direction::Up if segment.flags.is_opening() => {
                if let Some(place) = known.get(&segment.sequence) {
                    self.syns[*place].passed += 1;
                    self.syns[*place].lost = lost;
                }
            }
            Direction::Down if of_host && *packet.destination.ip() == vantage.internal => {
                self.watched = true;
                if !lost {
                    self.got.push(identity);
                }
            }
            _ => {}
        }
    }

    /// The frame of the first SYN to anybody.
    pub(super) fn first_syn(&self) -> Option<usize> {
        self.syns.first().map(|syn| syn.frame)
    }

    /// The SYNs that were meant to get out. What goes to its own NAT looks for the way there.
    pub(super) fn outward(&self) -> impl Iterator<Item = &InnerSyn> {
        self.syns
            .iter()
            .filter(|syn| self.external.is_none_or(|own| !own.contains(*syn.tuple.destination.ip())))
    }

    /// The SYNs to the other side.
    pub(super) fn punching(&self) -> impl Iterator<Item = &InnerSyn> {
        self.outward().filter(|syn| !syn.to_server)
    }

    /// The SYN/ACKs that the host sent, each with its frame.
    pub(super) fn syn_acks<'a>(
        &'a self,
        evidence: &'a Evidence,
    ) -> impl Iterator<Item = (usize, Packet)> + 'a {
        const BOTH: u8 = TcpFlags::SYN.0 | TcpFlags::ACK.0;
        let sent = self.sent.iter().filter(|(_, _, flags, _)| flags & BOTH == BOTH);
        sent.filter_map(|(.., frame)| Some((*frame, Packet::of(&evidence.frames[*frame])?)))
    }

    /// Whether a segment came to the host.
    pub(super) fn got(&self, segment: &Segment) -> bool {
        let wanted = (segment.sequence, segment.acknowledgment, segment.flags.0);
        self.got.iter().any(|(s, a, f, _)| (*s, *a, *f) == wanted)
    }

    /// Whether a segment came to the host soon after it was elsewhere. What is sent again is another one.
    fn got_soon_after(&self, evidence: &Evidence, segment: &Segment, since: Nanos) -> bool {
        let wanted = (segment.sequence, segment.acknowledgment, segment.flags.0);
        let mut same = self.got.iter().filter(|(s, a, f, _)| (*s, *a, *f) == wanted);
        same.any(|(.., came)| (since..=since + READ_LATER).contains(&evidence.frames[*came].left))
    }

    /// Whether a segment that came to the host established the end that the host had there then. What belongs to a SYN that was sent before,
    /// by a socket that is closed by now, does not (RFC 9293, section 3.10.7.4).
    pub(super) fn is_established_by(&self, evidence: &Evidence, segment: &Segment) -> bool {
        /// RFC 7323, section 2.3.
        const LARGEST_WINDOW: u32 = 1 << 30;
        let synchronises =
            |sent: &Segment| sent.flags.contains(TcpFlags::SYN) && !sent.flags.contains(TcpFlags::RST);
        let wanted = (segment.sequence, segment.acknowledgment, segment.flags.0);
        let Some((.., came)) = self.got.iter().find(|(s, a, f, _)| (*s, *a, *f) == wanted) else {
            return false;
        };
        let frame = &evidence.frames[*came];
        let Some(tuple) = Packet::of(frame).map(|packet| packet.tuple()) else { return false };
        let earlier = self.sent.iter().map(|(.., index)| &evidence.frames[*index]);
        let earlier = earlier.filter(|sent| sent.entered <= frame.left).filter_map(Packet::of);
        let own = earlier.filter(|packet| packet.tuple() == tuple.reversed());
        let own: Vec<Segment> = own.filter_map(|packet| packet.tcp().copied()).filter(synchronises).collect();
        // Where none was seen, nothing tells.
        let Some(number) = own.last().map(|last| last.sequence) else { return true };
        let answer = own.iter().rfind(|sent| sent.sequence == number && sent.flags.contains(TcpFlags::ACK));
        let opens = segment.flags.contains(TcpFlags::SYN);
        let follows = |answer: &Segment| match segment.sequence.wrapping_sub(answer.acknowledgment) {
            ahead if opens => ahead == u32::MAX,
            ahead => ahead < LARGEST_WINDOW,
        };
        segment.acknowledgment == number.wrapping_add(1) && answer.map_or(opens, follows)
    }

    /// Whether something that this host said to the other since then never came there.
    pub(super) fn was_unheard(&self, evidence: &Evidence, other: &Self, since: Nanos) -> bool {
        let later = self.sent.iter().map(|(.., frame)| &evidence.frames[*frame]);
        let mut said = later.filter(|frame| frame.entered >= since).filter_map(Packet::of);
        other.watched
            && said.any(|packet| {
                let unheard = packet.tcp().is_some_and(|segment| segment.payload > 0 && !other.got(segment));
                unheard && !evidence.is_server(*packet.destination.ip())
            })
    }

    /// Whether the host sent a segment.
    pub(super) fn sent(&self, segment: &Segment) -> bool {
        let wanted = (segment.sequence, segment.acknowledgment, segment.flags.0);
        self.sent.iter().any(|(s, a, f, _)| (*s, *a, *f) == wanted)
    }

    /// The frame of the host's answer to a segment.
    pub(super) fn answer(&self, segment: &Segment) -> Option<usize> {
        let acknowledged = segment.sequence.wrapping_add(1);
        self.sent.iter().find(|(_, ack, ..)| *ack == acknowledged).map(|(.., frame)| *frame)
    }
}

/// The frame by which the rendezvous server ended its connection with a host before the host did.
pub(super) fn ended_by_server(evidence: &Evidence, vantage: &Vantage) -> Option<usize> {
    let ends = TcpFlags::FIN.0 | TcpFlags::RST.0;
    let first =
        evidence.frames.iter().enumerate().filter(|(_, f)| f.link == vantage.link).find_map(|(at, frame)| {
            let packet = Packet::of(frame)?;
            let of_server =
                |ip: Ipv4Addr| evidence.is_server(ip) && packet.tcp().is_some_and(|s| s.flags.0 & ends != 0);
            let by_server = frame.direction == Direction::Down && of_server(*packet.source.ip());
            let by_host = frame.direction == Direction::Up && of_server(*packet.destination.ip());
            (by_server || by_host).then_some((at, by_server))
        });
    first.filter(|(_, by_server)| *by_server).map(|(at, _)| at)
}

/// The frame by which the other end of a mapping reset what came from another external endpoint, at about the end of the mapping or later.
pub(super) fn reset_elsewhere(evidence: &Evidence, vantage: &Vantage, ended: &EndedEntry) -> Option<usize> {
    let Tuple { source: remote, destination: mapped } = ended.entry.reply;
    evidence.frames.iter().position(|frame| {
        let comes = frame.link == vantage.link && frame.direction == Direction::Down;
        comes
            && frame.left + READ_LATER >= ended.at
            && Packet::of(frame).is_some_and(|packet| {
                let resets = packet.tcp().is_some_and(|segment| segment.flags.contains(TcpFlags::RST));
                resets && packet.tuple().source == remote && packet.tuple().destination != mapped
            })
    })
}

/// The frame by which the other end of a mapping said something when that was gone, and which never came to the host, or by which a NAT
/// reset the other end for it.
pub(super) fn unheard(
    evidence: &Evidence,
    (vantage, host): (&Vantage, &HostLink),
    ended: &EndedEntry,
) -> Option<usize> {
    let inward = ended.entry.reply;
    let says = |segment: &Segment| segment.payload > 0 || segment.flags.contains(TcpFlags::SYN);
    evidence.frames.iter().position(|frame| {
        let later = frame.link == vantage.link && frame.left + READ_LATER >= ended.at;
        later
            && host.watched
            && Packet::of(frame).is_some_and(|packet| match (frame.direction, packet.tcp()) {
                (Direction::Down, Some(segment)) => {
                    packet.tuple() == inward
                        && frame.fate == Fate::Delivered
                        && says(segment)
                        && !host.got_soon_after(evidence, segment, frame.left)
                }
                (Direction::Up, Some(segment)) => {
                    packet.tuple() == inward.reversed()
                        && segment.flags.contains(TcpFlags::RST)
                        && !host.sent(segment)
                }
                (_, None) => false,
            })
    })
}

/// The first packet that left a side with an address that is neither its NAT's nor its host's.
pub(super) fn other_address(evidence: &Evidence, vantage: &Vantage) -> Option<(usize, Ipv4Addr)> {
    if vantage.nats.is_empty() || !vantage.is_translated() {
        return None;
    }
    evidence.frames.iter().enumerate().find_map(|(at, frame)| {
        let outward = frame.link == vantage.link && frame.direction == Direction::Up;
        let packet =
            Packet::of(frame).filter(|p| outward && p.tcp().is_some_and(|s| s.flags.is_opening()))?;
        let address = *packet.source.ip();
        // Carriers' customers may know each other by shared addresses.
        let public = !address.is_private() && (!is_shared(address) || is_shared(vantage.external.first));
        (public && !vantage.external.contains(address)).then_some((at, address))
    })
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

/// What a neighbour sends for noise, perhaps from the peer's own host, is nothing of the peer's.
fn is_of_neighbour(packet: &Packet) -> bool {
    packet.destination == DISCARD || packet.source == DISCARD
}
