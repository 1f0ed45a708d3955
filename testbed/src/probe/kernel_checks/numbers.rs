//! How ports are chosen where there are many: the bias of the draw, the limit of the search, the order of a counter.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Instant;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::kernel::error::Result;
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::Side;
use crate::probe::prove::frame::Probe;
use crate::probe::prove::prober::{Fate, Prober};

use super::rules::{counter, source};
use super::{ALWAYS, CheckSpec, Observed};

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "draw-bias",
        asks: "is every port of 1024 to 65535 drawn equally often?",
        packets: "SYNs from 12,000 inside endpoints",
        expected: &[(ALWAYS, &["1024-2047 twice as often"])],
        rules: || source("masquerade fully-random"),
        measure: bias,
    },
    CheckSpec {
        id: "draw-order",
        asks: "are the ports of a range taken one after the other?",
        packets: "SYNs from 60 inside endpoints outside of the range",
        expected: &[(ALWAYS, &["in no order"])],
        rules: || source("masquerade to :40000-40999"),
        measure: order_of_draws,
    },
    CheckSpec {
        id: "range-filled-100",
        asks: "is every port of a range of 100 found?",
        packets: "100 SYNs from inside, each once, to one remote",
        expected: &[(ALWAYS, &["every port found"])],
        rules: || source("masquerade to :40000-40099"),
        measure: |p| filled(p, 100),
    },
    CheckSpec {
        id: "range-filled-2000",
        asks: "is every port of a range found that is larger than the 128 tries of a search?",
        packets: "2,000 SYNs from inside, each once, to one remote",
        expected: &[(ALWAYS, &["ports missed"])],
        rules: || source("masquerade to :40000-41999"),
        measure: |p| filled(p, 2_000),
    },
    CheckSpec {
        id: "search-at-50",
        asks: "is a free port found when 50 % of a range of 1,000 ports are taken?",
        packets: "500 SYNs from the ports of the range to one remote; 200 SYNs from other ports to it, each ended by a reset",
        expected: &[(ALWAYS, &["every search found one"])],
        rules: || source("masquerade to :40000-40999"),
        measure: |p| search(p, 500),
    },
    CheckSpec {
        id: "search-at-90",
        asks: "is a free port found when 90 % of a range of 1,000 ports are taken?",
        packets: "900 SYNs from the ports of the range to one remote; 200 SYNs from other ports to it, each ended by a reset",
        expected: &[(ALWAYS, &["every search found one"])],
        rules: || source("masquerade to :40000-40999"),
        measure: |p| search(p, 900),
    },
    CheckSpec {
        id: "search-at-99",
        asks: "is a free port found when 99 % of a range of 1,000 ports are taken?",
        packets: "990 SYNs from the ports of the range to one remote; 200 SYNs from other ports to it, each ended by a reset",
        expected: &[(ALWAYS, &["most searches found one"])],
        rules: || source("masquerade to :40000-40999"),
        measure: |p| search(p, 990),
    },
    CheckSpec {
        id: "counter-order",
        asks: "does numgen inc go through its ports in order?",
        packets: "SYNs from 8 inside endpoints to one remote",
        expected: &[(ALWAYS, &["in order"])],
        rules: || counter(40_000, 8),
        measure: order_of_counter,
    },
    CheckSpec {
        id: "counter-clash",
        asks: "what becomes of a connection whose port of the counter is in use?",
        packets: "SYNs from 10 inside endpoints to one remote, through a counter of 8 ports",
        expected: &[(ALWAYS, &["dropped"])],
        rules: || counter(40_000, 8),
        measure: counter_clash,
    },
];

/// The port that a SYN, sent once, gets.
fn port_once(prober: &mut Prober, remote: SocketAddrV4) -> Result<Option<u16>> {
    let inside = prober.inside(Side::Inside0);
    let syn = Probe::syn(inside, remote, prober.isn());
    Ok(match prober.fate(Side::Inside0, &syn)? {
        Fate::Delivered { source, .. } => Some(source.port()),
        _ => None,
    })
}

/// Of 12,000 draws, 188 are of the lowest 1,024 ports if all are alike and 375 if these are twice as likely; 272 lies more
/// than five standard deviations from both, so that either is taken for the other once in ten million times.
fn bias(prober: &mut Prober) -> Result<Observed> {
    const DRAWS: usize = 12_000;
    const BETWEEN: usize = 272;
    // A kernel with little memory has room for few connections.
    const ROUND: usize = 2_000;
    let (mut low, mut drawn) = (0, 0);
    for _ in 0..DRAWS / ROUND {
        let flows: Vec<_> = (0..ROUND).map(|_| prober.flow(Side::Inside0)).collect();
        let ports: Vec<u16> = prober.open_all(&flows)?.into_iter().flatten().map(|e| e.port()).collect();
        drawn += ports.len();
        low += ports.iter().filter(|port| (1024..2048).contains(*port)).count();
        prober.bench.forget()?;
    }
    let word = match (drawn == DRAWS, low > BETWEEN) {
        (false, _) => "something else",
        (true, true) => "1024-2047 twice as often",
        (true, false) => "all ports alike",
    };
    Ok(Observed::new(word, format!("{low} of {drawn} were of 1024-2047")))
}

