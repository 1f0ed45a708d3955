//! Measures how many external addresses a NAT has, and which of them the mappings of an inside host get (RFC 4787 REQ-2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::lab::nat_rules::pool_of;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Behavior, ExternalAddresses, Overloading, Pool, Pooling, Translation};
use crate::model::feasibility::MOST_ADDRESSES;

use super::address_draws::uneven;
use super::bench::{Side, site};
use super::finding::Finding;
use super::prober::{Flow, Prober};
use super::reading::Reading;
use super::room::few_exclusive_ports;

/// Hosts on each of the two inside networks that are asked about a pool. That none of them all gets a certain one of eight addresses
/// happens once in 10^11 times, if each is as likely as any other.
const HOSTS: u8 = 100;

/// The same where one address is declared: that 32 hosts have one of two by chance happens once in 10^9 times.
const FEW_HOSTS: u8 = 16;

/// Mappings of each host. That two of each of 32 hosts have the same one of two addresses by chance happens once in 10^9 times.
const OF_EACH: usize = 2;

/// A host behind the NAT.
type Host = (Side, Ipv4Addr);

/// The addresses that the mappings of some hosts got.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::probe) struct AddressesSeen {
    /// Of each host.
    of_host: BTreeMap<Ipv4Addr, BTreeSet<Ipv4Addr>>,
    /// Of each mapping.
    of_mappings: Vec<Ipv4Addr>,
    /// Mappings that were made, and that were to be made.
    opened: usize,
    wanted: usize,
}

impl AddressesSeen {
    /// What that comes to.
    pub(in crate::probe) fn reading(&self) -> Reading<ExternalAddresses> {
        let all: BTreeSet<Ipv4Addr> = self.of_host.values().flatten().copied().collect();
        if self.opened < self.wanted {
            return Reading::Other(format!(
                "{} of {} mappings{}",
                self.opened,
                self.wanted,
                self.without_any()
            ));
        }
        let split = self.of_host.values().any(|addresses| addresses.len() > 1);
        let pooling = if split { Pooling::Arbitrary } else { Pooling::Paired };
        let count = u8::try_from(all.len()).unwrap_or(u8::MAX);
        let first = AddressesSeen::pool_of(count);
        if (1..=MOST_ADDRESSES).contains(&count) && all == first {
            let uneven = split.then(|| uneven(self.of_mappings.iter().copied(), count)).flatten();
            if let Some(seen) = uneven {
                return Reading::Other(seen);
            }
            return Reading::Value(ExternalAddresses { count, pooling });
        }
        let names: Vec<String> = all.iter().take(8).map(ToString::to_string).collect();
        Reading::Other(format!("{count}, {pooling}: {}", names.join(", ")))
    }

    /// In words, the network of which no host gets a mapping, where those of the other do.
    fn without_any(&self) -> String {
        let network = |side: Side| {
            let [a, b, c, _] = side.address().octets();
            [a, b, c]
        };
        let has_one = |side: &Side| self.of_host.keys().any(|host| host.octets()[..3] == network(*side));
        let without: Vec<Side> =
            [Side::Inside0, Side::Inside1].into_iter().filter(|side| !has_one(side)).collect();
        match without[..] {
            [side] => {
                let [a, b, c] = network(side);
                format!("; none of a host of {a}.{b}.{c}.0/24, one of the two networks below the NAT")
            }
            _ => String::new(),
        }
    }

    /// The first so many addresses of a NAT on the bench.
    fn pool_of(count: u8) -> BTreeSet<Ipv4Addr> {
        let addresses = ExternalAddresses { count, ..ExternalAddresses::ONE };
        site().external(&Behavior { addresses, ..Behavior::port_preserving() }).iter().collect()
    }

    /// By what that was told.
    pub(in crate::probe) fn told_by(&self) -> String {
        format!("{} mappings of {} hosts", self.opened, self.of_host.len())
    }
}

/// How many addresses a NAT has and which of them a mapping gets; nothing of what does not translate.
pub(super) fn addresses(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    if declared.translation != Translation::Nat {
        return Ok(None);
    }
    let reading = read_addresses(prober, declared)?;
    Ok(Some(Finding::of(NatAxis::Addresses, declared, reading.to_string())))
}

