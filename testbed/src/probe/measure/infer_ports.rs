//! From the mappings that a NAT made to its allocation, its pool, who shares it, and how many one host may have. Pure.

use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Collision, Overloading, Pool, PortRange};
use crate::model::description::Known;
use crate::model::port_set::PortSet;
use crate::model::statistics::at_least;
use crate::probe::prove::bulk::{REFUSALS, enough_to_collide};
use crate::probe::prove::distribution::Draw;
use crate::probe::prove::draws;
use crate::probe::prove::low_ports::DrawnBeside;
use crate::probe::prove::reading::Reading;

use super::inference::{Inference, measured};
use super::kind::{self, Kind, Pair};
use super::pool::{Division, Ends, KERNEL, division};
use super::ports::{Neighbour, PortsSeen, endpoints};
use super::seed::SeedSearch;

/// Adds what these mappings show.
pub(super) fn infer(seen: &PortsSeen, inferred: &mut Inference) {
    if let Some(why) = untold(seen) {
        for axis in [NatAxis::Allocation, NatAxis::Collision, NatAxis::Pool, NatAxis::Overloading] {
            inferred.note(axis, Known::Untold { why: why.clone() });
        }
        return;
    }
    let (pool, known) = pool(seen);
    inferred.behavior.pool = pool;
    inferred.note(NatAxis::Pool, known);
    let (overloading, known) = overloading(seen, pool);
    inferred.behavior.overloading = overloading;
    inferred.note(NatAxis::Overloading, known);
    let (allocation, known) = allocation(seen, &inferred.behavior);
    inferred.behavior.allocation = allocation;
    inferred.note(NatAxis::Allocation, known);
    let (collision, known) = collision(seen, &inferred.behavior);
    inferred.behavior.collision = collision;
    inferred.note(NatAxis::Collision, known);
}

/// Why these mappings do not tell how ports are chosen, and from which pool.
fn untold(seen: &PortsSeen) -> Option<String> {
    let (first, draws) = (seen.first.len(), seen.draws.len());
    if first == 0 {
        Some("no mapping was made".to_owned())
    } else if seen.are_too_few() {
        Some(format!("a host gets too few mappings: {first}, and it takes {REFUSALS}"))
    } else if seen.kind() == Kind::Drawn && !seen.keeps_in_pool() && draws < kind::TELLING {
        Some(format!("too few mappings were made: {draws}, and it takes {}", kind::TELLING))
    } else {
        None
    }
}

fn allocation(seen: &PortsSeen, behavior: &Behavior) -> (Allocation, Known) {
    let count = seen.first.len();
    let kept = seen.own.iter().filter(|(inside, external)| inside == external).count();
    match seen.kind() {
        Kind::Kept => {
            let by = format!("{count} inside ports from 2048 to 65535, each kept");
            (Allocation::Preserving, measured(by))
        }
        _ if is_one_port(behavior.pool) => {
            (Allocation::Preserving, measured("one port, of which none is chosen: every allocation looks so"))
        }
        Kind::Counted { .. } if seen.keeps_in_pool() => {
            let by = format!("{kept} inside ports that lie in the pool, each kept");
            (Allocation::Preserving, measured(by))
        }
        Kind::Counted { step } => {
            let draws = if seen.draws.is_empty() { seen.first_steps() } else { seen.draws.clone() };
            evenly(behavior, Allocation::Sequential { step }, &draws)
        }
        Kind::Drawn if seen.keeps_in_pool() => {
            let by = format!("{kept} inside ports that lie in the pool, each kept");
            (Allocation::Preserving, measured(by))
        }
        Kind::Drawn if 2 * kept > seen.own.len() && !are_kept_by_chance(seen, behavior.pool) => {
            let seen = format!("{kept} of {} inside ports that lie in the pool are kept", seen.own.len());
            (Allocation::Preserving, Known::Undeclarable { seen })
        }
        Kind::Drawn if seen.repeats => hash(seen),
        Kind::Drawn => evenly(behavior, Allocation::Random, &seen.draws),
    }
}

/// Whether as many inside ports as were kept may have been drawn.
fn are_kept_by_chance(seen: &PortsSeen, pool: Pool) -> bool {
    const RATE: f64 = 1e-9;
    let kept = seen.own.iter().filter(|(inside, external)| inside == external).count();
    let size = pool.parts().into_iter().flatten().next().map_or(64_512, PortSet::size);
    at_least(seen.own.len() as u64, 1.0 / f64::from(size), kept as u64) > RATE
}

