//! NATs above both peers: a packet from one peer to the other's outer endpoint has to turn back there (hairpinning).
//!
//! Such a NAT is on no link that only one side uses. What it did is told by the peers' own links, on which a SYN left
//! and arrived or did not, and by the mappings that the NAT tracked.

use std::net::SocketAddrV4;

use super::{Admission, MARGIN};
use crate::judge::timeline::SegmentTrace;
use crate::model::address_pool::AddressPool;
use crate::model::behavior::{Behavior, Hairpinning, Translation};
use crate::model::evidence::{CtChange, CtEvent, Nanos};
use crate::model::topology::NodeName;

/// A NAT above both peers.
#[derive(Debug, Clone, Copy)]
pub struct CommonNat<'a> {
    /// Its node.
    pub node: &'a NodeName,
    /// Its outer addresses.
    pub address: AddressPool,
    /// What it declares.
    pub declared: &'a Behavior,
    /// What all NATs tracked.
    pub events: &'a [CtEvent],
}

impl CommonNat<'_> {
    /// When a mapping with this external endpoint came up first, if one did.
    fn mapped(&self, external: SocketAddrV4) -> Option<Nanos> {
        let of_it = self.events.iter().filter(|e| e.node == *self.node && e.change == CtChange::New);
        of_it.filter(|e| e.entry.reply.destination == external).map(|e| e.at).min()
    }
}

/// The NAT whose outer address a SYN went to.
fn addressed<'a, 'b>(syn: &SegmentTrace, common: &'b [CommonNat<'a>]) -> Option<&'b CommonNat<'a>> {
    let is_target = |nat: &&CommonNat<'_>| {
        nat.address.contains(*syn.tuple.destination.ip()) && nat.declared.translation == Translation::Nat
    };
    common.iter().find(is_target)
}

