//! One side's NATs as the other side meets them: what is known of its next external port, and who is let in.

use std::ops::Range;

use crate::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Mapping, Overloading, Pool, Translation, UnsolicitedSyn,
};
use crate::model::port_set::MapShare;
use crate::model::suite::{LOCAL_PORTS, LowPorts};

use super::birthday::{Draws, WIDEST_RANGE};
use super::pooling::AddressKnowledge;
use super::ports;

/// The pool for source ports from 512 to 1023, which the kernel maps to 600 to 1023
/// (`nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).
const LOW: Draws = Draws::Even { ports: 424 };

/// Hosts behind one NAT among which the peers are, in any wiring that comes with testbed.
const FIRST_HOSTS: u32 = 4;

/// What the other side knows of this side's next external port.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PortKnowledge {
    /// It is the one that was observed, whatever the destination.
    Known,
    /// It is known for the first connection from a fresh internal port, and not for a second one.
    KnownOnce,
    /// It is kept for some internal ports and not for others, and nobody says which one is punched from.
    KeptForSome,
    /// Each new connection has the next one.
    Counted,
    /// Each new connection draws one.
    Drawn(Draws),
}

/// A side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    nats: &'a [&'a Behavior],
    /// From source ports of the process's choice.
    pub(super) port: PortKnowledge,
    /// Whose address its SYNs come from.
    pub(super) address: AddressKnowledge,
    /// From source ports below 1024, where they make a difference and may be used.
    pub(super) low: Option<Draws>,
}

