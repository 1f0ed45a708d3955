//! The hash of nftables' `jhash`, worked out here as well, so that a hash NAT can be proved port by port.
//!
//! Bob Jenkins' lookup3 as in the kernel's `include/linux/jhash.h`, scaled to the pool as `net/netfilter/nft_hash.c`
//! does it.

use std::net::SocketAddrV4;

use crate::model::behavior::Mapping;
use crate::model::port_set::PortSet;

/// The external port that a hash NAT gives to a flow.
pub(super) fn port(
    mapping: Mapping,
    seed: u32,
    pool: PortSet,
    inside: SocketAddrV4,
    remote: SocketAddrV4,
) -> Option<u16> {
    HashKey::of(mapping, inside, remote).port(seed, pool)
}

/// What a hash NAT hashes of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::probe) struct HashKey {
    words: Vec<u32>,
}

impl HashKey {
    /// What a NAT with this mapping hashes.
    pub(in crate::probe) fn of(mapping: Mapping, inside: SocketAddrV4, remote: SocketAddrV4) -> Self {
        let mut key = Vec::with_capacity(16);
        let mut add = |endpoint: SocketAddrV4, with: HashedPart| {
            key.extend(endpoint.ip().octets());
            if with == HashedPart::AddressAndPort {
                // A register is 32 bits wide; what is shorter is padded with zeros.
                key.extend(endpoint.port().to_be_bytes());
                key.extend([0, 0]);
            }
        };
        add(inside, HashedPart::AddressAndPort);
        match mapping {
            Mapping::EndpointIndependent => {}
            Mapping::AddressDependent => add(remote, HashedPart::Address),
            Mapping::AddressAndPortDependent => add(remote, HashedPart::AddressAndPort),
        }
        let word = |w: &[u8]| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]);
        Self { words: key.chunks_exact(4).map(word).collect() }
    }

    /// The port of `pool` that the hash with this seed comes to.
    pub(in crate::probe) fn port(&self, seed: u32, pool: PortSet) -> Option<u16> {
        let position = (u64::from(jhash(&self.words, seed)) * u64::from(pool.size())) >> 32;
        pool.nth(u32::try_from(position).ok()?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HashedPart {
    Address,
    AddressAndPort,
}

/// The hash of a key, by its words.
fn jhash(words: &[u32], seed: u32) -> u32 {
    const GOLDEN: u32 = 0xdead_beef;
    let bytes = u32::try_from(4 * words.len()).unwrap_or(0);
    let start = GOLDEN.wrapping_add(bytes).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = words;
    while rest.len() > 3 {
        for (slot, word) in state.iter_mut().zip(rest) {
            *slot = slot.wrapping_add(*word);
        }
        mix(&mut state);
        rest = &rest[3..];
    }
    if rest.is_empty() {
        return state[2];
    }
    for (slot, word) in state.iter_mut().zip(rest) {
        *slot = slot.wrapping_add(*word);
    }
    finish(&mut state);
    state[2]
}

/// `__jhash_mix`.
fn mix([a, b, c]: &mut [u32; 3]) {
    *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
    *b = b.wrapping_add(*a);
    *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
    *b = b.wrapping_add(*a);
}

/// `__jhash_final`.
fn finish([a, b, c]: &mut [u32; 3]) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::PortRange;

    #[test]
    fn the_hash_agrees_with_the_published_vectors() {
        // `hashlittle` of lookup3.c, whose initial value is our seed: its own self-test prints these.
        assert_eq!(jhash(&[], 0), 0xdead_beef);
        assert_eq!(jhash(&[], 0xdead_beef), 0xbd5b_7dde);
    }

    #[test]
    fn every_port_lies_in_the_pool() {
        let pool = PortSet::from(PortRange { low: 20_000, high: 20_009 });
        let endpoint = |port| SocketAddrV4::new([10, 0, 0, 2].into(), port);
        for local in 1..500 {
            let port =
                port(Mapping::AddressDependent, 7, pool, endpoint(local), endpoint(9)).expect("a port");
            assert!(pool.contains(port));
        }
    }
}
