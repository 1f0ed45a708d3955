//! The proof finds that every NAT does what it declares, and names the axis of one that does not.

use std::collections::BTreeSet;
use std::time::Duration;

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Behavior, Collision, ExternalAddresses, Filtering, Hairpinning, InvalidPackets, Mapping,
    Overloading, Pool, Pooling, PortRange, Strictness, SynAfterSyn, Timeouts, UnsolicitedSyn,
};
use testbed::model::catalogue::Catalogue;
use testbed::model::event::ProofResult;
use testbed::model::port_set::{MapShare, PortSet};
use testbed::probe::prove::{Depth, Subject, prove, site};

use super::collisions::colliding;
use super::covering::covering_sample;
use super::{lab_is_possible, on_benches};

/// Proves all of them, several at a time.
pub(crate) fn prove_all(subjects: Vec<Subject>, depth: Depth) -> Vec<ProofResult> {
    on_benches(subjects.into_iter().map(|subject| prove(subject, depth)))
}

/// Whether the proof says that the NAT is not as declared on this axis.
pub(crate) fn names(result: &ProofResult, axis: NatAxis) -> bool {
    result.rows.iter().any(|row| !row.agrees && row.axis == axis.name())
}

/// The proof as a table, for a test that fails.
pub(crate) fn table(result: &ProofResult) -> String {
    let mut text = format!("{} took {:?} {:?}\n", result.nat, result.took, result.error);
    for row in &result.rows {
        let mark = if row.agrees { ' ' } else { '!' };
        text += &format!("{mark} {:<20} {:<36} {}\n", row.axis, row.expected, row.observed);
    }
    text
}

#[test]
fn every_profile_of_the_catalogue_does_what_it_declares() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    let subjects = catalogue.profiles().map(|p| Subject::generated(&p.name, &p.behavior)).collect();
    for result in prove_all(subjects, Depth::Full) {
        assert!(result.holds(), "{}", table(&result));
    }
}

