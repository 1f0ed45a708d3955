//! Whether the ports that a NAT draws are drawn by chance, over all trials of a run. Pure.
//!
//! One draw proves nothing, and a trial has few. So each NAT that declares random ports plays a game against sceptics with
//! capital. Before each draw, a sceptic bets a share of the capital that the port falls into a set of its choice, at odds
//! that are fair or worse for a NAT that draws as declared. So the capital is not expected to grow, and the chance that it
//! ever reaches [`REFUTED`] times the stake is at most one in so many, whenever one looks (Ville's inequality). That is what
//! makes it fit for trials, which end when a draw hits. The stake is spread over all starting points, so that a NAT which
//! draws well for long and badly from then on is found out as well.

use std::fmt;

use crate::judge::reference::Draw;
use crate::model::behavior::PortRange;
use crate::model::port_set::PortSet;

/// The capital at which a NAT is refuted; a run calls an honest NAT a liar once in so many runs, at most.
pub const REFUTED: f64 = 1e9;

/// The kernel takes 16 random bits modulo the size of the pool (`nf_nat_l4proto_unique_tuple`).
const OFFSETS: u32 = 1 << 16;

/// One of several ranges is drawn by 32 random bits (`nft_ng_random`): by this much at most, one comes more often than its size says.
const BY_32_BITS: f64 = 1e-4;

/// How close to the port before a port is suspicious: a pool that is much smaller than declared gives none but such.
const NEAR: u16 = 512;

/// What a sceptic bets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// The port is one that the same inside endpoint had before.
    SameEndpoint,
    /// The port is one that somebody had before.
    FewPorts,
    /// The port is the inside endpoint's own.
    Kept,
    /// The port is the next one.
    Counting,
    /// The port is within [`NEAR`] of the one drawn before, in whatever trial.
    Near,
    /// The port is even, or odd.
    Parity(u16),
    /// The port is not the highest, or not the lowest.
    WithoutHighest,
    WithoutLowest,
}

const SUSPICIONS: [Suspicion; 9] = [
    Suspicion::SameEndpoint,
    Suspicion::FewPorts,
    Suspicion::Kept,
    Suspicion::Counting,
    Suspicion::Near,
    Suspicion::Parity(0),
    Suspicion::Parity(1),
    Suspicion::WithoutHighest,
    Suspicion::WithoutLowest,
];

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameEndpoint => "that the same inside endpoint had had before",
            Self::FewPorts => "that had been drawn before in the same trial",
            Self::Kept => "that the inside endpoint has itself",
            Self::Counting => "right after the one before",
            Self::Near => "near the one before",
            Self::Parity(0) => "that is even",
            Self::Parity(_) => "that is odd",
            Self::WithoutHighest => "below the highest of the pool",
            Self::WithoutLowest => "above the lowest of the pool",
        })
    }
}

impl Suspicion {
    /// The most likely that a NAT which draws as declared makes it come true, and whether it did; `last` is the port drawn before
    /// in the run. `None`: no bet.
    fn of(self, draw: &Draw, last: Option<u16>) -> Option<(f64, bool)> {
        let odds = Odds::of(draw);
        let [low, high] = [draw.pool.low(), draw.pool.high()];
        let (likely, came) = match self {
            Self::SameEndpoint => (odds.some(draw.of_same), draw.is_of_same),
            Self::FewPorts => (odds.some(draw.of_all), draw.is_of_all),
            Self::Kept => (odds.some(1), draw.is_own),
            Self::Counting => {
                let next = draw.before.and_then(|port| port.checked_add(1));
                (odds.some(1), next == Some(draw.port))
            }
            Self::Near => (odds.some(2 * u32::from(NEAR) + 1), draw.port.abs_diff(last?) <= NEAR),
            Self::Parity(rest) => (odds.parity(rest), draw.port % 2 == rest),
            Self::WithoutHighest => (1.0 - odds.least(high), draw.port != high),
            Self::WithoutLowest => (1.0 - odds.least(low), draw.port != low),
        };
        let of_ends = matches!(self, Self::WithoutHighest | Self::WithoutLowest);
        let nothing = likely <= 0.0 || likely >= 1.0 || (of_ends && draw.taken > 0);
        (!nothing).then_some((likely, came))
    }

    /// The share of the capital that is bet.
    fn share(self) -> f64 {
        match self {
            Self::SameEndpoint | Self::FewPorts | Self::Counting => 0.02,
            Self::Kept | Self::Near | Self::Parity(_) => 0.5,
            Self::WithoutHighest | Self::WithoutLowest => 1.0,
        }
    }
}

/// How likely ports are that a NAT draws as declared: first one of its ranges by its size, then an offset into it by 16 random bits.
struct Odds<'a> {
    pool: &'a PortSet,
    taken: u32,
}

impl<'a> Odds<'a> {
    fn of(draw: &'a Draw) -> Self {
        Self { pool: &draw.pool, taken: draw.taken }
    }

