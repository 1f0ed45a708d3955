//! Proves a NAT again, for free, from the connections that it tracked during a trial.
//!
//! Takes the NEW events of one NAT, in order, and says what in them the declared behaviour would not have done. What
//! random draws do by chance counts only where it would happen less than once in 10^10 trials.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::nat_rules::{NatSite, pool_of, remembers_mappings};
use crate::model::address_pool::AddressPool;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Mapping, Overloading, PortRange, Translation,
};
use crate::model::evidence::CtEntry;
use crate::model::port_set::PortSet;

use super::hash;

/// Coincidences less likely than this count as a difference.
const CHANCE: f64 = 1e-10;

/// What a NAT that behaves as declared would not have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistency {
    /// The axis of the declaration.
    pub axis: NatAxis,
    /// The endpoints that do not fit it.
    pub why: String,
}

fn inconsistent(axis: NatAxis, why: String) -> Inconsistency {
    Inconsistency { axis, why }
}

/// Whether these entries, in the order in which they came up in one trial, are what a NAT that behaves so would make.
///
/// # Errors
/// The first axis that they do not fit.
pub fn consistent(behavior: &Behavior, site: &NatSite, entries: &[CtEntry]) -> Result<(), Inconsistency> {
    if behavior.translation == Translation::Router {
        return Ok(());
    }
    let pool = site.external(behavior);
    let held = held(pool, entries);
    let mut history = History { behavior, site, pool, opened: Vec::new(), held };
    for entry in entries {
        if site.lans.iter().any(|(_, lan)| lan.contains(*entry.original.source.ip())) {
            history.outgoing(entry)?;
        } else {
            history.incoming(entry)?;
        }
    }
    history.draws()
}

/// A connection that an inside endpoint opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenedConnection {
    inside: SocketAddrV4,
    remote: SocketAddrV4,
    external: SocketAddrV4,
    /// Whether no earlier connection of this trial had the mapping.
    fresh: bool,
}

struct History<'a> {
    behavior: &'a Behavior,
    site: &'a NatSite,
    /// Its external addresses.
    pool: AddressPool,
    opened: Vec<OpenedConnection>,
    /// Which remote endpoints sent to which endpoint of the NAT that no inside endpoint had then.
    held: Vec<(SocketAddrV4, SocketAddrV4)>,
}

/// The connections of strangers to the NAT itself. Where its own stack answers them they are tracked, if only for some
/// microseconds, and as long as one is, nobody inside can have that endpoint towards that stranger.
fn held(pool: AddressPool, entries: &[CtEntry]) -> Vec<(SocketAddrV4, SocketAddrV4)> {
    let to_itself = |entry: &&CtEntry| {
        pool.contains(*entry.original.destination.ip()) && pool.contains(*entry.reply.source.ip())
    };
    entries.iter().filter(to_itself).map(|e| (e.original.source, e.original.destination)).collect()
}

