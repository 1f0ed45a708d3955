//! The pool that ports were drawn from, by the ports that were seen. Pure.
//!
//! What was never drawn is not known to be outside: the fewer draws, the further the ends of the pool may lie beyond the
//! ports that were seen. The bounds are such that they miss an end with a probability below 1e-9, also where the kernel draws
//! the last ports of a pool half as often as the first (`nf_nat_l4proto_unique_tuple` takes the remainder of 16 bits).

use std::collections::BTreeSet;
use std::fmt;

use crate::model::behavior::{Pool, PortRange};
use crate::model::feasibility::MOST_RANGES;
use crate::model::port_set::PortSet;

/// How likely one end of the pool lies beyond its bounds.
const MISSED: f64 = 5e-10;

/// The values that 16 random bits have.
const BITS: u32 = 65_536;

/// How likely the pool goes on beyond the ends that are taken for it, if it goes on at all.
const UNLIKELY: f64 = 1e-3;

/// A pool of this many ports or more takes too many draws to show its ends.
const LARGE: u32 = 1 << 14;

/// The most draws from a large pool, and from another.
const MOST: [usize; 2] = [24_000, 90_000];

/// What the kernel draws from by itself.
pub(super) const KERNEL: PortRange = PortRange { low: 1_024, high: u16::MAX };

/// The ports that were seen, and how far beyond them the pool may go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ends {
    /// From the lowest to the highest that was seen.
    pub(super) seen: PortRange,
    /// How many more there may be at each end.
    pub(super) slack: u16,
    /// How often the least likely port of the pool came, on average.
    of_each: f64,
}

impl Ends {
    /// What these draws say of the pool; `None` without draws.
    pub(super) fn of(ports: &[u16]) -> Option<Self> {
        let seen = PortRange { low: *ports.iter().min()?, high: *ports.iter().max()? };
        let of_each = ports.len() as f64 * least_likely(seen.size());
        let slack = (-MISSED.ln() / of_each).min(f64::from(u16::MAX)).floor() as u16;
        Some(Self { seen, slack, of_each })
    }

    /// Ends that are known exactly.
    pub(super) fn exact(seen: PortRange) -> Self {
        Self { seen, slack: 0, of_each: f64::INFINITY }
    }

    /// The same ends, of which ports within `slack` were never to be seen.
    pub(super) fn blurred(self, slack: u16) -> Self {
        Self { slack, of_each: 0.0, ..self }
    }

    /// Whether the pool may be this one.
    pub(super) fn may_be(self, range: PortRange) -> bool {
        let Self { seen, slack, .. } = self;
        range.low <= seen.low
            && seen.high <= range.high
            && seen.low - range.low <= slack
            && range.high - seen.high <= slack
    }

    /// Whether a range lies within all that the pool may be.
    pub(super) fn may_hold(self, port: u16) -> bool {
        let Self { seen, slack, .. } = self;
        (seen.low.saturating_sub(slack)..=seen.high.saturating_add(slack)).contains(&port)
    }

    /// The pool as people would write it: the kernel's own if it may be that, else the roundest ends that it may have.
    pub(super) fn pool(self) -> Pool {
        if self.may_be(KERNEL) { Pool::Kernel } else { Pool::Range(self.range()) }
    }

    /// The range with the roundest ends that it may well have. Of two that are equally round the wider one is taken: no further
    /// draw refutes it, as the draws of a proof could refute the nearer one, and a port that so many draws may miss is not missed
    /// by the fewer ones of a proof.
    pub(super) fn range(self) -> PortRange {
        let Self { seen, slack, of_each } = self;
        let likely = (-UNLIKELY.ln() / of_each).min(f64::from(slack)).ceil() as u16;
        let lows = seen.low.saturating_sub(likely).max(1)..=seen.low;
        let highs = seen.high..=seen.high.saturating_add(likely);
        // The last of ports that are as round as each other is the one that is taken: the one furthest from what was seen.
        let low = |port: &u16| roundness(u32::from(*port));
        let high = |port: &u16| roundness(u32::from(*port)).max(roundness(u32::from(*port) + 1));
        let (low, high) = (lows.rev().max_by_key(low), highs.max_by_key(high));
        PortRange { low: low.unwrap_or(seen.low), high: high.unwrap_or(seen.high) }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen, slack, .. } = self;
        match slack {
            0 => write!(f, "{seen}, both ends seen"),
            slack => write!(f, "{seen} seen, each end perhaps up to {slack} further"),
        }
    }
}

