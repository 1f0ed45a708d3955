//! A flow in which both sides aimed at each other's very endpoint: what came between.

use std::collections::BTreeSet;

use crate::judge::cause::tracking::{EndedEntry, EntryEnd, READ_LATER};
use crate::judge::cause::{Diagnosis, FailureContext, sentence};
use crate::judge::oracle::{Admission, Answer, SynFate};
use crate::judge::timeline::{Flow, IcmpErrorTrace, Role, SegmentTrace};
use crate::model::evidence::{CtChange, Evidence, Fate, Frame, Nanos};
use crate::model::outcome::Cause;
use crate::model::packet::{Packet, TcpFlags};

impl FailureContext<'_> {
    /// Why the flow that came nearest to a connection is none.
    pub(super) fn right_flow(&self) -> Option<Diagnosis> {
        let aimed = |flow: &&Flow| Role::BOTH.iter().all(|role| flow.syns(*role).next().is_some());
        self.timeline.flows.iter().filter(aimed).find_map(|flow| self.of_flow(flow))
    }

    fn of_flow(&self, flow: &Flow) -> Option<Diagnosis> {
        let fates: Vec<&SynFate> = self.oracle.syns.iter().filter(|s| is_of(flow, s)).collect();
        refused_after_syn(&fates)
            .or_else(|| self.gone(flow, &fates))
            .or_else(|| self.forgotten_on_the_way(flow))
            .or_else(|| self.answer_kept(flow))
            .or_else(|| self.first_trouble(flow, &fates))
            .or_else(|| self.not_let_in(flow))
            .or_else(|| too_late(flow, &fates))
            .or_else(|| self.silent_host(flow))
    }

    /// What went wrong first: a loss, a reset, or an ICMP error.
    fn first_trouble(&self, flow: &Flow, fates: &[&SynFate]) -> Option<Diagnosis> {
        let lost = first_lost(self.evidence, flow).map(|(at, frame, what)| (at, lost_frame(frame, &what)));
        let reset = first_reset(flow).map(|reset| (reset.sent, self.of_reset(flow, fates, reset)));
        let troubles = [lost, reset, self.of_icmp(flow, fates)].into_iter().flatten();
        troubles.min_by_key(|(at, _)| *at).map(|(_, found)| found)
    }

    /// A SYN was aimed at a mapping that had been opened for it and was gone.
    fn gone(&self, flow: &Flow, fates: &[&SynFate]) -> Option<Diagnosis> {
        let missed = |s: &&&SynFate| s.answer == Answer::Silence || s.admission == Admission::Destroyed;
        fates.iter().filter(missed).find_map(|syn| {
            let nats = &self.vantage(syn.from.other()).nats;
            let before = |e: &&EndedEntry| nats.contains(&e.node) && e.at <= syn.sent + READ_LATER;
            let mut ended = self.endings.iter().filter(|e| e.is_of(flow)).filter(before);
            let ended = ended.find(|e| self.explains(flow, syn, e))?;
            Some(ended.missed_by(syn.frame, &sentence(syn)))
        })
    }

    /// An answer or what came after it came to the NAT that had let its flow out, when that had forgotten the flow.
    pub(super) fn forgotten_on_the_way(&self, flow: &Flow) -> Option<Diagnosis> {
        let mut later = flow.segments.iter().filter(|segment| !segment.is_opening() && !segment.is_reset());
        later.find_map(|segment| {
            let ended = self.forgotten_before(flow, segment)?;
            let flags = segment.packet.tcp()?.flags;
            let what = format!("{}'s {flags} {} was not let in", segment.from.letter(), segment.tuple);
            Some(ended.missed_by(segment.frame, &what))
        })
    }

    /// The entry of the flow that its NAT had forgotten when a segment came, and that was not there again, if the NAT kept the
    /// segment.
    fn forgotten_before(&self, flow: &Flow, segment: &SegmentTrace) -> Option<&EndedEntry> {
        let role = segment.from.other();
        let (inside, nats) = (self.inside(role), &self.vantage(role).nats);
        let arrived = segment.arrived.filter(|_| inside.watched)?;
        if inside.got(segment.packet.tcp()?) {
            return None;
        }
        let before =
            |e: &&EndedEntry| nats.contains(&e.node) && e.is_of(flow) && e.at <= arrived + READ_LATER;
        let last = self.endings.iter().filter(before).max_by_key(|ended| ended.at)?;
        let is_back = self.evidence.conntrack.iter().any(|event| {
            (&event.node, event.entry.original) == (&last.node, last.entry.original)
                && event.change == CtChange::New
                && (last.at..=arrived).contains(&event.at)
        });
        Some(last).filter(|ended| ended.is_forgotten() && !is_back)
    }

    /// Whether the end of a mapping is why a SYN found none. A reset that ended the socket as well is the cause itself,
    /// and not what it did to the mapping.
    fn explains(&self, flow: &Flow, syn: &SynFate, ended: &EndedEntry) -> bool {
        match ended.why {
            EntryEnd::Expired | EntryEnd::OutOfTime | EntryEnd::Flushed => true,
            EntryEnd::Closed => false,
            EntryEnd::Reset => self.outlived_reset(flow, syn.from.other()),
        }
    }

    /// Whether a side's socket outlived a reset: it never came to the host, or the same SYN was sent again.
    fn outlived_reset(&self, flow: &Flow, role: Role) -> bool {
        let resets = flow.segments.iter().filter(|s| s.from == role.other() && s.is_reset());
        let Some(reset) = resets.filter(|s| s.arrived.is_some()).min_by_key(|s| s.sent) else { return false };
        let inside = self.inside(role);
        let stopped = inside.watched && reset.packet.tcp().is_some_and(|segment| !inside.got(segment));
        let number = |s: &SegmentTrace| s.packet.tcp().map(|t| t.sequence);
        let earlier: Vec<_> = flow.syns(role).filter(|s| s.sent < reset.sent).map(number).collect();
        let mut later = flow.syns(role).filter(|s| Some(s.sent) > reset.arrived);
        let repeated = later.any(|s| earlier.contains(&number(s)));
        stopped || repeated
    }

    /// Whether this SYN was answered, and each of the answers lost by a link.
    pub(super) fn lost_every_answer(&self, flow: &Flow, syn: &SynFate) -> bool {
        let mut answers = flow.segments.iter().filter(|s| s.from != syn.from && s.is_syn_ack());
        let lost: Vec<_> = lost(self.evidence, flow)
            .map(|(.., packet)| packet.tcp().map(|s| (s.sequence, s.flags)))
            .collect();
        answers.all(|answer| {
            let segment = answer.packet.tcp().map(|s| (s.sequence, s.flags));
            answer.arrived.is_none() && lost.contains(&segment)
        })
    }

    /// A reset ended the flow: whose, and was it too late for anything else?
    fn of_reset(&self, flow: &Flow, fates: &[&SynFate], reset: &SegmentTrace) -> Diagnosis {
        let role = reset.from;
        let letter = role.letter();
        if self.is_made_by_nat(reset) {
            let refused = fates.iter().find(|s| s.from != role);
            let detail = refused.map_or_else(
                || format!("NAT-{letter} reset the flow {}", flow.a),
                |syn| format!("{} was answered by a reset from NAT-{letter}", sentence(syn)),
            );
            let found =
                Diagnosis::new(Cause::ResetByNat, detail).mark(reset.frame, format!("made by NAT-{letter}"));
            return match refused {
                Some(syn) => found.mark(syn.frame, "drew a reset"),
                None => found,
            };
        }
        let refused = fates.iter().find(|s| s.from != role && s.answer == Answer::HostReset);
        let own = flow.syns(role).map(|s| s.sent).max();
        let (first, last) = (flow.syns(role).map(|s| s.sent).min(), own);
        let gave_up =
            matches!((first, last), (Some(first), Some(last)) if first < reset.sent && last < reset.sent);
        let (other, gap) =
            (role.other().letter(), first.map_or(0.0, |f| reset.sent.saturating_sub(f) as f64 / 1e6));
        let found = if gave_up {
            let detail = format!(
                "peer {other}'s SYN came {gap:.0} ms after peer {letter}'s first, and peer {letter} had closed its socket"
            );
            Diagnosis::new(Cause::StartedTooLate, detail)
        } else {
            let detail =
                format!("peer {other}'s SYN came before peer {letter} had a socket, and its host reset it");
            Diagnosis::new(Cause::ResetByHost, detail)
        };
        let found = found.mark(reset.frame, format!("made by the host of peer {letter}"));
        match refused {
            Some(syn) => found.mark(syn.frame, "came to a host without a socket for it"),
            None => found,
        }
    }

    /// Whether a NAT made a segment: it was never seen inside, or, where nobody watched, has made fewer hops than there are NATs.
    pub(super) fn is_made_by_nat(&self, segment_trace: &SegmentTrace) -> bool {
        let inside = self.inside(segment_trace.from);
        let Some(segment) = segment_trace.packet.tcp() else { return false };
        match (self.vantage(segment_trace.from).nats.is_empty(), inside.watched) {
            (true, _) => false,
            (false, true) => !inside.sent(segment),
            (false, false) => segment_trace.hops() < self.vantage(segment_trace.from).nats.len(),
        }
    }

    fn of_icmp(&self, flow: &Flow, fates: &[&SynFate]) -> Option<(Nanos, Diagnosis)> {
        const TIME_EXCEEDED: u8 = 11;
        let tuples: BTreeSet<_> = flow.segments.iter().map(|s| s.tuple).collect();
        let error =
            self.timeline.icmp.iter().find(|e| e.code.0 != TIME_EXCEEDED && tuples.contains(&e.about))?;
        let syn = fates.iter().copied().find(|s| s.from == error.to);
        Some((error.arrived, self.icmp_cause(error.to, syn)))
    }

    /// An ICMP error that came to a side.
    pub(super) fn icmp_cause(&self, to: Role, syn: Option<&SynFate>) -> Diagnosis {
        let error = self.timeline.icmp.iter().find(|e| e.to == to && e.code.0 != 11);
        let (about, source, code) = error.map_or_else(
            || ("a SYN".to_owned(), "the NAT".to_owned(), (3, 0)),
            |e| (e.about.to_string(), e.source.to_string(), e.code),
        );
        let detail =
            format!("{}'s SYN {about} was answered by {source} with ICMP {}/{}", to.letter(), code.0, code.1);
        let found = Diagnosis::new(Cause::IcmpFromNat, detail);
        let frame = error.and_then(|error| self.frame_of(error));
        let found = match frame {
            Some(frame) => found.mark(frame, format!("ICMP {}/{} from {source}", code.0, code.1)),
            None => found,
        };
        match syn {
            Some(syn) => found.mark(syn.frame, "drew an ICMP error"),
            None => found,
        }
    }

    /// The frame that brought an ICMP error.
    pub(super) fn frame_of(&self, error: &IcmpErrorTrace) -> Option<usize> {
        self.evidence.frames.iter().position(|frame| frame.left == error.arrived)
    }

    /// A SYN or its answer came to the NAT that had to let it in, and not to the host behind it.
    fn not_let_in(&self, flow: &Flow) -> Option<Diagnosis> {
        let stopped = flow.segments.iter().find(|s| {
            let to = self.inside(s.from.other());
            let answers = s
                .packet
                .tcp()
                .is_some_and(|t| t.flags.contains(TcpFlags::SYN) && t.flags.contains(TcpFlags::ACK));
            answers && s.arrived.is_some() && to.watched && s.packet.tcp().is_some_and(|t| !to.got(t))
        })?;
        let letter = stopped.from.other().letter();
        let detail =
            format!("NAT-{letter} let {letter}'s SYN out and the answer to it, {}, not in", stopped.tuple);
        Some(
            Diagnosis::new(Cause::Filtered, detail)
                .mark(stopped.frame, format!("never left NAT-{letter} inwards")),
        )
    }

    /// A SYN came to a host that had all it needed and did nothing with it.
    fn silent_host(&self, flow: &Flow) -> Option<Diagnosis> {
        let syn =
            flow.segments.iter().filter(|s| s.is_opening() && s.arrived.is_some()).max_by_key(|s| s.sent)?;
        let role = syn.from.other();
        let segment = syn.packet.tcp()?;
        let reached = !self.inside(role).watched || self.inside(role).got(segment);
        let (letter, other) = (role.letter(), syn.from.letter());
        let answered = self.inside(role).answer(segment);
        let detail = match (reached, answered) {
            (true, None) => format!(
                "peer {other}'s SYN {} came to the host of peer {letter}, which did not answer",
                syn.tuple
            ),
            (true, Some(_)) => format!(
                "peer {letter} answered peer {other}'s SYN {}, and then nothing came of it",
                syn.tuple
            ),
            (false, _) => return None,
        };
        Some(Diagnosis::new(Cause::ProgramHung, detail).mark(syn.frame, "came to the host"))
    }
}