/// The same as it was read, of a NAT that translates.
pub(in crate::probe) fn read_addresses(
    prober: &mut Prober,
    declared: &Behavior,
) -> Result<Reading<ExternalAddresses>> {
    let hosts = match declared.addresses.count {
        1 => hosts(FEW_HOSTS),
        _ => all_hosts(),
    };
    // A host without a block has no mapping.
    let blocks = matches!(declared.pool, Pool::Blocks { .. });
    let served = |(_, host): &Host| !blocks || pool_of(declared, &site(), *host).is_some();
    let hosts: Vec<Host> = hosts.into_iter().filter(served).collect();
    let mut seen = AddressesSeen::default();
    if few_exclusive_ports(declared).is_some() {
        for host in hosts {
            seen.add(look_at_one(prober, host, declared.quota)?);
        }
        return Ok(seen.reading());
    }
    let Turns { turns, each } = Turns::of(declared);
    for some in hosts.chunks(hosts_at_once(declared)) {
        for _ in 0..turns {
            prober.bench.forget()?;
            seen.add(look_at(prober, some, each)?);
        }
    }
    Ok(seen.reading())
}

/// Which addresses the mappings of these hosts get, whatever is declared; up to where none of some gets any, since not all need have
/// ports.
pub(in crate::probe) fn look(prober: &mut Prober, hosts: &[Host]) -> Result<AddressesSeen> {
    /// Few enough for a pool of hardly any ports.
    const AT_ONCE: usize = 4;
    let mut seen = AddressesSeen::default();
    for some in hosts.chunks(AT_ONCE) {
        prober.bench.forget()?;
        let of_some = look_at(prober, some, OF_EACH)?;
        if of_some.opened == 0 {
            break;
        }
        let wanted = of_some.of_host.len() * OF_EACH;
        seen.add(AddressesSeen { wanted, ..of_some });
    }
    Ok(seen)
}

/// All hosts that are asked about a pool.
pub(in crate::probe) fn all_hosts() -> Vec<Host> {
    hosts(HOSTS)
}

/// So many hosts of each network, the networks taking turns.
fn hosts(each: u8) -> Vec<Host> {
    let of = |n: u8| {
        [Side::Inside0, Side::Inside1].map(|side| {
            let [a, b, c, first] = side.address().octets();
            (side, Ipv4Addr::new(a, b, c, first + n))
        })
    };
    (0..each).flat_map(of).collect()
}

/// How the mappings of a host are made.
struct Turns {
    /// How often everything is forgotten first.
    turns: usize,
    /// How many are then made.
    each: usize,
}

impl Turns {
    /// One turn, unless a host may have only one mapping at a time. Then a second one has an address of its own draw where addresses are
    /// arbitrary; where they are paired, there is no other one that it would have to agree with.
    fn of(declared: &Behavior) -> Self {
        match declared.quota {
            Some(1) if declared.addresses.are_arbitrary() => Self { turns: OF_EACH, each: 1 },
            Some(1) => Self { turns: 1, each: 1 },
            _ => Self { turns: 1, each: OF_EACH },
        }
    }
}

/// For how many hosts at a time a NAT has ports that need not be looked for.
fn hosts_at_once(declared: &Behavior) -> usize {
    let smallest = declared.pool.parts().into_iter().flatten().map(|ports| ports.size()).min();
    match (declared.overloading, smallest) {
        (Overloading::Off, Some(ports)) => (ports as usize / (8 * OF_EACH)).max(1),
        _ => usize::from(HOSTS),
    }
}

/// Makes two mappings of a host where ports are few: the second one may find none free.
fn look_at_one(prober: &mut Prober, host: Host, quota: Option<u32>) -> Result<AddressesSeen> {
    prober.bench.forget()?;
    let mut seen = AddressesSeen { wanted: 1, ..AddressesSeen::default() };
    let (first, second) = (flow_of(prober, host), flow_of(prober, host));
    if let Some(external) = prober.open(&first)? {
        seen.note(host, external);
    }
    if quota == Some(1) {
        prober.bench.forget()?;
    }
    if let Some(external) = prober.open_at_once(&second)? {
        seen.wanted += 1;
        seen.note(host, external);
    }
    Ok(seen)
}

