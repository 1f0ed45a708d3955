//! Measures the port that a NAT which keeps ports gives to a mapping that cannot keep its own: the next of a counter, or any.
//!
//! A mapping cannot keep its port if another host has it, if it lies outside the pool, or if the endpoint has it towards another
//! remote endpoint. All three are made in turn, and ports that lie just ahead of a counter are taken before it comes there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Collision, ExternalAddresses, Mapping, Overloading, Pool, PortRange, Translation,
};
use crate::model::datapath::Datapath;
use crate::model::feasibility::SMALLEST_COUNTED;

use super::bench::Side;
use super::distribution::tail_at_least;
use super::finding::Finding;
use super::prober::{Flow, Prober};
use super::reading::Reading;

/// Hosts on each network that collide. Of the at most 40 ports that they take of a pool of 64, eight at least are counted: that drawn
/// ones follow a counter has a probability below 24^-7 < 3e-10, and of three collisions each below 24^-23.
const HOSTS: u8 = 8;

/// Mappings of one host, at most.
const OF_A_HOST: u32 = 5;

/// How often an honest NAT that draws is said to count.
const RATE: f64 = 1e-9;

/// The ports that a NAT keeps which has no range of its own.
const KERNEL: PortRange = PortRange { low: 1024, high: u16::MAX };

/// What is known of a NAT whose ports collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct Colliding {
    pub(in crate::probe) mapping: Mapping,
    /// The ports that are kept.
    pub(in crate::probe) range: PortRange,
}

/// Whether ports just ahead of a counter are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortsAhead {
    Free,
    Taken,
}

/// A mapping: the port of the inside endpoint, and the external one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MappedPort {
    own: u16,
    external: u16,
}

impl Colliding {
    /// A NAT that declares so, if ports of it collide and one mapping after the other shows how it copes.
    pub(in crate::probe) fn of(declared: &Behavior) -> Option<Self> {
        let range = match declared.pool {
            Pool::Kernel => KERNEL,
            Pool::Range(range) => range,
            Pool::Ranges(_) | Pool::Blocks { .. } => return None,
        };
        let collide = declared.translation == Translation::Nat
            && declared.allocation == Allocation::Preserving
            && declared.overloading == Overloading::Off
            && declared.addresses == ExternalAddresses::ONE
            && declared.quota.is_none_or(|quota| quota >= OF_A_HOST)
            && range.size() >= SMALLEST_COUNTED;
        collide.then_some(Self { mapping: declared.mapping, range })
    }
}

/// Whether ports that collide are counted or drawn, as declared.
pub(in crate::probe) fn collision(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let Some(colliding) = Colliding::of(declared) else {
        let untold = declared.collision == Collision::Sequential;
        let why = "a host may have too few mappings at a time";
        return Ok(untold
            .then(|| Finding::not_looked_at(NatAxis::Collision.name(), why))
            .into_iter()
            .collect());
    };
    if prober.bench.datapath() == Datapath::Sockets {
        let why = "the sockets of the NAT have ports that its kernel picks";
        return Ok(vec![Finding::not_looked_at(NatAxis::Collision.name(), why)]);
    }
    let reading = read_collision(prober, colliding)?;
    Ok(vec![Finding::of(NatAxis::Collision, declared, reading.to_string())])
}

/// Whether ports that collide are counted or drawn, whatever is declared.
pub(in crate::probe) fn read_collision(
    prober: &mut Prober,
    colliding: Colliding,
) -> Result<Reading<Collision>> {
    let range = colliding.range;
    let mapped = match collide(prober, colliding, PortsAhead::Free)? {
        Reading::Value(mapped) => mapped,
        Reading::Other(why) => return Ok(Reading::Other(why)),
    };
    if not_counted(&mapped, range).is_some() {
        return Ok(match not_drawn(&mapped, range) {
            Some(seen) => Reading::Other(seen),
            None => Reading::Value(Collision::Random),
        });
    }
    prober.bench.forget()?;
    Ok(match collide(prober, colliding, PortsAhead::Taken)? {
        Reading::Value(mapped) => match not_counted(&mapped, range) {
            Some(seen) => Reading::Other(seen),
            None => Reading::Value(Collision::Sequential),
        },
        Reading::Other(why) => Reading::Other(why),
    })
}