fn first_reset(flow: &Flow) -> Option<&SegmentTrace> {
    flow.refusals().min_by_key(|s| s.sent)
}

pub(super) fn is_of(flow: &Flow, syn: &SynFate) -> bool {
    flow.segments.iter().any(|s| s.frame == syn.frame)
}

fn refused_after_syn(fates: &[&SynFate]) -> Option<Diagnosis> {
    let syn = fates.iter().find(|s| s.admission == Admission::SynAfterSyn && s.answer != Answer::SynAck)?;
    let detail = format!("{} was refused though its inside had sent a SYN there", sentence(syn));
    Some(
        Diagnosis::new(Cause::SynAfterSynRefused, detail)
            .mark(syn.frame, "refused, as this NAT does with a SYN after a SYN"),
    )
}

/// One side's SYN came before the other had opened anything, and the other's never came.
fn too_late(flow: &Flow, fates: &[&SynFate]) -> Option<Diagnosis> {
    let early = fates
        .iter()
        .find(|s| matches!(s.admission, Admission::NoMapping | Admission::Filtered | Admission::Close))?;
    let late = flow.syns(early.from.other()).next()?;
    let gap = late.sent.saturating_sub(early.sent) as f64 / 1e6;
    let letter = late.from.letter();
    let detail = format!("{}; peer {letter} sent its own {gap:.1} ms later", sentence(early));
    let found =
        Diagnosis::new(Cause::StartedTooLate, detail).mark(early.frame, "came before the way was open");
    Some(found.mark(late.frame, format!("peer {letter}'s first")))
}

