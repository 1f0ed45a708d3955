//! What the routers on the way say of it: how many NATs there are, how far the outermost is, and whether an address is its
//! own. Pure.

use std::net::Ipv4Addr;

/// The private networks on the way out: each change of network is a translation that can be seen.
pub(super) fn layers(routers: &[Option<Ipv4Addr>]) -> u8 {
    let inside = routers.iter().take_while(|router| router.is_none_or(|address| network(address).is_some()));
    let mut networks: Vec<u8> = inside.flatten().filter_map(|address| network(*address)).collect();
    networks.dedup();
    u8::try_from(networks.len()).unwrap_or(u8::MAX)
}

/// One hop more than the last router inside: what passes it has passed all NATs on the way.
#[must_use]
pub(crate) fn hops(routers: &[Option<Ipv4Addr>]) -> Option<u8> {
    let inside = |router: &Option<Ipv4Addr>| router.is_some_and(|address| network(address).is_some());
    let last = routers.iter().rposition(inside)?;
    u8::try_from(last + 2).ok()
}

/// Which of the private (RFC 1918) or shared (RFC 6598) networks an address is in.
fn network(address: Ipv4Addr) -> Option<u8> {
    match address.octets() {
        [10, ..] => Some(10),
        [172, 16..=31, ..] => Some(172),
        [192, 168, ..] => Some(192),
        [100, 64..=127, ..] => Some(100),
        [169, 254, ..] => Some(169),
        _ => None,
    }
}

/// What came back for a SYN of this many hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeFate {
    /// It arrived, and was answered or not.
    Ended,
    /// A router says that it had lived too long.
    Died(Ipv4Addr),
    /// A router says that there is no way.
    NoWay,
}

/// Whether an address that is said to be this side's own is that of a NAT on its way out, by SYNs of 1, 2, … hops towards
/// the server and towards that address.
///
/// What goes to the own NAT ends there: the router that says of a SYN towards the server that it has lived too long says
/// nothing of one towards itself, nor does any router beyond. A SYN to anybody else dies where the other dies. When the
/// NAT says nothing of either, nothing is known.
#[must_use]
pub(crate) fn is_own_address(towards_server: &[Option<Ipv4Addr>], towards_it: &[ProbeFate]) -> bool {
    let ends = towards_it.iter().position(|fate| !matches!(fate, ProbeFate::Died(_)));
    let Some(ends) = ends else { return false };
    let stays_ended = towards_it[ends..].iter().all(|fate| *fate == ProbeFate::Ended);
    stays_ended && towards_server.get(ends).is_some_and(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(last: u8) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::new(10, 0, 0, last))
    }

    fn died(last: u8) -> ProbeFate {
        ProbeFate::Died(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn an_address_is_own_when_what_goes_there_ends_at_a_nat_on_the_way() {
        use ProbeFate::{Ended, NoWay};
        let way = [router(1), router(2), router(3)];
        let cases = [
            (&[Ended, Ended, Ended, Ended][..], true, "the first NAT's"),
            (&[died(1), Ended, Ended, Ended], true, "the second NAT's"),
            (&[died(1), died(2), died(3), died(4)], false, "somebody far away"),
            (&[died(1), died(2), died(3), Ended], false, "somebody behind the last router that is known"),
            (&[died(1), NoWay, NoWay, NoWay], false, "nobody"),
            (&[Ended, died(2), Ended, Ended], false, "an answer was lost"),
            (&[], false, "nothing was tried"),
        ];
        for (fates, expected, what) in cases {
            assert_eq!(is_own_address(&way, fates), expected, "{what}");
        }
        assert!(!is_own_address(&[None, router(2)], &[Ended, Ended]), "a NAT that never says anything");
        assert!(!is_own_address(&[], &[Ended]), "a server next door");
    }
}
