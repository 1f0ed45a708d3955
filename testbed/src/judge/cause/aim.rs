//! No flow has SYNs of both sides: at least one aimed at something that the other never opened for it.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::judge::cause::flow::lost_frame;
use crate::judge::cause::{Diagnosis, FailureContext, sentence};
use crate::judge::oracle::{Admission, Answer, SynFate};
use crate::judge::timeline::{Flow, IcmpErrorTrace, Role, SegmentTrace};
use crate::model::address_plan::DISCARD;
use crate::model::evidence::{Fate, Frame};
use crate::model::outcome::Cause;
use crate::model::packet::Packet;

/// SYNs of a side to different endpoints from which on its aim is told by numbers.
const MANY: usize = 8;

/// The ICMP type of everything that could not be delivered (RFC 792).
const UNREACHABLE: u8 = 3;

impl FailureContext<'_> {
    /// The links lost every SYN of a side, so that no NAT could refuse one.
    pub(super) fn lost_before_it_was_known(&self) -> Option<Diagnosis> {
        let (role, losses) = Role::BOTH.into_iter().find_map(|role| {
            let losses: Option<Vec<usize>> = self.timeline.syns(role).map(|syn| self.loss_of(syn)).collect();
            Some((role, losses.filter(|losses| !losses.is_empty())?))
        })?;
        let detail = format!("none of peer {}'s {} SYNs came over the link", role.letter(), losses.len());
        Some(lost_frame(losses[0], &detail))
    }

    /// The frame in which a link lost a segment, or still had it at the end.
    fn loss_of(&self, segment_trace: &SegmentTrace) -> Option<usize> {
        let sent = segment_trace.packet.tcp().filter(|_| segment_trace.arrived.is_none())?;
        let is_it = |frame: &Frame| {
            let segment = Packet::of(frame).and_then(|packet| packet.tcp().copied());
            segment.is_some_and(|s| (s.sequence, s.flags) == (sent.sequence, sent.flags))
        };
        let frames = &self.evidence.frames[segment_trace.frame..];
        let (link, direction) = (frames[0].link, frames[0].direction);
        // What becomes of it once it is sent again is not its own fate.
        let sent_again = |frame: &Frame| (frame.link, frame.direction) == (link, direction) && is_it(frame);
        let before = frames.iter().skip(1).position(sent_again).map_or(frames.len(), |next| next + 1);
        let lost = |frame: &Frame| matches!(frame.fate, Fate::Lost | Fate::InFlight) && is_it(frame);
        frames[..before].iter().position(lost).map(|at| segment_trace.frame + at)
    }

    /// What was wrong with the aim of the SYNs.
    pub(super) fn wrong_aim(&self) -> Option<Diagnosis> {
        // A SYN to the port that programs open their filters with was aimed at no mapping.
        let opens = |syn: &SynFate| syn.target.port() == DISCARD.port();
        self.wrong_endpoint(|syn| !opens(syn))
            .or_else(|| self.answered(Answer::HostReset))
            .or_else(|| self.filtered())
            .or_else(|| self.answered(Answer::NatReset))
            .or_else(|| self.answered(Answer::Icmp))
            .or_else(|| self.nobodys_address())
            .or_else(|| self.let_in_and_silent())
            .or_else(|| self.wrong_endpoint(opens))
            .or_else(|| self.came_early())
            .or_else(|| self.not_turned())
            .or_else(|| self.any_lost())
    }

    /// One of these SYNs, to an endpoint that no mapping ever had.
    fn wrong_endpoint(&self, of_these: impl Fn(&SynFate) -> bool) -> Option<Diagnosis> {
        let syns = &self.oracle.syns;
        let missed = |syn: &SynFate| syn.admission == Admission::NoMapping && !self.was_opened(syn);
        let wrong = |syn: &&SynFate| of_these(syn) && missed(syn);
        let syn = syns.iter().find(wrong)?;
        if let Some(found) = syns.iter().filter(wrong).find_map(|syn| self.wrong_address_only(syn)) {
            return Some(found);
        }
        let targets: BTreeSet<_> =
            syns.iter().filter(|s| s.from == syn.from).map(|s| (s.source, s.target)).collect();
        let other = syn.from.other().letter();
        let missed = Missed {
            targets: targets.iter().map(|(_, target)| *target).collect(),
            mapped: self.mappings_towards(syn),
        };
        let detail = if targets.len() > MANY {
            format!(
                "none of {}'s SYNs to {} endpoints met one of {other}'s mappings",
                syn.from.letter(),
                targets.len()
            )
        } else {
            format!("{}; {other}'s mapping towards it was {}", sentence(syn), listed(&missed.mapped, "none"))
        };
        let found = Diagnosis::new(missed.cause(), detail);
        let found = found.mark(syn.frame, format!("no mapping has {}", syn.target));
        let own = self.timeline.syns(syn.from.other()).find(|s| s.tuple.destination.ip() == syn.source.ip());
        Some(match own {
            Some(own) => found.mark(own.frame, format!("{other}'s own SYN left from {}", own.tuple.source)),
            None => found,
        })
    }

    /// A SYN to the port of a mapping of the other side, at another of its addresses.
    fn wrong_address_only(&self, syn: &SynFate) -> Option<Diagnosis> {
        let mapped = self.mappings_towards(syn);
        let meant = mapped.iter().find(|m| m.port() == syn.target.port() && m.ip() != syn.target.ip())?;
        let other = syn.from.other().letter();
        let detail = format!(
            "{}; {other}'s mapping towards it was {meant}, with the same port at another address",
            sentence(syn)
        );
        let found = Diagnosis::new(Cause::PredictedAddressWrong, detail);
        Some(found.mark(syn.frame, format!("no mapping has {}", syn.target)))
    }

    /// Whether the side that a SYN was sent to ever used the endpoint that it was aimed at.
    fn was_opened(&self, syn: &SynFate) -> bool {
        let opened = self.timeline.opened.get(&syn.from.other());
        opened.is_some_and(|opened| opened.iter().any(|opening| opening.tuple.source == syn.target))
    }

    /// The external endpoints from which the target of `syn` sent SYNs to the address that `syn` came from.
    fn mappings_towards(&self, syn: &SynFate) -> BTreeSet<SocketAddrV4> {
        let opened = self.timeline.opened.get(&syn.from.other()).map_or(&[][..], Vec::as_slice);
        let to_it = opened.iter().filter(|opening| opening.tuple.destination.ip() == syn.source.ip());
        to_it.map(|opening| opening.tuple.source).collect()
    }

    fn filtered(&self) -> Option<Diagnosis> {
        let syn = self.oracle.syns.iter().find(|s| s.admission == Admission::Filtered)?;
        let mapped = self.mappings_towards(syn);
        let other = syn.from.other().letter();
        let aimed = if mapped.is_empty() { "elsewhere" } else { "from " };
        let detail = format!(
            "{}; the mapping was there for others, and {other} itself sent {aimed}{}",
            sentence(syn),
            listed(&mapped, "")
        );
        Some(Diagnosis::new(Cause::Filtered, detail).mark(syn.frame, "the filter knew only others"))
    }

    fn answered(&self, answer: Answer) -> Option<Diagnosis> {
        let syn = self.oracle.syns.iter().find(|s| s.answer == answer)?;
        let other = syn.from.other().letter();
        if answer == Answer::Icmp {
            return Some(self.icmp_cause(syn.from, Some(syn)));
        }
        let reset = self.flow_of(syn)?.segments.iter().find(|s| s.from != syn.from && s.is_reset())?;
        let (cause, by) = match self.is_made_by_nat(reset) {
            true => (Cause::ResetByNat, format!("NAT-{other}")),
            false => (Cause::ResetByHost, format!("the host of peer {other}")),
        };
        let found = Diagnosis::new(cause, format!("{} was answered by a reset from {by}", sentence(syn)));
        Some(found.mark(syn.frame, "drew a reset").mark(reset.frame, format!("made by {by}")))
    }

    fn flow_of(&self, syn: &SynFate) -> Option<&Flow> {
        self.timeline.flows.iter().find(|flow| flow.segments.iter().any(|s| s.frame == syn.frame))
    }

    /// A SYN came in, without one of the other side, and its host said nothing.
    fn let_in_and_silent(&self) -> Option<Diagnosis> {
        let let_in = |syn: &&SynFate| syn.admission == Admission::Admitted && !self.was_kept(syn);
        let syn = self.oracle.syns.iter().find(let_in)?;
        let answer = self.flow_of(syn).and_then(|flow| flow.segments.iter().find(|s| s.is_syn_ack()));
        if let Some(lost) = answer.and_then(|answer| self.loss_of(answer)) {
            return Some(lost_frame(lost, &format!("the link lost the answer to {}", sentence(syn))));
        }
        let other = syn.from.other().letter();
        let detail = format!("{} was let in, and the host of peer {other} made nothing of it", sentence(syn));
        Some(Diagnosis::new(Cause::ProgramHung, detail).mark(syn.frame, "let in"))
    }

    /// A SYN came before the mapping that it was aimed at, which never was for it.
    fn came_early(&self) -> Option<Diagnosis> {
        let early = |s: &&SynFate| {
            matches!(s.admission, Admission::NoMapping | Admission::Close | Admission::Destroyed)
        };
        let syn = self.oracle.syns.iter().find(early)?;
        let detail = format!("{}, which {} opened only later", sentence(syn), syn.from.other().letter());
        Some(Diagnosis::new(Cause::StartedTooLate, detail).mark(syn.frame, "came before the mapping"))
    }

    /// A SYN went to the outer address of a NAT that both peers are behind, and stayed there.
    fn not_turned(&self) -> Option<Diagnosis> {
        let syn = self.oracle.syns.iter().find(|s| s.admission == Admission::NotTurned)?;
        let detail =
            format!("{}, an endpoint of the NAT that both are behind, which does not hairpin", sentence(syn));
        Some(Diagnosis::new(Cause::Filtered, detail).mark(syn.frame, "was not turned round"))
    }

    /// A SYN left for an address that the other side does not have where it can be reached.
    fn nobodys_address(&self) -> Option<Diagnosis> {
        let all = Role::BOTH.into_iter().flat_map(|role| self.timeline.syns(role));
        let syn = all.filter(|syn| self.went_nowhere(syn)).min_by_key(|syn| syn.sent)?;
        let other = syn.from.other();
        let error = |e: &&IcmpErrorTrace| e.to == syn.from && e.about == syn.tuple && e.code.0 == UNREACHABLE;
        let error = self.timeline.icmp.iter().find(error);
        let told = error.map_or_else(String::new, |e| {
            format!("; {} answered with ICMP {}/{}", e.source, e.code.0, e.code.1)
        });
        let (letter, other, address) = (syn.from.letter(), other.letter(), self.vantage(other).external);
        let detail = format!(
            "{letter}'s SYN went to {}, and peer {other} is at {address} there{told}",
            syn.tuple.destination
        );
        let found = Diagnosis::new(Cause::AddressUnreachable, detail);
        let found = found.mark(syn.frame, "aimed at an address that nobody has there");
        Some(match error.and_then(|error| self.frame_of(error)) {
            Some(frame) => found.mark(frame, "no way there"),
            None => found,
        })
    }

    /// Whether a SYN was delivered by its links and came to nobody, because of the address in it.
    fn went_nowhere(&self, syn: &SegmentTrace) -> bool {
        let address = *syn.tuple.destination.ip();
        let above = self.case.declared.common.iter().any(|nat| nat.address.contains(address));
        let known = above || self.vantage(syn.from.other()).external.contains(address);
        !known && syn.arrived.is_none() && self.loss_of(syn).is_none()
    }

    /// The links lost some of what went between the sides.
    fn any_lost(&self) -> Option<Diagnosis> {
        let syns: Vec<&SegmentTrace> =
            Role::BOTH.into_iter().flat_map(|role| self.timeline.syns(role)).collect();
        let losses: Vec<usize> = syns.iter().filter_map(|syn| self.loss_of(syn)).collect();
        let detail = format!("{} of {} SYNs never came over their links", losses.len(), syns.len());
        Some(lost_frame(*losses.first()?, &detail))
    }
}

