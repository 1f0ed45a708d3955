//! Why entries of connection tracking ended: after a reset, when their time was up, idle or not, as closed connections do, or
//! because the NAT forgot everything.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::judge::cause::Diagnosis;
use crate::judge::timeline::{Flow, Vantage};
use crate::model::behavior::{Behavior, Filtering, Mapping, Timeouts};
use crate::model::evidence::{CtChange, CtEntry, CtEvent, CtState, Evidence, Nanos, Tuple, nanos};
use crate::model::outcome::Cause;
use crate::model::packet::{Packet, TcpFlags};
use crate::model::topology::NodeName;

/// How long after a reset the event of the entry that it ended may be read.
const SOON: Nanos = 200_000_000;

/// How much later than a packet was sent the event may be read of an entry whose end it found: a trip, and some.
pub(super) const READ_LATER: Nanos = 500_000_000;

/// How much earlier than its time an entry may end: the kernel counts in ticks.
const TICKS: Nanos = 20_000_000;

/// How far apart one packet may be seen on the first and the last link of its way; sent again, it comes later.
const SAME: Nanos = 600_000_000;

/// An entry that ended.
#[derive(Debug, Clone)]
pub(super) struct EndedEntry {
    /// When its end was read.
    pub(super) at: Nanos,
    /// At which NAT.
    pub(super) node: NodeName,
    pub(super) entry: CtEntry,
    pub(super) why: EntryEnd,
    /// Whom its NAT lets in.
    filtering: Filtering,
    /// Whether its inside endpoint would have had the same port towards every other remote endpoint, as long as it was there.
    pub(super) serves_all: bool,
    /// How long nothing had been sent on it.
    pub(super) idle: Nanos,
    /// How long it had been there, if its beginning was told.
    age: Option<Nanos>,
    /// How often its NAT forgets everything, if that may be why.
    flushed_every: Option<Duration>,
    /// The last frame that belonged to it.
    pub(super) last_frame: Option<usize>,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryEnd {
    /// A reset had come.
    Reset,
    /// It was as long idle as its NAT lets it be.
    Expired,
    /// It was as old as its NAT lets any be, however busy.
    OutOfTime,
    /// Its connection was over.
    Closed,
    /// None of these.
    Flushed,
}

/// The two ends of a flow on one side of a NAT.
type EndPair = (SocketAddrV4, SocketAddrV4);

/// Every packet by the pair of its ends.
pub(super) type PacketsByEnds = HashMap<EndPair, Vec<SegmentOnLink>>;

/// A segment on a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentOnLink {
    /// When the link let go of it.
    pub(super) at: Nanos,
    pub(super) flags: TcpFlags,
    pub(super) number: u32,
    pub(super) frame: usize,
}

/// All entries that ended at the NATs of a side.
pub(super) fn endings(evidence: &Evidence, vantage: &Vantage, declared: &[Behavior]) -> Vec<EndedEntry> {
    let ended = |event: &&CtEvent| event.change == CtChange::Destroy && vantage.nats.contains(&event.node);
    if !evidence.conntrack.iter().any(|event| ended(&event)) {
        return Vec::new();
    }
    let packets = packets(evidence);
    let ending = |event: &CtEvent| {
        let behavior = vantage.nats.iter().position(|nat| *nat == event.node).and_then(|at| declared.get(at));
        let timeouts = behavior.map_or_else(Timeouts::default, |behavior| behavior.timeouts);
        let before = EntryHistory::of(event, &packets);
        let state = last_state(evidence, event);
        let age = age(evidence, event, &packets);
        let absolute = timeouts.absolute.map(nanos);
        let is_due = absolute.zip(age).is_some_and(|(absolute, age)| age + TICKS >= absolute);
        EndedEntry {
            at: event.at,
            node: event.node.clone(),
            entry: event.entry,
            why: match before.why(state, &timeouts) {
                EntryEnd::Flushed if is_due => EntryEnd::OutOfTime,
                why => why,
            },
            age,
            filtering: behavior.map_or(Filtering::EndpointIndependent, |behavior| behavior.filtering),
            serves_all: behavior.is_some_and(|behavior| behavior.mapping == Mapping::EndpointIndependent),
            flushed_every: timeouts.flush_every.filter(|_| is_of_flush(evidence, event)),
            idle: before.idle.max(before.idle_before),
            last_frame: before.frame,
        }
    };
    evidence.conntrack.iter().filter(ended).map(ending).collect()
}

