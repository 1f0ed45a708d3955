//! How entries of connection tracking come to be, what keeps them, and what ends them early.

use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::NatConfig;
use crate::model::evidence::CtEntry;
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::Side;
use crate::probe::prove::frame::Probe;
use crate::probe::prove::lifetimes::{ProbeConnection, left};
use crate::probe::prove::prober::{Fate, Prober};

use super::ports::all_or_none;
use super::rules::{source, with_sysctl, with_table};
use super::states::entry_of;
use super::{ALWAYS, CheckSpec, Observed, connection_in};

/// Tries of what either always happens or never does.
const TRIES: usize = 5;

/// The status bit of an entry whose packets a flowtable forwards (`IPS_OFFLOAD`, nf_conntrack_common.h).
const OFFLOADED: u32 = 1 << 14;

/// The first kernel that was seen to do so; 5.10 does not.
const FIN_GIVES_BACK: super::Release = (6, 1);

/// "netfilter: flowtable: add CLOSING state".
const FIN_GIVES_NOTHING_BACK: super::Release = (6, 14);

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "syn-sent-renewed",
        asks: "does a SYN that is sent again give an unanswered one its whole time again?",
        packets: "SYN out; 2.2 s later the same SYN out",
        expected: &[(ALWAYS, &["not renewed"])],
        rules: || source("masquerade"),
        measure: |p| renewed(p, false),
    },
    CheckSpec {
        id: "syn-sent-renewed-from-outside",
        asks: "… and does a SYN from the remote?",
        packets: "SYN out; 2.2 s later SYN in from the same remote",
        expected: &[(ALWAYS, &["not renewed"])],
        rules: || source("masquerade"),
        measure: |p| renewed(p, true),
    },
    CheckSpec {
        id: "loose-pick-up",
        asks: "is a connection translated whose beginning nobody saw?",
        packets: "ACK with data out, without anything before it",
        expected: &[(ALWAYS, &["translated"])],
        rules: || source("masquerade"),
        measure: picked_up,
    },
    CheckSpec {
        id: "loose-pick-up-off",
        asks: "… and with nf_conntrack_tcp_loose = 0?",
        packets: "ACK with data out, without anything before it",
        expected: &[(ALWAYS, &["leaves untranslated"])],
        rules: || with_sysctl(source("masquerade"), "net.netfilter.nf_conntrack_tcp_loose", "0"),
        measure: picked_up,
    },
    CheckSpec {
        id: "zones",
        asks: "are two connections with the same endpoints kept apart by zones, when both leave by one address?",
        packets: "SYNs with the same endpoints from two devices, each in a zone of its own",
        expected: &[(ALWAYS, &["kept apart"])],
        rules: zones,
        measure: kept_apart,
    },
    CheckSpec {
        id: "masquerade-address-removed",
        asks: "does masquerade forget its connections when the device loses its address?",
        packets: "5 connections opened; the address of the device taken away",
        expected: &[(ALWAYS, &["forgotten"])],
        rules: || source("masquerade"),
        measure: without_address,
    },
    CheckSpec {
        id: "snat-address-removed",
        asks: "… and snat?",
        packets: "5 connections opened; the address of the device taken away",
        expected: &[(ALWAYS, &["kept"])],
        rules: || source("snat to 192.0.2.2"),
        measure: without_address,
    },
    CheckSpec {
        id: "flowtable",
        asks: "does a flowtable take over a translated connection that stands?",
        packets: "5 connections opened; data in both directions",
        expected: &[(ALWAYS, &["taken over"])],
        rules: flowtable,
        measure: taken_over,
    },
    CheckSpec {
        id: "flowtable-after-fin",
        asks: "is such a connection given back at the first FIN, and what time has its entry left?",
        packets: "a connection opened; data in both directions; FIN out",
        expected: &[
            (ALWAYS, &["still taken over"]),
            (FIN_GIVES_BACK, &["given back, FIN_WAIT, 120 s"]),
            (FIN_GIVES_NOTHING_BACK, &["still taken over"]),
        ],
        rules: flowtable,
        measure: after_fin,
    },
];

fn zones() -> NatConfig {
    let table = "table ip zones {\n  chain pre {\n    type filter hook prerouting priority raw\n    \
                 iifname \"lan0\" ct original zone set 1\n    iifname \"lan1\" ct original zone set 2\n  }\n}\n";
    // The same source address comes in by both devices, and the way back to it is one of them.
    let config = with_sysctl(source("masquerade"), "net.ipv4.conf.all.rp_filter", "0");
    with_table(with_sysctl(config, "net.ipv4.conf.lan1.rp_filter", "0"), table)
}

fn flowtable() -> NatConfig {
    let table = "table ip fast {\n  flowtable f {\n    hook ingress priority 0\n    devices = { wan, lan0 }\n  }\n  \
                 chain forward {\n    type filter hook forward priority filter\n    ip protocol tcp flow add @f\n  }\n}\n";
    with_table(source("masquerade"), table)
}