/// Makes so many mappings of each host, each to a remote of its own.
fn look_at(prober: &mut Prober, hosts: &[Host], each: usize) -> Result<AddressesSeen> {
    let mut seen = AddressesSeen { wanted: hosts.len() * each, ..AddressesSeen::default() };
    for side in [Side::Inside0, Side::Inside1] {
        let of_side = hosts.iter().filter(|(of, _)| *of == side).flat_map(|host| vec![*host; each]);
        let flows: Vec<Flow> = of_side.map(|host| flow_of(prober, host)).collect();
        let externals = if flows.is_empty() { Vec::new() } else { prober.open_all(&flows)? };
        for (flow, external) in flows.iter().zip(externals) {
            let Some(external) = external else { continue };
            seen.note((flow.side, *flow.inside.ip()), external);
        }
    }
    Ok(seen)
}

fn flow_of(prober: &mut Prober, (side, address): Host) -> Flow {
    let flow = prober.flow(side);
    Flow { inside: SocketAddrV4::new(address, flow.inside.port()), ..flow }
}

impl AddressesSeen {
    /// Adds a mapping of a host.
    fn note(&mut self, (_, host): Host, external: SocketAddrV4) {
        self.opened += 1;
        self.of_host.entry(host).or_default().insert(*external.ip());
        self.of_mappings.push(*external.ip());
    }

    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.wanted += other.wanted;
        self.of_mappings.extend(other.of_mappings);
        for (host, addresses) in other.of_host {
            self.of_host.entry(host).or_default().extend(addresses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts with the last parts of the addresses that each of them got.
    fn seen(hosts: &[&[u8]]) -> AddressesSeen {
        let mut seen = AddressesSeen::default();
        for (n, addresses) in (0..).zip(hosts) {
            let of_mappings: Vec<_> = addresses.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last)).collect();
            let of_host = [(Ipv4Addr::new(10, 0, 0, 2 + n), of_mappings.iter().copied().collect())].into();
            seen.add(AddressesSeen { of_host, of_mappings, opened: 2, wanted: 2 });
        }
        seen
    }

    #[test]
    fn the_count_and_the_pooling_are_read_off() {
        for (hosts, expected) in [
            (&[&[2][..], &[2]][..], "1"),
            (&[&[2], &[3], &[2]], "2, paired"),
            (&[&[2, 3], &[2, 4], &[3]], "3, arbitrary"),
            (&[&[3], &[3]], "1, paired: 192.0.2.3"),
            (&[&[2], &[4, 2]], "2, arbitrary: 192.0.2.2, 192.0.2.4"),
        ] {
            assert_eq!(seen(hosts).reading().to_string(), expected);
        }
        let refused = AddressesSeen { wanted: 5, ..seen(&[&[2]]) };
        let of_one_network =
            "2 of 5 mappings; none of a host of 10.0.1.0/24, one of the two networks below the NAT";
        assert_eq!(refused.reading().to_string(), of_one_network);
    }

    #[test]
    fn an_address_that_hardly_ever_comes_is_found() {
        let rare: Vec<&[u8]> = (0..100).map(|n| if n == 50 { &[2, 3][..] } else { &[2, 2] }).collect();
        let found = seen(&rare).reading().to_string();
        assert_eq!(found, "2 addresses are not drawn evenly: 192.0.2.2 199 times in 200");
        let even: Vec<&[u8]> = (0..100).map(|_| &[2, 3][..]).collect();
        assert_eq!(seen(&even).reading().to_string(), "2, arbitrary");
    }

    #[test]
    fn hosts_are_all_different_and_none_is_the_nat() {
        let all: BTreeSet<Ipv4Addr> = all_hosts().into_iter().map(|(_, host)| host).collect();
        assert_eq!(all.len(), 2 * usize::from(HOSTS));
        assert!(all.iter().all(|host| host.octets()[3] > 1));
    }
}
