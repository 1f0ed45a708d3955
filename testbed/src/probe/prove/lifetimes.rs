//! Reads how long connection tracking lets a mapping live in each state of its connection.
//!
//! The connection is driven through its states packet by packet, and in each the kernel is asked how long the entry
//! has left. That the kernel then keeps its word is what [`super::expiry`] waits for.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::kernel::error::Result;
use crate::lab::periodic_flush::PeriodicFlush;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Behavior, Timeouts, Translation};
use crate::model::datapath::Datapath;
use crate::model::evidence::Tuple;
use crate::model::packet::TcpFlags;

use super::bench::Side;
use super::datapath::BY_TRACKING;
use super::finding::Finding;
use super::frame::Probe;
use super::prober::{Flow, Prober};
use super::room::room;

/// A step of a connection from nothing to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Step {
    Syn,
    SynIn,
    SynAck,
    Ack,
    Fin,
    FinAcked,
    FinBack,
    LastAck,
    Reset,
    Data,
}

/// The timers, each with the steps that lead to it.
pub(in crate::probe) const WAYS: [(&str, &[Step]); 11] = [
    ("syn_sent", &[Step::Syn]),
    // The first SYN from the other side leaves what the time of SYN_SENT has left: the kernel renews no unanswered SYN's
    // time for another SYN (5.14, commit e15d4cdf27cb; the check `syn-sent-renewed`). The second one begins the time of SYN_SENT2.
    ("syn_sent2", &[Step::Syn, Step::SynIn, Step::SynIn]),
    ("syn_recv", &[Step::Syn, Step::SynAck]),
    ("established", &[Step::Syn, Step::SynAck, Step::Ack]),
    ("fin_wait", &[Step::Syn, Step::SynAck, Step::Ack, Step::Fin]),
    ("close_wait", &[Step::Syn, Step::SynAck, Step::Ack, Step::Fin, Step::FinAcked]),
    ("last_ack", &[Step::Syn, Step::SynAck, Step::Ack, Step::Fin, Step::FinAcked, Step::FinBack]),
    (
        "time_wait",
        &[Step::Syn, Step::SynAck, Step::Ack, Step::Fin, Step::FinAcked, Step::FinBack, Step::LastAck],
    ),
    ("close", &[Step::Syn, Step::SynAck, Step::Ack, Step::Reset]),
    ("unacknowledged", &[Step::Syn, Step::SynAck, Step::Ack, Step::Data]),
    ("max_retrans", &[Step::Syn, Step::SynAck, Step::Ack, Step::Data, Step::Data, Step::Data, Step::Data]),
];

/// The kernel's own limit while data is not acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(300);

/// The kernel rounds down to whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// Every timer of connection tracking; `None` for a router, which has none.
pub(in crate::probe) fn timeouts(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    if declared.translation == Translation::Router {
        return Ok(None);
    }
    if prober.bench.datapath() != Datapath::Conntrack {
        return Ok(Some(Finding::not_looked_at(NatAxis::Timeouts.name(), BY_TRACKING)));
    }
    let mut seen = Timeouts::default();
    let mut missing = Vec::new();
    let timers = declared.timeouts.timers();
    let unacknowledged = declared.timeouts.unacknowledged.unwrap_or(UNACKNOWLEDGED);
    let established =
        timers.iter().find(|t| t.0 == "established").map_or(Duration::MAX, |t| t.1.unwrap_or(t.2));
    for ((name, steps), (_, value, default)) in WAYS.into_iter().zip(timers) {
        if !is_reached(name, declared) {
            *timer(&mut seen, name) = value;
            continue;
        }
        let expected = match name {
            // The FIN itself waits for its acknowledgment.
            "fin_wait" => value.unwrap_or(default).min(unacknowledged),
            "unacknowledged" | "max_retrans" => value.unwrap_or(default).min(established),
            _ => value.unwrap_or(default),
        };
        prober.breathe(room(declared))?;
        let began = Instant::now();
        let Some(left) = lifetime_after(prober, steps)? else {
            missing.push(name);
            continue;
        };
        let agrees = left <= expected && expected <= left + began.elapsed() + ROUNDING;
        let measured = if agrees { value } else { Some(left) };
        *timer(&mut seen, name) = measured;
    }
    seen.absolute = absolute(prober, declared)?;
    seen.flush_every = read_flush_interval(prober);
    let mut observed = seen.to_string();
    if !missing.is_empty() {
        observed = format!("no mapping in the state {}", missing.join(", "));
    }
    Ok(Some(Finding::of(NatAxis::Timeouts, declared, observed)))
}

