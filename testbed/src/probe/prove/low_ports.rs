//! Looks at inside ports below 1024, for which the kernel has pools of their own (`nf_nat_l4proto_unique_tuple`): whether a NAT that
//! declares the kernel's pool keeps them, and which ports others get in their place.

use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::behavior::{Allocation, Behavior, Pool, PortRange};
use crate::model::datapath::Datapath;

use super::bench::Side;
use super::prober::Prober;

/// What the kernel draws from for an inside port of the same range.
const LOW: [PortRange; 2] = [PortRange { low: 1, high: 511 }, PortRange { low: 512, high: 1_023 }];

/// What an inside port below 1024 became that its host could not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct DrawnBeside {
    /// The inside port.
    pub(in crate::probe) own: u16,
    /// The external one; `None` where the SYN did not get out.
    pub(in crate::probe) external: Option<u16>,
}

impl DrawnBeside {
    /// Whether the kernel draws so.
    pub(in crate::probe) fn is_of_kernel(self) -> bool {
        let of_own = LOW.into_iter().find(|range| range.contains(self.own));
        of_own.zip(self.external).is_some_and(|(range, external)| range.contains(external))
    }
}

/// What of ports below 1024 is not as the kernel's own pool has it, of a NAT that declares this pool.
pub(super) fn wrong_low_ports(prober: &mut Prober, declared: &Behavior) -> Result<Option<String>> {
    let by_kernel = prober.bench.datapath() != Datapath::Sockets && declared.pool == Pool::Kernel;
    match declared.allocation {
        Allocation::Preserving if by_kernel => wrong_kept(prober, declared),
        Allocation::Random if by_kernel => Ok(wrong_drawn(&draw_low(prober, declared.quota)?)),
        _ => Ok(None),
    }
}

/// Where a NAT that keeps ports does not keep the ends of the ranges, or gives those that are taken any other port.
fn wrong_kept(prober: &mut Prober, declared: &Behavior) -> Result<Option<String>> {
    prober.bench.forget()?;
    for port in LOW.into_iter().flat_map(|range| [range.low, range.high]) {
        prober.breathe(declared.quota)?;
        match external_of(prober, Side::Inside0, port, None)? {
            Some(external) if external == port => {}
            Some(external) => return Ok(Some(format!("not the kernel's: port {port} becomes {external}"))),
            None => return Ok(Some(format!("a SYN from port {port} did not get out"))),
        }
    }
    if prober.bench.datapath() != Datapath::Conntrack {
        // Such a NAT has no pools of the kernel to draw from.
        return Ok(None);
    }
    Ok(wrong_drawn(&collide_low(prober)?))
}

/// Ports below 1024 of two hosts each, towards the same remote endpoint: what those of the second hosts become.
pub(in crate::probe) fn collide_low(prober: &mut Prober) -> Result<Vec<DrawnBeside>> {
    let mut drawn = Vec::new();
    for own in LOW.map(middle) {
        prober.bench.forget()?;
        let remote = prober.remote();
        external_of(prober, Side::Inside0, own, Some(remote))?;
        let external = external_of(prober, Side::Inside1, own, Some(remote))?;
        drawn.push(DrawnBeside { own, external });
    }
    Ok(drawn)
}

/// What ports below 1024 become where no port is kept.
pub(in crate::probe) fn draw_low(prober: &mut Prober, quota: Option<u32>) -> Result<Vec<DrawnBeside>> {
    prober.bench.forget()?;
    let mut drawn = Vec::new();
    for own in LOW.into_iter().flat_map(|range| [range.low, middle(range), range.high]) {
        prober.breathe(quota)?;
        drawn.push(DrawnBeside { own, external: external_of(prober, Side::Inside0, own, None)? });
    }
    Ok(drawn)
}

/// A port that was not drawn from where the kernel draws it.
fn wrong_drawn(drawn: &[DrawnBeside]) -> Option<String> {
    let wrong = drawn.iter().find(|drawn| !drawn.is_of_kernel())?;
    let range = LOW.into_iter().find(|range| range.contains(wrong.own))?;
    Some(match wrong.external {
        Some(external) => {
            format!("not the kernel's: port {} becomes {external}, which is none of {range}", wrong.own)
        }
        None => format!("a SYN from port {} did not get out", wrong.own),
    })
}

/// The external port of a connection of the first host of a network from this port.
fn external_of(
    prober: &mut Prober,
    side: Side,
    port: u16,
    remote: Option<SocketAddrV4>,
) -> Result<Option<u16>> {
    let remote = remote.unwrap_or_else(|| prober.remote());
    let flow = prober.flow_between(side, SocketAddrV4::new(side.address(), port), remote);
    Ok(prober.open(&flow)?.map(|external| external.port()))
}

fn middle(range: PortRange) -> u16 {
    range.low.midpoint(range.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_beside_the_kernels_ranges_is_named() {
        let drawn = |own, external| DrawnBeside { own, external };
        let honest = [drawn(1, Some(511)), drawn(256, Some(1)), drawn(700, Some(1_023))];
        assert_eq!(wrong_drawn(&honest), None);
        for (one, expected) in [
            (drawn(700, Some(58_084)), "not the kernel's: port 700 becomes 58084, which is none of 512-1023"),
            (drawn(511, Some(512)), "not the kernel's: port 511 becomes 512, which is none of 1-511"),
            (drawn(1, None), "a SYN from port 1 did not get out"),
        ] {
            assert_eq!(wrong_drawn(&[honest[0], one]).as_deref(), Some(expected));
        }
    }
}