/// The first frame of the flow, but for its end, that a link lost, or still had at the end.
pub(super) fn first_lost(evidence: &Evidence, flow: &Flow) -> Option<(Nanos, usize, String)> {
    let (index, frame, packet) = lost(evidence, flow).min_by_key(|(_, frame, _)| frame.entered)?;
    let flags = packet.tcp()?.flags;
    let what = match frame.fate {
        Fate::Lost => format!("the link lost the {flags} {}", packet.tuple()),
        _ => format!("the {flags} {} was still on the link at the end", packet.tuple()),
    };
    Some((frame.entered, index, what))
}

/// The frames of the flow, but for its end, that a link lost or still had at the end.
fn lost<'a>(evidence: &'a Evidence, flow: &Flow) -> impl Iterator<Item = (usize, &'a Frame, Packet)> {
    let numbers: BTreeSet<u32> =
        flow.segments.iter().filter_map(|s| s.packet.tcp().map(|t| t.sequence)).collect();
    let lost = |frame: &Frame| matches!(frame.fate, Fate::Lost | Fate::InFlight);
    let frames = evidence.frames.iter().enumerate().filter(move |(_, frame)| lost(frame));
    let packets = frames.filter_map(|(index, frame)| Some((index, frame, Packet::of(frame)?)));
    packets.filter(move |(_, _, packet)| {
        let ends = |flags: TcpFlags| flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST);
        packet.tcp().is_some_and(|s| numbers.contains(&s.sequence) && !ends(s.flags))
    })
}