impl<'a> Side<'a> {
    /// A side behind these NATs, innermost first.
    pub(super) fn of(nats: &'a [&'a Behavior], low_ports: LowPorts) -> Self {
        let port = nats.iter().fold(PortKnowledge::Known, |inside, nat| behind(nat, inside));
        let draws = matches!(port, PortKnowledge::Drawn(_));
        let keeps_low = nats.iter().all(|nat| keeps_low_ports(nat));
        let low = (draws && keeps_low && low_ports == LowPorts::Allowed).then_some(LOW);
        Self { nats, port, address: AddressKnowledge::behind(nats), low }
    }

    /// How many of its NATs translate.
    pub(super) fn translations(&self) -> usize {
        self.nats.iter().filter(|nat| nat.translation == Translation::Nat).count()
    }

    /// What it draws from; `None` if nothing is drawn.
    pub(super) fn draws(&self) -> Option<Draws> {
        match self.port {
            PortKnowledge::Drawn(draws) => Some(draws),
            PortKnowledge::Known
            | PortKnowledge::KnownOnce
            | PortKnowledge::KeptForSome
            | PortKnowledge::Counted => None,
        }
    }

    /// Among how many ports the external one is that may be the internal one: 1 where it is kept.
    pub(super) fn kept_among(&self) -> u32 {
        self.changing().map(ports).max().unwrap_or(1)
    }

    /// The NATs that change the port.
    fn changing(&self) -> impl Iterator<Item = &'a Behavior> {
        let changes = |nat: &&Behavior| {
            let preserves =
                nat.allocation == Allocation::Preserving && kept_ports(nat) != KeptPorts::NoneOfPeers;
            nat.translation == Translation::Nat && !preserves
        };
        self.nats.iter().copied().filter(changes)
    }

    /// Probability that the external port is the internal one, where the pool has that.
    pub(super) fn kept_chance(&self) -> f64 {
        let chance = |nat: &Behavior| match nat.pool {
            // The kernel draws the ports of [`LOCAL_PORTS`] once in 65,536 times each.
            Pool::Kernel => 1.0 / 65_536.0,
            Pool::Range(_) | Pool::Ranges(_) | Pool::Blocks { .. } => 1.0 / f64::from(ports(nat)),
        };
        self.changing().map(chance).product()
    }

    /// Probability that a counter comes to the end of its pool while it is measured or punched through, so that it is taken for
    /// a NAT that draws: one of the two mappings before and after its newest is the last of the pool.
    pub(super) fn end_of_pool(&self) -> f64 {
        let counts = |nat: &&&Behavior| match nat.allocation {
            Allocation::Sequential { .. } => true,
            Allocation::Preserving => nat.collision == Collision::Sequential,
            Allocation::Random | Allocation::Hash { .. } => false,
        };
        self.nats.iter().filter(counts).copied().map(|nat| 2.0 / f64::from(ports(nat))).sum::<f64>().min(1.0)
    }

    /// Whether no NAT of it that changes the port has any of these in its pool.
    pub(super) fn never_kept(&self, local: &Range<u16>) -> bool {
        let beside = |low: u32, high: u32| high < u32::from(local.start) || low >= u32::from(local.end);
        self.changing().any(|nat| match nat.pool {
            Pool::Kernel => false,
            Pool::Range(range) => beside(range.low.into(), range.high.into()),
            Pool::Ranges(ports) => {
                ports.ranges().iter().all(|range| beside(range.low.into(), range.high.into()))
            }
            // Peers are among the first hosts behind their NAT, and blocks are given in the order of the hosts.
            Pool::Blocks { range, size } => {
                let end = u32::from(range.low) + FIRST_HOSTS * u32::from(size);
                beside(range.low.into(), end.min(range.high.into()))
            }
        })
    }

    /// Whether all of them have all of these.
    pub(super) fn always_kept(&self, local: &Range<u16>) -> bool {
        self.changing().all(|nat| match nat.pool {
            Pool::Kernel => true,
            Pool::Range(range) => range.low <= local.start && range.high >= local.end - 1,
            Pool::Ranges(_) | Pool::Blocks { .. } => false,
        })
    }

    /// Whether a dial that was reset gets another port when it is made again: the reset ends the mapping, and nothing
    /// remembers it.
    pub(super) fn redraws(&self) -> bool {
        self.nats.iter().any(|nat| {
            nat.translation == Translation::Nat
                && nat.mapping == Mapping::AddressAndPortDependent
                && nat.allocation == Allocation::Random
        })
    }

    /// What a NAT of it does with a SYN from an address that it has sent to, and from another port; `None` where none refuses it, and
    /// it comes to a host that expects nobody there and resets it.
    fn refusal_of_dials(&self) -> Option<UnsolicitedSyn> {
        // From outside inwards.
        let refusing = self.nats.iter().rev().find(|nat| {
            nat.translation != Translation::Router && nat.filtering == Filtering::AddressAndPortDependent
        });
        refusing.map(|nat| nat.unsolicited_syn)
    }

    /// Whether such a SYN is answered by a reset.
    pub(super) fn resets_dials(&self) -> bool {
        self.refusal_of_dials().is_none_or(|refusal| match refusal {
            UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel => true,
            UnsolicitedSyn::Drop | UnsolicitedSyn::Icmp(_) | UnsolicitedSyn::IcmpAfterSixSeconds => false,
        })
    }

    /// Whether such a SYN is answered at all, so that whoever sent it dials again.
    pub(super) fn answers_dials(&self) -> bool {
        self.refusal_of_dials().is_none_or(|refusal| match refusal {
            UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel | UnsolicitedSyn::Icmp(_) => true,
            UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds => false,
        })
    }

    /// Whether a SYN to a port that no mapping has is answered.
    pub(super) fn answers_strangers(&self) -> bool {
        let outermost = self.nats.iter().rev().find(|nat| nat.translation != Translation::Router);
        outermost.is_none_or(|nat| match nat.unsolicited_syn {
            UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel | UnsolicitedSyn::Icmp(_) => true,
            UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds => false,
        })
    }

    /// Whether guesses at what it draws may lie beside its ports: a few draws show the bounds of a narrow range, and the bits that the
    /// ports of a share have in common, as `docs/puncher.md` says, but no other gaps.
    pub(super) fn may_be_missed(&self) -> bool {
        /// Fewer bits in common may be chance.
        const SHORTEST_IDENTIFIER: u32 = 5;
        let hidden = |nat: &Behavior| match nat.pool {
            Pool::Kernel => false,
            Pool::Range(_) | Pool::Blocks { .. } => ports(nat) > WIDEST_RANGE,
            Pool::Ranges(ranges) => {
                MapShare::of(ranges).is_none_or(|share| share.length < SHORTEST_IDENTIFIER)
            }
        };
        self.draws().is_some() && self.changing().any(hidden)
    }

    /// Whether its external and internal endpoints are the same.
    pub(super) fn is_untranslated(&self) -> bool {
        self.nats.iter().all(|nat| nat.translation != Translation::Nat)
    }

    /// Whether a SYN from an address that it has sent to gets in, from any port.
    pub(super) fn admits_address(&self) -> bool {
        let lets_in = |nat: &&Behavior| {
            nat.translation == Translation::Router || nat.filtering != Filtering::AddressAndPortDependent
        };
        self.nats.iter().all(lets_in)
    }

    /// Whether a SYN from anyone gets in.
    pub(super) fn admits_anyone(&self) -> bool {
        super::admits_stranger(self.nats)
    }

    /// Whether a NAT of it refuses a SYN from where a SYN went to.
    pub(super) fn refuses_syn_after_syn(&self) -> bool {
        let refuses = |nat: &&Behavior| nat.translation != Translation::Router && !nat.syn_after_syn.passes();
        self.nats.iter().any(refuses)
    }
}

