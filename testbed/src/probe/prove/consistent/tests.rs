//! Entries of connection tracking that fit a declaration, and some that do not.

use super::*;
use crate::lab::nat_rules::NatSite;
use crate::model::address_plan::Network;
use crate::model::behavior::{ExternalAddresses, Pool, Pooling, UnsolicitedSyn};
use crate::model::evidence::Tuple;

const WAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn site() -> NatSite {
    let lan = Network { address: Ipv4Addr::new(10, 0, 0, 0), prefix: 24 };
    NatSite { wan: WAN, lans: vec![("lan0".into(), lan)] }
}

fn endpoint(address: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address.into(), port)
}

/// A connection from inside port to remote (host, port), as this external port.
fn out(inside: u16, remote: (u8, u16), external: u16) -> CtEntry {
    let inside = endpoint([10, 0, 0, 2], inside);
    let remote = endpoint([203, 0, 113, remote.0], remote.1);
    entry((inside, remote), (remote, SocketAddrV4::new(WAN, external)))
}

/// A connection from outside through an external port to an inside one.
fn back(remote: (u8, u16), external: u16, inside: u16) -> CtEntry {
    let remote = endpoint([203, 0, 113, remote.0], remote.1);
    let inside = endpoint([10, 0, 0, 2], inside);
    entry((remote, SocketAddrV4::new(WAN, external)), (inside, remote))
}

fn entry(original: (SocketAddrV4, SocketAddrV4), reply: (SocketAddrV4, SocketAddrV4)) -> CtEntry {
    let tuple = |(source, destination)| Tuple { source, destination };
    CtEntry { original: tuple(original), reply: tuple(reply), state: None, status: 0, id: 0 }
}

fn verdict(behavior: &Behavior, entries: &[CtEntry]) -> String {
    verdict_beside(0, behavior, entries)
}

/// The same of a NAT that made so many resets itself.
fn verdict_beside(resets: usize, behavior: &Behavior, entries: &[CtEntry]) -> String {
    consistent(behavior, &site(), entries, resets)
        .map_or_else(|found| format!("{}: {}", found.axis, found.why), |()| "fits".to_owned())
}

fn symmetric(allocation: Allocation) -> Behavior {
    let range = PortRange { low: 20_000, high: 20_099 };
    let mapping = Mapping::AddressAndPortDependent;
    Behavior { mapping, allocation, pool: Pool::Range(range), ..Behavior::port_preserving() }
}

#[test]
fn each_reset_of_its_own_may_take_a_port_of_a_counter() {
    let nat = symmetric(Allocation::Sequential { step: 1 });
    let taken = [out(5000, (1, 7), 20_098), out(5000, (2, 7), 20_000), out(5000, (3, 7), 20_002)];
    for (resets, fits) in [(0, false), (1, false), (2, true)] {
        assert_eq!(verdict_beside(resets, &nat, &taken) == "fits", fits, "{resets}");
    }
    let nat = symmetric(Allocation::Sequential { step: -2 });
    let taken = [out(5000, (1, 7), 20_099), out(5000, (2, 7), 20_095)];
    for (resets, fits) in [(0, false), (1, true)] {
        assert_eq!(verdict_beside(resets, &nat, &taken) == "fits", fits, "{resets}");
    }
}

#[test]
fn a_preserving_nat_keeps_ports_unless_they_clash() {
    let nat = Behavior::port_preserving();
    assert_eq!(verdict(&nat, &[out(5000, (1, 7), 5000), out(5000, (2, 7), 5000)]), "fits");
    let moved = verdict(&nat, &[out(5000, (1, 7), 5001)]);
    assert!(moved.starts_with("allocation: 10.0.0.2:5000 went out as 192.0.2.2:5001"), "{moved}");
    let split = verdict(&nat, &[out(5000, (1, 7), 5000), out(5000, (2, 7), 6000)]);
    assert!(split.starts_with("mapping: "), "{split}");
    // 10.0.0.2:6000 was forced onto port 5000, which the next endpoint then finds taken.
    let clash = [out(5000, (1, 7), 5000), out(5000, (1, 8), 5000)];
    assert_eq!(verdict(&nat, &clash), "fits");
}

#[test]
fn a_stranger_that_the_nat_itself_answers_has_the_endpoint_meanwhile() {
    let nat = Behavior { unsolicited_syn: UnsolicitedSyn::Kernel, ..Behavior::port_preserving() };
    let (stranger, target) = (endpoint([203, 0, 113, 2], 7), SocketAddrV4::new(WAN, 5000));
    let answered = entry((stranger, target), (target, stranger));
    let known = out(5000, (1, 7), 5000);
    assert_eq!(verdict(&nat, &[known, answered, out(5000, (2, 7), 6000)]), "fits");
    assert_eq!(verdict(&nat, &[answered, out(5000, (2, 7), 6000)]), "fits");
    let elsewhere = verdict(&nat, &[known, answered, out(5000, (2, 8), 6000)]);
    assert!(elsewhere.starts_with("mapping: 10.0.0.2:5000 went out as 192.0.2.2:6000"), "{elsewhere}");
}

#[test]
fn who_had_to_leave_a_mapping_may_have_either_again() {
    let nat = Behavior { unsolicited_syn: UnsolicitedSyn::Kernel, ..Behavior::port_preserving() };
    let (stranger, target) = (endpoint([203, 0, 113, 2], 7), SocketAddrV4::new(WAN, 5000));
    let answered = entry((stranger, target), (target, stranger));
    let left = [out(5000, (1, 7), 5000), answered, out(5000, (2, 7), 6000)];
    let then = |external: u16| verdict(&nat, &[&left[..], &[out(5000, (2, 8), external)]].concat());
    assert_eq!([then(5000), then(6000)], ["fits", "fits"]);
    assert!(then(7000).starts_with("mapping: 10.0.0.2:5000 went out as 192.0.2.2:7000"), "{}", then(7000));
}

