//! A NAT that keeps records of its own, in a program or in BPF: what is asked of it instead of the kernel's connection tracking.
//!
//! Mappings, ports, filtering and answers to SYNs are declared, and judged as of any NAT. What such a NAT knows of a connection is
//! its own affair: so each packet of a connection has to pass as long as the declared timers surely run, and after a reset or a
//! FIN the connection may live or be gone. Which mappings there are is read from the packets on both sides.

use std::collections::HashSet;

use super::NatView;
use super::head::TcpHead;
use super::order::Way;
use super::passage::Passages;
use super::tracker::Tracked;
use super::tracking::Tracking;
use crate::model::evidence::{CtChange, CtEntry, CtEvent, CtState, Evidence, Nanos};
use crate::model::packet::TcpFlags;

/// From when on such a connection is surely gone: never, since such a NAT may keep a connection for as long as it likes.
const NEVER: Nanos = 1 << 60;

impl Tracked {
    /// The connection after a packet of it, as far as one can know.
    pub(super) fn without_records(mut self, way: Way, head: &TcpHead, at: Nanos, how: &Tracking) -> Self {
        let flags = head.segment.flags;
        self.seen_reply |= way == Way::Reply;
        let over =
            self.state == CtState::Close || flags.contains(TcpFlags::RST) || flags.contains(TcpFlags::FIN);
        self.state = match (over, self.seen_reply) {
            (true, _) => CtState::Close,
            (false, true) => CtState::Established,
            (false, false) => CtState::SynSent,
        };
        let opening = how.timers.of_state(CtState::SynSent);
        let lives = match self.state {
            CtState::Close => 0,
            CtState::Established if !head.is_syn() => how.timers.of_state(CtState::Established),
            _ => opening.min(how.timers.of_state(CtState::Established)),
        };
        (self.lives_until, self.gone_from) = (at.saturating_add(lives), NEVER);
        self
    }
}

/// The mappings of a NAT that the packets on both its sides show, as connection tracking would have told them: one for each two
/// endpoints between which a SYN passed.
#[must_use]
pub fn mappings_seen(evidence: &Evidence, nat: &NatView<'_>) -> Vec<CtEvent> {
    let mut known = HashSet::new();
    let passages = Passages::read(evidence, nat);
    let opened = passages.all.iter().filter_map(|passage| {
        let output = passage.output?;
        let opening = passage.input.head.tcp().is_some_and(|tcp| tcp.segment.flags.is_opening());
        let (original, reply) = (passage.input.head.tuple, output.head.tuple.reversed());
        (opening && !known.contains(&(reply, original)) && known.insert((original, reply)))
            .then_some((output.at, original, reply))
    });
    let event = |(id, (at, original, reply)): (u32, _)| {
        let entry = CtEntry { original, reply, state: Some(CtState::SynSent), status: 0, id };
        CtEvent { node: nat.node.clone(), at, after: at, change: CtChange::New, entry }
    };
    (1..).zip(opened).map(event).collect()
}