/// What is known of a port behind one more NAT.
fn behind(nat: &Behavior, inside: PortKnowledge) -> PortKnowledge {
    if nat.translation != Translation::Nat {
        return inside;
    }
    let own = match nat.allocation {
        Allocation::Preserving if nat.mapping == Mapping::EndpointIndependent => return inside,
        // Each internal endpoint's first connection keeps its port; what is drawn inside is always a new one.
        Allocation::Preserving => return kept_once(nat, inside),
        Allocation::Sequential { .. } => PortKnowledge::Counted,
        Allocation::Random if nat.pool == Pool::Kernel => PortKnowledge::Drawn(Draws::Kernel),
        Allocation::Random => PortKnowledge::Drawn(drawn_from(nat)),
        Allocation::Hash { .. } => PortKnowledge::Drawn(Draws::Hashed { ports: ports(nat) }),
    };
    // An endpoint-independent mapping can be observed, whatever its allocation, as long as the inside stays the same.
    if nat.mapping == Mapping::EndpointIndependent && inside == PortKnowledge::Known {
        PortKnowledge::Known
    } else {
        own
    }
}

/// Behind a NAT that keeps the port of an endpoint's first mapping, if its pool has that.
fn kept_once(nat: &Behavior, inside: PortKnowledge) -> PortKnowledge {
    match (kept_ports(nat), inside) {
        (KeptPorts::OfPeers, PortKnowledge::Known) => PortKnowledge::KnownOnce,
        (KeptPorts::All, PortKnowledge::Known) => PortKnowledge::KnownOnce,
        (KeptPorts::All, _) => inside,
        (KeptPorts::NoneOfPeers, PortKnowledge::Known | PortKnowledge::KnownOnce) => match nat.collision {
            Collision::Sequential => PortKnowledge::Counted,
            Collision::Random => PortKnowledge::Drawn(drawn_from(nat)),
        },
        // The port that an inner NAT gives may lie in the pool or not.
        (KeptPorts::OfPeers | KeptPorts::NoneOfPeers | KeptPorts::Some, _) => PortKnowledge::KeptForSome,
    }
}

/// The ports that a NAT keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeptPorts {
    /// Whatever they are.
    All,
    /// Those that peers punch from, and not all others.
    OfPeers,
    /// Some of these.
    Some,
    /// None that a peer punches from, nor any that a system picks.
    NoneOfPeers,
}

/// Which ports a NAT that preserves keeps: those of its pool.
fn kept_ports(nat: &Behavior) -> KeptPorts {
    /// What systems pick from by themselves, and our puncher with them (`net.ipv4.ip_local_port_range`).
    const EPHEMERAL: Range<u16> = 32_768..61_000;
    let Pool::Range(range) = nat.pool else {
        return if nat.pool == Pool::Kernel { KeptPorts::All } else { KeptPorts::Some };
    };
    let beside = |ports: &Range<u16>| range.high < ports.start || range.low >= ports.end;
    if range.low <= LOCAL_PORTS.start && range.high >= LOCAL_PORTS.end - 1 {
        KeptPorts::OfPeers
    } else if beside(&LOCAL_PORTS) && beside(&EPHEMERAL) {
        KeptPorts::NoneOfPeers
    } else {
        KeptPorts::Some
    }
}