#[test]
fn every_two_behaviours_that_go_together_do_what_they_declare() {
    if !lab_is_possible() {
        return;
    }
    let sample = covering_sample();
    let subject = |(n, behavior)| Subject::generated(format!("sample {n}"), behavior);
    let results = prove_all(sample.iter().enumerate().map(subject).collect(), Depth::Full);
    let wrong: Vec<_> = results
        .iter()
        .zip(&sample)
        .filter(|(result, _)| !result.holds())
        .map(|(result, behavior)| format!("{}{behavior:?}\n", table(result)))
        .collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Hosts keep ports within the pool and draw from it otherwise: both are asked for with whatever ports there are.
#[test]
fn pools_without_a_port_within_or_beside_them_from_2048_on_are_proved() {
    if !lab_is_possible() {
        return;
    }
    let mut subjects = Vec::new();
    for (low, high) in [
        (20_000, 20_999),
        (2_000, 2_063),
        (1_024, 1_087),
        (600, 1_023),
        (2_049, 65_535),
        (1_024, 65_535),
        (1, 65_535),
    ] {
        for overloading in [Overloading::On, Overloading::Off] {
            let pool = Pool::Range(PortRange { low, high });
            let behavior = Behavior { pool, overloading, ..Behavior::port_preserving() };
            subjects.push(Subject::generated(format!("{low}-{high}, {overloading}"), &behavior));
        }
    }
    for depth in [Depth::Quick, Depth::Full] {
        let results = prove_all(subjects.clone(), depth);
        let wrong: Vec<String> = results.iter().filter(|result| !result.holds()).map(table).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{}", wrong.join("\n"));
    }
}

/// The ports of a subscriber of MAP: 15 ranges of 16 ports.
fn islands() -> PortSet {
    MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share")
}

/// NATs that together show every axis.
fn honest() -> Vec<Behavior> {
    let preserving = Behavior::port_preserving();
    let range = PortRange { low: 20_000, high: 20_999 };
    let random = Behavior { allocation: Allocation::Random, ..preserving };
    let cone = Behavior {
        filtering: Filtering::EndpointIndependent,
        overloading: Overloading::Off,
        hairpinning: Hairpinning::On,
        ..random
    };
    vec![
        preserving,
        Behavior { mapping: Mapping::AddressAndPortDependent, ..random },
        Behavior { allocation: Allocation::Sequential { step: 1 }, pool: Pool::Range(range), ..random },
        Behavior { allocation: Allocation::Hash { seed: 1 }, pool: Pool::Range(range), ..random },
        Behavior { pool: Pool::Blocks { range, size: 250 }, ..random },
        Behavior { mapping: Mapping::AddressAndPortDependent, pool: Pool::Ranges(islands()), ..random },
        cone,
        Behavior { mapping: Mapping::AddressDependent, filtering: Filtering::AddressDependent, ..cone },
        Behavior { unsolicited_syn: UnsolicitedSyn::IcmpAfterSixSeconds, quota: Some(40), ..cone },
        Behavior { addresses: pool(3, Pooling::Paired), ..random },
        Behavior { addresses: pool(3, Pooling::Arbitrary), ..preserving },
        Behavior { addresses: pool(2, Pooling::Arbitrary), ..cone },
        Behavior { unsolicited_syn: UnsolicitedSyn::Kernel, strictness: Strictness::Liberal, ..preserving },
        colliding(Collision::Sequential),
        Behavior::firewall(),
        Behavior::router(),
    ]
}

fn pool(count: u8, pooling: Pooling) -> ExternalAddresses {
    ExternalAddresses { count, pooling }
}

/// Every lie about one axis of `honest` that is not impossible on the face of it.
fn lies(honest: &Behavior) -> Vec<(NatAxis, Behavior)> {
    let mut lies = Vec::new();
    for axis in NatAxis::ALL.iter().copied() {
        for change in values(axis) {
            let mut declared = *honest;
            change(&mut declared);
            if declared != *honest && declared.check().is_ok() {
                lies.push((axis, declared));
            }
        }
    }
    lies
}

/// What sets an axis to a value.
type Change = Box<dyn Fn(&mut Behavior)>;

/// Sets an axis to each of `values` in turn.
fn each<T: Copy + 'static>(
    values: impl IntoIterator<Item = T>,
    set: impl Fn(&mut Behavior, T) + Copy + 'static,
) -> Vec<Change> {
    let change = |value| -> Change { Box::new(move |behavior: &mut Behavior| set(behavior, value)) };
    values.into_iter().map(change).collect()
}

/// The values of an axis that are tried as lies. Translation has its own test.
fn values(axis: NatAxis) -> Vec<Change> {
    match axis {
        NatAxis::Translation => Vec::new(),
        NatAxis::Mapping => each(Mapping::ALL.iter().copied(), |b, value| b.mapping = value),
        NatAxis::Allocation => each(ALLOCATIONS, |b, value| b.allocation = value),
        NatAxis::Collision => each(Collision::ALL.iter().copied(), |b, value| b.collision = value),
        NatAxis::Pool => each(pools(), |b, value| b.pool = value),
        NatAxis::Addresses => each(
            [
                ExternalAddresses::ONE,
                pool(2, Pooling::Paired),
                pool(2, Pooling::Arbitrary),
                pool(3, Pooling::Paired),
                pool(3, Pooling::Arbitrary),
                pool(4, Pooling::Paired),
                pool(4, Pooling::Arbitrary),
            ],
            |b, value| b.addresses = value,
        ),
        NatAxis::Filtering => each(Filtering::ALL.iter().copied(), |b, value| b.filtering = value),
        NatAxis::UnsolicitedSyn => {
            each(UnsolicitedSyn::ALL.iter().copied(), |b, value| b.unsolicited_syn = value)
        }
        NatAxis::SynAfterSyn => each(SynAfterSyn::ALL.iter().copied(), |b, value| b.syn_after_syn = value),
        NatAxis::InvalidPackets => {
            each(InvalidPackets::ALL.iter().copied(), |b, value| b.invalid_packets = value)
        }
        NatAxis::Hairpinning => each(Hairpinning::ALL.iter().copied(), |b, value| b.hairpinning = value),
        NatAxis::Overloading => each(Overloading::ALL.iter().copied(), |b, value| b.overloading = value),
        NatAxis::Strictness => each(Strictness::ALL.iter().copied(), |b, value| b.strictness = value),
        NatAxis::Quota => each([None, Some(10), Some(39), Some(41)], |b, value| b.quota = value),
        NatAxis::Timeouts => {
            each(TIMERS, |b, timer| *timer(&mut b.timeouts) = Some(Duration::from_secs(3600)))
        }
    }
}

