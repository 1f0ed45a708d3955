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

/// Whether these entries, in the order in which they came up in one trial, are what a NAT that behaves so would make that made so many
/// resets itself meanwhile. Each of these may have taken the next port of a counter: the kernel asks the rules of source NAT about a
/// reset as well that answers what begins a connection (`nf_ct_attach` of `nf_send_reset`, then `nf_nat_inet_fn`).
///
/// # Errors
/// The first axis that they do not fit.
pub fn consistent(
    behavior: &Behavior,
    site: &NatSite,
    entries: &[CtEntry],
    resets: usize,
) -> Result<(), Inconsistency> {
    if behavior.translation == Translation::Router {
        return Ok(());
    }
    let pool = site.external(behavior);
    let held = held(pool, entries);
    let mut history = History { behavior, site, pool, opened: Vec::new(), held, resets };
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
    /// How many it made itself.
    resets: usize,
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
        if follow_each_other(&counted, &free, self.resets) {
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
            if !is_one_run(&ports, pool, step, self.resets) {
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

/// Whether these ports, in whatever order, are neighbours in a list that begins again after its end, but for so many at most that lie
/// between them.
fn follow_each_other(ports: &[u16], list: &[u16], between: usize) -> bool {
    if ports.len() >= list.len() {
        return true;
    }
    let places: Option<BTreeSet<usize>> = ports.iter().map(|port| list.binary_search(port).ok()).collect();
    places.is_some_and(|places| places.len() == ports.len() && left_between(&places, list.len()) <= between)
}

/// How many of `all` places on a circle lie between some of them, at least: all others but those of the longest gap.
fn left_between(places: &BTreeSet<usize>, all: usize) -> usize {
    let Some((first, last)) = places.first().zip(places.last()) else { return 0 };
    let gaps = places.iter().zip(places.iter().skip(1)).map(|(one, next)| next - one - 1);
    let longest = gaps.chain([first + all - last - 1]).max().unwrap_or_default();
    all - places.len() - longest
}

/// Whether these ports are a run of consecutive positions of a counter, which may wrap, but for so many at most that lie between them;
/// more than go once around always are.
fn is_one_run(ports: &[u16], pool: PortSet, step: i16, between: usize) -> bool {
    let each = u32::from(step.unsigned_abs()).max(1);
    let positions = pool.size().div_ceil(each);
    let position = |port: &u16| {
        let from_low = pool.position(*port)?;
        let from = if step > 0 { from_low } else { pool.size() - 1 - from_low };
        from.is_multiple_of(each).then_some((from / each) as usize)
    };
    let Some(all) = ports.iter().map(position).collect::<Option<BTreeSet<usize>>>() else { return false };
    let positions = positions as usize;
    ports.len() >= positions || all.len() == ports.len() && left_between(&all, positions) <= between
}

#[cfg(test)]
mod tests;
