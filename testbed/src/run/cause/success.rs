//! How a connection came about, and the packets that show it.

use std::collections::BTreeMap;

use crate::model::evidence::Nanos;
use crate::model::outcome::How;
use crate::run::cause::Marks;
use crate::run::story::{Flow, Sighting, Story, Who};

/// SYNs of one side to different endpoints from which on it sprays.
const SPRAY: usize = 16;

/// ICMP time exceeded (RFC 792).
const TIME_EXCEEDED: u8 = 11;

/// How a connection came about: which SYNs belong to it, and whether each arrived before the other was sent.
#[must_use]
pub(crate) fn how(flow: &Flow, story: &Story) -> How {
    if let Some(sprayed) = sprayed(flow, story) {
        return sprayed;
    }
    let first = |who| flow.syns(who).next();
    let (Some(a), Some(b)) = (first(Who::A), first(Who::B)) else { return How::Accepted };
    match Who::BOTH.into_iter().find(|who| died_on_its_way(flow, story, *who)) {
        Some(Who::A) => return How::HoleByA,
        Some(Who::B) => return How::HoleByB,
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
fn died_on_its_way(flow: &Flow, story: &Story, who: Who) -> bool {
    let Some(first) = flow.syns(who).next() else { return false };
    let told = story.icmp.iter().any(|e| e.to == who && e.code.0 == TIME_EXCEEDED && e.about == first.tuple);
    told && first.arrived.is_none()
}

/// Which of many it was, if there were many.
fn sprayed(flow: &Flow, story: &Story) -> Option<How> {
    let place = |who: Who| {
        // Each endpoint counts once, however often its SYN was sent again.
        let mut first: BTreeMap<_, Nanos> = BTreeMap::new();
        for syn in story.syns(who) {
            let sent = first.entry(syn.tuple).or_insert(syn.sent);
            *sent = syn.sent.min(*sent);
        }
        let winner = flow.syns(who).next().and_then(|syn| first.get(&syn.tuple).copied());
        let before = first.values().filter(|sent| winner.is_some_and(|winner| **sent <= winner)).count();
        (before, first.len())
    };
    let (a, b) = (place(Who::A), place(Who::B));
    let number = |(n, of): (usize, usize)| {
        (u32::try_from(n).unwrap_or(u32::MAX), u32::try_from(of).unwrap_or(u32::MAX))
    };
    (a.1.max(b.1) >= SPRAY).then_some(How::Sprayed { a: number(a), b: number(b) })
}

/// The packets that make a connection: each side's SYN, what answered it, and the data.
#[must_use]
pub(crate) fn marks_of_success(flow: &Flow) -> Marks {
    let syn = |who: Who| {
        let note = |s: &Sighting| match s.arrived {
            Some(_) => format!("{}'s SYN", who.letter()),
            None => format!("{}'s SYN, which opens the way and goes no further", who.letter()),
        };
        flow.syns(who).next().map(|s| (s.frame, note(s)))
    };
    let answer = |who: Who| {
        let mut answers = flow.sightings.iter().filter(|s| s.from == who && s.is_syn_ack());
        answers.next().map(|s| (s.frame, format!("{} answers", who.letter())))
    };
    let data = |who: Who| {
        let mut data = flow.sightings.iter().filter(|s| s.from == who && s.payload() > 0);
        data.next().map(|s| (s.frame, format!("{}'s first data", who.letter())))
    };
    let all = Who::BOTH.into_iter().flat_map(|who| [syn(who), answer(who), data(who)]);
    all.flatten().collect()
}
