//! Which external endpoint an inside one has, and who may send to it: what a NAT remembers apart from connections.
//!
//! RFC 4787, section 4.1, and RFC 5382, REQ-1, for mappings; RFC 4787, section 5, and RFC 5382, REQ-3, for filtering.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::NatView;
use super::draws::{Draw, Draws, drawn_from};
use super::flush_window::FlushWindow;
use super::rules::{BrokenRule, Rulebook, keeps, named as rules};
use super::tracking::Tracking;
use crate::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Mapping, Overloading, PortRange, Translation,
};
use crate::model::evidence::{CtState, Nanos};
use crate::model::port_set::PortSet;

/// Something that is remembered for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExpiringEntry {
    /// When it was last needed.
    last: Nanos,
    /// From when on it surely is.
    since: Nanos,
    /// Until when it surely is.
    surely: Nanos,
    /// Until when it may be.
    perhaps: Nanos,
}

/// An external endpoint that an inside one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LiveMapping {
    external: SocketAddrV4,
    time: ExpiringEntry,
}

/// What a mapping depends on besides the inside endpoint.
type Remote = (Option<Ipv4Addr>, Option<u16>);

/// Whether somebody outside may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// To this inside endpoint.
    Yes(SocketAddrV4),
    /// Perhaps to this one: the mapping may be too young or too old.
    Perhaps(SocketAddrV4),
    /// No.
    No,
}

/// What a NAT remembers.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    mapping: HashMap<(SocketAddrV4, Remote), Vec<LiveMapping>>,
    owners: HashMap<SocketAddrV4, (SocketAddrV4, ExpiringEntry)>,
    admitted: HashMap<(SocketAddrV4, Ipv4Addr), ExpiringEntry>,
    /// Which inside endpoints have an external one, and when each last used it.
    users: HashMap<SocketAddrV4, HashMap<SocketAddrV4, Nanos>>,
    /// Which inside endpoint sends from an external one to a remote one.
    flows: HashMap<(SocketAddrV4, SocketAddrV4), SocketAddrV4>,
    /// How many flows go to a remote endpoint.
    towards: HashMap<SocketAddrV4, u32>,
    /// How many external endpoints an inside host has had.
    of_host: HashMap<Ipv4Addr, HashSet<SocketAddrV4>>,
    /// Which inside endpoints have begun a connection, and when they last sent something.
    started: HashMap<SocketAddrV4, Nanos>,
    /// What came from outside to an external endpoint of the NAT's own stack: as long as that tracks it, nobody inside
    /// can have the endpoint towards that sender.
    strangers: HashSet<(SocketAddrV4, SocketAddrV4)>,
    /// Flows that a host has begun.
    begun: HashMap<Ipv4Addr, u32>,
    draws: Draws,
    /// What was last needed by then may be forgotten.
    doubted_until: Option<Nanos>,
    /// Whether it is not known which endpoints have to get a port by chance, because of what may be forgotten.
    is_chance_untold: bool,
    rules: Rulebook,
}

/// A connection from inside that went out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) inside: SocketAddrV4,
    pub(super) remote: SocketAddrV4,
    pub(super) external: SocketAddrV4,
}

/// Whether a NAT remembers mappings apart from the connections that use them; else it knows an inside endpoint again
/// only as long as it tracks a connection of it (`find_appropriate_src`), or computes the port (a hash).
fn remembers(behavior: &Behavior) -> bool {
    let exclusive = behavior.overloading == Overloading::Off;
    let counted = behavior.quota.is_some();
    let preserving = behavior.allocation == Allocation::Preserving;
    let hash = matches!(behavior.allocation, Allocation::Hash { .. });
    let arbitrary = behavior.addresses.are_arbitrary();
    match behavior.mapping {
        Mapping::EndpointIndependent => exclusive || counted || arbitrary || !(preserving || hash),
        Mapping::AddressDependent => exclusive || counted || arbitrary || !hash,
        Mapping::AddressAndPortDependent => preserving || (hash && exclusive),
    }
}

impl Mappings {
    /// Nothing yet, by these rules.
    pub(super) fn by(rules: Rulebook) -> Self {
        Self { rules, ..Self::default() }
    }

    fn key(nat: &NatView<'_>, inside: SocketAddrV4, remote: SocketAddrV4) -> (SocketAddrV4, Remote) {
        let depends = match nat.declared.mapping {
            Mapping::EndpointIndependent => (None, None),
            Mapping::AddressDependent => (Some(*remote.ip()), None),
            Mapping::AddressAndPortDependent => (Some(*remote.ip()), Some(remote.port())),
        };
        (inside, depends)
    }

