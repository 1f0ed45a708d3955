//! Which sequence numbers each end of a connection may use, as far as a NAT in between can know (`tcp_in_window` of
//! `nf_conntrack_proto_tcp.c`, after Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter").

use super::order::{Way, after, before};
use super::rules::{Decision, Rulebook};
use super::tracking::Tracking;
use crate::judge::reference::head::TcpHead;
use crate::model::evidence::CtState;

/// How far an acknowledgment may lag behind at least (`MAXACKWINCONST`).
const LEAST_ACK_WINDOW: u32 = 66_000;

/// What is known of one end's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Endpoint {
    /// The number after the last byte that it sent (`td_end`).
    end: u32,
    /// The highest number that it may send, plus one (`td_maxend`).
    most_end: u32,
    /// The largest window that it offered (`td_maxwin`); 0 when nothing was seen of it.
    most_window: u32,
    /// The highest number that it acknowledged (`td_maxack`).
    pub(super) highest_acknowledgment: Option<u32>,
    /// Bits by which its window is shifted.
    scale: u8,
    /// Whether it offered window scaling.
    scales: bool,
    /// Whether something that it sent is not acknowledged yet.
    unacknowledged: bool,
    /// Whether it was the first to close.
    pub(super) close_begun: bool,
    /// Whether its numbers are taken as they come.
    liberal: bool,
}

/// Both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// The opener's, the other's.
    pub(super) ends: [Endpoint; 2],
}

/// What the numbers of a packet mean for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InWindow {
    /// It counts.
    Accept,
    /// It counts although its numbers do not fit, and nothing is learnt from them: the NAT is liberal.
    Tolerate,
    /// It passes without counting.
    Ignore,
    /// It is invalid.
    Invalid,
}

impl Endpoint {
    /// A SYN says where it begins (`tcp_init_sender`). What was known of it besides is forgotten only when options come
    /// with the SYN (`tcp_options`).
    fn opened(mut self, head: &TcpHead) -> Self {
        if head.has_options {
            let scale = head.scale.unwrap_or(0).min(14);
            self = Self { scale, scales: head.scale.is_some(), liberal: self.liberal, ..Self::default() };
        }
        let end = head.end();
        (self.end, self.most_end, self.most_window) = (end, end, u32::from(head.window).max(1));
        self
    }

    /// Whether the end of what it sent lies beyond that of another.
    pub(super) fn is_beyond(&self, other: &Self) -> bool {
        after(self.end, other.end)
    }
}

impl Window {
    /// Begun by a SYN.
    pub(super) fn opened_by(head: &TcpHead) -> Self {
        Self { ends: [Endpoint::default().opened(head), Endpoint::default()] }
    }

    /// Begun by a packet from the middle of a connection.
    pub(super) fn joined_by(head: &TcpHead) -> Self {
        let window = u32::from(head.window).max(1);
        let end = head.end();
        let first = Endpoint {
            end,
            most_end: end.wrapping_add(window),
            most_window: window,
            liberal: true,
            ..Endpoint::default()
        };
        Self { ends: [first, Endpoint { liberal: true, ..Endpoint::default() }] }
    }

    /// Begun again by a SYN that passed without counting. From then on the numbers of its sender are looked at; the other
    /// end's are taken as they come if they were before: measured by `fuzz-nat` on Linux 6.18.
    pub(super) fn begun_anew(&self, way: Way, end: u32, window: u16, scale: Option<u8>) -> Self {
        let sender = Endpoint {
            end,
            most_end: end,
            most_window: u32::from(window).max(1),
            scale: scale.unwrap_or(0).min(14),
            scales: scale.is_some(),
            ..Endpoint::default()
        };
        let mut ends = self.ends.map(|end| Endpoint { liberal: end.liberal, ..Endpoint::default() });
        ends[way as usize] = sender;
        Self { ends }
    }

    /// Notes that one end was the first to close.
    pub(super) fn close(&mut self, way: Way) {
        self.ends[way as usize].close_begun = true;
    }

    pub(super) fn of(&self, way: Way) -> &Endpoint {
        &self.ends[way as usize]
    }

    pub(super) fn has_unacknowledged(&self) -> bool {
        self.ends.iter().any(|end| end.unacknowledged)
    }

    /// Looks at a packet's numbers, and learns from it if it counts.
    pub(super) fn check(&mut self, way: Way, head: &TcpHead, state: CtState, how: &Tracking) -> InWindow {
        let mut sender = self.ends[way as usize];
        let mut receiver = self.ends[way.other() as usize];
        let found = look(&mut sender, &mut receiver, (way, head, state), how);
        self.ends[way as usize] = sender;
        self.ends[way.other() as usize] = receiver;
        found
    }
}

/// What a packet claims.
struct Claim {
    sequence: u32,
    end: u32,
    acknowledgment: u32,
    selective: u32,
}

fn look(
    sender: &mut Endpoint,
    receiver: &mut Endpoint,
    (way, head, state): (Way, &TcpHead, CtState),
    how: &Tracking,
) -> InWindow {
    let rules = how.rules;
    if let Some(done) = initialise(sender, receiver, (way, head, state), rules) {
        return done;
    }
    let claim = claim(sender, receiver, (head, state), rules);
    match compare(sender, receiver, &claim, rules) {
        InWindow::Accept => {}
        found => {
            if found == InWindow::Ignore && is_beyond(sender, &claim) {
                // More than the window allows: the other end may acknowledge it all the same.
                (sender.end, sender.unacknowledged) = (claim.end, true);
            }
            let liberal = rules.decides(Decision::Liberal, how.liberal || sender.liberal);
            return if liberal { InWindow::Tolerate } else { found };
        }
    }
    learn(sender, receiver, head, &claim);
    InWindow::Accept
}