/// Why a SYN did not arrive.
pub(super) fn admission(syn: &SegmentTrace, common: &[CommonNat<'_>]) -> Admission {
    let Some(nat) = addressed(syn, common) else { return Admission::Lost };
    match (nat.declared.hairpinning, nat.mapped(syn.tuple.destination)) {
        (Hairpinning::Off, _) => Admission::NotTurned,
        (Hairpinning::On, None) => Admission::NoMapping,
        // It may have come up a moment too late.
        (Hairpinning::On, Some(at)) if at + MARGIN > syn.sent => Admission::NoMapping,
        (Hairpinning::On, Some(_)) if !nat.declared.syn_after_syn.passes() => Admission::SynAfterSyn,
        (Hairpinning::On, Some(_)) => Admission::Lost,
    }
}

/// Where a SYN arrived that could not.
pub(super) fn contradiction(syn: &SegmentTrace, common: &[CommonNat<'_>]) -> Option<String> {
    let nat = addressed(syn, common).filter(|_| syn.arrived.is_some())?;
    let what = match (nat.declared.hairpinning, nat.mapped(syn.tuple.destination)) {
        (Hairpinning::Off, _) => "was turned round, though it does not hairpin",
        (Hairpinning::On, None) => "was turned round to a host that has no mapping there",
        (Hairpinning::On, Some(_)) => return None,
    };
    Some(format!("NAT \"{}\": SYN {} {what}", nat.node, syn.tuple))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use std::net::Ipv4Addr;

    use super::*;
    use crate::judge::timeline::Role;
    use crate::model::behavior::SynAfterSyn;
    use crate::model::evidence::{CtEntry, Tuple};
    use crate::model::packet::Packet;

    const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const MS: Nanos = 1_000_000;

    fn end(host: [u8; 4], port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(host.into(), port)
    }

    /// A SYN from a host within to this address, sent at 100 ms.
    fn syn(to: Ipv4Addr, arrived: Option<Nanos>) -> SegmentTrace {
        let tuple = Tuple { source: end([10, 0, 0, 2], 4000), destination: SocketAddrV4::new(to, 5000) };
        let mut frame = Vec::new();
        let packet = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(tuple.source.ip().octets(), to.octets(), 64)
            .tcp(4000, 5000, 1, 64_000)
            .syn();
        packet.write(&mut frame, &[]).expect("a writable packet");
        let length = u32::try_from(frame.len()).expect("a short frame");
        let packet = Packet::decode(&frame, length).expect("a packet");
        SegmentTrace {
            from: Role::A,
            sent: 100 * MS,
            arrived,
            let_in: None,
            tuple,
            far: None,
            ttl: 64,
            packet,
            frame: 0,
        }
    }

    /// The NAT above both, in whose table the mapping of port 5000 came up at these times.
    fn events(node: &NodeName, came_up: &[Nanos]) -> Vec<CtEvent> {
        let remote = end([203, 0, 113, 1], 7000);
        let entry = CtEntry {
            original: Tuple { source: end([10, 0, 1, 2], 5000), destination: remote },
            reply: Tuple { source: remote, destination: SocketAddrV4::new(OUTER, 5000) },
            state: None,
            status: 0,
            id: 1,
        };
        let new =
            |at: &Nanos| CtEvent { node: node.clone(), at: *at, after: *at, change: CtChange::New, entry };
        came_up.iter().map(new).collect()
    }

    /// What becomes of a SYN to `to`, by a NAT that behaves so.
    fn asked(declared: &Behavior, came_up: &[Nanos], syn: &SegmentTrace) -> (Admission, Option<String>) {
        let node = NodeName::new("cgn").expect("a good name");
        let events = events(&node, came_up);
        let nats = [CommonNat { node: &node, address: OUTER.into(), declared, events: &events }];
        (admission(syn, &nats), contradiction(syn, &nats))
    }

    #[test]
    fn a_syn_that_did_not_arrive_is_explained_by_the_nat_that_had_to_turn_it_round() {
        let off = Behavior::port_preserving();
        let on = Behavior {
            hairpinning: Hairpinning::On,
            overloading: crate::model::behavior::Overloading::Off,
            ..off
        };
        let drops = Behavior { syn_after_syn: SynAfterSyn::Drop, ..on };
        let lost = syn(OUTER, None);
        for (declared, came_up, expected) in [
            (&off, &[MS][..], Admission::NotTurned),
            (&on, &[], Admission::NoMapping),
            (&on, &[MS], Admission::Lost),
            (&on, &[150 * MS, MS], Admission::Lost),
            (&on, &[100 * MS - MARGIN / 2], Admission::NoMapping),
            (&on, &[150 * MS], Admission::NoMapping),
            (&drops, &[MS], Admission::SynAfterSyn),
        ] {
            assert_eq!(asked(declared, came_up, &lost), (expected, None), "{declared:?} {came_up:?}");
        }
    }

    #[test]
    fn a_syn_that_arrived_although_nothing_could_turn_it_round_is_a_contradiction() {
        let off = Behavior::port_preserving();
        let on = Behavior { hairpinning: Hairpinning::On, ..off };
        let came = syn(OUTER, Some(110 * MS));
        let (_, why) = asked(&off, &[MS], &came);
        assert_eq!(
            why.as_deref(),
            Some(
                format!("NAT \"cgn\": SYN {} was turned round, though it does not hairpin", came.tuple)
                    .as_str()
            )
        );
        assert!(
            asked(&on, &[], &came)
                .1
                .expect("a contradiction")
                .ends_with("to a host that has no mapping there")
        );
        assert_eq!(asked(&on, &[MS], &came).1, None);
    }

    #[test]
    fn what_went_elsewhere_was_not_for_this_nat_to_turn_round() {
        let router = Behavior::router();
        let elsewhere = syn(Ipv4Addr::new(198, 51, 100, 2), Some(110 * MS));
        assert_eq!(asked(&Behavior::port_preserving(), &[], &elsewhere), (Admission::Lost, None));
        // What translates nothing has no endpoints of its own that it could turn packets round for.
        assert_eq!(asked(&router, &[], &syn(OUTER, Some(110 * MS))), (Admission::Lost, None));
    }
}
