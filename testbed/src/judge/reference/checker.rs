//! The checker: one packet after another, what the NAT had to do with it against what it did.

mod absolute;
mod counted;
mod endings;
mod flushes;
mod fresh;
mod pooling;
mod swap;
mod without_syn;

use std::collections::{HashMap, HashSet};

use super::draws::Draw;
use super::duty::{
    Answer, MAYBE_TIME_EXCEEDED, RequiredAction, TIME_EXCEEDED, refusal, refusal_of_second_syn,
};
use super::head::{TcpHead, untouched};
use super::mapping::{Mappings, Outgoing};
use super::order::Way;
use super::passage::{Passage, Passages, Side, Sighting};
use super::rules::{BrokenRule, Rulebook, keeps, named as rules};
use super::tracker::{Tracked, Verdict};
use super::tracking::Tracking;
use super::{Contradiction, MOST_STATES, NatView, Rule};
use crate::judge::reference::head::HeadKind;
use crate::judge::timeline::LONGEST_WAY;
use crate::model::behavior::{InvalidPackets, Translation};
use crate::model::doubt::Doubt;
use crate::model::evidence::{CtCounters, CtEvent, Evidence, Frame, Nanos, Tuple};
use crate::model::packet::IcmpMessage;
use flushes::{Flushes, RefusedSyns};

/// How far a timer of the kernel's may be off: it counts in ticks, at 100 Hz the coarsest.
const TICKS: Nanos = 20_000_000;

/// How a packet was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It had to be handled so.
    Must,
    /// It could be handled in more than one way.
    Either(Doubt),
    /// The reference does not know.
    Not(Doubt),
}

/// A connection in the table.
#[derive(Debug)]
struct Entry {
    /// The packets of the end that opened it, as they come to the NAT.
    original: Tuple,
    /// The other end's.
    reply: Tuple,
    /// The packet that opened it, and when that came; where it may have begun anew, the packet that did that.
    opener: usize,
    since: Nanos,
    /// When the first one came.
    opened: Nanos,
    /// Whether no connection between the same ends was seen before.
    is_first: bool,
    /// When the NAT surely had dealt with that packet.
    stood_by: Nanos,
    /// The states that it may be in; `None` when it may be gone.
    possible: Vec<Option<Tracked>>,
    /// The packet before, and the states before that.
    before: Option<(usize, Way, Vec<Option<Tracked>>)>,
    /// Packets that were looked at before their turn.
    ahead: Vec<usize>,
    /// Whether it may be in more states than are kept.
    lost: bool,
    /// Whether the NAT told that it gave it up.
    given_up: bool,
}

impl Entry {
    /// What its packets of one way look like on the other side.
    fn outside(&self, way: Way) -> Tuple {
        match way {
            Way::Original => self.reply.reversed(),
            Way::Reply => self.original.reversed(),
        }
    }

    /// What its opener sends.
    fn outgoing(&self) -> Outgoing {
        let (Tuple { source: inside, destination: remote }, external) =
            (self.original, self.reply.destination);
        Outgoing { inside, remote, external }
    }

    /// The states that it may be in at a moment.
    fn at(&self, moment: Nanos) -> Vec<Option<Tracked>> {
        let aged = |state: &Option<Tracked>| match state {
            Some(tracked) if moment + TICKS < tracked.lives_until => [Some(Some(*tracked)), None],
            Some(tracked) if moment > tracked.gone_from + TICKS => [Some(None), None],
            Some(tracked) => [Some(Some(*tracked)), Some(None)],
            None => [Some(None), None],
        };
        unique(self.possible.iter().flat_map(aged).flatten())
    }
}

fn unique(states: impl IntoIterator<Item = Option<Tracked>>) -> Vec<Option<Tracked>> {
    let mut each: Vec<Option<Tracked>> = Vec::new();
    states.into_iter().for_each(|state| {
        if !each.contains(&state) {
            each.push(state);
        }
    });
    each
}