/// The kernel tells the time that is left in whole seconds. More than two of them pass, so that a rounded one cannot be taken
/// for a new beginning.
fn renewed(prober: &mut Prober, from_outside: bool) -> Result<Observed> {
    const PAUSE: Duration = Duration::from_millis(2200);
    let ends = connection_in(prober, "syn_sent")?;
    let before = entry_time(prober, &ends)?;
    thread::sleep(PAUSE);
    let (side, syn) = if from_outside {
        (Side::Outside, Probe::syn(ends.flow.remote, ends.external, ends.theirs))
    } else {
        (ends.flow.side, Probe::syn(ends.flow.inside, ends.flow.remote, ends.flow.isn))
    };
    prober.fate(side, &syn)?;
    let after = entry_time(prober, &ends)?;
    let word = if after + Duration::from_secs(2) <= before { "not renewed" } else { "renewed" };
    Ok(Observed::new(word, format!("{} s left, then {} s", before.as_secs(), after.as_secs())))
}

fn entry_time(prober: &mut Prober, ends: &ProbeConnection) -> Result<Duration> {
    let missing = || Error::other("read how long an entry has left", "there is no such entry");
    left(prober, ends)?.ok_or_else(missing)
}

fn picked_up(prober: &mut Prober) -> Result<Observed> {
    let (mut translated, mut untranslated) = (0, 0);
    for _ in 0..TRIES {
        let flow = prober.flow(Side::Inside0);
        let ack = Probe::ack((flow.inside, flow.remote), TcpFlags(0), (flow.isn, 1));
        match prober.fate(flow.side, &Probe { payload: b"data", ..ack })? {
            Fate::Delivered { source, .. } if source == flow.inside => untranslated += 1,
            Fate::Delivered { .. } => translated += 1,
            _ => {}
        }
    }
    let word = match (translated, untranslated) {
        (TRIES, 0) => "translated",
        (0, TRIES) => "leaves untranslated",
        (0, 0) => "does not leave",
        _ => "something else",
    };
    Ok(Observed::new(word, format!("{translated} translated, {untranslated} not, of {TRIES}")))
}

fn kept_apart(prober: &mut Prober) -> Result<Observed> {
    let mut apart = 0;
    for _ in 0..TRIES {
        let first = prober.flow(Side::Inside0);
        let second = prober.flow_between(Side::Inside1, first.inside, first.remote);
        let externals = (prober.open(&first)?, prober.open(&second)?);
        apart += usize::from(matches!(externals, (Some(one), Some(other)) if one != other));
    }
    Ok(all_or_none(apart, TRIES, "kept apart", "taken for one"))
}

/// The kernel forgets in a worker of its own (nf_nat_masquerade.c), which is waited for.
fn without_address(prober: &mut Prober) -> Result<Observed> {
    const PATIENCE: Duration = Duration::from_secs(2);
    for _ in 0..TRIES {
        prober.open_fresh(Side::Inside0)?;
    }
    let before = prober.bench.conntrack().dump()?.len();
    if before != TRIES {
        return Ok(Observed::new("something else", format!("{before} entries for {TRIES} connections")));
    }
    prober.bench.remove_external_address()?;
    let deadline = Instant::now() + PATIENCE;
    let mut kept = before;
    while kept > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
        kept = prober.bench.conntrack().dump()?.len();
    }
    Ok(all_or_none(kept, TRIES, "kept", "forgotten"))
}

/// A connection that stands and has carried data in both directions; its entry.
fn with_data(prober: &mut Prober) -> Result<(ProbeConnection, Option<CtEntry>)> {
    let ends = connection_in(prober, "established")?;
    let ProbeConnection { flow, external, theirs, .. } = ends;
    let (ours, theirs) = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
    let out = Probe::ack((flow.inside, flow.remote), TcpFlags(0), (ours, theirs));
    let back = Probe::ack((flow.remote, external), TcpFlags(0), (theirs, ours.wrapping_add(4)));
    for (side, probe) in [(flow.side, out), (Side::Outside, back)] {
        prober.bench.ask(side, &Probe { payload: b"data", ..probe })?;
    }
    let entry = entry_of(prober, &flow)?;
    Ok((ends, entry))
}

fn taken_over(prober: &mut Prober) -> Result<Observed> {
    let mut count = 0;
    for _ in 0..TRIES {
        let (_, entry) = with_data(prober)?;
        count += usize::from(entry.is_some_and(|entry| entry.status & OFFLOADED != 0));
    }
    Ok(all_or_none(count, TRIES, "taken over", "not taken over"))
}

fn after_fin(prober: &mut Prober) -> Result<Observed> {
    let (ends, _) = with_data(prober)?;
    let ProbeConnection { flow, theirs, .. } = ends;
    let numbers = (flow.isn.wrapping_add(5), theirs.wrapping_add(5));
    prober.fate(flow.side, &Probe::ack((flow.inside, flow.remote), TcpFlags::FIN, numbers))?;
    let Some(entry) = entry_of(prober, &flow)? else {
        return Ok(Observed::new("forgotten", "there is no entry any more"));
    };
    // The kernel tells no time of an entry that a flowtable holds.
    if entry.status & OFFLOADED != 0 {
        return Ok(Observed::new("still taken over", format!("status {:#x}", entry.status)));
    }
    let left = entry_time(prober, &ends)?;
    let state = entry.state.map_or_else(String::new, |state| state.to_string());
    // Some of the time has passed since the FIN.
    let whole = left.as_secs().next_multiple_of(10);
    Ok(Observed::new(format!("given back, {state}, {whole} s"), format!("{} s left", left.as_secs())))
}
