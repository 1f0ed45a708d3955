//! Measures translation, mapping, allocation and the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Collision, Mapping, Overloading, Pool, PortRange, Translation,
};
use crate::model::port_set::PortSet;

use super::bench::{Side, is_external};
use super::collision::wrong_ends;
use super::draws::small_counter;
use super::finding::Finding;
use super::hash;
use super::low_ports::wrong_low_ports;
use super::prober::{Fate, Flow, Prober};
use super::reading::Reading;
use super::room::{LARGE, draws_like, few_endpoints, few_ports, own_pool, room, room_to_keep};

/// Inside endpoints that the mapping is measured with. With four, four random ports from a pool of 64 look
/// endpoint-independent with probability 64^-12, and address-dependent with 64^-8 < 4e-15. Of a smaller pool it takes more.
const ENDPOINTS: usize = 4;

/// Mappings that the allocation is measured with.
const MAPPINGS: usize = 24;

/// Mappings that are made a second time after everything was forgotten. A random NAT with a pool of 64 ports repeats
/// them all with probability 64^-8; of a smaller pool, there are more.
const REPEATED: usize = 8;

/// Seeds that a hash NAT which never shares ports tries one after the other.
const HASH_TRIES: u32 = 8;

/// A gap at one end of the pool counts if random draws would leave it with less than this probability; both ends of
/// all the pools of a bench together then stay below 1e-9.
const GAP_CHANCE: f64 = 1e-10;

/// Why nothing is drawn from a pool.
pub(super) const NEARLY_ALL_KEPT: &str = "hosts keep nearly every port that there is";

/// Whether and how addresses are translated.
pub(in crate::probe) fn translation(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let reading = read_translation(prober)?;
    Ok(Finding::of(NatAxis::Translation, declared, reading.to_string()))
}

/// Whether and how addresses are translated, whatever is declared.
pub(in crate::probe) fn read_translation(prober: &mut Prober) -> Result<Reading<Translation>> {
    let (flow, external) = prober.open_fresh(Side::Inside0)?;
    Ok(match external {
        None => Reading::Other("nothing gets out".to_owned()),
        Some(external) if is_external(*external.ip()) => Reading::Value(Translation::Nat),
        Some(external) if external == flow.inside => {
            let stranger = prober.remote();
            let unused = prober.inside(Side::Inside0);
            match prober.knock(stranger, unused)? {
                Fate::Delivered { .. } => Reading::Value(Translation::Router),
                _ => Reading::Value(Translation::Firewall),
            }
        }
        Some(external) => Reading::Other(format!("{} -> {external}", flow.inside)),
    })
}

/// When an external endpoint is used again (RFC 4787 section 4.1): the same inside endpoint sends to two ports of each
/// of two addresses.
pub(in crate::probe) fn mapping(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let room = Room::of(declared);
    let quartets = match quartets(prober, room.endpoints(declared), room)? {
        Reading::Value(quartets) => quartets,
        Reading::Other(observed) => return Ok(Finding::of(NatAxis::Mapping, declared, observed)),
    };
    let observed = classify(&quartets);
    let mut finding = Finding::of(NatAxis::Mapping, declared, observed.to_string());
    if let (false, Some(example)) = (finding.agrees, example(&quartets, observed)) {
        finding.observed += &format!(" ({example})");
    }
    Ok(finding)
}

/// One of the inside endpoints, if it alone shows what all of them come to.
fn example(quartets: &[Quartet], observed: Mapping) -> Option<String> {
    let shows = |quartet: &&Quartet| classify(std::slice::from_ref(*quartet)) == observed;
    let (inside, quartet) = quartets.iter().find(shows)?;
    let all = quartets.iter().flat_map(|(_, quartet)| quartet);
    let several = have_several(all.filter_map(|(_, external)| external.as_ref()));
    let one = |(remote, external): &(SocketAddrV4, Option<SocketAddrV4>)| {
        let external = external.map_or_else(|| "none".to_owned(), |external| shown(external, several));
        format!("{external} towards {remote}")
    };
    Some(format!("{inside} -> {}", quartet.iter().map(one).collect::<Vec<_>>().join(", ")))
}

