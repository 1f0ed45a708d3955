//! A small sample of all NATs that can be, in which every two values of every two axes meet, if they can meet at all.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Behavior, Collision, ExternalAddresses, Filtering, Hairpinning, InvalidPackets, Mapping,
    Overloading, Pool, Pooling, PortRange, Strictness, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
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

fn timeouts() -> [Timeouts; 4] {
    let seconds = |s| Some(Duration::from_secs(s));
    let rfc = Timeouts {
        established: seconds(7440),
        syn_sent: seconds(240),
        syn_sent2: seconds(240),
        ..Timeouts::default()
    };
    let absolute = Timeouts { absolute: seconds(90), ..Timeouts::default() };
    [Timeouts::default(), rfc, absolute, Timeouts { flush_every: seconds(90), ..Timeouts::default() }]
}

/// How many axes there are.
const AXES: u8 = NatAxis::ALL.len() as u8;

/// A point of the space: the position of its value on each axis.
type Point = [u8; AXES as usize];

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
        Collision::ALL.len(),
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
        collision: Collision::ALL[at(14)],
    }
}

/// Two axes and a value on each.
type Pair = (u8, u8, u8, u8);

fn pairs(point: &Point) -> impl Iterator<Item = Pair> + '_ {
    (0..AXES)
        .flat_map(move |a| (a + 1..AXES).map(move |b| (a, point[usize::from(a)], b, point[usize::from(b)])))
}

/// Every axis with each of its values.
fn every_value() -> Vec<(u8, u8)> {
    let sizes = sizes().into_iter().zip(0..);
    sizes.flat_map(|(size, axis)| (0..size).map(move |value| (axis, value))).collect()
}

/// Every two values of two axes.
fn every_pair() -> BTreeSet<Pair> {
    let values = every_value();
    let two = values.iter().flat_map(|(a, of_a)| values.iter().map(move |(b, of_b)| (*a, *of_a, *b, *of_b)));
    two.filter(|(a, _, b, _)| a < b).collect()
}

/// The point with other values; each is kept with this probability.
fn changed(point: &Point, keep: f64, random: &mut ChaCha8Rng) -> Point {
    let mut sizes = sizes().into_iter();
    point.map(|value| {
        let size = sizes.next().expect("each axis has one");
        if random.random_bool(keep) { value } else { random.random_range(0..size) }
    })
}

fn is_possible(point: &Point) -> bool {
    behavior(point).check().is_ok()
}

/// A point that can be for each value of each axis.
fn one_of_each_value(random: &mut ChaCha8Rng) -> Vec<Point> {
    let mut known: Vec<Point> = Vec::new();
    for (axis, value) in every_value() {
        let axis = usize::from(axis);
        let found = (0..1_000_000).find_map(|_| {
            let mut point = changed(&Point::default(), 0.5, random);
            point[axis] = value;
            is_possible(&point).then_some(point)
        });
        known.push(found.expect("every value goes with something"));
    }
    known
}

/// How often a point with two given values is drawn before they are taken for values that never go together.
const DRAWS: usize = 1000;

/// Of so many points that can be, the one is taken that covers most.
const CANDIDATES: usize = 100;

/// Points that can be, with these two values: what is known of one of the values, changed more or less.
fn drawn_with((a, of_a, b, of_b): Pair, known: &[Point], random: &mut ChaCha8Rng) -> Vec<Point> {
    let (a, b) = (usize::from(a), usize::from(b));
    let alike: Vec<&Point> = known.iter().filter(|point| point[a] == of_a || point[b] == of_b).collect();
    let draw = |n: usize| {
        let mut point = changed(alike[n % alike.len()], [0.5, 0.8, 0.95, 1.0][n % 4], random);
        (point[a], point[b]) = (of_a, of_b);
        point
    };
    (0..DRAWS).map(draw).filter(is_possible).take(CANDIDATES).collect()
}

/// NATs that cover every pair of values that can meet.
pub(crate) fn covering_sample() -> Vec<Behavior> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut known = one_of_each_value(&mut random);
    let mut missing = every_pair();
    let mut sample = Vec::new();
    while let Some(pair) = missing.pop_first() {
        let gain = |point: &Point| pairs(point).filter(|pair| missing.contains(pair)).count();
        if let Some(best) = drawn_with(pair, &known, &mut random).into_iter().max_by_key(gain) {
            missing.retain(|pair| !pairs(&best).any(|covered| covered == *pair));
            sample.push(behavior(&best));
            known.push(best);
        }
    }
    sample
}
