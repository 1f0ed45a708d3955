//! Every trial proves its NATs again, for free: what they tracked must be what they declare.

use std::collections::BTreeSet;

use crate::lab::nat_rules::NatSite;
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::Catalogue;
use crate::model::evidence::{CtChange, CtEntry, CtEvent, Direction, Evidence, NatFlush};
use crate::model::outcome::{Cause, Failure};
use crate::model::packet::{Packet, TcpFlags};
use crate::model::topology::NodeName;
use crate::probe::prove::{Inconsistency, consistent};
use crate::run::prepared_cell::LabSpec;

/// The first mapping that a NAT would not have made if it behaved as it declares.
pub(super) fn contradiction(
    catalogue: &Catalogue,
    plan: &AddressPlan,
    setting: &LabSpec,
    evidence: &Evidence,
) -> Option<Failure> {
    let wrong = |(node, profile): (&NodeName, &String)| {
        let (declared, site) = (&catalogue.get(profile)?.behavior, NatSite::of(plan, node)?);
        let every = between_flushes(evidence, node, &site);
        let beside =
            |resets| every.iter().find_map(|entries| consistent(declared, &site, entries, resets).err());
        // Mostly it had made none, and all packets need not be looked through.
        let wrong = beside(0).and_then(|_| beside(own_resets(evidence, plan, node)));
        let Inconsistency { axis, why } = wrong?;
        let detail = format!(
            "NAT \"{profile}\" in \"{node}\" does not do what it declares ({axis}; conntrack): {why}"
        );
        Some(Cause::LabError.because(detail))
    };
    setting.nats.iter().find_map(wrong)
}

/// How many resets a NAT sent outside that it had made itself: they have made no hop.
fn own_resets(evidence: &Evidence, plan: &AddressPlan, node: &NodeName) -> usize {
    /// The kernel's `net.ipv4.ip_default_ttl`.
    const OWN_TTL: u8 = 64;
    let Some((uplink, own)) = plan.uplink(node).zip(plan.addresses(node)) else { return 0 };
    let out = evidence.frames.iter().filter(|frame| (frame.link, frame.direction) == (uplink, Direction::Up));
    let is_own = |packet: &Packet| {
        let resets = packet.tcp().is_some_and(|segment| segment.flags.contains(TcpFlags::RST));
        resets && packet.ttl == OWN_TTL && own.contains(*packet.source.ip())
    };
    out.filter_map(Packet::of).filter(is_own).count()
}

/// The entries that a NAT made from one time that it forgot everything to the next. Where one may have been made before and after such a
/// time, what came after it is left out.
fn between_flushes(evidence: &Evidence, node: &NodeName, site: &NatSite) -> Vec<Vec<CtEntry>> {
    let flushes: Vec<&NatFlush> = evidence.flushes_of(node).collect();
    let mut every = vec![Vec::new(); flushes.len() + 1];
    let mut untold = BTreeSet::new();
    for event in translated(evidence, node, site) {
        let at_least = flushes.iter().filter(|flush| flush.after < event.after).count();
        let at_most = flushes.iter().filter(|flush| flush.before <= event.at).count();
        untold.extend(at_least + 1..=at_most);
        every[at_least].extend((at_least == at_most).then_some(event.entry));
    }
    let told = (0..).zip(every).filter(|(place, _)| !untold.contains(place));
    told.map(|(_, entries)| entries).collect()
}

