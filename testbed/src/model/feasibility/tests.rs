//! What can be made of a behaviour, and what is refused and why.

use super::*;
use crate::model::behavior::{IcmpError, Strictness, Timeouts};

fn refused(change: impl FnOnce(&mut Behavior)) -> String {
    let mut behavior = Behavior::port_preserving();
    change(&mut behavior);
    behavior.check().expect_err("an impossible combination").to_string()
}

/// Gives a behaviour a value on one axis.
type Change = fn(&mut Behavior);

fn to_blame(plain: Behavior, change: Change) -> Vec<NatAxis> {
    let mut behavior = plain;
    change(&mut behavior);
    behavior.check().expect_err("an impossible combination").axes
}

const TEN: PortRange = PortRange { low: 20_000, high: 20_009 };

#[test]
fn several_ranges_are_drawn_from_or_counted_through() {
    let ranges = |count: u16| -> Pool {
        let ranges: Vec<PortRange> =
            (0..count).map(|n| PortRange { low: 10 * n + 1, high: 10 * n + 2 }).collect();
        Pool::Ranges(PortSet::of(&ranges).expect("a good set"))
    };
    let possible = |pool, allocation| {
        Behavior { pool, allocation, ..Behavior::port_preserving() }.check().map_err(|why| why.why)
    };
    assert_eq!(possible(ranges(2), Allocation::Random), Ok(()));
    assert_eq!(possible(ranges(1_025), Allocation::Hash { seed: 1 }), Ok(()));
    assert!(possible(ranges(1_025), Allocation::Random).is_err_and(|why| why.contains("takes a rule")));
    assert!(possible(ranges(2), Allocation::Preserving).is_err_and(|why| why.contains("several ranges")));
    assert!(possible(ranges(2), Allocation::Sequential { step: 4 }).is_err());
}

#[test]
fn what_can_be_is_accepted() {
    for behavior in [Behavior::port_preserving(), Behavior::router(), Behavior::firewall()] {
        behavior.check().expect("possible");
    }
    let refusing = UnsolicitedSyn::Icmp(IcmpError::HostProhibited);
    Behavior { unsolicited_syn: refusing, ..Behavior::firewall() }.check().expect("possible");
}

#[test]
fn shared_ports_have_no_owner() {
    let text = refused(|b| b.filtering = Filtering::EndpointIndependent);
    assert!(text.starts_with("filtering endpoint-independent with overloading on cannot be: "), "{text}");
    let text = refused(|b| b.hairpinning = Hairpinning::On);
    assert!(text.starts_with("hairpinning on with overloading on cannot be: "), "{text}");
}

#[test]
fn counters_need_a_range_with_room() {
    let sequential = |step| Allocation::Sequential { step };
    assert!(refused(|b| b.allocation = sequential(1)).contains("give a range"));
    for step in [10, -10] {
        let text = refused(|b| (b.allocation, b.pool) = (sequential(step), Pool::Range(TEN)));
        assert!(text.ends_with("needs a pool of at least 11 ports, and this one has 10"), "{text}");
    }
    let text = refused(|b| (b.allocation, b.pool) = (sequential(0), Pool::Range(TEN)));
    assert!(text.ends_with("the next port would be the same one again"), "{text}");
    let one = Pool::Range(PortRange { low: 5_000, high: 5_000 });
    let text = refused(|b| (b.allocation, b.pool) = (sequential(1), one));
    assert!(text.ends_with("needs a pool of at least 2 ports, and this one has 1"), "{text}");
    let wide = PortRange { low: 1024, high: 65_535 };
    let text = refused(|b| (b.allocation, b.pool) = (Allocation::Hash { seed: 1 }, Pool::Range(wide)));
    assert!(text.contains("at most 16384"), "{text}");
}

#[test]
fn one_port_leaves_nothing_to_choose() {
    let one =
        Behavior { pool: Pool::Range(PortRange { low: 5_000, high: 5_000 }), ..Behavior::port_preserving() };
    let each = Behavior { mapping: Mapping::AddressAndPortDependent, ..one };
    let arbitrary = ExternalAddresses { count: 3, pooling: crate::model::behavior::Pooling::Arbitrary };
    one.check().expect("possible");
    Behavior { overloading: Overloading::Off, ..each }.check().expect("possible");
    Behavior { addresses: arbitrary, ..each }.check().expect("possible");
    let text = each.check().expect_err("not to be told").to_string();
    assert!(
        text.starts_with("mapping address-and-port-dependent with ports 5000-5000 cannot be: all")
            && text.contains("write mapping = \"endpoint-independent\""),
        "{text}"
    );
    for allocation in [Allocation::Random, Allocation::Hash { seed: 1 }] {
        let text = Behavior { allocation, ..one }.check().expect_err("not to be told").to_string();
        assert!(text.contains("write allocation = \"preserving\""), "{text}");
    }
    let blocks = Pool::Blocks { range: TEN, size: 1 };
    let text = refused(|b| (b.allocation, b.pool) = (Allocation::Random, blocks));
    assert!(text.contains("none is chosen"), "{text}");
}

