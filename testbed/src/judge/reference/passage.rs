//! Both sides of a NAT: what came to it, and what of it went on, was answered or vanished.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use super::NatView;
use super::head::{Head, HeadKind, TcpHead, untouched};
use crate::model::behavior::{Behavior, SynAfterSyn, UnsolicitedSyn};
use crate::model::evidence::{Direction, Evidence, Fate, Nanos, Tuple};
use crate::model::packet::{IcmpMessage, TcpFlags};

/// By how much a packet may be stamped after what came of it: a frame that is read late has the time of reading.
pub(super) const STAMPED_LATE: Nanos = 1_000_000;

/// By how much the stamps of a wire and a tap may differ: their clocks are compared to a microsecond, in each round of the thread
/// that reads them.
const CLOCKS_APART: Nanos = 20_000;

/// Copies that a link makes of a packet come so soon one after another.
const TOGETHER: Nanos = 1_000_000;

/// How long after a packet an answer to it may come.
const ANSWERED_WITHIN: Nanos = 250_000_000;

/// Which side of the NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Inside,
    Outside,
}

/// A packet on one side of the NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) at: Nanos,
    pub(super) side: Side,
    /// Index of its frame.
    pub(super) frame: usize,
    pub(super) head: Head,
}

/// A packet that came to the NAT, and what was seen of it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) input: Sighting,
    /// The packet on its other side.
    pub(super) output: Option<Sighting>,
    /// What the NAT itself sent because of it.
    pub(super) answers: Vec<Sighting>,
    /// Whether a packet that is the same to the last byte came right after it and passed, and nobody can tell which of the two did.
    pub(super) passed_as_its_copy: bool,
    /// A reset with the numbers of an answer, from another endpoint than the one that was asked. It answers nothing.
    pub(super) astray: Option<Sighting>,
}

impl Passage {
    /// When the NAT surely had dealt with it: something of it had come out by then, or the margin was over. To be compared with
    /// what comes from the other side. What a host sends and gets is stamped by one tap, so that its answer to a packet is known to
    /// come later, however soon it comes.
    pub(super) fn handled_by(&self, margin: Nanos) -> Nanos {
        match (self.output, self.answers.first()) {
            (Some(output), _) if output.side == Side::Inside => output.at,
            (Some(seen), _) | (None, Some(&seen)) => seen.at.max(self.input.at) + CLOCKS_APART,
            (None, None) => self.input.at + margin,
        }
    }
}

/// All that happened at a NAT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passages {
    /// In the order in which they came.
    pub(super) all: Vec<Passage>,
    /// What came out although nothing had gone in.
    pub(super) from_nothing: Vec<Sighting>,
    /// What came out although it had come out before and had gone in once, with the index of its passage.
    pub(super) twice: Vec<(usize, Sighting)>,
    /// The longest that a packet took through the NAT by the two sides' clocks.
    pub(super) longest: Nanos,
    /// When the last frame of the whole trial was seen.
    pub(super) ended: Nanos,
}

/// What a packet keeps when it passes: sequence number, acknowledgment, flags, length; and the endpoint that is not
/// translated, unless it is turned round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PacketIdentity {
    to: Side,
    untranslated: Option<SocketAddrV4>,
    numbers: (u32, u32, u8, u32),
}

impl Passages {
    /// Reads what happened at `nat`.
    pub(super) fn read(evidence: &Evidence, nat: &NatView<'_>) -> Self {
        let (inputs, outputs) = sightings(evidence, nat);
        let ended = evidence.ended();
        let all = inputs.into_iter().map(|input| Passage {
            input,
            output: None,
            answers: Vec::new(),
            passed_as_its_copy: false,
            astray: None,
        });
        let mut passages = Self { all: all.collect(), ended, ..Self::default() };
        let rest = passages.match_outputs(evidence, nat, outputs);
        let rest = passages.take_copies(evidence, nat, rest);
        passages.match_answers(nat, rest);
        passages
    }

