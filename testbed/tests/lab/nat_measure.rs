//! A NAT of which nothing is declared is measured, and what is printed of it is what it was built to do.

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Behavior, ExternalAddresses, InvalidPackets, Mapping, Overloading, Pool, Pooling, PortRange,
    SynAfterSyn, Translation,
};
use testbed::model::catalogue::{Catalogue, Profile, Ruleset};
use testbed::model::event::ProofRow;
use testbed::probe::measure::{MeasuredNat, measure};
use testbed::probe::prove::site;

use super::covering::covering_sample;
use super::{lab_is_possible, on_benches};

/// Measures all of them, several at a time.
pub(crate) fn measure_all(profiles: &[Profile]) -> Vec<MeasuredNat> {
    on_benches(
        profiles.iter().map(async |profile| {
            measure(profile).await.unwrap_or_else(|why| panic!("{}: {why}", profile.name))
        }),
    )
}

/// What differs between a NAT and its description, or is missing from it.
fn wrong(profile: &Profile, measured: &MeasuredNat) -> Option<String> {
    let (is, said) = (&shown(&profile.behavior), &measured.description.behavior);
    let gaps: Vec<NatAxis> = measured.description.gaps().into_iter().map(|(axis, _)| axis).collect();
    let differ =
        |axis: &NatAxis| !gaps.contains(axis) && (*axis != NatAxis::Pool || !same_pool(is.pool, said.pool));
    let differences: Vec<String> = NatAxis::ALL
        .iter()
        .copied()
        .filter(|axis| is.value(*axis) != said.value(*axis))
        .filter(differ)
        .map(|axis| format!("{axis} is {}, said {}", is.value(axis), said.value(axis)))
        .collect();
    let rows: Vec<&ProofRow> = measured.proof.rows.iter().filter(|row| !row.agrees).collect();
    let told = gaps.iter().all(|axis| is_hidden(*axis, is));
    // What is printed is read as it is; where an axis was not told, what is inherited may not go with the others.
    let read = Catalogue::parse(&measured.description.text(), "measured.toml").err();
    let read = read.filter(|_| gaps.is_empty());
    let fine = differences.is_empty() && told && measured.proof.holds() && read.is_none();
    (!fine).then(|| {
        let error = &measured.proof.error;
        format!(
            "{}: {differences:?}\n{rows:?} {error:?} {read:?}\n{}",
            profile.name,
            measured.description.text()
        )
    })
}

/// The behaviour as far as connections can show it: none comes into the state that begins with a second SYN where that SYN
/// ends the connection.
fn shown(behavior: &Behavior) -> Behavior {
    let mut shown = *behavior;
    if behavior.syn_after_syn == SynAfterSyn::Reset {
        shown.timeouts.syn_sent2 = None;
    }
    shown
}

/// Whether no packet need show this axis: the strictness of a firewall that lets everything pass, and whether hosts share
/// ports of which none may have enough to meet another's.
fn is_hidden(axis: NatAxis, behavior: &Behavior) -> bool {
    match axis {
        NatAxis::Strictness => {
            behavior.translation == Translation::Firewall && behavior.invalid_packets == InvalidPackets::Leak
        }
        NatAxis::Overloading => behavior.quota.is_some(),
        NatAxis::Collision => behavior.quota.is_some_and(|quota| quota < 8),
        _ => false,
    }
}

/// Whether two pools are the same but for ports at the ends of a large one, which not even 90,000 draws show with
/// certainty: three of them go missing with a probability below 1e-10.
fn same_pool(one: Pool, other: Pool) -> bool {
    let near = |a: PortRange, b: PortRange| a.low.abs_diff(b.low) <= 3 && a.high.abs_diff(b.high) <= 3;
    match (one, other) {
        (Pool::Range(a), Pool::Range(b)) => a.size() > 5_000 && near(a, b),
        _ => false,
    }
}

fn check(profiles: &[Profile]) {
    are_described(profiles, &measure_all(profiles));
}

#[track_caller]
pub(crate) fn are_described(profiles: &[Profile], measured: &[MeasuredNat]) {
    let wrong: Vec<String> = profiles.iter().zip(measured).filter_map(|(p, m)| wrong(p, m)).collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), profiles.len(), wrong.join("\n"));
}

#[test]
fn every_nat_of_the_catalogue_is_described_as_it_is_declared_and_proved_as_described() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    check(&catalogue.profiles().cloned().collect::<Vec<_>>());
}