    /// What a probability is at most where only a part of the pool is left: a range that is used up gives no port at all.
    fn of_what_is_left(&self, probability: f64) -> f64 {
        if self.pool.as_range().is_some() {
            return probability;
        }
        let left = 1.0 - f64::from(self.taken) / f64::from(self.pool.size());
        if left > 0.0 { probability * (1.0 + BY_32_BITS) / left } else { 1.0 }
    }

    /// The likelihood of the likeliest port: so often at most does an offset lead to it.
    fn most(&self) -> f64 {
        let of_range = |size: u32| f64::from(size) * f64::from(OFFSETS.div_ceil(size));
        let sizes = self.pool.ranges().iter().map(|range| range.size());
        sizes.map(of_range).fold(0.0, f64::max) / f64::from(self.pool.size()) / f64::from(OFFSETS)
    }

    /// The most that so many ports can have together. An offset to one that is taken leads to the next.
    fn some(&self, ports: u32) -> f64 {
        self.of_what_is_left(f64::from(ports.saturating_add(self.taken)) * self.most())
    }

    /// The least that a port at an end of the pool has.
    fn least(&self, port: u16) -> f64 {
        let range = self.pool.ranges().iter().find(|range| range.contains(port));
        let size = range.map_or(1, |range| range.size());
        let of_range = f64::from(OFFSETS / size) / f64::from(OFFSETS);
        let exactly = of_range * f64::from(size) / f64::from(self.pool.size());
        if self.pool.as_range().is_some() { exactly } else { exactly * (1.0 - BY_32_BITS) }
    }

    /// The most that the ports have which leave this rest when halved.
    fn parity(&self, rest: u16) -> f64 {
        let of_range = |range: &PortRange| {
            let size = range.size();
            let with = |ports: u32| (ports + u32::from(range.low % 2 == rest)) / 2;
            let offsets = OFFSETS / size * with(size) + with(OFFSETS % size);
            f64::from(offsets) / f64::from(OFFSETS) * f64::from(size) / f64::from(self.pool.size())
        };
        let even: f64 = self.pool.ranges().iter().map(of_range).sum();
        self.of_what_is_left(even + f64::from(self.taken) * self.most())
    }
}

/// A sceptic's game.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Game {
    capital: f64,
    bets: u32,
    won: u32,
    /// How often it should have won at most.
    expected: f64,
}

/// The games against one NAT.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Games {
    each: [Game; SUSPICIONS.len()],
    last: Option<u16>,
}

impl Games {
    /// Plays on with the draws of a trial. The reason, once they can no longer be chance.
    pub fn play(&mut self, draws: &[Draw]) -> Option<String> {
        /// Beyond this nothing is added, so that capital stays a number.
        const ENOUGH: f64 = 1e100;
        let mut refuted = None;
        for draw in draws {
            for (game, suspicion) in self.each.iter_mut().zip(SUSPICIONS) {
                let Some((likely, came)) = suspicion.of(draw, self.last) else { continue };
                // All stakes together are 1: the sum of 1/n(n+1).
                let stake = 1.0 / (f64::from(game.bets + 1) * f64::from(game.bets + 2));
                let won = if came { suspicion.share() / likely } else { 0.0 };
                game.capital = ((game.capital + stake) * (1.0 - suspicion.share() + won)).min(ENOUGH);
                game.bets = game.bets.saturating_add(1);
                game.won += u32::from(came);
                game.expected += likely;
            }
            self.last = Some(draw.port);
            refuted = refuted.or_else(|| self.refuted());
        }
        refuted
    }

