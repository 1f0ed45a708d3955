//! What the kernel and the wire saw of a trial: frames and conntrack events, as data.
//!
//! Collected by `lab`, judged by `run`. Times are nanoseconds of the host's CLOCK_MONOTONIC; order and times come from
//! the wire, tuples and states from conntrack.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::model::address_plan::{RENDEZVOUS, RENDEZVOUS_ALT};
use crate::model::topology::NodeName;

/// Nanoseconds of the host's CLOCK_MONOTONIC.
pub type Nanos = u64;

/// A duration in nanoseconds; one of more than 584 years is the longest there is.
#[must_use]
pub fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

/// Bytes of a frame that taps keep, unless told otherwise: all headers of a TCP segment.
pub const SNAP_LENGTH: u32 = 128;

/// Which way a frame crosses a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the core.
    Up,
    /// Away from the core.
    Down,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It left the link.
    Delivered,
    /// The link lost it, as its conditions asked.
    Lost,
    /// It was still on the link when the trial ended.
    InFlight,
}

/// One frame on a link, as the tap saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index into the links of the address plan.
    pub link: u16,
    /// Which way it went.
    pub direction: Direction,
    /// When it entered the link.
    pub entered: Nanos,
    /// When it should have left; equal to `entered` on a link without a wire.
    pub due: Nanos,
    /// When it left; equal to `due` unless it was delivered late, and meaningless unless delivered.
    pub left: Nanos,
    /// What became of it.
    pub fate: Fate,
    /// Whether it is a copy that the link made, as its conditions asked: no node sent it.
    pub is_copy: bool,
    /// Length on the link in bytes, which `bytes` may be a prefix of.
    pub length: u32,
    /// The first bytes, from the Ethernet header on.
    pub bytes: Box<[u8]>,
}

/// TCP state of a conntrack entry (`include/uapi/linux/netfilter/nf_conntrack_tcp.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the kernel's own names")]
pub enum CtState {
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

impl CtState {
    /// The state for the kernel's number, if it is one.
    #[must_use]
    pub fn from_kernel(number: u8) -> Option<Self> {
        use CtState::*;
        [None, SynSent, SynRecv, Established, FinWait, CloseWait, LastAck, TimeWait, Close, SynSent2]
            .get(usize::from(number))
            .copied()
    }
}

impl fmt::Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        })
    }
}

/// Source and destination of one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Where packets come from.
    pub source: SocketAddrV4,
    /// Where they go.
    pub destination: SocketAddrV4,
}

impl Tuple {
    /// The tuple of the other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)
    }
}

/// What a conntrack event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CtChange {
    /// The entry was confirmed.
    New,
    /// Its state changed.
    Update,
    /// It is gone.
    Destroy,
}

/// One TCP entry of connection tracking at one moment: from an event, or from a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CtEntry {
    /// The tuple of the packet that created it, as it arrived.
    pub original: Tuple,
    /// The tuple that answers carry: its destination is the external endpoint.
    pub reply: Tuple,
    /// TCP state, where the kernel told it.
    pub state: Option<CtState>,
    /// Status bits (`IPS_*` of `nf_conntrack_common.h`).
    pub status: u32,
    /// The kernel's id of the entry.
    pub id: u32,
}

/// A conntrack event of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtEvent {
    /// Where it happened.
    pub node: NodeName,
    /// When it was read: never before it happened.
    pub at: Nanos,
    /// When the reading before it began: it had not happened by then. Where the machine is busy, long before `at`.
    pub after: Nanos,
    /// What happened.
    pub change: CtChange,
    /// To which entry.
    pub entry: CtEntry,
}

/// What the connection tracking of one node counted of its own failures (`struct ip_conntrack_stat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CtCounters {
    /// New entries that another one was in the way of: their first packet is dropped.
    pub insert_failed: u32,
    /// Packets that were dropped because no entry could be made for them.
    pub drop: u32,
    /// Entries without data both ways that were given up for new ones, because the table was full.
    pub early_drop: u32,
    /// New entries that were dropped because too many others have the same place in the table.
    pub chain_too_long: u32,
}

