//! What kind of allocation some fresh mappings show, and how many of them are enough to tell. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::model::behavior::{Allocation, PortRange};
use crate::probe::prove::bulk::enough_to_collide;
use crate::probe::prove::draws::small_counter;
use crate::probe::prove::mapping::common_step;
use crate::probe::prove::room::{ALIKE, draws_like};

/// A fresh mapping: the inside port, and the external one.
pub(super) type Pair = (u16, u16);

/// Mappings that the kind is told from. That random ports from a pool of 64 look like a counter has a probability below
/// 22 * 64^-21.
pub(super) const TELLING: usize = 24;

/// Mappings that are made at least, and by which a limit for one host is looked for.
const LEAST: usize = 64;

/// Mappings by which a limit for one host is looked for, where nothing else takes as many: with the kernel's own pool they
/// also show whether ports are shared.
const FOR_QUOTA: usize = 1_700;

/// The longest walk of a counter: once around the largest pool that rules can write out, and a little more.
const LONGEST_WALK: usize = 16_600;

/// How the first mappings got their ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each keeps its own.
    Kept,
    /// Each is a step from the one before.
    Counted {
        /// The step.
        step: i16,
    },
    /// Neither: at random, by a hash, or kept where it lies in some pool.
    Drawn,
}

/// The kind that these show, in the order in which they were made.
pub(super) fn kind(pairs: &[Pair]) -> Kind {
    if pairs.iter().all(|(inside, external)| inside == external) {
        return Kind::Kept;
    }
    let step = moved(pairs).and_then(|ports| common_step(&ports)).or_else(|| step_around(pairs));
    step.map_or(Kind::Drawn, |step| Kind::Counted { step })
}

/// The step of a counter that went around its few ports more than once.
fn step_around(pairs: &[Pair]) -> Option<i16> {
    let ports: Vec<u16> = pairs.iter().map(|(_, external)| *external).collect();
    let pool = PortRange { low: *ports.iter().min()?, high: *ports.iter().max()? };
    let is_kept = |(inside, external): &Pair| inside == external;
    let needed = draws_like(ALIKE, Some(pool.size())).max(TELLING);
    if ports.len() < needed || pairs.iter().any(is_kept) {
        return None;
    }
    small_counter(pool.into(), Allocation::Random, &ports)
}

/// The first ports that were not kept, as if those that were kept lay not between them: a counter skips them.
///
/// `None` where most are kept: the few others show nothing.
fn moved(pairs: &[Pair]) -> Option<Vec<i32>> {
    let is_kept = |(inside, external): &&Pair| inside == external;
    let kept: BTreeSet<u16> = pairs.iter().filter(is_kept).map(|(_, external)| *external).collect();
    if 2 * pairs.iter().filter(is_kept).count() > pairs.len() {
        return None;
    }
    let moved = pairs.iter().filter(|pair| !is_kept(pair)).take(TELLING);
    let place = |(_, external): &Pair| {
        i32::from(*external) - i32::try_from(kept.range(..external).count()).unwrap_or(0)
    };
    Some(moved.map(place).collect())
}

/// Whether two of these are the same.
pub(super) fn is_shared(externals: &[SocketAddrV4]) -> bool {
    distinct(externals) < externals.len()
}

/// How many different external endpoints there are.
pub(super) fn distinct(externals: &[SocketAddrV4]) -> usize {
    externals.iter().collect::<BTreeSet<_>>().len()
}

/// How many different external addresses there are; at least one.
pub(super) fn addresses(externals: &[SocketAddrV4]) -> u32 {
    let all: BTreeSet<_> = externals.iter().map(SocketAddrV4::ip).collect();
    u32::try_from(all.len()).unwrap_or(1).max(1)
}

