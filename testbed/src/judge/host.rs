//! The reference host: what a Linux host has to answer to the segments that reach it on its own link. Pure.
//!
//! A program does much that no packet shows. It opens a listener; it closes a socket that has only sent a SYN; its socket
//! ignores what has fewer hops left than it likes (`IP_MINTTL`). So of most segments one thing is certain: the kernel answers,
//! one way or another (RFC 9293, section 3.10.7; `tcp_rcv_state_process`, `tcp_v4_send_reset`).
//!
//! | what the host has | what comes | it answers |
//! |---|---|---|
//! | nothing, or a listener | SYN | a SYN/ACK or a reset |
//! | nothing, or a listener | anything with ACK | a reset |
//! | a SYN sent | SYN | a SYN/ACK with the number of its SYN; or as above, if the program has closed the socket |
//! | a SYN sent | SYN/ACK that acknowledges it | an ACK, at the latest after [`ANSWERS_WITHIN`]; or a reset, if the socket is closed |
//! | a SYN sent | anything that acknowledges something else | a reset |
//! | any of these | reset, or an ACK alone for the SYN | nothing |
//!
//! Beyond that the host's answers depend on its buffers, on timers and on limits of rates, and nothing is asked of it. What its
//! kernel gives up by its own time-outs is as closed. Silence where an answer is due is the doing of the host: of its program, or of
//! the machine. No NAT is to blame for it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;

use crate::judge::timeline::Vantage;
use crate::model::evidence::{Direction, Evidence, Fate, Frame, Nanos, Tuple};
use crate::model::packet::{Packet, Segment, TcpFlags};

/// How long the answer may take: an ACK of a SYN/ACK may wait 200 ms for data (`TCP_DELACK_MAX`), and a busy machine adds some.
const ANSWERS_WITHIN: Nanos = 500_000_000;

/// By how much an answer may be stamped before what it answers: a wire stamps a frame after it has handed it over.
const STAMPED_LATE: Nanos = 1_000_000;

/// A segment that a host left unanswered although an answer was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    /// Its frame.
    pub(super) frame: usize,
    /// The segment, with the host's own address as its target.
    pub(super) tuple: Tuple,
    pub(super) flags: TcpFlags,
    /// What was due.
    pub(super) due: &'static str,
    /// Whether the answer would have been a step towards a connection.
    pub(super) opens: bool,
    /// Whether the socket may ignore what has so few hops left: it answered nothing that had as few.
    pub(super) by_min_ttl: bool,
}

/// What one tuple of a host is known to be.
#[derive(Debug, Default)]
struct Socket {
    /// The numbers of the SYNs that it sent since it began.
    opened: Vec<u32>,
    /// Whether it got further than a SYN.
    beyond: bool,
}

/// What a segment asks of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// To acknowledge this number, or to reset.
    Acknowledge(u32, &'static str),
    /// To reset with this number, which it acknowledged.
    Reset(u32),
    Nothing,
}

impl Socket {
    /// What the host has to do with a segment.
    fn duty(&self, segment: &Segment) -> Duty {
        let next = segment.sequence.wrapping_add(1);
        let acknowledges_own = || self.opened.iter().any(|own| own.wrapping_add(1) == segment.acknowledgment);
        let has = |flag| segment.flags.contains(flag);
        match (has(TcpFlags::SYN), has(TcpFlags::ACK)) {
            _ if self.beyond || has(TcpFlags::RST) => Duty::Nothing,
            // A listener drops what opens and ends at once.
            (true, false) if has(TcpFlags::FIN) => Duty::Nothing,
            (true, false) => Duty::Acknowledge(next, "a SYN ACK or a reset"),
            (true, true) if acknowledges_own() => Duty::Acknowledge(next, "an ACK or a reset"),
            (false, true) if acknowledges_own() => Duty::Nothing,
            (_, true) => Duty::Reset(segment.acknowledgment),
            (false, false) => Duty::Nothing,
        }
    }

    /// The host sent a segment.
    fn sent(&mut self, segment: &Segment) {
        if segment.flags.is_opening() {
            if !self.opened.contains(&segment.sequence) {
                (self.opened, self.beyond) = (vec![segment.sequence], false);
            }
        } else if !segment.flags.contains(TcpFlags::RST) {
            self.beyond = true;
        }
    }
}

impl Duty {
    fn name(self) -> &'static str {
        match self {
            Self::Acknowledge(_, name) => name,
            Self::Reset(_) => "a reset",
            Self::Nothing => "nothing",
        }
    }

    /// Whether the host does it by this segment.
    fn is_done_by(self, segment: &Segment) -> bool {
        let reset = segment.flags.contains(TcpFlags::RST);
        match self {
            // A reset of what had no ACK acknowledges all of it; one of what had has the number that it acknowledged.
            Self::Acknowledge(number, _) => {
                let acknowledged = segment.acknowledgment.wrapping_sub(number) < 1 << 31;
                reset || (segment.flags.contains(TcpFlags::ACK) && acknowledged)
            }
            Self::Reset(number) => reset && segment.sequence == number,
            Self::Nothing => true,
        }
    }
}

