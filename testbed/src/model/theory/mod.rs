//! Behaviours and a method with its declared budget -> the probability of success, and the words for why. Pure.
//!
//! Theory knows the methods of our own puncher by name. For a program whose method it does not know it says nothing.

pub mod birthday;

use std::time::Duration;

use crate::model::behavior::{
    Allocation, Behavior, Filtering, Mapping, Pool, SynAfterSyn, Translation, UnsolicitedSyn,
};
use crate::model::outcome::Expectation;
use crate::model::suite::Budget;

/// The methods that theory knows.
pub const METHODS: &[&str] = &["simultaneous-open"];

/// All that decides a cell, as far as theory knows.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The NATs of side a, innermost first; none for a public host.
    pub a: Vec<&'a Behavior>,
    /// The NATs of side b.
    pub b: Vec<&'a Behavior>,
    /// The NATs above both peers, innermost first: where the ways of the two meet is below the core. Empty if only
    /// the core is above both.
    pub common: Vec<&'a Behavior>,
    /// Mappings that other hosts behind NAT-a and NAT-b make between the measurement and the punch: as many each.
    pub competing: [u32; 2],
    /// The method's name.
    pub method: &'a str,
    /// What each side may spend.
    pub budget: Budget,
    /// How much later than a, b begins; negative if earlier.
    pub skew_ms: f64,
    /// One way from peer to peer.
    pub trip: Duration,
}

/// Probability and reason; `None` for a method that theory does not know.
#[must_use]
pub fn expect(situation: &Situation<'_>) -> Option<Expectation> {
    match situation.method {
        "simultaneous-open" => Some(simultaneous_open(situation)),
        _ => None,
    }
}

/// One socket a side, to the one predicted endpoint of the other; redials after a refusal.
fn simultaneous_open(situation: &Situation<'_>) -> Expectation {
    let (a, b) = (Side::of(&situation.a), Side::of(&situation.b));
    if a.refuses_syn_after_syn && b.refuses_syn_after_syn {
        return certain_failure("both NATs refuse a SYN from where a SYN went to, so neither SYN can pass");
    }
    let late = Duration::from_secs_f64(situation.skew_ms.abs() / 1000.0);
    if late + 3 * situation.trip >= situation.budget.deadline {
        return certain_failure("one side begins so late that the other has given up");
    }
    match (a.pool, b.pool) {
        (None, None) => Expectation {
            probability: 1.0,
            because: "both external ports can be predicted, so each SYN opens the way for the other"
                .to_owned(),
        },
        (pool_a, pool_b) => {
            let hit = |pool: Option<u32>| pool.map_or(1.0, |ports| 1.0 / f64::from(ports));
            let ports = pool_a.unwrap_or(1).max(pool_b.unwrap_or(1));
            let who = match (pool_a, pool_b) {
                (Some(_), Some(_)) => "both NATs draw",
                (Some(_), None) => "NAT-a draws",
                _ => "NAT-b draws",
            };
            Expectation {
                probability: hit(pool_a) * hit(pool_b),
                because: format!("{who} a new port for every connection, and one guess in {ports} hits it"),
            }
        }
    }
}

fn certain_failure(because: &str) -> Expectation {
    Expectation { probability: 0.0, because: because.to_owned() }
}

/// One side's NATs as the other side meets them.
#[derive(Debug, Clone, Copy)]
struct Side {
    /// The number of ports among which a guess must choose; `None` if the port can be predicted.
    pool: Option<u32>,
    refuses_syn_after_syn: bool,
}

impl Side {
    fn of(nats: &[&Behavior]) -> Self {
        let unpredictable = nats.iter().filter(|n| !n.is_predictable());
        Self {
            pool: unpredictable.map(|n| ports(n)).max(),
            refuses_syn_after_syn: nats.iter().any(|n| n.syn_after_syn != SynAfterSyn::Accept),
        }
    }
}

/// How many ports a new mapping is drawn from, for source ports from 1024 up.
///
/// The kernel's own pool is 1024 to 65535 (`net/netfilter/nf_nat_core.c`).
#[must_use]
pub fn ports(nat: &Behavior) -> u32 {
    match nat.pool {
        Pool::Kernel => 65_536 - 1024,
        Pool::Range(range) => range.size(),
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
    let mapping = match nat.mapping {
        Mapping::EndpointIndependent => "endpoint-independent mapping",
        Mapping::AddressDependent => "address-dependent mapping",
        Mapping::AddressAndPortDependent => "address-and-port-dependent mapping",
    };
    let allocation = match nat.allocation {
        Allocation::Preserving => "preserving".to_owned(),
        Allocation::Sequential { step } => format!("sequential by {step:+}"),
        Allocation::Random => "random".to_owned(),
        Allocation::Hash { .. } => "by hash".to_owned(),
    };
    let filtering = match nat.filtering {
        Filtering::EndpointIndependent => "endpoint-independent filtering",
        Filtering::AddressDependent => "address-dependent filtering",
        Filtering::AddressAndPortDependent => "address-and-port-dependent filtering",
    };
    let answer = match nat.unsolicited_syn {
        UnsolicitedSyn::Drop => "drops",
        UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel => "resets",
        UnsolicitedSyn::Icmp(_) | UnsolicitedSyn::IcmpAfterSixSeconds => "ICMP to",
    };
    format!("{mapping}, {allocation}, {filtering}, {answer} unsolicited SYNs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Behavior {
        Behavior {
            mapping: Mapping::AddressAndPortDependent,
            allocation: Allocation::Random,
            ..Behavior::port_preserving()
        }
    }

    fn sequential() -> Behavior {
        Behavior {
            mapping: Mapping::AddressAndPortDependent,
            allocation: Allocation::Sequential { step: 1 },
            ..Behavior::port_preserving()
        }
    }

    fn chance(a: &Behavior, b: &Behavior) -> f64 {
        let situation = Situation {
            a: vec![a],
            b: vec![b],
            common: Vec::new(),
            competing: [0, 0],
            method: "simultaneous-open",
            budget: Budget::default(),
            skew_ms: 0.0,
            trip: Duration::from_millis(10),
        };
        expect(&situation).expect("a known method").probability
    }

    #[test]
    fn two_predictable_nats_always_connect() {
        for a in [Behavior::port_preserving(), sequential()] {
            for b in [Behavior::port_preserving(), sequential()] {
                assert!((chance(&a, &b) - 1.0).abs() < f64::EPSILON);
            }
        }
    }

    #[test]
    fn a_random_nat_is_one_guess_in_the_pool() {
        let p = chance(&Behavior::port_preserving(), &random());
        assert!((p - 1.0 / 64512.0).abs() < 1e-12, "{p}");
        let q = chance(&random(), &random());
        assert!((q - p * p).abs() < 1e-15, "{q}");
    }

    #[test]
    fn nothing_passes_two_nats_that_refuse_a_syn_after_a_syn() {
        let refuses = Behavior { syn_after_syn: SynAfterSyn::Drop, ..Behavior::port_preserving() };
        assert!(chance(&refuses, &refuses) < f64::EPSILON);
        assert!((chance(&refuses, &Behavior::port_preserving()) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_unknown_method_has_no_theory() {
        let nat = Behavior::port_preserving();
        let situation = Situation {
            a: vec![&nat],
            b: vec![&nat],
            common: Vec::new(),
            competing: [0, 0],
            method: "their-own",
            budget: Budget::default(),
            skew_ms: 0.0,
            trip: Duration::ZERO,
        };
        assert!(expect(&situation).is_none());
    }
}
