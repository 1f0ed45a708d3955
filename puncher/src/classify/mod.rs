//! From observations to the NAT's behaviour: a pure function of what was seen.
//!
//! What the next mapping will be is computed in `predict` from what is decided here.

pub(crate) mod class;
pub(crate) mod path;

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// One mapping that a server saw. Part of [`Evidence`](crate::nat::Evidence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The internal endpoint.
    pub local: SocketAddrV4,
    /// The server that was connected to.
    pub server: SocketAddrV4,
    /// The external endpoint as the server saw it.
    pub external: SocketAddrV4,
}

/// How the NAT chooses external ports (RFC 4787 section 4.2), as far as it matters for the next one. Part of an
/// [`AttemptLog`](crate::AttemptLog).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// The external endpoint is the internal one: no NAT.
    None,
    /// The internal port is kept.
    Preserving,
    /// One external port per internal port, whatever the destination.
    Observed,
    /// The internal port is kept for the first remote endpoint it speaks to, and for no other.
    KeptOnce,
    /// Each new mapping is this much above the one before.
    Sequential {
        /// May be negative.
        step: i32,
    },
    /// No rule can be seen.
    Random,
}

/// What became of a SYN nobody asked for. Part of a [`NatClass`](crate::nat::NatClass).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was let in and accepted.
    Accepted,
    /// A reset.
    Reset,
    /// An ICMP error that the kernel reports as a refusal: port unreachable.
    IcmpPort,
    /// Another ICMP error.
    Icmp,
    /// Nothing came.
    Silence,
    /// The server has no such address to send from.
    Untried,
}

/// Ports a NAT of the Linux kernel draws from when it draws at random: 1024 to 65535 (`nf_nat_l4proto_unique_tuple`).
pub(crate) const RANDOM_POOL: u32 = 64_512;

/// It draws `1024 + u16 % 64512`, so the first 1,024 of them come up twice as often.
pub(crate) const LIKELIER: std::ops::Range<u16> = 1024..2048;

/// The chance of each of those.
pub(crate) const LIKELIER_CHANCE: f64 = 2.0 / 65_536.0;

/// The largest distance between two mappings that counts as a rule rather than chance: a step, and some mappings of
/// other hosts in between. Two of the 64,512 ports are this close by chance once in a thousand times.
const LARGEST_DISTANCE: i32 = 32;

/// Distances that agree: in a pool of 64 ports two do so by chance once in a hundred times.
const ENOUGH_FOR_A_STEP: usize = 2;

/// Distances in one direction: six draws from a small pool are in order by chance once in 360 times, and seldom this close.
const ENOUGH_FOR_A_CLIMB: usize = 5;
const LARGEST_CLIMB: i32 = 12;

/// This many mappings that are close together come from a range: six of 64,512 lie within 4,096 by chance six times in a
/// million.
pub(crate) const ENOUGH_FOR_A_RANGE: usize = 6;

/// Once a step is known, punching itself may have used this many mappings between two measurements.
const LARGEST_STRIDE: i32 = 1024;

/// How the NAT allocates ports, from mappings in the order in which they were made; the port of the first is the one
/// that will be punched from. `None` when nothing was observed.
#[must_use]
pub(crate) fn allocation(observations: &[Observation]) -> Option<Allocation> {
    let first = observations.first()?;
    let mut of_this_port = observations.iter().filter(|seen| seen.local.port() == first.local.port());
    let same = of_this_port.all(|seen| seen.external == first.external);
    Some(if same && first.external == first.local {
        Allocation::None
    } else if same && first.external.port() == first.local.port() {
        Allocation::Preserving
    } else if same {
        Allocation::Observed
    } else if first.external.port() == first.local.port() {
        Allocation::KeptOnce
    } else {
        step(observations).map_or(Allocation::Random, |step| Allocation::Sequential { step: step.by })
    })
}

/// The step by which mappings follow each other: the commonest small distance, if at least half of all have it, and the
/// newest mapping goes on in its direction. The others are the end of the NAT's pool, mappings of other hosts, or those of
/// the last punch. Where other hosts take ports all the time no distance is common: then a climb without a break shows it.
fn step(observations: &[Observation]) -> Option<Step> {
    let distance =
        |pair: &[Observation]| i32::from(pair[1].external.port()) - i32::from(pair[0].external.port());
    let counted = moved(observations);
    let distances: Vec<i32> = counted.windows(2).map(distance).collect();
    let newest = *distances.last()?;
    let seen = |step: i32| distances.iter().filter(|distance| **distance == step).count();
    let goes_on = |step: i32| step.signum() == newest.signum() && newest.abs() <= LARGEST_STRIDE;
    let small = distances.iter().copied().filter(|step| *step != 0 && step.abs() <= LARGEST_DISTANCE);
    let likely = small.filter(|step| seen(*step) * 2 >= distances.len() && goes_on(*step));
    match likely.max_by_key(|step| (seen(*step), -step.abs())) {
        Some(by) => Some(Step { by, seen: seen(by) }),
        None => climb(&distances),
    }
}

/// The mappings that did not keep the local port. A NAT may keep ports that lie in its pool, and count for all others.
pub(crate) fn moved(observations: &[Observation]) -> Vec<Observation> {
    let is_kept = |seen: &&Observation| seen.external.port() == seen.local.port();
    observations.iter().filter(|seen| !is_kept(seen)).copied().collect()
}