    /// Every packet from inside prolongs what is remembered, for as long as its connection may be idle: from when it came, and
    /// surely from when the NAT had dealt with it.
    pub(super) fn learn(
        &mut self,
        nat: &NatView<'_>,
        how: &Tracking,
        flow: Outgoing,
        (at, handled_by): (Nanos, Nanos),
    ) {
        let Outgoing { inside, remote, external } = flow;
        let (opening, standing) =
            (how.timers.of_state(CtState::SynSent), how.timers.of_state(CtState::Established));
        let until = |since: Nanos| ExpiringEntry {
            last: at,
            since,
            surely: at.saturating_add(opening.min(standing)),
            perhaps: at.saturating_add(opening.max(standing)),
        };
        let doubted_until = self.doubted_until;
        // What may be forgotten is surely there when this packet has made it again.
        let again = |held: &ExpiringEntry| match doubted_until {
            Some(doubted_until) if held.last <= doubted_until => until(handled_by),
            _ => until(held.since),
        };
        let held = self.mapping.entry(Self::key(nat, inside, remote)).or_default();
        match held.iter_mut().find(|held| held.external == external) {
            Some(held) => held.time = again(&held.time),
            None => held.push(LiveMapping { external, time: until(handled_by) }),
        }
        let owner = self.owners.entry(external).or_insert((inside, until(handled_by)));
        if owner.1.perhaps < at {
            *owner = (inside, until(handled_by));
        }
        if owner.0 == inside {
            owner.1 = again(&owner.1);
        }
        let admitted = self.admitted.entry((external, *remote.ip())).or_insert(until(handled_by));
        *admitted = again(admitted);
        self.users.entry(external).or_default().insert(inside, at);
        self.of_host.entry(*inside.ip()).or_default().insert(external);
        self.started.insert(inside, at);
        if self.flows.insert((external, remote), inside).is_none() {
            *self.towards.entry(remote).or_default() += 1;
            *self.begun.entry(*inside.ip()).or_default() += 1;
        }
    }

    /// A new connection from inside got a port.
    pub(super) fn drew(&mut self, nat: &NatView<'_>, flow: &Outgoing) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let strangers = count(self.strangers.iter().filter(|(_, remote)| *remote == flow.remote).count());
        let taken = match nat.declared.overloading {
            Overloading::On => self.towards.get(&flow.remote).copied().unwrap_or_default(),
            Overloading::Off => count(self.users.len()),
        };
        if self.is_drawn(nat, flow) {
            self.draws.note(nat, (flow.inside, flow.external.port()), taken.saturating_add(strangers));
        }
    }

    /// Whether a new connection had to get a port by chance: each does, or the first of a mapping, or each after the first that
    /// keeps its port.
    fn is_drawn(&self, nat: &NatView<'_>, flow: &Outgoing) -> bool {
        let Behavior { translation, mapping, allocation, collision, .. } = nat.declared;
        let known = || self.mapping.contains_key(&Self::key(nat, flow.inside, flow.remote));
        *translation == Translation::Nat
            // Chance has no part in what a counter gives.
            && *collision == Collision::Random
            && !self.is_chance_untold
            && match (allocation, mapping) {
                (Allocation::Random, Mapping::AddressAndPortDependent) => true,
                (Allocation::Random, _) => !known(),
                (Allocation::Preserving, Mapping::AddressAndPortDependent) => {
                    self.started.contains_key(&flow.inside) && !known()
                }
                _ => false,
            }
    }

    /// The NAT may have forgotten everything.
    pub(super) fn doubt(&mut self, flush: FlushWindow) {
        let mapped = self.mapping.values_mut().flatten().map(|held| &mut held.time);
        let owned = self.owners.values_mut().map(|(_, time)| time);
        mapped.chain(owned).chain(self.admitted.values_mut()).for_each(|time| time.surely = 0);
        self.doubted_until = Some(flush.closes);
        self.is_chance_untold = true;
    }

    /// What a packet shows of mappings may not be so: they may have been forgotten when it passed.
    pub(super) fn doubt_mappings_of(&mut self, flow: &Outgoing) {
        let held = self.mapping.values_mut().flatten().filter(|held| held.external == flow.external);
        held.for_each(|held| held.time.surely = 0);
        let owned = self.owners.get_mut(&flow.external).map(|(_, time)| time);
        let admitted = self.admitted.get_mut(&(flow.external, *flow.remote.ip()));
        owned.into_iter().chain(admitted).for_each(|time| time.surely = 0);
        self.is_chance_untold = true;
    }

