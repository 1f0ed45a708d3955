//! Finds the seed of a NAT that hashes: the first one with which all its mappings come out as they did. Pure.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::model::behavior::{Allocation, Behavior};
use crate::model::port_set::PortSet;
use crate::probe::prove::hash::HashKey;
use crate::probe::prove::mapping::is_that_hash;
use crate::probe::prove::prober::Flow;

/// How long seeds are tried: all of them take about half of it on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seeds that are tried between two looks at the clock.
const AT_A_TIME: u32 = 1 << 20;

/// What became of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeedSearch {
    /// This one explains every mapping.
    Found(u32),
    /// None of all 2^32 does.
    None,
    /// None below this one does, and time was up.
    Unfinished(u32),
}

/// The seed of a NAT that behaves as `presumed` but for its seed, from mappings that it made in this order, having
/// remembered nothing before.
pub(super) fn search(presumed: &Behavior, pool: PortSet, opened: &[(Flow, SocketAddrV4)]) -> SeedSearch {
    let Some((flow, external)) = opened.first() else { return SeedSearch::None };
    // Nothing is taken yet, so that the first mapping has the first candidate of its hash.
    let key = HashKey::of(presumed.mapping, flow.inside, flow.remote);
    let explains = |seed: u32| {
        key.port(seed, pool) == Some(external.port())
            && is_that_hash(
                &Behavior { allocation: Allocation::Hash { seed }, ..*presumed },
                seed,
                pool,
                opened,
            )
    };
    let started = Instant::now();
    for from in (0..=u32::MAX).step_by(AT_A_TIME as usize) {
        if let Some(seed) = (from..=from + (AT_A_TIME - 1)).find(|seed| explains(*seed)) {
            return SeedSearch::Found(seed);
        }
        if started.elapsed() > PATIENCE {
            return SeedSearch::Unfinished(from + (AT_A_TIME - 1));
        }
    }
    SeedSearch::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{Mapping, Overloading, PortRange};
    use crate::probe::prove::bench::Side;

    #[test]
    fn the_seed_is_found_by_what_it_makes() {
        let range = PortSet::from(PortRange { low: 20_000, high: 20_999 });
        let presumed = Behavior {
            mapping: Mapping::AddressAndPortDependent,
            overloading: Overloading::On,
            ..Behavior::port_preserving()
        };
        let opened: Vec<(Flow, SocketAddrV4)> = (0..8)
            .map(|n| {
                let inside = SocketAddrV4::new([10, 0, 0, 2].into(), 2_048 + 977 * n);
                let remote = SocketAddrV4::new([198, 18, 0, 9].into(), 4_000 + n);
                let port = HashKey::of(presumed.mapping, inside, remote).port(24_301, range).expect("a port");
                let flow = Flow { side: Side::Inside0, inside, remote, isn: 1 };
                (flow, SocketAddrV4::new([192, 0, 2, 2].into(), port))
            })
            .collect();
        assert_eq!(search(&presumed, range, &opened), SeedSearch::Found(24_301));
    }
}
