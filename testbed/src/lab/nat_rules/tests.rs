use super::*;
use crate::model::behavior::{
    Allocation, ExternalAddresses, Filtering, Hairpinning, Mapping, Overloading, Pool, Pooling, PortRange,
    UnsolicitedSyn,
};
use crate::model::catalogue::Catalogue;
use crate::model::port_set::PortSet;

fn site() -> NatSite {
    let network = |n| Network { address: Ipv4Addr::new(10, 0, n, 0), prefix: 24 };
    NatSite {
        wan: Ipv4Addr::new(192, 0, 2, 2),
        lans: vec![("lan0".to_owned(), network(0)), ("lan1".to_owned(), network(1))],
    }
}

fn rules(behavior: &Behavior) -> String {
    behavior.check().expect("a behaviour that can be");
    render(behavior, &site()).ruleset
}

#[test]
fn the_classic_three_are_short() {
    let catalogue = Catalogue::embedded();
    let text = |name: &str| rules(&catalogue.get(name).expect("a classic NAT").behavior);
    insta::assert_snapshot!("port-preserving", text("port-preserving"));
    insta::assert_snapshot!("random", text("random"));
    insta::assert_snapshot!("sequential", text("sequential"));
}

#[test]
fn a_full_cone_with_hairpinning_remembers_its_mappings() {
    let behavior = Behavior {
        allocation: Allocation::Random,
        filtering: Filtering::EndpointIndependent,
        hairpinning: Hairpinning::On,
        overloading: Overloading::Off,
        unsolicited_syn: UnsolicitedSyn::IcmpAfterSixSeconds,
        ..Behavior::port_preserving()
    };
    insta::assert_snapshot!("full-cone-hairpin", rules(&behavior));
    let names: Vec<_> = dynamic_objects(&behavior).iter().map(|o| o.name).collect();
    assert_eq!(names, ["mapping", "owner", "taken", "mapping_udp", "owner_udp", "taken_udp", "held", "seen"]);
}

#[test]
fn only_rules_that_remember_something_bound_the_number_of_mappings() {
    let kernel_alone = Behavior { mapping: Mapping::AddressAndPortDependent, ..Behavior::port_preserving() };
    let random = Behavior { allocation: Allocation::Random, ..kernel_alone };
    let cone = Behavior { filtering: Filtering::EndpointIndependent, ..Behavior::port_preserving() };
    let router = Behavior { translation: Translation::Router, ..cone };
    let most = [random, router, cone].map(|behavior| most_mappings(&behavior));
    assert_eq!(most, [None, None, Some(memory::SIZE)]);
}

#[test]
fn every_dynamic_object_is_declared_and_no_other() {
    for profile in Catalogue::embedded().profiles() {
        let text = render(&profile.behavior, &site()).ruleset;
        let declared = text.lines().filter(|l| l.trim_start().starts_with("flags dynamic")).count();
        assert_eq!(declared, dynamic_objects(&profile.behavior).len(), "{}", profile.name);
    }
}

#[test]
fn counters_go_through_the_pool_step_by_step() {
    let range = PortSet::from(PortRange { low: 20_000, high: 20_009 });
    let ports = |step| pool::ports(Allocation::Sequential { step }, range);
    assert_eq!(ports(3), [20_000, 20_003, 20_006, 20_009]);
    assert_eq!(ports(-4), [20_009, 20_005, 20_001]);
    assert_eq!(pool::ports(Allocation::Random, range).len(), 10);
}

#[test]
fn the_end_of_the_port_space_is_the_end_of_the_pool() {
    let range = PortSet::from(PortRange { low: 65_530, high: 65_535 });
    assert_eq!(pool::ports(Allocation::Sequential { step: 4 }, range), [65_530, 65_534]);
    let range = PortRange { low: 1, high: 6 }.into();
    assert_eq!(pool::ports(Allocation::Sequential { step: -4 }, range), [6, 2]);
}

#[test]
fn a_counter_goes_from_one_range_to_the_next() {
    let set = ranges(&[(10, 12), (20, 21)]);
    assert_eq!(pool::ports(Allocation::Sequential { step: 2 }, set), [10, 12, 21]);
    assert_eq!(pool::ports(Allocation::Sequential { step: -1 }, set), [21, 20, 12, 11, 10]);
}

fn ranges(ends: &[(u16, u16)]) -> PortSet {
    let ranges: Vec<PortRange> =
        ends.iter().map(|(low, high)| PortRange { low: *low, high: *high }).collect();
    PortSet::of(&ranges).expect("a good set")
}