/// The absolute timeout of the NAT, as far as it was asked: the declared one if what a connection has left agrees with it.
fn absolute(prober: &mut Prober, declared: &Behavior) -> Result<Option<Duration>> {
    if prober.bench.absolute().is_none() {
        return Ok(None);
    }
    prober.breathe(room(declared))?;
    let began = Instant::now();
    let left = read_absolute(prober)?;
    let agrees = |expected: &Duration| {
        left.is_some_and(|left| left <= *expected && *expected <= left + began.elapsed() + ROUNDING)
    };
    Ok(declared.timeouts.absolute.filter(agrees).or(left))
}

/// How long a fresh connection has left until the NAT ends it whatever passes; `None` if it does not do that.
pub(in crate::probe) fn read_absolute(prober: &mut Prober) -> Result<Option<Duration>> {
    let Some(driven) = drive(prober, way_to("established"))? else { return Ok(None) };
    let flow = Tuple { source: driven.flow.inside, destination: driven.flow.remote };
    Ok(prober.bench.absolute().and_then(|timeout| timeout.left(&flow)))
}

/// How often what is to have the NAT forget everything will do so; `None` if there is nothing of the kind.
pub(in crate::probe) fn read_flush_interval(prober: &Prober) -> Option<Duration> {
    prober.bench.flushing().map(PeriodicFlush::interval)
}

/// Whether a connection through this NAT can come into the state of this timer. Where a SYN that answers a SYN is
/// refused by a reset, the NAT's own reset ends the state that the SYN began.
pub(in crate::probe) fn is_reached(timer: &str, declared: &Behavior) -> bool {
    timer != "syn_sent2" || !declared.syn_after_syn.ends_the_first()
}

/// The timer called `name`.
pub(in crate::probe) fn timer<'a>(timeouts: &'a mut Timeouts, name: &str) -> &'a mut Option<Duration> {
    match name {
        "syn_sent" => &mut timeouts.syn_sent,
        "syn_sent2" => &mut timeouts.syn_sent2,
        "syn_recv" => &mut timeouts.syn_recv,
        "established" => &mut timeouts.established,
        "fin_wait" => &mut timeouts.fin_wait,
        "close_wait" => &mut timeouts.close_wait,
        "last_ack" => &mut timeouts.last_ack,
        "time_wait" => &mut timeouts.time_wait,
        "unacknowledged" => &mut timeouts.unacknowledged,
        "max_retrans" => &mut timeouts.max_retrans,
        _ => &mut timeouts.close,
    }
}

/// How long an entry has left once its connection has made these steps.
fn lifetime_after(prober: &mut Prober, steps: &[Step]) -> Result<Option<Duration>> {
    let Some(driven) = drive(prober, steps)? else { return Ok(None) };
    left(prober, &driven)
}

/// How long the entry of a connection has left, rounded down to whole seconds; `None` if there is none.
pub(in crate::probe) fn left(prober: &mut Prober, driven: &ProbeConnection) -> Result<Option<Duration>> {
    let flow = &driven.flow;
    prober.bench.conntrack().lifetime(&Tuple { source: flow.inside, destination: flow.remote })
}

/// How long the mapping of a fresh connection has left in the state of the timer called `name`.
pub(in crate::probe) fn lifetime(prober: &mut Prober, name: &str) -> Result<Option<Duration>> {
    lifetime_after(prober, way_to(name))
}

