//! The ports a NAT draws from, and how to guess at them. Pure arithmetic.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::classify::{LIKELIER, LIKELIER_CHANCE, Observation, RANDOM_POOL};
use crate::pattern::Pattern;
use crate::predict::range;

/// Linux maps source ports 512 to 1023 into these when it draws at random without a range
/// (`nf_nat_l4proto_unique_tuple`).
pub(crate) const LOW: std::ops::RangeInclusive<u16> = 600..=1023;

/// The source ports that do it.
pub(crate) const LOW_SOURCES: std::ops::RangeInclusive<u16> = 512..=1023;

/// What a NAT draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// What the Linux kernel draws from by itself: 1024 to 65535, the first 1,024 twice as often.
    Kernel,
    /// Its pool for low source ports.
    Low,
    /// About these.
    Range {
        /// First.
        low: u16,
        /// Last.
        high: u16,
    },
    /// Those that have some bits in common.
    Pattern(Pattern),
}

impl Pool {
    /// What these mappings were drawn from.
    #[must_use]
    pub(crate) fn of(observations: &[Observation]) -> Self {
        match range(observations) {
            Some((min, max)) => {
                // Half the span further on both sides: the ends are seldom seen.
                let margin = (max - min) / 2 + 1;
                Self::Range { low: min.saturating_sub(margin).max(1), high: max.saturating_add(margin) }
            }
            None => Pattern::of(observations.iter().map(|seen| seen.external.port()))
                .map_or(Self::Kernel, Self::Pattern),
        }
    }

    /// How many ports it has.
    #[must_use]
    pub(crate) fn size(self) -> u32 {
        match self {
            Self::Kernel => RANDOM_POOL,
            Self::Low => u32::from(*LOW.end() - *LOW.start()) + 1,
            Self::Range { low, high } => u32::from(high - low) + 1,
            Self::Pattern(pattern) => pattern.size(),
        }
    }

    /// The chance that one draw is among the best this many guesses.
    #[must_use]
    pub(crate) fn coverage(self, guesses: u32) -> f64 {
        let even = |guesses: u32, chance: f64| f64::from(guesses) * chance;
        match self {
            Self::Kernel => {
                let likelier = LIKELIER.len() as u32;
                let (first, rest) = (guesses.min(likelier), guesses.saturating_sub(likelier));
                (even(first, LIKELIER_CHANCE) + even(rest, LIKELIER_CHANCE / 2.0)).min(1.0)
            }
            Self::Low | Self::Range { .. } | Self::Pattern(_) => {
                even(guesses, 1.0 / f64::from(self.size())).min(1.0)
            }
        }
    }

    /// The best this many different guesses, likelier ones first, in random order otherwise.
    pub(crate) fn guesses(self, count: u32, rng: &mut impl Rng) -> Vec<u16> {
        let (likelier, all) = match self {
            Self::Kernel => (LIKELIER.start..=LIKELIER.end - 1, LIKELIER.start..=u16::MAX),
            Self::Low => (LOW, LOW),
            Self::Range { low, high } => (seen_part(low, high), low..=high),
            Self::Pattern(pattern) => return fitting(pattern, count, rng),
        };
        let count = count as usize;
        let mut ports: Vec<u16> = likelier.clone().collect();
        ports.shuffle(rng);
        if count > ports.len() {
            let mut rest: Vec<u16> = all.filter(|port| !likelier.contains(port)).collect();
            rest.shuffle(rng);
            ports.extend(rest);
        }
        ports.truncate(count);
        ports
    }

    /// The guess that a number both sides know stands for: among the likeliest, or those surest to exist.
    #[must_use]
    pub(crate) fn agreed_guess(self, number: impl Fn(u16) -> u16) -> u16 {
        match self {
            Self::Kernel => LIKELIER.start + number(LIKELIER.len() as u16),
            Self::Low => LOW.start() + number(LOW.len() as u16),
            Self::Range { low, high } => {
                let seen = seen_part(low, high);
                seen.start() + number(seen.len() as u16)
            }
            Self::Pattern(pattern) => pattern.nth(number(pattern.size() as u16).into()),
        }
    }

    /// How many draws hit one of this many guesses but for a chance of `miss`.
    #[must_use]
    pub(crate) fn draws_needed(self, guesses: u32, miss: f64) -> u32 {
        let coverage = self.coverage(guesses);
        if coverage <= 0.0 {
            return u32::MAX;
        }
        if coverage >= 1.0 {
            return 1;
        }
        (miss.ln() / (1.0 - coverage).ln()).ceil().max(1.0) as u32
    }

    /// Local ports to draw from it with: 0 is any.
    pub(crate) fn sources(self, count: u32, rng: &mut impl Rng) -> Vec<u16> {
        match self {
            Self::Low => {
                let mut ports: Vec<u16> = LOW_SOURCES.collect();
                ports.shuffle(rng);
                ports.truncate(count as usize);
                ports
            }
            Self::Kernel | Self::Range { .. } | Self::Pattern(_) => vec![0; count as usize],
        }
    }
}

/// The ports that fit a pattern best, in random order where they fit alike.
fn fitting(pattern: Pattern, count: u32, rng: &mut impl Rng) -> Vec<u16> {
    let count = count as usize;
    let mut alike: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    for port in 1..=u16::MAX {
        alike.entry(pattern.misfit(port)).or_default().push(port);
    }
    let mut ports = Vec::new();
    for mut next in alike.into_values() {
        let wanted = count - ports.len();
        if wanted == 0 {
            break;
        }
        let (drawn, _) = next.partial_shuffle(rng, wanted);
        ports.extend_from_slice(drawn);
    }
    ports
}