/// Whether a host has a single port.
pub(super) fn is_one_port(pool: Pool) -> bool {
    pool.parts().first().is_some_and(|part| part.is_some_and(|ports| ports.size() == 1))
}

/// How ports are given that collide. Where that cannot be seen, the default is the only value that can be declared.
fn collision(seen: &PortsSeen, behavior: &Behavior) -> (Collision, Known) {
    let by = "two hosts with the same port, and ports outside the pool";
    match &seen.collision {
        Some(Reading::Value(value)) => (*value, measured(by)),
        Some(Reading::Other(seen)) => (Collision::Random, Known::Undeclarable { seen: seen.clone() }),
        None if behavior.allocation != Allocation::Preserving => {
            (Collision::Random, measured("no port is kept"))
        }
        None if behavior.overloading == Overloading::On => (Collision::Random, measured("hosts share ports")),
        None => {
            (Collision::Random, measured("not asked of such a pool, for which no counter can be declared"))
        }
    }
}

/// An allocation, if the draws are distributed as it would have them.
fn evenly(behavior: &Behavior, allocation: Allocation, draws: &[Draw]) -> (Allocation, Known) {
    let findings = draws::judge(&Behavior { allocation, ..*behavior }, draws);
    let known = match findings.into_iter().find(|finding| !finding.agrees) {
        Some(differs) => Known::Undeclarable { seen: differs.observed },
        None => {
            measured(format!("{} consecutive mappings, spread as this allocation spreads them", draws.len()))
        }
    };
    (allocation, known)
}

fn hash(seen: &PortsSeen) -> (Allocation, Known) {
    let again = "the same endpoints get the same ports again";
    match seen.seed {
        Some(SeedSearch::Found(seed)) => {
            let by = format!("{again}, those of nftables' jhash with this seed");
            (Allocation::Hash { seed }, measured(by))
        }
        Some(SeedSearch::Unfinished(last)) => {
            let seen = format!("{again}, and no seed up to {last} of nftables' jhash explains them");
            (Allocation::Random, Known::Undeclarable { seen })
        }
        Some(SeedSearch::None) | None => {
            let seen = format!("{again}, and no seed of nftables' jhash explains them");
            (Allocation::Random, Known::Undeclarable { seen })
        }
    }
}

/// The pool, and how hosts share it.
fn pool(seen: &PortsSeen) -> (Pool, Known) {
    let Some(ends) = seen.ends() else { return whole(seen) };
    if let Some(ports) = seen.several() {
        return several(ports, seen);
    }
    let (own, by) = match seen.kind() {
        Kind::Counted { step } => {
            let range = counted_range(ends, step);
            if !seen.came_round() {
                let count = seen.first.len().max(seen.draws.len());
                let seen = format!("{} of a counter that did not come round in {count} mappings", ends.seen);
                return (Pool::Range(range), Known::Undeclarable { seen });
            }
            (Pool::Range(range), format!("{}, once around", ends.seen))
        }
        _ => drawn_pool(ends, seen),
    };
    if seen.hosts.is_empty() {
        return (own, measured(format!("{by}; other hosts get no mapping")));
    }
    match (division(ends, &seen.hosts), own) {
        (Division::Shared, _) => (own, measured(format!("{by}; {} hosts share them", seen.hosts.len() + 1))),
        (Division::Blocks, Pool::Range(own)) => blocks(own, seen, &by),
        (Division::Blocks, own) => (own, Known::Undeclarable { seen: by }),
        (Division::Other(hosts), own) => (own, Known::Undeclarable { seen: format!("{by}; {hosts}") }),
    }
}

/// A pool of several ranges.
fn several(ports: PortSet, seen: &PortsSeen) -> (Pool, Known) {
    let count = seen.draws.len();
    let [ranges, size] = [ports.ranges().len(), ports.size() as usize];
    let by = format!(
        "{count} mappings: {ranges} ranges, {size} ports, each of which came {} times on average",
        count / size
    );
    let known = match seen.hosts.iter().flatten().find(|port| !ports.contains(**port)) {
        Some(port) => Known::Undeclarable { seen: format!("{by}; another host has port {port}") },
        None => measured(format!("{by}; {} hosts share them", seen.hosts.len() + 1)),
    };
    (Pool::Ranges(ports), known)
}