/// Each packet by the pair of its ends: when, its flags, and its frame.
pub(super) fn packets(evidence: &Evidence) -> PacketsByEnds {
    let mut packets = PacketsByEnds::new();
    for (index, frame) in evidence.frames.iter().enumerate() {
        let Some(packet) = Packet::of(frame) else { continue };
        if let Some(segment) = packet.tcp() {
            // An inward packet counts from when its link let go of it.
            let at = frame.left.max(frame.entered);
            packets.entry(pair(packet.tuple())).or_default().push(SegmentOnLink {
                at,
                flags: segment.flags,
                number: segment.sequence,
                frame: index,
            });
        }
    }
    packets
}

pub(super) fn pair(tuple: Tuple) -> EndPair {
    let (a, b) = (tuple.source, tuple.destination);
    if a <= b { (a, b) } else { (b, a) }
}

/// What was seen of an entry before its end.
struct EntryHistory {
    /// From the last packet on.
    idle: Nanos,
    /// From the last packet but one to the last, which may be the one that found the entry's time to be up.
    idle_before: Nanos,
    frame: Option<usize>,
    reset: bool,
}

impl EntryHistory {
    fn of(event: &CtEvent, packets: &PacketsByEnds) -> Self {
        let sides = [event.entry.original, event.entry.reply];
        let all = sides.iter().filter_map(|side| packets.get(&pair(*side))).flatten();
        let before: Vec<_> = all.filter(|seen| seen.at <= event.at).collect();
        let last = before.iter().max_by_key(|seen| seen.at);
        // A reset that ends an entry closes it. The end of one that was open may have been read only when a later one was reset.
        let may_be = event.entry.state.is_none_or(|state| state == CtState::Close);
        let resets = |seen: &&&SegmentOnLink| seen.flags.contains(TcpFlags::RST);
        let reset = may_be && before.iter().filter(resets).any(|seen| seen.at + SOON >= event.at);
        // A packet is seen on every link of its way.
        let another =
            |seen: &&&SegmentOnLink| last.is_some_and(|l| seen.number != l.number || seen.at + SAME < l.at);
        let earlier = before.iter().filter(another).map(|seen| seen.at).max();
        Self {
            idle: last.map_or(0, |last| event.at - last.at),
            idle_before: last.zip(earlier).map_or(0, |(last, earlier)| last.at - earlier),
            frame: last.map(|last| last.frame),
            reset,
        }
    }

    fn why(&self, state: Option<CtState>, timeouts: &Timeouts) -> EntryEnd {
        let over = matches!(state, Some(CtState::TimeWait | CtState::Close | CtState::LastAck));
        match state {
            _ if self.reset => EntryEnd::Reset,
            Some(state) if self.idle.max(self.idle_before) + TICKS >= lifetime(state, timeouts) => {
                if over {
                    EntryEnd::Closed
                } else {
                    EntryEnd::Expired
                }
            }
            // A new SYN takes the place of a connection that is over.
            _ if over => EntryEnd::Closed,
            _ => EntryEnd::Flushed,
        }
    }
}

/// The state that an entry was in when it ended.
fn last_state(evidence: &Evidence, event: &CtEvent) -> Option<CtState> {
    let same = |other: &&CtEvent| {
        other.node == event.node && other.entry.original == event.entry.original && other.at <= event.at
    };
    event.entry.state.or_else(|| evidence.conntrack.iter().rev().filter(same).find_map(|e| e.entry.state))
}

/// Whether an entry may have ended because its NAT forgot everything, as it does at regular intervals.
fn is_of_flush(evidence: &Evidence, event: &CtEvent) -> bool {
    evidence.flushes_of(&event.node).any(|flush| event.after <= flush.after && flush.before <= event.at)
}

