//! What one side knows of both when a round starts. Both sides see the same, mirrored, so that they decide alike.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address_policy::ServerTrust;
use crate::classify::{Allocation, Observation, allocation};
use crate::meeting::Role;
use crate::socket::SynTtl;

/// What a side says about itself, under seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideFacts {
    /// Its internal endpoint: address, and port to punch from.
    pub local: SocketAddrV4,
    /// Its other internal addresses, where the system may choose which one it uses.
    #[serde(default)]
    pub addresses: Vec<Ipv4Addr>,
    /// Mappings, in the order in which they were made; the first is of that port.
    pub observations: Vec<Observation>,
    /// The mapping of a source port below 1024, when it may bind one and has measured it.
    pub low: Option<SocketAddrV4>,
    /// Whether its external port holds for one dial only, because its NAT keeps a port once.
    pub kept_once: bool,
    /// Whether a reset or an ICMP error has come back for one of its dials.
    pub refused: bool,
    /// SYNs it may still send.
    pub syns: u32,
    /// Hops that its SYN must live to have passed its own NATs.
    pub hops: u8,
    /// Whether it has found its external address confirmed by more than the word of the rendezvous server: by SYNs of few
    /// hops, or because it is its own.
    pub address_confirmed: bool,
}

/// SYNs that may go to an address of which only the rendezvous server says that it is the peer's: enough to meet, too few
/// to harm a stranger.
pub const UNCONFIRMED_SYNS: u32 = 64;

/// A SYN of one hop dies in the first NAT, before it is translated.
const LEAST_HOPS: u8 = 2;

/// How far a side can be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictability {
    /// One external endpoint for every destination.
    Fixed,
    /// The next ones can be computed.
    Counting,
    /// Each is drawn.
    Random,
}

impl SideFacts {
    /// How far it can be predicted.
    #[must_use]
    pub fn predictability(&self) -> Predictability {
        match allocation(&self.observations) {
            Some(Allocation::None | Allocation::Preserving | Allocation::Observed) => Predictability::Fixed,
            Some(Allocation::Sequential { .. }) => Predictability::Counting,
            // Until it has moved to a port that has not spoken yet.
            Some(Allocation::Random | Allocation::KeptOnce) | None => Predictability::Random,
        }
    }

    /// Whether each dial has an external port of its own, so that neither guesses nor repetitions share one.
    #[must_use]
    pub fn changes_port(&self) -> bool {
        self.kept_once || self.predictability() == Predictability::Counting
    }

    /// Its external address, as last seen.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.observations.last().map(|seen| *seen.external.ip())
    }

    /// The external endpoint of the port it punches from, as it was seen first.
    #[must_use]
    pub fn observed(&self) -> Option<SocketAddrV4> {
        self.observations.first().map(|seen| seen.external)
    }
}

/// Both sides at the start of a round.
#[derive(Debug, Clone)]
pub struct RoundView {
    /// Counts from 1.
    pub round: u32,
    /// This side's role.
    pub role: Role,
    /// This side.
    pub own: SideFacts,
    /// The other.
    pub peer: SideFacts,
    /// One way from peer to peer, as far as it is known.
    pub trip: Duration,
    /// Random bytes that both sides have and nobody else.
    pub agreed: [u8; 32],
}

impl RoundView {
    /// Whether the two sides appear under one external address.
    #[must_use]
    pub fn same_address(&self) -> bool {
        self.own.address().is_some() && self.own.address() == self.peer.address()
    }

    /// Lowers what a side may spend towards an address that nothing confirms. Whether this side believes the server is its own
    /// affair, and so is the peer's: it may send more than is reckoned with here.
    pub fn limit_unconfirmed_syns(&mut self, trust: ServerTrust) {
        if !self.peer.address_confirmed && trust == ServerTrust::Confirmed {
            self.own.syns = self.own.syns.min(UNCONFIRMED_SYNS);
        }
        if !self.own.address_confirmed {
            self.peer.syns = self.peer.syns.min(UNCONFIRMED_SYNS);
        }
    }

