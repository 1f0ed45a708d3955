//! The oracle of a single trial: whether this very trial had to connect. Pure, and without statistics.
//!
//! It replays the SYNs of the timeline against what the two NATs declare: which mapping each SYN found, whether the filter
//! let it in, what answer it drew. Where the packets contradict the declaration it says so: one wrong packet is enough.
//!
//! Times come from the wire, and a NAT acts some microseconds later. Where two events that decide lie closer together
//! than [`MARGIN`], either outcome is right. A program may take some milliseconds for a packet: while the SYN that makes the
//! mapping or the one that it is to admit is inside the NAT, either is right as well.

mod common_nat;

use std::net::SocketAddrV4;

use crate::judge::timeline::{Flow, Opening, Role, SegmentTrace, Timeline};
use crate::model::behavior::{Behavior, Filtering, Translation, UnsolicitedSyn};
use crate::model::evidence::{Nanos, Tuple};
use crate::model::packet::TcpFlags;

pub use common_nat::CommonNat;

/// How close two events may lie before their order at a NAT is uncertain.
pub const MARGIN: Nanos = 1_000_000;

/// What the oracle says of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OracleReport {
    /// Whether it had to connect.
    pub expected: Expected,
    /// What became of each SYN that arrived at the other side.
    pub syns: Vec<SynFate>,
    /// Where packets contradict what a NAT declares: one sentence each.
    pub contradictions: Vec<String>,
}

/// Whether a trial had to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// A SYN was let in and answered in time: there had to be a connection.
    MustConnect,
    /// No SYN was let in, or none that was let in could be answered.
    CannotConnect,
    /// It hung on less than the margin.
    Either,
}

/// What became of one SYN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynFate {
    /// Who sent it.
    pub from: Role,
    /// When it was sent.
    pub sent: Nanos,
    /// Where from: at the receiver's vantage, or at the sender's if it did not come that far.
    pub source: SocketAddrV4,
    /// The endpoint that it was aimed at.
    pub target: SocketAddrV4,
    /// What the other side's NAT had to do with it.
    pub admission: Admission,
    /// What came back.
    pub answer: Answer,
    /// Index of its frame in the evidence.
    pub frame: usize,
}

/// What a NAT has to do with a SYN from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Let it in.
    Admitted,
    /// The link lost it before it came there.
    Lost,
    /// No mapping has this endpoint.
    NoMapping,
    /// There is a mapping, and its filter does not know the sender.
    Filtered,
    /// The mapping was opened towards the sender, but a reset has ended it.
    Destroyed,
    /// The mapping was opened towards the sender, and the NAT refuses a SYN there.
    SynAfterSyn,
    /// It came within the margin of the event that decides.
    Close,
    /// It was sent to the outer address of a NAT above both peers, which does not turn packets round.
    NotTurned,
}

/// What came back for a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Nothing.
    Silence,
    /// A SYN/ACK.
    SynAck,
    /// A reset from the NAT itself: it has made no hop.
    NatReset,
    /// A reset from the host behind it.
    HostReset,
    /// An ICMP error.
    Icmp,
}

/// Both sides' NATs, innermost first, and those above both.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeclaredNats<'a> {
    /// Side a's.
    pub a: &'a [Behavior],
    /// Side b's.
    pub b: &'a [Behavior],
    /// The NATs above both, with what they tracked.
    pub common: &'a [CommonNat<'a>],
}

impl<'a> DeclaredNats<'a> {
    fn of(self, role: Role) -> &'a [Behavior] {
        match role {
            Role::A => self.a,
            Role::B => self.b,
        }
    }
}

/// Says what had to happen.
#[must_use]
pub fn replay(timeline: &Timeline, declared: DeclaredNats<'_>) -> OracleReport {
    let mut oracle =
        OracleReport { expected: Expected::CannotConnect, syns: Vec::new(), contradictions: Vec::new() };
    for flow in &timeline.flows {
        for syn in flow.segments.iter().filter(|s| s.is_opening()) {
            let nats = declared.of(syn.from.other());
            let admission = match admission(timeline, flow, syn, declared) {
                // A copy of it came later, and may have found what the first did not. Or an inner NAT was open, and the outer one lets in more.
                Admission::NoMapping | Admission::Filtered
                    if timeline.was_doubled(syn) || timeline.may_be_open_inside(syn) =>
                {
                    Admission::Close
                }
                other => other,
            };
            let answer = answer(timeline, flow, syn, nats.len());
            oracle.contradictions.extend(common_nat::contradiction(syn, declared.common));
            oracle.contradictions.extend(contradiction(syn, admission, answer, nats));
            let seen = syn.far.unwrap_or(syn.tuple);
            oracle.syns.push(SynFate {
                from: syn.from,
                sent: syn.sent,
                source: seen.source,
                target: seen.destination,
                admission,
                answer,
                frame: syn.frame,
            });
        }
        oracle.expected = merge(oracle.expected, expected_of(timeline, flow, &oracle.syns));
    }
    oracle
}

