//! No flow has SYNs of both sides: at least one aimed at something that the other never opened for it.

use std::collections::BTreeSet;

use crate::model::evidence::Fate;
use crate::model::outcome::Cause;
use crate::model::packet::Packet;
use crate::run::cause::flow::lost_frame;
use crate::run::cause::{Found, Inquiry, sentence};
use crate::run::oracle::{Admission, Answer, SynFate};
use crate::run::story::{Flow, Who};

/// SYNs of a side to different endpoints from which on its aim is told by numbers.
const MANY: usize = 8;

impl Inquiry<'_> {
    /// One side's SYNs never came as far as a NAT that could have refused them.
    pub(super) fn lost_before_it_was_known(&self) -> Option<Found> {
        let (who, frame, what) = Who::BOTH.into_iter().find_map(|who| {
            let fates: Vec<&SynFate> = self.prophecy.syns.iter().filter(|s| s.from == who).collect();
            let arrived = fates.iter().any(|s| s.admission != Admission::Lost);
            let numbers: BTreeSet<u32> =
                self.story.syns(who).filter_map(|s| s.packet.tcp().map(|t| t.sequence)).collect();
            let lost = self.evidence.frames.iter().position(|f| {
                matches!(f.fate, Fate::Lost | Fate::InFlight)
                    && Packet::of(f).is_some_and(|p| {
                        p.tcp().is_some_and(|s| s.flags.is_opening() && numbers.contains(&s.sequence))
                    })
            });
            lost.filter(|_| !arrived && !fates.is_empty()).map(|frame| (who, frame, fates.len()))
        })?;
        let detail = format!("none of peer {}'s {what} SYNs came over the link", who.letter());
        Some(lost_frame(frame, &detail))
    }

    /// What was wrong with the aim of the SYNs.
    pub(super) fn wrong_aim(&self) -> Option<Found> {
        self.wrong_port()
            .or_else(|| self.answered(Answer::HostReset))
            .or_else(|| self.filtered())
            .or_else(|| self.answered(Answer::NatReset))
            .or_else(|| self.answered(Answer::Icmp))
            .or_else(|| self.let_in_and_silent())
            .or_else(|| self.came_early())
            .or_else(|| self.not_turned())
            .or_else(|| self.any_lost())
    }

    /// A SYN to a port that no mapping ever had.
    fn wrong_port(&self) -> Option<Found> {
        let syns = &self.prophecy.syns;
        let wrong = |syn: &&SynFate| syn.admission == Admission::NoMapping && !self.was_opened(syn);
        let syn = syns.iter().find(wrong)?;
        let targets: BTreeSet<_> =
            syns.iter().filter(|s| s.from == syn.from).map(|s| (s.source, s.target)).collect();
        let other = syn.from.other().letter();
        let mapped = self.mappings_towards(syn);
        let detail = if targets.len() > MANY {
            format!(
                "none of {}'s SYNs to {} endpoints met one of {other}'s mappings",
                syn.from.letter(),
                targets.len()
            )
        } else {
            let mapped = if mapped.is_empty() { "none".to_owned() } else { mapped.join(", ") };
            format!("{}; {other}'s mapping towards it was {mapped}", sentence(syn))
        };
        let found = Found::new(Cause::PredictedPortWrong, detail);
        let found = found.mark(syn.frame, format!("no mapping has {}", syn.target));
        let own = self.story.syns(syn.from.other()).find(|s| s.tuple.destination.ip() == syn.source.ip());
        Some(match own {
            Some(own) => found.mark(own.frame, format!("{other}'s own SYN left from {}", own.tuple.source)),
            None => found,
        })
    }

    /// Whether the side that a SYN was sent to ever used the endpoint that it was aimed at.
    fn was_opened(&self, syn: &SynFate) -> bool {
        let opened = self.story.opened.get(&syn.from.other());
        opened.is_some_and(|opened| opened.iter().any(|(_, t)| t.source == syn.target))
    }

    /// The external endpoints from which the target of `syn` sent SYNs to the address that `syn` came from.
    fn mappings_towards(&self, syn: &SynFate) -> Vec<String> {
        let opened = self.story.opened.get(&syn.from.other()).map_or(&[][..], Vec::as_slice);
        let to_it = opened.iter().filter(|(_, t)| t.destination.ip() == syn.source.ip());
        let mapped: BTreeSet<_> = to_it.map(|(_, t)| t.source).collect();
        mapped.into_iter().take(3).map(|e| e.to_string()).collect()
    }

    fn filtered(&self) -> Option<Found> {
        let syn = self.prophecy.syns.iter().find(|s| s.admission == Admission::Filtered)?;
        let mapped = self.mappings_towards(syn);
        let other = syn.from.other().letter();
        let aimed =
            if mapped.is_empty() { "elsewhere".to_owned() } else { format!("from {}", mapped.join(", ")) };
        let detail =
            format!("{}; the mapping was there for others, and {other} itself sent {aimed}", sentence(syn));
        Some(Found::new(Cause::Filtered, detail).mark(syn.frame, "the filter knew only others"))
    }

    fn answered(&self, answer: Answer) -> Option<Found> {
        let syn = self.prophecy.syns.iter().find(|s| s.answer == answer)?;
        let other = syn.from.other().letter();
        if answer == Answer::Icmp {
            return Some(self.icmp_cause(syn.from, Some(syn)));
        }
        let reset = self.flow_of(syn)?.sightings.iter().find(|s| s.from != syn.from && s.is_reset())?;
        let (cause, by) = match self.is_made_by_nat(reset) {
            true => (Cause::ResetByNat, format!("NAT-{other}")),
            false => (Cause::ResetByHost, format!("the host of peer {other}")),
        };
        let found = Found::new(cause, format!("{} was answered by a reset from {by}", sentence(syn)));
        Some(found.mark(syn.frame, "drew a reset").mark(reset.frame, format!("made by {by}")))
    }

    fn flow_of(&self, syn: &SynFate) -> Option<&Flow> {
        self.story.flows.iter().find(|flow| flow.sightings.iter().any(|s| s.frame == syn.frame))
    }

    /// A SYN came in, without one of the other side, and its host said nothing.
    fn let_in_and_silent(&self) -> Option<Found> {
        let let_in = |syn: &&SynFate| syn.admission == Admission::Admitted;
        let syn = self.prophecy.syns.iter().find(let_in)?;
        let other = syn.from.other().letter();
        let detail = format!("{} was let in, and the host of peer {other} made nothing of it", sentence(syn));
        Some(Found::new(Cause::ProgramHung, detail).mark(syn.frame, "let in"))
    }

    /// A SYN came before the mapping that it was aimed at, which never was for it.
    fn came_early(&self) -> Option<Found> {
        let early = |s: &&SynFate| {
            matches!(s.admission, Admission::NoMapping | Admission::Close | Admission::Destroyed)
        };
        let syn = self.prophecy.syns.iter().find(early)?;
        let detail = format!("{}, which {} opened only later", sentence(syn), syn.from.other().letter());
        Some(Found::new(Cause::StartedTooLate, detail).mark(syn.frame, "came before the mapping"))
    }

    /// A SYN went to the outer address of a NAT that both peers are behind, and stayed there.
    fn not_turned(&self) -> Option<Found> {
        let syn = self.prophecy.syns.iter().find(|s| s.admission == Admission::NotTurned)?;
        let detail =
            format!("{}, an endpoint of the NAT that both are behind, which does not hairpin", sentence(syn));
        Some(Found::new(Cause::Filtered, detail).mark(syn.frame, "was not turned round"))
    }

    fn any_lost(&self) -> Option<Found> {
        let lost =
            |f: &&(usize, &crate::model::evidence::Frame)| matches!(f.1.fate, Fate::Lost | Fate::InFlight);
        let (frame, _) = self.evidence.frames.iter().enumerate().find(|f| lost(&f))?;
        let missing = self.prophecy.syns.iter().filter(|s| s.admission == Admission::Lost).count();
        Some(lost_frame(
            frame,
            &format!("{missing} of {} SYNs never came over their links", self.prophecy.syns.len()),
        ))
    }
}