#[test]
fn a_pool_lends_its_own_addresses_and_a_paired_one_the_same_to_a_host() {
    let of = |addresses| Behavior { addresses, ..Behavior::port_preserving() };
    let addresses = |count, pooling| of(ExternalAddresses { count, pooling });
    let from = |inside: u16, address: u8| {
        let (local, remote) = (endpoint([10, 0, 0, 2], inside), endpoint([203, 0, 113, 1], inside));
        entry((local, remote), (remote, endpoint([192, 0, 2, address], inside)))
    };
    let (same, others) = ([from(5000, 3), from(5001, 3)], [from(5000, 2), from(5001, 4)]);
    assert_eq!(verdict(&addresses(3, Pooling::Paired), &same), "fits");
    assert_eq!(verdict(&addresses(3, Pooling::Arbitrary), &others), "fits");
    let split = verdict(&addresses(3, Pooling::Paired), &others);
    assert!(
        split.starts_with("addresses: 10.0.0.2:5001 went out as 192.0.2.4:5001, and its host"),
        "{split}"
    );
    for pooling in [Pooling::Paired, Pooling::Arbitrary] {
        let beyond = verdict(&addresses(2, pooling), &others[1..]);
        assert!(beyond.starts_with("addresses: "), "{beyond}");
    }
    assert!(verdict(&of(ExternalAddresses::ONE), &same).starts_with("addresses: "));
}

#[test]
fn a_counter_has_no_gaps() {
    let nat = symmetric(Allocation::Sequential { step: 1 });
    let run = |ports: &[u16]| -> Vec<CtEntry> {
        (1..).zip(ports).map(|(n, port)| out(5000, (n, 7), *port)).collect()
    };
    assert_eq!(verdict(&nat, &run(&[20_005, 20_007, 20_006])), "fits");
    assert_eq!(verdict(&nat, &run(&[20_098, 20_099, 20_000])), "fits");
    assert!(verdict(&nat, &run(&[20_005, 20_007])).starts_with("allocation: ports 20005, 20007"));
    let twice = verdict(&nat, &run(&[20_005, 20_005]));
    assert!(twice.starts_with("allocation: "), "a counter does not stand still: {twice}");
    assert!(verdict(&nat, &run(&[30_000])).starts_with("ports: "));
    let down = symmetric(Allocation::Sequential { step: -2 });
    assert_eq!(verdict(&down, &run(&[20_099, 20_097])), "fits");
    assert!(verdict(&down, &run(&[20_099, 20_098])).starts_with("allocation: "));
    assert!(verdict(&down, &run(&[20_099, 20_096])).starts_with("allocation: "));
}

#[test]
fn ports_that_collide_are_the_next_that_are_free() {
    let nat = Behavior {
        collision: Collision::Sequential,
        overloading: Overloading::Off,
        ..symmetric(Allocation::Preserving)
    };
    let kept = [out(20_005, (1, 7), 20_005), out(20_050, (1, 7), 20_050)];
    let with = |ports: &[(u16, u16)]| {
        let others = (2..).zip(ports).map(|(n, (inside, external))| out(*inside, (n, 7), *external));
        verdict(&nat, &kept.iter().copied().chain(others).collect::<Vec<_>>())
    };
    assert_eq!(with(&[(20_005, 20_003), (9, 20_006), (20_050, 20_004)]), "fits", "20005 is skipped");
    assert_eq!(with(&[(20_005, 20_099), (9, 20_000)]), "fits");
    let drawn = with(&[(20_005, 20_003), (9, 20_007)]);
    assert!(drawn.starts_with("collision: ports 20003, 20007 are not the next"), "{drawn}");
    assert!(with(&[(20_005, 20_001), (9, 20_003)]).starts_with("collision: "), "by two");
    let any = Behavior { collision: Collision::Random, ..nat };
    let drawn: Vec<CtEntry> = [kept[0], out(20_005, (2, 7), 20_003), out(9, (3, 7), 20_007)].into();
    assert_eq!(verdict(&any, &drawn), "fits");
}

#[test]
fn random_ports_are_not_all_the_same() {
    let nat = symmetric(Allocation::Random);
    let same: Vec<CtEntry> = (1..8).map(|n| out(5000, (n, 7), 20_003)).collect();
    assert!(verdict(&nat, &same).starts_with("mapping: "));
    assert_eq!(verdict(&nat, &same[..3]), "fits", "that may happen");
}

#[test]
fn strangers_come_in_only_through_open_doors() {
    let closed = Behavior::port_preserving();
    let entries = [out(5000, (1, 7), 5000), back((1, 8), 5000, 5000)];
    assert!(verdict(&closed, &entries).starts_with("filtering: 203.0.113.1:8 reached 10.0.0.2:5000"));
    let adf = Behavior {
        filtering: Filtering::AddressDependent,
        overloading: Overloading::Off,
        ..Behavior::port_preserving()
    };
    assert_eq!(verdict(&adf, &entries), "fits");
    assert!(verdict(&adf, &[out(5000, (1, 7), 5000), back((2, 7), 5000, 5000)]).starts_with("filtering: "));
}

#[test]
fn an_exclusive_port_has_one_owner() {
    let nat = Behavior {
        allocation: Allocation::Random,
        overloading: Overloading::Off,
        ..Behavior::port_preserving()
    };
    let shared = [out(5000, (1, 7), 9000), out(5001, (2, 7), 9000)];
    assert!(verdict(&nat, &shared).starts_with("overloading: "));
}