/// Begins with an end that nothing was seen of, or that begins again.
fn initialise(
    sender: &mut Endpoint,
    receiver: &mut Endpoint,
    (way, head, state): (Way, &TcpHead, CtState),
    rules: Rulebook,
) -> Option<InWindow> {
    let syn = head.is_syn();
    let ahead = after(head.end(), sender.end) && matches!(state, CtState::SynSent | CtState::SynRecv);
    let renewed = syn && rules.decides(Decision::Renews, ahead);
    if sender.most_window == 0 && !syn {
        let end = head.end();
        let window = (u32::from(head.window) << sender.scale).max(1);
        (sender.end, sender.most_window, sender.most_end) = (end, window, end.wrapping_add(window));
        if receiver.most_window == 0 {
            (receiver.end, receiver.most_end) = (head.selective, head.selective);
        } else if head.selective == receiver.end.wrapping_add(1) {
            receiver.end = receiver.end.wrapping_add(1);
        }
    } else if sender.most_window == 0 || renewed {
        let first = sender.most_window == 0;
        *sender = sender.opened(head);
        if way == Way::Reply && !(sender.scales && receiver.scales) {
            (sender.scale, receiver.scale) = (0, 0);
        }
        if !head.has_ack() && (first || way == Way::Reply) {
            return Some(InWindow::Accept);
        }
    }
    None
}

fn claim(
    sender: &Endpoint,
    receiver: &Endpoint,
    (head, state): (&TcpHead, CtState),
    rules: Rulebook,
) -> Claim {
    let segment = &head.segment;
    let mut claim = Claim {
        sequence: segment.sequence,
        end: head.end(),
        acknowledgment: segment.acknowledgment,
        selective: head.selective,
    };
    let unnumbered = rules.decides(Decision::ResetWithoutNumber, segment.acknowledgment == 0);
    if !head.has_ack() || (head.is_reset() && unnumbered) {
        (claim.acknowledgment, claim.selective) = (receiver.end, receiver.end);
    }
    let of_syn = segment.sequence == 0 && state == CtState::SynSent;
    if head.is_reset() && rules.decides(Decision::ResetOfSyn, of_syn) {
        (claim.sequence, claim.end) = (sender.end, sender.end);
    }
    claim
}

/// Whether a packet begins beyond what the other end allows.
fn is_beyond(sender: &Endpoint, claim: &Claim) -> bool {
    !before(claim.sequence, sender.most_end.wrapping_add(1))
}

fn compare(sender: &Endpoint, receiver: &Endpoint, claim: &Claim, rules: Rulebook) -> InWindow {
    let lag = sender.most_window.max(LEAST_ACK_WINDOW);
    let acknowledges_recent = after(claim.selective, receiver.end.wrapping_sub(lag).wrapping_sub(1));
    let recent = after(claim.end, sender.end.wrapping_sub(receiver.most_window).wrapping_sub(1));
    let acknowledges_sent = before(claim.selective, receiver.end.wrapping_add(1));
    if rules.decides(Decision::Beyond, is_beyond(sender, claim)) {
        let over = claim.end.wrapping_sub(sender.most_end).wrapping_add(1);
        let a_little =
            receiver.most_window != 0 && recent && acknowledges_recent && over <= receiver.most_window;
        let passes = rules.decides(Decision::BeyondALittle, a_little && acknowledges_sent)
            && rules.kernel.excess_passes;
        return if passes { InWindow::Ignore } else { InWindow::Invalid };
    }
    if rules.decides(Decision::AcknowledgesUnsent, !acknowledges_sent) {
        return InWindow::Invalid;
    }
    let passing = |passes| if passes { InWindow::Ignore } else { InWindow::Invalid };
    if rules.decides(Decision::Old, receiver.most_window != 0 && !recent) {
        return passing(rules.kernel.old_data_passes);
    }
    if rules.decides(Decision::AcknowledgesOld, !acknowledges_recent) {
        return passing(rules.kernel.old_acknowledgment_passes);
    }
    InWindow::Accept
}

fn learn(sender: &mut Endpoint, receiver: &mut Endpoint, head: &TcpHead, claim: &Claim) {
    let window = u32::from(head.window) << if head.is_syn() { 0 } else { sender.scale };
    let reach = window.wrapping_add(claim.selective.wrapping_sub(claim.acknowledgment));
    sender.most_window = sender.most_window.max(reach);
    if after(claim.end, sender.end) {
        (sender.end, sender.unacknowledged) = (claim.end, true);
    }
    if head.has_ack() {
        let known = sender.highest_acknowledgment;
        if known.is_none_or(|known| after(claim.acknowledgment, known)) {
            sender.highest_acknowledgment = Some(claim.acknowledgment);
        }
    }
    if receiver.most_window != 0 && after(claim.end, sender.most_end) {
        receiver.most_window = receiver.most_window.wrapping_add(claim.end.wrapping_sub(sender.most_end));
    }
    let allowed = claim.selective.wrapping_add(window);
    if after(allowed, receiver.most_end.wrapping_sub(1)) {
        receiver.most_end = allowed.wrapping_add(u32::from(window == 0));
    }
    if claim.acknowledgment == receiver.end {
        receiver.unacknowledged = false;
    }
}
