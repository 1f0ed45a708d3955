//! What connection tracking makes of unusual handshakes and of what interrupts them, and how long it remembers.

use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::behavior::{Behavior, Timeouts};
use crate::model::evidence::{CtEntry, CtState};
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::Side;
use crate::probe::prove::frame::{Probe, QuotedIcmpError};
use crate::probe::prove::lifetimes::{drive_flow, timeouts, way_to};
use crate::probe::prove::prober::{Fate, Flow, Prober};

use HandshakeSegment::{Ack, Syn, SynAck, SynAckIn, SynIn};

use super::ports::all_or_none;
use super::rules::source;
use super::{ALWAYS, CheckSpec, Observed};

/// How far a new connection's sequence number lies ahead of the old one's, or behind.
const AHEAD: u32 = 0x0100_0000;
const BEHIND: u32 = 0_u32.wrapping_sub(AHEAD);

/// Tries of what either always happens or never does.
const TRIES: usize = 5;

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "simultaneous-open",
        asks: "does a simultaneous open pass, the inside's answer first?",
        packets: "SYN out, SYN in, SYN/ACK out, SYN/ACK in, data out, data in",
        expected: &[(ALWAYS, &["passes, by SYN_SENT2"])],
        rules: || source("masquerade"),
        measure: |p| opens(p, &[Syn, SynIn, SynAck, SynAckIn]),
    },
    CheckSpec {
        id: "simultaneous-open-answer-in-first",
        asks: "… the outside's answer first?",
        packets: "SYN out, SYN in, SYN/ACK in, SYN/ACK out, data out, data in",
        expected: &[(ALWAYS, &["passes, by SYN_SENT2"])],
        rules: || source("masquerade"),
        measure: |p| opens(p, &[Syn, SynIn, SynAckIn, SynAck]),
    },
    CheckSpec {
        id: "simultaneous-open-syn-repeated",
        asks: "… with SYNs that are sent again by both sides?",
        packets: "SYN out, SYN in, SYN out, SYN in, SYN/ACK out, SYN/ACK in, data out, data in",
        expected: &[(ALWAYS, &["passes, by SYN_SENT2"])],
        rules: || source("masquerade"),
        measure: |p| opens(p, &[Syn, SynIn, Syn, SynIn, SynAck, SynAckIn]),
    },
    CheckSpec {
        id: "simultaneous-open-answer-lost",
        asks: "… with the inside's answer lost, and the outside's answer acknowledged?",
        packets: "SYN out, SYN in, SYN/ACK in, ACK out, data out, data in",
        expected: &[(ALWAYS, &["passes, by SYN_SENT2"])],
        rules: || source("masquerade"),
        measure: |p| opens(p, &[Syn, SynIn, SynAckIn, Ack]),
    },
    CheckSpec {
        id: "reset-of-half-open",
        asks: "does a reset that answers a SYN end the mapping?",
        packets: "SYN out, RST in, SYN in from the same remote",
        expected: &[(ALWAYS, &["ended"])],
        rules: || source("masquerade"),
        measure: after_reset,
    },
    CheckSpec {
        id: "icmp-of-half-open",
        asks: "does an ICMP error that answers a SYN end the mapping?",
        packets: "SYN out, ICMP host unreachable in, SYN in from the same remote",
        expected: &[(ALWAYS, &["stays"])],
        rules: || source("masquerade"),
        measure: after_icmp,
    },
    CheckSpec {
        id: "isn-ahead-in-time-wait",
        asks: "may the same endpoints begin again in TIME_WAIT, with a sequence number ahead?",
        packets: "a connection opened and closed; SYN out from the same endpoints, numbered 2^24 ahead",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "time_wait", AHEAD),
    },
    CheckSpec {
        id: "isn-behind-in-time-wait",
        asks: "… and with a sequence number behind?",
        packets: "a connection opened and closed; SYN out from the same endpoints, numbered 2^24 behind",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "time_wait", BEHIND),
    },
    CheckSpec {
        id: "isn-ahead-in-fin-wait",
        asks: "may the same endpoints begin again in FIN_WAIT, with a sequence number ahead?",
        packets: "a connection opened, FIN out; SYN out from the same endpoints, numbered 2^24 ahead",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "fin_wait", AHEAD),
    },
    CheckSpec {
        id: "isn-ahead-in-close-wait",
        asks: "may the same endpoints begin again in CLOSE_WAIT, with a sequence number ahead?",
        packets: "a connection opened, FIN out, ACK in; SYN out from the same endpoints, numbered 2^24 ahead",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "close_wait", AHEAD),
    },
    CheckSpec {
        id: "isn-ahead-in-last-ack",
        asks: "may the same endpoints begin again in LAST_ACK, with a sequence number ahead?",
        packets: "a connection opened, FIN out, ACK in, FIN in; SYN out from the same endpoints, numbered 2^24 ahead",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "last_ack", AHEAD),
    },
    CheckSpec {
        id: "isn-ahead-in-close",
        asks: "may the same endpoints begin again in CLOSE, with a sequence number ahead?",
        packets: "a connection opened, RST in; SYN out from the same endpoints, numbered 2^24 ahead",
        expected: &[(ALWAYS, &["passes"])],
        rules: || source("masquerade"),
        measure: |p| again(p, "close", AHEAD),
    },
    CheckSpec {
        id: "invalid-untranslated",
        asks: "what becomes of a SYN/ACK from inside that answers nothing, without a rule against it?",
        packets: "SYN/ACK out without anything before it",
        expected: &[(ALWAYS, &["leaves untranslated"])],
        rules: || source("masquerade"),
        measure: stray,
    },
    CheckSpec {
        id: "unsolicited-syn",
        asks: "what answers a SYN for which there is no mapping, without a rule for it?",
        packets: "SYN in to a port without mapping",
        expected: &[(ALWAYS, &["reset by the NAT itself"])],
        rules: || source("masquerade"),
        measure: unsolicited,
    },
    CheckSpec {
        id: "timers",
        asks: "how long does an entry live in each state?",
        packets: "connections driven to every state; their entries are read",
        expected: &[(ALWAYS, &["kernel"])],
        rules: || source("masquerade"),
        measure: timers,
    },
];

