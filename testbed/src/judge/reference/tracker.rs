//! What a NAT knows of one TCP connection: its state, and the sequence numbers that each end may use.
//!
//! A transcription of Linux's connection tracking (`net/netfilter/nf_conntrack_proto_tcp.c`), which is what the lab's
//! NATs are made of. It is pure: a packet and a moment go in, a verdict and the next state come out. RFC 5382, section
//! 5, asks a NAT to track connections this way so that an idle one can be told from one that stands.

use super::order::{Way, before};
use super::rules::{Decision, Rulebook};
use super::table::{Index, TableCell, Transition};
use super::tracking::{Absolute, Tracking};
use super::window::{InWindow, Window};
use crate::judge::reference::head::TcpHead;
use crate::model::evidence::{CtState, Nanos};

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It belongs to the connection and passes.
    Pass(Tracked),
    /// It passes, and the connection is forgotten (a reset before any answer).
    PassAndForget,
    /// It opens a new connection in place of one that is over.
    Reopen,
    /// It does not belong to the connection.
    Invalid(Tracked),
}

/// The last packet that counted, or was let through without counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastPacket {
    pub(super) index: Index,
    pub(super) way: Way,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) end: u32,
    pub(super) window: u16,
    scale: Option<u8>,
}

/// One tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tracked {
    pub(super) state: CtState,
    pub(super) window: Window,
    pub(super) last: LastPacket,
    retransmissions: u8,
    simultaneous: bool,
    expect_challenge: bool,
    pub(super) seen_reply: bool,
    assured: bool,
    /// When its first packet came.
    pub(super) born: Nanos,
    /// Until when it surely lives without another packet.
    pub(super) lives_until: Nanos,
    /// From when it is surely gone. Later than `lives_until` where kernels differ.
    pub(super) gone_from: Nanos,
}

/// Retransmissions of one segment after which a connection is given less time (`nf_conntrack_tcp_max_retrans`).
const MOST_RETRANSMISSIONS: u8 = 3;

impl Tracked {
    /// The connection that a packet begins; `None` if it can begin none (`tcp_new`): only a SYN can, or an ACK that is
    /// taken for one of a connection which stood before the NAT did (`nf_conntrack_tcp_loose`). At a NAT with records of its own any
    /// may.
    pub(super) fn begin(head: &TcpHead, at: Nanos, how: &Tracking) -> Option<Self> {
        let index = Index::of(head.segment.flags);
        if how.by_own_records {
            let window = if index == Index::Syn { Window::opened_by(head) } else { Window::joined_by(head) };
            return Some(Self::unseen(window).without_records(Way::Original, head, at, how));
        }
        let cell = TableCell { way: Way::Original, index, state: CtState::None };
        let (state, window) = match how.transition(cell) {
            _ if !how.rules.decides(Decision::Whole, head.is_whole()) => return None,
            Transition::Invalid => return None,
            Transition::To(state) if index == Index::Syn => (state, Window::opened_by(head)),
            Transition::To(_) | Transition::Ignored => (CtState::Established, Window::joined_by(head)),
        };
        let mut tracked = Self { born: at, ..Self::unseen(window) };
        if tracked.window.check(Way::Original, head, CtState::None, how) == InWindow::Accept {
            tracked.count_retransmissions(index, Way::Original, head);
        }
        tracked.accept(CtState::None, state, Way::Original, head, at, how);
        Some(tracked)
    }

    /// A connection of which no packet has counted.
    fn unseen(window: Window) -> Self {
        let last = LastPacket {
            index: Index::Nothing,
            way: Way::Original,
            sequence: 0,
            acknowledgment: 0,
            end: 0,
            window: 0,
            scale: None,
        };
        Self {
            state: CtState::None,
            window,
            last,
            retransmissions: 0,
            simultaneous: false,
            expect_challenge: false,
            seen_reply: false,
            assured: false,
            born: 0,
            lives_until: 0,
            gone_from: 0,
        }
    }

