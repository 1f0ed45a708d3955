//! Makes the mappings that show how external ports are chosen, from which pool, and who shares them.
//!
//! What is asked depends on what was seen before, as `kind` and `pool` judge it; nothing depends on a declaration.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::model::behavior::{Allocation, Behavior, Collision, Mapping, Overloading, Pool, PortRange};
use crate::model::port_set::PortSet;
use crate::probe::prove::bench::Side;
use crate::probe::prove::bulk::{REFUSALS, is_refused};
use crate::probe::prove::collision::{Colliding, read_collision};
use crate::probe::prove::distribution::Draw;
use crate::probe::prove::draws;
use crate::probe::prove::filtering::read_shared_port;
use crate::probe::prove::low_ports::{DrawnBeside, collide_low, draw_low};
use crate::probe::prove::prober::{Flow, Prober};
use crate::probe::prove::reading::Reading;
use crate::probe::prove::room::{LARGE, draws_like};

use super::kind::{self, Kind, Pair};
use super::pool::{self, Ends, KERNEL};
use super::seed::{self, SeedSearch};

/// Mappings between two looks at whether they are enough.
const AT_A_TIME: usize = 64;

/// Mappings that are made a second time after everything was forgotten: random ones from a pool of 64 ports repeat them all
/// with probability 64^-8. Of fewer ports there are more.
const AGAIN: usize = 8;

/// Mappings whose own port lies in the pool. That all of these keep it by chance has a probability of 64^-16. Of fewer ports there are
/// more.
const OWN: usize = 16;

/// Mappings of each host but the first: all of them lie in one half of a pool with probability 2^-32.
const OF_EACH_HOST: usize = 32;

/// Mappings of a counter that limits its hosts: once around most pools, and once around the largest.
const WALKS: [usize; 2] = [2_500, 17_000];

/// Hosts on each inside network, from .2 on.
const LAST_HOST: u8 = 254;

/// Inside ports at the ends of what the kernel hands out by itself, for source ports of each kind.
const EDGES: [u16; 8] = [1, 511, 512, 1_023, 1_024, 1_025, 65_534, 65_535];

/// Inside ports of the first mappings are this high.
const FIRST_OF_ALL: u16 = 2_048;

/// What was seen of a NAT's ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PortsSeen {
    /// Mappings of one host to a remote each, in order, from a NAT that remembered nothing; until enough or refused.
    pub(super) first: Vec<(Flow, SocketAddrV4)>,
    /// Whether the NAT stopped making mappings, and then whether another host still got one.
    pub(super) limit: Option<Neighbour>,
    /// Mappings of many hosts, none of which has more than it may, all at the same time: where the first is limited.
    pub(super) crowd: Vec<(Flow, SocketAddrV4)>,
    /// Whether the first of them come out the same after everything was forgotten.
    pub(super) repeats: bool,
    /// Hosts whose own port lies among those that were handed out.
    pub(super) own: Vec<Pair>,
    /// Fresh mappings, as many as show the pool; of hosts that could not keep their port, where some can. Of a counter, only
    /// where the first mappings do not go once around.
    pub(super) draws: Vec<Draw>,
    /// Whether two hosts with one port share an external endpoint, where hosts keep their ports.
    pub(super) shared_port: Option<Reading<Overloading>>,
    /// How ports are given that collide, where hosts keep theirs and no other has them.
    pub(super) collision: Option<Reading<Collision>>,
    /// Inside ports at the ends of the kernel's pool and at the lowest port that is kept, where hosts keep their ports.
    pub(super) edges: Vec<Pair>,
    /// What inside ports below 1024 became that could not be kept.
    pub(super) low: Vec<DrawnBeside>,
    /// The seed, where the same endpoints get the same ports again.
    pub(super) seed: Option<SeedSearch>,
    /// The ports of each further host, until one got none.
    pub(super) hosts: Vec<Vec<u16>>,
    /// Whether the last host that there is still got some.
    pub(super) all_hosts: bool,
}