impl CtCounters {
    /// What was counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            insert_failed: self.insert_failed.wrapping_sub(before.insert_failed),
            drop: self.drop.wrapping_sub(before.drop),
            early_drop: self.early_drop.wrapping_sub(before.early_drop),
            chain_too_long: self.chain_too_long.wrapping_sub(before.chain_too_long),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            insert_failed: self.insert_failed.saturating_add(other.insert_failed),
            drop: self.drop.saturating_add(other.drop),
            early_drop: self.early_drop.saturating_add(other.early_drop),
            chain_too_long: self.chain_too_long.saturating_add(other.chain_too_long),
        }
    }

    /// How many first packets of connections this explains that went nowhere. One packet may be counted as a failed insertion and as
    /// a drop.
    #[must_use]
    pub fn lost_openings(self) -> u32 {
        self.insert_failed.max(self.drop).saturating_add(self.chain_too_long)
    }
}

/// One time that a NAT forgot everything, because it does so at regular intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatFlush {
    /// Which NAT.
    pub node: NodeName,
    /// Before it began to forget.
    pub before: Nanos,
    /// When it had forgotten.
    pub after: Nanos,
}

/// Everything seen of one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Frames of all links, in the order of `entered`.
    pub frames: Vec<Frame>,
    /// Events of all NATs, in the order of `at`.
    pub conntrack: Vec<CtEvent>,
    /// The NATs whose connection tracking counted failures of its own, and how many.
    pub counters: Vec<(NodeName, CtCounters)>,
    /// The times that NATs forgot everything which do so at regular intervals, in their order. No other event tells that sets and maps
    /// were emptied.
    pub flushes: Vec<NatFlush>,
    /// What was lost: one sentence for each buffer that overflowed. Not empty means that nothing can be concluded.
    pub lost: Vec<String>,
    /// Whoever is there for both sides, besides the harness' own server: a rendezvous server, a relay. What goes to and from
    /// them is no punching.
    pub servers: Vec<Ipv4Addr>,
}

impl Evidence {
    /// The last moment at which anything was seen: 0 without frames. What is still on a link leaves it later, or never.
    #[must_use]
    pub fn ended(&self) -> Nanos {
        let seen = |frame: &Frame| match frame.fate {
            Fate::Delivered => frame.entered.max(frame.left),
            Fate::Lost | Fate::InFlight => frame.entered,
        };
        self.frames.iter().map(seen).max().unwrap_or_default()
    }

    /// The times that a NAT forgot everything.
    pub fn flushes_of(&self, node: &NodeName) -> impl Iterator<Item = &NatFlush> {
        self.flushes.iter().filter(move |flush| flush.node == *node)
    }

    /// What the connection tracking of a node counted of its own failures.
    #[must_use]
    pub fn counted(&self, node: &NodeName) -> CtCounters {
        let of_node = self.counters.iter().filter(|(counting, _)| counting == node);
        of_node.fold(CtCounters::default(), |all, (_, counted)| all.and(*counted))
    }

    /// Whether an address is that of a server, and not of one of the sides.
    #[must_use]
    pub fn is_server(&self, address: Ipv4Addr) -> bool {
        [*RENDEZVOUS.ip(), *RENDEZVOUS_ALT.ip()].contains(&address) || self.servers.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_on_its_way_says_nothing_of_how_long_was_looked() {
        let frame = |entered, left, fate| Frame {
            link: 0,
            direction: Direction::Up,
            entered,
            due: left,
            left,
            fate,
            is_copy: false,
            length: 0,
            bytes: Box::default(),
        };
        let ended = |frames: &[Frame]| Evidence { frames: frames.to_vec(), ..Evidence::default() }.ended();
        let arrived = frame(10, 30, Fate::Delivered);
        assert_eq!(ended(&[]), 0);
        assert_eq!(ended(&[arrived.clone(), frame(20, 25, Fate::Delivered)]), 30);
        for fate in [Fate::Lost, Fate::InFlight] {
            assert_eq!(ended(&[arrived.clone(), frame(20, 90, fate)]), 30, "{fate:?}");
            assert_eq!(ended(&[arrived.clone(), frame(40, 90, fate)]), 40, "{fate:?}");
        }
    }
}