    /// A packet of this connection (`nf_conntrack_tcp_packet`).
    pub(super) fn step(&self, way: Way, head: &TcpHead, at: Nanos, how: &Tracking) -> Verdict {
        if how.by_own_records {
            return Verdict::Pass(self.without_records(way, head, at, how));
        }
        let index = Index::of(head.segment.flags);
        let mut next = *self;
        if !how.rules.decides(Decision::Whole, head.is_whole()) {
            return Verdict::Invalid(next);
        }
        let new = match how.transition(TableCell { way, index, state: self.state }) {
            Transition::Invalid => return Verdict::Invalid(next),
            Transition::Ignored => return next.ignore(index, way, head, at, how),
            Transition::To(CtState::SynSent) if self.state >= CtState::TimeWait => {
                let reset = self.last.way == way && self.last.index == Index::Rst;
                let close_begun = self.window.ends.iter().any(|end| end.close_begun);
                if how.rules.decides(Decision::Reopens, close_begun || reset) {
                    return Verdict::Reopen;
                }
                return next.ignore(index, way, head, at, how);
            }
            Transition::To(CtState::TimeWait) if self.is_challenge(index, way, how.rules) => {
                next.expect_challenge = false;
                next.seen_reply |= way == Way::Reply;
                return Verdict::Pass(next);
            }
            Transition::To(state) => state,
        };
        next.within(self.state, new, way, head, at, how)
    }

    /// The rest of `nf_conntrack_tcp_packet`: a packet whose flags fit the state, but perhaps not its numbers.
    fn within(
        mut self,
        old: CtState,
        mut new: CtState,
        way: Way,
        head: &TcpHead,
        at: Nanos,
        how: &Tracking,
    ) -> Verdict {
        let index = Index::of(head.segment.flags);
        let mut check = true;
        match new {
            CtState::SynSent2 => self.simultaneous = true,
            CtState::SynRecv
                if way == Way::Reply
                    && index == Index::Ack
                    && how.rules.decides(Decision::SimultaneousOpen, self.simultaneous) =>
            {
                new = CtState::Established;
            }
            CtState::Close if index == Index::Rst => match self.of_reset(old, way, head, how.rules) {
                Reset::Invalid => return Verdict::Invalid(self),
                Reset::Checked(state) => new = state,
                Reset::Unchecked(state) => (new, check) = (state, false),
            },
            _ => {}
        }
        if check {
            match self.window.check(way, head, old, how) {
                InWindow::Accept => self.count_retransmissions(index, way, head),
                InWindow::Tolerate => {}
                InWindow::Ignore => {
                    self.seen_reply |= way == Way::Reply;
                    return Verdict::Pass(self);
                }
                InWindow::Invalid => return self.invalid(index, way, at, how),
            }
        }
        if index == Index::Rst && how.rules.decides(Decision::ForgetsUnanswered, !self.seen_reply) {
            return Verdict::PassAndForget;
        }
        self.accept(old, new, way, head, at, how);
        Verdict::Pass(self)
    }

    fn is_challenge(&self, index: Index, way: Way, rules: Rulebook) -> bool {
        let of_syn = self.last.way != way && self.last.index == Index::Syn && self.expect_challenge;
        self.state == CtState::LastAck && index == Index::Ack && rules.decides(Decision::Challenge, of_syn)
    }

    /// A packet that passes without counting: the two ends may know better than the NAT.
    fn ignore(mut self, index: Index, way: Way, head: &TcpHead, at: Nanos, how: &Tracking) -> Verdict {
        let segment = &head.segment;
        let answers_ignored_syn = index == Index::SynAck
            && self.last.index == Index::Syn
            && self.last.way != way
            && segment.acknowledgment == self.last.end;
        if index == Index::SynAck && how.rules.decides(Decision::AnswersIgnored, answers_ignored_syn) {
            // The ends have begun again, and the NAT follows.
            let window =
                self.window.begun_anew(self.last.way, self.last.end, self.last.window, self.last.scale);
            let mut next = Self { window, ..self };
            next.expect_challenge = false;
            return next.within(CtState::SynSent, CtState::SynRecv, way, head, at, how);
        }
        self.last = LastPacket {
            index,
            way,
            sequence: segment.sequence,
            acknowledgment: self.last.acknowledgment,
            end: head.end(),
            window: head.window,
            scale: None,
        };
        if index == Index::Syn && way == Way::Original {
            self.last.scale = head.scale;
            self.simultaneous = false;
            self.expect_challenge = self.state == CtState::LastAck;
        }
        self.seen_reply |= way == Way::Reply;
        if self.state == CtState::SynSent && index == Index::Ack && way == Way::Reply {
            self.last.acknowledgment = segment.acknowledgment;
        }
        Verdict::Pass(self)
    }

