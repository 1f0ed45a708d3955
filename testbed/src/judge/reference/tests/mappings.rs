//! Which external endpoint a connection has, and for how long.

use super::*;
use crate::model::behavior::{Collision, Mapping, Overloading};

#[test]
fn a_mapping_is_kept() {
    let other = "192.0.2.2:4001";
    let two = |second: &str| {
        let syn = ("S", 7_000, 0, 0);
        Drawing::opened().out((HOST, OTHER_PORT), Some((second, OTHER_PORT)), syn)
    };
    assert_eq!(two(EXTERNAL).says(&plain()), None);
    assert_eq!(two(other).says(&plain()), Some("mapping"));
    assert_eq!(two("192.0.2.77:4000").says(&plain()), Some("addresses"));
    assert_eq!(two("10.0.0.2:4000").says(&plain()), Some("translation"));
    assert_eq!(two("192.0.2.2:80").says(&plain()), Some("ports"));
}

#[test]
fn what_a_counter_gives_is_no_draw() {
    let nat = |collision| Behavior {
        mapping: Mapping::AddressAndPortDependent,
        collision,
        pool: Pool::Range(PortRange { low: 4_000, high: 4_999 }),
        overloading: Overloading::Off,
        ..plain()
    };
    let second = || Drawing::opened().out((HOST, OTHER), Some(("192.0.2.2:4017", OTHER)), SYN);
    let findings = |collision| second().findings(&nat(collision));
    assert_eq!(findings(Collision::Random).draws.len(), 1);
    let counted = findings(Collision::Sequential);
    assert!(counted.draws.is_empty() && counted.contradictions.is_empty(), "{:?}", counted.contradictions);
    let again = second().out((HOST, OTHER_PORT), Some(("192.0.2.2:4017", OTHER_PORT)), SYN);
    assert_eq!(again.says(&nat(Collision::Sequential)), None, "its own port");
    let taken = second().out(("10.0.0.3:4000", REMOTE), Some((EXTERNAL, REMOTE)), SYN);
    assert_eq!(taken.says(&nat(Collision::Sequential)), Some("overloading"));
}

#[test]
fn a_fresh_mapping_has_an_address_of_the_pool_and_of_its_host() {
    let of = |count, pooling| Behavior { addresses: ExternalAddresses { count, pooling }, ..plain() };
    let (paired, arbitrary) = (of(3, Pooling::Paired), of(3, Pooling::Arbitrary));
    let second = |external: &str| {
        let inside = "10.0.0.2:4001";
        Drawing::opened().out((inside, OTHER), Some((external, OTHER)), ("S", 7_000, 0, 0))
    };
    for (external, by_paired, by_arbitrary) in [
        ("192.0.2.2:4001", None, None),
        ("192.0.2.4:4001", Some("addresses"), None),
        ("192.0.2.5:4001", Some("addresses"), Some("addresses")),
        ("192.0.2.1:4001", Some("addresses"), Some("addresses")),
        ("192.0.2.4:4002", Some("addresses"), Some("allocation")),
    ] {
        assert_eq!(second(external).says(&paired), by_paired, "{external}");
        assert_eq!(second(external).says(&arbitrary), by_arbitrary, "{external}");
    }
    // What is observed of a mapping holds for all remote endpoints, whatever the pooling.
    let again = Drawing::opened().out((HOST, OTHER), Some(("192.0.2.3:4000", OTHER)), ("S", 7_000, 0, 0));
    assert_eq!(again.says(&arbitrary), Some("mapping"));
}

#[test]
fn a_host_whose_mappings_are_gone_may_get_another_address() {
    let addresses = ExternalAddresses { count: 3, pooling: Pooling::Paired };
    let paired = Behavior { addresses, ..plain() };
    let after = |time| {
        let syn = ("S", 7_000, 0, 0);
        Drawing::opened().later(time).out(("10.0.0.2:4001", OTHER), Some(("192.0.2.3:4001", OTHER)), syn)
    };
    assert_eq!(after(100_000 * MS).says(&paired), Some("addresses"));
    assert_eq!(after(130_000 * MS).says(&paired), None);
    let elsewhere = |drawing: Drawing, port: u16| {
        let (inside, external) = (format!("10.0.0.2:{port}"), format!("192.0.2.3:{port}"));
        drawing.out((&inside, OTHER), Some((&external, OTHER)), ("S", 7_000, 0, 0))
    };
    // A reset before any answer ends the only connection of the host.
    let refused = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0));
    assert_eq!(elsewhere(elsewhere(refused(), 4001), 4002).says(&paired), None);
    let back = |drawing: Drawing| {
        drawing.out(("10.0.0.2:4003", OTHER), Some(("192.0.2.2:4003", OTHER)), ("S", 7_000, 0, 0))
    };
    assert_eq!(back(elsewhere(refused(), 4001)).says(&paired), Some("addresses"), "it has the other one now");
    let one_left = Drawing::stands().out((HOST, OTHER), Some((EXTERNAL, OTHER)), ("S", 50, 0, 0));
    let one_left = one_left.back((OTHER, EXTERNAL), Some((OTHER, HOST)), ("RA", 0, 51, 0));
    assert_eq!(elsewhere(one_left, 4001).says(&paired), Some("addresses"), "another connection lives");
}

