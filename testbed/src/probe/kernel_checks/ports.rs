//! Which external port a connection gets: kept, reused, drawn, shared, taken over.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::{Side, WAN};
use crate::probe::prove::frame::Probe;
use crate::probe::prove::lifetimes::{drive_flow, way_to};
use crate::probe::prove::prober::{Fate, Flow, Prober};

use super::rules::{destination, source};
use super::{ALWAYS, CheckSpec, Observed};

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "port-kept",
        asks: "does masquerade keep the source port where it is free?",
        packets: "SYNs from 20 inside ports, each to a remote of its own",
        expected: &[(ALWAYS, &["kept"])],
        rules: || source("masquerade"),
        measure: |p| kept(p, 20),
    },
    CheckSpec {
        id: "port-clash",
        asks: "what does a second host get that uses the same port towards the same remote?",
        packets: "SYNs from one port of two hosts to one remote, 20 times",
        expected: &[(ALWAYS, &["another port of 1024-65535"])],
        rules: || source("masquerade"),
        measure: |p| drawn_on_clash(p, 20, (0..20).map(|n| 30_000 + n).collect(), (1024, 65_535)),
    },
    CheckSpec {
        id: "port-clash-below-512",
        asks: "which ports are drawn for a source port below 512?",
        packets: "SYNs from one port below 512 of two hosts to one remote, 60 times",
        expected: &[(ALWAYS, &["another port of 1-511"])],
        rules: || source("masquerade"),
        measure: |p| drawn_on_clash(p, 60, (0..60).map(|n| 100 + n).collect(), (1, 511)),
    },
    CheckSpec {
        id: "port-clash-below-1024",
        asks: "which ports are drawn for a source port of 512 to 1023?",
        packets: "SYNs from one port of 512 to 1023 of two hosts to one remote, 60 times",
        expected: &[(ALWAYS, &["another port of 600-1023"])],
        rules: || source("masquerade"),
        measure: |p| drawn_on_clash(p, 60, (0..60).map(|n| 700 + n).collect(), (600, 1023)),
    },
    CheckSpec {
        id: "mapping-reused",
        asks: "does a port that was drawn serve the same inside endpoint towards other remotes (endpoint-independent)?",
        packets: "a clash, then SYNs from the second host's endpoint to 10 other remotes",
        expected: &[(ALWAYS, &["reused"])],
        rules: || source("masquerade"),
        measure: reused_after_clash,
    },
    CheckSpec {
        id: "mapping-reused-in-range",
        asks: "is a port that was drawn from a range reused towards other remotes?",
        packets: "SYNs from one inside endpoint outside of the range to 10 remotes",
        expected: &[(ALWAYS, &["reused"])],
        rules: || source("masquerade to :40000-40999"),
        measure: reused,
    },
    CheckSpec {
        id: "mapping-reused-random",
        asks: "is a port reused towards other remotes with the flag random?",
        packets: "SYNs from one inside endpoint to 10 remotes",
        expected: &[(ALWAYS, &["new each time"])],
        rules: || source("masquerade random"),
        measure: reused,
    },
    CheckSpec {
        id: "mapping-reused-fully-random",
        asks: "is a port reused towards other remotes with the flag fully-random?",
        packets: "SYNs from one inside endpoint to 10 remotes",
        expected: &[(ALWAYS, &["new each time"])],
        rules: || source("masquerade fully-random"),
        measure: reused,
    },
    CheckSpec {
        id: "mapping-reused-persistent",
        asks: "does the flag persistent keep a port of a range for the same inside endpoint?",
        packets: "SYNs from one inside endpoint outside of the range to 10 remotes",
        expected: &[(ALWAYS, &["reused"])],
        rules: || source("masquerade to :40000-40999 persistent"),
        measure: reused,
    },
    CheckSpec {
        id: "mapping-reused-fully-random-persistent",
        asks: "… and beside the flag fully-random?",
        packets: "SYNs from one inside endpoint to 10 remotes",
        expected: &[(ALWAYS, &["new each time"])],
        rules: || source("masquerade fully-random,persistent"),
        measure: reused,
    },
    CheckSpec {
        id: "overloading",
        asks: "do two hosts with the same port share an external one towards different remotes?",
        packets: "SYNs from one port of two hosts to two remotes, 10 times",
        expected: &[(ALWAYS, &["shared"])],
        rules: || source("masquerade"),
        measure: overloading,
    },
    CheckSpec {
        id: "time-wait-eviction",
        asks: "may a new connection take the port of one in TIME_WAIT to the same remote?",
        packets: "8 connections through a range of 8 ports, all closed; then 8 new ones to the same remote",
        expected: &[(ALWAYS, &["refused"]), (TIME_WAIT_IS_EVICTED, &["evicted"])],
        rules: || source("masquerade to :40000-40007"),
        measure: |p| eviction(p, 0x0100_0000),
    },
    CheckSpec {
        id: "time-wait-eviction-older-isn",
        asks: "… also one whose sequence number is behind that of the closed connection?",
        packets: "the same, the new connections' sequence numbers lower by 2^24",
        expected: &[(ALWAYS, &["refused"])],
        rules: || source("masquerade to :40000-40007"),
        measure: |p| eviction(p, 0_u32.wrapping_sub(0x0100_0000)),
    },
    CheckSpec {
        id: "dnat-range",
        asks: "which port of a range does dnat choose, without any flag?",
        packets: "SYNs from 16 remotes to the port that is forwarded",
        expected: &[(ALWAYS, &["random"]), (DNAT_TAKES_THE_FIRST, &["first"])],
        rules: || destination("dnat to 10.0.0.2:5000-5063"),
        measure: dnat_range,
    },
    CheckSpec {
        id: "hairpin",
        asks: "what becomes of a SYN from inside to an external endpoint, without a rule for it?",
        packets: "SYN out from one host; SYN from the other to its external endpoint",
        expected: &[(ALWAYS, &["reset by the NAT itself"])],
        rules: || source("masquerade"),
        measure: hairpin,
    },
];

