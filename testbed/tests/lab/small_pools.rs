//! Pools of few ports: what is declared of them and done is never refused, and what is not done is found.

use std::time::Duration;

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Behavior, ExternalAddresses, Hairpinning, Mapping, Overloading, Pool, Pooling, PortRange,
};
use testbed::model::catalogue::Profile;
use testbed::model::port_set::PortSet;
use testbed::probe::prove::{Depth, Subject, site};

use super::lab_is_possible;
use super::nat_measure::{are_described, measure_all};
use super::nat_proof::{names, prove_all, table};

fn range(low: u16, size: u16) -> Pool {
    Pool::Range(PortRange { low, high: low + (size - 1) })
}

/// Pools of one port and more, at both ends of all ports, below and above what a host's own ports are, and in pieces.
fn pools() -> Vec<Pool> {
    let one = |port| PortRange { low: port, high: port };
    let pieces =
        [vec![one(5_000), one(5_002), one(5_004)], vec![PortRange { low: 5_000, high: 5_010 }, one(6_000)]];
    let pieces = pieces.map(|ranges| Pool::Ranges(PortSet::of(&ranges).expect("a good set")));
    let whole = [(1, 1), (1, 2), (1_023, 2), (2_047, 2), (5_000, 3), (5_000, 8), (5_000, 21), (65_500, 36)];
    whole.map(|(low, size)| range(low, size)).into_iter().chain(pieces).collect()
}

/// All behaviours that go together with few ports.
fn all() -> Vec<Behavior> {
    let allocations = [
        Allocation::Preserving,
        Allocation::Sequential { step: 1 },
        Allocation::Sequential { step: -1 },
        Allocation::Random,
        Allocation::Hash { seed: 3 },
    ];
    let addresses = [
        ExternalAddresses::ONE,
        ExternalAddresses { count: 3, pooling: Pooling::Paired },
        ExternalAddresses { count: 3, pooling: Pooling::Arbitrary },
    ];
    let mut all = Vec::new();
    for pool in pools() {
        for allocation in allocations {
            for mapping in Mapping::ALL {
                for addresses in addresses {
                    for overloading in [Overloading::On, Overloading::Off] {
                        let hairpinning = match overloading {
                            Overloading::On => Hairpinning::Off,
                            Overloading::Off => Hairpinning::On,
                        };
                        let plain = Behavior::port_preserving();
                        all.push(Behavior {
                            pool,
                            allocation,
                            mapping: *mapping,
                            addresses,
                            overloading,
                            hairpinning,
                            ..plain
                        });
                    }
                }
            }
        }
    }
    all.retain(|behavior| behavior.check().is_ok());
    all
}

fn prove_honest(behaviors: &[Behavior], depth: Depth) {
    let subject = |behavior: &Behavior| Subject::generated(format!("{behavior:?}"), behavior);
    let results = prove_all(behaviors.iter().map(subject).collect(), depth);
    let wrong: Vec<String> = results.iter().filter(|result| !result.holds()).map(table).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), results.len(), wrong.join("\n"));
}

#[test]
fn honest_nats_with_few_ports_are_not_refused() {
    if !lab_is_possible() {
        return;
    }
    // Seven and 31 are in step with no axis.
    let every = |nth| all().into_iter().step_by(nth).collect::<Vec<Behavior>>();
    assert!(every(7).len() > 50, "{}", every(7).len());
    prove_honest(&every(7), Depth::Quick);
    prove_honest(&every(31), Depth::Full);
}