/// The range that a counter passes. Between two of its steps lie ports that it never takes, and so perhaps before the end.
fn counted_range(ends: Ends, step: i16) -> PortRange {
    let slack = step.unsigned_abs().saturating_sub(1);
    let wide = ends.blurred(slack).range();
    if step > 0 {
        PortRange { high: wide.high, ..ends.seen }
    } else {
        PortRange { low: wide.low, ..ends.seen }
    }
}

/// The pool that ports are drawn from: the kernel's if it may be that, and if inside ports below 1024 become others below 1024.
fn drawn_pool(ends: Ends, seen: &PortsSeen) -> (Pool, String) {
    let by = format!("{} mappings: {ends}", seen.draws.len());
    match seen.low.iter().find(|drawn| !drawn.is_of_kernel()) {
        Some(DrawnBeside { own, external: Some(external) }) if ends.may_be(KERNEL) => {
            (Pool::Range(KERNEL), format!("{by}; {own} becomes {external}, unlike with \"kernel\""))
        }
        _ => (ends.pool(), by),
    }
}

/// The pool where every port that was tried is kept: the kernel's only if it keeps ports below 1024, and gives those that it cannot keep
/// others below 1024.
fn whole(seen: &PortsSeen) -> (Pool, Known) {
    let lowest = seen.edges.iter().find(|(inside, external)| inside == external).map(|(inside, _)| *inside);
    let lost =
        |(inside, external): &&Pair| inside != external && lowest.is_none_or(|lowest| *inside > lowest);
    let lost: Vec<String> = seen
        .edges
        .iter()
        .filter(lost)
        .map(|(inside, external)| format!("{inside} becomes {external}"))
        .collect();
    let Some(low) = lowest.filter(|_| lost.is_empty()) else {
        let seen = format!("ports from 2048 on are kept, but {}", lost.join(", "));
        return (Pool::Kernel, Known::Undeclarable { seen });
    };
    let range = PortRange { low, high: u16::MAX };
    let moved = seen.edges.iter().filter(|(inside, _)| *inside < low);
    let moved = moved.copied().chain(seen.low.iter().filter_map(|drawn| Some((drawn.own, drawn.external?))));
    let outside = |(_, external): &Pair| !range.contains(*external);
    if let Some((inside, external)) = moved.clone().find(outside) {
        let seen = format!("{range}, both ends kept, but {inside} becomes {external}");
        return (Pool::Range(range), Known::Undeclarable { seen });
    }
    let by = format!("{low} to 65535, both ends kept");
    let beside = moved.clone().last();
    match beside {
        _ if low == 1 && seen.low.iter().all(|drawn| drawn.is_of_kernel()) => {
            let by = format!("{by}; a port below 1024 that another host has becomes one below 1024");
            (Pool::Kernel, measured(by))
        }
        Some((inside, external)) => (
            Pool::Range(range),
            measured(format!("{by}; {inside} becomes {external}, unlike with \"kernel\"")),
        ),
        None => (Pool::Range(range), measured(by)),
    }
}

/// Blocks of the size that the first host's has.
fn blocks(own: PortRange, seen: &PortsSeen, by: &str) -> (Pool, Known) {
    let hosts = seen.hosts.len() + 1;
    let last = super::pool::block(own, hosts - 1).unwrap_or(own);
    let size = u16::try_from(own.size()).unwrap_or(u16::MAX);
    let range = PortRange { low: own.low, high: last.high };
    let mut by = format!("{by} for one host; {hosts} hosts have a block each, one after the other");
    if seen.all_hosts {
        by += ", and there were no more hosts to ask";
    }
    (Pool::Blocks { range, size }, measured(by))
}

fn overloading(seen: &PortsSeen, pool: Pool) -> (Overloading, Known) {
    for opened in [&seen.first, &seen.crowd] {
        let used = endpoints(opened);
        if kind::is_shared(&used) {
            let by = format!("{} mappings used {} external ports", used.len(), kind::distinct(&used));
            return (Overloading::On, measured(by));
        }
    }
    match &seen.shared_port {
        Some(Reading::Value(value)) => return (*value, measured("two hosts with the same port")),
        Some(Reading::Other(why)) => return (Overloading::Off, Known::Untold { why: why.clone() }),
        None => {}
    }
    if seen.is_used_up() || would_have_met(seen, pool) {
        let by = "no port twice among mappings of which two would have met but for a probability below 1e-9";
        return (Overloading::Off, measured(by));
    }
    let count = seen.first.len().max(seen.crowd.len());
    let why = format!("no port came twice in {count} mappings, which are too few for this pool");
    (Overloading::Off, Known::Untold { why })
}