/// What is wrong with the ends of the range: a port within that is not kept though it is free, or one beside it that is.
pub(in crate::probe) fn wrong_ends(prober: &mut Prober, range: PortRange) -> Result<Option<String>> {
    prober.bench.forget()?;
    let within = [range.low, range.high].map(|port| (port, true));
    let beside = [range.low.checked_sub(1).filter(|port| *port > 0), range.high.checked_add(1)];
    let beside = beside.into_iter().flatten().map(|port| (port, false));
    for (host, (port, is_within)) in (0..).zip(within.into_iter().chain(beside)) {
        let flow = flow_from(prober, (Side::Inside0, host), port);
        let kept = prober.open(&flow)?.is_some_and(|external| external.port() == port);
        match (is_within, kept) {
            (true, false) => return Ok(Some(format!("port {port} is not kept"))),
            (false, true) => return Ok(Some(format!("port {port} is kept, too"))),
            _ => {}
        }
    }
    Ok(None)
}

/// A connection of a host, by its place on its network, from this port.
fn flow_from(prober: &mut Prober, (side, host): (Side, u8), port: u16) -> Flow {
    let [a, b, c, first] = side.address().octets();
    let inside = SocketAddrV4::new(Ipv4Addr::new(a, b, c, first + host), port);
    let remote = prober.remote();
    prober.flow_between(side, inside, remote)
}

/// Makes mappings that collide, one after the other: what each got.
fn collide(prober: &mut Prober, colliding: Colliding, ahead: PortsAhead) -> Result<Reading<Vec<MappedPort>>> {
    let mut mapped: Vec<MappedPort> = Vec::new();
    for host in 0..HOSTS {
        let counted = mapped.iter().rev().find(|mapped| mapped.own != mapped.external);
        let next = counted.filter(|_| ahead == PortsAhead::Taken).map(|mapped| mapped.external);
        for flow in flows_of(prober, colliding, host, next) {
            let Some(external) = prober.open(&flow)? else {
                let (inside, remote) = (flow.inside, flow.remote);
                return Ok(Reading::Other(format!("a SYN from {inside} to {remote} did not get out")));
            };
            mapped.push(MappedPort { own: flow.inside.port(), external: external.port() });
        }
    }
    Ok(Reading::Value(mapped))
}

/// The mappings of a pair of hosts: one keeps its port, and the next cannot. Before them, two ports are kept that follow the one that
/// was counted last.
fn flows_of(prober: &mut Prober, colliding: Colliding, host: u8, counted: Option<u16>) -> Vec<Flow> {
    let Colliding { mapping, range } = colliding;
    let mut flow = |side: Side, port: u16| flow_from(prober, (side, host), port);
    let place = (2 * u32::from(host) + 1) * range.size() / (2 * u32::from(HOSTS));
    let port = range.low + u16::try_from(place).unwrap_or(0);
    let ahead = counted.into_iter().flat_map(|port| [port.checked_add(1), port.checked_add(2)]).flatten();
    let ahead: Vec<u16> = ahead.filter(|port| range.contains(*port)).collect();
    let mut flows: Vec<Flow> = ahead.into_iter().map(|port| flow(Side::Inside0, port)).collect();
    flows.extend([flow(Side::Inside0, port), flow(Side::Inside1, port)]);
    if let Some(outside) = outside(range, host) {
        flows.push(flow(Side::Inside0, outside));
    }
    if mapping != Mapping::EndpointIndependent {
        flows.push(flow(Side::Inside0, port));
    }
    flows
}

/// One of the ports beside the range, above it or below it; `None` if there are too few.
fn outside(range: PortRange, host: u8) -> Option<u16> {
    let away = 1 + 37 * u16::from(host);
    range.high.checked_add(away).or_else(|| range.low.checked_sub(away).filter(|port| *port >= 1024))
}