/// Whether another host gets a mapping when the first gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// It does.
    Served,
    /// It does not.
    Refused,
}

impl PortsSeen {
    /// The first mappings as pairs of ports.
    pub(super) fn pairs(&self) -> Vec<Pair> {
        pairs(&self.first)
    }

    /// The first mappings of a counter, as far as it tells its step: of several addresses, it later passes over the ports that are taken at
    /// the one that was drawn.
    pub(super) fn first_steps(&self) -> Vec<Draw> {
        let addresses: BTreeSet<Ipv4Addr> = self.first.iter().map(|(_, external)| *external.ip()).collect();
        let mut came = BTreeSet::new();
        let mut is_taken = |port| !came.insert(port) && addresses.len() > 1;
        let draws = self.first.iter().map(|(flow, external)| (flow.inside, external.port()));
        draws.take_while(|(_, port)| !is_taken(*port)).collect()
    }

    /// How the first mappings got their ports.
    pub(super) fn kind(&self) -> Kind {
        kind::kind(&self.pairs())
    }

    /// Whether ports are kept where they lie in a pool.
    pub(super) fn keeps_in_pool(&self) -> bool {
        !self.own.is_empty() && self.own.iter().all(|(inside, external)| inside == external)
    }

    /// The most mappings that may be made before everything is forgotten.
    pub(super) fn room(&self) -> Option<u32> {
        self.limit.and_then(|_| u32::try_from(self.first.len()).ok())
    }

    /// Whether two inside endpoints had the same external port.
    pub(super) fn is_shared(&self) -> bool {
        [&self.first, &self.crowd].iter().any(|opened| kind::is_shared(&endpoints(opened)))
            || self.shared_port == Some(Reading::Value(Overloading::On))
    }

    /// The ends of the pool of the first host.
    pub(super) fn ends(&self) -> Option<Ends> {
        let ports: Vec<u16> = self.draws.iter().map(|(_, port)| *port).collect();
        let walked: Vec<u16> = self.first.iter().map(|(_, external)| external.port()).collect();
        match self.kind() {
            Kind::Kept => None,
            // Once around, or up to the end: every port of the pool has come.
            Kind::Counted { .. } => {
                Ends::of(&[&walked[..], &ports[..]].concat()).map(|ends| Ends::exact(ends.seen))
            }
            Kind::Drawn => Ends::of(if ports.is_empty() { &walked } else { &ports }),
        }
    }

    /// What collides where ports are kept and each has one owner.
    fn colliding(&self, mapping: Mapping) -> Option<Colliding> {
        let presumed = Behavior { allocation: Allocation::Preserving, ..self.presumed(mapping) };
        let is_exclusive = self.shared_port == Some(Reading::Value(Overloading::Off));
        Colliding::of(&presumed).filter(|_| is_exclusive)
    }

    /// The ports of the first host, where they are several ranges and every one of them was seen.
    pub(super) fn several(&self) -> Option<PortSet> {
        let ports: Vec<u16> = self.draws.iter().map(|(_, port)| *port).collect();
        if self.kind() == Kind::Drawn && !self.keeps_in_pool() { pool::several(&ports) } else { None }
    }

    /// Whether one host gets too few mappings to show how ports are chosen, and from which pool: nothing more is asked then.
    pub(super) fn are_too_few(&self) -> bool {
        self.first.len() < REFUSALS
    }

    /// Whether a counter stopped because it had handed out its pool: it begins again there once everything is forgotten.
    pub(super) fn is_used_up(&self) -> bool {
        let counts = !self.are_too_few() && matches!(self.kind(), Kind::Counted { .. });
        counts && self.limit.is_some() && self.draws.is_empty()
    }

    /// Whether a counter went once around, so that every port of its pool has come.
    pub(super) fn came_round(&self) -> bool {
        let drawn: BTreeSet<u16> = self.draws.iter().map(|(_, port)| *port).collect();
        self.is_used_up() || drawn.len() < self.draws.len() || kind::is_shared(&endpoints(&self.first))
    }