/// Where a side's SYNs went, and the mappings of the other side that they missed.
struct Missed {
    targets: BTreeSet<SocketAddrV4>,
    mapped: BTreeSet<SocketAddrV4>,
}

impl Missed {
    /// Whether the address was wrong: the mappings have other ones than the SYNs went to.
    fn cause(&self) -> Cause {
        let has_address =
            |mapped: &SocketAddrV4| self.targets.iter().any(|target| target.ip() == mapped.ip());
        match self.mapped.is_empty() || self.mapped.iter().any(has_address) {
            true => Cause::PredictedPortWrong,
            false => Cause::PredictedAddressWrong,
        }
    }
}

/// The first of some endpoints, or `none`.
fn listed(endpoints: &BTreeSet<SocketAddrV4>, none: &str) -> String {
    const MOST: usize = 3;
    let listed: Vec<String> = endpoints.iter().take(MOST).map(ToString::to_string).collect();
    if listed.is_empty() { none.to_owned() } else { listed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_told_from_a_wrong_port() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an endpoint")).collect();
        for (targets, mapped, cause) in [
            (&["192.0.2.2:3286"][..], &[][..], Cause::PredictedPortWrong),
            (&["192.0.2.2:3286"], &["192.0.2.2:23286"], Cause::PredictedPortWrong),
            // The end of one port is another port.
            (&["192.0.2.2:3286"], &["192.0.2.3:23286"], Cause::PredictedAddressWrong),
            (&["192.0.2.2:3286"], &["192.0.2.3:3286"], Cause::PredictedAddressWrong),
            (&["192.0.2.2:1", "192.0.2.3:2"], &["192.0.2.3:1"], Cause::PredictedPortWrong),
            (&["192.0.2.2:1", "192.0.2.2:2"], &["192.0.2.3:2"], Cause::PredictedAddressWrong),
        ] {
            let missed = Missed { targets: all(targets), mapped: all(mapped) };
            assert_eq!(missed.cause(), cause, "{targets:?} {mapped:?}");
        }
    }
}