/// A segment of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandshakeSegment {
    Syn,
    SynIn,
    SynAck,
    SynAckIn,
    Ack,
}

impl HandshakeSegment {
    fn words(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::SynIn => "SYN from outside",
            Self::SynAck => "SYN/ACK",
            Self::SynAckIn => "SYN/ACK from outside",
            Self::Ack => "ACK",
        }
    }
}

/// Both ends of a connection, and its numbers.
#[derive(Debug, Clone, Copy)]
struct ConnectionEnds {
    flow: Flow,
    external: SocketAddrV4,
    theirs: u32,
}

impl ConnectionEnds {
    fn probe(&self, part: HandshakeSegment) -> (Side, Probe) {
        let Self { flow, external, theirs } = *self;
        let (out, back) = ((flow.inside, flow.remote), (flow.remote, external));
        let (our_next, their_next) = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
        match part {
            Syn => (flow.side, Probe::syn(flow.inside, flow.remote, flow.isn)),
            SynIn => (Side::Outside, Probe::syn(flow.remote, external, theirs)),
            SynAck => (flow.side, Probe::ack(out, TcpFlags::SYN, (flow.isn, their_next))),
            SynAckIn => (Side::Outside, Probe::ack(back, TcpFlags::SYN, (theirs, our_next))),
            Ack => (flow.side, Probe::ack(out, TcpFlags(0), (our_next, their_next))),
        }
    }

    /// Data in both directions.
    fn data(&self) -> [(Side, Probe); 2] {
        let Self { flow, external, theirs } = *self;
        let (our_next, their_next) = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
        let out = Probe::ack((flow.inside, flow.remote), TcpFlags(0), (our_next, their_next));
        let back = Probe::ack((flow.remote, external), TcpFlags(0), (their_next, our_next.wrapping_add(4)));
        [(flow.side, Probe { payload: b"data", ..out }), (Side::Outside, Probe { payload: b"data", ..back })]
    }
}

/// Plays the parts, then data both ways: whether everything got through, and by which state.
fn opens(prober: &mut Prober, parts: &[HandshakeSegment]) -> Result<Observed> {
    let (mut passed, mut by_state) = (0, 0);
    let mut stuck = String::new();
    for _ in 0..TRIES {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let ends = ConnectionEnds { flow, external, theirs: prober.isn() };
        let mut through = true;
        // The first SYN is out.
        for part in &parts[1..] {
            let (side, probe) = ends.probe(*part);
            through &=
                delivered(prober, &ends, side, &probe, || stuck = format!("stuck at the {}", part.words()))?;
            let state = entry_of(prober, &flow)?.and_then(|entry| entry.state);
            by_state += usize::from(*part == SynIn && state == Some(CtState::SynSent2));
        }
        for (side, probe) in ends.data() {
            through &= delivered(prober, &ends, side, &probe, || stuck = "stuck at the data".to_owned())?;
        }
        passed += usize::from(through);
    }
    let inward = parts.iter().filter(|part| **part == SynIn).count();
    let word = match (passed, by_state == inward * TRIES) {
        (TRIES, true) => "passes, by SYN_SENT2",
        (TRIES, false) => "passes, by another state",
        (0, _) => "does not pass",
        _ => "sometimes passes",
    };
    Ok(Observed::new(word, format!("{passed} of {TRIES} passed {stuck}").trim_end().to_owned()))
}