/// How long a program may take for what has come: the lab gives it half a second after its deadline.
const ENOUGH: Nanos = 1_000_000_000;

/// Why a side ended a connection that stood, if that was no answer to what it had heard: it had heard nothing for long, because a link
/// had lost it or because the other side said nothing.
pub(super) fn waited_in_vain(evidence: &Evidence, flow: &Flow, ender: Role) -> Option<Diagnosis> {
    let end = flow.segments.iter().find(|s| s.from == ender && s.ends_connection())?;
    let data = flow.segments.iter().filter(|s| s.from != ender && s.payload() > 0);
    let heard = data.filter_map(|s| s.arrived).filter(|at| *at <= end.sent).max();
    let waited = end.sent.saturating_sub(heard.or_else(|| flow.established(ender))?);
    if waited <= ENOUGH {
        return None;
    }
    let (letter, other) = (ender.letter(), ender.other().letter());
    let detail = format!(
        "the connection {} stood, and peer {letter} ended it {:.1} s after it had last heard anything of peer {other}",
        flow.a,
        waited as f64 / 1e9
    );
    Some(match first_lost(evidence, flow) {
        Some((_, frame, what)) => lost_frame(frame, &format!("{detail}: {what}")),
        None => Diagnosis::new(Cause::ProgramHung, detail).mark(end.frame, format!("peer {letter} ends it")),
    })
}

/// What a link lost, or still had at the end, of a connection that stood, where `silent` may have been waiting for it until its time was up:
/// something that one side said had not come to the other, or had come only just.
pub(super) fn cut_short(evidence: &Evidence, flow: &Flow, silent: Role) -> Option<Diagnosis> {
    let data = || flow.segments.iter().filter(|segment| segment.payload() > 0);
    let has_come = |segment: &SegmentTrace| {
        data().any(|s| s.arrived.is_some() && s.from == segment.from && s.end() == segment.end())
    };
    let on_its_way = data().any(|segment| !has_come(segment));
    let last = data().filter(|segment| segment.from != silent).filter_map(|segment| segment.arrived).max();
    let only_just = last.is_some_and(|last| last + ENOUGH > evidence.ended());
    let (_, frame, what) = first_lost(evidence, flow).filter(|_| on_its_way || only_just)?;
    let detail =
        format!("the connection {} stood, and peer {}'s time was up: {what}", flow.a, silent.letter());
    Some(lost_frame(frame, &detail))
}

pub(super) fn lost_frame(frame: usize, what: &str) -> Diagnosis {
    Diagnosis::new(Cause::LostByLink, what).mark(frame, "never came to the other end of the link")
}