const ALLOCATIONS: [Allocation; 7] = [
    Allocation::Preserving,
    Allocation::Random,
    Allocation::Sequential { step: 1 },
    Allocation::Sequential { step: 2 },
    Allocation::Sequential { step: -1 },
    Allocation::Hash { seed: 1 },
    Allocation::Hash { seed: 2 },
];

fn pools() -> [Pool; 9] {
    let range = |low, high| PortRange { low, high };
    let islands = islands();
    [
        Pool::Kernel,
        Pool::Range(range(20_000, 20_999)),
        Pool::Range(range(20_000, 20_499)),
        Pool::Range(range(19_500, 20_999)),
        Pool::Blocks { range: range(20_000, 20_999), size: 250 },
        Pool::Blocks { range: range(20_000, 20_999), size: 125 },
        Pool::Ranges(islands),
        Pool::Range(range(islands.low(), islands.high())),
        Pool::Ranges(PortSet::of(&islands.ranges()[1..]).expect("some are left")),
    ]
}

const TIMERS: [fn(&mut Timeouts) -> &mut Option<Duration>; 13] = [
    |t| &mut t.syn_sent,
    |t| &mut t.syn_sent2,
    |t| &mut t.syn_recv,
    |t| &mut t.established,
    |t| &mut t.fin_wait,
    |t| &mut t.close_wait,
    |t| &mut t.last_ack,
    |t| &mut t.time_wait,
    |t| &mut t.close,
    |t| &mut t.unacknowledged,
    |t| &mut t.max_retrans,
    |t| &mut t.absolute,
    |t| &mut t.flush_every,
];

#[test]
fn a_lie_about_any_axis_is_caught_and_named() {
    if !lab_is_possible() {
        return;
    }
    let mut subjects = Vec::new();
    let mut lied_about = Vec::new();
    for honest in honest() {
        for (axis, declared) in lies(&honest) {
            let name = format!("declared {axis} {}, is {honest:?}", declared.value(axis));
            subjects.push(Subject { name, declared, config: render(&honest, &site()) });
            lied_about.push(axis);
        }
    }
    let axes: BTreeSet<_> = lied_about.iter().collect();
    assert_eq!(
        axes.len(),
        NatAxis::ALL.len() - 1,
        "every axis but translation, which has its own test: {axes:?}"
    );
    // What the quick proof lets pass, the full one must find.
    let quick = prove_all(subjects.clone(), Depth::Quick);
    let passed = |((subject, axis), result): ((Subject, NatAxis), &ProofResult)| {
        (!names(result, axis)).then_some((subject, axis))
    };
    let passed: Vec<_> = subjects.into_iter().zip(lied_about).zip(&quick).filter_map(passed).collect();
    let full = prove_all(passed.iter().map(|(subject, _)| subject.clone()).collect(), Depth::Full);
    let slipped: Vec<_> = full
        .iter()
        .zip(&passed)
        .filter(|(result, (_, axis))| !names(result, *axis))
        .map(|(result, (_, axis))| format!("{axis} was not named:\n{}", table(result)))
        .collect();
    assert!(slipped.is_empty(), "{} of {} slipped:\n{}", slipped.len(), quick.len(), slipped.join("\n"));
}

