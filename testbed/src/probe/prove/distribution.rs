//! Holds ports that were drawn against the distribution that a pool declares. Pure.
//!
//! Each test has a false-alarm rate of at most [`RATE`], all residues and all differences together counting as one test.
//! None assumes more than it must: the kernel reduces 16 random bits to the size of its pool by a remainder
//! (`nf_nat_l4proto_unique_tuple`), so that the first ports of a pool are drawn more often, up to twice as often. Of several ranges,
//! one is drawn first, by its size.
//!
//! The ports of several ranges are judged in a row, as if the ranges followed each other without a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use statrs::distribution::{Binomial, DiscreteCDF as _};

use crate::model::behavior::{Behavior, Overloading};
use crate::model::port_set::PortSet;

/// A mapping that was made: by whom, and its port.
pub(in crate::probe) type Draw = (SocketAddrV4, u16);

/// Mappings of one inside endpoint, where each connection has its own.
pub(super) const OF_ONE: usize = 4;

/// Up to this many draws, how many of them are different is told from the exact distribution.
const FEW: usize = 192;

/// How often a test calls an honest NAT a liar.
const RATE: f64 = 1e-9;

/// The values that the kernel's 16 random bits have.
const BITS: u32 = 65_536;

/// How ports come out of a pool that they are drawn from at random.
#[derive(Debug, Clone, Copy)]
pub(super) struct Distribution {
    pool: PortSet,
    size: u32,
}

impl Distribution {
    pub(super) fn of(pool: PortSet) -> Self {
        Self { pool, size: pool.size() }
    }

    /// The share of the draws that the first ports of the pool have, by the kernel.
    fn share_of_first(self, ports: u32) -> f64 {
        let mut left = ports;
        let mut share = 0.0;
        for range in self.pool.ranges() {
            let some = left.min(range.size());
            let (each, more) = (BITS / range.size(), BITS % range.size());
            let of_range = f64::from(some * each + some.min(more)) / f64::from(BITS);
            share += of_range * f64::from(range.size()) / f64::from(self.size);
            left -= some;
        }
        share
    }

    /// The probabilities of the likeliest port and of the least likely one.
    fn extremes(self) -> [f64; 2] {
        let of_each = |values: fn(u32) -> u32| {
            self.pool.ranges().iter().map(move |range| {
                f64::from(values(range.size())) * f64::from(range.size())
                    / f64::from(BITS)
                    / f64::from(self.size)
            })
        };
        [
            of_each(|size| BITS.div_ceil(size)).fold(0.0, f64::max),
            of_each(|size| BITS / size).fold(1.0, f64::min),
        ]
    }

    /// The probability of the likeliest port.
    fn likeliest(self) -> f64 {
        self.extremes()[0]
    }

    /// What is wrong with the ports: some that do not belong to the pool, or some of the pool that never come.
    pub(super) fn wrong_ports(self, draws: &[Draw]) -> Option<String> {
        match self.places(draws) {
            Ok(places) => self.empty_end(&places).or_else(|| self.hole(&places)),
            Err(port) => Some(format!("port {port} lies outside {}", self.pool)),
        }
    }

    /// What is wrong with how they are drawn.
    pub(super) fn wrong_draws(self, declared: &Behavior, draws: &[Draw]) -> Option<String> {
        let places = self.places(draws).ok()?;
        self.too_few(declared, &places)
            .or_else(|| self.residue(&places))
            .or_else(|| self.difference(&places))
            .or_else(|| self.repeated(draws))
            .or_else(|| self.uneven(&places))
    }

    /// The places of the ports in the pool; a port that has none.
    fn places(self, draws: &[Draw]) -> Result<Vec<u32>, u16> {
        draws.iter().map(|(_, port)| self.pool.position(*port).ok_or(*port)).collect()
    }

    /// The port at a place of the pool.
    fn port(self, place: u32) -> u16 {
        self.pool.nth(place).unwrap_or(self.pool.high())
    }

    /// Too few distinct ports: the exact occupancy distribution if all ports were as likely as the likeliest, which has
    /// fewer distinct ones than the true one.
    fn too_few(self, declared: &Behavior, places: &[u32]) -> Option<String> {
        if places.len() > FEW || declared.overloading == Overloading::Off {
            return None;
        }
        let distinct = places.iter().collect::<BTreeSet<_>>().len();
        let chance = at_most_distinct(places.len(), distinct, self.likeliest());
        (chance < RATE).then(|| format!("only {distinct} different ports"))
    }