/// Whether external endpoints have several addresses, so that a port alone does not say which is meant.
fn have_several<'a>(externals: impl IntoIterator<Item = &'a SocketAddrV4>) -> bool {
    externals.into_iter().map(SocketAddrV4::ip).collect::<BTreeSet<_>>().len() > 1
}

/// An external endpoint as a row shows it: `:4000`, or with its address where there are several.
fn shown(external: SocketAddrV4, several: bool) -> String {
    if several { external.to_string() } else { format!(":{}", external.port()) }
}

/// An inside endpoint with its external endpoints towards two ports of each of two addresses; `None` where the host may have no further
/// mapping.
pub(in crate::probe) type Quartet = (SocketAddrV4, Vec<(SocketAddrV4, Option<SocketAddrV4>)>);

/// For how many SYNs of a host a NAT has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Room {
    /// For all.
    Any,
    /// For those of so many mappings.
    Mappings(u32),
    /// For no more than one, since connections are counted.
    Connections,
}

impl Room {
    fn of(declared: &Behavior) -> Self {
        match (room(declared), declared.translation) {
            (None, _) => Self::Any,
            (Some(room), Translation::Nat) => Self::Mappings(room),
            (Some(_), Translation::Firewall | Translation::Router) => Self::Connections,
        }
    }

    /// How many inside endpoints tell enough: where some SYNs of each are refused, the others tell as much of twice as many; where ports
    /// are few and shared, two mappings may have the same by chance, and where they are not shared, never.
    fn endpoints(self, declared: &Behavior) -> usize {
        let of_room = match self {
            Self::Mappings(0..4) if declared.quota.is_some() => 2 * ENDPOINTS,
            Self::Any | Self::Mappings(_) | Self::Connections => ENDPOINTS,
        };
        match few_endpoints(declared) {
            Some(_) if declared.overloading == Overloading::Off => of_room,
            Some(few) => of_room.max(draws_like(ENDPOINTS + 1, Some(few))),
            None => of_room,
        }
    }
}

/// The external endpoints of `endpoints` inside endpoints.
pub(in crate::probe) fn quartets(
    prober: &mut Prober,
    endpoints: usize,
    room: Room,
) -> Result<Reading<Vec<Quartet>>> {
    let mut quartets = Vec::new();
    for _ in 0..endpoints {
        if room != Room::Any {
            prober.bench.forget()?;
        }
        let inside = prober.inside(Side::Inside0);
        let (one, other) = (prober.remote(), prober.remote());
        let port = |remote: SocketAddrV4| SocketAddrV4::new(*remote.ip(), remote.port() + 1);
        let mut quartet: Vec<(SocketAddrV4, Option<SocketAddrV4>)> = Vec::new();
        for remote in [one, port(one), other, port(other)] {
            if room == Room::Connections {
                prober.bench.forget()?;
            }
            let flow = prober.flow_between(Side::Inside0, inside, remote);
            let external = match quartet.last() {
                // Once one is refused, more SYNs of another one tell no more.
                Some((_, None)) => prober.open_at_once(&flow)?,
                _ => prober.open(&flow)?,
            };
            if external.is_none() && !is_full(&quartet, room) {
                let observed = format!("no mapping: a SYN from {inside} to {remote} did not get out");
                return Ok(Reading::Other(observed));
            }
            quartet.push((remote, external));
        }
        quartets.push((inside, quartet));
    }
    Ok(Reading::Value(quartets))
}

/// Whether a host may have no further mapping once it has these.
fn is_full(quartet: &[(SocketAddrV4, Option<SocketAddrV4>)], room: Room) -> bool {
    let opened = quartet.iter().filter(|(_, external)| external.is_some()).count();
    matches!(room, Room::Mappings(quota) if usize::try_from(quota).is_ok_and(|quota| opened >= quota))
}

/// When an external endpoint is used again, as all of these agree.
pub(in crate::probe) fn classify(quartets: &[Quartet]) -> Mapping {
    let same = |a: usize, b: usize| quartets.iter().all(|(_, q)| q[a].1 == q[b].1);
    match (same(0, 1) && same(2, 3), same(0, 2)) {
        (true, true) => Mapping::EndpointIndependent,
        (true, false) => Mapping::AddressDependent,
        (false, _) => Mapping::AddressAndPortDependent,
    }
}