/// The middle half of a range is what was seen, and surely the NAT's.
fn seen_part(low: u16, high: u16) -> std::ops::RangeInclusive<u16> {
    let first = low + (high - low).div_ceil(4);
    first..=first + ((high - low) / 2).max(1) - 1
}

/// A low source port to measure with.
pub(crate) fn low_source(rng: &mut impl Rng) -> u16 {
    rng.random_range(LOW_SOURCES)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::classify::tests::seen;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(1)
    }

    #[test]
    fn likelier_ports_are_guessed_first_and_none_twice() {
        for count in [1, 1000, 1024, 1500, 64_512] {
            let guesses = Pool::Kernel.guesses(count, &mut rng());
            assert_eq!(guesses.len(), count as usize);
            assert!(guesses.iter().take(1024).all(|port| LIKELIER.contains(port)));
            assert_eq!(guesses.iter().collect::<HashSet<_>>().len(), guesses.len());
        }
        assert_eq!(Pool::Low.guesses(9999, &mut rng()).len(), 424);
    }

    #[test]
    fn of_a_range_what_was_seen_is_guessed_first() {
        let close = [10_021, 10_409, 10_911, 10_111, 10_500, 10_050];
        let range = Pool::of(&seen(&close));
        let few = range.guesses(891, &mut rng());
        assert!(few.iter().all(|port| (10_021..=10_911).contains(port)), "{few:?}");
        let all: HashSet<u16> = range.guesses(range.size(), &mut rng()).into_iter().collect();
        assert_eq!(all, (9575..=11_357).collect());
    }

    /// PSID 73 of 8 bits after 4: 15 ranges of 16 ports.
    fn of_share(port: u16) -> bool {
        port >> 4 & 0xff == 73 && port >> 12 > 0
    }

    #[test]
    fn of_a_share_only_its_ports_are_guessed() {
        let drawn = [5_264, 62_623, 9_370, 46_229, 21_656, 33_950];
        let pool = Pool::of(&seen(&drawn));
        assert_eq!(pool.size(), 240);
        let all = pool.guesses(240, &mut rng());
        assert!(all.iter().all(|port| of_share(*port)));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 240);
        assert!((0..=239).all(|number| of_share(pool.agreed_guess(|_| number))));
    }

    /// Six ports of a share have one more bit in common once in ten times, and then half of its ports are guessed first.
    #[test]
    fn bits_that_are_alike_by_chance_cost_little() {
        let mut rng = rng();
        let mut covered = 0.0;
        for _ in 0..300 {
            let mut draw = || (rng.random_range(1..16) << 12) | (73 << 4) | rng.random_range(0..16);
            let drawn: Vec<u16> = (0..6).map(|_| draw()).collect();
            let pool = Pool::of(&seen(&drawn));
            assert!(matches!(pool, Pool::Pattern(_)), "{drawn:?}");
            let guesses = pool.guesses(960, &mut rng);
            covered += guesses.iter().filter(|port| of_share(**port)).count() as f64 / 240.0;
            let first = guesses.iter().take(pool.size() as usize);
            assert!(first.copied().all(of_share), "what is guessed first exists");
        }
        assert!(covered / 300.0 > 0.98, "{covered}");
    }

    #[test]
    fn coverage_is_as_the_kernel_draws() {
        assert!((Pool::Kernel.coverage(1024) - 0.03125).abs() < 1e-9);
        assert!((Pool::Kernel.coverage(64_512) - 1.0).abs() < 1e-9);
        assert!((Pool::Low.coverage(106) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_draws_needed_are_those_of_the_birthday_formula() {
        // 146 draws against 1,024 biased guesses hit with 99 %.
        assert_eq!(Pool::Kernel.draws_needed(1024, 0.01), 146);
        assert_eq!(Pool::Low.draws_needed(424, 0.01), 1);
        assert_eq!(Pool::Kernel.draws_needed(0, 0.01), u32::MAX);
    }

    #[test]
    fn a_range_is_told_from_six_mappings_close_together() {
        let close = [10_021, 10_409, 10_911, 10_111, 10_500, 10_050];
        assert_eq!(Pool::of(&seen(&close)), Pool::Range { low: 9575, high: 11_357 });
        assert_eq!(Pool::of(&seen(&close[..5])), Pool::Kernel);
        assert_eq!(Pool::of(&seen(&[10_021, 10_409, 40_911, 10_111, 10_500, 10_050])), Pool::Kernel);
        for number in [0, u16::MAX] {
            let agreed = Pool::of(&seen(&close)).agreed_guess(|below| number.min(below - 1));
            assert!((10_020..=10_911).contains(&agreed), "{agreed}");
        }
    }

    /// A chance likeness of the few mappings that are measured must not hide the pool from `spray`.
    #[test]
    fn the_kernels_draws_are_hardly_ever_taken_for_a_rule_or_a_range() {
        let mut rng = rng();
        let mut wrong = 0;
        for _ in 0..20_000 {
            let drawn: Vec<u16> = (0..6).map(|_| 1024 + rng.random::<u16>() % 64_512).collect();
            let random =
                crate::classify::allocation(&seen(&drawn)) == Some(crate::classify::Allocation::Random);
            wrong += u32::from(!random || Pool::of(&seen(&drawn)) != Pool::Kernel);
        }
        assert!(wrong <= 3, "{wrong} of 20,000");
    }

    #[test]
    fn agreed_guesses_and_sources_lie_in_their_pools() {
        assert!(LIKELIER.contains(&Pool::Kernel.agreed_guess(|below| below - 1)));
        assert_eq!(Pool::Low.agreed_guess(|below| below - 1), 1023);
        assert!(Pool::Low.sources(500, &mut rng()).iter().all(|port| LOW_SOURCES.contains(port)));
        assert_eq!(Pool::Kernel.sources(2, &mut rng()), [0, 0]);
    }
}