impl History<'_> {
    fn outgoing(&mut self, entry: &CtEntry) -> Result<(), Inconsistency> {
        let (inside, remote) = (entry.original.source, entry.original.destination);
        let external = entry.reply.destination;
        let known = self.known(inside, remote);
        let opened = OpenedConnection { inside, remote, external, fresh: !known.contains(&external) };
        if self.behavior.translation == Translation::Firewall {
            if external != inside {
                return Err(inconsistent(NatAxis::Translation, format!("{inside} went out as {external}")));
            }
        } else if self.pool.contains(*remote.ip()) && !self.pool.contains(*external.ip()) {
            // Not hairpinned: the connection is one to the NAT itself, and nothing is translated.
            return Ok(());
        } else {
            self.check_address(&opened)?;
            self.check_pairing(&opened)?;
            self.check_reuse(&opened, &known)?;
            self.check_sharing(&opened)?;
            self.check_preserved(&opened)?;
            self.check_hash(&opened)?;
        }
        self.opened.push(opened);
        Ok(())
    }

    /// The external endpoints that earlier connections got, the last one first, and of which this one should get one
    /// again: several only where a mapping had to be left, and then whichever the kernel finds first
    /// (`find_appropriate_src` of nf_nat_core.c).
    fn known(&self, inside: SocketAddrV4, remote: SocketAddrV4) -> Vec<SocketAddrV4> {
        let depends = |o: &&OpenedConnection| match self.behavior.mapping {
            Mapping::EndpointIndependent => true,
            Mapping::AddressDependent => o.remote.ip() == remote.ip(),
            // A retry between the same two endpoints may get either: the first entry may have been reset.
            Mapping::AddressAndPortDependent => false,
        };
        self.opened.iter().rev().filter(|o| o.inside == inside && depends(o)).map(|o| o.external).collect()
    }

    fn check_address(&self, opened: &OpenedConnection) -> Result<(), Inconsistency> {
        let OpenedConnection { inside, external, .. } = opened;
        if !self.pool.contains(*external.ip()) {
            let axis = if external.ip() == inside.ip() { NatAxis::Translation } else { NatAxis::Addresses };
            let why = format!("{inside} went out as {external}, not from {}", self.pool);
            return Err(inconsistent(axis, why));
        }
        let own = pool_of(self.behavior, self.site, *inside.ip());
        let ports = own.unwrap_or_else(|| kernel_pool(inside.port()).into());
        if !ports.contains(external.port()) {
            return Err(inconsistent(
                NatAxis::Pool,
                format!("{inside} went out as {external}, outside {ports}"),
            ));
        }
        Ok(())
    }

    /// All mappings of a host have one address, unless any will do.
    fn check_pairing(&self, opened: &OpenedConnection) -> Result<(), Inconsistency> {
        let OpenedConnection { inside, external, .. } = opened;
        let of_host = self.opened.iter().filter(|o| o.inside.ip() == inside.ip());
        let other = of_host.map(|o| o.external.ip()).find(|address| *address != external.ip());
        match other.filter(|_| !self.behavior.addresses.are_arbitrary()) {
            Some(other) => {
                let why = format!("{inside} went out as {external}, and its host as {other} before");
                Err(inconsistent(NatAxis::Addresses, why))
            }
            None => Ok(()),
        }
    }

    fn check_reuse(&self, opened: &OpenedConnection, known: &[SocketAddrV4]) -> Result<(), Inconsistency> {
        let Some(last) = known.first().filter(|_| opened.fresh) else { return Ok(()) };
        // Without memory of its own, the kernel looks at one mapping, and leaves it if somebody else has its tuple.
        if !remembers_mappings(self.behavior) && known.iter().any(|known| self.clash(*known, opened)) {
            return Ok(());
        }
        let OpenedConnection { inside, remote, external, .. } = opened;
        Err(inconsistent(
            NatAxis::Mapping,
            format!(
                "{inside} went out as {external} towards {remote}, and as {last} before; declared is {}",
                self.behavior.mapping
            ),
        ))
    }

    /// Whether another endpoint already sends from `external` to the same remote, or the remote to the NAT there.
    fn clash(&self, external: SocketAddrV4, opened: &OpenedConnection) -> bool {
        let same = |o: &OpenedConnection| {
            o.external == external && o.remote == opened.remote && o.inside != opened.inside
        };
        self.opened.iter().any(same) || self.held.contains(&(opened.remote, external))
    }

    fn check_sharing(&self, opened: &OpenedConnection) -> Result<(), Inconsistency> {
        let other = self.opened.iter().find(|o| o.external == opened.external && o.inside != opened.inside);
        match (self.behavior.overloading, other) {
            (Overloading::Off, Some(other)) => Err(inconsistent(
                NatAxis::Overloading,
                format!("{} and {} both went out as {}", other.inside, opened.inside, opened.external),
            )),
            _ => Ok(()),
        }
    }

    fn check_preserved(&self, opened: &OpenedConnection) -> Result<(), Inconsistency> {
        let OpenedConnection { inside, external, .. } = *opened;
        let first = !self.opened.iter().any(|o| o.inside == inside);
        let own = SocketAddrV4::new(*external.ip(), inside.port());
        let ports = pool_of(self.behavior, self.site, *inside.ip());
        let keeps = self.behavior.allocation == Allocation::Preserving
            && first
            && ports.is_none_or(|ports| ports.contains(inside.port()));
        let taken = match self.behavior.overloading {
            Overloading::On => self.clash(own, opened),
            Overloading::Off => self.opened.iter().any(|o| o.external == own && o.inside != inside),
        };
        if keeps && !taken && external != own {
            return Err(inconsistent(
                NatAxis::Allocation,
                format!("{inside} went out as {external}, though its own port was free"),
            ));
        }
        Ok(())
    }

    fn check_hash(&self, opened: &OpenedConnection) -> Result<(), Inconsistency> {
        let OpenedConnection { inside, remote, external, .. } = *opened;
        let (Allocation::Hash { seed }, Overloading::On) =
            (self.behavior.allocation, self.behavior.overloading)
        else {
            return Ok(());
        };
        let Some(ports) = pool_of(self.behavior, self.site, *inside.ip()) else { return Ok(()) };
        match hash::port(self.behavior.mapping, seed, ports, inside, remote) {
            Some(port) if port != external.port() => Err(inconsistent(
                NatAxis::Allocation,
                format!("{inside} went out as {external} towards {remote}; its hash is {port}"),
            )),
            _ => Ok(()),
        }
    }

    /// An entry that somebody outside opened.
    fn incoming(&self, entry: &CtEntry) -> Result<(), Inconsistency> {
        let (stranger, target) = (entry.original.source, entry.original.destination);
        let to = entry.reply.source;
        let inside = self.site.lans.iter().any(|(_, lan)| lan.contains(*to.ip()));
        if !inside {
            // For the NAT itself: a rule would have kept it from being tracked, its own stack does not.
            return Ok(());
        }
        let admits = |o: &&OpenedConnection| match self.behavior.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => o.remote.ip() == stranger.ip(),
            Filtering::AddressAndPortDependent => false,
        };
        let door = self.opened.iter().filter(|o| o.external == target && o.inside == to).find(admits);
        match door {
            Some(_) => Ok(()),
            None => Err(inconsistent(
                NatAxis::Filtering,
                format!("{stranger} reached {to} through {target}; declared is {}", self.behavior.filtering),
            )),
        }
    }

    /// What only several fresh mappings together show.
    fn draws(&self) -> Result<(), Inconsistency> {
        if self.behavior.translation == Translation::Firewall {
            return Ok(());
        }
        match self.behavior.allocation {
            Allocation::Sequential { step } => self.check_counter(step),
            Allocation::Random => self.check_chance(),
            Allocation::Preserving => match self.behavior.collision {
                Collision::Sequential => self.check_collisions(),
                Collision::Random => Ok(()),
            },
            Allocation::Hash { .. } => Ok(()),
        }
    }

    /// The ports that were not kept follow each other. What lies between two of them is kept by somebody.
    fn check_collisions(&self) -> Result<(), Inconsistency> {
        let pool = self.opened.first().and_then(|o| pool_of(self.behavior, self.site, *o.inside.ip()));
        let Some(pool) = pool else { return Ok(()) };
        let (kept, moved): (Vec<&OpenedConnection>, Vec<&OpenedConnection>) =
            self.opened.iter().partition(|o| o.external.port() == o.inside.port());
        let kept: BTreeSet<u16> = kept.iter().map(|o| o.external.port()).collect();
        let mut known = BTreeSet::new();
        // A connection that is tried again from the same endpoints has the port that it had.
        let is_new = |o: &&OpenedConnection| o.fresh && known.insert((o.inside, o.remote, o.external));
        let counted: Vec<u16> = moved.into_iter().filter(is_new).map(|o| o.external.port()).collect();
        let free: Vec<u16> =
            pool.ports().filter(|port| !kept.contains(port) || counted.contains(port)).collect();
        if follow_each_other(&counted, &free) {
            return Ok(());
        }
        let seen: Vec<String> = counted.iter().take(8).map(ToString::to_string).collect();
        let why = format!("ports {} are not the next that were free", seen.join(", "));
        Err(inconsistent(NatAxis::Collision, why))
    }

    /// The fresh ports of each host follow each other without a gap, in whatever order two processors finished them.
    fn check_counter(&self, step: i16) -> Result<(), Inconsistency> {
        let mut by_pool: Vec<(PortSet, Vec<u16>)> = Vec::new();
        for opened in self.opened.iter().filter(|o| o.fresh) {
            let Some(pool) = pool_of(self.behavior, self.site, *opened.inside.ip()) else { continue };
            let port = opened.external.port();
            match by_pool.iter_mut().find(|(other, _)| *other == pool) {
                Some((_, ports)) => ports.push(port),
                None => by_pool.push((pool, vec![port])),
            }
        }
        for (pool, ports) in by_pool {
            if !is_one_run(&ports, pool, step) {
                let seen: Vec<String> = ports.iter().take(8).map(ToString::to_string).collect();
                return Err(inconsistent(
                    NatAxis::Allocation,
                    format!("ports {} do not follow a step of {step:+}", seen.join(", ")),
                ));
            }
        }
        Ok(())
    }

    /// Fresh random ports are neither all the host's own nor all the same.
    fn check_chance(&self) -> Result<(), Inconsistency> {
        let fresh: Vec<&OpenedConnection> = self.opened.iter().filter(|o| o.fresh).collect();
        let unlikely = |draws: usize, inside: Ipv4Addr| {
            let size = pool_of(self.behavior, self.site, inside).map_or(32_256, PortSet::size);
            f64::from(size).recip().powi(i32::try_from(draws).unwrap_or(i32::MAX)) < CHANCE
        };
        let Some(first) = fresh.first() else { return Ok(()) };
        let own = fresh.iter().all(|o| o.external.port() == o.inside.port());
        if own && unlikely(fresh.len(), *first.inside.ip()) {
            return Err(inconsistent(
                NatAxis::Allocation,
                format!("all {} mappings keep the inside port", fresh.len()),
            ));
        }
        for opened in &fresh {
            let same = fresh.iter().filter(|o| o.inside == opened.inside);
            let ports: BTreeSet<u16> = same.clone().map(|o| o.external.port()).collect();
            let count = same.count();
            if ports.len() == 1 && unlikely(count - 1, *opened.inside.ip()) {
                let OpenedConnection { inside, external, .. } = opened;
                return Err(inconsistent(
                    NatAxis::Mapping,
                    format!("{inside} went out as {external} every time of {count}"),
                ));
            }
        }
        Ok(())
    }
}