#[test]
fn a_reset_before_any_answer_ends_the_mapping_and_time_does() {
    let reset = ("RA", 0, 101, 0);
    let refused = || Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), reset);
    assert_eq!(refused().back((REMOTE, EXTERNAL), None, SYN_BACK).says(&plain()), None);
    let late = Drawing::opened().later(130_000 * MS).back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(late.says(&plain()), None);
    let early = Drawing::opened().later(100_000 * MS).back((REMOTE, EXTERNAL), None, SYN_BACK);
    assert_eq!(early.says(&plain()), Some("connection"));
}

#[test]
fn a_small_pool_may_be_full() {
    // The kernel has 424 ports for source ports from 512 to 1023.
    let symmetric = Behavior {
        mapping: crate::model::behavior::Mapping::AddressAndPortDependent,
        allocation: crate::model::behavior::Allocation::Random,
        ..plain()
    };
    let filled = |count: u16| {
        let mut drawing = Drawing::default();
        for n in 0..count {
            let (host, external) = (format!("10.0.0.2:{}", 512 + n), format!("192.0.2.2:{}", 600 + n));
            let syn = ("S", u32::from(n) * 10_000, 0, 0);
            drawing = drawing.out((&host, REMOTE), Some((&external, REMOTE)), syn);
        }
        drawing.out(("10.0.0.2:1000", REMOTE), None, ("S", 77_777_777, 0, 0))
    };
    assert_eq!(filled(10).says(&symmetric), Some("outward"));
    assert_eq!(filled(300).says(&symmetric), None);
}

#[test]
fn a_syn_right_after_the_reset_that_ended_its_mapping_begins_anew() {
    let reset = ("RA", 0, 101, 0);
    let mut drawing = Drawing::opened().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), reset);
    // Within the margin, so that the reset may have come after it; its number is another.
    let again = ("S", 4_000_000, 0, 0);
    drawing.put(DOWN, Direction::Up, (HOST, REMOTE), again, 64);
    drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), again, 63);
    let drawing = drawing.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK).out(
        (HOST, REMOTE),
        Some((EXTERNAL, REMOTE)),
        ("SA", 4_000_000, 901, 0),
    );
    assert_eq!(drawing.says(&plain()), None);
}

#[test]
fn a_connection_that_was_forgotten_begins_anew_with_another_port() {
    let draws = Behavior {
        mapping: crate::model::behavior::Mapping::AddressAndPortDependent,
        allocation: crate::model::behavior::Allocation::Random,
        ..plain()
    };
    let (again, next, reset) = ("S", 4_000_000, ("RA", 0, 4_000_001, 0));
    let elsewhere = "192.0.2.2:33182";
    let refused = || {
        Drawing::opened().later(1_000 * MS).back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 0, 101, 0))
    };
    let dialled = |drawing: Drawing| {
        drawing.out((HOST, REMOTE), Some((elsewhere, REMOTE)), (again, next, 0, 0)).back(
            (REMOTE, elsewhere),
            Some((REMOTE, HOST)),
            reset,
        )
    };
    assert_eq!(dialled(refused()).says(&draws), None, "the record was lost");
    assert_eq!(dialled(refused().forgotten()).says(&draws), None, "the record came at once");
    // What is picked up in the middle stands, and lets a SYN pass that begins nothing.
    let picked_up = refused().forgotten().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 0));
    let and_refused = picked_up
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 901, 101, 0))
        .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("S", 101, 0, 0))
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 901, 102, 0));
    let more = and_refused.back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("A", 901, 102, 4));
    assert_eq!(more.says(&plain()), None);
    let closed = Drawing::stands().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("RA", 901, 101, 0));
    assert_eq!(dialled(closed.later(9_990 * MS).forgotten()).says(&draws), None, "its time was nearly over");
    // A connection that is begun anew is judged again.
    let swallowed = refused().forgotten().out((HOST, REMOTE), None, (again, next, 0, 0));
    assert_eq!(swallowed.says(&draws), Some("outward"));
}