    /// The NAT has forgotten everything. Whatever came at about that time may have come later: what that has made may be there.
    pub(super) fn forget(&mut self, flush: FlushWindow, something_came: bool) {
        if !something_came {
            let Self { draws, rules, doubted_until, .. } = std::mem::take(self);
            *self = Self { draws, rules, doubted_until, ..Self::default() };
            return;
        }
        let may_be = |last: Nanos| last >= flush.opens;
        for held in self.mapping.values_mut() {
            held.retain(|held| may_be(held.time.last));
        }
        self.mapping.retain(|_, held| !held.is_empty());
        self.owners.retain(|_, (_, time)| may_be(time.last));
        self.admitted.retain(|_, time| may_be(time.last));
        self.started.retain(|_, last| may_be(*last));
        for users in self.users.values_mut() {
            users.retain(|_, last| may_be(*last));
        }
    }

    /// The ports that were drawn.
    pub(super) fn take_draws(&mut self) -> Vec<Draw> {
        std::mem::take(&mut self.draws.all)
    }

    /// A packet from outside went to the NAT itself.
    pub(super) fn met_stranger(&mut self, remote: SocketAddrV4, external: SocketAddrV4) {
        self.strangers.insert((external, remote));
    }

    /// Whether a connection from inside may go out so. `elsewhere` is an external address of the host's that the
    /// connection had to have as well, and has not.
    ///
    /// # Errors
    /// The rule that it breaks, and how.
    pub(super) fn may_go_out(
        &self,
        nat: &NatView<'_>,
        flow: Outgoing,
        at: Nanos,
        elsewhere: Option<Ipv4Addr>,
    ) -> Result<(), BrokenRule> {
        let Outgoing { inside, external, .. } = flow;
        if nat.declared.translation == Translation::Firewall {
            let what = || format!("{inside} went out as {external}");
            return self.rules.hold(rules::ADDRESS, keeps(external == inside, what));
        }
        let what = || format!("{inside} went out as {external} and had to go out from {}", nat.outer);
        let rule = if external.ip() == inside.ip() { rules::ADDRESS } else { rules::ADDRESSES };
        self.rules.hold(rule, keeps(nat.outer.contains(*external.ip()), what))?;
        let Some(ports) = nat.ports_of(*inside.ip()) else {
            let what = format!("{inside} has no block of ports and went out as {external}");
            return self.rules.hold(rules::PORTS, Err(what));
        };
        let ports = ports.unwrap_or_else(|| kernel_ports(inside.port()));
        let what = || format!("{inside} went out as {external}, outside {ports}");
        self.rules.hold(rules::PORTS, keeps(ports.contains(external.port()), what))?;
        let held = self.mapping.get(&Self::key(nat, inside, flow.remote)).map_or(&[][..], Vec::as_slice);
        if held.iter().any(|held| held.external == external) {
            return self.rules.hold(rules::MAPPING, Ok(()));
        }
        if !nat.declared.addresses.are_arbitrary() {
            self.fits_pooling(flow, elsewhere)?;
        }
        self.fresh(nat, flow, held, at, ports)
    }

    /// A fresh mapping of a paired NAT has the address that the host's others have. A host whose connections are all gone may get
    /// another one.
    fn fits_pooling(&self, flow: Outgoing, elsewhere: Option<Ipv4Addr>) -> Result<(), BrokenRule> {
        let Outgoing { inside, external, .. } = flow;
        let found = elsewhere.map_or(Ok(()), |other| {
            Err(format!("{inside} went out as {external}, and the host has mappings of {other}"))
        });
        self.rules.hold(rules::PAIRED, found)
    }

    /// A connection got an external endpoint that its inside one did not have before.
    fn fresh(
        &self,
        nat: &NatView<'_>,
        flow: Outgoing,
        held: &[LiveMapping],
        at: Nanos,
        ports: PortSet,
    ) -> Result<(), BrokenRule> {
        let Outgoing { inside, remote, external } = flow;
        let behavior = nat.declared;
        let repeats = behavior.mapping != Mapping::AddressAndPortDependent || remembers(behavior);
        let clash = |external: SocketAddrV4| self.clashes(external, remote, inside);
        // Without memory of its own a NAT leaves a mapping that is somebody else's towards this remote endpoint, and has
        // forgotten one whose connections are all gone.
        let mut surely = held.iter().filter(|held| repeats && at < held.time.surely && remembers(behavior));
        if let Some(known) = surely.next_back() {
            let what = format!(
                "{inside} went out as {external} towards {remote} and had to go out as {}",
                known.external
            );
            return self.rules.hold(rules::MAPPING, Err(what));
        }
        let own = SocketAddrV4::new(*external.ip(), inside.port());
        let preserves = behavior.allocation == Allocation::Preserving
            && ports.contains(inside.port())
            && (!self.started.contains_key(&inside)
                || (!remembers(behavior) && held.iter().all(|h| h.external == own)));
        let free = match behavior.overloading {
            Overloading::On => !clash(own),
            Overloading::Off => {
                self.users.get(&own).is_none_or(|users| users.keys().all(|user| *user == inside))
            }
        };
        if preserves && free {
            let rule = if self.started.contains_key(&inside) { rules::MAPPING } else { rules::ALLOCATION };
            let what = || format!("{inside} went out as {external} towards {remote}, though {own} was free");
            self.rules.hold(rule, keeps(external == own, what))?;
        }
        let surely = |last: &Nanos| self.doubted_until.is_none_or(|doubted_until| *last > doubted_until);
        let of_other = |(user, last): (&SocketAddrV4, &Nanos)| *user != inside && surely(last);
        let others = self.users.get(&external).is_some_and(|users| users.iter().any(of_other));
        if behavior.overloading == Overloading::Off {
            let what = || format!("{inside} went out as {external}, which is another endpoint's");
            self.rules.hold(rules::OVERLOADING, keeps(!others, what))?;
        }
        Ok(())
    }