/// What the kernel draws from for this source port, its own included.
fn kernel_pool(port: u16) -> PortRange {
    match port {
        0..512 => PortRange { low: 1, high: 511 },
        512..1024 => PortRange { low: 512, high: 1023 },
        _ => PortRange { low: 1024, high: u16::MAX },
    }
}

/// Whether these ports, in whatever order, are neighbours in a list that begins again after its end.
fn follow_each_other(ports: &[u16], list: &[u16]) -> bool {
    if ports.len() >= list.len() {
        return true;
    }
    let places: Option<BTreeSet<usize>> = ports.iter().map(|port| list.binary_search(port).ok()).collect();
    places.is_some_and(|places| {
        let before = |place: usize| (place + list.len() - 1) % list.len();
        let starts = places.iter().filter(|place| !places.contains(&before(**place))).count();
        places.len() == ports.len() && starts <= 1
    })
}

/// Whether these ports are a run of consecutive positions of a counter, which may wrap; more than go once around
/// always are.
fn is_one_run(ports: &[u16], pool: PortSet, step: i16) -> bool {
    let each = u32::from(step.unsigned_abs()).max(1);
    let positions = pool.size().div_ceil(each);
    let position = |port: &u16| {
        let from_low = pool.position(*port)?;
        let from = if step > 0 { from_low } else { pool.size() - 1 - from_low };
        from.is_multiple_of(each).then_some(from / each)
    };
    let Some(all) = ports.iter().map(position).collect::<Option<BTreeSet<u32>>>() else { return false };
    if ports.len() >= positions as usize {
        return true;
    }
    let starts = all.iter().filter(|p| !all.contains(&((*p + positions - 1) % positions))).count();
    all.len() == ports.len() && starts <= 1
}

#[cfg(test)]
mod tests {
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
        consistent(behavior, &site(), entries)
            .map_or_else(|found| format!("{}: {}", found.axis, found.why), |()| "fits".to_owned())
    }

    fn symmetric(allocation: Allocation) -> Behavior {
        let range = PortRange { low: 20_000, high: 20_099 };
        let mapping = Mapping::AddressAndPortDependent;
        Behavior { mapping, allocation, pool: Pool::Range(range), ..Behavior::port_preserving() }
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
        assert!(
            then(7000).starts_with("mapping: 10.0.0.2:5000 went out as 192.0.2.2:7000"),
            "{}",
            then(7000)
        );
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
        assert!(
            verdict(&adf, &[out(5000, (1, 7), 5000), back((2, 7), 5000, 5000)]).starts_with("filtering: ")
        );
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
}
