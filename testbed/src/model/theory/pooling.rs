//! Whether the other side knows the address that a side's SYNs come from: a NAT with several may give any to a new mapping (RFC 4787
//! REQ-2).
//!
//! The rest of theory reckons as if each address were the one that was observed. Here the probability is lowered where it may
//! not be: whoever expects one of N addresses is right once in N times, and each further draw only helps, as long as the port is the one
//! that was expected.

use crate::model::behavior::{Behavior, Mapping, Pooling, Translation};
use crate::model::expectation::Expectation;

use super::method::Method;

/// What is known of the address that a SYN of a side comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressKnowledge {
    /// It is always the same.
    Fixed,
    /// It is the one that was observed for the same internal port, and one of so many for another.
    OfPort {
        /// Addresses that are equally likely.
        among: u8,
    },
    /// Each new mapping has one of so many.
    Drawn {
        /// Addresses that are equally likely.
        among: u8,
    },
}

impl AddressKnowledge {
    /// Behind these NATs, innermost first.
    pub(super) fn behind(nats: &[&Behavior]) -> Self {
        nats.iter().fold(Self::Fixed, |inside, nat| inside.through(nat))
    }

    /// Behind one more NAT.
    fn through(self, nat: &Behavior) -> Self {
        if nat.translation != Translation::Nat {
            return self;
        }
        let among = nat.addresses.count;
        match (nat.addresses.pooling, self, nat.mapping) {
            _ if among <= 1 => Self::Fixed,
            // To this NAT, each address inside is another host.
            (Pooling::Paired, Self::Fixed, _) => Self::Fixed,
            (Pooling::Paired, Self::OfPort { .. }, _) => Self::OfPort { among },
            (Pooling::Arbitrary, Self::Fixed | Self::OfPort { .. }, Mapping::EndpointIndependent) => {
                Self::OfPort { among }
            }
            (_, Self::Drawn { .. }, _) | (Pooling::Arbitrary, ..) => Self::Drawn { among },
        }
    }

    /// Among how many addresses the SYN's is that is expected from one.
    pub(super) fn among(self, origin: Origin) -> u8 {
        match (self, origin) {
            (Self::Fixed, _) | (Self::OfPort { .. }, Origin::ObservedPort) => 1,
            (Self::OfPort { among }, Origin::AnyPort) | (Self::Drawn { among }, _) => among,
        }
    }
}

/// The internal port that punching SYNs leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The one whose mapping the server saw.
    ObservedPort,
    /// Any.
    AnyPort,
}

/// Where the SYNs of a method come from; `meets` tells whether two predicted ports alone lead to a connection.
pub(super) fn origin(method: Method, meets: bool) -> Origin {
    match method {
        Method::SimultaneousOpen
        | Method::ObservedPort
        | Method::PreservedPort
        | Method::Sequential
        | Method::LowTtl => Origin::ObservedPort,
        // The first that it tries then.
        Method::Auto if meets => Origin::ObservedPort,
        Method::Auto
        | Method::Listen
        | Method::LowPort
        | Method::Spray
        | Method::Private
        | Method::Hairpin => Origin::AnyPort,
    }
}

/// Whether an address that is one of several decides alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortOfAddress {
    /// The port is right, whichever address it comes with.
    Certain,
    /// Another address may come with another port.
    Uncertain,
}

/// What is left of an expectation where one side's address is one of `among`, and of each such side.
///
/// Nothing is promised where the port is not certain: a NAT that finds its mapping at another address may draw a port, and a NAT above
/// it may draw one for a second mapping.
pub(super) fn lowered(expected: Expectation, among: &[(char, u8)], port: PortOfAddress) -> Expectation {
    let unknown: Vec<&(char, u8)> = among.iter().filter(|(_, among)| *among > 1).collect();
    if unknown.is_empty() || expected.high <= 0.0 {
        return expected;
    }
    let share: f64 = unknown.iter().map(|(_, among)| 1.0 / f64::from(*among)).product();
    let names = unknown.iter().map(|(name, among)| {
        format!(
            "NAT-{name} may give the punch another of its {among} addresses than the one that was observed"
        )
    });
    let names: Vec<String> = names.collect();
    let because = format!("{}; but {}", expected.because, names.join(", and "));
    let (low, because) = match port {
        PortOfAddress::Certain => (expected.low * share, because),
        PortOfAddress::Uncertain => (0.0, format!("{because}, and with another port")),
    };
    Expectation::between(expected.probability * share, [low, expected.high], because)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::ExternalAddresses;

    fn pool(mapping: Mapping, count: u8, pooling: Pooling) -> Behavior {
        let addresses = ExternalAddresses { count, pooling };
        Behavior { mapping, addresses, ..Behavior::port_preserving() }
    }

    #[test]
    fn an_address_is_known_unless_a_nat_draws_it() {
        use AddressKnowledge::{Drawn, Fixed, OfPort};
        use Mapping::{AddressAndPortDependent as Apdm, AddressDependent as Adm, EndpointIndependent as Eim};
        let one = Behavior::port_preserving();
        let paired = pool(Apdm, 3, Pooling::Paired);
        let arbitrary = |mapping| pool(mapping, 4, Pooling::Arbitrary);
        for (nats, expected) in [
            (&[][..], Fixed),
            (&[&one, &paired], Fixed),
            (&[&arbitrary(Eim)], OfPort { among: 4 }),
            (&[&arbitrary(Adm)], Drawn { among: 4 }),
            (&[&arbitrary(Apdm), &one], Fixed),
            (&[&arbitrary(Eim), &paired], OfPort { among: 3 }),
            (&[&arbitrary(Apdm), &paired], Drawn { among: 3 }),
            (&[&arbitrary(Apdm), &arbitrary(Eim)], Drawn { among: 4 }),
        ] {
            assert_eq!(AddressKnowledge::behind(nats), expected, "{nats:?}");
        }
    }

    #[test]
    fn a_mapping_that_was_observed_keeps_its_address() {
        let observed = AddressKnowledge::OfPort { among: 3 };
        let among = |method| observed.among(origin(method, true));
        assert_eq!([Method::SimultaneousOpen, Method::Listen, Method::Auto].map(among), [1, 3, 1]);
        assert_eq!(observed.among(origin(Method::Auto, false)), 3);
        let drawn = AddressKnowledge::Drawn { among: 3 };
        assert_eq!(drawn.among(Origin::ObservedPort), 3);
    }

    #[test]
    fn what_is_expected_is_lowered_by_the_addresses_that_may_come_and_no_further() {
        use PortOfAddress::{Certain, Uncertain};
        let among = [('a', 3), ('b', 1)];
        let expected = lowered(Expectation::exactly(0.9, "a reason"), &among, Certain);
        assert!((expected.low - 0.3).abs() < 1e-12 && (expected.high - 0.9).abs() < 1e-12, "{expected:?}");
        assert!(expected.because.starts_with("a reason; but NAT-a may give"), "{}", expected.because);
        let never = Expectation::exactly(0.0, "no way");
        assert_eq!(lowered(never.clone(), &among, Certain), never);
        let unsure = lowered(Expectation::exactly(0.9, "a reason"), &among, Uncertain);
        assert!(unsure.low <= 0.0 && (unsure.high - 0.9).abs() < 1e-12, "{unsure:?}");
    }
}