/// A NAT that declares one thing and does another, and the axis on which it does.
fn liars() -> Vec<(Behavior, Behavior, NatAxis)> {
    let kept = |size| Behavior { pool: range(5_000, size), ..Behavior::port_preserving() };
    let random = |size| Behavior { allocation: Allocation::Random, ..kept(size) };
    let counted = |size| Behavior { allocation: Allocation::Sequential { step: 1 }, ..kept(size) };
    let hashed = |size, seed| Behavior { allocation: Allocation::Hash { seed }, ..kept(size) };
    let each = |behavior| Behavior { mapping: Mapping::AddressAndPortDependent, ..behavior };
    let by_address = |behavior| Behavior { mapping: Mapping::AddressDependent, ..behavior };
    let exclusive = |behavior| Behavior { overloading: Overloading::Off, ..behavior };
    let with =
        |pooling, behavior| Behavior { addresses: ExternalAddresses { count: 3, pooling }, ..behavior };
    let mut all = Vec::new();
    for size in [2, 3, 21] {
        all.extend([
            (each(random(size)), each(counted(size)), NatAxis::Allocation),
            (each(counted(size)), each(random(size)), NatAxis::Allocation),
            (each(kept(size)), each(random(size)), NatAxis::Allocation),
            (each(kept(size)), each(counted(size)), NatAxis::Allocation),
            (kept(size), counted(size), NatAxis::Allocation),
            (random(size), hashed(size, 1), NatAxis::Allocation),
            (hashed(size, 1), hashed(size, 2), NatAxis::Allocation),
            (each(random(size)), random(size), NatAxis::Mapping),
            (random(size), each(random(size)), NatAxis::Mapping),
            (random(size), by_address(random(size)), NatAxis::Mapping),
            (exclusive(by_address(random(size))), exclusive(each(random(size))), NatAxis::Mapping),
            (random(size), random(size + 1), NatAxis::Pool),
        ]);
    }
    for size in [1, 2, 21] {
        let paired = with(Pooling::Paired, exclusive(kept(size)));
        all.extend([
            (exclusive(kept(size)), kept(size), NatAxis::Overloading),
            (paired, with(Pooling::Arbitrary, exclusive(kept(size))), NatAxis::Addresses),
            (exclusive(kept(size)), exclusive(by_address(kept(size))), NatAxis::Mapping),
        ]);
    }
    all
}

#[test]
fn nats_with_few_ports_that_are_not_as_they_declare_are_found() {
    if !lab_is_possible() {
        return;
    }
    let liars = liars();
    let subject = |(declared, done, _): &(Behavior, Behavior, NatAxis)| {
        let name = format!("{declared:?} does {done:?}");
        Subject { name, declared: *declared, config: render(done, &site()) }
    };
    let results = prove_all(liars.iter().map(subject).collect(), Depth::Quick);
    let missed: Vec<String> = results
        .iter()
        .zip(&liars)
        .filter(|(result, (_, _, axis))| !names(result, *axis))
        .map(|(result, _)| table(result))
        .collect();
    assert!(missed.is_empty(), "{} of {} missed:\n{}", missed.len(), liars.len(), missed.join("\n"));
}

#[test]
fn one_exclusive_port_of_several_addresses_is_proved_soon() {
    if !lab_is_possible() {
        return;
    }
    let addresses = ExternalAddresses { count: 3, pooling: Pooling::Paired };
    let one = Behavior {
        pool: range(5_000, 1),
        addresses,
        overloading: Overloading::Off,
        ..Behavior::port_preserving()
    };
    let results = prove_all(vec![Subject::generated("one port", &one)], Depth::Quick);
    assert!(results[0].holds(), "{}", table(&results[0]));
    // It took more than 30 s when each second mapping was asked for until it was surely refused.
    assert!(results[0].took < Duration::from_secs(10), "{}", table(&results[0]));
}

#[test]
fn few_ports_are_measured_as_far_as_they_tell() {
    if !lab_is_possible() {
        return;
    }
    let of =
        |size, allocation| Behavior { pool: range(5_000, size), allocation, ..Behavior::port_preserving() };
    let each = |behavior| Behavior { mapping: Mapping::AddressAndPortDependent, ..behavior };
    let by_address = |behavior| Behavior { mapping: Mapping::AddressDependent, ..behavior };
    let counted = Allocation::Sequential { step: 1 };
    let mut all = vec![of(1, Allocation::Preserving)];
    for size in [2, 3, 21] {
        let random = of(size, Allocation::Random);
        all.extend([random, each(random), by_address(random), each(of(size, counted)), of(size, counted)]);
        all.extend([of(size, Allocation::Preserving), each(of(size, Allocation::Preserving))]);
    }
    let profile = |(n, behavior): (usize, &Behavior)| Profile::generated(format!("few-{n}"), *behavior);
    let profiles: Vec<Profile> = all.iter().enumerate().map(profile).collect();
    let measured = measure_all(&profiles);
    are_described(&profiles, &measured);
    let one = measured[0].description.text();
    assert_eq!(one.matches("looks so").count(), 2, "{one}");
}