/// The probability of the port of a pool that is drawn least often.
fn least_likely(size: u32) -> f64 {
    f64::from((BITS / size.max(1)).max(1)) / f64::from(BITS)
}

/// How many draws show both ends of a pool of this size, or as many as are made of it.
pub(super) fn draws_for(size: u32) -> usize {
    let needed = -MISSED.ln() / least_likely(size);
    (needed.ceil() as usize + 1).min(MOST[usize::from(size < LARGE)])
}

/// How often each port must have come, on average, before a pool with gaps is looked at more closely.
const OFTEN: usize = 8;

/// The several ranges that these ports are, if they have been drawn so often that none of the pool can have been missed.
pub(super) fn several(ports: &[u16]) -> Option<PortSet> {
    let set = with_gaps(ports)?;
    (ports.len() >= needed(set.size())).then_some(set)
}

/// How many draws show the pool that these came from: all of its ports where it has gaps, if that does not take too many, and else
/// both ends.
pub(super) fn enough_draws(ports: &[u16]) -> usize {
    let of_gaps = with_gaps(ports).map(|set| needed(set.size())).filter(|needed| *needed <= MOST[1]);
    let of_ends = || Ends::of(ports).map_or(0, |ends| draws_for(ends.seen.size()));
    of_gaps.unwrap_or_else(of_ends)
}

/// The ranges that these ports are, if they are several, and each port came often.
fn with_gaps(ports: &[u16]) -> Option<PortSet> {
    let seen: BTreeSet<u16> = ports.iter().copied().collect();
    let each: Vec<PortRange> = seen.iter().map(|port| PortRange { low: *port, high: *port }).collect();
    let set = PortSet::of(&each)?;
    let several = (2..=MOST_RANGES).contains(&set.ranges().len());
    (several && ports.len() >= OFTEN * seen.len()).then_some(set)
}

/// How many draws miss no port of a pool of so many, but for a probability below 1e-9. A tenth more, because some may be less likely.
fn needed(size: u32) -> usize {
    let size = f64::from(size);
    (1.1 * size * (size.ln() - MISSED.ln())).ceil() as usize
}

/// How round a number is to people: the largest power of ten or of two that divides it.
fn roundness(number: u32) -> u32 {
    let tens = (0..5).rev().map(|n| 10_u32.pow(n)).find(|power| number.is_multiple_of(*power)).unwrap_or(1);
    let twos = 1 << number.trailing_zeros().min(16);
    tens.max(twos)
}

/// How hosts share the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Division {
    /// All draw from the same.
    Shared,
    /// Each has a block of its own: the host of this place among them has the block of the same place.
    Blocks,
    /// Something else, in words.
    Other(String),
}

/// How hosts share the pool, by the ports of the first and those of the others, in their order.
pub(super) fn division(first: Ends, others: &[Vec<u16>]) -> Division {
    let all = |fits: &dyn Fn(usize, u16) -> bool| {
        others
            .iter()
            .enumerate()
            .all(|(n, ports)| !ports.is_empty() && ports.iter().all(|port| fits(n + 1, *port)))
    };
    let own = first.range();
    let block = |place: usize, port: u16| block(own, place).is_some_and(|block| block.contains(port));
    if all(&|_, port| first.may_hold(port)) {
        return Division::Shared;
    }
    if all(&block) {
        return Division::Blocks;
    }
    let seen = others.iter().map(|ports| {
        let ends = Ends::of(ports).map(|ends| ends.seen.to_string());
        ends.unwrap_or_else(|| "none".to_owned())
    });
    let seen: Vec<String> = std::iter::once(first.seen.to_string()).chain(seen).collect();
    Division::Other(format!("hosts have the ports {}", seen.join(", ")))
}