#[test]
fn a_lie_about_translation_is_caught_and_named() {
    if !lab_is_possible() {
        return;
    }
    let all = [
        Behavior { overloading: Overloading::Off, ..Behavior::port_preserving() },
        Behavior::firewall(),
        Behavior::router(),
    ];
    let mut subjects = Vec::new();
    for is in all {
        for declared in all.into_iter().filter(|declared| declared.translation != is.translation) {
            subjects.push(Subject { name: String::new(), declared, config: render(&is, &site()) });
        }
    }
    for result in prove_all(subjects, Depth::Quick) {
        assert!(names(&result, NatAxis::Translation), "{}", table(&result));
    }
}

#[test]
fn a_hairpinned_source_that_the_caller_cannot_have_is_found() {
    if !lab_is_possible() {
        return;
    }
    let cone = Behavior {
        allocation: Allocation::Random,
        filtering: Filtering::EndpointIndependent,
        overloading: Overloading::Off,
        hairpinning: Hairpinning::On,
        ..Behavior::port_preserving()
    };
    let way = "iifname \"lan*\" oifname \"lan*\" ct status dnat meta l4proto tcp";
    let mut subjects = Vec::new();
    for addresses in [ExternalAddresses::ONE, pool(2, Pooling::Paired), pool(2, Pooling::Arbitrary)] {
        let declared = Behavior { addresses, ..cone };
        let mut config = render(&declared, &site());
        let honest = config.ruleset.clone();
        // An address of the same network that nobody has.
        config.ruleset =
            honest.replace(&format!("{way} goto translate"), &format!("{way} snat to 192.0.2.77"));
        assert_ne!(config.ruleset, honest);
        subjects.push(Subject { name: addresses.to_string(), declared, config });
    }
    for result in prove_all(subjects, Depth::Quick) {
        assert!(names(&result, NatAxis::Hairpinning), "{}", table(&result));
    }
}

#[test]
fn addresses_are_told_where_a_host_has_one_mapping_at_a_time() {
    if !lab_is_possible() {
        return;
    }
    let of = |count, pooling| {
        let addresses = pool(count, pooling);
        Behavior { quota: Some(1), addresses, ..Behavior::port_preserving() }
    };
    let all = [of(3, Pooling::Arbitrary), of(3, Pooling::Paired), of(2, Pooling::Arbitrary)];
    for result in
        prove_all(all.iter().map(|b| Subject::generated(format!("{b:?}"), b)).collect(), Depth::Quick)
    {
        assert!(!names(&result, NatAxis::Addresses), "{}", table(&result));
    }
    let liar = Subject {
        name: "paired".to_owned(),
        declared: of(3, Pooling::Arbitrary),
        config: render(&of(3, Pooling::Paired), &site()),
    };
    let result = prove_all(vec![liar], Depth::Quick).remove(0);
    assert!(names(&result, NatAxis::Addresses), "{}", table(&result));
}

/// A NAT of three addresses, arbitrary, of which each connection has its own mapping.
fn arbitrary(allocation: Allocation) -> Behavior {
    let mapping = Mapping::AddressAndPortDependent;
    Behavior { mapping, allocation, addresses: pool(3, Pooling::Arbitrary), ..Behavior::port_preserving() }
}

#[test]
fn an_address_that_is_not_drawn_for_each_mapping_is_found_by_the_quick_proof() {
    if !lab_is_possible() {
        return;
    }
    let random = arbitrary(Allocation::Random);
    let small = Pool::Range(PortRange { low: 20_000, high: 20_063 });
    let mut subjects = Vec::new();
    for declared in [
        random,
        arbitrary(Allocation::Preserving),
        Behavior { pool: small, ..random },
        Behavior { mapping: Mapping::AddressDependent, ..random },
        Behavior { mapping: Mapping::EndpointIndependent, ..random },
    ] {
        for instead in [
            "jhash ip daddr mod 3 seed 0x5",
            "jhash ct original ip saddr . ip daddr mod 3 seed 0x5",
            "numgen inc mod 3",
        ] {
            let mut config = render(&declared, &site());
            config.ruleset = config.ruleset.replace("numgen random mod 3", instead);
            let name = format!("{instead}: {declared:?}");
            subjects.push(Subject { name, declared, config });
        }
    }
    for result in prove_all(subjects, Depth::Quick) {
        assert!(names(&result, NatAxis::Addresses), "{}", table(&result));
        let seen = result.rows.iter().find(|row| !row.agrees && row.axis == NatAxis::Addresses.name());
        let says = |what| seen.is_some_and(|row| row.observed.contains(what));
        let expected = if result.nat.starts_with("jhash") {
            "the address depends on the remote address"
        } else {
            "not drawn independently"
        };
        assert!(says(expected), "{}", table(&result));
    }
}