    /// Gives each output to the input that it can be and that came nearest to it, or to the first of several copies that came together; returns those that are nobody's.
    fn match_outputs(
        &mut self,
        evidence: &Evidence,
        nat: &NatView<'_>,
        outputs: Vec<Sighting>,
    ) -> Vec<Sighting> {
        let mut waiting: HashMap<PacketIdentity, VecDeque<usize>> = HashMap::new();
        let mut next = 0;
        let mut rest = Vec::new();
        let mut untold = Vec::new();
        for output in outputs {
            while let Some(passage) = self.all.get(next)
                && passage.input.at <= output.at + STAMPED_LATE
            {
                if let Some(kept) = kept_of_input(nat, &passage.input) {
                    waiting.entry(kept).or_default().push_back(next);
                }
                next += 1;
            }
            let candidates = kept_of_output(nat, &output).and_then(|kept| waiting.get_mut(&kept));
            let found = candidates.and_then(|candidates| {
                // A segment that was sent again has the same numbers and another timestamp.
                let same = |index: &usize| {
                    let input = &evidence.frames[self.all[*index].input.frame];
                    untouched(input, &evidence.frames[output.frame]).is_ok()
                };
                let at = |place: usize| self.all[candidates[place]].input.at;
                // One that is stamped late may be another that comes a moment later.
                let alike = (0..candidates.len()).rev().filter(|place| same(&candidates[*place]));
                let nearest = alike.min_by_key(|place| at(*place).abs_diff(output.at));
                let latest = nearest.or(candidates.len().checked_sub(1))?;
                // Of copies that came together, the first goes first.
                let together = |place: &usize| at(*place) + TOGETHER >= at(latest);
                let place =
                    (0..latest).filter(|place| same(&candidates[*place])).find(together).unwrap_or(latest);
                // A reset that the NAT made itself may have the numbers of one that it kept before.
                let hops = self.all[candidates[place]].input.head.ttl.wrapping_sub(output.head.ttl);
                let made = hops != 1 && output.head.tcp().is_some_and(TcpHead::is_reset);
                if made {
                    return None;
                }
                let copies = candidates.range(place + 1..).filter(|index| same(index));
                let copies: Vec<usize> = copies.copied().collect();
                let index = candidates.remove(place)?;
                untold.extend((!copies.is_empty()).then_some((index, copies)));
                Some(index)
            });
            match found {
                Some(index) => {
                    let passage = &mut self.all[index];
                    self.longest = self.longest.max(output.at.saturating_sub(passage.input.at));
                    passage.output = Some(output);
                }
                None => rest.push(output),
            }
        }
        untold.into_iter().rev().for_each(|(index, copies)| self.give_to_copy(index, &copies));
        rest
    }

    /// Gives what came out to the last copy of its packet that had come by then and of which nothing came out: what was refused at first
    /// may pass a moment later.
    fn give_to_copy(&mut self, index: usize, copies: &[usize]) {
        let Some(output) = self.all[index].output else { return };
        let fits =
            |copy: &&usize| self.all[**copy].output.is_none() && self.all[**copy].input.at <= output.at;
        if let Some(copy) = copies.iter().rfind(fits).copied() {
            self.all[copy].output = self.all[index].output.take();
            self.all[index].passed_as_its_copy = true;
        }
    }