    /// How far a SYN may go that opens a hole and must not be heard by the peer's NAT. Under one external address the two
    /// sides share the outermost NAT: the hole is in the one before it, and the SYN must die there.
    #[must_use]
    pub fn hole(&self) -> SynTtl {
        let hops = self.own.hops;
        let hops = if self.same_address() { hops.saturating_sub(1).max(LEAST_HOPS) } else { hops };
        // A router that did not answer may have been one of the NATs: try further, too.
        let further = self.round.saturating_sub(1) / 2 % 3;
        SynTtl::Limited(hops.saturating_add(further as u8))
    }

    /// A number below `below` that both sides know, another for each role of its use.
    #[must_use]
    pub fn agreed_number(&self, of: Role, below: u16) -> u16 {
        let at = usize::from(of.byte() == b'b') * 8;
        let number = u64::from_le_bytes(self.agreed[at..at + 8].try_into().expect("eight bytes"));
        u16::try_from(number % u64::from(below.max(1))).expect("below a u16")
    }

    /// This many trips, and never less than the least.
    #[must_use]
    pub fn trips(&self, count: u32, least: Duration) -> Duration {
        (self.trip * count).max(least)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::classify::tests::seen;

    pub(crate) fn side(external: &[u16]) -> SideFacts {
        SideFacts {
            local: "10.0.1.2:5000".parse().unwrap(),
            addresses: Vec::new(),
            observations: seen(external),
            low: None,
            kept_once: false,
            refused: false,
            syns: 1280,
            hops: 2,
            address_confirmed: true,
        }
    }

    pub(crate) fn view(role: Role, own: &[u16], peer: &[u16]) -> RoundView {
        let mut peer = side(peer);
        peer.observations.iter_mut().for_each(|seen| seen.external.set_ip([198, 51, 100, 2].into()));
        RoundView { round: 1, role, own: side(own), peer, trip: Duration::from_millis(10), agreed: [7; 32] }
    }

    /// The same, as the other side sees it.
    pub(crate) fn mirrored(view: &RoundView) -> RoundView {
        RoundView { role: view.role.other(), own: view.peer.clone(), peer: view.own.clone(), ..view.clone() }
    }

    #[test]
    fn kinds_are_told_from_observations() {
        assert_eq!(side(&[5000, 5000]).predictability(), Predictability::Fixed);
        assert_eq!(side(&[6000, 6000]).predictability(), Predictability::Fixed);
        assert_eq!(side(&[20000, 20001]).predictability(), Predictability::Counting);
        assert_eq!(side(&[20000, 50001]).predictability(), Predictability::Random);
    }

    #[test]
    fn few_syns_go_where_only_the_server_says_the_peer_is() {
        let mut here = view(Role::A, &[5000], &[6000]);
        here.peer.address_confirmed = false;
        let mut there = mirrored(&here);
        let mut trusting = here.clone();
        trusting.limit_unconfirmed_syns(ServerTrust::Full);
        assert_eq!((trusting.own.syns, trusting.peer.syns), (1280, 1280), "its own decision");
        here.limit_unconfirmed_syns(ServerTrust::Confirmed);
        there.limit_unconfirmed_syns(ServerTrust::Full);
        assert_eq!((here.own.syns, here.peer.syns), (UNCONFIRMED_SYNS, 1280));
        assert_eq!((there.own.syns, there.peer.syns), (1280, UNCONFIRMED_SYNS), "both know");
    }

    #[test]
    fn a_hole_is_less_deep_behind_a_common_nat() {
        let mut here = view(Role::A, &[5000], &[6000]);
        here.own.hops = 3;
        assert_eq!(here.hole(), SynTtl::Limited(3));
        here.peer.observations = here.own.observations.clone();
        assert_eq!(here.hole(), SynTtl::Limited(2));
        here.own.hops = 2;
        assert_eq!(here.hole(), SynTtl::Limited(2));
        here.round = 4;
        assert_eq!(here.hole(), SynTtl::Limited(3), "further in later rounds");
    }

    #[test]
    fn both_sides_agree_upon_numbers() {
        let here = view(Role::A, &[5000], &[6000]);
        let there = mirrored(&here);
        for role in [Role::A, Role::B] {
            assert_eq!(here.agreed_number(role, 424), there.agreed_number(role, 424));
            assert!(here.agreed_number(role, 424) < 424);
        }
    }
}
