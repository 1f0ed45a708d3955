//! Why a trial failed: exactly one main cause, from evidence only, with the packets that prove it. Pure.
//!
//! Causes are tried in the order in which they hide each other: a peer that never met the server could not start, a SYN
//! that its own NAT kept could not be refused by the other, and a NAT that has forgotten everything maps to other
//! ports. Where both sides aimed right, what happened to that flow decides; else what was wrong with the aim.

mod aim;
mod flow;
mod inside;
mod own_nat;
mod success;
#[cfg(test)]
mod tests;
mod tracking;

use crate::judge::case::{Case, Rendezvous};
use crate::judge::cause::inside::HostLink;
use crate::judge::cause::tracking::{EndedEntry, EntryEnd};
use crate::judge::host::{self, Silence};
use crate::judge::oracle::{Admission, Answer, OracleReport, SynFate};
use crate::judge::program_output::Claim;
use crate::judge::timeline::{Flow, Role, SegmentTrace, Timeline, Vantage};
use crate::model::evidence::{CtChange, CtEvent, Evidence, Nanos};
use crate::model::outcome::{Cause, Failure};
use crate::model::packet::TcpFlags;

pub(super) use crate::judge::cause::success::{how, marks_of_success};

/// Packets by their index in the evidence, and what each shows.
pub(super) type Marks = Vec<(usize, String)>;

/// A cause with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) failure: Failure,
    pub(super) marks: Marks,
}

impl Diagnosis {
    pub(super) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { failure: cause.because(detail), marks: Marks::new() }
    }

    /// Names a packet that proves it.
    pub(super) fn mark(mut self, frame: usize, note: impl Into<String>) -> Self {
        self.marks.push((frame, note.into()));
        self
    }
}

/// A connection stood, and one side did not claim it.
#[must_use]
pub(super) fn one_sided(case: &Case<'_>, finished: Role, flow: &Flow) -> Diagnosis {
    let (done, not) = (finished.letter(), finished.other().letter());
    let unheard = flow.segments.iter().find(|s| s.from == finished && s.payload() > 0 && s.arrived.is_none());
    if let Some(lost) = unheard.filter(|_| flow.delivered_payload(finished).is_none()) {
        let detail =
            format!("peer {done} holds the connection {}; what it said never came to peer {not}", flow.a);
        let found = flow::lost_frame(lost.frame, &detail);
        return Diagnosis { marks: [marks_of_success(flow), found.marks].concat(), ..found };
    }
    if let Some(found) = forgotten_meanwhile(case, finished, flow) {
        return Diagnosis { marks: [marks_of_success(flow), found.marks].concat(), ..found };
    }
    let found = match case.said(finished.other()) {
        Claim::Failure(why) | Claim::Silent(why) => {
            flow::waited_in_vain(case.evidence, flow, finished.other()).unwrap_or_else(|| {
                let why = first_line(why);
                let detail =
                    format!("peer {done} holds the connection {}; peer {not} refused it: {why}", flow.a);
                Diagnosis::new(Cause::AuthenticationRefused, detail)
            })
        }
        _ => flow::cut_short(case.evidence, flow, finished.other()).unwrap_or_else(|| {
            let detail = format!(
                "peer {done} holds the connection {}; peer {not} had it as well and said nothing of it",
                flow.a
            );
            Diagnosis::new(Cause::ProgramHung, detail)
        }),
    };
    Diagnosis { marks: marks_of_success(flow), ..found }
}

/// Whether a NAT forgot a connection that stood, and what one side said on it then never came to the other.
fn forgotten_meanwhile(case: &Case<'_>, finished: Role, flow: &Flow) -> Option<Diagnosis> {
    let [said, heard] =
        [finished, finished.other()].map(|role| HostLink::read(case.evidence, case.vantage(role)));
    let is_why = |ended: &EndedEntry| {
        let since = ended.at.saturating_sub(tracking::READ_LATER);
        ended.is_forgotten() && ended.is_of(flow) && said.was_unheard(case.evidence, &heard, since)
    };
    let ended = endings_of_both(case).into_iter().find(is_why)?;
    let (done, not) = (finished.letter(), finished.other().letter());
    let detail = format!(
        "peer {done} holds the connection {}; what it said did not come to peer {not} any more: {}",
        flow.a,
        ended.sentence()
    );
    Some(Diagnosis::new(ended.cause(), detail))
}