    /// Whether a reset is to be believed.
    fn of_reset(&self, old: CtState, way: Way, head: &TcpHead, rules: Rulebook) -> Reset {
        // An assured connection in its last states may be another one by now (`tcp_can_early_drop`).
        let closing = matches!(
            old,
            CtState::FinWait | CtState::LastAck | CtState::TimeWait | CtState::Close | CtState::CloseWait
        );
        if rules.decides(Decision::ResetClosing, closing && rules.kernel.closing_resets_pass) {
            return Reset::Unchecked(CtState::Close);
        }
        let number = head.segment.sequence;
        let established = old == CtState::Established && self.assured;
        if let Some(most) = self.window.of(way.other()).highest_acknowledgment
            && self.last.index != Index::Syn
        {
            // Most likely it answers a SYN that was let through before.
            let zero = number == 0 && !established && rules.kernel.zero_resets_pass;
            if rules.decides(Decision::ResetZero, zero) {
                return Reset::Checked(CtState::Close);
            }
            if rules.decides(Decision::ResetBehind, before(number, most)) {
                return Reset::Invalid;
            }
            let in_train = self.last.index == Index::Ack && self.last.way == way && number == self.last.end;
            if rules.decides(Decision::ResetExact, !established || number == most || in_train) {
                return Reset::Checked(CtState::Close);
            }
            // It may draw a challenge, so the connection is kept.
            return Reset::Checked(old);
        }
        let acknowledgment = head.segment.acknowledgment;
        // A SYN is reset by the other end; some kernels believe its own sender as well.
        let by_the_right_one = self.last.way != way || rules.kernel.sender_resets_syn;
        let of_ignored = self.seen_reply && self.last.index == Index::Syn && by_the_right_one
            || !self.assured && self.last.index == Index::Ack;
        if rules.decides(Decision::ResetOfIgnored, of_ignored && acknowledgment == self.last.end) {
            return Reset::Unchecked(CtState::Close);
        }
        let answers_challenge = old == CtState::SynSent
            && self.last.index == Index::Ack
            && self.last.way == Way::Reply
            && number == self.last.acknowledgment;
        if rules.decides(Decision::ResetOfChallenge, answers_challenge) {
            Reset::Unchecked(CtState::Close)
        } else {
            Reset::Checked(CtState::Close)
        }
    }

    /// A packet outside the window; two ends that reset or close against the NAT's belief leave it less time.
    fn invalid(mut self, index: Index, way: Way, at: Nanos, how: &Tracking) -> Verdict {
        const FROM: Nanos = 120_000_000_000;
        if self.assured && matches!(index, Index::Rst | Index::Fin) {
            if self.last.way != way && matches!(self.last.index, Index::Rst | Index::Fin) {
                if self.lives_until.saturating_sub(at) >= FROM {
                    self.lives_until = self.lives_until.min(at.saturating_add(how.timers.unacknowledged));
                    self.gone_from = self.lives_until;
                }
            } else {
                (self.last.index, self.last.way) = (index, way);
            }
        }
        Verdict::Invalid(self)
    }