/// Everything that the reference knows of a NAT at a moment.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    nat: &'a NatView<'a>,
    frames: &'a [Frame],
    passages: &'a Passages,
    /// What connection tracking told, and of that the beginnings of entries.
    events: &'a [CtEvent],
    begun: HashMap<Tuple, Vec<&'a CtEvent>>,
    margin: Nanos,
    rules: Rulebook,
    how: Tracking,
    entries: Vec<Entry>,
    /// The directions that all of them began in.
    flows: HashSet<Tuple>,
    by_tuple: HashMap<Tuple, (usize, Way)>,
    mappings: Mappings,
    /// When unsolicited SYNs came first.
    refused: RefusedSyns,
    /// When the NAT forgot everything.
    flushes: Flushes,
    /// What the NAT's connection tracking counted of its own failures, less what was explained by that.
    counted: CtCounters,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        nat: &'a NatView<'a>,
        evidence: &'a Evidence,
        (passages, margin): (&'a Passages, Nanos),
        rules: Rulebook,
    ) -> Self {
        Self {
            nat,
            frames: &evidence.frames,
            passages,
            events: &evidence.conntrack,
            begun: endings::begun(evidence, nat.node),
            margin,
            rules,
            how: Tracking::of(nat.declared, nat.datapath, rules),
            entries: Vec::new(),
            flows: HashSet::new(),
            by_tuple: HashMap::new(),
            mappings: Mappings::by(rules),
            refused: RefusedSyns::default(),
            flushes: Flushes::of(nat, evidence, margin),
            counted: evidence.counted(nat.node),
        }
    }

    /// The ports that were drawn.
    pub(super) fn draws(&mut self) -> Vec<Draw> {
        self.mappings.take_draws()
    }

    /// Judges a packet.
    pub(super) fn step(&mut self, index: usize) -> Result<Judged, Contradiction> {
        let passage = &self.passages.all[index];
        // What came last may not have left yet when the evidence was taken.
        if passage.output.is_none() && passage.input.at + self.margin >= self.passages.ended {
            // It may have been dealt with all the same, and have ended its connection.
            if let Some((id, _)) = self.by_tuple.get(&passage.input.head.tuple) {
                self.entries[*id].lost = true;
            }
            return Ok(Judged::Not(Doubt::End));
        }
        let judged = self.unchanged(passage).and_then(|()| match passage.input.head.kind {
            _ if self.nat.declared.translation == Translation::Router => self.route(passage),
            HeadKind::Icmp(_) => self.icmp(passage),
            HeadKind::Tcp(head) => self.tcp(index, &head),
        });
        let may_have_passed = passage.passed_as_its_copy && passage.answers.is_empty();
        judged.or_else(|broken| match may_have_passed {
            true => Ok(Judged::Either(Doubt::Order)),
            false => Err(self.contradiction(broken, passage)),
        })
    }

    /// What came out although nothing had gone in, or more often than that.
    pub(super) fn out_of_nothing(&self) -> Result<(), Contradiction> {
        let nowhere = self.passages.from_nothing.first().map(|sent| {
            let what = format!("{} came out of it, and nothing had gone in", name(sent));
            (what, vec![(sent.frame, "came from nowhere".to_owned())])
        });
        let twice = || self.passages.twice.first().map(|(index, again)| self.sent_twice(*index, again));
        let (what, frames) = nowhere.or_else(twice).unzip();
        let held = self.rules.hold(rules::NOTHING, what.map_or(Ok(()), Err));
        held.map_err(|(rule, what)| Contradiction {
            rule,
            sentence: self.sentence(rule, &what),
            frames: frames.unwrap_or_default(),
        })
    }

    fn sent_twice(&self, index: usize, again: &Sighting) -> (String, Vec<(usize, String)>) {
        let what = format!("{} came out of it once more than it had gone in", name(again));
        let mut frames = self.frames_of(&self.passages.all[index]);
        frames.push((again.frame, format!("left {} once more", self.nat.node)));
        (what, frames)
    }

    /// What must not change on the way through.
    fn unchanged(&self, passage: &Passage) -> Result<(), BrokenRule> {
        let Some(output) = &passage.output else { return Ok(()) };
        let (before, after) = (passage.input.head.ttl, output.head.ttl);
        let one_less = || format!("came with a TTL of {before} and left with {after}");
        self.rules.hold(rules::HOPS, keeps(before == after.wrapping_add(1), one_less))?;
        let took = output.at.saturating_sub(passage.input.at);
        let in_time = || format!("took {} ms through it", took / 1_000_000);
        self.rules.hold(rules::LATE, keeps(took <= LONGEST_WAY, in_time))?;
        if passage.input.head.tcp().is_none() {
            return Ok(());
        }
        let same = untouched(&self.frames[passage.input.frame], &self.frames[output.frame]);
        self.rules.hold(rules::UNCHANGED, same.map_err(|what| format!("{what} changed on the way")))
    }

    fn route(&self, passage: &Passage) -> Result<Judged, BrokenRule> {
        // What is said of a datagram has nothing by which it is known again on the other side.
        if matches!(passage.input.head.kind, HeadKind::Icmp(IcmpMessage { about: None, .. })) {
            return Ok(Judged::Not(Doubt::Icmp));
        }
        if self.nat.is_own(*passage.input.head.tuple.destination.ip()) {
            let kept = RequiredAction::Keep(Answer::Anything).done(passage);
            return self.rules.hold(rules::ROUTER, kept).map(|()| Judged::Must);
        }
        let duty = self.forwarded(passage, passage.input.head.tuple);
        self.rules.hold(rules::ROUTER, duty.done(passage))?;
        Ok(Judged::Must)
    }

    /// What is to pass, unless it has no hop left (RFC 1812, section 5.3.1).
    fn forwarded(&self, passage: &Passage, tuple: Tuple) -> RequiredAction {
        if passage.input.head.ttl <= 1 {
            RequiredAction::Keep(TIME_EXCEEDED)
        } else {
            RequiredAction::Pass(tuple)
        }
    }

    /// An ICMP error about a connection goes to the end that it is about (RFC 5508, REQ-4).
    fn icmp(&self, passage: &Passage) -> Result<Judged, BrokenRule> {
        let HeadKind::Icmp(message) = &passage.input.head.kind else {
            return Ok(Judged::Not(Doubt::Icmp));
        };
        let Some(quoted) = message.about else { return Ok(Judged::Not(Doubt::Icmp)) };
        // What goes to an inside address as it stands is routed, and no NAT's business.
        let to_nat = self.nat.is_own(*passage.input.head.tuple.destination.ip());
        if self.nat.declared.translation == Translation::Nat && passage.input.side == Side::Outside && !to_nat
        {
            return Ok(Judged::Not(Doubt::Routed));
        }
        let Some((id, _)) = self.by_tuple.get(&quoted.tuple.reversed()) else {
            let kept = passage.output.is_none() || self.nat.declared.translation != Translation::Nat;
            let what = || "is about no connection of it and passed".to_owned();
            return self.rules.hold(rules::ICMP, keeps(kept, what)).map(|()| Judged::Must);
        };
        let entry = &self.entries[*id];
        let states = entry.at(passage.input.at);
        let near = entry.stood_by >= passage.input.at;
        if entry.lost || near || states.iter().any(Option::is_none) || passage.input.head.ttl <= 1 {
            return Ok(Judged::Not(Doubt::Icmp));
        }
        let what = || "had to pass to the end that it is about, and vanished".to_owned();
        self.rules.hold(rules::ICMP, keeps(passage.output.is_some(), what)).map(|()| Judged::Must)
    }

    fn tcp(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let tuple = self.passages.all[index].input.head.tuple;
        match self.by_tuple.get(&tuple).copied() {
            Some((id, way)) => self.tracked(index, head, (id, way)),
            None => self.fresh(index, head),
        }
    }

    fn tracked(
        &mut self,
        index: usize,
        head: &TcpHead,
        (id, way): (usize, Way),
    ) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let at = passage.input.at;
        if self.begins_anew((id, way), passage, head) {
            return self.renew(index, head, id);
        }
        if self.entries[id].lost {
            // What passes although the connection was given up has begun it anew, and not all of that was looked at.
            self.entries[id].given_up &= passage.output.is_none();
            self.learn_perhaps(id, passage);
            return Ok(Judged::Not(Doubt::Lost));
        }
        if let Some(place) = self.entries[id].ahead.iter().position(|ahead| *ahead == index) {
            self.entries[id].ahead.swap_remove(place);
            return Ok(Judged::Either(Doubt::Order));
        }
        let states = self.entries[id].at(at);
        let (mut kept, mut anew, mut broken) = (Vec::new(), false, None);
        for state in &states {
            match state.map(|tracked| self.after(id, way, &tracked, passage, head)) {
                Some(Ok(Some(next))) => kept.push(next),
                Some(Ok(None)) | None => anew = true,
                Some(Err(why)) => drop(broken.get_or_insert(why)),
            }
        }
        if anew && kept.is_empty() && broken.is_none() {
            self.outlives(id, way, passage)?;
        }
        let (swapped, same) = self.swapped(index, head, (id, way));
        // In whatever state and order, it had to be handled so.
        let sure = same && broken.is_none() && !anew;
        kept.extend(swapped);
        if kept.is_empty() && anew {
            // Where it may have gone on as well, a packet that came a moment earlier may have begun it anew and was handled later.
            if broken.is_some() && self.fits_another_order(index, head, (id, way)) {
                return Ok(Judged::Either(Doubt::Order));
            }
            return self.renew(index, head, id);
        }
        // Where it may have been gone already, the same packet may have begun it anew with the same external endpoint.
        let as_before = passage.output.is_some_and(|o| o.head.tuple == self.entries[id].outside(way));
        if anew && as_before && way == Way::Original {
            kept.extend(Tracked::begin(head, at, &self.how).map(Some));
            let entry = &mut self.entries[id];
            (entry.opener, entry.since, entry.stood_by) = (index, at, passage.handled_by(self.margin));
        }
        if kept.is_empty() {
            if self.fits_another_order(index, head, (id, way)) {
                return Ok(Judged::Either(Doubt::Order));
            }
            if self.evicted(id).is_some() {
                self.entries[id].lost = true;
                return Ok(Judged::Not(Doubt::Counted));
            }
            return Err(broken.unwrap_or((rules::KNOWN, "fits no state of its connection".to_owned())));
        }
        if anew && states.len() > 1 && passage.output.is_none() {
            kept.push(None);
        }
        // Kernels differ in whether the reset of a second SYN closes the connection.
        if self.refuses_second_syn(way, passage) == Some(Answer::Reset) {
            let closed = |state: &Option<Tracked>| state.map(|tracked| tracked.closed_by_rule(at, &self.how));
            let closed: Vec<_> = kept.iter().map(closed).collect();
            kept.extend(closed);
        }
        let kept = unique(kept);
        let may_be_another = anew && Tracked::begin(head, at, &self.how).is_some();
        let lost = kept.len() > MOST_STATES || self.may_be_turned_round(way, passage, may_be_another);
        let entry = &mut self.entries[id];
        entry.lost = lost;
        let before = std::mem::replace(&mut entry.possible, kept);
        entry.before = Some((index, way, before));
        self.learn(id, way, passage);
        Ok(match (sure, anew) {
            (true, _) => Judged::Must,
            (false, true) => Judged::Either(Doubt::Expiry),
            (false, false) => Judged::Either(Doubt::Order),
        })
    }

    /// The state after a packet, if the NAT did what it had to with it in that state. `Ok(None)` when the packet begins
    /// again.
    fn after(
        &self,
        id: usize,
        way: Way,
        tracked: &Tracked,
        passage: &Passage,
        head: &TcpHead,
    ) -> Result<Option<Option<Tracked>>, BrokenRule> {
        let tuple = self.entries[id].outside(way);
        let (rule, duty, next) = match tracked.step(way, head, passage.input.at, &self.how) {
            Verdict::Reopen => return Ok(None),
            Verdict::Pass(next) => self.known(passage, way, tuple, Some(next)),
            Verdict::PassAndForget => self.known(passage, way, tuple, None),
            Verdict::Invalid(next) => (rules::INVALID, self.of_invalid(passage, head), Some(next)),
        };
        self.rules.hold(rule, duty.done(passage))?;
        Ok(Some(next))
    }

    fn known(
        &self,
        passage: &Passage,
        way: Way,
        tuple: Tuple,
        next: Option<Tracked>,
    ) -> (Rule, RequiredAction, Option<Tracked>) {
        match self.refuses_second_syn(way, passage) {
            Some(answer) => (rules::SYN_AFTER_SYN, kept_on_its_way(passage, answer), next),
            None => (rules::KNOWN, self.forwarded(passage, tuple), next),
        }
    }

    /// What the NAT answers to a SYN after a SYN, if this is one that it does not let in.
    fn refuses_second_syn(&self, way: Way, passage: &Passage) -> Option<Answer> {
        let opening = passage.input.head.tcp().is_some_and(|tcp| tcp.segment.flags.is_opening());
        let second = way == Way::Reply && opening && passage.input.side == Side::Outside;
        refusal_of_second_syn(self.nat.declared.syn_after_syn).filter(|_| second)
    }

    /// What becomes of a packet that belongs to no connection and begins none.
    fn of_invalid(&self, passage: &Passage, head: &TcpHead) -> RequiredAction {
        let leak = self.nat.declared.invalid_packets == InvalidPackets::Leak;
        let tuple = passage.input.head.tuple;
        match (passage.input.side, self.nat.declared.translation) {
            _ if self.nat.is_own(*tuple.destination.ip()) => match passage.input.side {
                Side::Outside => RequiredAction::Keep(self.refusal_of(passage)),
                Side::Inside => RequiredAction::Keep(Answer::Anything),
            },
            (Side::Outside, Translation::Firewall) if head.segment.flags.is_opening() => {
                kept_on_its_way(passage, self.refusal_of(passage))
            }
            _ if leak => self.forwarded(passage, tuple),
            _ => kept_on_its_way(passage, Answer::Silence),
        }
    }

    fn refusal_of(&self, passage: &Passage) -> Answer {
        let first = self.refused.first(&passage.input.head.tuple, passage.input.at);
        refusal(self.nat, passage, first)
    }

    /// Whether a packet of a connection that the NAT gave up begins another one: a SYN does, and whatever got another
    /// external endpoint. Where the NAT may have forgotten the connection the latter does as well.
    fn begins_anew(&self, (id, way): (usize, Way), passage: &Passage, head: &TcpHead) -> bool {
        let entry = &self.entries[id];
        let elsewhere = |output: &Sighting| output.head.tuple != entry.outside(way);
        let is_elsewhere = passage.output.as_ref().is_some_and(elsewhere);
        let is_given_up = way == Way::Original && entry.given_up;
        is_given_up && (head.segment.flags.is_opening() || is_elsewhere)
            || entry.lost
                && is_elsewhere
                && (self.flushes.are_told() || self.nat.declared.timeouts.absolute.is_some())
    }

    /// A connection whose entry is gone or over begins again.
    fn renew(&mut self, index: usize, head: &TcpHead, id: usize) -> Result<Judged, BrokenRule> {
        let entry = &mut self.entries[id];
        (entry.possible, entry.before) = (vec![None], None);
        let (original, reply) = (entry.original, entry.reply);
        for tuple in [original, reply] {
            if self.by_tuple.get(&tuple).is_some_and(|(other, _)| *other == id) {
                self.by_tuple.remove(&tuple);
            }
        }
        self.fresh(index, head)
    }

    fn learn(&mut self, id: usize, way: Way, passage: &Passage) {
        if way == Way::Original && passage.input.side == Side::Inside && passage.output.is_some() {
            let flow = self.entries[id].outgoing();
            self.mappings.learn(self.nat, &self.how, flow, self.times(passage));
        }
    }

    /// When a packet came, and when the NAT surely had dealt with it.
    fn times(&self, passage: &Passage) -> (Nanos, Nanos) {
        (passage.input.at, passage.handled_by(self.margin))
    }

    fn contradiction(&self, (rule, why): BrokenRule, passage: &Passage) -> Contradiction {
        let what = format!("{}: {why}", name(&passage.input));
        let mut frames = self.frames_of(passage);
        let answers = passage.answers.iter().chain(&passage.astray);
        frames.extend(answers.map(|answer| (answer.frame, format!("made by {}", self.nat.node))));
        Contradiction { rule, sentence: self.sentence(rule, &what), frames }
    }

    /// A packet on both sides.
    fn frames_of(&self, passage: &Passage) -> Vec<(usize, String)> {
        let (node, Passage { input, output, .. }) = (self.nat.node, passage);
        let side = |side: Side| if side == Side::Inside { "inside" } else { "outside" };
        let came = (input.frame, format!("came to {node} from {}", side(input.side)));
        let left = output.map(|output| (output.frame, format!("left {node} to the {}", side(output.side))));
        std::iter::once(came).chain(left).collect()
    }

    fn sentence(&self, rule: Rule, what: &str) -> String {
        let (profile, node, Rule { axis, source, .. }) = (self.nat.profile, self.nat.node, rule);
        format!("NAT \"{profile}\" in \"{node}\" does not do what it declares ({axis}; {source}): {what}")
    }
}

/// What is not for the NAT itself is kept, and answered so. Hops are looked at before filters of what passes (`ip_forward`), and after others.
pub(super) fn kept_on_its_way(passage: &Passage, answer: Answer) -> RequiredAction {
    RequiredAction::Keep(match (passage.input.head.ttl, answer) {
        (0..=1, Answer::Silence) => MAYBE_TIME_EXCEEDED,
        (0..=1, _) => Answer::Anything,
        _ => answer,
    })
}

/// A packet in words.
fn name(sighting: &Sighting) -> String {
    match &sighting.head.kind {
        HeadKind::Tcp(tcp) => {
            let side = if sighting.side == Side::Inside { "inside" } else { "outside" };
            format!("the {} {} on its {side}", tcp.segment.flags, sighting.head.tuple)
        }
        HeadKind::Icmp(message) => {
            let about = message.about.map_or_else(String::new, |quoted| format!(" about {}", quoted.tuple));
            format!("ICMP {}/{} from {}{about}", message.kind, message.code, sighting.head.tuple.source.ip())
        }
    }
}
