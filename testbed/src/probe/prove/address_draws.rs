//! Measures whether a NAT with several external addresses draws one for each mapping: evenly, and whatever the endpoints are. A hash
//! of the remote address, or taking turns, looks arbitrary to a host with many peers, and decides otherwise over a punch.
//!
//! Each judgement has a false-alarm rate of at most [`RATE`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Mapping, Translation};
use crate::model::port_set::PortSet;
use crate::model::statistics::{at_least, at_most};

use super::bench::Side;
use super::distribution::at_most_distinct;
use super::finding::Finding;
use super::prober::{Flow, Prober};
use super::room::{own_pool, room};

/// Mappings of each series. That all have the same one of two addresses by chance happens once in 10^19 times.
const MAPPINGS: usize = 64;

/// Mappings of one inside endpoint. Eight endpoints show what a second mapping at another address gets, however few addresses there are.
const OF_ONE: usize = 8;

/// Distances over which addresses are looked at for turns: up to twice as many as there are addresses.
const DISTANCES: usize = 16;

/// How often a test calls an honest NAT a liar.
const RATE: f64 = 1e-9;

/// What is known of a NAT before its addresses are drawn.
#[derive(Debug, Clone, Copy)]
pub(in crate::probe) struct Plan {
    /// Whether all remote endpoints share a mapping.
    pub(in crate::probe) mapping: Mapping,
    /// Mappings for which it surely has room.
    pub(in crate::probe) at_once: usize,
    /// Ports that an inside endpoint may keep, if not all.
    pub(in crate::probe) pool: Option<PortSet>,
}

/// The addresses that mappings got, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::probe) struct AddressDraws {
    /// Those of one host towards one remote endpoint.
    one_remote: Vec<Ipv4Addr>,
    /// Those of one host towards many ports of one remote address; only where all of the above are the same.
    remote_ports: Vec<Ipv4Addr>,
    /// Those of some inside endpoints, each towards several remote addresses, where such have mappings of their own.
    own_inside: Vec<Ipv4Addr>,
    /// Mappings of an inside endpoint that had one at another address, and how many kept the port nevertheless.
    elsewhere: usize,
    kept: usize,
}

/// Whether the addresses of a NAT are drawn as declared, and what becomes of the port of a second mapping.
pub(in crate::probe) fn address_draws(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if declared.translation != Translation::Nat || !declared.addresses.are_arbitrary() {
        return Ok(Vec::new());
    }
    let draws = draw(prober, Plan::of(declared))?;
    let wrong = [
        (NatAxis::Addresses, draws.wrong_addresses(declared.addresses.count)),
        (NatAxis::Allocation, draws.wrong_ports(declared)),
    ];
    let finding = |(axis, wrong): (NatAxis, Option<String>)| {
        wrong.map(|seen| Finding::new(axis.name(), declared.value(axis), seen))
    };
    Ok(wrong.into_iter().filter_map(finding).collect())
}

impl Plan {
    fn of(declared: &Behavior) -> Self {
        let smallest = declared.pool.parts().into_iter().flatten().map(|ports| ports.size()).min();
        let of_pool = smallest.map_or(MAPPINGS, |ports| ports as usize / 8);
        let limit = room(declared).and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX);
        Self {
            mapping: declared.mapping,
            at_once: of_pool.min(limit).max(1),
            pool: own_pool(declared, Side::Inside0),
        }
    }
}

/// Makes the mappings.
pub(in crate::probe) fn draw(prober: &mut Prober, plan: Plan) -> Result<AddressDraws> {
    let mut draws = AddressDraws::default();
    let remote = prober.remote();
    draws.one_remote = series(prober, plan, |_| remote)?;
    if all_same(&draws.one_remote) {
        let port = |n: u16| SocketAddrV4::new(*remote.ip(), 2_000 + n);
        draws.remote_ports = series(prober, plan, port)?;
    }
    if plan.mapping != Mapping::EndpointIndependent {
        for _ in 0..MAPPINGS / OF_ONE {
            of_one_inside(prober, plan, &mut draws)?;
        }
    }
    Ok(draws)
}