    fn count_retransmissions(&mut self, index: Index, way: Way, head: &TcpHead) {
        if index != Index::Ack {
            return;
        }
        let now = LastPacket {
            index: self.last.index,
            way,
            sequence: head.segment.sequence,
            acknowledgment: head.segment.acknowledgment,
            end: head.end(),
            window: head.window,
            scale: self.last.scale,
        };
        if now == self.last {
            self.retransmissions = self.retransmissions.saturating_add(1);
        } else {
            (self.last, self.retransmissions) = (now, 0);
        }
    }

    /// The packet counts: the state changes and the time begins again.
    fn accept(&mut self, old: CtState, new: CtState, way: Way, head: &TcpHead, at: Nanos, how: &Tracking) {
        let index = Index::of(head.segment.flags);
        (self.last.index, self.last.way) = (index, way);
        self.state = new;
        if old != new && new == CtState::FinWait {
            self.window.close(way);
        }
        let timers = &how.timers;
        let mut time = timers.of_state(new);
        if self.retransmissions >= MOST_RETRANSMISSIONS && time > timers.retransmitted {
            time = timers.retransmitted;
        } else if index == Index::Rst {
            time = timers.of_state(CtState::Close);
        } else if self.window.has_unacknowledged() {
            time = time.min(timers.unacknowledged);
        } else if self.last.window == 0 {
            time = time.min(timers.retransmitted);
        }
        let until = at.saturating_add(time);
        let answered = self.seen_reply;
        self.seen_reply |= way == Way::Reply;
        if !answered && index == Index::Syn && old == CtState::SynSent {
            // Kernels from 5.14 on, and 5.10 as Debian has it, do not renew the time of an unanswered SYN for another SYN,
            // from either side (commit e15d4cdf27cb, "do not renew entry stuck in tcp SYN_SENT state"); earlier ones do.
            self.gone_from = self.gone_from.max(until);
            self.end_with(&timers.absolute);
            return;
        }
        (self.lives_until, self.gone_from) = (until, until);
        if !answered && new == CtState::Established {
            self.lives_until = until.min(at.saturating_add(timers.unacknowledged));
        } else if answered
            && !self.assured
            && matches!(old, CtState::SynRecv | CtState::Established)
            && new == CtState::Established
        {
            self.assured = true;
        }
        self.end_with(&timers.absolute);
    }

    /// As a rule leaves it that resets a packet of it (`nf_conntrack_tcp_set_closing`, from Linux 6.3 on).
    pub(super) fn closed_by_rule(mut self, at: Nanos, how: &Tracking) -> Self {
        self.state = CtState::Close;
        let until = at.saturating_add(how.timers.of_state(CtState::Close));
        (self.lives_until, self.gone_from) = (until, until);
        self.end_with(&how.timers.absolute);
        self
    }

    /// No time of an idle connection goes on beyond the absolute timeout.
    fn end_with(&mut self, absolute: &Absolute) {
        self.lives_until = self.lives_until.min(absolute.earliest(self.born));
        self.gone_from = self.gone_from.min(absolute.latest(self.born));
    }
}

impl Tracked {
    /// Whether data confirmed the connection both ways: then it does not make room for another one (`IPS_ASSURED_BIT`).
    pub(super) fn is_assured(&self) -> bool {
        self.assured
    }

    /// Whether a new connection may have its external endpoint towards the same remote one (`nf_nat_used_tuple_harder`,
    /// from Linux 6.5 on): it is in TIME_WAIT or CLOSE, or waits for the end of a simultaneous open, which the kernel's
    /// numbering of states puts behind them; and the number of the new SYN is ahead of all that it sent.
    pub(super) fn gives_way_to(&self, new: &Self, rules: Rulebook) -> bool {
        let ahead = new.window.of(Way::Original).is_beyond(self.window.of(Way::Original));
        let over = self.state >= CtState::TimeWait && new.state == CtState::SynSent && ahead;
        rules.decides(Decision::GivesWay, over)
    }
}

/// What a reset is.
enum Reset {
    /// One that does not fit.
    Invalid,
    /// One that leads to this state if its numbers are right.
    Checked(CtState),
    /// One that leads to this state whatever its numbers are.
    Unchecked(CtState),
}