/// How the entries came up that a NAT made, in order, without those from one of its inner networks to another.
fn translated<'a>(
    evidence: &'a Evidence,
    node: &NodeName,
    site: &NatSite,
) -> impl Iterator<Item = &'a CtEvent> {
    let new = evidence.conntrack.iter().filter(move |e| e.node == *node && e.change == CtChange::New);
    let within = |entry: &CtEntry| {
        site.lans.iter().any(|(_, lan)| lan.contains(*entry.original.destination.ip()))
            && entry.original == entry.reply.reversed()
    };
    new.filter(move |event| !within(&event.entry))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddrV4;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::model::address_pool::NatAddressing;
    use crate::model::evidence::{CtState, Fate, Frame, Nanos, Tuple};
    use crate::model::topology::Topology;

    const S: Nanos = 1_000_000_000;

    fn said(profile: &str, external: [u16; 2]) -> Option<Failure> {
        said_with_flushes(profile, external, &[])
    }

    fn said_with_flushes(profile: &str, external: [u16; 2], flushes: &[Nanos]) -> Option<Failure> {
        said_with_reset(profile, external, flushes, None)
    }

    /// The second mapping is made 1 s after the first. The NAT sends a reset with this TTL.
    fn said_with_reset(
        profile: &str,
        external: [u16; 2],
        flushes: &[Nanos],
        reset: Option<u8>,
    ) -> Option<Failure> {
        let pair = Topology::named("pair").expect("it is embedded");
        let plan = AddressPlan::new(&pair, &NatAddressing::default()).expect("a good tree");
        let node = NodeName::new("nat-a").expect("a good name");
        let end = |text: &str| text.parse::<SocketAddrV4>().expect("an endpoint");
        let event = |(port, remote): (u16, &str)| {
            let entry = CtEntry {
                original: Tuple { source: end("10.0.0.2:4000"), destination: end(remote) },
                reply: Tuple { source: end(remote), destination: end(&format!("192.0.2.2:{port}")) },
                state: Some(CtState::SynSent),
                status: 0,
                id: u32::from(port),
            };
            let at = if remote == "203.0.113.1:7000" { S } else { 2 * S };
            CtEvent { node: node.clone(), at, after: at - S / 10, change: CtChange::New, entry }
        };
        let flush = |at: &Nanos| NatFlush { node: node.clone(), before: *at, after: *at + 1 };
        let flushes = flushes.iter().map(flush).collect();
        let remotes = ["203.0.113.1:7000", "203.0.113.2:7001"];
        let conntrack = external.into_iter().zip(remotes).map(event).collect();
        let uplink = plan.uplink(&node).expect("a NAT has one");
        let frames = reset.into_iter().map(|ttl| reset_on(uplink, ttl)).collect();
        let evidence = Evidence { frames, conntrack, flushes, ..Evidence::default() };
        let nats = BTreeMap::from([(node.clone(), profile.to_owned())]);
        let setting = LabSpec { wiring: 0, addressing: NatAddressing::default(), nats };
        contradiction(&Catalogue::embedded(), &plan, &setting, &evidence)
    }

    fn reset_on(link: u16, ttl: u8) -> Frame {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 2], [203, 0, 113, 9], ttl)
            .tcp(4000, 5000, 1, 0)
            .rst()
            .write(&mut bytes, &[])
            .expect("a writable packet");
        let length = u32::try_from(bytes.len()).expect("short");
        let (fate, direction) = (Fate::Delivered, Direction::Up);
        let bytes = bytes.into();
        Frame { link, direction, entered: S, due: S, left: S, fate, is_copy: false, length, bytes }
    }

    #[test]
    fn a_reset_that_a_nat_made_itself_may_have_taken_a_port() {
        let said = |reset| said_with_reset("sequential", [20_000, 20_002], &[], reset);
        assert_eq!(said(Some(64)), None);
        assert!(said(Some(63)).is_some(), "it came from a host");
        assert!(said(None).is_some());
    }

    #[test]
    fn a_mapping_that_the_declared_nat_would_not_make_is_an_error_of_the_lab() {
        assert_eq!(said("port-preserving", [4000, 4000]), None);
        assert_eq!(said("sequential", [20_000, 20_001]), None);
        let failure = said("port-preserving", [4000, 4001]).expect("two ports for one endpoint");
        assert_eq!(failure.cause, Cause::LabError);
        assert!(
            failure.detail.starts_with("NAT \"port-preserving\" in \"nat-a\" does not do"),
            "{failure:?}"
        );
        assert!(said("sequential", [20_000, 30_001]).is_some(), "a port outside the pool");
    }

    #[test]
    fn what_came_before_a_nat_forgot_everything_says_nothing_of_what_came_later() {
        let two_ports = |flushes: &[Nanos]| said_with_flushes("eim-random", [4000, 4001], flushes);
        assert!(two_ports(&[]).is_some());
        assert!(two_ports(&[S / 2]).is_some(), "before both");
        assert!(two_ports(&[5 * S / 2]).is_some(), "after both");
        assert_eq!(two_ports(&[3 * S / 2]), None);
        assert_eq!(two_ports(&[2 * S - S / 20]), None, "at about the time of the second");
        assert!(
            said_with_flushes("sequential", [20_000, 30_001], &[3 * S / 2]).is_some(),
            "outside the pool"
        );
    }
}