#[test]
fn of_several_ranges_each_takes_its_share_of_what_is_left() {
    let behavior = Behavior {
        mapping: Mapping::AddressAndPortDependent,
        allocation: Allocation::Random,
        pool: Pool::Ranges(ranges(&[(2_000, 2_015), (3_000, 3_007), (4_000, 4_015)])),
        ..Behavior::port_preserving()
    };
    let text = rules(&behavior);
    for (share, range) in [
        ("numgen random mod 40 < 16 ", "2000-2015"),
        ("numgen random mod 24 < 8 ", "3000-3007"),
        ("", "4000-4015"),
    ] {
        let rule = format!("meta l4proto tcp {share}masquerade to :{range} fully-random");
        assert!(text.contains(&rule), "{rule} in {text}");
    }
}

#[test]
fn blocks_belong_to_addresses_of_each_network_in_turn() {
    let behavior = Behavior {
        mapping: Mapping::AddressAndPortDependent,
        allocation: Allocation::Random,
        pool: Pool::Blocks { range: PortRange { low: 2_000, high: 2_399 }, size: 100 },
        ..Behavior::port_preserving()
    };
    let text = rules(&behavior);
    for (address, block) in [
        ("10.0.0.2", "2000-2099"),
        ("10.0.1.2", "2100-2199"),
        ("10.0.0.3", "2200-2299"),
        ("10.0.1.3", "2300-2399"),
    ] {
        let rule = format!("ip saddr {address} meta l4proto tcp masquerade to :{block} fully-random");
        assert!(text.contains(&rule), "{rule} in {text}");
    }
}

#[test]
fn each_rule_stands_under_a_comment() {
    let decides =
        |line: &&str| ["drop", "reject with", "masquerade", "nat ip to"].iter().any(|w| line.contains(w));
    for profile in Catalogue::embedded().profiles() {
        let text = render(&profile.behavior, &site()).ruleset;
        for chain in text.split("\n    chain ").skip(1) {
            let mut lines = chain.lines().map(str::trim);
            let comment = lines.find(|line| line.starts_with('#') || decides(line));
            assert!(comment.is_none_or(|line| line.starts_with('#')), "{}: {chain}", profile.name);
        }
    }
}

#[test]
fn a_users_own_ruleset_gets_the_addresses() {
    let own = render_own("table ip nat { }\n", &Behavior::port_preserving(), &site());
    let expected = "define wan_address = 192.0.2.2; define wan_addresses = 192.0.2.2; define lan0_network = 10.0.0.0/24; \
                    define lan1_network = 10.0.1.0/24; table ip nat { }\n";
    assert_eq!(own.script(), expected);
    let addresses = ExternalAddresses { count: 3, pooling: Pooling::Paired };
    let pool = render_own("", &Behavior { addresses, ..Behavior::port_preserving() }, &site());
    assert!(pool.script().contains("define wan_addresses = 192.0.2.2-192.0.2.4; "), "{}", pool.script());
    assert_eq!(pool.further, [Ipv4Addr::new(192, 0, 2, 3), Ipv4Addr::new(192, 0, 2, 4)]);
    assert!(own.sysctls.contains(&("net.ipv4.icmp_ratemask".to_owned(), "0".to_owned())));
}

#[test]
fn a_pool_of_addresses_is_chosen_from_before_the_port() {
    let pool =
        |nat: Behavior, pooling| Behavior { addresses: ExternalAddresses { count: 3, pooling }, ..nat };
    let random = Behavior { allocation: Allocation::Random, ..Behavior::port_preserving() };
    let paired = rules(&pool(random, Pooling::Paired));
    assert!(paired.contains("0 : 192.0.2.2, 1 : 192.0.2.3, 2 : 192.0.2.4"), "{paired}");
    // The same hash for all protocols, or a host would have several addresses.
    let choice = "jhash ip saddr mod 3 seed 0x7857 map @addresses";
    assert_eq!(paired.matches(choice).count(), 3, "{paired}");
    assert!(!paired.contains("masquerade"), "{paired}");
    let cone = Behavior {
        filtering: Filtering::AddressDependent,
        overloading: Overloading::Off,
        hairpinning: Hairpinning::On,
        ..random
    };
    let arbitrary = rules(&pool(cone, Pooling::Arbitrary));
    for rule in [
        "meta l4proto tcp ip saddr set numgen random mod 3 map @addresses",
        "ip daddr 192.0.2.2-192.0.2.4 meta l4proto tcp ip daddr . tcp dport . ip saddr @admitted dnat ip to ip daddr . tcp dport map @owner",
        "meta mark 0x1 ip saddr . tcp sport @taken drop",
        "snat ip to ip saddr fully-random",
    ] {
        assert!(arbitrary.contains(rule), "{rule}\n{arbitrary}");
    }
}