/// Whether a segment arrives at the other end, translated.
fn delivered(
    prober: &mut Prober,
    ends: &ConnectionEnds,
    side: Side,
    probe: &Probe,
    mut otherwise: impl FnMut(),
) -> Result<bool> {
    let expected = match side {
        Side::Outside => (ends.flow.remote, ends.flow.inside),
        _ => (ends.external, ends.flow.remote),
    };
    let through = match prober.fate(side, probe)? {
        Fate::Delivered { source, destination, .. } => (source, destination) == expected,
        _ => false,
    };
    if !through {
        otherwise();
    }
    Ok(through)
}

/// A connection's entry.
pub(super) fn entry_of(prober: &Prober, flow: &Flow) -> Result<Option<CtEntry>> {
    let is_it = |e: &CtEntry| (e.original.source, e.original.destination) == (flow.inside, flow.remote);
    Ok(prober.bench.conntrack().dump()?.into_iter().find(is_it))
}

fn after_reset(prober: &mut Prober) -> Result<Observed> {
    let mut ended = 0;
    for _ in 0..TRIES {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let reset = Probe::ack((flow.remote, external), TcpFlags::RST, (0, flow.isn.wrapping_add(1)));
        prober.bench.ask(Side::Outside, &reset)?;
        ended += usize::from(!matches!(prober.knock(flow.remote, external)?, Fate::Delivered { .. }));
    }
    Ok(all_or_none(ended, TRIES, "ended", "stays"))
}

fn after_icmp(prober: &mut Prober) -> Result<Observed> {
    const HOST_UNREACHABLE: (u8, u8) = (3, 1);
    let mut stays = 0;
    for _ in 0..TRIES {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let (kind, code) = HOST_UNREACHABLE;
        let about = Probe::syn(external, flow.remote, flow.isn);
        let error =
            QuotedIcmpError { source: *flow.remote.ip(), destination: *external.ip(), kind, code, about };
        prober.bench.send_icmp_error(Side::Outside, &error)?;
        stays += usize::from(matches!(prober.knock(flow.remote, external)?, Fate::Delivered { .. }));
    }
    Ok(all_or_none(stays, TRIES, "stays", "ended"))
}

/// The same endpoints again, while the entry of their last connection is in `state`.
fn again(prober: &mut Prober, state: &str, ahead: u32) -> Result<Observed> {
    let steps = way_to(state);
    let mut passed = 0;
    for _ in 0..TRIES {
        let flow = prober.flow(Side::Inside0);
        let Some(driven) = drive_flow(prober, flow, steps)? else { continue };
        let syn = Probe::syn(flow.inside, flow.remote, flow.isn.wrapping_add(ahead));
        let fate = prober.fate(flow.side, &syn)?;
        passed += usize::from(matches!(fate, Fate::Delivered { source, .. } if source == driven.external));
    }
    Ok(all_or_none(passed, TRIES, "passes", "does not pass"))
}

fn stray(prober: &mut Prober) -> Result<Observed> {
    let mut untranslated = 0;
    for _ in 0..TRIES {
        let flow = prober.flow(Side::Inside0);
        let stray = Probe::ack((flow.inside, flow.remote), TcpFlags::SYN, (flow.isn, 1));
        let fate = prober.fate(flow.side, &stray)?;
        untranslated += usize::from(matches!(fate, Fate::Delivered { source, .. } if source == flow.inside));
    }
    Ok(all_or_none(untranslated, TRIES, "leaves untranslated", "does not leave"))
}

fn unsolicited(prober: &mut Prober) -> Result<Observed> {
    let mut resets = 0;
    for _ in 0..TRIES {
        let stranger = prober.remote();
        let target = SocketAddrV4::new(crate::probe::prove::bench::WAN, 999);
        resets += usize::from(prober.knock(stranger, target)? == Fate::Reset);
    }
    Ok(all_or_none(resets, TRIES, "reset by the NAT itself", "silence"))
}

/// Every timer, against the kernel's defaults; what differs is named.
fn timers(prober: &mut Prober) -> Result<Observed> {
    let declared = Behavior { timeouts: Timeouts::default(), ..Behavior::port_preserving() };
    let observed = timeouts(prober, &declared)?.map_or_else(String::new, |finding| finding.observed);
    Ok(Observed::new(observed, String::new()))
}
