//! What a NAT has to do with a packet, and whether it did.

use super::NatView;
use super::passage::Passage;
use crate::judge::reference::head::HeadKind;
use crate::model::behavior::{SynAfterSyn, UnsolicitedSyn};
use crate::model::evidence::{Nanos, Tuple};

/// What a NAT may answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Silence,
    /// A reset.
    Reset,
    /// An ICMP error of this type and code.
    Icmp(u8, u8),
    /// What its own TCP stack likes.
    Anything,
    /// Nothing, or an ICMP error of this type and code.
    Perhaps(u8, u8),
}

/// What it has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequiredAction {
    /// Let it pass, looking so on the other side.
    Pass(Tuple),
    /// Keep it, and answer so.
    Keep(Answer),
}

/// ICMP destination unreachable, and port unreachable within (RFC 792).
pub(super) const UNREACHABLE: u8 = 3;
const PORT: u8 = 3;

/// ICMP time exceeded in transit (RFC 792).
pub(super) const TIME_EXCEEDED: Answer = Answer::Icmp(11, 0);
/// That, or nothing.
pub(super) const MAYBE_TIME_EXCEEDED: Answer = Answer::Perhaps(11, 0);

impl RequiredAction {
    /// Whether the NAT did that with a packet.
    ///
    /// # Errors
    /// What it had to do and did, as the end of a sentence that begins with the packet.
    pub(super) fn done(self, passage: &Passage) -> Result<(), String> {
        match (self, &passage.output) {
            (Self::Pass(tuple), Some(output)) if output.head.tuple == tuple => Ok(()),
            (Self::Pass(tuple), Some(output)) => {
                Err(format!("had to pass as {tuple} and passed as {}", output.head.tuple))
            }
            (Self::Pass(tuple), None) => Err(format!("had to pass as {tuple} and {}", what_became(passage))),
            (Self::Keep(_), Some(output)) => {
                Err(format!("had to be kept and passed as {}", output.head.tuple))
            }
            (Self::Keep(answer), None) => answer.given(passage),
        }
    }
}

impl Answer {
    fn given(self, passage: &Passage) -> Result<(), String> {
        let answers = &passage.answers;
        let all = |wanted: &dyn Fn(&HeadKind) -> bool| answers.iter().all(|a| wanted(&a.head.kind));
        let reset = |kind: &HeadKind| matches!(kind, HeadKind::Tcp(tcp) if tcp.is_reset());
        let icmp = |of: u8, code: u8| move |kind: &HeadKind| matches!(kind, HeadKind::Icmp(m) if (m.kind, m.code) == (of, code));
        let right = match self {
            Self::Anything => true,
            Self::Silence => answers.is_empty(),
            Self::Reset => !answers.is_empty() && all(&reset),
            Self::Icmp(of, code) => !answers.is_empty() && all(&icmp(of, code)),
            Self::Perhaps(of, code) => all(&icmp(of, code)),
        };
        if right {
            return Ok(());
        }
        let wanted = match self {
            Self::Silence | Self::Anything => "vanish".to_owned(),
            Self::Reset => "be answered by a reset".to_owned(),
            Self::Icmp(of, code) => format!("be answered by ICMP {of}/{code}"),
            Self::Perhaps(of, code) => format!("vanish or be answered by ICMP {of}/{code}"),
        };
        Err(format!("had to {wanted} and {}", what_became(passage)))
    }
}

pub(super) fn what_became(passage: &Passage) -> String {
    match (passage.answers.first().map(|answer| &answer.head.kind), &passage.astray) {
        (None, Some(astray)) => {
            format!("was answered by a reset from {}, which was not asked", astray.head.tuple.source)
        }
        (None, None) => "vanished".to_owned(),
        (Some(HeadKind::Icmp(m)), _) => format!("was answered by ICMP {}/{}", m.kind, m.code),
        (Some(HeadKind::Tcp(tcp)), _) if tcp.is_reset() => "was answered by a reset".to_owned(),
        (Some(HeadKind::Tcp(tcp)), _) => format!("was answered by a {}", tcp.segment.flags),
    }
}

/// What the NAT answers to a SYN that nobody inside expects; to other segments it may keep silent (RFC 5382, REQ-4).
/// `first` is when such a SYN came first, if the NAT surely remembers that.
pub(super) fn refusal(nat: &NatView<'_>, passage: &Passage, first: Option<Nanos>) -> Answer {
    /// How long RFC 5382, REQ-4, has a NAT wait, and how far its timer may be off.
    const SILENT: Nanos = 6_000_000_000;
    const OFF: Nanos = 100_000_000;
    /// How long the lab's rules know such a SYN again (`lab/nat_rules/filter.rs`).
    const KNOWN: Nanos = 60_000_000_000;
    let Some(tcp) = passage.input.head.tcp() else { return Answer::Anything };
    let opening = tcp.segment.flags.is_opening();
    match nat.declared.unsolicited_syn {
        UnsolicitedSyn::Drop => Answer::Silence,
        UnsolicitedSyn::Reset if tcp.is_reset() => Answer::Silence,
        UnsolicitedSyn::Reset => Answer::Reset,
        UnsolicitedSyn::Kernel if tcp.is_reset() => Answer::Silence,
        UnsolicitedSyn::Kernel if opening => Answer::Reset,
        UnsolicitedSyn::Kernel => Answer::Anything,
        UnsolicitedSyn::Icmp(error) if opening => Answer::Icmp(UNREACHABLE, error.code()),
        UnsolicitedSyn::Icmp(error) => Answer::Perhaps(UNREACHABLE, error.code()),
        UnsolicitedSyn::IcmpAfterSixSeconds => {
            match first.map(|first| passage.input.at.saturating_sub(first)) {
                Some(waited) if waited + OFF < SILENT => Answer::Silence,
                Some(waited) if waited > SILENT + OFF && waited + OFF < KNOWN && opening => {
                    Answer::Icmp(UNREACHABLE, PORT)
                }
                _ => Answer::Perhaps(UNREACHABLE, PORT),
            }
        }
    }
}

/// What it answers to a SYN after a SYN, where it does not let it in (RFC 5382, REQ-2a).
pub(super) fn refusal_of_second_syn(declared: SynAfterSyn) -> Option<Answer> {
    match declared {
        SynAfterSyn::Accept => None,
        SynAfterSyn::Drop => Some(Answer::Silence),
        SynAfterSyn::Reset => Some(Answer::Reset),
    }
}