/// How ports are chosen, and from where.
pub(in crate::probe) fn allocation(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let few = few_ports(declared);
    let (count, repeated) = (MAPPINGS.max(draws_like(REPEATED, few) + 2), draws_like(REPEATED, few));
    let mut flows = Vec::new();
    for _ in 0..count {
        let mut flow = prober.flow(Side::Inside0);
        if let (Allocation::Preserving, Some(own)) = (declared.allocation, own_pool(declared, flow.side)) {
            flow.inside.set_port(spread(own, flows.len()));
        }
        flows.push(flow);
    }
    let externals = open_in_turn(prober, declared, &flows)?;
    let opened: Vec<(Flow, SocketAddrV4)> =
        flows.iter().zip(&externals).filter_map(|(flow, external)| Some((*flow, (*external)?))).collect();
    if opened.len() < count {
        let observed = format!("{} of {count} mappings", opened.len());
        return Ok(vec![
            Finding::of(NatAxis::Allocation, declared, observed.clone()),
            Finding::of(NatAxis::Pool, declared, observed),
        ]);
    }
    prober.bench.forget()?;
    let again: Vec<Flow> = flows[..repeated].to_vec();
    let repeated = open_in_turn(prober, declared, &again)?;
    // Any address of a pool may come with the same port.
    let port = |external: &Option<SocketAddrV4>| external.map(|external| external.port());
    let repeats = externals.iter().zip(&repeated).all(|(one, again)| port(one) == port(again));
    let observed = describe_allocation(declared, &opened, repeats);
    let mut allocation = Finding::of(NatAxis::Allocation, declared, observed);
    if !allocation.agrees {
        allocation.observed += &format!(" ({})", examples(&opened));
    }
    let pool = pool(prober, declared, &opened)?;
    Ok(vec![allocation, pool])
}

/// How many mappings kept their port, and some of the others: what is kept shows nothing.
fn examples(opened: &[(Flow, SocketAddrV4)]) -> String {
    const SHOWN: usize = 5;
    let is_kept = |(flow, external): &&(Flow, SocketAddrV4)| flow.inside.port() == external.port();
    let kept = opened.iter().filter(is_kept).count();
    let others = opened.iter().filter(|one| !is_kept(one));
    let several = have_several(opened.iter().map(|(_, external)| external));
    let mut parts: Vec<String> =
        others.take(SHOWN).map(|(flow, e)| format!("{} -> {}", flow.inside, shown(*e, several))).collect();
    if opened.len() - kept > SHOWN {
        parts.push("…".to_owned());
    }
    let count = format!("{kept} of {} kept", opened.len());
    if parts.is_empty() { count } else { format!("{count}; {}", parts.join(", ")) }
}

/// Opens the flows, no more at a time than there is room for.
fn open_in_turn(
    prober: &mut Prober,
    declared: &Behavior,
    flows: &[Flow],
) -> Result<Vec<Option<SocketAddrV4>>> {
    let mut externals = Vec::with_capacity(flows.len());
    for part in flows.chunks(at_once(declared)) {
        prober.breathe(room_to_keep(declared))?;
        externals.extend(prober.open_all(part)?);
    }
    Ok(externals)
}

/// How many mappings a quota, or a small pool, allows at a time.
fn at_once(declared: &Behavior) -> usize {
    room_to_keep(declared).and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX).max(1)
}

/// The n-th of a few ports all over a range, none beside another where there is room. When they come again, they are in another order:
/// a counter is not in step with them.
fn spread(pool: PortSet, n: usize) -> u16 {
    let size = pool.size();
    let step = (size / u32::try_from(MAPPINGS).unwrap_or(1)).max(1);
    let offset = step.saturating_mul(u32::try_from(n).unwrap_or(0)) % size;
    // Alternating by one keeps the distances unequal, so that what is preserved does not look sequential.
    let again = if size < LARGE { u32::try_from(n).unwrap_or(0) / size } else { 0 };
    let shifted = (offset + again + u32::from(n % 2 == 1) * u32::from(step > 2)) % size;
    pool.nth(shifted).unwrap_or(pool.low())
}