/// "netfilter: snat: evict closing tcp entries on reply tuple collision".
const TIME_WAIT_IS_EVICTED: super::Release = (6, 5);

/// "netfilter: nat: restore default DNAT behavior".
const DNAT_TAKES_THE_FIRST: super::Release = (6, 8);

/// All, none, or how many: a word that only depends on the kernel.
pub(super) fn all_or_none(count: usize, of: usize, all: &str, none: &str) -> Observed {
    let word = match count {
        0 => none.to_owned(),
        n if n == of => all.to_owned(),
        _ => format!("sometimes {all}"),
    };
    Observed::new(word, format!("{count} of {of}"))
}

fn kept(prober: &mut Prober, times: usize) -> Result<Observed> {
    let mut count = 0;
    for _ in 0..times {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        count += usize::from(external == Some(SocketAddrV4::new(WAN, flow.inside.port())));
    }
    Ok(all_or_none(count, times, "kept", "changed"))
}

/// Two hosts use the same port towards the same remote; what the second one gets.
fn clash(prober: &mut Prober, port: u16) -> Result<(Flow, Option<SocketAddrV4>)> {
    let remote = prober.remote();
    let of = |side: Side| SocketAddrV4::new(side.address(), port);
    let first = prober.flow_between(Side::Inside0, of(Side::Inside0), remote);
    prober.open(&first)?;
    let second = prober.flow_between(Side::Inside1, of(Side::Inside1), remote);
    let external = prober.open(&second)?;
    Ok((second, external))
}

fn drawn_on_clash(
    prober: &mut Prober,
    times: usize,
    ports: Vec<u16>,
    (low, high): (u16, u16),
) -> Result<Observed> {
    let mut drawn = Vec::new();
    for port in ports {
        let (_, external) = clash(prober, port)?;
        drawn.extend(external.map(|external| external.port()).filter(|drawn| *drawn != port));
    }
    let (least, most) = (drawn.iter().min().copied(), drawn.iter().max().copied());
    let inside = drawn.len() == times && drawn.iter().all(|port| (low..=high).contains(port));
    let word = if inside { format!("another port of {low}-{high}") } else { "something else".to_owned() };
    let range = least.zip(most).map(|(least, most)| format!(", {least} to {most}")).unwrap_or_default();
    Ok(Observed::new(word, format!("{} of {times} got another port{range}", drawn.len())))
}

