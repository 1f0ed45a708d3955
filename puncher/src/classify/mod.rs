//! From observations to the NAT's behaviour: a pure function of what was seen.
//!
//! What the next mapping will be is computed in `predict` from what is decided here.

pub mod class;

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// One mapping that a server saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The internal endpoint.
    pub local: SocketAddrV4,
    /// The server that was connected to.
    pub server: SocketAddrV4,
    /// The external endpoint as the server saw it.
    pub external: SocketAddrV4,
}

/// How the NAT chooses external ports (RFC 4787 section 4.2), as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allocation {
    /// The external endpoint is the internal one: no NAT.
    None,
    /// The internal port is kept.
    Preserving,
    /// One external port per internal port, whatever the destination.
    Observed,
    /// Each new mapping is this much above the one before.
    Sequential {
        /// May be negative.
        step: i32,
    },
    /// No rule can be seen.
    Random,
}

/// The largest distance between two mappings that counts as a rule rather than chance: a step, and some mappings of
/// other hosts in between. Two of the 64,512 ports are this close by chance once in a thousand times.
const LARGEST_DISTANCE: i32 = 32;

/// Once a step is known, punching itself may have used so many mappings between two measurements.
const LARGEST_STRIDE: i32 = 1024;

/// How the NAT allocates ports, from mappings in the order in which they were made; the port of the first is the one
/// that will be punched from. `None` when nothing was observed.
#[must_use]
pub fn allocation(observations: &[Observation]) -> Option<Allocation> {
    let first = observations.first()?;
    let mut of_this_port = observations.iter().filter(|seen| seen.local.port() == first.local.port());
    let same = of_this_port.all(|seen| seen.external == first.external);
    Some(if same && first.external == first.local {
        Allocation::None
    } else if same && first.external.port() == first.local.port() {
        Allocation::Preserving
    } else if same {
        Allocation::Observed
    } else {
        step(observations).map_or(Allocation::Random, |step| Allocation::Sequential { step })
    })
}

/// The step by which mappings follow each other: what divides all distances since they last jumped. A jump is the end of
/// the NAT's pool, or of a chance likeness.
fn step(observations: &[Observation]) -> Option<i32> {
    let distances = observations
        .windows(2)
        .map(|pair| i32::from(pair[1].external.port()) - i32::from(pair[0].external.port()));
    let mut step = None;
    for distance in distances {
        step = match step {
            Some(known) if follows(known, distance) => Some(divisor(known, distance)),
            _ if distance == 0 || distance.abs() > LARGEST_DISTANCE => None,
            _ => Some(distance),
        };
    }
    step
}

/// Whether a distance goes on in the direction of the step, and not too far.
fn follows(step: i32, distance: i32) -> bool {
    step.signum() == distance.signum() && distance.abs() <= LARGEST_STRIDE
}

/// Greatest common divisor of two numbers of the same sign, with that sign.
fn divisor(a: i32, b: i32) -> i32 {
    if b == 0 { a } else { divisor(b, a % b) }
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
    fn another_local_port_does_not_make_an_endpoint_independent_nat_random() {
        let mut ports = seen(&[6000, 6000, 31000]);
        ports[2].local.set_port(5001);
        assert_eq!(allocation(&ports), Some(Allocation::Observed));
    }
}
