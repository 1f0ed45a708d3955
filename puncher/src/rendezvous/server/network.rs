//! The unit in which addresses are usually handed out, so that a host with a whole block of them counts as one neighbour.

use std::net::Ipv4Addr;

/// Bits of an address that name its host within a network. A /24 is the smallest block that Internet routers carry.
const HOST_BITS: u32 = 8;

/// The /24 that an address is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(u32);

impl Network {
    /// The network of this address.
    pub(super) fn of(address: Ipv4Addr) -> Self {
        Self(address.to_bits() >> HOST_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_share_a_network_when_only_the_last_byte_differs() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("192.0.2.1"), network("192.0.2.255"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
    }
}