/// A TCP segment on the host's link.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    at: Nanos,
    frame: usize,
    packet: Packet,
    segment: Segment,
    outward: bool,
}

/// Every segment of the other side that a host left unanswered although an answer was due.
pub(super) fn silences(evidence: &Evidence, vantage: &Vantage) -> Vec<Silence> {
    let seen = sightings(evidence, vantage);
    let mut sent: HashMap<Tuple, Vec<(Nanos, Segment)>> = HashMap::new();
    for seen in seen.iter().filter(|seen| seen.outward) {
        sent.entry(seen.packet.tuple()).or_default().push((seen.at, seen.segment));
    }
    let ended = evidence.ended();
    let mut sockets: BTreeMap<Tuple, Socket> = BTreeMap::new();
    // The fewest hops left of a SYN that a listener answered.
    let mut heard: HashMap<SocketAddrV4, u8> = HashMap::new();
    let mut silences = Vec::new();
    for Sighting { at, frame, packet, segment, outward } in seen {
        if outward {
            sockets.entry(packet.tuple()).or_default().sent(&segment);
            continue;
        }
        let socket = sockets.entry(packet.tuple().reversed()).or_default();
        let duty = socket.duty(&segment);
        let in_time = |when: Nanos| when + STAMPED_LATE >= at && when <= at.saturating_add(ANSWERS_WITHIN);
        let answers = sent.get(&packet.tuple().reversed()).map_or(&[][..], Vec::as_slice);
        let answer = answers.iter().find(|(when, answer)| in_time(*when) && duty.is_done_by(answer));
        let own = packet.destination;
        match (duty, answer) {
            (Duty::Nothing, _) => {}
            (_, Some((_, answer))) if socket.opened.is_empty() && answer.flags.contains(TcpFlags::SYN) => {
                let fewest = heard.entry(own).or_insert(packet.ttl);
                *fewest = packet.ttl.min(*fewest);
            }
            (_, Some(_)) => {}
            // What came last may not have been answered yet when the evidence was taken.
            (_, None) if at.saturating_add(ANSWERS_WITHIN) > ended => {}
            (_, None) => {
                let answered = heard.get(&own).filter(|_| socket.opened.is_empty());
                let by_min_ttl = answered.is_none_or(|fewest| packet.ttl < *fewest);
                let opens = matches!(duty, Duty::Acknowledge(..));
                let (tuple, flags, due) = (packet.tuple(), segment.flags, duty.name());
                silences.push(Silence { frame, tuple, flags, due, opens, by_min_ttl });
            }
        }
    }
    silences
}

/// What went over the host's own link to and from the other side, in order.
fn sightings(evidence: &Evidence, vantage: &Vantage) -> Vec<Sighting> {
    let of_link = evidence.frames.iter().enumerate().filter(|(_, frame)| frame.link == vantage.host_link);
    let seen = of_link.filter_map(|(index, frame)| sighting(evidence, vantage, index, frame));
    let mut seen: Vec<Sighting> = seen.collect();
    seen.sort_by_key(|seen| seen.at);
    seen
}