    /// What the pool is taken to be while it is drawn from, so that ports that are not shared are not used up. The ends that were
    /// seen; of a NAT that stopped at far fewer ports, these.
    fn room_to_draw_from(&self, ends: Ends) -> Pool {
        let each = self.first.iter().map(|(_, external)| external.port());
        let each: BTreeSet<PortRange> = each.map(|port| PortRange { low: port, high: port }).collect();
        let seen = PortSet::of(&each.iter().copied().collect::<Vec<_>>());
        let used_up = self.limit.is_some() && !self.is_shared();
        match seen.filter(|seen| used_up && 2 * seen.size() < ends.seen.size()) {
            Some(seen) => Pool::Ranges(seen),
            None => Pool::Range(ends.seen),
        }
    }

    /// What the NAT is taken to be while its pool is drawn from.
    pub(super) fn presumed(&self, mapping: Mapping) -> Behavior {
        let allocation = match (self.kind(), self.keeps_in_pool()) {
            (Kind::Kept, _) | (Kind::Drawn, true) => Allocation::Preserving,
            (Kind::Counted { step }, _) => Allocation::Sequential { step },
            (Kind::Drawn, false) => Allocation::Random,
        };
        let overloading = if self.is_shared() { Overloading::On } else { Overloading::Off };
        let pool = self.ends().map_or(Pool::Kernel, Ends::pool);
        let quota = self.room();
        Behavior { mapping, allocation, pool, overloading, quota, ..Behavior::port_preserving() }
    }
}

/// Mappings as pairs of ports.
pub(super) fn pairs(opened: &[(Flow, SocketAddrV4)]) -> Vec<Pair> {
    opened.iter().map(|(flow, external)| (flow.inside.port(), external.port())).collect()
}

/// The external endpoints of mappings.
pub(super) fn endpoints(opened: &[(Flow, SocketAddrV4)]) -> Vec<SocketAddrV4> {
    opened.iter().map(|(_, external)| *external).collect()
}

/// Makes all mappings that a NAT with this mapping has to be asked for.
pub(super) fn survey(prober: &mut Prober, mapping: Mapping) -> Result<PortsSeen> {
    let (first, refused) = open_many(prober)?;
    let limit = if refused { Some(neighbour(prober)?) } else { None };
    let mut seen = PortsSeen { first, limit, ..PortsSeen::default() };
    if seen.are_too_few() {
        return Ok(seen);
    }
    let ports: BTreeSet<u16> = seen.first.iter().map(|(_, external)| external.port()).collect();
    let again = draws_like(AGAIN, u32::try_from(ports.len()).ok());
    let flows: Vec<Flow> = seen.first.iter().take(again).map(|(flow, _)| *flow).collect();
    let again = open_spaced(prober, &flows, seen.room())?;
    seen.repeats = pairs(&again) == pairs(&seen.first[..flows.len()]);
    match seen.kind() {
        Kind::Kept => {
            seen.edges = keep_edges(prober)?;
            seen.low = collide_low(prober)?;
            seen.shared_port = Some(shared_port(prober, None)?);
        }
        Kind::Counted { .. } => counted(prober, mapping, &mut seen)?,
        Kind::Drawn => drawn(prober, mapping, &mut seen)?,
    }
    let colliding = seen.colliding(mapping);
    if colliding.is_some() {
        prober.bench.forget()?;
    }
    if let (Kind::Counted { .. } | Kind::Drawn, Some(ends)) = (seen.kind(), seen.ends()) {
        hosts(prober, ends, &mut seen)?;
    }
    collide(prober, colliding, &mut seen)?;
    if let (Some(_), Some(Neighbour::Served), Some(room)) = (seen.ends(), seen.limit, seen.room()) {
        seen.crowd = crowd(prober, room as usize)?;
    }
    Ok(seen)
}