#[test]
fn ports_that_collide_are_counted_through_one_range_that_nobody_shares() {
    let range = |low, high| Pool::Range(PortRange { low, high });
    let counts = Behavior {
        collision: Collision::Sequential,
        overloading: Overloading::Off,
        pool: range(20_000, 20_999),
        ..Behavior::port_preserving()
    };
    counts.check().expect("possible");
    let pool = |pool| Behavior { pool, ..counts };
    let cases = [
        (Behavior { allocation: Allocation::Random, ..counts }, NatAxis::Allocation),
        (Behavior { overloading: Overloading::On, ..counts }, NatAxis::Overloading),
        (pool(Pool::Kernel), NatAxis::Pool),
        (pool(range(20_000, 20_062)), NatAxis::Pool),
        (pool(range(1_024, 17_408)), NatAxis::Pool),
        (pool(Pool::Blocks { range: PortRange { low: 20_000, high: 20_999 }, size: 100 }), NatAxis::Pool),
        (
            Behavior { addresses: ExternalAddresses { count: 2, ..ExternalAddresses::ONE }, ..counts },
            NatAxis::Addresses,
        ),
    ];
    for (behavior, axis) in cases {
        let refused = behavior.check().expect_err("an impossible combination");
        assert_eq!(refused.axes, [NatAxis::Collision, axis], "{refused}");
    }
    pool(range(20_000, 20_063)).check().expect("possible");
    pool(range(1_024, 17_407)).check().expect("possible");
}

#[test]
fn what_translates_nothing_has_no_port_axes() {
    let changes: [(NatAxis, Change); 7] = [
        (NatAxis::Collision, |b| b.collision = Collision::Sequential),
        (NatAxis::Mapping, |b| b.mapping = Mapping::AddressDependent),
        (NatAxis::Allocation, |b| b.allocation = Allocation::Random),
        (NatAxis::Pool, |b| b.pool = Pool::Range(TEN)),
        (NatAxis::Addresses, |b| b.addresses.count = 2),
        (NatAxis::Hairpinning, |b| b.hairpinning = Hairpinning::On),
        (NatAxis::Overloading, |b| b.overloading = Overloading::On),
    ];
    for plain in [Behavior::firewall(), Behavior::router()] {
        for (axis, change) in changes {
            assert_eq!(to_blame(plain, change), [axis, NatAxis::Translation]);
        }
    }
}

#[test]
fn a_router_keeps_no_state() {
    let changes: [(NatAxis, Change); 7] = [
        (NatAxis::Filtering, |b| b.filtering = Filtering::AddressDependent),
        (NatAxis::UnsolicitedSyn, |b| b.unsolicited_syn = UnsolicitedSyn::Drop),
        (NatAxis::SynAfterSyn, |b| b.syn_after_syn = SynAfterSyn::Drop),
        (NatAxis::InvalidPackets, |b| b.invalid_packets = InvalidPackets::Drop),
        (NatAxis::Strictness, |b| b.strictness = Strictness::Liberal),
        (NatAxis::Timeouts, |b| b.timeouts.close = Some(Duration::from_secs(10))),
        (NatAxis::Quota, |b| b.quota = Some(9)),
    ];
    for (axis, change) in changes {
        assert_eq!(to_blame(Behavior::router(), change), [axis, NatAxis::Translation]);
    }
}

#[test]
fn timeouts_are_whole_seconds() {
    let half = Timeouts { close: Some(Duration::from_millis(500)), ..Timeouts::default() };
    assert!(refused(|b| b.timeouts = half).contains("whole seconds"));
    // The kernel has no such timers.
    let half = Timeouts { absolute: Some(Duration::from_millis(500)), ..Timeouts::default() };
    assert!(refused(|b| b.timeouts = half).contains("testbed times absolute and flush-every"));
    let half = Timeouts { flush_every: Some(Duration::from_millis(500)), ..Timeouts::default() };
    assert!(refused(|b| b.timeouts = half).contains("testbed times absolute and flush-every"));
}

#[test]
fn blocks_are_cut_in_order() {
    let blocks = Pool::Blocks { range: TEN, size: 4 };
    let texts: Vec<_> = blocks.parts().into_iter().flatten().map(|r| r.to_string()).collect();
    assert_eq!(texts, ["20000-20003", "20004-20007"]);
}