    /// Takes what the NAT sent once more, and returns the rest. Only what is the same to the last byte counts, and only where no such
    /// packet is left of which nothing came out: the stamp of that may be late. A reset may be an answer of its own.
    fn take_copies(&mut self, evidence: &Evidence, nat: &NatView<'_>, rest: Vec<Sighting>) -> Vec<Sighting> {
        if rest.is_empty() {
            return rest;
        }
        let mut by_identity: HashMap<PacketIdentity, Vec<usize>> = HashMap::new();
        for (index, passage) in self.all.iter().enumerate() {
            if let Some(kept) = kept_of_input(nat, &passage.input) {
                by_identity.entry(kept).or_default().push(index);
            }
        }
        let mut others = Vec::new();
        for output in rest {
            let can_be_copy =
                output.head.tcp().is_some_and(|tcp| !tcp.is_reset() || never_resets(nat.declared));
            let identity = kept_of_output(nat, &output).filter(|_| can_be_copy);
            let alike = identity.and_then(|kept| by_identity.get(&kept)).map_or(&[][..], Vec::as_slice);
            let is_first = |passage: &Passage| {
                passage.output.is_some_and(|first| {
                    let same =
                        untouched(&evidence.frames[first.frame], &evidence.frames[output.frame]).is_ok();
                    first.head == output.head && same && output.at <= first.at + ANSWERED_WITHIN
                })
            };
            let first = alike.iter().rfind(|index| is_first(&self.all[**index]));
            match first.filter(|_| alike.iter().all(|index| self.all[*index].output.is_some())) {
                Some(index) => self.twice.push((*index, output)),
                None => others.push(output),
            }
        }
        others
    }

    /// Gives each packet that the NAT made itself to what it answers.
    fn match_answers(&mut self, nat: &NatView<'_>, rest: Vec<Sighting>) {
        if rest.is_empty() {
            return;
        }
        let mut by_tuple: HashMap<Tuple, Vec<usize>> = HashMap::new();
        for (index, passage) in self.all.iter().enumerate() {
            by_tuple.entry(passage.input.head.tuple).or_default().push(index);
        }
        for output in rest {
            let about = match &output.head.kind {
                HeadKind::Tcp(_) => Some(output.head.tuple.reversed()),
                HeadKind::Icmp(IcmpMessage { about, .. }) => about.map(|quoted| quoted.tuple),
            };
            let candidates = about.and_then(|tuple| by_tuple.get(&tuple)).map_or(&[][..], Vec::as_slice);
            let fits = |index: &&usize| {
                let at = self.all[**index].input.at;
                at <= output.at + STAMPED_LATE && output.at <= at + ANSWERED_WITHIN
            };
            // Of several, rather one with these numbers, one that did not pass, one without an answer, the latest.
            let fitness = |index: &&usize| {
                let passage = &self.all[**index];
                let numbers = has_numbers_of(&output.head, &passage.input.head);
                (numbers, passage.output.is_none(), passage.answers.is_empty(), **index)
            };
            match candidates.iter().filter(fits).max_by_key(fitness) {
                Some(index) => self.all[*index].answers.push(output),
                None if is_foreign_error(nat, &output) => {}
                None => {
                    self.note_astray(output);
                    self.from_nothing.push(output);
                }
            }
        }
    }
}

impl Passages {
    /// Notes what has the numbers of an answer, and comes from another endpoint than the one that was asked.
    fn note_astray(&mut self, output: Sighting) {
        if !output.head.tcp().is_some_and(TcpHead::is_reset) {
            return;
        }
        let is_asker = |passage: &&mut Passage| {
            let input = &passage.input;
            input.side == output.side
                && input.head.tuple.source == output.head.tuple.destination
                && input.at <= output.at + STAMPED_LATE
                && output.at <= input.at + ANSWERED_WITHIN
                && has_numbers_of(&output.head, &input.head)
        };
        if let Some(passage) = self.all.iter_mut().rfind(is_asker) {
            passage.astray = Some(output);
        }
    }
}

/// Whether an answer has the numbers that one to this segment has: an ICMP error quotes the sequence number, and a reset
/// acknowledges all of the segment or has the number that it acknowledges. Nothing resets a reset (RFC 9293, section 3.10.7.1).
fn has_numbers_of(answer: &Head, asked: &Head) -> bool {
    let Some(asked) = asked.tcp() else { return false };
    match &answer.kind {
        HeadKind::Icmp(message) => message.about.is_some_and(|q| q.sequence == asked.segment.sequence),
        HeadKind::Tcp(_) if asked.is_reset() => false,
        HeadKind::Tcp(reset) if asked.has_ack() => reset.segment.sequence == asked.segment.acknowledgment,
        HeadKind::Tcp(reset) => reset.segment.acknowledgment == asked.end(),
    }
}

