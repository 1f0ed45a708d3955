//! Holds the ports that a NAT draws against the distribution that it declares.
//!
//! Each test has a false-alarm rate of at most [`RATE`], all residues and all differences together counting as one test.
//! None assumes more than it must: the kernel reduces 16 random bits to the size of its pool by a remainder
//! (`nf_nat_l4proto_unique_tuple`), so that the first ports of a pool are drawn more often, up to twice as often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use statrs::distribution::{Binomial, DiscreteCDF as _};

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Mapping, Overloading, PortRange, Translation};

use super::bench::Side;
use super::finding::Finding;
use super::mapping::own_pool;
use super::prober::{Flow, Prober};

/// How often a test calls an honest NAT a liar.
const RATE: f64 = 1e-9;

/// Mappings of the quick proof. A counter that jumps once in 40 mappings is missed by it with probability 0.8 %.
const FEW: usize = 192;

/// Mappings of the full proof, at most: a port at an end of a pool of a thousand is then missed with probability 4e-11.
const MANY: usize = 24_000;

/// Mappings for each port of the pool, with which no end of it is missed: exp(-24) = 4e-11.
const FOR_EACH_PORT: usize = 24;

/// A pool of this many ports or more shows neither its ends nor small holes within [`MANY`] mappings, only its distribution.
const LARGE: usize = 1 << 14;

/// Mappings of the full proof from a large pool: they show a share of the ports that is off by 5 % (Dvoretzky, Kiefer and
/// Wolfowitz: `sqrt(ln(2 / RATE) / 2n)`).
const FROM_LARGE: usize = 4_096;

/// Mappings that are made before a look at how many of them were refused.
const AT_A_TIME: usize = 32;

/// Mappings of one inside endpoint, where each connection has its own.
const OF_ONE: usize = 4;

/// What the kernel draws from by itself.
const KERNEL: PortRange = PortRange { low: 1024, high: u16::MAX };

/// The values that the kernel's 16 random bits have.
const BITS: u32 = 65_536;

/// What every run asks: 192 ports.
pub(in crate::probe) fn few(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if !is_told_by_draws(declared) {
        return Ok(Vec::new());
    }
    let draws = draw(prober, declared, FEW)?;
    Ok(vec![judge(declared, &draws)])
}

/// What the full proof asks: as many as show both ends of the pool.
pub(in crate::probe) fn many(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let size = own_pool(declared, Side::Inside0).unwrap_or(KERNEL).size() as usize;
    if declared.allocation != Allocation::Random || !is_told_by_draws(declared) {
        return Ok(Vec::new());
    }
    let count = if size >= LARGE { FROM_LARGE } else { (FOR_EACH_PORT * size).clamp(FEW, MANY) };
    let draws = draw(prober, declared, count)?;
    Ok(vec![judge(declared, &draws)])
}

fn is_told_by_draws(declared: &Behavior) -> bool {
    declared.translation == Translation::Nat
        && matches!(declared.allocation, Allocation::Random | Allocation::Sequential { .. })
}

/// A mapping that was made: by whom, and its port.
pub(in crate::probe) type Draw = (SocketAddrV4, u16);