/// The addresses of fresh inside endpoints of one host, towards what `remote` says.
fn series(prober: &mut Prober, plan: Plan, remote: impl Fn(u16) -> SocketAddrV4) -> Result<Vec<Ipv4Addr>> {
    let flow = |n: u16| {
        let inside = prober.inside(Side::Inside0);
        prober.flow_between(Side::Inside0, inside, remote(n))
    };
    let flows: Vec<Flow> = (0..MAPPINGS as u16).map(flow).collect();
    let mut addresses = Vec::with_capacity(MAPPINGS);
    for some in flows.chunks(plan.at_once) {
        prober.bench.forget()?;
        let externals = prober.open_all(some)?;
        addresses.extend(externals.iter().flatten().map(|external| *external.ip()));
        // A NAT that refuses most of what it declares to take is a matter for other rows: each refusal takes its time.
        if 2 * externals.iter().flatten().count() < externals.len() {
            break;
        }
    }
    Ok(addresses)
}

/// The mappings of one inside endpoint towards several remote addresses, its port one that may be kept.
fn of_one_inside(prober: &mut Prober, plan: Plan, draws: &mut AddressDraws) -> Result<()> {
    let mut inside = prober.inside(Side::Inside0);
    if let Some(port) = plan.pool.and_then(|pool| pool.nth(u32::from(inside.port()) % pool.size())) {
        inside.set_port(port);
    }
    let flow = |_| {
        let remote = prober.remote();
        prober.flow_between(Side::Inside0, inside, remote)
    };
    let flows: Vec<Flow> = (0..OF_ONE).map(flow).collect();
    for some in flows.chunks(plan.at_once) {
        prober.bench.forget()?;
        let externals: Vec<SocketAddrV4> = prober.open_all(some)?.into_iter().flatten().collect();
        draws.own_inside.extend(externals.iter().map(|external| *external.ip()));
        let Some(first) = externals.first() else { return Ok(()) };
        let elsewhere = || externals.iter().filter(|external| external.ip() != first.ip());
        draws.elsewhere += elsewhere().count();
        draws.kept += elsewhere().filter(|external| external.port() == inside.port()).count();
    }
    Ok(())
}

impl AddressDraws {
    /// What tells these addresses from independent and even draws of one of `count`.
    pub(in crate::probe) fn wrong_addresses(&self, count: u8) -> Option<String> {
        if self.one_remote.len() >= MAPPINGS / 2 && all_same(&self.one_remote) {
            let part = if all_same(&self.remote_ports) { "address" } else { "port" };
            let (of, address) = (self.one_remote.len(), self.one_remote[0]);
            return Some(format!(
                "the address depends on the remote {part}: {of} mappings of one host towards one endpoint all have {address}"
            ));
        }
        let of_remote =
            wrong(&self.one_remote, count).map(|seen| format!("{seen}, towards one remote endpoint"));
        of_remote.or_else(|| {
            wrong(&self.own_inside, count).map(|seen| format!("{seen}, of {OF_ONE} for each inside endpoint"))
        })
    }

    /// That a second mapping keeps the port at another address, where only the first has to.
    pub(in crate::probe) fn wrong_ports(&self, declared: &Behavior) -> Option<String> {
        /// What the kernel draws from by itself.
        const KERNEL: u32 = 65_536 - 1_024;
        let keeps_one = declared.allocation == Allocation::Preserving
            && declared.mapping != Mapping::EndpointIndependent
            && declared.addresses.are_arbitrary();
        let ports = own_pool(declared, Side::Inside0).map_or(KERNEL, PortSet::size);
        let chance = at_least(self.elsewhere as u64, 1.0 / f64::from(ports), self.kept as u64);
        (keeps_one && chance < RATE).then(|| {
            format!(
                "{} of {} mappings of an inside endpoint that had one at another address keep its port as well, and only the first has to",
                self.kept, self.elsewhere
            )
        })
    }
}

fn all_same(addresses: &[Ipv4Addr]) -> bool {
    addresses.windows(2).all(|pair| pair[0] == pair[1])
}

/// What tells addresses, in the order in which they came, from independent and even draws of one of `count`.
fn wrong(addresses: &[Ipv4Addr], count: u8) -> Option<String> {
    uneven(addresses.iter().copied(), count).or_else(|| in_turns(addresses, count))
}

