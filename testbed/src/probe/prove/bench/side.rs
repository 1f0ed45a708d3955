//! The sides of a bench: devices, addresses and MAC addresses at both ends of each cable.

use std::net::Ipv4Addr;

use super::WAN;
use crate::model::address_plan::Mac;

/// One of the probe's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Side {
    /// Where the rest of the world is.
    Outside,
    /// The network on `lan0`.
    Inside0,
    /// The network on `lan1`.
    Inside1,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Outside, Self::Inside0, Self::Inside1];

    /// The names of the NAT's device and of the probe's.
    pub(super) const fn devices(self) -> (&'static str, &'static str) {
        match self {
            Self::Outside => ("wan", "outside"),
            Self::Inside0 => ("lan0", "inside0"),
            Self::Inside1 => ("lan1", "inside1"),
        }
    }

    /// The NAT's address on this side.
    pub(super) const fn gateway(self) -> Ipv4Addr {
        match self {
            Self::Outside => WAN,
            Self::Inside0 => Ipv4Addr::new(10, 0, 0, 1),
            Self::Inside1 => Ipv4Addr::new(10, 0, 1, 1),
        }
    }

    /// The first address of the probe on this side.
    pub(in crate::probe) const fn address(self) -> Ipv4Addr {
        match self {
            Self::Outside => Ipv4Addr::new(192, 0, 2, 1),
            Self::Inside0 => Ipv4Addr::new(10, 0, 0, 2),
            Self::Inside1 => Ipv4Addr::new(10, 0, 1, 2),
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The index of the devices, the same at both ends; 1 is the loopback device.
    pub(super) const fn device_index(self) -> u32 {
        self as u32 + 2
    }

    /// MAC addresses of the NAT's end and of the probe's.
    pub(super) const fn macs(self) -> (Mac, Mac) {
        let n = self as u8;
        ([2, 0x54, 0x50, 0, n, 1], [2, 0x54, 0x50, 0, n, 2])
    }
}
