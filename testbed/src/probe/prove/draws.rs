//! Makes mappings, as many as show how a NAT draws or counts its ports. Whether they are drawn as declared, `distribution` says.

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Mapping, Overloading, PortRange, Translation};
use crate::model::datapath::Datapath;
use crate::model::port_set::PortSet;

use super::bench::Side;
use super::distribution::{Distribution, Draw, OF_ONE};
use super::finding::Finding;
use super::prober::{Flow, Prober};
use super::room::{self, own_pool};

/// Mappings of the quick proof. A counter that jumps once in 40 mappings is missed by it with probability 0.8 %.
const FEW: usize = 192;

/// Mappings of the full proof, at most: a port at an end of a pool of a thousand is then missed with probability 4e-11.
const MANY: usize = 24_000;

/// Mappings for each port of the pool, with which no port of up to a thousand is missed: each with a probability of exp(-28) = 7e-13.
const FOR_EACH_PORT: usize = 28;

/// A pool of this many ports or more shows neither its ends nor small holes within [`MANY`] mappings, only its distribution.
const LARGE: usize = 1 << 14;

/// Mappings of the full proof from a large pool: they show a share of the ports that is off by 5 % (Dvoretzky, Kiefer and
/// Wolfowitz: `sqrt(ln(2e9) / 2n)`).
const FROM_LARGE: usize = 4_096;

/// Mappings that are made before a look at how many of them were refused.
const AT_A_TIME: usize = 32;

/// What a NAT of sockets draws.
const OF_CONNECT: &str = "connect() of the NAT's kernel picks the ports, not evenly: from a secret place for each remote endpoint on, by even steps";

/// What the kernel draws from by itself.
const KERNEL: PortRange = PortRange { low: 1024, high: u16::MAX };

/// What every run asks: 192 ports.
pub(in crate::probe) fn few(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if !is_told_by_draws(declared) {
        return Ok(Vec::new());
    }
    if prober.bench.datapath() == Datapath::Sockets {
        return Ok(vec![Finding::not_looked_at("draws", OF_CONNECT)]);
    }
    let draws = draw(prober, declared, FEW)?;
    Ok(judge(declared, &draws).to_vec())
}

/// What the full proof asks: as many as show both ends of the pool.
pub(in crate::probe) fn many(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let size = pool_of_one(declared).size() as usize;
    let of_connect = prober.bench.datapath() == Datapath::Sockets;
    if declared.allocation != Allocation::Random || !is_told_by_draws(declared) || of_connect {
        return Ok(Vec::new());
    }
    let count = if size >= LARGE { FROM_LARGE } else { (FOR_EACH_PORT * size).clamp(FEW, MANY) };
    let draws = draw(prober, declared, count)?;
    Ok(judge(declared, &draws).to_vec())
}

/// What the first host's ports come from.
fn pool_of_one(declared: &Behavior) -> PortSet {
    own_pool(declared, Side::Inside0).unwrap_or_else(|| KERNEL.into())
}

fn is_told_by_draws(declared: &Behavior) -> bool {
    declared.translation == Translation::Nat
        && matches!(declared.allocation, Allocation::Random | Allocation::Sequential { .. })
}

/// Makes fresh mappings. A pool that is not shared is never more than a quarter full, so that what is taken does not
/// change what is drawn; then everything is forgotten.
pub(in crate::probe) fn draw(prober: &mut Prober, declared: &Behavior, count: usize) -> Result<Vec<Draw>> {
    let size = pool_of_one(declared).size() as usize;
    let room = match declared.overloading {
        // A SYN whose port is taken is sent again only after a while.
        Overloading::Off => (size / 64).max(64).min(size / 4),
        Overloading::On => 4_096,
    };
    let limit = room::room(declared).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let at_once = room.min(limit).max(1);
    let mut draws = Vec::with_capacity(count);
    while draws.len() < count {
        prober.bench.forget()?;
        let flows = flows(prober, declared, at_once.min(count - draws.len()));
        for some in flows.chunks(AT_A_TIME) {
            let externals = prober.open_all(some)?;
            let drawn = some.iter().zip(&externals);
            draws.extend(drawn.filter_map(|(flow, external)| Some((flow.inside, (*external)?.port()))));
            // A NAT that refuses most of what it declares to take is a matter for other rows: each refusal takes its time.
            if 2 * externals.iter().flatten().count() < externals.len() {
                return Ok(draws);
            }
        }
    }
    Ok(draws)
}