/// An address that comes too often or too seldom, or too few of them.
pub(in crate::probe) fn uneven(addresses: impl Iterator<Item = Ipv4Addr>, count: u8) -> Option<String> {
    let mut times: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    addresses.for_each(|address| *times.entry(address).or_default() += 1);
    let all: usize = times.values().sum();
    if all == 0 {
        return None;
    }
    let share = 1.0 / f64::from(count);
    let each_test = RATE / (2.0 * f64::from(count) + 1.0);
    if at_most_distinct(all, times.len(), share) < each_test {
        return Some(format!("not each of {count} addresses is drawn: {} by {all} mappings", times.len()));
    }
    let off = |seen: &usize| {
        let seen = *seen as u64;
        at_least(all as u64, share, seen).min(at_most(all as u64, share, seen)) < each_test
    };
    let (address, seen) = times.into_iter().find(|(_, seen)| off(seen))?;
    Some(format!("{count} addresses are not drawn evenly: {address} {seen} times in {all}"))
}

/// Addresses that follow each other too regularly. Of even draws, two of any distance are the same once in `count` times, independently
/// for each pair.
fn in_turns(addresses: &[Ipv4Addr], count: u8) -> Option<String> {
    let share = 1.0 / f64::from(count);
    let each_test = RATE / (2.0 * DISTANCES as f64);
    (1..=DISTANCES).find_map(|distance| {
        let pairs = addresses.iter().zip(addresses.iter().skip(distance));
        let (all, same) =
            pairs.fold((0_u64, 0_u64), |(all, same), (one, next)| (all + 1, same + u64::from(one == next)));
        let odd = at_least(all, share, same) < each_test || at_most(all, share, same) < each_test;
        let turn = match distance {
            1 => "the next mapping".to_owned(),
            _ => format!("the {distance}th mapping after it"),
        };
        odd.then(|| {
            format!(
                "{count} addresses are not drawn independently: {turn} has the same one {same} times in {all}"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{ExternalAddresses, Pooling};

    fn addresses(last: impl Fn(usize) -> u8) -> Vec<Ipv4Addr> {
        (0..MAPPINGS).map(|n| Ipv4Addr::new(192, 0, 2, 2 + last(n))).collect()
    }

    /// Something that looks random, the same in each run.
    fn random(n: usize, count: u8) -> u8 {
        let mut x = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u8::try_from((x >> 40) % u64::from(count)).expect("small")
    }

    #[test]
    fn even_and_independent_draws_are_told_from_others() {
        for count in 2..=8 {
            assert_eq!(wrong(&addresses(|n| random(n, count)), count), None, "{count}");
            let turns = addresses(|n| (n % usize::from(count)) as u8);
            assert!(
                wrong(&turns, count).is_some_and(|seen| seen.contains("not drawn independently")),
                "{count}"
            );
            let sticky = addresses(|n| random(n / OF_ONE, count));
            assert!(wrong(&sticky, count).is_some(), "{count}");
            let one = addresses(|_| 0);
            assert!(wrong(&one, count).is_some(), "{count}");
        }
        assert!(wrong(&addresses(|n| random(n, 4)), 8).is_some(), "four of eight");
        assert!(wrong(&addresses(|n| random(n, 20) / 19), 2).is_some(), "one of two, nearly always");
    }

    #[test]
    fn what_the_address_depends_on_is_named() {
        let one = addresses(|_| 1);
        let two = addresses(|n| random(n, 2));
        let seen = |remote_ports: &[Ipv4Addr]| AddressDraws {
            one_remote: one.clone(),
            remote_ports: remote_ports.to_vec(),
            ..AddressDraws::default()
        };
        let says =
            |draws: AddressDraws, what: &str| draws.wrong_addresses(2).is_some_and(|s| s.starts_with(what));
        assert!(says(seen(&one), "the address depends on the remote address"));
        assert!(says(seen(&two), "the address depends on the remote port"));
        assert_eq!(AddressDraws { one_remote: two, ..AddressDraws::default() }.wrong_addresses(2), None);
    }

    #[test]
    fn a_port_that_is_kept_at_each_address_is_found() {
        let addresses = ExternalAddresses { count: 3, pooling: Pooling::Arbitrary };
        let declared =
            Behavior { mapping: Mapping::AddressAndPortDependent, addresses, ..Behavior::port_preserving() };
        let draws = |kept| AddressDraws { elsewhere: 40, kept, ..AddressDraws::default() };
        assert!(draws(40).wrong_ports(&declared).is_some());
        assert_eq!(draws(1).wrong_ports(&declared), None);
        let stays = Behavior { mapping: Mapping::EndpointIndependent, ..declared };
        let drawn = Behavior { allocation: Allocation::Random, ..declared };
        assert_eq!([stays, drawn].map(|other| draws(40).wrong_ports(&other)), [None, None]);
    }
}
