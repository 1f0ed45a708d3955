//! Which of its external addresses a NAT gives to a fresh mapping.
//!
//! The kernel's own way, `snat to FIRST-LAST`, hashes both addresses, or with `persistent` the inside one (`find_best_ips_proto`), and
//! leaves the address of a mapping that it knows if another one comes out of the hash. Here the address is chosen by a rule
//! and written into the packet, so that all that follows finds it there.

use std::net::Ipv4Addr;

use crate::model::behavior::{Behavior, Pooling};

use super::NatSite;
use super::protocol::Protocol;
use super::text::{Chain, OUTWARDS};

/// The seed of the hash of an inside address. Without one nft draws one for each rule, and TCP and UDP of a host would differ. With this
/// one, the first host of each network of a pair gets another address than the NAT's first, whatever their number, so that
/// trials show that there are several.
const SEED: u32 = 0x7857;

/// The addresses of a NAT, and how one is chosen.
#[derive(Debug)]
pub(super) struct Addresses {
    all: Vec<Ipv4Addr>,
    pooling: Pooling,
}

impl Addresses {
    pub(super) fn of(behavior: &Behavior, site: &NatSite) -> Self {
        Self { all: site.external(behavior).iter().collect(), pooling: behavior.addresses.pooling }
    }

    /// The map from positions to addresses, where there are several.
    pub(super) fn declaration(&self) -> Option<String> {
        let pair = |(position, address): (usize, &Ipv4Addr)| format!("{position} : {address}");
        let pairs: Vec<String> = self.all.iter().enumerate().map(pair).collect();
        let lines: Vec<String> = pairs.chunks(4).map(|line| line.join(", ")).collect();
        (self.all.len() > 1).then(|| {
            format!(
                "    # The external addresses by position.\n    map addresses {{\n        typeof numgen inc mod {} : ip saddr\n        \
                 elements = {{\n            {}\n        }}\n    }}\n",
                self.all.len(),
                lines.join(",\n            "),
            )
        })
    }

    /// What comes to an address.
    fn choice(&self) -> String {
        let count = self.all.len();
        match self.pooling {
            Pooling::Paired => format!("jhash ip saddr mod {count} seed {SEED:#x} map @addresses"),
            Pooling::Arbitrary => format!("numgen random mod {count} map @addresses"),
        }
    }

    /// The rule that writes the address into a packet which gets a fresh mapping.
    pub(super) fn choose(&self, chain: &mut Chain, l4: Protocol) {
        if self.all.len() > 1 {
            let pooling = match self.pooling {
                Pooling::Paired => {
                    "paired. All mappings of an inside host have the address that its own leads to"
                }
                Pooling::Arbitrary => "arbitrary. Each fresh mapping has any of them",
            };
            chain
                .note(format!("Addresses: {}, {pooling}.", self.all.len()))
                .rule(format!("meta l4proto {l4} ip saddr set {}", self.choice()));
        }
    }

    /// The rule that translates what has no ports.
    pub(super) fn of_others(&self) -> String {
        match self.all.len() {
            1 => "oifname \"wan\" masquerade".to_owned(),
            _ => format!("{OUTWARDS} snat ip to {}", self.choice()),
        }
    }
}
