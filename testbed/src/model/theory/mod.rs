//! Behaviours and a method with its declared budget -> the probability of success, and the words for why. Pure.
//!
//! Theory knows the methods of our own puncher by name. For a program whose method it does not know it says nothing.

pub mod birthday;
mod method;
mod pair;
mod pooling;
mod redial;
mod side;

use std::time::Duration;

use crate::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Mapping, Pool, Translation, UnsolicitedSyn,
};
use crate::model::outcome::Expectation;
use crate::model::suite::{Budget, Redial};

pub use method::Method;

/// The methods that theory knows, by name.
pub const METHODS: &[&str] = Method::WORDS;

/// All that decides a cell, as far as theory knows.
#[derive(Debug, Clone)]
pub struct TheoryInput<'a> {
    /// The NATs of side a, innermost first; none for a public host.
    pub a: Vec<&'a Behavior>,
    /// The NATs of side b.
    pub b: Vec<&'a Behavior>,
    /// The NATs above both peers, innermost first: where the ways of the two meet is below the core. Empty if only
    /// the core is above both.
    pub common: Vec<&'a Behavior>,
    /// Mappings that other hosts behind NAT-a and NAT-b make between the measurement and the punch: as many each.
    pub competing: [u32; 2],
    /// How the two punch.
    pub method: Method,
    /// What each side may spend.
    pub budget: Budget,
    /// How much later than a, b begins; negative if earlier.
    pub skew_ms: f64,
    /// One way from peer to peer.
    pub trip: Duration,
    /// One way from a to b's outermost NAT, and from b to a's.
    pub reach: [Duration; 2],
    /// What the programs do after a refusal; `None` for what the contract says of the method.
    pub redial: Option<Redial>,
}

/// Probability and reason.
#[must_use]
pub fn expect(input: &TheoryInput<'_>) -> Expectation {
    pair::expect(input)
}

/// How many ports a new mapping is drawn from, for source ports from 1024 up.
///
/// The kernel's own pool is 1024 to 65535 (`net/netfilter/nf_nat_core.c`).
#[must_use]
pub fn ports(nat: &Behavior) -> u32 {
    match nat.pool {
        Pool::Kernel => 65_536 - 1024,
        Pool::Range(range) => range.size(),
        Pool::Ranges(ports) => ports.size(),
        Pool::Blocks { size, .. } => u32::from(size),
    }
}

/// Whether a plain connect from a stranger to the external endpoint of a live mapping gets through to a listener.
///
/// The stranger is another address than the mapping was opened to. This is the negative control of every cell.
#[must_use]
pub fn admits_stranger(nats: &[&Behavior]) -> bool {
    let lets_in =
        |n: &&Behavior| n.translation == Translation::Router || n.filtering == Filtering::EndpointIndependent;
    nats.iter().all(lets_in)
}

/// A few words for people: `endpoint-independent mapping, preserving, address-and-port-dependent filtering`.
#[must_use]
pub fn describe(nat: &Behavior) -> String {
    let Behavior {
        mapping,
        allocation,
        collision,
        addresses,
        filtering,
        unsolicited_syn,
        // Read by `method` and `side`.
        translation: _,
        pool: _,
        syn_after_syn: _,
        hairpinning: _,
        // These do not change whether two NATs can be crossed.
        overloading: _,
        invalid_packets: _,
        strictness: _,
        timeouts: _,
        quota: _,
    } = nat;
    let mapping = match mapping {
        Mapping::EndpointIndependent => "endpoint-independent mapping",
        Mapping::AddressDependent => "address-dependent mapping",
        Mapping::AddressAndPortDependent => "address-and-port-dependent mapping",
    };
    let allocation = match allocation {
        Allocation::Preserving if *collision == Collision::Sequential => {
            "preserving, then sequential".to_owned()
        }
        Allocation::Preserving => "preserving".to_owned(),
        Allocation::Sequential { step } => format!("sequential by {step:+}"),
        Allocation::Random => "random".to_owned(),
        Allocation::Hash { .. } => "by hash".to_owned(),
    };
    let filtering = match filtering {
        Filtering::EndpointIndependent => "endpoint-independent filtering",
        Filtering::AddressDependent => "address-dependent filtering",
        Filtering::AddressAndPortDependent => "address-and-port-dependent filtering",
    };
    let answer = match unsolicited_syn {
        UnsolicitedSyn::Drop => "drops",
        UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel => "resets",
        UnsolicitedSyn::Icmp(_) | UnsolicitedSyn::IcmpAfterSixSeconds => "ICMP to",
    };
    let addresses = match addresses.count {
        1 => String::new(),
        count => format!(" of {count} addresses, {}", addresses.pooling),
    };
    format!("{mapping}, {allocation}{addresses}, {filtering}, {answer} unsolicited SYNs")
}

#[cfg(test)]
mod tests;