/// What the NATs before `syn`'s target have to do with it.
fn admission(timeline: &Timeline, flow: &Flow, syn: &SegmentTrace, declared: DeclaredNats<'_>) -> Admission {
    let Some(arrived) = syn.arrived else { return common_nat::admission(syn, declared.common) };
    let target = syn.from.other();
    let verdicts = declared.of(target).iter().map(|nat| admit(timeline, flow, syn, nat, target, arrived));
    // Every NAT on the way must let it in; the first refusal decides.
    verdicts
        .fold(Admission::Admitted, |so_far, next| if so_far == Admission::Admitted { next } else { so_far })
}

fn admit(
    timeline: &Timeline,
    flow: &Flow,
    syn: &SegmentTrace,
    nat: &Behavior,
    target: Role,
    arrived: Nanos,
) -> Admission {
    if nat.translation == Translation::Router {
        return Admission::Admitted;
    }
    let Tuple { source: sender, destination: endpoint } = syn.far.unwrap_or(syn.tuple);
    let opened = timeline.opened.get(&target).map_or(&[][..], Vec::as_slice);
    let stay = Stay { arrived, handled: syn.let_in.map_or(arrived, |let_in| let_in.max(arrived)) };
    let mapped = |of: &dyn Fn(SocketAddrV4) -> bool| {
        let of_it = opened.iter().filter(|o| o.tuple.source == endpoint && of(o.tuple.destination));
        of_it.map(|opening| stay.after(opening)).min().unwrap_or(Timing::Never)
    };
    match mapped(&|to| to == sender) {
        // Where a reset has ended that connection, the next SYN from inside may be at the NAT.
        Timing::Before if !nat.syn_after_syn.passes() && !alive(flow, target, arrived) => {
            return Admission::Close;
        }
        Timing::Before if !nat.syn_after_syn.passes() => return Admission::SynAfterSyn,
        Timing::Before
            if !alive(flow, target, arrived) && nat.filtering == Filtering::AddressAndPortDependent =>
        {
            return Admission::Destroyed;
        }
        Timing::Before => return Admission::Admitted,
        Timing::Close => return Admission::Close,
        Timing::Never => {}
    }
    let by_filter = match nat.filtering {
        Filtering::EndpointIndependent => mapped(&|_| true),
        Filtering::AddressDependent => mapped(&|to| to.ip() == sender.ip()),
        Filtering::AddressAndPortDependent => Timing::Never,
    };
    match (by_filter, mapped(&|_| true)) {
        (Timing::Before, _) => Admission::Admitted,
        (Timing::Close, _) => Admission::Close,
        (Timing::Never, Timing::Never) => Admission::NoMapping,
        (Timing::Never, _) => Admission::Filtered,
    }
}

/// Whether a mapping stood when a SYN came, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timing {
    Before,
    Close,
    Never,
}

/// When a SYN from outside was inside a NAT.
#[derive(Debug, Clone, Copy)]
struct Stay {
    arrived: Nanos,
    /// When it was let in; when it arrived if it was not.
    handled: Nanos,
}

impl Stay {
    /// Whether it came after the mapping that another SYN opened.
    fn after(self, opening: &Opening) -> Timing {
        if opening.at + MARGIN <= self.arrived {
            Timing::Before
        } else if opening.came < self.handled + MARGIN {
            Timing::Close
        } else {
            Timing::Never
        }
    }
}

/// Whether `owner`'s mapping for this flow still stood at `moment`: a reset that comes in before any answer ends it
/// (`nf_conntrack_proto_tcp.c`), and the owner's next SYN makes a new one.
fn alive(flow: &Flow, owner: Role, moment: Nanos) -> bool {
    let ended = flow
        .segments
        .iter()
        .filter(|s| s.from == owner.other() && s.is_reset())
        .filter_map(|s| s.arrived)
        .filter(|at| *at < moment)
        .max();
    let opened = flow.syns(owner).map(|s| s.sent).filter(|at| *at < moment).max();
    match (ended, opened) {
        (Some(ended), Some(opened)) => opened > ended,
        (_, opened) => opened.is_some(),
    }
}