#[test]
fn what_several_addresses_do_to_a_port_is_told_only_where_it_can_be_declared() {
    if !lab_is_possible() {
        return;
    }
    let addresses = ExternalAddresses { count: 3, pooling: Pooling::Arbitrary };
    let mapping = Mapping::AddressAndPortDependent;
    let behavior = Behavior { addresses, mapping, ..Behavior::port_preserving() };
    let rules = render(&behavior, &site()).ruleset;
    let draws = "fully-random";
    assert!(rules.contains(draws), "{rules}");
    let folder = tempfile::tempdir().expect("a folder");
    let user = |name: &str, rules: String| {
        let file = format!("{name}.nft");
        std::fs::write(folder.path().join(&file), rules).expect("a file");
        let folder = folder.path().to_owned();
        Profile { ruleset: Ruleset::File(file), folder, ..Profile::generated(name, behavior) }
    };
    let kept = rules.lines().filter(|line| !line.contains(draws)).map(|line| format!("{line}\n")).collect();
    let hashed = rules.replace("numgen random mod 3", "jhash ip daddr mod 3 seed 0x5");
    let measured = measure_all(&[user("kept", kept), user("hashed", hashed)]);
    for (measured, axis) in measured.iter().zip([NatAxis::Allocation, NatAxis::Addresses]) {
        let gaps: Vec<NatAxis> = measured.description.gaps().into_iter().map(|(axis, _)| axis).collect();
        assert!(gaps.contains(&axis), "{gaps:?}: {}", measured.description.text());
    }
}

#[test]
fn of_a_host_that_gets_few_mappings_neither_allocation_nor_pool_is_said() {
    if !lab_is_possible() {
        return;
    }
    let limited = |mapping, allocation, quota| {
        let plain = Behavior { mapping, allocation, quota: Some(quota), ..Behavior::port_preserving() };
        let pool = match allocation {
            Allocation::Sequential { .. } => Pool::Range(PortRange { low: 20_000, high: 20_999 }),
            _ => Pool::Kernel,
        };
        Profile::generated(format!("limited-{quota}"), Behavior { pool, ..plain })
    };
    let (one, each) = (Mapping::EndpointIndependent, Mapping::AddressAndPortDependent);
    let counts = Allocation::Sequential { step: 1 };
    let few = [
        limited(each, Allocation::Random, 1),
        limited(one, counts, 1),
        limited(each, counts, 2),
        limited(each, Allocation::Random, 3),
        limited(one, counts, 7),
    ];
    let enough = [limited(one, counts, 8), limited(each, Allocation::Random, 8), limited(each, counts, 9)];
    let all = [&few[..], &enough].concat();
    let measured = measure_all(&all);
    for (profile, measured) in few.iter().zip(&measured) {
        let text = measured.description.text();
        let gaps: Vec<NatAxis> = measured.description.gaps().into_iter().map(|(axis, _)| axis).collect();
        assert!(gaps.contains(&NatAxis::Allocation) && gaps.contains(&NatAxis::Pool), "{text}");
        assert!(!text.contains("\nallocation = ") && !text.contains("\nports = "), "{text}");
        assert_eq!(measured.description.behavior.quota, profile.behavior.quota, "{text}");
    }
    are_described(&enough, &measured[few.len()..]);
}

#[test]
fn counters_are_told_from_quotas_and_go_their_way_at_each_of_several_addresses() {
    if !lab_is_possible() {
        return;
    }
    let range = PortRange { low: 20_000, high: 20_999 };
    let counts = Behavior {
        mapping: Mapping::AddressDependent,
        allocation: Allocation::Sequential { step: -3 },
        overloading: Overloading::Off,
        ..Behavior::port_preserving()
    };
    // A way round of 34 ports, of which a host may have half at a time: after some turns the counter stands where it began.
    let few = [9, 16, 17].map(|quota| Behavior {
        pool: Pool::Blocks { range, size: 100 },
        quota: Some(quota),
        ..counts
    });
    let addresses = ExternalAddresses { count: 4, pooling: Pooling::Arbitrary };
    let several = Behavior { pool: Pool::Range(range), addresses, ..counts };
    let all = few.into_iter().chain([several]).enumerate();
    check(&all.map(|(n, behavior)| Profile::generated(format!("counter-{n}"), behavior)).collect::<Vec<_>>());
}

/// The sample as profiles, but for counters that go through several ranges: they are said to be like no declaration. And but for a quota of
/// one, which is not known while the mapping is measured.
fn sample() -> Vec<Profile> {
    let told = |behavior: &Behavior| {
        let counts = matches!(behavior.allocation, Allocation::Sequential { .. });
        !(counts && matches!(behavior.pool, Pool::Ranges(_))) && behavior.quota != Some(1)
    };
    let sample = covering_sample().into_iter().filter(told).enumerate();
    sample.map(|(n, behavior)| Profile::generated(format!("sample-{n}"), behavior)).collect()
}

#[test]
#[ignore = "takes minutes; scripts/accept measured runs it"]
fn every_two_behaviours_that_go_together_are_described_as_they_were_built() {
    if !lab_is_possible() {
        return;
    }
    check(&sample());
}