/// How long an entry may have been there when it ended, if its beginning was told. Events are read late, so it counts from the first SYN
/// that came since an earlier entry of the flow may have ended.
fn age(evidence: &Evidence, event: &CtEvent, packets: &PacketsByEnds) -> Option<Nanos> {
    let of_flow = |other: &&CtEvent| {
        (&other.node, other.entry.original) == (&event.node, event.entry.original) && other.at <= event.at
    };
    let began = |other: &&CtEvent| other.change == CtChange::New && other.entry.id == event.entry.id;
    let CtEvent { at: began, after, .. } = evidence.conntrack.iter().filter(of_flow).rfind(began)?;
    let ended = |other: &&CtEvent| other.change == CtChange::Destroy && other.at < *began;
    let before = evidence.conntrack.iter().filter(of_flow).rfind(ended).map_or(0, |other| other.after);
    let sides = [event.entry.original, event.entry.reply];
    let seen = || sides.iter().filter_map(|side| packets.get(&pair(*side))).flatten();
    let opening = seen().filter(|seen| seen.flags.is_opening()).map(|seen| seen.at);
    let opened = opening.filter(|at| (before..=*began).contains(at)).min();
    // What goes on with a connection that the NAT has no entry of begins one without a SYN.
    let going_on =
        || seen().map(|seen| seen.at).filter(|at| (before.max(*after)..=*began).contains(at)).min();
    Some(event.at - opened.or_else(going_on).unwrap_or(*began))
}

/// How long an idle entry lives; the kernel's defaults are those of `nf_conntrack_proto_tcp.c`.
fn lifetime(state: CtState, timeouts: &Timeouts) -> Nanos {
    let (set, seconds) = match state {
        CtState::None | CtState::SynSent => (timeouts.syn_sent, 120),
        CtState::SynSent2 => (timeouts.syn_sent2, 120),
        CtState::SynRecv => (timeouts.syn_recv, 60),
        CtState::Established => (timeouts.established, 432_000),
        CtState::FinWait => (timeouts.fin_wait, 120),
        CtState::CloseWait => (timeouts.close_wait, 60),
        CtState::LastAck => (timeouts.last_ack, 30),
        CtState::TimeWait => (timeouts.time_wait, 120),
        CtState::Close => (timeouts.close, 10),
    };
    let time = set.unwrap_or(Duration::from_secs(seconds));
    // Data that nobody acknowledges, or that is sent again and again, shortens any state.
    let shortest =
        [timeouts.unacknowledged, timeouts.max_retrans].into_iter().flatten().fold(time, Duration::min);
    nanos(shortest)
}

impl EndedEntry {
    /// Whether its NAT has forgotten it, though no packet ended it.
    pub(super) fn is_forgotten(&self) -> bool {
        matches!(self.why, EntryEnd::Expired | EntryEnd::OutOfTime | EntryEnd::Flushed)
    }

    /// The cause of a trial that failed because it had ended.
    pub(super) fn cause(&self) -> Cause {
        match self.why {
            EntryEnd::Expired | EntryEnd::OutOfTime => Cause::MappingExpired,
            EntryEnd::Flushed => Cause::NatRebooted,
            EntryEnd::Reset | EntryEnd::Closed => Cause::MappingDestroyed,
        }
    }

    /// That a packet, in words, came when it was gone.
    pub(super) fn missed_by(&self, frame: usize, what: &str) -> Diagnosis {
        let found = Diagnosis::new(self.cause(), format!("{what}; {}", self.sentence()));
        let found = found.mark(frame, "came when the mapping was gone");
        match self.last_frame.filter(|last| *last != frame) {
            Some(last) => found.mark(last, "the last packet before the mapping ended"),
            None => found,
        }
    }