/// Flows of which each gets a fresh mapping.
fn flows(prober: &mut Prober, declared: &Behavior, count: usize) -> Vec<Flow> {
    let each = declared.mapping == Mapping::AddressAndPortDependent;
    let mut flows: Vec<Flow> = Vec::with_capacity(count);
    for n in 0..count {
        let flow = prober.flow(Side::Inside0);
        let inside = if each && n % OF_ONE != 0 { flows[n - 1].inside } else { flow.inside };
        flows.push(Flow { inside, ..flow });
    }
    flows
}

/// Holds fresh mappings against the allocation and the pool that are declared: a row for each.
pub(in crate::probe) fn judge(declared: &Behavior, draws: &[Draw]) -> [Finding; 2] {
    let ports: Vec<u16> = draws.iter().map(|(_, port)| *port).collect();
    let pool = pool_of_one(declared);
    let (allocation, of_pool) = match declared.allocation {
        Allocation::Sequential { step } => (counter(&ports, pool, step), None),
        _ => {
            let drawn = Distribution::of(pool);
            (drawn.wrong_draws(declared, draws), drawn.wrong_ports(draws))
        }
    };
    [(NatAxis::Allocation, allocation), (NatAxis::Pool, of_pool)].map(|(axis, wrong)| {
        let value = declared.value(axis);
        let seen = |what: String| format!("{what} ({} mappings)", ports.len());
        Finding::new(axis.name(), value.clone(), wrong.map_or(value, seen))
    })
}

/// The step of a counter through a small pool: it goes around often, so that no distance between its ports need come more often than
/// others. The declared step, if that may be it, and else the shortest.
pub(in crate::probe) fn small_counter(pool: PortSet, declared: Allocation, ports: &[u16]) -> Option<i16> {
    let longest = i16::try_from(pool.size().min(room::LARGE)).unwrap_or(0);
    let declared = match declared {
        Allocation::Sequential { step } => Some(step),
        Allocation::Preserving | Allocation::Random | Allocation::Hash { .. } => None,
    };
    let steps = declared.into_iter().chain((1..longest).flat_map(|step| [step, -step]));
    let is_told = (2..room::LARGE).contains(&pool.size()) && ports.len() > 1;
    steps.into_iter().find(|step| is_told && counter(ports, pool, *step).is_none())
}

