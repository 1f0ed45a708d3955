//! When connection tracking changed: an event is read some time after the packet that caused it, and the packet has
//! the better clock. Each event is given the time of the first packet at its NAT that can have caused it.

use std::collections::HashMap;
use std::net::SocketAddrV4;

use crate::model::event::Artefacts;
use crate::model::evidence::{CtChange, CtEvent, CtState, Nanos, Tuple};
use crate::model::packet::TcpFlags;
use crate::report::ladder::journey::{Journey, undirected};

/// A flow as it looks on one side of a NAT.
pub(super) type FlowEnds = (SocketAddrV4, SocketAddrV4);

/// An event that no packet caused is mostly read by then.
const READ_LATE: Nanos = 20_000_000;

/// The packets of each flow at each NAT, in the order in which they came.
type SegmentsByFlow<'a> = HashMap<(&'a str, FlowEnds), Vec<SegmentAtNode>>;

/// A segment at a node.
#[derive(Clone, Copy)]
struct SegmentAtNode {
    /// When it came there, or was made there.
    at: Nanos,
    flags: TcpFlags,
    /// Its tuple on one side of the node.
    tuple: Tuple,
}

/// A time for each event, in the order of the events.
pub(super) fn times<'a>(kept: &'a Artefacts, journeys: &'a [Journey]) -> Vec<Nanos> {
    let passings = passings(journeys);
    // The packet that caused the latest event of an entry: the next one was caused by a later packet.
    let mut latest: HashMap<(&'a str, FlowEnds), Nanos> = HashMap::new();
    let mut cause = |event: &'a CtEvent| {
        let node = event.node.as_str();
        let sides = [event.entry.original, event.entry.reply].map(undirected);
        // The next entry of a flow may have begun at its other end.
        let keys = sides.map(|side| (node, side));
        let before = keys.iter().filter_map(|key| latest.get(key)).max().copied().unwrap_or(0);
        let after = before.max(event.after.saturating_sub(READ_LATE));
        let packets = sides.iter().filter_map(|side| passings.get(&(node, *side))).flatten();
        let at = packets.filter(|p| p.at > after && p.at <= event.at && p.causes(event)).map(|p| p.at).min();
        // What ended without a packet, by its time, leaves nothing for the packets before.
        let ended =
            (event.change == CtChange::Destroy).then(|| event.at.saturating_sub(READ_LATE).max(after));
        if let Some(at) = at.or(ended) {
            latest.extend(keys.map(|key| (key, at)));
        }
        at
    };
    kept.evidence.conntrack.iter().map(|event| cause(event).unwrap_or(event.at)).collect()
}

fn passings(journeys: &[Journey]) -> SegmentsByFlow<'_> {
    let mut passings = SegmentsByFlow::new();
    let mut note = |node, tuple, at, flags| {
        passings.entry((node, undirected(tuple))).or_default().push(SegmentAtNode { at, flags, tuple });
    };
    for journey in journeys {
        let Some(segment) = journey.packet.tcp() else { continue };
        // What leaves a node came to it when the link before let go of it.
        let mut came = journey.at;
        for hop in &journey.hops {
            note(hop.from.as_str(), hop.tuple, came, segment.flags);
            came = hop.left;
            note(hop.to.as_str(), hop.tuple, came, segment.flags);
        }
    }
    passings
}

impl SegmentAtNode {
    /// Whether it can have caused an event (`nf_conntrack_proto_tcp.c`).
    fn causes(&self, event: &CtEvent) -> bool {
        let has = |flag| self.flags.contains(flag);
        let inward = self.tuple == event.entry.reply || self.tuple == event.entry.original.reversed();
        match (event.change, event.entry.state) {
            (CtChange::New, _) => !has(TcpFlags::RST) && !inward,
            // An entry ends with its time, or with a reset.
            (CtChange::Destroy, _) | (CtChange::Update, Some(CtState::Close)) => has(TcpFlags::RST),
            (CtChange::Update, Some(CtState::SynSent)) => self.flags.is_opening(),
            (CtChange::Update, Some(CtState::SynSent2)) => self.flags.is_opening() && inward,
            (CtChange::Update, Some(CtState::SynRecv)) => has(TcpFlags::SYN) && has(TcpFlags::ACK),
            (CtChange::Update, Some(CtState::Established | CtState::CloseWait | CtState::TimeWait)) => {
                has(TcpFlags::ACK) && !has(TcpFlags::SYN) && !has(TcpFlags::RST)
            }
            (CtChange::Update, Some(CtState::FinWait | CtState::LastAck)) => has(TcpFlags::FIN),
            (CtChange::Update, Some(CtState::None) | None) => false,
        }
    }
}