/// Whether two of the mappings that there were at the same time would have the same port if ports were shared.
fn would_have_met(seen: &PortsSeen, pool: Pool) -> bool {
    let size = pool.parts().into_iter().flatten().next().map_or(64_512, PortSet::size);
    let addresses = kind::addresses(&endpoints(&seen.first));
    let most = seen.first.len().max(seen.crowd.len());
    match (pool, seen.kind()) {
        (Pool::Blocks { .. }, _) => {
            // Only mappings of one host can meet; as many pairs of them as of a shared pool.
            let each = seen.first.len() as f64;
            let hosts = (seen.crowd.len() as f64 / each).max(1.0);
            hosts * each * (each - 1.0) / (2.0 * f64::from(size)) > -(1e-9_f64.ln())
        }
        (_, Kind::Counted { .. }) if addresses == 1 => most > size as usize,
        (_, Kind::Counted { .. }) => most > (size + 24 * addresses) as usize,
        _ => most >= enough_to_collide(size * addresses),
    }
}

/// How many mappings a NAT that does not share ports has room for.
pub(super) fn exclusive_ports(seen: &PortsSeen, behavior: &Behavior) -> Option<usize> {
    let size = behavior.pool.parts().into_iter().flatten().next().map(PortSet::size)?;
    (!seen.is_shared()).then_some(size as usize)
}

/// The limit for one host. A pool that is nearly used up is none: few ports are left to be drawn.
pub(super) fn quota(seen: &PortsSeen, exclusive_ports: Option<usize>) -> (Option<u32>, Known) {
    let opened = seen.first.len();
    let quota = u32::try_from(opened).ok();
    let used_up = seen.is_used_up() || exclusive_ports.is_some_and(|ports| 10 * opened >= 9 * ports);
    match seen.limit {
        None => (None, measured(format!("{opened} mappings of one host met no limit"))),
        Some(_) if used_up => {
            let by = format!("none: after {opened} mappings of one host the pool was used up");
            (None, measured(by))
        }
        Some(Neighbour::Served) => {
            (quota, measured("that many mappings of one host, and another host still got one"))
        }
        Some(Neighbour::Refused) => {
            let seen = format!("{opened} mappings, for all hosts together");
            (quota, Known::Undeclarable { seen })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::model::description::DescribedAxis;
    use crate::probe::prove::bench::Side;
    use crate::probe::prove::prober::Flow;

    /// A host that stopped at these external ports.
    fn stopped_at(ports: &[u16]) -> PortsSeen {
        let opened = |(n, port): (u16, &u16)| {
            let inside = SocketAddrV4::new([10, 0, 0, 2].into(), 40_000 + 97 * n);
            let remote = SocketAddrV4::new([198, 18, 0, 1].into(), 4_000 + n);
            let flow = Flow { side: Side::Inside0, inside, remote, isn: 1 };
            (flow, SocketAddrV4::new([192, 0, 2, 2].into(), *port))
        };
        PortsSeen {
            first: (0..).zip(ports).map(opened).collect(),
            limit: Some(Neighbour::Served),
            ..PortsSeen::default()
        }
    }

    fn told(seen: &PortsSeen) -> Vec<NatAxis> {
        let mut inferred = Inference { behavior: Behavior::port_preserving(), axes: Vec::new() };
        infer(seen, &mut inferred);
        let measured = |described: &DescribedAxis| matches!(described.known, Known::Measured { .. });
        inferred.axes.iter().filter(|described| measured(described)).map(|described| described.axis).collect()
    }

    #[test]
    fn a_host_that_gets_few_mappings_tells_neither_allocation_nor_pool() {
        for ports in [&[43_830][..], &[20_422, 20_423], &[17_634, 50_252, 17_637]] {
            let seen = stopped_at(ports);
            assert_eq!(told(&seen), [], "{ports:?}");
            let (limit, known) = quota(&seen, None);
            assert_eq!(limit, u32::try_from(ports.len()).ok(), "{known:?}");
        }
        let random = [43_830, 2_000, 9_999, 61_234, 30_001, 12_345, 55_555, 8_192, 40_404];
        assert_eq!(told(&stopped_at(&random)), [], "none was drawn");
        assert!(
            told(&stopped_at(&[20_000, 20_001, 20_002, 20_003, 20_004, 20_005, 20_006, 20_007]))
                .contains(&NatAxis::Allocation)
        );
    }
}