/// What is asked of a NAT that counts. One that stopped may have used up its pool, or limit its hosts: in the second case it
/// goes on where it was once everything is forgotten.
fn counted(prober: &mut Prober, mapping: Mapping, seen: &mut PortsSeen) -> Result<()> {
    keep_in_pool(prober, seen)?;
    if seen.limit.is_none() {
        return Ok(());
    }
    let (presumed, keeps) = (seen.presumed(mapping), seen.keeps_in_pool());
    let walk = |prober: &mut Prober, count| -> Result<Vec<Draw>> {
        let is_kept = |(inside, port): &Draw| keeps && inside.port() == *port;
        Ok(draws::draw(prober, &presumed, count)?.into_iter().filter(|draw| !is_kept(draw)).collect())
    };
    // One more than they were: a longer way round leads to another port, wherever the counter stands by now.
    let last: BTreeSet<u16> = seen.first.iter().map(|(_, external)| external.port()).collect();
    if walk(prober, last.len() + 1)?.iter().all(|(_, port)| last.contains(port)) {
        return Ok(());
    }
    for count in WALKS {
        seen.draws = walk(prober, count)?;
        if seen.came_round() {
            break;
        }
    }
    Ok(())
}

/// Mappings of one host after the other, at the same time, as many of each as it may have, until they are enough.
fn crowd(prober: &mut Prober, room: usize) -> Result<Vec<(Flow, SocketAddrV4)>> {
    let mut opened: Vec<(Flow, SocketAddrV4)> = Vec::new();
    prober.bench.forget()?;
    for place in 0.. {
        let Some((side, address)) = host(place) else { break };
        let flows: Vec<Flow> = (0..room).map(|_| flow_of(prober, side, address)).collect();
        let externals = prober.open_all(&flows)?;
        let before = opened.len();
        opened.extend(flows.iter().zip(externals).filter_map(|(flow, external)| Some((*flow, external?))));
        if opened.len() < before + room || kind::is_enough(&pairs(&opened), &endpoints(&opened)) {
            break;
        }
    }
    Ok(opened)
}

/// A flow of a host.
fn flow_of(prober: &mut Prober, side: Side, address: Ipv4Addr) -> Flow {
    let mut flow = prober.flow(side);
    flow.inside.set_ip(address);
    flow
}

/// What is asked of a NAT whose ports come from a pool.
fn drawn(prober: &mut Prober, mapping: Mapping, seen: &mut PortsSeen) -> Result<()> {
    let Some(ends) = seen.ends() else { return Ok(()) };
    keep_in_pool(prober, seen)?;
    let mut presumed = seen.presumed(mapping);
    presumed.pool = seen.room_to_draw_from(ends);
    seen.draws = draw_pool(prober, &presumed, seen.keeps_in_pool())?;
    if seen.ends().is_some_and(|ends| ends.may_be(KERNEL)) {
        seen.low = draw_low(prober, seen.room())?;
    }
    if let (true, false, Some(ends)) = (seen.repeats, seen.keeps_in_pool(), seen.ends()) {
        let telling = &seen.first[..seen.first.len().min(OWN + AGAIN)];
        let own = seen.several().unwrap_or_else(|| ends.range().into());
        seen.seed = Some(seed::search(&seen.presumed(mapping), own, telling));
    }
    Ok(())
}

/// Whether hosts keep their ports that lie in the pool, and then what becomes of two that have the same.
fn keep_in_pool(prober: &mut Prober, seen: &mut PortsSeen) -> Result<()> {
    let Some(ends) = seen.ends() else { return Ok(()) };
    let flows = hosts_with_ports_in(prober, ends.seen);
    // A port that comes again is asked for after everything was forgotten.
    let room = seen.room().into_iter().chain([ends.seen.size()]).min();
    seen.own = pairs(&open_spaced(prober, &flows, room)?);
    if seen.keeps_in_pool() {
        seen.shared_port = Some(shared_port(prober, flows.first().copied())?);
    }
    Ok(())
}

