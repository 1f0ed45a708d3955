//! A small sample of all NATs that can be, in which every two values of every two axes meet, if they can meet at all.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use testbed::model::behavior::{
    Allocation, Behavior, ExternalAddresses, Filtering, Hairpinning, InvalidPackets, Mapping, Overloading,
    Pool, Pooling, PortRange, Strictness, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
};
use testbed::model::port_set::MapShare;

const RANGE: PortRange = PortRange { low: 20_000, high: 20_999 };

const ALLOCATIONS: [Allocation; 5] = [
    Allocation::Preserving,
    Allocation::Sequential { step: 1 },
    Allocation::Sequential { step: -3 },
    Allocation::Random,
    Allocation::Hash { seed: 7 },
];

fn pools() -> [Pool; 5] {
    let islands = MapShare { psid: 73, length: 8, offset: 4 };
    [
        Pool::Kernel,
        Pool::Range(RANGE),
        Pool::Range(PortRange { low: 30_000, high: 40_000 }),
        Pool::Ranges(islands.ports().expect("a good share")),
        Pool::Blocks { range: RANGE, size: 100 },
    ]
}

const ADDRESSES: [ExternalAddresses; 3] = [
    ExternalAddresses::ONE,
    ExternalAddresses { count: 3, pooling: Pooling::Paired },
    ExternalAddresses { count: 4, pooling: Pooling::Arbitrary },
];

const QUOTAS: [Option<u32>; 3] = [None, Some(16), Some(1)];

fn timeouts() -> [Timeouts; 2] {
    let seconds = |s| Some(Duration::from_secs(s));
    let rfc = Timeouts {
        established: seconds(7440),
        syn_sent: seconds(240),
        syn_sent2: seconds(240),
        ..Timeouts::default()
    };
    [Timeouts::default(), rfc]
}

/// A point of the space: the position of its value on each axis.
type Point = [u8; 14];

/// How many values each axis has.
fn sizes() -> Point {
    let sizes = [
        Translation::ALL.len(),
        Mapping::ALL.len(),
        ALLOCATIONS.len(),
        pools().len(),
        Filtering::ALL.len(),
        UnsolicitedSyn::ALL.len(),
        SynAfterSyn::ALL.len(),
        InvalidPackets::ALL.len(),
        Hairpinning::ALL.len(),
        Overloading::ALL.len(),
        Strictness::ALL.len(),
        timeouts().len(),
        QUOTAS.len(),
        ADDRESSES.len(),
    ];
    sizes.map(|size| u8::try_from(size).expect("few values"))
}

fn behavior(point: &Point) -> Behavior {
    let at = |axis: usize| usize::from(point[axis]);
    Behavior {
        translation: Translation::ALL[at(0)],
        mapping: Mapping::ALL[at(1)],
        allocation: ALLOCATIONS[at(2)],
        pool: pools()[at(3)],
        filtering: Filtering::ALL[at(4)],
        unsolicited_syn: UnsolicitedSyn::ALL[at(5)],
        syn_after_syn: SynAfterSyn::ALL[at(6)],
        invalid_packets: InvalidPackets::ALL[at(7)],
        hairpinning: Hairpinning::ALL[at(8)],
        overloading: Overloading::ALL[at(9)],
        strictness: Strictness::ALL[at(10)],
        timeouts: timeouts()[at(11)],
        quota: QUOTAS[at(12)],
        addresses: ADDRESSES[at(13)],
    }
}

/// Two axes and a value on each.
type Pair = (u8, u8, u8, u8);

fn pairs(point: &Point) -> impl Iterator<Item = Pair> + '_ {
    let axes = 0..14u8;
    axes.flat_map(move |a| (a + 1..14).map(move |b| (a, point[usize::from(a)], b, point[usize::from(b)])))
}

/// Every point that can be.
fn possible() -> Vec<Point> {
    let sizes = sizes();
    let mut points = Vec::new();
    let mut point = Point::default();
    loop {
        if behavior(&point).check().is_ok() {
            points.push(point);
        }
        let Some(axis) = (0..14).rev().find(|axis| point[*axis] + 1 < sizes[*axis]) else { return points };
        point[axis] += 1;
        point[axis + 1..].fill(0);
    }
}

/// NATs that cover every pair of values that can meet.
pub(crate) fn covering_sample() -> Vec<Behavior> {
    let possible = possible();
    let mut missing: BTreeSet<Pair> = possible.iter().flat_map(pairs).collect();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut sample = Vec::new();
    while !missing.is_empty() {
        let gain = |point: &&Point| pairs(point).filter(|pair| missing.contains(pair)).count();
        let drawn = (0..200).map(|_| &possible[random.random_range(0..possible.len())]).max_by_key(gain);
        let best = drawn.filter(|point| gain(point) > 0).or_else(|| possible.iter().max_by_key(gain));
        let best = best.expect("something is possible");
        for pair in pairs(best) {
            missing.remove(&pair);
        }
        sample.push(behavior(best));
    }
    sample
}