/// Makes fresh mappings. A pool that is not shared is never more than a quarter full, so that what is taken does not
/// change what is drawn; then everything is forgotten.
pub(in crate::probe) fn draw(prober: &mut Prober, declared: &Behavior, count: usize) -> Result<Vec<Draw>> {
    let size = own_pool(declared, Side::Inside0).unwrap_or(KERNEL).size() as usize;
    let room = match declared.overloading {
        // A SYN whose port is taken is sent again only after a while.
        Overloading::Off => (size / 64).max(64).min(size / 4),
        Overloading::On => 4_096,
    };
    let quota = declared.quota.and_then(|quota| usize::try_from(quota).ok()).unwrap_or(usize::MAX);
    let at_once = room.min(quota).max(1);
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

/// Holds fresh mappings against the allocation that is declared.
pub(in crate::probe) fn judge(declared: &Behavior, draws: &[Draw]) -> Finding {
    let ports: Vec<u16> = draws.iter().map(|(_, port)| *port).collect();
    let range = own_pool(declared, Side::Inside0).unwrap_or(KERNEL);
    let found = match declared.allocation {
        Allocation::Sequential { step } => counter(&ports, range, step),
        _ => Pool::of(range).find(declared, draws, &ports),
    };
    let value = declared.value(NatAxis::Allocation);
    let observed = found.map_or_else(|| value.clone(), |what| format!("{what} ({} mappings)", ports.len()));
    Finding::new(NatAxis::Allocation.name(), value, observed)
}

/// Where a counter did not go on by its step, or from the end of its range to the start.
fn counter(ports: &[u16], range: PortRange, step: i16) -> Option<String> {
    let step = i32::from(step);
    let start = i32::from(if step > 0 { range.low } else { range.high });
    let broken = ports.windows(2).find(|pair| {
        let (one, next) = (i32::from(pair[0]), i32::from(pair[1]));
        let over = !(i32::from(range.low)..=i32::from(range.high)).contains(&(one + step));
        next != if over { start } else { one + step }
    })?;
    Some(format!("after port {} came {}, not a step of {step:+}", broken[0], broken[1]))
}

/// A pool that ports are drawn from at random.
#[derive(Debug, Clone, Copy)]
struct Pool {
    range: PortRange,
}

impl Pool {
    fn of(range: PortRange) -> Self {
        Self { range }
    }

    /// How many of the kernel's 65,536 values are the first `ports` of the pool.
    fn values(self, ports: u32) -> u32 {
        let (each, more) = (BITS / self.range.size(), BITS % self.range.size());
        ports * each + ports.min(more)
    }

    /// The probability of the likeliest port.
    fn likeliest(self) -> f64 {
        f64::from(self.values(1)) / f64::from(BITS)
    }

    /// What is wrong with the draws.
    fn find(self, declared: &Behavior, draws: &[Draw], ports: &[u16]) -> Option<String> {
        self.outside(ports)
            .or_else(|| self.too_few(declared, ports))
            .or_else(|| self.residue(ports))
            .or_else(|| self.difference(ports))
            .or_else(|| self.repeated(draws))
            .or_else(|| self.uneven(ports))
            .or_else(|| self.empty_end(ports))
    }

    fn outside(self, ports: &[u16]) -> Option<String> {
        let port = ports.iter().find(|port| !self.range.contains(**port))?;
        Some(format!("port {port} lies outside {}", self.range))
    }

    /// Too few distinct ports: the exact occupancy distribution if all ports were as likely as the likeliest, which has
    /// fewer distinct ones than the true one.
    fn too_few(self, declared: &Behavior, ports: &[u16]) -> Option<String> {
        if ports.len() > FEW || declared.overloading == Overloading::Off {
            return None;
        }
        let distinct = ports.iter().collect::<BTreeSet<_>>().len();
        let chance = at_most_distinct(ports.len(), distinct, self.likeliest());
        (chance < RATE).then(|| format!("only {distinct} different ports"))
    }

    /// A remainder modulo 2 to 16 that comes too often or too rarely.
    fn residue(self, ports: &[u16]) -> Option<String> {
        const MODULI: std::ops::RangeInclusive<u16> = 2..=16;
        /// All remainders, and both tails of each.
        const TESTS: f64 = 2.0 * 135.0;
        MODULI.flat_map(|modulus| (0..modulus).map(move |rest| (modulus, rest))).find_map(
            |(modulus, rest)| {
                let seen = ports.iter().filter(|port| **port % modulus == rest).count();
                let [least, most] = self.share(modulus, rest);
                let unlikely = tail_at_least(ports.len(), seen, most) < RATE / TESTS
                    || tail_at_most(ports.len(), seen, least) < RATE / TESTS;
                unlikely.then(|| format!("{seen} ports are {rest} modulo {modulus}"))
            },
        )
    }

    /// The least and the most that a remainder has of all draws: even, or with the kernel's bias.
    fn share(self, modulus: u16, rest: u16) -> [f64; 2] {
        // The first ports of the pool are those of one value more (see `values`).
        let (each, more) = (BITS / self.range.size(), BITS % self.range.size());
        let count = self.congruent(self.range.size(), modulus, rest);
        let values = each * count + self.congruent(more, modulus, rest);
        let even = f64::from(count) / f64::from(self.range.size());
        let biased = f64::from(values) / f64::from(BITS);
        [even.min(biased), even.max(biased)]
    }

    /// How many of the first `ports` of the pool leave `rest`.
    fn congruent(self, ports: u32, modulus: u16, rest: u16) -> u32 {
        let first = u32::from((modulus + rest - self.range.low % modulus) % modulus);
        ports.saturating_sub(first).div_ceil(u32::from(modulus))
    }

    /// One distance from each port to the next that comes too often.
    fn difference(self, ports: &[u16]) -> Option<String> {
        let mut seen: BTreeMap<i32, usize> = BTreeMap::new();
        for pair in ports.windows(2) {
            *seen.entry(i32::from(pair[1]) - i32::from(pair[0])).or_default() += 1;
        }
        let (step, times) = seen.into_iter().max_by_key(|(_, times)| *times)?;
        let all = 2.0 * f64::from(self.range.size());
        let chance = all * tail_at_least(ports.len() - 1, times, self.likeliest());
        (chance < RATE).then(|| format!("{times} ports lie {step:+} from the one before"))
    }

    /// Ports that an inside endpoint gets again for another connection.
    fn repeated(self, draws: &[Draw]) -> Option<String> {
        let mut had: BTreeMap<SocketAddrV4, Vec<u16>> = BTreeMap::new();
        let mut again = 0;
        for (inside, port) in draws {
            let had = had.entry(*inside).or_default();
            again += usize::from(had.contains(port));
            had.push(*port);
        }
        let each = (self.likeliest() * (OF_ONE - 1) as f64).min(1.0);
        let chance = tail_at_least(draws.len(), again, each);
        (chance < RATE).then(|| format!("{again} times an endpoint got a port that it had already"))
    }

    /// Too far from the declared distribution anywhere (Dvoretzky, Kiefer, Wolfowitz; Massart 1990).
    fn uneven(self, ports: &[u16]) -> Option<String> {
        let n = ports.len() as f64;
        let bound = ((2.0 / RATE).ln() / (2.0 * n)).sqrt();
        let mut sorted = ports.to_vec();
        sorted.sort_unstable();
        sorted
            .chunk_by(PartialEq::eq)
            .scan(0, |before, same| {
                Some((
                    *before,
                    {
                        *before += same.len();
                        *before
                    },
                    same[0],
                ))
            })
            .find_map(|(before, until, port)| {
                let place = u32::from(port - self.range.low);
                let off = |expected: [f64; 2], seen: usize| {
                    let seen = seen as f64 / n;
                    expected.iter().map(|e| (e - seen).abs()).fold(f64::INFINITY, f64::min)
                };
                let below = |ports: u32| {
                    [
                        f64::from(ports) / f64::from(self.range.size()),
                        f64::from(self.values(ports)) / f64::from(BITS),
                    ]
                };
                let far = off(below(place + 1), until).max(off(below(place), before));
                (far > bound)
                    .then(|| format!("{until} of them are {port} or less, which is too far from even"))
            })
    }

    /// Ports at an end of the pool that never come.
    fn empty_end(self, ports: &[u16]) -> Option<String> {
        let (low, high) = (*ports.iter().min()?, *ports.iter().max()?);
        let least = f64::from(BITS / self.range.size()) / f64::from(BITS);
        let missing =
            |gap: u16| (1.0 - least * f64::from(gap)).powi(i32::try_from(ports.len()).unwrap_or(i32::MAX));
        let empty = missing(low - self.range.low).min(missing(self.range.high - high)) < RATE / 2.0;
        empty.then(|| format!("all ports lie within {low}-{high} of {}", self.range))
    }
}

/// The probability of at most `distinct` different ports among `draws`, when a draw repeats one of `k` with `k` times
/// `each`.
fn at_most_distinct(draws: usize, distinct: usize, each: f64) -> f64 {
    let mut chance = vec![0.0; draws + 1];
    chance[0] = 1.0;
    for _ in 0..draws {
        for k in (0..=draws).rev() {
            let repeat = (each * k as f64).min(1.0);
            let from_fewer =
                if k == 0 { 0.0 } else { chance[k - 1] * (1.0 - (each * (k - 1) as f64).min(1.0)) };
            chance[k] = chance[k] * repeat + from_fewer;
        }
    }
    chance[..=distinct].iter().sum()
}

/// The probability that at least `seen` of `n` come, each with probability `p`.
fn tail_at_least(n: usize, seen: usize, p: f64) -> f64 {
    match (seen.checked_sub(1), Binomial::new(p.clamp(0.0, 1.0), n as u64)) {
        (Some(below), Ok(binomial)) => binomial.sf(below as u64),
        _ => 1.0,
    }
}

/// The probability that at most `seen` of `n` come.
fn tail_at_most(n: usize, seen: usize, p: f64) -> f64 {
    Binomial::new(p.clamp(0.0, 1.0), n as u64).map_or(1.0, |binomial| binomial.cdf(seen as u64))
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_ports_of_a_remainder_are_counted() {
        for (low, high) in [(1024, 65_535), (20_000, 20_999), (1_001, 1_016)] {
            let pool = Pool::of(PortRange { low, high });
            for modulus in 2..=16 {
                for rest in 0..modulus {
                    for ports in [0, 1, 7, pool.range.size() - 1, pool.range.size()] {
                        let all =
                            (u32::from(low)..u32::from(low) + ports).map(|port| port % u32::from(modulus));
                        let counted = all.filter(|port| *port == u32::from(rest)).count();
                        assert_eq!(
                            pool.congruent(ports, modulus, rest) as usize,
                            counted,
                            "{low} {modulus} {rest}"
                        );
                    }
                }
            }
        }
    }
    use crate::model::behavior;

    const RANGE: PortRange = PortRange { low: 40_000, high: 40_999 };

    fn declared(allocation: Allocation) -> Behavior {
        Behavior {
            mapping: Mapping::AddressAndPortDependent,
            allocation,
            pool: behavior::Pool::Range(RANGE),
            ..Behavior::port_preserving()
        }
    }

    fn said(allocation: Allocation, ports: impl IntoIterator<Item = u16>) -> String {
        let inside = |n: u16| SocketAddrV4::new([10, 0, 0, 2].into(), 2_000 + n / 4);
        let draws: Vec<Draw> = (0..).map(inside).zip(ports).collect();
        judge(&declared(allocation), &draws).observed
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
    fn a_port_missing_at_an_end_shows_in_many_draws() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut from = |low: u16, size: u16| -> Vec<u16> {
            (0..MANY).map(|_| low + random.random_range(0..size)).collect()
        };
        let (all, short) = (from(40_000, 1_000), from(40_000, 999));
        assert_eq!(said(Allocation::Random, all), "random");
        assert!(said(Allocation::Random, short).contains("within 40000-40998"));
    }

    #[test]
    fn occupancy_is_exact() {
        // Two draws from ten: the same with probability 1/10. Three from two: both come with probability 3/4.
        assert!((at_most_distinct(2, 1, 0.1) - 0.1).abs() < 1e-12);
        assert!((at_most_distinct(3, 1, 0.5) - 0.25).abs() < 1e-12);
        assert!((at_most_distinct(5, 5, 0.01) - 1.0).abs() < 1e-12);
    }
}