/// How a NAT draws from ports of its own. One that shares none draws from all its ranges at once, and again what is taken.
fn drawn_from(nat: &Behavior) -> Draws {
    match (nat.pool, nat.overloading) {
        (Pool::Ranges(ranges), Overloading::On) => Draws::Ranges(ranges),
        _ => Draws::Even { ports: ports(nat) },
    }
}

/// Whether low source ports stay in the small pool: RFC 4787 REQ-3 asks for it, and the kernel's own pool does it.
fn keeps_low_ports(nat: &Behavior) -> bool {
    let by_kernel = matches!(nat.allocation, Allocation::Preserving | Allocation::Random);
    nat.translation != Translation::Nat || (by_kernel && nat.pool == Pool::Kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(mapping: Mapping, allocation: Allocation) -> Behavior {
        Behavior { mapping, allocation, ..Behavior::port_preserving() }
    }

    fn port(nats: &[&Behavior]) -> PortKnowledge {
        Side::of(nats, LowPorts::Allowed).port
    }

    #[test]
    fn a_chain_of_nats_is_as_hard_as_what_it_makes_of_a_port() {
        use Mapping::{AddressAndPortDependent as Apdm, EndpointIndependent as Eim};
        let kept = Behavior::port_preserving();
        let random = nat(Apdm, Allocation::Random);
        let eim_random = nat(Eim, Allocation::Random);
        let counts = nat(Apdm, Allocation::Sequential { step: 1 });
        let once = nat(Apdm, Allocation::Preserving);
        for (nats, expected) in [
            (&[][..], PortKnowledge::Known),
            (&[&kept, &eim_random], PortKnowledge::Known),
            (&[&random, &kept], PortKnowledge::Drawn(Draws::Kernel)),
            (&[&random, &eim_random], PortKnowledge::Drawn(Draws::Kernel)),
            (&[&random, &counts], PortKnowledge::Counted),
            (&[&counts, &random], PortKnowledge::Drawn(Draws::Kernel)),
            (&[&once], PortKnowledge::KnownOnce),
            (&[&kept, &once, &kept], PortKnowledge::KnownOnce),
            (&[&random, &once], PortKnowledge::Drawn(Draws::Kernel)),
        ] {
            assert_eq!(port(nats), expected, "{nats:?}");
        }
    }

    #[test]
    fn a_port_is_kept_if_the_pool_has_it() {
        use crate::model::behavior::PortRange;
        let once = nat(Mapping::AddressAndPortDependent, Allocation::Preserving);
        let of = |low, high, collision| {
            port(&[&Behavior { pool: Pool::Range(PortRange { low, high }), collision, ..once }])
        };
        assert_eq!(of(4_000, 19_999, Collision::Sequential), PortKnowledge::KnownOnce);
        assert_eq!(of(4_000, 19_998, Collision::Sequential), PortKnowledge::KeptForSome);
        assert_eq!(of(20_000, 32_767, Collision::Sequential), PortKnowledge::Counted);
        assert_eq!(of(20_000, 32_768, Collision::Sequential), PortKnowledge::KeptForSome);
        let drawn = PortKnowledge::Drawn(Draws::Even { ports: 1_000 });
        assert_eq!(of(20_000, 20_999, Collision::Random), drawn);
    }

    #[test]
    fn low_ports_help_where_every_nat_keeps_them_low() {
        let random = nat(Mapping::AddressAndPortDependent, Allocation::Random);
        let kept = Behavior::port_preserving();
        let ranged = Behavior {
            pool: Pool::Range(crate::model::behavior::PortRange { low: 40_000, high: 40_999 }),
            ..random
        };
        let low = |nats: &[&Behavior], allowed| Side::of(nats, allowed).low;
        assert_eq!(low(&[&random, &kept], LowPorts::Allowed), Some(LOW));
        assert_eq!(low(&[&random], LowPorts::Forbidden), None);
        assert_eq!(low(&[&ranged], LowPorts::Allowed), None);
        assert_eq!(low(&[&random, &ranged], LowPorts::Allowed), None);
        assert_eq!(low(&[&kept], LowPorts::Allowed), None, "nothing is drawn");
    }
}