/// How ports are given that collide, where a port has one owner, and no host a block of its own.
fn collide(prober: &mut Prober, colliding: Option<Colliding>, seen: &mut PortsSeen) -> Result<()> {
    let in_blocks =
        seen.ends().is_some_and(|ends| pool::division(ends, &seen.hosts) == pool::Division::Blocks);
    if let Some(colliding) = colliding.filter(|_| !in_blocks) {
        prober.bench.forget()?;
        seen.collision = Some(read_collision(prober, colliding)?);
        prober.bench.forget()?;
    }
    Ok(())
}

/// Mappings, as many as show the pool. What the first of them show of it decides how many more it takes. Of hosts that keep their
/// port, nothing is learnt.
fn draw_pool(prober: &mut Prober, presumed: &Behavior, keeps: bool) -> Result<Vec<Draw>> {
    let size = presumed.pool.parts().into_iter().flatten().next().map_or(0, PortSet::size);
    let mut wanted = pool::draws_for(size);
    let mut drawn: Vec<Draw> = Vec::new();
    while drawn.len() < wanted {
        let asked = wanted - drawn.len();
        let some = draws::draw(prober, presumed, asked)?;
        let few = 2 * some.len() < asked;
        drawn.extend(some.into_iter().filter(|(inside, port)| !(keeps && inside.port() == *port)));
        if few {
            break;
        }
        let ports: Vec<u16> = drawn.iter().map(|(_, port)| *port).collect();
        wanted = pool::enough_draws(&ports);
    }
    Ok(drawn)
}

/// Opens mappings of one host, each to a remote of its own, until they are enough or one after the other is refused.
fn open_many(prober: &mut Prober) -> Result<(Vec<(Flow, SocketAddrV4)>, bool)> {
    let mut opened: Vec<(Flow, SocketAddrV4)> = Vec::new();
    let mut externals = Vec::new();
    prober.bench.forget()?;
    while !kind::is_enough(&pairs(&opened), &endpoints(&opened)) {
        for _ in 0..AT_A_TIME / REFUSALS {
            let flows: Vec<Flow> = (0..REFUSALS).map(|_| prober.flow(Side::Inside0)).collect();
            let batch = prober.open_all(&flows)?;
            opened
                .extend(flows.iter().zip(&batch).filter_map(|(flow, external)| Some((*flow, (*external)?))));
            externals.extend(batch);
            if is_refused(&externals) {
                return Ok((opened, true));
            }
        }
    }
    Ok((opened, false))
}

/// Whether a host on the other network gets a mapping now.
fn neighbour(prober: &mut Prober) -> Result<Neighbour> {
    let (_, external) = prober.open_fresh(Side::Inside1)?;
    Ok(if external.is_some() { Neighbour::Served } else { Neighbour::Refused })
}

/// Opens the flows with a NAT that remembers nothing, no more at a time than there is room for.
fn open_spaced(prober: &mut Prober, flows: &[Flow], room: Option<u32>) -> Result<Vec<(Flow, SocketAddrV4)>> {
    let room = room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX);
    let mut opened = Vec::with_capacity(flows.len());
    for some in flows.chunks(room.clamp(1, AT_A_TIME)) {
        prober.bench.forget()?;
        let externals = prober.open_all(some)?;
        opened.extend(some.iter().zip(externals).filter_map(|(flow, external)| Some((*flow, external?))));
    }
    prober.bench.forget()?;
    Ok(opened)
}

/// Flows whose inside ports lie all over a range, or are all of its few ports in turns, in another order each time.
fn hosts_with_ports_in(prober: &mut Prober, range: PortRange) -> Vec<Flow> {
    let count = u32::try_from(draws_like(OWN, Some(range.size()))).unwrap_or(1);
    let flow = |n: u32| {
        let mut flow = prober.flow(Side::Inside0);
        let offset = match range.size() {
            few @ ..LARGE => (n + n / few) % few,
            size => (2 * n + 1) * size / (2 * count),
        };
        flow.inside.set_port(range.low + u16::try_from(offset).unwrap_or(0));
        flow
    };
    (0..count).map(flow).collect()
}

