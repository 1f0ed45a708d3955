//! What came to each side's vantage, and when SYNs went into the NATs beside the vantages and came out of them. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{LONGEST_WAY, Role, Vantage, seen_from};
use crate::model::evidence::{Direction, Evidence, Fate, Frame, Nanos, Tuple};
use crate::model::packet::Packet;

/// What a segment keeps through every NAT: sequence number, acknowledgment, flags, length.
pub(super) type Identity = (u32, u32, u8, u32);

/// A segment that came to a vantage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// When it arrived, unless the link lost it.
    pub(super) at: Option<Nanos>,
    /// Its addresses there.
    pub(super) tuple: Tuple,
    /// When a NAT let it in, if it opens a connection and one did.
    pub(super) let_in: Option<Nanos>,
}

/// What came to each side's vantage, in order.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<(Role, Identity), VecDeque<Arrival>>);

impl Arrivals {
    /// What arrived at each side, by identity, in order.
    pub(super) fn read(evidence: &Evidence, a: &Vantage, b: &Vantage) -> Self {
        let mut arrivals = Self::default();
        for frame in evidence.frames.iter().filter(|frame| frame.direction == Direction::Down) {
            let Some(packet) = Packet::of(frame).filter(|packet| packet.tcp().is_some()) else { continue };
            match seen_from(frame, a, b) {
                Some((role, _)) => {
                    let at = (frame.fate == Fate::Delivered).then_some(frame.left);
                    let arrival = Arrival { at, tuple: packet.tuple(), let_in: None };
                    arrivals.0.entry((role, identity(&packet))).or_default().push_back(arrival);
                }
                None if opens(&packet) => arrivals.note_let_in(frame, identity(&packet)),
                None => {}
            }
        }
        arrivals
    }

    /// A SYN is on a link behind the NAT that it came to last.
    fn note_let_in(&mut self, frame: &Frame, identity: Identity) {
        for role in Role::BOTH {
            let last = self.0.get_mut(&(role, identity)).and_then(VecDeque::back_mut);
            if let Some(arrival) = last
                && let Some(at) = arrival.at
                && frame.entered <= at + LONGEST_WAY
            {
                arrival.let_in.get_or_insert(frame.entered);
            }
        }
    }

    /// The next arrival of this segment at a side.
    pub(super) fn next(&mut self, to: Role, packet: &Packet) -> Option<Arrival> {
        self.0.get_mut(&(to, identity(packet)))?.pop_front()
    }
}

/// When opening SYNs came to the NATs below a vantage, by the links behind them.
#[derive(Debug, Default)]
pub(super) struct Departures(BTreeMap<Identity, Nanos>);

impl Departures {
    /// A frame on another link than the vantages.
    pub(super) fn note(&mut self, frame: &Frame) {
        if frame.direction == Direction::Up
            && frame.fate == Fate::Delivered
            && let Some(packet) = Packet::of(frame).filter(opens)
        {
            self.0.insert(identity(&packet), frame.left);
        }
    }

    /// When a SYN that is on the vantage since `entered` had come to the NAT before it; the same moment if there is none.
    pub(super) fn came(&self, packet: &Packet, entered: Nanos) -> Nanos {
        let came = self.0.get(&identity(packet)).copied();
        came.filter(|came| came + LONGEST_WAY >= entered).map_or(entered, |came| came.min(entered))
    }
}

pub(super) fn opens(packet: &Packet) -> bool {
    packet.tcp().is_some_and(|segment| segment.flags.is_opening())
}

pub(super) fn identity(packet: &Packet) -> Identity {
    packet.tcp().map_or((0, 0, 0, 0), |s| (s.sequence, s.acknowledgment, s.flags.0, s.payload))
}

/// The segments that either side's link delivered twice, by whom they were for.
pub(super) fn doubled(evidence: &Evidence, a: &Vantage, b: &Vantage) -> BTreeSet<(Role, Identity)> {
    let copies = evidence.frames.iter().filter(|frame| frame.is_copy && frame.fate == Fate::Delivered);
    let segment = |frame: &Frame| {
        let (role, direction) = seen_from(frame, a, b)?;
        let receiver = if direction == Direction::Up { role.other() } else { role };
        Some((receiver, identity(&Packet::of(frame)?)))
    };
    copies.filter_map(segment).collect()
}