/// Whether a NAT that behaves as declared makes no reset itself.
fn never_resets(declared: &Behavior) -> bool {
    let unsolicited = matches!(declared.unsolicited_syn, UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel);
    !unsolicited && declared.syn_after_syn != SynAfterSyn::Reset
}

/// An ICMP error about nothing of TCP, or one whose cause cannot be told.
fn is_foreign_error(_: &NatView<'_>, output: &Sighting) -> bool {
    matches!(output.head.kind, HeadKind::Icmp(IcmpMessage { about: None, .. }))
}

/// What came to the NAT and what left it, each in order.
fn sightings(evidence: &Evidence, nat: &NatView<'_>) -> (Vec<Sighting>, Vec<Sighting>) {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (index, frame) in evidence.frames.iter().enumerate() {
        let side = if frame.link == nat.up {
            Side::Outside
        } else if nat.down.iter().any(|(link, _)| *link == frame.link) {
            Side::Inside
        } else {
            continue;
        };
        let comes = matches!(
            (side, frame.direction),
            (Side::Outside, Direction::Down) | (Side::Inside, Direction::Up)
        );
        // A copy that the link made never left the NAT.
        let seen = if comes { frame.fate == Fate::Delivered } else { !frame.is_copy };
        if !seen {
            continue;
        }
        let Some(head) = Head::of(frame) else { continue };
        if nat.stays_below(&head.tuple) {
            continue;
        }
        let at = if comes { frame.left.max(frame.entered) } else { frame.entered };
        let sighting = Sighting { at, side, frame: index, head };
        if comes { inputs.push(sighting) } else { outputs.push(sighting) }
    }
    inputs.sort_by_key(|sighting| sighting.at);
    outputs.sort_by_key(|sighting| sighting.at);
    (inputs, outputs)
}

fn kept_of_input(nat: &NatView<'_>, input: &Sighting) -> Option<PacketIdentity> {
    let Tuple { source, destination } = input.head.tuple;
    let (to, untranslated) = match input.side {
        Side::Inside if nat.is_own(*destination.ip()) => (Side::Inside, None),
        Side::Inside if nat.is_below(*destination.ip()) => (Side::Inside, None),
        Side::Inside => (Side::Outside, Some(destination)),
        Side::Outside => (Side::Inside, Some(source)),
    };
    Some(PacketIdentity { to, untranslated, numbers: numbers(&input.head)? })
}

fn kept_of_output(nat: &NatView<'_>, output: &Sighting) -> Option<PacketIdentity> {
    let Tuple { source, destination } = output.head.tuple;
    let untranslated = match output.side {
        Side::Outside => Some(destination),
        Side::Inside if nat.is_own(*source.ip()) || nat.is_below(*source.ip()) => None,
        Side::Inside => Some(source),
    };
    Some(PacketIdentity { to: output.side, untranslated, numbers: numbers(&output.head)? })
}

/// What is the same on both sides. An ICMP error keeps the number of the segment that it quotes.
fn numbers(head: &Head) -> Option<(u32, u32, u8, u32)> {
    match &head.kind {
        HeadKind::Tcp(tcp) => {
            let s = &tcp.segment;
            Some((s.sequence, s.acknowledgment, s.flags.0, s.payload))
        }
        // No segment has all of these flags at once.
        HeadKind::Icmp(message) => {
            let quoted = message.about?;
            let code = u32::from(message.kind) << 8 | u32::from(message.code);
            Some((quoted.sequence, code, TcpFlags(u8::MAX).0, 0))
        }
    }
}