/// Where a port was not kept though it was free, or not the next free one of a counter through the range.
fn not_counted(mapped: &[MappedPort], range: PortRange) -> Option<String> {
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    let mut last = None;
    for MappedPort { own, external } in mapped {
        let keeps = range.contains(*own) && !taken.contains(own);
        let next = last.and_then(|last| next_free(last, range, &taken));
        let wrong = match (keeps, next) {
            (true, _) if own != external => format!("port {own} was free, and became {external}"),
            (false, _) if taken.contains(external) => format!("port {external} was given, which was taken"),
            (false, _) if !range.contains(*external) => {
                format!("port {external} was given, outside {range}")
            }
            (false, Some(next)) if next != *external => {
                let last = last.unwrap_or_default();
                format!("after port {last} came {external}, and {next} was free")
            }
            (false, _) => {
                last = Some(*external);
                String::new()
            }
            (true, _) => String::new(),
        };
        if !wrong.is_empty() {
            return Some(wrong);
        }
        taken.insert(*external);
    }
    None
}

/// The first port after `last` that nobody has, from the end of the range to its start.
fn next_free(last: u16, range: PortRange, taken: &BTreeSet<u16>) -> Option<u16> {
    let after = (last..=range.high).skip(1).chain(range.low..=last);
    after.into_iter().find(|port| !taken.contains(port))
}

/// A distance between ports that collided which comes too often to be drawn.
fn not_drawn(mapped: &[MappedPort], range: PortRange) -> Option<String> {
    let moved = mapped.iter().filter(|mapped| mapped.own != mapped.external);
    let ports: Vec<i32> = moved.map(|mapped| i32::from(mapped.external)).collect();
    let mut seen: BTreeMap<i32, usize> = BTreeMap::new();
    for pair in ports.windows(2) {
        *seen.entry(pair[1] - pair[0]).or_default() += 1;
    }
    let (step, times) = seen.into_iter().max_by_key(|(_, times)| *times)?;
    let free = f64::from(range.size()) - mapped.len() as f64;
    // The kernel draws the first ports of a pool up to twice as often as others.
    let each = (2.0 / free.max(1.0)).min(1.0);
    let chance = 2.0 * f64::from(range.size()) * tail_at_least(ports.len() - 1, times, each);
    (chance < RATE).then(|| format!("{times} of {} ports lie {step:+} from the one before", ports.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: PortRange = PortRange { low: 20_000, high: 20_099 };

    fn mapped(pairs: &[(u16, u16)]) -> Vec<MappedPort> {
        pairs.iter().map(|(own, external)| MappedPort { own: *own, external: *external }).collect()
    }

    fn wrong(pairs: &[(u16, u16)]) -> String {
        not_counted(&mapped(pairs), RANGE).unwrap_or_default()
    }

    #[test]
    fn a_counter_gives_the_next_port_that_is_free() {
        let honest =
            [(20_050, 20_050), (20_050, 20_097), (9, 20_098), (20_099, 20_099), (9, 20_000), (9, 20_001)];
        assert_eq!(wrong(&honest), "");
        let last = |external| wrong(&[&honest[..5], &[(20_050, external)]].concat());
        assert_eq!(last(20_002), "after port 20000 came 20002, and 20001 was free");
        assert_eq!(last(20_099), "port 20099 was given, which was taken");
        assert_eq!(last(20_100), "port 20100 was given, outside 20000-20099");
        assert_eq!(wrong(&[(20_050, 20_051)]), "port 20050 was free, and became 20051");
    }

    #[test]
    fn what_is_drawn_has_no_distance_in_common() {
        let of = |ports: &[u16]| {
            not_drawn(&mapped(&ports.iter().map(|port| (9, *port)).collect::<Vec<_>>()), RANGE)
        };
        let counted: Vec<u16> = (0..16).map(|n| 20_000 + 2 * n).collect();
        assert_eq!(of(&counted).as_deref(), Some("15 of 16 ports lie +2 from the one before"));
        let drawn: Vec<u16> = (0..16).map(|n| 20_000 + n * n * 7 % 97).collect();
        assert_eq!(of(&drawn), None);
    }

    #[test]
    fn only_ports_that_have_one_owner_collide() {
        let exclusive = Behavior { overloading: Overloading::Off, ..Behavior::port_preserving() };
        assert!(Colliding::of(&exclusive).is_some());
        assert_eq!(Colliding::of(&Behavior::port_preserving()), None);
        assert_eq!(Colliding::of(&Behavior { quota: Some(4), ..exclusive }), None);
        let pool = Pool::Range(PortRange { low: 20_000, high: 20_062 });
        assert_eq!(Colliding::of(&Behavior { pool, ..exclusive }), None);
    }
}