/// Whether an endpoint that has an external port gets it towards other remotes, too.
fn count_reuse(prober: &mut Prober, first: Flow, external: Option<SocketAddrV4>) -> Result<Observed> {
    const REMOTES: usize = 10;
    let mut count = 0;
    for _ in 0..REMOTES {
        let remote = prober.remote();
        let flow = prober.flow_between(first.side, first.inside, remote);
        count += usize::from(external.is_some() && prober.open(&flow)? == external);
    }
    // A new port may be the old one by chance, once in 64,512 or in a thousand.
    let word = match count {
        REMOTES => "reused",
        0..=3 => "new each time",
        _ => "sometimes reused",
    };
    Ok(Observed::new(word, format!("{count} of {REMOTES} had the same port")))
}

fn reused(prober: &mut Prober) -> Result<Observed> {
    let (flow, external) = prober.open_fresh(Side::Inside0)?;
    count_reuse(prober, flow, external)
}

fn reused_after_clash(prober: &mut Prober) -> Result<Observed> {
    let (flow, external) = clash(prober, 30_000)?;
    count_reuse(prober, flow, external)
}

fn overloading(prober: &mut Prober) -> Result<Observed> {
    const TIMES: u16 = 10;
    let mut count = 0;
    for port in 30_000..30_000 + TIMES {
        let mut externals = BTreeSet::new();
        for side in [Side::Inside0, Side::Inside1] {
            let remote = prober.remote();
            let flow = prober.flow_between(side, SocketAddrV4::new(side.address(), port), remote);
            externals.insert(prober.open(&flow)?);
        }
        count += usize::from(externals.len() == 1 && !externals.contains(&None));
    }
    Ok(all_or_none(count, usize::from(TIMES), "shared", "not shared"))
}

/// Fills a range of eight ports with closed connections, and counts how many of eight new ones find a way. Their
/// sequence numbers are ahead of the old ones' by `ahead`.
fn eviction(prober: &mut Prober, ahead: u32) -> Result<Observed> {
    const PORTS: usize = 8;
    let close = way_to("time_wait");
    let remote = prober.remote();
    let mut flows = Vec::new();
    for _ in 0..PORTS {
        let inside = prober.inside(Side::Inside0);
        flows.push(prober.flow_between(Side::Inside0, inside, remote));
    }
    // All are open before the first is closed: else the later ones of the eight might take the earlier ones' ports.
    let opened = prober.open_all(&flows)?.into_iter().flatten().count();
    if opened != PORTS {
        return Ok(Observed::new(
            "something else",
            format!("{opened} of {PORTS} connections found a free port"),
        ));
    }
    for flow in &flows {
        drive_flow(prober, *flow, close)?;
    }
    let newest = flows.last().map_or(0, |flow| flow.isn);
    let mut found = 0;
    for n in 0..PORTS as u32 {
        let inside = prober.inside(Side::Inside0);
        // Once only: a retransmission would be a second try.
        let syn = Probe::syn(inside, remote, newest.wrapping_add(ahead).wrapping_add(n));
        found += usize::from(matches!(prober.fate(Side::Inside0, &syn)?, Fate::Delivered { .. }));
    }
    let word = if found > 0 { "evicted" } else { "refused" };
    Ok(Observed::new(word, format!("{found} of {PORTS} new connections found a port")))
}

fn dnat_range(prober: &mut Prober) -> Result<Observed> {
    const TIMES: usize = 16;
    let mut ports = BTreeSet::new();
    for _ in 0..TIMES {
        let remote = prober.remote();
        if let Fate::Delivered { destination, .. } = prober.knock(remote, SocketAddrV4::new(WAN, 80))? {
            ports.insert(destination.port());
        }
    }
    let word = match (ports.len(), ports.first()) {
        (1, Some(5000)) => "first",
        // Sixteen draws of 64 that are all in order by chance: 1 / 16!.
        (2.., _) => "random",
        _ => "something else",
    };
    Ok(Observed::new(word, format!("{} ports for {TIMES} connections", ports.len())))
}

fn hairpin(prober: &mut Prober) -> Result<Observed> {
    let (_, external) = prober.open_fresh(Side::Inside1)?;
    let external = external.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let caller = prober.inside(Side::Inside0);
    let syn = Probe { flags: TcpFlags::SYN, ..Probe::syn(caller, external, prober.isn()) };
    let fate = prober.fate(Side::Inside0, &syn)?;
    let word = match fate {
        Fate::Reset => "reset by the NAT itself",
        Fate::Delivered { .. } => "delivered",
        Fate::ResetFrom(_) | Fate::Icmp(..) | Fate::SynAck | Fate::Silence => "something else",
    };
    Ok(Observed::new(word, fate.to_string()))
}