/// Distances that all go the same way, none of them far: the least is the step, or a multiple of it.
fn climb(distances: &[i32]) -> Option<Step> {
    let up = distances.first()?.signum();
    let goes_on = |distance: &i32| distance.signum() == up && distance.abs() <= LARGEST_CLIMB;
    let climbs = distances.len() >= ENOUGH_FOR_A_CLIMB && distances.iter().all(goes_on);
    let least = distances.iter().copied().min_by_key(|distance| distance.abs())?;
    climbs.then_some(Step { by: least, seen: distances.len() })
}

/// A distance between neighbours, and how often it was seen.
struct Step {
    by: i32,
    seen: usize,
}

/// Whether enough was observed to tell a rule from chance.
#[must_use]
pub(crate) fn is_certain(observations: &[Observation]) -> bool {
    match allocation(observations) {
        Some(Allocation::Sequential { .. }) => {
            step(observations).is_some_and(|step| step.seen >= ENOUGH_FOR_A_STEP)
        }
        Some(Allocation::Random) => observations.len() >= ENOUGH_FOR_A_RANGE,
        _ => true,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn seen(external: &[u16]) -> Vec<Observation> {
        let observation = |(place, port): (usize, &u16)| Observation {
            local: "10.0.1.2:5000".parse().unwrap(),
            server: SocketAddrV4::new([203, 0, 113, 1].into(), 7000 + place as u16),
            external: SocketAddrV4::new([192, 0, 2, 2].into(), *port),
        };
        external.iter().enumerate().map(observation).collect()
    }

    #[test]
    fn allocation_is_told_from_the_external_ports() {
        let cases = [
            (&[5000, 5000][..], Some(Allocation::Preserving)),
            (&[6000, 6000], Some(Allocation::Observed)),
            (&[20000, 20001], Some(Allocation::Sequential { step: 1 })),
            (&[20000, 20002, 20004], Some(Allocation::Sequential { step: 2 })),
            (&[20001, 20000], Some(Allocation::Sequential { step: -1 })),
            (&[20000, 20001, 20005], Some(Allocation::Sequential { step: 1 })),
            (&[20000, 20004, 20006], Some(Allocation::Sequential { step: 2 })),
            (&[20000, 20001, 20050, 20051], Some(Allocation::Sequential { step: 1 })),
            (&[20999, 20000, 20001, 20002], Some(Allocation::Sequential { step: 1 })),
            (&[36424, 13999, 52000, 52007], Some(Allocation::Random)),
            (&[36424, 13999, 41003, 7000, 52000, 52007], Some(Allocation::Random)),
            (&[1030, 1050, 1071, 1033, 1080, 1040], Some(Allocation::Random)),
            (&[20395, 20397, 20401, 20407, 20411, 20413], Some(Allocation::Sequential { step: 2 })),
            (&[20395, 20397, 20401, 20405, 20408, 20409], Some(Allocation::Sequential { step: 1 })),
            (&[20409, 20406, 20404, 20400, 20395, 20394], Some(Allocation::Sequential { step: -1 })),
            (&[20395, 20397, 20401, 20404, 20405], Some(Allocation::Random)),
            (&[1047, 1048, 1064, 1068, 1076, 1085], Some(Allocation::Random)),
            (&[20999, 20000], Some(Allocation::Random)),
            (&[20999, 20000, 20001], Some(Allocation::Sequential { step: 1 })),
            (&[20000, 20001, 41000], Some(Allocation::Random)),
            (&[20000, 20001, 20050], Some(Allocation::Sequential { step: 1 })),
            (&[20000, 20050], Some(Allocation::Random)),
            (&[36424, 13999], Some(Allocation::Random)),
            (&[], None),
        ];
        for (ports, expected) in cases {
            assert_eq!(allocation(&seen(ports)), expected, "{ports:?}");
        }
    }

    #[test]
    fn no_nat_is_told_from_preservation() {
        let mut open = seen(&[5000, 5000]);
        open.iter_mut().for_each(|seen| seen.external = seen.local);
        assert_eq!(allocation(&open), Some(Allocation::None));
    }

    #[test]
    fn a_port_that_is_kept_once_is_told_from_one_drawn() {
        assert_eq!(allocation(&seen(&[5000, 41_003])), Some(Allocation::KeptOnce));
        assert_eq!(allocation(&seen(&[41_003, 5000])), Some(Allocation::Random));
    }

    #[test]
    fn a_port_that_is_kept_between_others_does_not_hide_that_they_are_counted() {
        let mut between = seen(&[20_000, 20_001, 41_003, 20_002]);
        between[2].local.set_port(41_003);
        assert_eq!(allocation(&between), Some(Allocation::Sequential { step: 1 }));
        assert!(is_certain(&between));
    }

    #[test]
    fn little_is_certain_of_few_mappings() {
        let cases = [
            (&[5000, 5000][..], true),
            (&[20000, 20001], false),
            (&[20000, 20001, 20002], true),
            (&[36424, 13999], false),
            (&[36424, 13999, 1500, 60000, 41003, 2222], true),
        ];
        for (ports, expected) in cases {
            assert_eq!(is_certain(&seen(ports)), expected, "{ports:?}");
        }
    }

    #[test]
    fn another_local_port_does_not_make_an_endpoint_independent_nat_random() {
        let mut ports = seen(&[6000, 6000, 31000]);
        ports[2].local.set_port(5001);
        assert_eq!(allocation(&ports), Some(Allocation::Observed));
    }
}
