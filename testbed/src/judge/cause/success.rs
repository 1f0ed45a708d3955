//! How a connection came about, and the packets that show it.

use std::collections::BTreeMap;

use crate::judge::cause::Marks;
use crate::judge::timeline::{Flow, Role, SegmentTrace, Timeline};
use crate::model::evidence::Nanos;
use crate::model::outcome::How;

/// SYNs of one side to different endpoints from which on it sprays.
const SPRAY: usize = 16;

/// ICMP time exceeded (RFC 792).
const TIME_EXCEEDED: u8 = 11;

/// How a connection came about: which SYNs belong to it, and whether each arrived before the other was sent.
#[must_use]
pub(crate) fn how(flow: &Flow, timeline: &Timeline) -> How {
    if let Some(sprayed) = sprayed(flow, timeline) {
        return sprayed;
    }
    let first = |role| flow.syns(role).next();
    let (Some(a), Some(b)) = (first(Role::A), first(Role::B)) else { return How::Accepted };
    match Role::BOTH.into_iter().find(|role| died_on_its_way(flow, timeline, *role)) {
        Some(Role::A) => return How::HoleByA,
        Some(Role::B) => return How::HoleByB,
        None => {}
    }
    let before = |arrived: Option<Nanos>, sent: Nanos| arrived.is_none_or(|at| at < sent);
    if before(a.arrived, b.sent) && a.sent < b.sent {
        How::BLate
    } else if before(b.arrived, a.sent) && b.sent < a.sent {
        How::ALate
    } else {
        How::SynsCrossed
    }
}

/// Whether a side's first SYN had too few hops to go, as a router on its way said.
fn died_on_its_way(flow: &Flow, timeline: &Timeline, role: Role) -> bool {
    let Some(first) = flow.syns(role).next() else { return false };
    let told =
        timeline.icmp.iter().any(|e| e.to == role && e.code.0 == TIME_EXCEEDED && e.about == first.tuple);
    told && first.arrived.is_none()
}

/// Which of many it was, if there were many.
fn sprayed(flow: &Flow, timeline: &Timeline) -> Option<How> {
    let place = |role: Role| {
        // Each endpoint counts once, however often its SYN was sent again.
        let mut first: BTreeMap<_, Nanos> = BTreeMap::new();
        for syn in timeline.syns(role) {
            let sent = first.entry(syn.tuple).or_insert(syn.sent);
            *sent = syn.sent.min(*sent);
        }
        let winner = flow.syns(role).next().and_then(|syn| first.get(&syn.tuple).copied());
        let before = first.values().filter(|sent| winner.is_some_and(|winner| **sent <= winner)).count();
        (before, first.len())
    };
    let (a, b) = (place(Role::A), place(Role::B));
    let number = |(n, of): (usize, usize)| {
        (u32::try_from(n).unwrap_or(u32::MAX), u32::try_from(of).unwrap_or(u32::MAX))
    };
    (a.1.max(b.1) >= SPRAY).then_some(How::Sprayed { a: number(a), b: number(b) })
}

/// The packets that make a connection: each side's SYN, what answered it, and the data.
#[must_use]
pub(crate) fn marks_of_success(flow: &Flow) -> Marks {
    let syn = |role: Role| {
        let note = |s: &SegmentTrace| match s.arrived {
            Some(_) => format!("{}'s SYN", role.letter()),
            None => format!("{}'s SYN, which opens the way and goes no further", role.letter()),
        };
        flow.syns(role).next().map(|s| (s.frame, note(s)))
    };
    let answer = |role: Role| {
        let mut answers = flow.segments.iter().filter(|s| s.from == role && s.is_syn_ack());
        answers.next().map(|s| (s.frame, format!("{} answers", role.letter())))
    };
    let data = |role: Role| {
        let mut data = flow.segments.iter().filter(|s| s.from == role && s.payload() > 0);
        data.next().map(|s| (s.frame, format!("{}'s first data", role.letter())))
    };
    let all = Role::BOTH.into_iter().flat_map(|role| [syn(role), answer(role), data(role)]);
    all.flatten().collect()
}
