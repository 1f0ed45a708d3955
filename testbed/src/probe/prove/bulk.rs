//! Measures what only many mappings show: whether ports are shared, where the pool ends, and how many mappings one
//! host may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{Allocation, Behavior, Collision, Overloading, Pool, Translation};
use crate::model::port_set::PortSet;

use super::bench::Side;
use super::finding::Finding;
use super::mapping::{NEARLY_ALL_KEPT, drawn_at_random, judge_pool};
use super::prober::{Flow, Prober};
use super::room::own_pool;

/// Refusals in a row that mean a limit. A hash NAT that never shares ports may refuse one now and then, as its pool
/// fills: at two thirds, and with eight seeds to try, with probability 0.04, and eight in a row with 7e-12.
pub(in crate::probe) const REFUSALS: usize = 8;

/// Two among `n` random ports of a pool of `p` are the same with probability `1 - exp(-n^2 / 2p)`; this makes it miss
/// by less than 1e-9.
pub(in crate::probe) fn enough_to_collide(pool: u32) -> usize {
    let n = (2.0 * f64::from(pool) * 1e9_f64.ln()).sqrt();
    // Also where the pool is no larger than a handful of ports, one more than there are must collide.
    n.ceil().min(f64::from(pool) + 1.0) as usize
}

/// How many external addresses one host's mappings may have.
fn addresses_of_a_host(declared: &Behavior) -> u32 {
    match declared.addresses {
        addresses if addresses.are_arbitrary() => u32::from(addresses.count),
        _ => 1,
    }
}

/// How many mappings show what the declared NAT does when its pool is used up or shared.
fn enough(declared: &Behavior, pool: u32) -> usize {
    let addresses = addresses_of_a_host(declared);
    match counter(declared) {
        // Once around, and one more; of several addresses, it is another one so many times with a probability below 1e-9.
        Some(step) => {
            let more = if addresses > 1 { 24 * addresses } else { 1 };
            let around = pool.div_ceil(u32::from(step.unsigned_abs()).max(1));
            usize::try_from(around + more).unwrap_or(usize::MAX)
        }
        None => enough_to_collide(pool * addresses),
    }
}

/// The step of the counter that gives ports to those who cannot keep theirs.
fn counter(declared: &Behavior) -> Option<i16> {
    match (declared.allocation, declared.collision) {
        (Allocation::Sequential { step }, _) => Some(step),
        (Allocation::Preserving, Collision::Sequential) => Some(1),
        _ => None,
    }
}

/// Opens many mappings from one host, each to a remote of its own.
pub(in crate::probe) fn bulk(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if declared.translation == Translation::Router || declared.quota.is_some() {
        return Ok(Vec::new());
    }
    let own = own_pool(declared, Side::Inside0);
    let wanted = enough(declared, own.map_or(64_512, PortSet::size));
    let Some(flows) = bulk_flows(prober, declared, wanted) else {
        let untold = [NatAxis::Quota, NatAxis::Overloading, NatAxis::Pool];
        return Ok(untold.map(|axis| Finding::not_looked_at(axis.name(), NEARLY_ALL_KEPT)).into());
    };
    let externals = open_until_refused(prober, &flows)?;
    let opened: Vec<(Flow, SocketAddrV4)> =
        flows.iter().zip(&externals).filter_map(|(flow, external)| Some((*flow, (*external)?))).collect();
    let ports: Vec<u16> = opened.iter().map(|(_, external)| external.port()).collect();
    let mut findings = vec![judge_quota(declared, &externals)];
    // Hosts that all keep their own ports tell nothing of sharing, nor of the pool.
    let telling = declared.allocation != Allocation::Preserving || declared.pool != Pool::Kernel;
    if declared.translation == Translation::Nat && telling {
        findings.push(judge_sharing(declared, &opened));
        findings.push(match (counter(declared), own) {
            (Some(step), Some(own)) => judge_round(declared, own, step, &ports),
            _ => judge_pool(declared, own, &ports, drawn_at_random(declared)),
        });
    }
    Ok(findings)
}

/// Flows that have to draw from the pool: where ports are preserved, those that cannot keep theirs. `None` where nearly all can.
fn bulk_flows(prober: &mut Prober, declared: &Behavior, wanted: usize) -> Option<Vec<Flow>> {
    let kept = own_pool(declared, Side::Inside0).filter(|_| declared.allocation == Allocation::Preserving);
    match kept {
        Some(kept) => prober.flows_beside(Side::Inside0, kept, wanted),
        None => Some((0..wanted).map(|_| prober.flow(Side::Inside0)).collect()),
    }
}

/// Whether any two inside endpoints share an external one.
fn judge_sharing(declared: &Behavior, opened: &[(Flow, SocketAddrV4)]) -> Finding {
    let mut owners: BTreeMap<SocketAddrV4, BTreeSet<SocketAddrV4>> = BTreeMap::new();
    for (flow, external) in opened {
        owners.entry(*external).or_default().insert(flow.inside);
    }
    let shared = owners.values().filter(|inside| inside.len() > 1).count();
    let observed = if shared > 0 { Overloading::On } else { Overloading::Off };
    let mut finding = Finding::of(NatAxis::Overloading, declared, observed.to_string());
    if !finding.agrees {
        finding.observed += &format!(" ({shared} ports shared by {} mappings)", opened.len());
    }
    finding
}