/// Where a counter did not go on by its step, or from the end of its pool to the start.
fn counter(ports: &[u16], pool: PortSet, step: i16) -> Option<String> {
    let last = i64::from(pool.size()) - 1;
    let start = if step > 0 { 0 } else { last };
    let next = |port: u16| {
        let next = i64::from(pool.position(port)?) + i64::from(step);
        pool.nth(u32::try_from(if (0..=last).contains(&next) { next } else { start }).ok()?)
    };
    let broken = ports.windows(2).find(|pair| next(pair[0]) != Some(pair[1]))?;
    Some(format!("after port {} came {}, not a step of {step:+}", broken[0], broken[1]))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::behavior::{self, PortRange};
    use crate::model::port_set::MapShare;

    const RANGE: PortRange = PortRange { low: 40_000, high: 40_999 };

    fn declared(allocation: Allocation) -> Behavior {
        Behavior {
            mapping: Mapping::AddressAndPortDependent,
            allocation,
            pool: behavior::Pool::Range(RANGE),
            ..Behavior::port_preserving()
        }
    }

    /// What differs, or else the allocation.
    fn what_is_wrong(declared: &Behavior, draws: &[Draw]) -> String {
        let findings = judge(declared, draws);
        let wrong = findings.iter().filter(|finding| !finding.agrees).map(|finding| finding.observed.clone());
        let wrong: Vec<String> = wrong.collect();
        if wrong.is_empty() { findings[0].observed.clone() } else { wrong.join("; ") }
    }

    /// What is said of draws from a pool of several ranges.
    fn said_of(pool: PortSet, ports: impl IntoIterator<Item = u16>) -> String {
        let declared = Behavior { pool: behavior::Pool::Ranges(pool), ..declared(Allocation::Random) };
        what_is_wrong(&declared, &mappings(ports))
    }

    fn mappings(ports: impl IntoIterator<Item = u16>) -> Vec<Draw> {
        let inside = |n: u16| SocketAddrV4::new([10, 0, 0, 2].into(), 2_000 + n % 40_000 / 4);
        (0..).map(inside).zip(ports).collect()
    }

    fn said(allocation: Allocation, ports: impl IntoIterator<Item = u16>) -> String {
        what_is_wrong(&declared(allocation), &mappings(ports))
    }

    #[test]
    fn honest_draws_are_never_refused() {
        // Each judgement has at most seven tests of 1e-9: 2,000 seeds together err once in 70,000 times, and these are
        // fixed.
        for seed in 0..2_000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let ports: Vec<u16> =
                (0..FEW).map(|_| RANGE.low + random.random_range(0..=u16::MAX) % 1_000).collect();
            assert_eq!(said(Allocation::Random, ports), "random", "seed {seed}");
        }
    }

    #[test]
    fn what_is_drawn_otherwise_is_refused_and_named() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut of = |count: u16, port: &dyn Fn(u16) -> u16| -> Vec<u16> {
            (0..FEW).map(|_| port(random.random_range(0..count))).collect()
        };
        let cases = [
            (of(500, &|n| 40_000 + 2 * n), "192 ports are 0 modulo 2"),
            (of(8, &|n| 40_000 + 125 * n), "only 8 different ports"),
            (of(32, &|n| 40_000 + 31 * n), "only 32 different ports"),
            (of(1_001, &|n| 40_100 + n), "lies outside"),
            (of(300, &|n| 40_000 + n), "modulo"),
        ];
        for (ports, expected) in &cases[..4] {
            let said = said(Allocation::Random, ports.iter().copied());
            assert!(said.contains(expected), "{said}");
        }
        assert_ne!(said(Allocation::Random, cases[4].0.iter().copied()), "random");
        let bursts = (0..192).map(|n| 40_000 + (n / 8 * 389 + n % 8) % 1_000);
        assert!(said(Allocation::Random, bursts).contains("lie +1 from the one before"));
        let twice = (0..96).flat_map(|n| [40_000 + n * 7 % 1_000; 2]);
        assert_ne!(said(Allocation::Random, twice), "random");
    }

    #[test]
    fn a_counter_goes_on_by_its_step_and_starts_again_at_the_end() {
        let sequential = Allocation::Sequential { step: 1 };
        let value = declared(sequential).value(NatAxis::Allocation);
        let around = (900..1_092).map(|n| 40_000 + n % 1_000);
        assert_eq!(said(sequential, around), value);
        let skips = (0..192).map(|n| 40_000 + n + u16::from(n > 100));
        assert!(said(sequential, skips).contains("after port 40100 came 40102"));
        let start_elsewhere = [40_998, 40_999, 40_001];
        assert!(said(sequential, start_elsewhere).contains("after port 40999 came 40001"));
    }

    #[test]
    fn a_counter_through_a_small_pool_is_told_from_chance() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for size in 2..64 {
            let pool = PortSet::from(PortRange { low: 5_000, high: 4_999 + size });
            let count = u16::try_from(room::draws_like(10, Some(u32::from(size)))).expect("few");
            let ports: Vec<u16> = (0..count).map(|n| 5_000 + (n + 1) % size).collect();
            assert_eq!(small_counter(pool, Allocation::Random, &ports), Some(1), "{size}");
            let back: Vec<u16> = ports.iter().rev().copied().collect();
            let down = Allocation::Sequential { step: -1 };
            assert_eq!(small_counter(pool, down, &back), Some(-1), "{size}");
            let drawn: Vec<u16> = (0..count).map(|_| 5_000 + random.random_range(0..size)).collect();
            assert_eq!(small_counter(pool, Allocation::Random, &drawn), None, "{size}");
        }
    }

    #[test]
    fn honest_draws_from_a_small_pool_are_never_refused() {
        for (seed, size) in (0..20).flat_map(|seed| (2..64).map(move |size| (seed, size))) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let pool = PortSet::from(PortRange { low: 5_000, high: 4_999 + size });
            for count in [FEW, FOR_EACH_PORT * usize::from(size)] {
                let ports = drawn(&mut random, pool, count.max(FEW));
                assert_eq!(said_of(pool, ports), "random", "{size} ports, seed {seed}");
            }
        }
    }

    #[test]
    fn a_port_missing_at_an_end_shows_in_many_draws() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut from = |low: u16, size: u16| -> Vec<u16> {
            (0..MANY).map(|_| low + random.random_range(0..size)).collect()
        };
        let (all, short) = (from(40_000, 1_000), from(40_000, 999));
        assert_eq!(said(Allocation::Random, all), "random");
        assert!(said(Allocation::Random, short).contains("within 40000-40998"));
    }

    /// Draws as the kernel and our rules make them.
    fn drawn(random: &mut ChaCha8Rng, pool: PortSet, count: usize) -> Vec<u16> {
        let mut draw = || pool.nth(random.random_range(0..pool.size())).expect("a port");
        (0..count).map(|_| draw()).collect()
    }

    #[test]
    fn of_several_ranges_each_bound_is_found() {
        let share = MapShare { psid: 73, length: 8, offset: 4 };
        let islands = share.ports().expect("a good share");
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let (few, many) =
            (drawn(&mut random, islands, FEW), drawn(&mut random, islands, FOR_EACH_PORT * 240));
        assert_eq!(said_of(islands, few.iter().copied()), "random");
        assert_eq!(said_of(islands, many.iter().copied()), "random");
        // Any one port less than declared, at the ends of the ranges and within, or one range less.
        for missing in islands.ranges().iter().flat_map(|range| [range.low, range.low + 7, range.high]) {
            let ports = many.iter().copied().filter(|port| *port != missing);
            let said = said_of(islands, ports);
            assert!(
                said.contains("never came") || said.contains("all ports lie within"),
                "{missing}: {said}"
            );
        }
        for range in islands.ranges() {
            let ports = many.iter().copied().filter(|port| !range.contains(*port));
            assert_ne!(said_of(islands, ports), "random", "{range}");
        }
        // One more than declared.
        let fewer = PortSet::of(&islands.ranges()[1..]).expect("some are left");
        assert!(said_of(fewer, many.iter().copied()).contains("lies outside"));
        // All that lies between them as well.
        let whole = PortSet::from(PortRange { low: islands.low(), high: islands.high() });
        assert!(said_of(whole, few.iter().copied()).contains("different ports"));
    }

    #[test]
    fn a_counter_steps_from_one_range_to_the_next() {
        let islands = MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share");
        let all: Vec<u16> = islands.ports().collect();
        assert_eq!(counter(&all, islands, 1), None);
        assert_eq!(counter(&[5_279, 9_360], islands, 1), None);
        assert_eq!(counter(&[62_623, 5_264], islands, 1), None);
        assert!(counter(&[5_279, 5_280], islands, 1).is_some());
    }

    #[test]
    fn many_seeds_of_several_ranges_are_never_refused() {
        let islands = MapShare { psid: 21, length: 6, offset: 6 }.ports().expect("a good share");
        for seed in 0..500 {
            let ports = drawn(&mut ChaCha8Rng::seed_from_u64(seed), islands, FEW);
            assert_eq!(said_of(islands, ports), "random", "seed {seed}");
        }
    }
}