    /// A remainder modulo 2 to 16 that comes too often or too rarely.
    fn residue(self, places: &[u32]) -> Option<String> {
        const MODULI: std::ops::RangeInclusive<u32> = 2..=16;
        /// All remainders, and both tails of each.
        const TESTS: f64 = 2.0 * 135.0;
        let first = self.first();
        MODULI.flat_map(|modulus| (0..modulus).map(move |rest| (modulus, rest))).find_map(
            |(modulus, rest)| {
                let seen = places.iter().filter(|place| (first + **place) % modulus == rest).count();
                let [least, most] = self.share(modulus, rest);
                let unlikely = tail_at_least(places.len(), seen, most) < RATE / TESTS
                    || tail_at_most(places.len(), seen, least) < RATE / TESTS;
                unlikely.then(|| format!("{seen} ports are {rest} modulo {modulus}{}", self.counted()))
            },
        )
    }

    /// What the first port of the pool counts as.
    fn first(self) -> u32 {
        if self.pool.as_range().is_some() { u32::from(self.pool.low()) } else { 0 }
    }

    /// How numbers of ports are meant.
    fn counted(self) -> &'static str {
        if self.pool.as_range().is_some() { "" } else { ", counted from the first of the ranges on" }
    }

    /// The least and the most that a remainder has of all draws: even, or with the kernel's bias.
    fn share(self, modulus: u32, rest: u32) -> [f64; 2] {
        let (mut start, mut count, mut biased) = (self.first(), 0, 0.0);
        for range in self.pool.ranges() {
            // The first ports of a range are those of one value more.
            let (each, more) = (BITS / range.size(), BITS % range.size());
            let of_range = congruent(start, range.size(), modulus, rest);
            let values = each * of_range + congruent(start, more, modulus, rest);
            biased += f64::from(values) / f64::from(BITS) * f64::from(range.size()) / f64::from(self.size);
            count += of_range;
            start += range.size();
        }
        let even = f64::from(count) / f64::from(self.size);
        [even.min(biased), even.max(biased)]
    }

    /// One distance from each port to the next that comes too often.
    fn difference(self, places: &[u32]) -> Option<String> {
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        for pair in places.windows(2) {
            *seen.entry(i64::from(pair[1]) - i64::from(pair[0])).or_default() += 1;
        }
        let (step, times) = seen.into_iter().max_by_key(|(_, times)| *times)?;
        let all = 2.0 * f64::from(self.size);
        let chance = all * tail_at_least(places.len() - 1, times, self.likeliest());
        (chance < RATE).then(|| format!("{times} ports lie {step:+} from the one before{}", self.counted()))
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
    fn uneven(self, places: &[u32]) -> Option<String> {
        let n = places.len() as f64;
        let bound = ((2.0 / RATE).ln() / (2.0 * n)).sqrt();
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        let mut before = 0;
        for same in sorted.chunk_by(PartialEq::eq) {
            let (place, until) = (same[0], before + same.len());
            let off = |ports: u32, seen: usize| {
                let expected = [f64::from(ports) / f64::from(self.size), self.share_of_first(ports)];
                expected.iter().map(|e| (e - seen as f64 / n).abs()).fold(f64::INFINITY, f64::min)
            };
            if off(place + 1, until).max(off(place, before)) > bound {
                let port = self.port(place);
                return Some(format!("{until} of them are {port} or less, which is too far from even"));
            }
            before = until;
        }
        None
    }

    /// Ports at an end of the pool that never come.
    fn empty_end(self, places: &[u32]) -> Option<String> {
        let (low, high) = (*places.iter().min()?, *places.iter().max()?);
        let missing = |gap: u32| self.missed(gap, places.len());
        let empty = missing(low).min(missing(self.size - 1 - high)) < RATE / 2.0;
        empty.then(|| format!("all ports lie within {}-{} of {}", self.port(low), self.port(high), self.pool))
    }

    /// Ports one after the other that never come, such as a whole range, or one port if there are draws enough. They may begin at any
    /// port of the pool.
    fn hole(self, places: &[u32]) -> Option<String> {
        let seen: BTreeSet<u32> = places.iter().copied().collect();
        let ends = seen.iter().copied().chain([self.size]);
        let starts = [0].into_iter().chain(seen.iter().map(|place| place + 1));
        let (start, end) = starts.zip(ends).max_by_key(|(start, end)| end.saturating_sub(*start))?;
        let chance = f64::from(self.size) * self.missed(end.saturating_sub(start), places.len());
        (end > start && chance < RATE).then(|| {
            let [first, last] = [start, end - 1].map(|place| self.port(place));
            match end - start {
                1 => format!("port {first} never came"),
                missing => format!("{missing} ports never came, from {first} to {last}"),
            }
        })
    }

    /// The probability that certain ports, so many of them, all miss each of so many draws.
    fn missed(self, ports: u32, draws: usize) -> f64 {
        let [_, least] = self.extremes();
        (1.0 - (least * f64::from(ports)).min(1.0)).powi(i32::try_from(draws).unwrap_or(i32::MAX))
    }
}