/// What becomes of the ports at the ends of the kernel's pool, and if the lowest are not kept, of those around the lowest that is.
fn keep_edges(prober: &mut Prober) -> Result<Vec<Pair>> {
    let mut edges: Vec<Pair> = Vec::new();
    for port in EDGES {
        edges.extend(map_port(prober, port)?);
    }
    // The lowest port that is kept lies between these two.
    let (mut lost, mut kept) = (EDGES[0], FIRST_OF_ALL);
    while !edges.contains(&(lost, lost)) && kept - lost > 1 {
        let port = lost.midpoint(kept);
        let mapped = map_port(prober, port)?;
        let bound = if mapped == Some((port, port)) { &mut kept } else { &mut lost };
        *bound = port;
        edges.extend(mapped);
    }
    edges.sort_unstable();
    edges.dedup();
    Ok(edges)
}

/// What a port becomes while a NAT has no other mapping.
fn map_port(prober: &mut Prober, port: u16) -> Result<Option<Pair>> {
    let mut flow = prober.flow(Side::Inside0);
    flow.inside.set_port(port);
    Ok(pairs(&open_spaced(prober, &[flow], Some(1))?).first().copied())
}

/// Whether two hosts with the same port share an external endpoint: that of `flow`, or any.
fn shared_port(prober: &mut Prober, flow: Option<Flow>) -> Result<Reading<Overloading>> {
    prober.bench.forget()?;
    let fresh = prober.flow(Side::Inside0);
    let one = Flow { inside: flow.map_or(fresh.inside, |flow| flow.inside), ..fresh };
    read_shared_port(prober, one)
}

/// The hosts behind the NAT, in the order in which blocks are handed out: the networks take turns.
fn host(place: usize) -> Option<(Side, Ipv4Addr)> {
    let side = [Side::Inside0, Side::Inside1][place % 2];
    let last = 2 + u8::try_from(place / 2).ok().filter(|n| *n <= LAST_HOST - 2)?;
    let [a, b, c, _] = side.address().octets();
    Some((side, Ipv4Addr::new(a, b, c, last)))
}

/// Which ports other hosts get: three of them, and where those have blocks, all that there are.
fn hosts(prober: &mut Prober, ends: Ends, seen: &mut PortsSeen) -> Result<()> {
    const FEW: usize = 3;
    for place in 1.. {
        let Some((side, address)) = host(place) else {
            seen.all_hosts = true;
            return Ok(());
        };
        let count = if place <= FEW { OF_EACH_HOST } else { REFUSALS / 2 };
        let ports = ports_of(prober, side, address, count, seen)?;
        if ports.is_empty() {
            return Ok(());
        }
        seen.hosts.push(ports);
        let blocks = pool::division(ends, &seen.hosts) == pool::Division::Blocks;
        if place >= FEW && !blocks {
            return Ok(());
        }
    }
    Ok(())
}

/// The ports that a host gets which cannot keep its own.
fn ports_of(
    prober: &mut Prober,
    side: Side,
    address: Ipv4Addr,
    count: usize,
    seen: &PortsSeen,
) -> Result<Vec<u16>> {
    // One host without a block is not asked for more: each refusal takes its time.
    let one = flow_of(prober, side, address);
    if open_spaced(prober, &[one], None)?.is_empty() {
        return Ok(Vec::new());
    }
    let flows: Vec<Flow> = (0..count).map(|_| flow_of(prober, side, address)).collect();
    let opened = open_spaced(prober, &flows, seen.room())?;
    let kept = |(inside, external): &Pair| seen.keeps_in_pool() && inside == external;
    Ok(pairs(&opened).into_iter().filter(|pair| !kept(pair)).map(|(_, external)| external).collect())
}