/// Whether a counter that went once around passed every port of its pool, and no other.
fn judge_round(declared: &Behavior, own: PortSet, step: i16, ports: &[u16]) -> Finding {
    let each = usize::from(step.unsigned_abs()).max(1);
    let all: Vec<u16> = own.ports().collect();
    let expected: BTreeSet<u16> = match step {
        1.. => all.into_iter().step_by(each).collect(),
        _ => all.into_iter().rev().step_by(each).collect(),
    };
    let seen: BTreeSet<u16> = ports.iter().copied().collect();
    let observed = match (seen == expected, seen.first(), seen.last()) {
        (true, ..) => declared.value(NatAxis::Pool),
        (false, Some(low), Some(high)) => format!("{low}-{high}, {} ports of it", seen.len()),
        (false, ..) => "no mapping to tell from".to_owned(),
    };
    Finding::of(NatAxis::Pool, declared, observed)
}

/// Opens the flows, up to the point where one after the other is refused.
fn open_until_refused(prober: &mut Prober, flows: &[Flow]) -> Result<Vec<Option<SocketAddrV4>>> {
    let mut externals = Vec::with_capacity(flows.len());
    for batch in flows.chunks(REFUSALS) {
        externals.extend(prober.open_all(batch)?);
        if is_refused(&externals) {
            break;
        }
    }
    Ok(externals)
}

/// Whether the last flows were all refused.
pub(in crate::probe) fn is_refused(externals: &[Option<SocketAddrV4>]) -> bool {
    externals.len() >= REFUSALS && externals.iter().rev().take(REFUSALS).all(Option::is_none)
}

/// Whether mappings stop at some number, though the pool has room.
fn judge_quota(declared: &Behavior, externals: &[Option<SocketAddrV4>]) -> Finding {
    let opened = externals.iter().flatten().count();
    // Ports are each address's own.
    let endpoints = |own: PortSet| (own.size() * addresses_of_a_host(declared)) as usize;
    let all = own_pool(declared, Side::Inside0).map_or(usize::MAX, endpoints);
    let exhausted = declared.overloading == Overloading::Off && opened >= all;
    let observed = match is_refused(externals) && !exhausted {
        true => opened.to_string(),
        false => declared.value(NatAxis::Quota),
    };
    Finding::of(NatAxis::Quota, declared, observed)
}

/// A limit that is declared: that many mappings for one host, no more, and another host still gets one.
pub(in crate::probe) fn quota(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    let Some(quota) = declared.quota else { return Ok(None) };
    let wanted = usize::try_from(quota).unwrap_or(usize::MAX).saturating_add(3);
    let flows: Vec<Flow> = (0..wanted).map(|_| prober.flow(Side::Inside0)).collect();
    let opened = prober.open_all(&flows)?.into_iter().flatten().count();
    let (_, neighbour) = prober.open_fresh(Side::Inside1)?;
    let observed = match neighbour {
        _ if opened == wanted => format!("more than {quota}"),
        None => format!("{opened}, for all hosts together"),
        Some(_) => opened.to_string(),
    };
    Ok(Some(Finding::of(NatAxis::Quota, declared, observed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{ExternalAddresses, Pooling, PortRange};

    #[test]
    fn enough_random_ports_collide_all_but_surely() {
        for pool in [10, 1_000, 64_512] {
            let n = enough_to_collide(pool) as f64;
            let missed = (-(n * n) / (2.0 * f64::from(pool))).exp();
            assert!(missed < 1.1e-9 || n > f64::from(pool), "{pool}: {n}");
        }
    }

    #[test]
    fn a_counter_goes_once_around() {
        let range = PortRange { low: 20_000, high: 20_999 };
        let sequential = |step| Behavior {
            allocation: Allocation::Sequential { step },
            pool: Pool::Range(range),
            ..Behavior::port_preserving()
        };
        assert_eq!(enough(&sequential(1), range.size()), 1_001);
        assert_eq!(enough(&sequential(-3), range.size()), 335);
        let colliding = Behavior { collision: Collision::Sequential, ..Behavior::port_preserving() };
        assert_eq!(enough(&colliding, range.size()), 1_001);
    }

    #[test]
    fn mappings_that_all_fail_from_some_point_on_are_a_quota() {
        let endpoint = Some(SocketAddrV4::new([192, 0, 2, 2].into(), 5_000));
        let behavior = Behavior::port_preserving();
        let limited: Vec<_> = (0..100).map(|n| endpoint.filter(|_| n < 30)).collect();
        assert_eq!(judge_quota(&behavior, &limited).observed, "30");
        assert!(judge_quota(&behavior, &vec![endpoint; 100]).agrees);
        let one_in_eight: Vec<_> = (1..=96).map(|n| endpoint.filter(|_| n % REFUSALS != 0)).collect();
        assert!(judge_quota(&behavior, &one_in_eight).agrees, "a refusal now and then is no limit");
        let exclusive = |high| {
            let pool = Pool::Range(PortRange { low: 20_000, high });
            Behavior { pool, overloading: Overloading::Off, ..behavior }
        };
        assert!(judge_quota(&exclusive(20_029), &limited).agrees, "all 30 ports are taken");
        assert_eq!(judge_quota(&exclusive(20_030), &limited).observed, "30", "one port is left");
        let of_two = |pooling| {
            let addresses = ExternalAddresses { count: 2, pooling };
            judge_quota(&Behavior { addresses, ..exclusive(20_029) }, &limited)
        };
        assert!(of_two(Pooling::Paired).agrees, "a host has the ports of one address");
        assert_eq!(of_two(Pooling::Arbitrary).observed, "30", "all ports of another address are left");
    }
}
