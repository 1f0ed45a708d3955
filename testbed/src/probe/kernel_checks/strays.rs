//! What connection tracking makes of packets whose numbers do not fit, where kernels differ: each run measures it, and the
//! reference goes by what was measured.

use crate::kernel::error::Result;
use crate::model::kernel_rules::KernelRules;
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::Side;
use crate::probe::prove::benches::on_bench;
use crate::probe::prove::frame::Probe;
use crate::probe::prove::lifetimes::{ProbeConnection, drive_flow, way_to};
use crate::probe::prove::prober::{Fate, Flow, Prober};

use super::ports::all_or_none;
use super::rules::source;
use super::{ALWAYS, CheckSpec, Observed, connection_in, not_opened};

/// Tries of what either always happens or never does.
const TRIES: usize = 5;

/// How far a number is from where it should be, if it is far: beyond each window here.
const FAR: u32 = 0x0100_0000;

/// The window that each probe offers, without scaling.
const WINDOW: u32 = 0xffff;

/// "netfilter: conntrack: work around exceeded receive window" (commit cf97769c761a).
const EXCESS_PASSES: super::Release = (6, 0);

/// "netfilter: conntrack: ignore overly delayed tcp packets" (commit 6e250dcbff1d).
const OLD_PASSES: super::Release = (6, 1);

/// "netfilter: conntrack: improve RST handling when tuple is re-used" (commit c4edc3ccbc63).
const RESETS_PASS: super::Release = (5, 14);

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "data-of-long-ago",
        asks: "is data translated whose sequence number is far behind?",
        packets: "a connection opened; data out, numbered 2^24 behind",
        expected: &[(ALWAYS, &["invalid"]), (OLD_PASSES, &["translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, old_data),
    },
    CheckSpec {
        id: "acknowledgment-of-long-ago",
        asks: "is an ACK translated that acknowledges something far behind?",
        packets: "a connection opened; ACK out, its acknowledgment 2^24 behind",
        expected: &[(ALWAYS, &["invalid"]), (OLD_PASSES, &["translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, old_acknowledgment),
    },
    CheckSpec {
        id: "beyond-the-window",
        asks: "is data translated that begins just beyond the other end's window?",
        packets: "a connection opened; four bytes out behind the window of 65,535",
        expected: &[(ALWAYS, &["invalid"]), (EXCESS_PASSES, &["translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, excess),
    },
    CheckSpec {
        id: "reset-by-the-sender-of-a-syn",
        asks: "is a reset believed, whatever its number, that acknowledges its own sender's SYN?",
        packets: "SYN out, SYN/ACK in, the SYN out again, RST out 2^24 ahead that acknowledges the SYN",
        // Stable releases of one series differ: 6.18.15 believes it, 6.18.44 does not.
        expected: &[(ALWAYS, &["invalid", "translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, reset_by_sender),
    },
    CheckSpec {
        id: "reset-in-close",
        asks: "is every reset believed of a connection that a reset has closed?",
        packets: "a connection opened, RST in; RST out, numbered 2^24 behind",
        expected: &[(ALWAYS, &["invalid"]), (RESETS_PASS, &["translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, reset_in_close),
    },
    CheckSpec {
        id: "reset-with-number-0",
        asks: "is a reset with the number 0 believed of a connection that does not stand yet?",
        packets: "SYN out with the number 5, SYN/ACK in, RST out with the number 0",
        expected: &[(ALWAYS, &["invalid"]), (RESETS_PASS, &["translated"])],
        rules: || source("masquerade"),
        measure: |p| passing(p, reset_with_zero),
    },
];

/// What this kernel does, for the reference to go by.
///
/// # Errors
/// When the kernel has no NAT, or the machine is too busy to measure one.
pub async fn kernel_rules() -> Result<KernelRules> {
    // Nothing is expected, so that a measurement counts only while no frame was dropped.
    on_bench(&source("masquerade"), |prober| prober.surely(measure, |_| false)).await
}

fn measure(prober: &mut Prober) -> Result<KernelRules> {
    Ok(KernelRules {
        old_data_passes: old_data(prober)?,
        old_acknowledgment_passes: old_acknowledgment(prober)?,
        excess_passes: excess(prober)?,
        sender_resets_syn: reset_by_sender(prober)?,
        closing_resets_pass: reset_in_close(prober)?,
        zero_resets_pass: reset_with_zero(prober)?,
    })
}

fn passing(prober: &mut Prober, passes: fn(&mut Prober) -> Result<bool>) -> Result<Observed> {
    let mut passed = 0;
    for _ in 0..TRIES {
        passed += usize::from(passes(prober)?);
    }
    Ok(all_or_none(passed, TRIES, "translated", "invalid"))
}

fn old_data(prober: &mut Prober) -> Result<bool> {
    let ends = connection_in(prober, "established")?;
    let numbers = (ends.flow.isn.wrapping_sub(FAR), ends.theirs.wrapping_add(1));
    is_translated(prober, &ends, Probe { payload: b"data", ..out(&ends, TcpFlags(0), numbers) })
}

fn old_acknowledgment(prober: &mut Prober) -> Result<bool> {
    let ends = connection_in(prober, "established")?;
    let numbers = (ends.flow.isn.wrapping_add(1), ends.theirs.wrapping_sub(FAR));
    is_translated(prober, &ends, out(&ends, TcpFlags(0), numbers))
}

fn excess(prober: &mut Prober) -> Result<bool> {
    let ends = connection_in(prober, "established")?;
    // The other end has acknowledged the SYN, and offered its window from there on.
    let numbers = (ends.flow.isn.wrapping_add(1 + WINDOW + 1), ends.theirs.wrapping_add(1));
    is_translated(prober, &ends, Probe { payload: b"data", ..out(&ends, TcpFlags(0), numbers) })
}

fn reset_by_sender(prober: &mut Prober) -> Result<bool> {
    let ends = connection_in(prober, "syn_recv")?;
    let flow = ends.flow;
    prober.bench.ask(flow.side, &Probe::syn(flow.inside, flow.remote, flow.isn))?;
    let numbers = (flow.isn.wrapping_add(FAR), flow.isn.wrapping_add(1));
    is_translated(prober, &ends, out(&ends, TcpFlags::RST, numbers))
}

fn reset_in_close(prober: &mut Prober) -> Result<bool> {
    let ends = connection_in(prober, "close")?;
    let numbers = (ends.flow.isn.wrapping_sub(FAR), ends.theirs.wrapping_add(1));
    is_translated(prober, &ends, out(&ends, TcpFlags::RST, numbers))
}

fn reset_with_zero(prober: &mut Prober) -> Result<bool> {
    let flow = Flow { isn: 5, ..prober.flow(Side::Inside0) };
    let ends = drive_flow(prober, flow, way_to("syn_recv"))?.ok_or_else(not_opened)?;
    is_translated(prober, &ends, out(&ends, TcpFlags::RST, (0, ends.theirs.wrapping_add(1))))
}

fn out(ends: &ProbeConnection, flags: TcpFlags, numbers: (u32, u32)) -> Probe {
    Probe::ack((ends.flow.inside, ends.flow.remote), flags, numbers)
}

/// Whether a packet belongs to its connection for the NAT. One that does not leaves as it came.
fn is_translated(prober: &mut Prober, ends: &ProbeConnection, probe: Probe) -> Result<bool> {
    let fate = prober.fate(Side::Inside0, &probe)?;
    Ok(matches!(fate, Fate::Delivered { source, .. } if source == ends.external))
}