/// What came back for a SYN, before the sender's next one, from a side with so many NATs.
fn answer(timeline: &Timeline, flow: &Flow, syn: &SegmentTrace, nats: usize) -> Answer {
    let Some(arrived) = syn.arrived else { return Answer::Silence };
    let Some(sequence) = syn.packet.tcp().map(|s| s.sequence) else { return Answer::Silence };
    // What comes back once the SYN was sent again answers that one: both have the same number.
    let again = flow.syns(syn.from).filter(|s| s.sent > syn.sent).filter_map(|s| s.arrived).min();
    let back = flow.segments.iter().filter(|s| s.from == syn.from.other() && s.sent + MARGIN >= arrived);
    let back = back.filter(|s| again.is_none_or(|again| s.sent < again));
    for segment in back {
        let Some(tcp) = segment.packet.tcp() else { continue };
        if tcp.acknowledgment != sequence.wrapping_add(1) {
            continue;
        }
        if segment.is_reset() {
            if !flow.is_refusal(segment) {
                continue;
            }
            // What a host sends has made a hop at each NAT, what one of these makes itself at fewer.
            return if segment.hops() < nats { Answer::NatReset } else { Answer::HostReset };
        }
        // A plain acknowledgment answers the SYN/ACK that repeats this SYN's number, not the SYN.
        if tcp.flags.contains(TcpFlags::SYN) {
            return Answer::SynAck;
        }
    }
    let error = |e: &&crate::judge::timeline::IcmpErrorTrace| {
        e.to == syn.from && e.about == syn.tuple && e.arrived > arrived && e.code.0 == 3
    };
    if timeline.icmp.iter().any(|e| error(&e)) { Answer::Icmp } else { Answer::Silence }
}

/// Where an answer contradicts what the NATs declare.
fn contradiction(
    syn: &SegmentTrace,
    admission: Admission,
    answer: Answer,
    nats: &[Behavior],
) -> Option<String> {
    let role = syn.from.other().letter();
    let line = |what: &str| Some(format!("NAT-{role}: SYN {} {what}", syn.tuple));
    // An outer NAT may let in what an inner one answers.
    let silent = !nats.is_empty() && nats.iter().all(|nat| nat.unsolicited_syn == UnsolicitedSyn::Drop);
    match (admission, answer) {
        (Admission::NoMapping | Admission::Filtered, Answer::SynAck | Answer::HostReset) => {
            line("was let in though no mapping and filter of it admits the sender")
        }
        (Admission::NoMapping | Admission::Filtered, Answer::NatReset | Answer::Icmp) if silent => {
            line("was answered, though it drops what is unsolicited")
        }
        (Admission::SynAfterSyn, Answer::SynAck) => {
            line("was let in, though it refuses a SYN from where a SYN went to")
        }
        _ => None,
    }
}

/// Whether the flow had to become a connection.
fn expected_of(timeline: &Timeline, flow: &Flow, syns: &[SynFate]) -> Expected {
    let of_flow: Vec<_> = flow.segments.iter().map(|s| s.frame).collect();
    let fates = || syns.iter().filter(|s| of_flow.contains(&s.frame));
    let answered = fates().any(|s| s.admission == Admission::Admitted && s.answer == Answer::SynAck);
    // Which resets end a mapping depends on their numbers and on their order, and the reference judges that: here, any may have.
    let uncertain = |s: &SynFate| matches!(s.admission, Admission::Close | Admission::Destroyed);
    // Of a SYN that a link doubled, the copy may have come first, and been answered.
    let doubled = flow.segments.iter().any(|s| s.is_opening() && timeline.was_doubled(s));
    let close = doubled || fates().any(uncertain);
    let survived = [Role::A, Role::B].iter().all(|role| {
        let refused =
            flow.segments.iter().any(|s| s.from == role.other() && s.is_reset() && s.arrived.is_some());
        !refused
            && !timeline
                .icmp
                .iter()
                .any(|e| e.to == *role && flow.segments.iter().any(|s| s.tuple == e.about))
    });
    match (answered, survived, close) {
        (true, true, _) => Expected::MustConnect,
        (true, false, _) | (_, _, true) => Expected::Either,
        (false, _, false) => Expected::CannotConnect,
    }
}

fn merge(a: Expected, b: Expected) -> Expected {
    match (a, b) {
        (Expected::MustConnect, _) | (_, Expected::MustConnect) => Expected::MustConnect,
        (Expected::Either, _) | (_, Expected::Either) => Expected::Either,
        _ => Expected::CannotConnect,
    }
}