    /// Whether it let in what came from this endpoint, as long as it was there.
    pub(super) fn admitted(&self, source: SocketAddrV4) -> bool {
        let remote = self.entry.reply.source;
        match self.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => remote.ip() == source.ip(),
            Filtering::AddressAndPortDependent => remote == source,
        }
    }

    /// Whether it was an entry of this flow.
    pub(super) fn is_of(&self, flow: &Flow) -> bool {
        let sides = [pair(self.entry.original), pair(self.entry.reply)];
        flow.segments.iter().any(|segment_trace| sides.contains(&pair(segment_trace.tuple)))
    }

    /// What happened, in words.
    pub(super) fn sentence(&self) -> String {
        let CtEntry { original, reply, .. } = self.entry;
        // That which began outside was sent to the NAT's endpoint.
        let outside =
            if original.destination == reply.source { reply.destination } else { original.destination };
        let node = &self.node;
        let idle = self.idle as f64 / 1e6;
        match self.why {
            EntryEnd::Reset => format!("{node} dropped its mapping {outside} for a reset"),
            EntryEnd::Expired => format!("{node} forgot its mapping {outside} after {idle:.0} ms of silence"),
            EntryEnd::OutOfTime => {
                let age = self.age.unwrap_or_default() as f64 / 1e9;
                format!(
                    "{node} ended its mapping {outside} {age:.1} s after its first packet, as it ends all"
                )
            }
            EntryEnd::Closed => format!("{node} forgot its mapping {outside} of a closed connection"),
            EntryEnd::Flushed => {
                let why = match self.flushed_every {
                    Some(every) => format!("as it forgets everything every {} s", every.as_secs()),
                    None => "long before its time".to_owned(),
                };
                format!("{node} forgot its mapping {outside} {idle:.0} ms after its last packet, {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::staged::{StagedEvidence, StagedPacket, external, vantage};
    use crate::judge::timeline::Role::{A, B};

    #[test]
    fn a_reset_ends_an_entry_only_if_it_was_closed() {
        let changes = [(CtChange::New, 1), (CtChange::Destroy, 1_000)];
        let mut staged = StagedEvidence::met()
            .told(B, SocketAddrV4::new(external(A), 4000), &changes)
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(A, 950.0, "R"));
        let nat = [Behavior::port_preserving()];
        for (state, why) in [
            (Some(CtState::Established), EntryEnd::Flushed),
            (Some(CtState::Close), EntryEnd::Reset),
            (None, EntryEnd::Reset),
        ] {
            staged.evidence.conntrack[1].entry.state = state;
            assert_eq!(endings(&staged.evidence, &vantage(B), &nat)[0].why, why, "{state:?}");
        }
    }

    #[test]
    fn an_entry_that_began_before_the_end_of_the_last_one_was_read_ended_at_its_absolute_timeout() {
        let changes = [
            (CtChange::New, 1),
            (CtChange::Destroy, 1_041),
            (CtChange::New, 1_042),
            (CtChange::Destroy, 2_010),
        ];
        let mut staged = StagedEvidence::met()
            .told(B, SocketAddrV4::new(external(A), 4000), &changes)
            .packet(StagedPacket::new(B, 0.0, "S"))
            .packet(StagedPacket::new(B, 1_023.0, "S"));
        let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let nat = [Behavior { timeouts, ..Behavior::port_preserving() }];
        let why = |staged: &StagedEvidence| {
            endings(&staged.evidence, &vantage(B), &nat).iter().map(|ended| ended.why).collect::<Vec<_>>()
        };
        assert_eq!(why(&staged), [EntryEnd::OutOfTime, EntryEnd::Flushed], "it had ended when that was read");
        for event in &mut staged.evidence.conntrack {
            event.after -= event.at.min(40_000_000);
        }
        assert_eq!(why(&staged), [EntryEnd::OutOfTime; 2]);
    }

    #[test]
    fn a_connection_that_was_picked_up_without_a_syn_is_as_old_as_the_packet_that_did_it() {
        // Its beginning was read late, and its end at once.
        let mut staged = StagedEvidence::met()
            .told(
                B,
                SocketAddrV4::new(external(A), 4000),
                &[(CtChange::New, 1_080), (CtChange::Destroy, 2_020)],
            )
            .packet(StagedPacket::new(A, 990.0, "A").data(101, 20));
        staged.evidence.conntrack[0].after = 990_000_000;
        let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let nat = [Behavior { timeouts, ..Behavior::port_preserving() }];
        let why = |staged: &StagedEvidence| endings(&staged.evidence, &vantage(B), &nat)[0].why;
        assert_eq!(why(&staged), EntryEnd::OutOfTime);
        staged.evidence.conntrack[0].after = 1_070_000_000;
        assert_eq!(why(&staged), EntryEnd::Flushed, "the packet had not begun it");
    }

    #[test]
    fn a_mapping_that_was_used_from_outside_is_named_by_the_address_of_its_own_nat() {
        let mut staged = StagedEvidence::met()
            .told(B, SocketAddrV4::new(external(A), 4000), &[(CtChange::New, 1), (CtChange::Destroy, 900)])
            .packet(StagedPacket::new(A, 0.0, "S"));
        let named = |staged: &StagedEvidence| {
            endings(&staged.evidence, &vantage(B), &[Behavior::port_preserving()])[0].sentence()
        };
        let own = SocketAddrV4::new(external(B), 5000).to_string();
        assert!(named(&staged).contains(&own), "{}", named(&staged));
        for event in &mut staged.evidence.conntrack {
            let CtEntry { original, reply, .. } = event.entry;
            (event.entry.original, event.entry.reply) = (reply, original);
        }
        assert!(named(&staged).contains(&own), "{}", named(&staged));
    }
}