fn describe_allocation(declared: &Behavior, opened: &[(Flow, SocketAddrV4)], repeats: bool) -> String {
    if opened.iter().all(|(flow, external)| flow.inside.port() == external.port()) {
        return Allocation::Preserving.to_string();
    }
    let ports: Vec<u16> = opened.iter().map(|(_, external)| external.port()).collect();
    if let Some(step) = step_of(declared, &ports) {
        return Allocation::Sequential { step }.to_string();
    }
    if let (Allocation::Hash { seed }, Some(own)) = (declared.allocation, own_pool(declared, Side::Inside0))
        // What one turn has taken is free again in the next. Of any address, the same need not be taken again.
        && opened.chunks(at_once(declared)).all(|turn| is_that_hash(declared, seed, own, turn))
    {
        return declared.allocation.to_string();
    }
    if !repeats {
        return Allocation::Random.to_string();
    }
    let kept = opened.iter().filter(|(flow, external)| flow.inside.port() == external.port()).count();
    let what = if 2 * kept > opened.len() {
        "most ports are kept and some are not"
    } else {
        "a hash of another kind or with another seed"
    };
    format!("{what}: the same endpoints get the same ports again")
}

/// Whether every port is the one that this hash gives, or where ports are not shared, the first of the next seeds'
/// that was free.
pub(in crate::probe) fn is_that_hash(
    declared: &Behavior,
    seed: u32,
    pool: PortSet,
    opened: &[(Flow, SocketAddrV4)],
) -> bool {
    let tries = if declared.overloading == Overloading::Off { HASH_TRIES } else { 1 };
    let mut taken = BTreeSet::new();
    opened.iter().all(|(flow, external)| {
        let port =
            |n: u32| hash::port(declared.mapping, seed.wrapping_add(n), pool, flow.inside, flow.remote);
        let candidates: Vec<u16> = (0..tries).filter_map(port).collect();
        let is_taken = |port: u16| taken.contains(&SocketAddrV4::new(*external.ip(), port));
        let free = candidates.iter().copied().find(|port| !is_taken(*port));
        if tries > 1 {
            taken.insert(*external);
        }
        free == Some(external.port())
    })
}

/// The ports as if the ranges that they come from followed each other without a gap: for a counter, the end of one is beside the begin
/// of the next. As they are, if one of them comes from elsewhere.
pub(super) fn in_a_row(pool: Option<PortSet>, ports: &[u16]) -> Vec<i32> {
    let several = pool.filter(|pool| pool.as_range().is_none());
    let position =
        |port: &u16| several.and_then(|pool| pool.position(*port)).and_then(|at| i32::try_from(at).ok());
    let positions: Option<Vec<i32>> = ports.iter().map(position).collect();
    positions.unwrap_or_else(|| ports.iter().map(|port| i32::from(*port)).collect())
}

/// The step of the counter that these ports come from, if they come from one.
pub(super) fn step_of(declared: &Behavior, ports: &[u16]) -> Option<i16> {
    let own = own_pool(declared, Side::Inside0);
    let small = own.and_then(|own| small_counter(own, declared.allocation, ports));
    small.or_else(|| common_step(&in_a_row(own, ports)))
}

/// The distance between consecutive ports, if it is the same all along but for at most one jump back to the other end.
///
/// Random ports from a pool of 64 do so with probability below 22 * 64^-21.
pub(in crate::probe) fn common_step(ports: &[i32]) -> Option<i16> {
    let mut steps: BTreeMap<i32, usize> = BTreeMap::new();
    for pair in ports.windows(2) {
        *steps.entry(pair[1] - pair[0]).or_default() += 1;
    }
    let (step, times) = steps.iter().max_by_key(|(_, times)| **times)?;
    let jumps = ports.len() - 1 - times;
    let back = steps.keys().all(|other| other == step || other.signum() == -step.signum());
    (*step != 0 && jumps <= 1 && back).then(|| i16::try_from(*step).ok())?
}