/// Every entry of connection tracking that ended, and why.
fn endings_of_both(case: &Case<'_>) -> Vec<EndedEntry> {
    let of_side = |role: Role| {
        let declared = if role == Role::A { case.declared.a } else { case.declared.b };
        tracking::endings(case.evidence, case.vantage(role), declared)
    };
    Role::BOTH.into_iter().flat_map(of_side).collect()
}

/// The main cause of a trial in which no peer claims success.
#[must_use]
pub(super) fn find(
    case: &Case<'_>,
    timeline: &Timeline,
    oracle: &OracleReport,
    stood: Option<&Flow>,
) -> Diagnosis {
    let context = FailureContext::open(case, timeline, oracle);
    stood
        .map(|flow| context.unused_connection(flow))
        // A host without a socket would have reset it, so a program was there.
        .or_else(|| context.left_unanswered())
        .or_else(|| context.never_seen())
        .or_else(|| context.kept_by_own_nat())
        .or_else(|| context.no_rendezvous())
        .or_else(|| context.never_started())
        .or_else(|| context.new_address())
        .or_else(|| context.leaked())
        .or_else(|| context.lost_inside())
        .or_else(|| context.right_flow())
        .or_else(|| context.forgotten())
        .or_else(|| context.lost_before_it_was_known())
        .or_else(|| context.wrong_aim())
        .or_else(|| context.forgot_everything())
        .unwrap_or_else(|| {
            // Whoever sees this has found a hole in the list of causes.
            Diagnosis::new(Cause::LabError, "the evidence shows no reason why there was no connection")
        })
}

/// The first connection that stood: what establishes each end came to its host.
#[must_use]
pub(super) fn stood<'t>(case: &Case<'_>, timeline: &'t Timeline) -> Option<&'t Flow> {
    let hosts = Role::BOTH.map(|role| (role, HostLink::read(case.evidence, case.vantage(role))));
    let came = |host: &HostLink, segment: &SegmentTrace| {
        let at_host = || segment.packet.tcp().is_some_and(|tcp| host.is_established_by(case.evidence, tcp));
        segment.arrived.is_some() && (!host.watched || at_host())
    };
    let stands = |flow: &&Flow| {
        hosts.iter().all(|(role, host)| flow.establishing(*role).any(|segment| came(host, segment)))
    };
    timeline.flows.iter().find(stands)
}

/// Whether a NAT restarted or changed its address, so that what was let in before need not have become a connection.
#[must_use]
pub(super) fn is_shaken(case: &Case<'_>, timeline: &Timeline, oracle: &OracleReport) -> bool {
    let context = FailureContext::open(case, timeline, oracle);
    !case.evidence.flushes.is_empty() || context.new_address().or_else(|| context.flushed_since(0)).is_some()
}

/// Whether the links lost every answer to the SYNs that were let in, so that none need have become a connection.
#[must_use]
pub(super) fn answers_were_lost(case: &Case<'_>, timeline: &Timeline, oracle: &OracleReport) -> bool {
    let context = FailureContext::open(case, timeline, oracle);
    let let_in = |syn: &&SynFate| syn.admission == Admission::Admitted && syn.answer == Answer::SynAck;
    let mut let_in = oracle.syns.iter().filter(let_in);
    let_in.all(|syn| {
        timeline.flows.iter().any(|flow| flow::is_of(flow, syn) && context.lost_every_answer(flow, syn))
    })
}

/// All that the questions are asked of.
#[derive(Debug)]
struct FailureContext<'a> {
    case: &'a Case<'a>,
    evidence: &'a Evidence,
    timeline: &'a Timeline,
    oracle: &'a OracleReport,
    /// What a's and b's hosts sent and got.
    inside: [HostLink; 2],
    /// Every entry of connection tracking that ended, and why.
    endings: Vec<EndedEntry>,
}

