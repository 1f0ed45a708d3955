//! How much may be asked of a NAT: how many mappings it has room for at a time, and how many it takes to tell chance from a rule where it
//! has few ports to choose from.

use crate::lab::nat_rules::pool_of;
use crate::model::behavior::{Allocation, Behavior, Overloading, Translation};
use crate::model::plural::counted;
use crate::model::port_set::PortSet;

use super::bench::{Side, site};

/// Of a pool of so many ports or more, the plain numbers of mappings tell enough, and leave room enough.
pub(in crate::probe) const LARGE: u32 = 64;

/// So many draws from 64 ports are all alike once in 10^16 times.
pub(in crate::probe) const ALIKE: usize = 9;

/// A NAT that never shares ports has so many for each that a mapping takes, so that one that is drawn again is found to be free.
const FREE_FOR_EACH: u32 = 8;

/// The ports that this host's come from, where they are declared.
pub(in crate::probe) fn own_pool(declared: &Behavior, side: Side) -> Option<PortSet> {
    pool_of(declared, &site(), side.address())
}

/// The ports of the first host, where they are few.
pub(in crate::probe) fn few_ports(declared: &Behavior) -> Option<u32> {
    let size = own_pool(declared, Side::Inside0).map(PortSet::size)?;
    (declared.translation == Translation::Nat && size < LARGE).then_some(size)
}

/// The same, where each port has one owner.
pub(in crate::probe) fn few_exclusive_ports(declared: &Behavior) -> Option<u32> {
    few_ports(declared).filter(|_| declared.overloading == Overloading::Off)
}

/// The mappings of one host that a NAT surely takes before it has to forget, if that is limited: by a quota, or by a small pool whose
/// ports are not shared.
pub(in crate::probe) fn room(declared: &Behavior) -> Option<u32> {
    let by_pool = few_exclusive_ports(declared).map(|ports| (ports / FREE_FOR_EACH).max(1));
    declared.quota.into_iter().chain(by_pool).min()
}

/// The same of connections whose inside ports go through those of the pool: an inside endpoint keeps its port only at first.
pub(super) fn room_to_keep(declared: &Behavior) -> Option<u32> {
    let by_endpoints = few_ports(declared).filter(|_| declared.allocation == Allocation::Preserving);
    room(declared).into_iter().chain(by_endpoints).min()
}

/// Why something was not asked of a NAT with so few ports.
pub(super) fn too_few(ports: u32) -> String {
    format!("the pool has only {}", counted(ports as usize, "port"))
}

/// How many draws come out the same with the probability that `plain` draws from 64 ports do, where there are fewer; never less than
/// `plain`.
pub(in crate::probe) fn draws_like(plain: usize, ports: Option<u32>) -> usize {
    match ports {
        Some(ports @ 2..LARGE) => {
            (plain as f64 * f64::from(LARGE).ln() / f64::from(ports).ln()).ceil() as usize
        }
        _ => plain,
    }
}

/// How many external endpoints one mapping may have.
pub(super) fn few_endpoints(declared: &Behavior) -> Option<u32> {
    let addresses = match declared.addresses {
        addresses if addresses.are_arbitrary() => u32::from(addresses.count),
        _ => 1,
    };
    few_ports(declared).map(|ports| ports * addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{Pool, PortRange};

    fn of(size: u16) -> Behavior {
        let pool = Pool::Range(PortRange { low: 20_000, high: 19_999 + size });
        Behavior { pool, ..Behavior::port_preserving() }
    }

    #[test]
    fn small_pools_have_room_for_few_mappings() {
        let exclusive = |size| Behavior { overloading: Overloading::Off, ..of(size) };
        for (size, expected) in [(1, Some(1)), (15, Some(1)), (21, Some(2)), (63, Some(7)), (64, None)] {
            assert_eq!(room(&exclusive(size)), expected, "{size}");
            assert_eq!(room(&of(size)), None, "{size}, shared");
        }
        assert_eq!(room(&Behavior { quota: Some(2), ..exclusive(63) }), Some(2));
        assert_eq!(room(&Behavior { quota: Some(9), ..exclusive(63) }), Some(7));
        assert_eq!(room_to_keep(&of(21)), Some(21));
        assert_eq!(room_to_keep(&Behavior { allocation: Allocation::Random, ..of(21) }), None);
        assert_eq!(room(&Behavior::port_preserving()), None);
    }

    #[test]
    fn the_fewer_ports_the_more_draws_it_takes() {
        let chance = |ports: u32, draws: usize| f64::from(ports).powi(-i32::try_from(draws).expect("few"));
        for ports in 2..LARGE {
            let draws = draws_like(8, Some(ports));
            assert!(chance(ports, draws) <= chance(LARGE, 8) * 1.000_001, "{ports}: {draws}");
        }
        assert_eq!([None, Some(1), Some(2), Some(63)].map(|ports| draws_like(8, ports)), [8, 8, 48, 9]);
    }
}