#[test]
fn a_port_that_is_kept_at_each_address_is_found_by_the_quick_proof() {
    if !lab_is_possible() {
        return;
    }
    let declared = arbitrary(Allocation::Preserving);
    let honest = render(&declared, &site());
    let choice = "numgen random mod 3 map @addresses";
    let mut config = honest.clone();
    let busy = |line: &&str| !line.contains("fully-random");
    config.ruleset = honest.ruleset.lines().filter(busy).map(|line| format!("{line}\n")).collect();
    assert!(config != honest && config.ruleset.contains(choice), "the rule that draws a port");
    let results = prove_all(vec![Subject { name: String::new(), declared, config }], Depth::Quick);
    assert!(names(&results[0], NatAxis::Allocation), "{}", table(&results[0]));
}

#[test]
fn a_second_mapping_draws_its_port_whatever_the_pool() {
    if !lab_is_possible() {
        return;
    }
    let mut subjects = Vec::new();
    for mapping in [Mapping::AddressDependent, Mapping::AddressAndPortDependent] {
        for overloading in [Overloading::On, Overloading::Off] {
            for range in [(20_000, 20_255), (20_000, 29_999)] {
                let range = Pool::Range(PortRange { low: range.0, high: range.1 });
                for pool in [range, Pool::Kernel] {
                    let declared =
                        Behavior { mapping, overloading, pool, ..arbitrary(Allocation::Preserving) };
                    subjects.push(Subject::generated(format!("{declared:?}"), &declared));
                }
            }
        }
    }
    for result in prove_all(subjects, Depth::Quick) {
        assert!(result.holds(), "{}", table(&result));
    }
}

#[test]
fn each_bound_of_several_ranges_is_found() {
    if !lab_is_possible() {
        return;
    }
    let islands = islands();
    let honest = Behavior {
        mapping: Mapping::AddressAndPortDependent,
        allocation: Allocation::Random,
        pool: Pool::Ranges(islands),
        ..Behavior::port_preserving()
    };
    let ranges = islands.ranges().to_vec();
    let with = |changed: Vec<PortRange>| PortSet::of(&changed).expect("a good set");
    // One port more or less at each end of each range, a range more or less, and what lies between them.
    let mut declared = Vec::new();
    for (n, range) in ranges.iter().enumerate() {
        let PortRange { low, high } = *range;
        for (low, high) in [(low - 1, high), (low + 1, high), (low, high - 1), (low, high + 1)] {
            let mut changed = ranges.clone();
            changed[n] = PortRange { low, high };
            declared.push(Pool::Ranges(with(changed)));
        }
        let mut fewer = ranges.clone();
        fewer.remove(n);
        declared.push(Pool::Ranges(with(fewer)));
    }
    let first = PortRange { low: 1_168, high: 1_183 };
    declared.push(Pool::Ranges(with([&[first], &ranges[..]].concat())));
    declared.push(Pool::Range(PortRange { low: islands.low(), high: islands.high() }));
    let subject = |pool: Pool| Subject {
        name: pool.to_string(),
        declared: Behavior { pool, ..honest },
        config: render(&honest, &site()),
    };
    for result in prove_all(declared.into_iter().map(subject).collect(), Depth::Full) {
        let named = names(&result, NatAxis::Pool) || names(&result, NatAxis::Allocation);
        assert!(named, "{}", table(&result));
    }
    let result = &prove_all(vec![Subject::generated("islands", &honest)], Depth::Full)[0];
    assert!(result.holds(), "{}", table(result));
}