/// The block of the host of this place, if the first host has `own`.
pub(super) fn block(own: PortRange, place: usize) -> Option<PortRange> {
    let size = own.size();
    let low = u32::from(own.low) + size.checked_mul(u32::try_from(place).ok()?)?;
    Some(PortRange { low: u16::try_from(low).ok()?, high: u16::try_from(low + size - 1).ok()? })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::port_set::MapShare;

    fn range(low: u16, high: u16) -> PortRange {
        PortRange { low, high }
    }

    fn draws(count: usize, from: PortRange) -> Vec<u16> {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        (0..count).map(|_| from.low + (random.random_range(0..from.size()) as u16)).collect()
    }

    #[test]
    fn enough_draws_show_both_ends() {
        for from in [range(40_000, 40_999), range(1_024, 1_087), range(7, 500)] {
            let ends = Ends::of(&draws(draws_for(from.size()), from)).expect("draws");
            assert_eq!((ends.slack, ends.pool()), (0, Pool::Range(from)), "{ends}");
        }
    }

    #[test]
    fn fewer_draws_leave_room_and_round_ends_are_taken() {
        let ends = Ends::of(&draws(24_000, range(1_024, 5_119))).expect("draws");
        assert!(ends.slack > 0 && ends.slack < 8, "{ends}");
        assert_eq!(ends.pool(), Pool::Range(range(1_024, 5_120)));
        let ends = Ends::of(&draws(4_096, KERNEL)).expect("draws");
        assert_eq!(ends.pool(), Pool::Kernel);
        let ends = Ends { seen: range(10_003, 10_996), slack: 20, of_each: 1.0 };
        assert_eq!(ends.range(), range(10_000, 11_000));
        // Written 30000-40000 by one, and 30000-39999 by another: as long as draws do not tell, the wider one is taken.
        let ends = |of_each| Ends { seen: range(30_000, 39_999), slack: 9, of_each };
        assert_eq!([1.0, 8.0].map(|of_each| ends(of_each).range().high), [40_000; 2]);
        assert_eq!(Ends::exact(range(30_000, 39_999)).range().high, 39_999);
    }

    #[test]
    fn several_ranges_are_seen_once_there_are_draws_enough() {
        let islands = MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share");
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let mut draw = || islands.nth(random.random_range(0..240)).expect("a port");
        let ports: Vec<u16> = (0..needed(240)).map(|_| draw()).collect();
        assert_eq!(several(&ports), Some(islands));
        assert_eq!(several(&ports[..needed(240) - 1]), None, "not sure yet");
        assert_eq!(enough_draws(&ports[..2_000]), needed(240));
        assert_eq!(enough_draws(&ports[..1_000]), 24_000, "gaps may be chance");
        let whole = draws(draws_for(1_000), range(40_000, 40_999));
        assert_eq!((several(&whole), enough_draws(&whole)), (None, whole.len()));
        // The first draws may not reach the ends.
        assert!(enough_draws(&draws(1_000, range(40_000, 40_985))) < enough_draws(&whole));
        let wide = draws(24_000, range(20_000, 29_999));
        assert_eq!((several(&wide), enough_draws(&wide)), (None, MOST[1]), "gaps by chance");
    }

    #[test]
    fn ends_that_are_seen_are_not_made_rounder() {
        let odd = range(10_003, 10_996);
        assert_eq!(Ends::exact(odd).pool(), Pool::Range(odd));
        assert!(!Ends::exact(odd).may_be(range(10_000, 10_999)));
    }

    #[test]
    fn blocks_are_told_from_a_shared_pool() {
        let own = Ends::exact(range(20_000, 20_063));
        let blocks = |places: std::ops::Range<usize>| -> Vec<Vec<u16>> {
            places.filter_map(|place| Some(draws(24, block(own.seen, place)?))).collect()
        };
        assert_eq!(division(own, &blocks(1..4)), Division::Blocks);
        assert_eq!(division(own, &vec![draws(24, own.seen); 3]), Division::Shared);
        let mut elsewhere = blocks(1..4);
        elsewhere.swap(0, 2);
        let Division::Other(seen) = division(own, &elsewhere) else {
            panic!("an order that nobody declares")
        };
        assert!(seen.starts_with("hosts have the ports 20000-20063, 201"), "{seen}");
        assert!(matches!(division(own, &[Vec::new()]), Division::Other(_)), "a host without ports");
    }
}