/// Whether so many mappings tell how ports are chosen and whether they are shared.
pub(super) fn is_enough(pairs: &[Pair], externals: &[SocketAddrV4]) -> bool {
    if pairs.len() < LEAST {
        return false;
    }
    match kind(pairs) {
        Kind::Kept => pairs.len() >= FOR_QUOTA,
        _ if is_shared(externals) => pairs.len() >= FOR_QUOTA,
        Kind::Counted { .. } => pairs.len() >= LONGEST_WALK,
        // The ends of the pool are not known yet: an eighth more than what was seen. Each address has all of it.
        Kind::Drawn => pairs.len() >= enough_to_collide(span(pairs) * 9 / 8 * addresses(externals)),
    }
}

/// How many ports there are from the lowest to the highest.
fn span(pairs: &[Pair]) -> u32 {
    let ports = || pairs.iter().map(|(_, external)| u32::from(*external));
    ports().max().zip(ports().min()).map_or(0, |(high, low)| high - low + 1)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn drawn(count: usize, low: u16, size: u16) -> Vec<Pair> {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        (0..count)
            .map(|_| (random.random_range(2_048..=u16::MAX), low + random.random_range(0..size)))
            .collect()
    }

    fn counted(count: u16, step: u16) -> Vec<Pair> {
        (0..count).map(|n| (60_000 - n * 7 % 50_000, 20_000 + n * step % 1_000)).collect()
    }

    fn is_enough(pairs: &[Pair]) -> bool {
        super::is_enough(pairs, &externals(pairs, 1))
    }

    /// The external endpoints, of so many addresses in turn.
    fn externals(pairs: &[Pair], addresses: u8) -> Vec<SocketAddrV4> {
        let address =
            |n: usize| [192, 0, 2, 2 + u8::try_from(n % usize::from(addresses)).expect("few")].into();
        pairs.iter().enumerate().map(|(n, (_, port))| SocketAddrV4::new(address(n), *port)).collect()
    }

    #[test]
    fn ports_of_several_addresses_meet_less_often() {
        let exclusive: Vec<Pair> = (0..300).map(|n| (2_048 + n, 20_000 + n * 89 % 1_000)).collect();
        assert!(!super::is_enough(&exclusive, &externals(&exclusive, 3)));
        let twice = [exclusive[0], exclusive[0]];
        assert!(is_shared(&externals(&twice, 1)) && !is_shared(&externals(&twice, 2)));
        assert_eq!(addresses(&externals(&exclusive, 3)), 3);
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        let kept: Vec<Pair> = drawn(64, 1_024, 5_000).iter().map(|(inside, _)| (*inside, *inside)).collect();
        assert_eq!(kind(&kept), Kind::Kept);
        assert_eq!(kind(&counted(64, 3)), Kind::Counted { step: 3 });
        for size in [2, 3, 21, 64, 1_000, 60_000] {
            assert_eq!(kind(&drawn(64, 1_024, size)), Kind::Drawn, "{size}");
        }
        for (size, step) in [(2, 1), (3, 1), (21, 1), (22, 2)] {
            let around: Vec<Pair> = (0..64).map(|n: u16| (60_000 - n, 20_000 + n * step % size)).collect();
            let expected = Kind::Counted { step: i16::try_from(step).expect("small") };
            assert_eq!(kind(&around), expected, "{size} {step}");
        }
    }

    #[test]
    fn mappings_are_made_until_sharing_would_have_shown() {
        assert!(!is_enough(&drawn(63, 1_024, 60_000)));
        assert!(!is_enough(&drawn(300, 1_024, 60_000)), "300 of 60,000 need not meet");
        assert!(is_enough(&drawn(1_700, 1_024, 60_000)));
        let exclusive: Vec<Pair> = (0..300).map(|n| (2_048 + n, 20_000 + n * 89 % 1_000)).collect();
        assert!(
            !is_shared(&externals(&exclusive, 1)) && is_enough(&exclusive),
            "300 of 1,000 would have met"
        );
        assert!(!is_enough(&counted(900, 1)), "a counter goes once around");
        assert!(is_enough(&counted(1_700, 1)));
    }
}