/// Which ports are handed out.
fn pool(prober: &mut Prober, declared: &Behavior, opened: &[(Flow, SocketAddrV4)]) -> Result<Finding> {
    let mut ports: Vec<u16> = opened.iter().map(|(_, external)| external.port()).collect();
    if declared.allocation == Allocation::Preserving && declared.pool != Pool::Kernel {
        // What keeps its port says nothing of the pool; what cannot keep it does.
        match draw_elsewhere(prober, declared)? {
            Some(drawn) => ports = drawn,
            None => return Ok(Finding::not_looked_at(NatAxis::Pool.name(), NEARLY_ALL_KEPT)),
        }
    }
    if let Some(wrong) = wrong_low_ports(prober, declared)? {
        return Ok(Finding::of(NatAxis::Pool, declared, wrong));
    }
    let own = own_pool(declared, Side::Inside0);
    // A counter shows no ends of its pool, but hosts do whose ports lie at them.
    if let (Collision::Sequential, Some(range)) = (declared.collision, own.and_then(PortSet::as_range))
        && let Some(wrong) = wrong_ends(prober, range)?
    {
        return Ok(Finding::of(NatAxis::Pool, declared, wrong));
    }
    Ok(judge_pool(declared, own, &ports, drawn_at_random(declared)))
}

/// The ports that hosts get whose own ports lie outside the pool; `None` where too few do.
fn draw_elsewhere(prober: &mut Prober, declared: &Behavior) -> Result<Option<Vec<u16>>> {
    let own = own_pool(declared, Side::Inside0);
    let Some(flows) = own.and_then(|own| prober.flows_beside(Side::Inside0, own, MAPPINGS)) else {
        return Ok(None);
    };
    prober.bench.forget()?;
    let externals = open_in_turn(prober, declared, &flows)?;
    Ok(Some(externals.into_iter().flatten().map(|external| external.port()).collect()))
}

/// Whether what is drawn covers the pool evenly.
pub(in crate::probe) fn drawn_at_random(declared: &Behavior) -> Draws {
    match (declared.allocation, declared.pool) {
        _ if declared.collision == Collision::Sequential => Draws::Otherwise,
        (Allocation::Random | Allocation::Hash { .. }, _) => Draws::Random,
        (Allocation::Preserving, Pool::Range(_) | Pool::Ranges(_) | Pool::Blocks { .. }) => Draws::Random,
        _ => Draws::Otherwise,
    }
}

/// How ports come out of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Draws {
    /// Each as likely as any other.
    Random,
    /// Some other way.
    Otherwise,
}

/// Holds the ports that were seen against the pool that they should come from.
pub(in crate::probe) fn judge_pool(
    declared: &Behavior,
    pool: Option<PortSet>,
    ports: &[u16],
    draws: Draws,
) -> Finding {
    /// What the kernel uses for source ports from 1024 on.
    const KERNEL: PortRange = PortRange { low: 1024, high: u16::MAX };
    let pool = pool.unwrap_or_else(|| KERNEL.into());
    let (Some(low), Some(high)) = (ports.iter().min().copied(), ports.iter().max().copied()) else {
        return Finding::of(NatAxis::Pool, declared, "no mapping to tell from".to_owned());
    };
    let share = |ports: u32| f64::from(ports) / f64::from(pool.size());
    let n = f64::from(u32::try_from(ports.len()).unwrap_or(u32::MAX));
    let too_empty = |gap: u32| draws == Draws::Random && (1.0 - share(gap)).powf(n) < GAP_CHANCE;
    let outside = ports.iter().find(|port| !pool.contains(**port));
    let ends = pool.position(low).zip(pool.position(high));
    let agrees = outside.is_none()
        && ends.is_some_and(|(low, high)| !too_empty(low) && !too_empty(pool.size() - 1 - high));
    let observed = match (agrees, outside, pool.as_range()) {
        (true, ..) => declared.pool.to_string(),
        (false, Some(port), None) => format!("port {port} beside them, by {} mappings", ports.len()),
        (false, ..) => format!("{low}-{high}, by {} mappings", ports.len()),
    };
    Finding { agrees, ..Finding::of(NatAxis::Pool, declared, observed) }
}

#[cfg(test)]
mod tests;