/// How many of so many numbers from `first` on leave `rest`.
fn congruent(first: u32, numbers: u32, modulus: u32, rest: u32) -> u32 {
    let skipped = (modulus + rest - first % modulus) % modulus;
    numbers.saturating_sub(skipped).div_ceil(modulus)
}

/// The probability of at most `distinct` different ports among `draws`, when a draw repeats one of `k` with `k` times
/// `each`.
pub(super) fn at_most_distinct(draws: usize, distinct: usize, each: f64) -> f64 {
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
pub(super) fn tail_at_least(n: usize, seen: usize, p: f64) -> f64 {
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
    use super::*;
    use crate::model::behavior::PortRange;
    use crate::model::port_set::MapShare;

    #[test]
    fn the_numbers_of_a_remainder_are_counted() {
        for (first, numbers) in [(1_024, 64_512), (0, 1_000), (1_001, 16), (7, 0), (5, 1)] {
            for modulus in 2..=16 {
                for rest in 0..modulus {
                    let counted = (first..first + numbers).filter(|number| number % modulus == rest).count();
                    assert_eq!(
                        congruent(first, numbers, modulus, rest) as usize,
                        counted,
                        "{first} {modulus} {rest}"
                    );
                }
            }
        }
    }

    #[test]
    fn shares_add_up_and_are_the_kernels() {
        let one = |low, high| PortSet::from(PortRange { low, high });
        let islands = MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share");
        let uneven = [PortRange { low: 5, high: 104 }, PortRange { low: 40_000, high: 61_000 }];
        for pool in
            [one(1_024, 65_535), one(20_000, 20_999), islands, PortSet::of(&uneven).expect("a good set")]
        {
            let drawn = Distribution::of(pool);
            assert!((drawn.share_of_first(pool.size()) - 1.0).abs() < 1e-9, "{pool}");
            let [most, least] = drawn.extremes();
            for place in [0, 1, 15, 16, pool.size() - 1].into_iter().filter(|place| *place < pool.size()) {
                let chance = drawn.share_of_first(place + 1) - drawn.share_of_first(place);
                assert!(chance <= most + 1e-12 && chance >= least - 1e-12, "{pool} {place}: {chance}");
            }
            for modulus in 2..=16 {
                let all: [f64; 2] = (0..modulus)
                    .map(|rest| drawn.share(modulus, rest))
                    .fold([0.0; 2], |sum, share| [sum[0] + share[0], sum[1] + share[1]]);
                assert!(all[0] <= 1.0 + 1e-9 && all[1] >= 1.0 - 1e-9, "{pool} modulo {modulus}: {all:?}");
            }
        }
        assert!((Distribution::of(islands).likeliest() - 1.0 / 240.0).abs() < 1e-12);
    }

    #[test]
    fn occupancy_is_exact() {
        // Two draws from ten: the same with probability 1/10. Three from two: both come with probability 3/4.
        assert!((at_most_distinct(2, 1, 0.1) - 0.1).abs() < 1e-12);
        assert!((at_most_distinct(3, 1, 0.5) - 0.25).abs() < 1e-12);
        assert!((at_most_distinct(5, 5, 0.01) - 1.0).abs() < 1e-12);
    }
}