fn sighting(evidence: &Evidence, vantage: &Vantage, index: usize, frame: &Frame) -> Option<Sighting> {
    let outward = frame.direction == Direction::Up;
    let seen = if outward { !frame.is_copy } else { frame.fate == Fate::Delivered };
    let packet = Packet::of(frame).filter(|_| seen)?;
    let segment = *packet.tcp()?;
    let (own, other) =
        if outward { (packet.source, packet.destination) } else { (packet.destination, packet.source) };
    let between_sides = *own.ip() == vantage.internal && !evidence.is_server(*other.ip());
    let at = if outward { frame.entered } else { frame.left.max(frame.entered) };
    between_sides.then_some(Sighting { at, frame: index, packet, segment, outward })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::staged::{StagedEvidence, StagedPacket, vantage};
    use crate::judge::timeline::Role::{A, B};

    /// What comes to a's host from b, and what goes back: milliseconds, flags, sequence and acknowledgment number.
    enum Drawn {
        In(f64, &'static str, u32, u32),
        Out(f64, &'static str, u32, u32),
        /// From another port of b's, with so many hops left.
        Elsewhere(f64, u8),
    }
    use Drawn::{Elsewhere, In, Out};

    fn draw(drawn: &[Drawn]) -> StagedEvidence {
        let segment = |from, at_ms, flags, sequence, acknowledgment| StagedPacket {
            acknowledgment,
            sequence,
            ..StagedPacket::new(from, at_ms, flags)
        };
        let staged = drawn.iter().fold(StagedEvidence::default(), |staged, drawn| match *drawn {
            In(at, flags, sequence, ack) => staged.reaches(segment(B, at, flags, sequence, ack)),
            Out(at, flags, sequence, ack) => staged.inside(segment(A, at, flags, sequence, ack)),
            Elsewhere(at, ttl) => staged.reaches(StagedPacket::new(B, at, "S").ports(5001, 4000).ttl(ttl)),
        });
        // The evidence goes on for longer than any answer may take.
        staged.packet(StagedPacket::new(B, 2_000.0, "S").ports(9, 9))
    }

    /// What was due and did not come, and whether the number of hops may explain it.
    fn due(drawn: &[Drawn]) -> Vec<(&'static str, bool)> {
        let staged = draw(drawn);
        silences(&staged.evidence, &vantage(A)).iter().map(|it| (it.due, it.by_min_ttl)).collect()
    }

    #[test]
    fn what_has_to_be_answered_and_is_not_is_seen() {
        let own = || Out(1.0, "S", 100, 0);
        let (opens, acknowledges) = ("a SYN ACK or a reset", "an ACK or a reset");
        for (drawn, expected) in [
            (vec![In(10.0, "S", 900, 0)], opens),
            (vec![own(), In(10.0, "S", 900, 0)], opens),
            (vec![own(), In(10.0, "SA", 900, 101)], acknowledges),
            (vec![own(), In(10.0, "SA", 900, 77)], "a reset"),
            (vec![In(10.0, "SA", 900, 101)], "a reset"),
            (vec![In(10.0, "A", 901, 101)], "a reset"),
            (vec![In(10.0, "FA", 901, 101)], "a reset"),
            (vec![own(), In(10.0, "A", 901, 77)], "a reset"),
            // An answer to something else, and one that comes too late.
            (vec![In(10.0, "S", 900, 0), Out(10.1, "SA", 100, 700)], opens),
            (vec![In(10.0, "S", 900, 0), Out(600.0, "SA", 100, 901)], opens),
            // A socket that was refused, and one that is new.
            (vec![own(), In(5.0, "RA", 0, 101), In(10.0, "S", 900, 0)], opens),
            (
                vec![
                    own(),
                    In(5.0, "SA", 900, 101),
                    Out(5.1, "A", 101, 901),
                    Out(8.0, "S", 5_000, 0),
                    In(10.0, "SA", 950, 5_001),
                ],
                acknowledges,
            ),
        ] {
            assert_eq!(due(&drawn), [(expected, true)]);
        }
    }

    #[test]
    fn what_is_answered_or_needs_no_answer_is_not() {
        let own = || Out(1.0, "S", 100, 0);
        for drawn in [
            // A listener, a port without a socket, a simultaneous open, a socket that was closed without a packet.
            vec![In(10.0, "S", 900, 0), Out(10.1, "SA", 100, 901)],
            vec![In(10.0, "S", 900, 0), Out(10.1, "RA", 0, 901)],
            vec![own(), In(10.0, "S", 900, 0), Out(10.1, "SA", 100, 901)],
            vec![own(), In(10.0, "S", 900, 0), Out(10.1, "RA", 0, 901)],
            vec![own(), In(10.0, "SA", 900, 101), Out(10.1, "A", 101, 901)],
            vec![own(), In(10.0, "SA", 900, 101), Out(10.1, "R", 101, 0)],
            // The answer carries data, or waited for it.
            vec![own(), In(10.0, "SA", 900, 101), Out(210.0, "A", 101, 901)],
            vec![own(), In(10.0, "SA", 900, 77), Out(10.1, "R", 77, 0)],
            vec![In(10.0, "A", 901, 101), Out(10.1, "R", 101, 0)],
            // A wire stamps what it has handed over.
            vec![Out(9.9, "RA", 0, 901), In(10.0, "S", 900, 0)],
            // A reset, an ACK that is all there is, no flag that means anything.
            vec![own(), In(10.0, "RA", 0, 101)],
            vec![own(), In(10.0, "A", 901, 101)],
            vec![In(10.0, "F", 901, 0)],
            vec![In(10.0, "SF", 901, 0)],
            // A SYN that comes again to a connection: answers to these are limited.
            vec![In(10.0, "S", 900, 0), Out(10.1, "SA", 100, 901), In(12.0, "S", 900, 0)],
            vec![own(), In(10.0, "SA", 900, 101), Out(10.1, "A", 101, 901), In(12.0, "SA", 900, 101)],
        ] {
            assert_eq!(due(&drawn), []);
        }
    }

    #[test]
    fn a_listener_that_has_answered_ignores_nothing_for_its_hops() {
        let answered = || [In(10.0, "S", 900, 0), Out(10.1, "SA", 100, 901)];
        let then = |ttl| due(&answered().into_iter().chain([Elsewhere(20.0, ttl)]).collect::<Vec<_>>());
        let opens = "a SYN ACK or a reset";
        assert_eq!(then(63), [(opens, false)]);
        assert_eq!(then(62), [(opens, true)], "a socket may want more hops than that");
    }

    #[test]
    fn what_came_last_is_not_judged() {
        let mut staged = draw(&[In(1_800.0, "S", 900, 0)]);
        assert_eq!(silences(&staged.evidence, &vantage(A)), []);
        staged = staged.packet(StagedPacket::new(B, 2_500.0, "S").ports(9, 9));
        assert_eq!(silences(&staged.evidence, &vantage(A)).len(), 1);
    }
}