impl<'a> FailureContext<'a> {
    fn open(case: &'a Case<'a>, timeline: &'a Timeline, oracle: &'a OracleReport) -> Self {
        let inside = Role::BOTH.map(|role| HostLink::read(case.evidence, case.vantage(role)));
        Self { case, evidence: case.evidence, timeline, oracle, inside, endings: endings_of_both(case) }
    }

    fn inside(&self, role: Role) -> &HostLink {
        &self.inside[usize::from(role == Role::B)]
    }

    fn vantage(&self, role: Role) -> &'a Vantage {
        self.case.vantage(role)
    }

    /// A connection stood, and no side claimed it.
    fn unused_connection(&self, flow: &Flow) -> Diagnosis {
        let marks = marks_of_success(flow);
        let since = flow.segments.iter().map(|s| s.sent).min().unwrap_or_default();
        if let Some(found) = self.flushed_since(since).filter(|_| self.something_was_unheard(since)) {
            return Diagnosis { marks: [marks, found.marks].concat(), ..found };
        }
        let of_flow = |ended: &&EndedEntry| ended.why == EntryEnd::Expired && ended.is_of(flow);
        if let Some(ended) = self.endings.iter().find(of_flow) {
            let detail = format!("the connection {} stood, until {}", flow.a, ended.sentence());
            return Diagnosis { marks, ..Diagnosis::new(Cause::MappingExpired, detail) };
        }
        let silent = Role::BOTH.into_iter().find(|w| self.case.said(*w) == &Claim::Nothing);
        let found = match silent {
            Some(role) => flow::cut_short(self.evidence, flow, role).unwrap_or_else(|| {
                let detail =
                    format!("the connection {} stood, and peer {} said nothing of it", flow.a, role.letter());
                Diagnosis::new(Cause::ProgramHung, detail)
            }),
            None => self.given_up(flow),
        };
        Diagnosis { marks, ..found }
    }

    /// Whether something that one side said to the other since then never came there.
    fn something_was_unheard(&self, since: Nanos) -> bool {
        Role::BOTH
            .into_iter()
            .any(|role| self.inside(role).was_unheard(self.evidence, self.inside(role.other()), since))
    }

    /// A connection stood, and both sides say that they failed: nobody spoke, one refused what the other had said, a link
    /// lost what was said, or both waited until their time was up.
    fn given_up(&self, flow: &Flow) -> Diagnosis {
        let why = Role::BOTH.into_iter().find_map(|w| match self.case.said(w) {
            Claim::Failure(why) | Claim::Silent(why) => {
                Some(format!("peer {} says: {}", w.letter(), first_line(why)))
            }
            _ => None,
        });
        let why = why.unwrap_or_else(|| "neither says why".to_owned());
        if !flow.segments.iter().any(|segment| segment.payload() > 0) {
            let detail =
                format!("the connection {} stood, and neither side sent anything on it; {why}", flow.a);
            return Diagnosis::new(Cause::NobodySpoke, detail);
        }
        // The first to end it did so because of what it had heard, or before it had heard anything.
        let end = flow.segments.iter().filter(|segment| segment.ends_connection()).min_by_key(|s| s.sent);
        if let Some(end) = end {
            let (letter, other) = (end.from.letter(), end.from.other());
            if let Some(found) = flow::waited_in_vain(self.evidence, flow, end.from) {
                return found;
            }
            let said = flow.segments.iter().any(|s| s.from == other && s.payload() > 0);
            let heard = flow.delivered_payload(other).is_some_and(|heard| heard <= end.sent);
            let how =
                if heard { "was refused" } else { "was ended by one side before it had heard anything" };
            if heard || said {
                let detail = format!("the connection {} stood and {how}; {why}", flow.a);
                return Diagnosis::new(Cause::AuthenticationRefused, detail)
                    .mark(end.frame, format!("peer {letter} ends it"));
            }
        }
        match flow::first_lost(self.evidence, flow) {
            Some((_, frame, what)) => flow::lost_frame(frame, &what),
            None => {
                let detail = format!("the connection {} stood, and nobody went on with it; {why}", flow.a);
                Diagnosis::new(Cause::ProgramHung, detail)
            }
        }
    }

    /// A host that never sent anything to anybody.
    fn never_seen(&self) -> Option<Diagnosis> {
        let missing = Role::BOTH.into_iter().find(|role| !self.was_seen(*role))?;
        let other = self
            .inside(missing.other())
            .first_syn()
            .or(self.timeline.first_syn(missing.other()).map(|s| s.frame));
        let found = Diagnosis::new(
            Cause::PeerNeverStarted,
            format!("peer {} sent no packet at all", missing.letter()),
        );
        Some(match other {
            Some(frame) => found.mark(frame, format!("peer {} did start", missing.other().letter())),
            None => found,
        })
    }

    /// A host did not answer what had come to it: whatever NATs did to other packets, that was the way to a connection.
    fn left_unanswered(&self) -> Option<Diagnosis> {
        let of_both = Role::BOTH.into_iter().flat_map(|role| {
            let silences = host::silences(self.evidence, self.vantage(role));
            silences.into_iter().map(move |silence| (role, silence))
        });
        let mut of_both: Vec<(Role, Silence)> = of_both.collect();
        // Silence that a socket may ask for counts only where a connection hung on the answer.
        of_both.retain(|(_, silence)| silence.opens || !silence.by_min_ttl);
        let (role, silence) = of_both.into_iter().min_by_key(|(_, silence)| silence.by_min_ttl)?;
        let Silence { frame, tuple, flags, due, by_min_ttl, .. } = silence;
        let letter = role.letter();
        let (cause, why) = if by_min_ttl {
            (
                Cause::ProgramHung,
                "its socket ignores what has so few hops left (IP_MINTTL), or its queue of connections is full",
            )
        } else {
            (
                Cause::HostSilent,
                "a listener there had answered a SYN with no more hops left, so that its queue is full, its program filters what comes, or the machine failed",
            )
        };
        let detail = format!(
            "the {flags} {tuple} came to the host of peer {letter}, which had to answer by {due} and did not: {why}"
        );
        Some(
            Diagnosis::new(cause, detail)
                .mark(frame, format!("came to the host of peer {letter}, which did not answer")),
        )
    }

    fn was_seen(&self, role: Role) -> bool {
        let outside = self.timeline.opened.get(&role).is_some_and(|opened| !opened.is_empty());
        outside || self.inside(role).first_syn().is_some() || self.timeline.met_rendezvous.contains(&role)
    }

    fn no_rendezvous(&self) -> Option<Diagnosis> {
        if self.case.rendezvous == Rendezvous::NotNeeded {
            return None;
        }
        let missing = Role::BOTH.into_iter().find(|w| !self.timeline.met_rendezvous.contains(w));
        if missing.is_none() && Role::BOTH.into_iter().any(|w| self.started(w)) {
            return None;
        }
        let mut without = Role::BOTH.into_iter().filter(|w| missing.is_none_or(|missing| missing == *w));
        if let Some(found) = without.find_map(|w| self.cut_from_server(w)) {
            return Some(found);
        }
        let (role, what) = match missing {
            Some(role) => (role, "received nothing from the rendezvous server"),
            // It was met, and went before the peers had met each other through it.
            None => {
                let role = Role::BOTH.into_iter().find(|w| self.server_went(*w).is_some())?;
                (role, "was left by the rendezvous server before it had met the other peer")
            }
        };
        let found = Diagnosis::new(Cause::NoRendezvous, format!("peer {} {what}", role.letter()));
        let frame = self.server_went(role).or(self.inside(role).first_syn());
        Some(match frame {
            Some(frame) => found.mark(frame, format!("peer {} {what}", role.letter())),
            None => found,
        })
    }

    /// The frame by which the server ended its connection with a peer, if it did so first.
    fn server_went(&self, role: Role) -> Option<usize> {
        inside::ended_by_server(self.evidence, self.vantage(role))
    }

    /// Whether the NAT of a side forgot the mapping of its connection to the rendezvous server, which then reset what came from another
    /// one, or was not heard any more.
    fn cut_from_server(&self, role: Role) -> Option<Diagnosis> {
        let vantage = self.vantage(role);
        let of_server = |ended: &&EndedEntry| {
            vantage.nats.contains(&ended.node)
                && ended.is_forgotten()
                && self.evidence.is_server(*ended.entry.reply.source.ip())
        };
        let letter = role.letter();
        self.endings.iter().filter(of_server).find_map(|ended| {
            if let Some(frame) = inside::reset_elsewhere(self.evidence, vantage, ended) {
                let what = format!("the rendezvous server reset the connection of peer {letter}");
                return Some(ended.missed_by(frame, &what));
            }
            let frame = inside::unheard(self.evidence, (vantage, self.inside(role)), ended)?;
            let what = format!("peer {letter} did not hear the rendezvous server any more");
            Some(ended.missed_by(frame, &what))
        })
    }

    /// Whether a side sent a SYN to the other, or answered one that it had listened for, whatever became of it.
    fn started(&self, role: Role) -> bool {
        let mut segments = self.timeline.flows.iter().flat_map(|flow| &flow.segments);
        let mut answered =
            || segments.any(|segment_trace| segment_trace.from == role && segment_trace.is_syn_ack());
        self.timeline.first_syn(role).is_some() || self.inside(role).punching().next().is_some() || answered()
    }

    fn never_started(&self) -> Option<Diagnosis> {
        let mut idle = Role::BOTH.into_iter().filter(|w| !self.started(*w)).peekable();
        let missing = *idle.peek()?;
        if let Some(found) = idle.find_map(|w| self.cut_from_server(w)) {
            return Some(found);
        }
        let detail = format!("peer {} sent no SYN to the other side and answered none", missing.letter());
        let found = Diagnosis::new(Cause::PeerNeverStarted, detail);
        let other = self.timeline.first_syn(missing.other());
        Some(match other {
            Some(syn) => {
                found.mark(syn.frame, format!("the SYN of peer {}, alone", missing.other().letter()))
            }
            None => found,
        })
    }

    /// A NAT that goes by another address than before.
    fn new_address(&self) -> Option<Diagnosis> {
        let (role, frame, address) = Role::BOTH.into_iter().find_map(|role| {
            let (frame, address) = inside::other_address(self.evidence, self.vantage(role))?;
            Some((role, frame, address))
        })?;
        let (letter, before) = (role.letter(), self.vantage(role).external);
        let detail = format!("NAT-{letter} went by {before} and then by {address}");
        Some(Diagnosis::new(Cause::NatRebooted, detail).mark(frame, format!("comes from {address}")))
    }

    /// A segment of the handshake that left its NAT with a private source.
    fn leaked(&self) -> Option<Diagnosis> {
        let of_handshake = TcpFlags(TcpFlags::SYN.0 | TcpFlags::RST.0);
        let mut leaks = self.timeline.leaks.iter();
        let (at, packet) =
            leaks.find(|(_, packet)| packet.tcp().is_some_and(|s| s.flags.0 & of_handshake.0 != 0))?;
        let flags = packet.tcp().map_or_else(String::new, |s| s.flags.to_string());
        let detail =
            format!("a {flags} left its NAT untranslated, from {} to {}", packet.source, packet.destination);
        let frame = self.evidence.frames.iter().position(|f| f.entered == *at);
        let found = Diagnosis::new(Cause::InvalidUntranslated, detail);
        Some(match frame {
            Some(frame) => found.mark(frame, format!("has the private source {}", packet.source)),
            None => found,
        })
    }

    /// A NAT that forgot entries that it should still have had.
    fn flushed_since(&self, since: u64) -> Option<Diagnosis> {
        let ended = self.endings.iter().find(|ended| ended.why == EntryEnd::Flushed && ended.at >= since)?;
        let found = Diagnosis::new(Cause::NatRebooted, ended.sentence());
        Some(match ended.last_frame {
            Some(frame) => found.mark(frame, "the last packet of a mapping that was then forgotten"),
            None => found,
        })
    }

    /// A mapping that a SYN was aimed at had been there, would have been of use, and was forgotten.
    fn forgotten(&self) -> Option<Diagnosis> {
        let is_refused = |syn: &&SynFate| syn.admission != Admission::Admitted || self.was_kept(syn);
        let mut refused = self.oracle.syns.iter().filter(is_refused);
        refused
            .find_map(|syn| self.forgotten_target(syn))
            .or_else(|| {
                // A host that has no socket yet resets what is let in. It may have one when the mapping is gone.
                let reset = self.oracle.syns.iter().filter(|syn| syn.answer == Answer::HostReset);
                reset.filter_map(|syn| self.dialled_again(syn)).find_map(|syn| self.forgotten_target(&syn))
            })
            // One side may dial, and the other only answer.
            .or_else(|| self.timeline.flows.iter().find_map(|flow| self.forgotten_on_the_way(flow)))
    }

    /// Whether a SYN came to the side that it was for, and never to the host.
    fn was_kept(&self, syn: &SynFate) -> bool {
        let host = self.inside(syn.from.other());
        let sent = self.timeline.syns(syn.from).find(|segment| segment.frame == syn.frame);
        let came = |segment: &SegmentTrace| segment.packet.tcp().is_some_and(|tcp| host.got(tcp));
        host.watched && sent.is_some_and(|segment| segment.arrived.is_some() && !came(segment))
    }

    /// The last SYN of the flow of a SYN that a host reset, if it never came to that host.
    fn dialled_again(&self, syn: &SynFate) -> Option<SynFate> {
        let flow = self.timeline.flows.iter().find(|flow| flow::is_of(flow, syn))?;
        let last = flow.syns(syn.from).max_by_key(|segment| segment.sent)?;
        let host = self.inside(syn.from.other());
        let came = last.packet.tcp().is_some_and(|segment| host.got(segment));
        let is_unheard = host.watched && last.arrived.is_some() && !came && last.frame != syn.frame;
        is_unheard.then(|| SynFate { sent: last.sent, frame: last.frame, ..syn.clone() })
    }

    /// A NAT that forgot everything, as it does at regular intervals, though none of what it forgot was an entry.
    fn forgot_everything(&self) -> Option<Diagnosis> {
        let node = &self.evidence.flushes.first()?.node;
        let detail = format!("{node} forgot everything that it held, as it does at regular intervals");
        Some(Diagnosis::new(Cause::NatRebooted, detail))
    }

    /// Whether the inside endpoint of a mapping that had served all remote endpoints sent to the source of a SYN from another
    /// external endpoint, when the mapping was gone.
    fn is_mapped_elsewhere_since(&self, ended: &EndedEntry, syn: &SynFate) -> bool {
        let EndedEntry { node, entry, .. } = ended;
        let is_elsewhere = |event: &CtEvent| {
            event.change == CtChange::New
                && event.node == *node
                && event.at >= ended.at
                && event.entry.original.source == entry.original.source
                && event.entry.original.destination.ip() == syn.source.ip()
                && event.entry.reply.destination != entry.reply.destination
        };
        ended.serves_all && self.evidence.conntrack.iter().any(is_elsewhere)
    }

    /// How the mapping that a SYN was aimed at ended before it came.
    fn forgotten_target(&self, syn: &SynFate) -> Option<Diagnosis> {
        let nats = &self.vantage(syn.from.other()).nats;
        let of_target = |ended: &&EndedEntry| {
            nats.contains(&ended.node)
                && ended.entry.reply.destination == syn.target
                // One that would have been filtered gains nothing from a mapping that lives longer.
                && (ended.admitted(syn.source) || self.is_mapped_elsewhere_since(ended, syn))
                && ended.at <= syn.sent + tracking::READ_LATER
        };
        let ended = self.endings.iter().filter(of_target).find(|ended| ended.is_forgotten())?;
        Some(ended.missed_by(syn.frame, &sentence(syn)))
    }
}

/// What a program says of itself may be long.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// `a's SYN from X to Y`.
fn sentence(syn: &SynFate) -> String {
    format!("{}'s SYN from {} to {}", syn.from.letter(), syn.source, syn.target)
}