    /// Whether another inside endpoint sends from `external` to the same remote one.
    fn clashes(&self, external: SocketAddrV4, remote: SocketAddrV4, inside: SocketAddrV4) -> bool {
        let of_other = self.flows.get(&(external, remote)).is_some_and(|user| *user != inside);
        of_other || self.strangers.contains(&(external, remote))
    }

    /// Whether a new connection may come to nothing because no external endpoint was found for it, or the one drawn was
    /// taken: a port that a rule has named is not looked for again.
    pub(super) fn may_vanish(&self, nat: &NatView<'_>, inside: SocketAddrV4, remote: SocketAddrV4) -> bool {
        let behavior = nat.declared;
        if behavior.translation != Translation::Nat {
            return self.reached_quota(nat, inside);
        }
        let Some(ports) = nat.ports_of(*inside.ip()) else { return true };
        let ports = ports.unwrap_or_else(|| drawn_from(inside.port()));
        // A range is drawn first, and what another has room for does not help.
        let room = ports.ranges().iter().map(|range| range.size()).min().unwrap_or(0);
        let taken = match behavior.overloading {
            Overloading::On => self.towards.get(&remote).copied().unwrap_or_default() as usize,
            Overloading::Off => self.users.len(),
        };
        let drawn = matches!(behavior.allocation, Allocation::Sequential { .. } | Allocation::Hash { .. })
            || behavior.overloading == Overloading::Off
            || remembers(behavior);
        // The kernel tries at least 128, then 64, then 32 places of the pool: with half of it free it does not fail.
        let full = taken * 2 >= room as usize;
        self.reached_quota(nat, inside) || full || (drawn && taken > 0)
    }

    fn reached_quota(&self, nat: &NatView<'_>, inside: SocketAddrV4) -> bool {
        let begun = self.begun.get(inside.ip()).copied().unwrap_or_default();
        nat.declared.quota.is_some_and(|quota| begun >= quota)
    }

    /// Whether somebody outside may open a connection to `external`, at `at`.
    pub(super) fn admits(
        &self,
        nat: &NatView<'_>,
        remote: SocketAddrV4,
        external: SocketAddrV4,
        at: Nanos,
    ) -> Admission {
        let Some((owner, time)) = self.owners.get(&external) else { return Admission::No };
        let known = match nat.declared.filtering {
            Filtering::AddressAndPortDependent => return Admission::No,
            Filtering::EndpointIndependent => Some(time),
            Filtering::AddressDependent => self.admitted.get(&(external, *remote.ip())),
        };
        match known {
            Some(known) if at > known.since && at < known.surely.min(time.surely) => Admission::Yes(*owner),
            Some(known) if at < known.perhaps.min(time.perhaps) => Admission::Perhaps(*owner),
            _ => Admission::No,
        }
    }

    /// Who has an external endpoint, for what is turned round (RFC 5382, REQ-8).
    pub(super) fn owner(&self, external: SocketAddrV4, at: Nanos) -> Admission {
        match self.owners.get(&external) {
            Some((owner, time)) if at > time.since && at < time.surely => Admission::Yes(*owner),
            Some((owner, time)) if at < time.perhaps => Admission::Perhaps(*owner),
            _ => Admission::No,
        }
    }
}

/// The ports that the kernel may give for a source port: those that it draws from, and its own (`nf_nat_l4proto_unique_tuple`).
fn kernel_ports(port: u16) -> PortSet {
    let range = match port {
        0..512 => PortRange { low: 1, high: 511 },
        512..1024 => PortRange { low: 512, high: 1023 },
        _ => PortRange { low: 1024, high: u16::MAX },
    };
    range.into()
}