    fn refuted(&self) -> Option<String> {
        let capital: f64 = self.each.iter().map(|game| game.capital).sum();
        let (game, suspicion) =
            self.each.iter().zip(SUSPICIONS).max_by(|a, b| a.0.capital.total_cmp(&b.0.capital))?;
        (capital / SUSPICIONS.len() as f64 >= REFUTED).then(|| {
            let Game { bets, won, expected, .. } = game;
            format!(
                "{won} of {bets} ports that it drew in this run were ports {suspicion}, and {expected:.3} were to be \
                 expected; by chance a run shows this at most once in {REFUTED:.0e}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::model::port_set::MapShare;

    const POOL: PortRange = PortRange { low: 1024, high: 65_535 };

    /// Trials of three connections from one inside endpoint, as `pick` draws their ports.
    fn trials(
        count: usize,
        pool: impl Into<PortSet>,
        mut pick: impl FnMut(&[u16]) -> u16,
    ) -> (Games, Option<usize>) {
        let (mut games, pool) = (Games::default(), pool.into());
        let mut found = None;
        for trial in 0..count {
            let (mut before, mut draws) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let port = pick(&before);
                let different = before.iter().collect::<HashSet<_>>().len() as u32;
                let again = before.contains(&port);
                draws.push(Draw {
                    port,
                    pool,
                    taken: 0,
                    of_same: different,
                    is_of_same: again,
                    is_own: false,
                    of_all: different,
                    is_of_all: again,
                    before: before.last().copied(),
                });
                before.push(port);
            }
            if games.play(&draws).is_some() && found.is_none() {
                found = Some(trial + 1);
            }
        }
        (games, found)
    }

    /// As the kernel draws.
    fn kernel(random: &mut ChaCha8Rng, pool: PortRange) -> u16 {
        let size = u32::from(pool.high) - u32::from(pool.low) + 1;
        pool.low + (random.random_range(0..OFFSETS) % size) as u16
    }

    #[test]
    fn an_honest_nat_wins() {
        for (seed, pool) in [
            (1, POOL),
            (2, PortRange { low: 40_000, high: 40_999 }),
            (3, PortRange { low: 1024, high: 1087 }),
        ] {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (games, found) = trials(20_000, pool, |_| kernel(&mut random, pool));
            assert_eq!(found, None, "{games:?}");
        }
    }

    /// Fifteen ranges of 16 ports.
    fn islands() -> PortSet {
        MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share")
    }

    /// As the rules for several ranges draw: a range first.
    fn from_islands(random: &mut ChaCha8Rng) -> u16 {
        let ranges = islands();
        let range = ranges.ranges()[random.random_range(0..ranges.ranges().len())];
        kernel(random, range)
    }

    #[test]
    fn several_ranges_are_drawn_from_evenly_or_not() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let (games, found) = trials(20_000, islands(), |_| from_islands(&mut random));
        assert_eq!(found, None, "{games:?}");
        let mut even = ChaCha8Rng::seed_from_u64(5);
        assert!(trials(80, islands(), |_| from_islands(&mut even) & !1).1.expect("refuted") <= 40);
    }

    #[test]
    fn the_odds_are_never_better_than_fair() {
        // Over all ranges and offsets, no suspicion comes true more often than it says.
        let one = |low, high| PortSet::from(PortRange { low, high });
        let uneven = [PortRange { low: 5, high: 104 }, PortRange { low: 40_000, high: 61_000 }];
        let uneven = PortSet::of(&uneven).expect("a good set");
        for pool in [POOL.into(), one(40_000, 40_999), one(1025, 1087), islands(), uneven] {
            for suspicion in SUSPICIONS {
                let (mut truth, mut said) = (0.0, 0.0_f64);
                for range in pool.ranges() {
                    let mut came = 0;
                    for (place, port) in (0..).zip(range.low..=range.high) {
                        // So many of the kernel's random numbers lead to this port.
                        let offsets = OFFSETS / range.size() + u32::from(place < OFFSETS % range.size());
                        // In a small pool all ports are near each other.
                        let Some((likely, did)) = suspicion.of(&draw_of_two(pool, port), Some(pool.low()))
                        else {
                            continue;
                        };
                        came += offsets * u32::from(did);
                        said = likely;
                    }
                    let share = f64::from(range.size()) / f64::from(pool.size());
                    truth += share * f64::from(came) / f64::from(OFFSETS);
                }
                assert!(truth <= said + 1e-12, "{suspicion:?} on {pool}: {truth} > {said}");
            }
        }
    }

    /// A draw after those of the ports at both ends of the pool.
    fn draw_of_two(pool: PortSet, port: u16) -> Draw {
        let is_old = [pool.low(), pool.high()].contains(&port);
        Draw {
            port,
            pool,
            taken: 0,
            of_same: 2,
            is_of_same: is_old,
            is_own: port == pool.high(),
            of_all: 2,
            is_of_all: is_old,
            before: Some(pool.low()),
        }
    }

    #[test]
    fn who_does_not_draw_is_found_out() {
        let random = || ChaCha8Rng::seed_from_u64(7);
        let mut first = random();
        let same = |before: &[u16]| match before {
            [_, _] => before[0],
            _ => kernel(&mut first, POOL),
        };
        assert!(trials(40, POOL, same).1.expect("refuted") <= 6);
        let mut second = random();
        assert!(trials(40, POOL, |_| kernel(&mut second, POOL) & !1).1.expect("refuted") <= 20);
        let mut third = 5000;
        assert!(trials(40, POOL, |_| (third += 1, third).1).1.expect("refuted") <= 6);
        // The highest port of a thousand is missing: only thousands of draws show it.
        let (mut fourth, pool) = (random(), PortRange { low: 40_000, high: 40_999 });
        let without = PortRange { high: 40_998, ..pool };
        let found = trials(12_000, pool, |_| kernel(&mut fourth, without)).1.expect("refuted");
        assert!((6_000..9_000).contains(&found), "{found}");
        // All ports come from a small part of the pool.
        let mut fifth = random();
        assert!(trials(40, POOL, |_| kernel(&mut fifth, pool)).1.expect("refuted") <= 6);
    }

    #[test]
    fn who_keeps_the_inside_port_is_found_out_at_once() {
        let draw = |port| Draw {
            port,
            pool: POOL.into(),
            taken: 0,
            of_same: 0,
            is_of_same: false,
            is_own: true,
            of_all: 0,
            is_of_all: false,
            before: None,
        };
        let mut games = Games::default();
        let found = [4_000, 17_000, 9_000, 12_000].map(|port| games.play(&[draw(port)]).is_some());
        assert_eq!(found, [false, false, true, true]);
    }
}