fn order_of_draws(prober: &mut Prober) -> Result<Observed> {
    const DRAWS: usize = 60;
    let mut ports = Vec::new();
    for _ in 0..DRAWS {
        let remote = prober.remote();
        ports.extend(port_once(prober, remote)?);
    }
    let in_turn = ports.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count();
    // Ten of 59 steps of +1 by chance, each 1 in 1,000: 1e-19.
    let word = match (ports.len() == DRAWS, in_turn) {
        (false, _) => "something else",
        (true, 0..10) => "in no order",
        (true, _) => "one after the other",
    };
    Ok(Observed::new(
        word,
        format!("{in_turn} of {} were one more than the last", ports.len().saturating_sub(1)),
    ))
}

/// As many connections to one remote as the range has ports; each tries once.
fn filled(prober: &mut Prober, ports: usize) -> Result<Observed> {
    let remote = prober.remote();
    let mut found = BTreeSet::new();
    for _ in 0..ports {
        found.extend(port_once(prober, remote)?);
    }
    let word = if found.len() == ports { "every port found" } else { "ports missed" };
    Ok(Observed::new(word, format!("{} of {ports}", found.len())))
}

/// How many of 200 connections find a port, each alone, while `taken` ports of 1,000 are in use towards their remote.
///
/// From a random port on, the kernel tries 128 ports in order, then 64, 32 and 16 from other ones
/// (`nf_nat_l4proto_unique_tuple`), 240 in all. The chance that none of them is free is below 1e-10 with 100 free ports and about
/// 9 % with 10: of 200 searches, all are then good once in 1e8.
fn search(prober: &mut Prober, taken: u16) -> Result<Observed> {
    const SEARCHES: usize = 200;
    const PORTS: u16 = 1_000;
    const FIRST: u16 = 40_000;
    let remote = prober.remote();
    let mut ports: Vec<u16> = (FIRST..FIRST + PORTS).collect();
    // The ports that stay free lie scattered, the same ones every time.
    ports.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
    let keep = |port: &u16| SocketAddrV4::new(Side::Inside0.address(), *port);
    let taken_ports = ports.iter().take(usize::from(taken));
    let flows: Vec<_> =
        taken_ports.map(|port| prober.flow_between(Side::Inside0, keep(port), remote)).collect();
    let kept = prober.open_all(&flows)?.into_iter().zip(&flows);
    let kept = kept.filter(|(external, flow)| external.map(|e| e.port()) == Some(flow.inside.port())).count();
    let mut times = Vec::new();
    for n in 0..SEARCHES {
        let inside = SocketAddrV4::new(Side::Inside1.address(), 2_000 + u16::try_from(n).unwrap_or_default());
        let flow = prober.flow_between(Side::Inside1, inside, remote);
        let began = Instant::now();
        let fate = prober.fate(flow.side, &Probe::syn(flow.inside, flow.remote, flow.isn))?;
        let took = began.elapsed();
        if let Fate::Delivered { source, .. } = fate {
            times.push(took);
            let reset = Probe::ack((remote, source), TcpFlags::RST, (0, flow.isn.wrapping_add(1)));
            prober.bench.ask(Side::Outside, &reset)?;
        }
    }
    let word = match (kept == usize::from(taken), times.len()) {
        (false, _) => "something else",
        (true, SEARCHES) => "every search found one",
        (true, found) if found > SEARCHES / 2 => "most searches found one",
        (true, 0) => "no search found one",
        (true, _) => "few searches found one",
    };
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(0, |took| took.as_micros());
    Ok(Observed::new(word, format!("{} of {SEARCHES}, median {median} µs", times.len())))
}

fn counted(prober: &mut Prober, connections: usize) -> Result<Vec<Option<u16>>> {
    let remote = prober.remote();
    (0..connections).map(|_| port_once(prober, remote)).collect()
}

/// Ports in order, `none` where a connection got none.
fn in_words(ports: &[Option<u16>]) -> String {
    let word = |port: &Option<u16>| port.map_or_else(|| "none".to_owned(), |port| port.to_string());
    ports.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn order_of_counter(prober: &mut Prober) -> Result<Observed> {
    let ports = counted(prober, 8)?;
    let in_order = ports.iter().zip(40_000..).all(|(port, expected)| *port == Some(expected));
    Ok(Observed::new(if in_order { "in order" } else { "in no order" }, in_words(&ports)))
}

fn counter_clash(prober: &mut Prober) -> Result<Observed> {
    let ports = counted(prober, 10)?;
    let word = match ports[8..] {
        [None, None] => "dropped",
        [Some(_), Some(_)] => "moved to another port",
        _ => "something else",
    };
    Ok(Observed::new(word, in_words(&ports)))
}