/// The steps that lead to the state of the timer called `name`, one of [`WAYS`].
pub(in crate::probe) fn way_to(name: &str) -> &'static [Step] {
    let way = WAYS.iter().find(|(timer, _)| *timer == name);
    debug_assert!(way.is_some(), "no timer {name}");
    way.map_or(&[], |(_, steps)| *steps)
}

/// A connection somewhere on its way.
#[derive(Debug, Clone, Copy)]
pub(in crate::probe) struct ProbeConnection {
    /// The connection.
    pub(in crate::probe) flow: Flow,
    /// Its external endpoint.
    pub(in crate::probe) external: SocketAddrV4,
    /// The remote's initial sequence number.
    pub(in crate::probe) theirs: u32,
    /// When the last step was about to be sent: the time of the state that it led to did not begin before.
    pub(in crate::probe) since: Instant,
}

/// Drives a fresh connection through the steps; `None` if its SYN does not get out.
pub(in crate::probe) fn drive(prober: &mut Prober, steps: &[Step]) -> Result<Option<ProbeConnection>> {
    let flow = prober.flow(Side::Inside0);
    drive_flow(prober, flow, steps)
}

/// Drives this connection through the steps; `None` if its SYN does not get out.
pub(in crate::probe) fn drive_flow(
    prober: &mut Prober,
    flow: Flow,
    steps: &[Step],
) -> Result<Option<ProbeConnection>> {
    let mut since = Instant::now();
    let Some(external) = prober.open(&flow)? else { return Ok(None) };
    let (ours, theirs) = (flow.isn.wrapping_add(1), prober.isn());
    let out = (flow.inside, flow.remote);
    let back = (flow.remote, external);
    for step in steps {
        let (side, probe) = match step {
            Step::Syn => continue,
            Step::SynIn => (Side::Outside, Probe::syn(flow.remote, external, theirs)),
            Step::SynAck => (Side::Outside, Probe::ack(back, TcpFlags::SYN, (theirs, ours))),
            Step::Ack => (flow.side, Probe::ack(out, TcpFlags(0), (ours, theirs.wrapping_add(1)))),
            Step::Fin => (flow.side, Probe::ack(out, TcpFlags::FIN, (ours, theirs.wrapping_add(1)))),
            Step::Data => {
                let data = Probe::ack(out, TcpFlags(0), (ours, theirs.wrapping_add(1)));
                (flow.side, Probe { payload: b"data", ..data })
            }
            Step::FinAcked => {
                (Side::Outside, Probe::ack(back, TcpFlags(0), (theirs.wrapping_add(1), ours.wrapping_add(1))))
            }
            Step::FinBack => {
                let numbers = (theirs.wrapping_add(1), ours.wrapping_add(1));
                (Side::Outside, Probe::ack(back, TcpFlags::FIN, numbers))
            }
            Step::LastAck => {
                let numbers = (ours.wrapping_add(1), theirs.wrapping_add(2));
                (flow.side, Probe::ack(out, TcpFlags(0), numbers))
            }
            Step::Reset => (Side::Outside, Probe::ack(back, TcpFlags::RST, (theirs.wrapping_add(1), ours))),
        };
        since = Instant::now();
        prober.fate(side, &probe)?;
    }
    Ok(Some(ProbeConnection { flow, external, theirs, since }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_are_in_the_order_of_the_timers() {
        let names: Vec<_> = Timeouts::default().timers().iter().map(|(name, _, _)| *name).collect();
        assert_eq!(WAYS.map(|(name, _)| name).to_vec(), names);
    }

    #[test]
    fn each_timer_has_its_field() {
        for (name, _) in WAYS {
            let mut timeouts = Timeouts::default();
            *timer(&mut timeouts, name) = Some(Duration::from_secs(77));
            assert_eq!(timeouts.to_string(), format!("{name} 77 s"));
        }
    }
}
