//! SYNs that came to their own NAT and never left it: no port was free, the host had all it may have, or two flows
//! wanted the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::judge::cause::flow::lost_frame;
use crate::judge::cause::inside::InnerSyn;
use crate::judge::cause::tracking::{self, pair};
use crate::judge::cause::{Diagnosis, FailureContext};
use crate::judge::timeline::{Flow, Role, SegmentTrace};
use crate::model::behavior::{Behavior, Mapping, Pool};
use crate::model::evidence::{CtChange, CtEntry, CtEvent, Fate, Frame, Nanos, Tuple};
use crate::model::outcome::Cause;
use crate::model::packet::Packet;
use crate::model::topology::NodeName;

impl FailureContext<'_> {
    /// Why most of a side's SYNs, all that were aimed right, or all to the rendezvous server were kept by their own NAT.
    pub(super) fn kept_by_own_nat(&self) -> Option<Diagnosis> {
        Role::BOTH.into_iter().find_map(|role| self.kept_of(role))
    }

    fn kept_of(&self, role: Role) -> Option<Diagnosis> {
        let inside = self.inside(role);
        if !inside.watched || self.vantage(role).nats.is_empty() {
            return None;
        }
        let split = |server: bool| -> (Vec<&InnerSyn>, Vec<&InnerSyn>) {
            let came = inside.outward().filter(|s| s.left || !s.lost);
            let all = came.filter(|s| s.to_server == server);
            all.partition(|syn| !syn.left)
        };
        let (mut kept, left) = split(false);
        let right = |syn: &&&InnerSyn| self.is_aimed_right(role, syn);
        if kept.iter().any(|syn| right(&syn)) && !left.iter().any(|syn| right(&syn)) {
            kept.retain(|syn| self.is_aimed_right(role, syn));
        } else if kept.len() <= left.len() {
            kept = split(true).0;
            if kept.is_empty() || self.timeline.met_rendezvous.contains(&role) {
                return None;
            }
        }
        let syn = kept[0];
        let at = syn.passed.min(self.vantage(role).nats.len() - 1);
        let declared = if role == Role::A { self.case.declared.a } else { self.case.declared.b };
        let (cause, why) = self.why_kept(&self.vantage(role).nats[at], declared.get(at)?, syn);
        let node = &self.vantage(role).nats[at];
        let many = if kept.len() > 1 { format!(", the first of {}", kept.len()) } else { String::new() };
        let detail = format!("{node} let {}'s SYN {}{many} not out: {why}", role.letter(), syn.tuple);
        Some(Diagnosis::new(cause, detail).mark(syn.frame, format!("never left {node}: {why}")))
    }

    /// A host answered the other's SYN with a number of its own choice, although it had sent a SYN there: its NAT tracks that
    /// one, takes the answer for one of another connection, and drops it (`nf_conntrack_tcp_packet`).
    pub(super) fn answer_kept(&self, flow: &Flow) -> Option<Diagnosis> {
        Role::BOTH.into_iter().find_map(|role| {
            let inside = self.inside(role);
            let node = self.vantage(role).nats.first().filter(|_| inside.watched)?;
            let number = |segment: &SegmentTrace| segment.packet.tcp().map(|tcp| tcp.sequence);
            let own: BTreeSet<u32> = flow.syns(role).filter_map(number).collect();
            let others: BTreeSet<u32> = flow.syns(role.other()).filter_map(number).collect();
            let left: BTreeSet<u32> =
                flow.segments.iter().filter(|s| s.from == role && s.is_syn_ack()).filter_map(number).collect();
            let tracked = |syn: &&InnerSyn| self.sequence(syn.frame).is_some_and(|it| own.contains(&it));
            let tuple = inside.syns.iter().find(tracked)?.tuple;
            let (frame, packet) = inside.syn_acks(self.evidence).find(|(frame, packet)| {
                let Some(tcp) = packet.tcp() else { return false };
                let delivered = self.evidence.frames[*frame].fate == Fate::Delivered;
                let answers = others.contains(&tcp.acknowledgment.wrapping_sub(1)) && packet.tuple() == tuple;
                answers && delivered && !own.contains(&tcp.sequence) && !left.contains(&tcp.sequence)
            })?;
            let detail = format!(
                "{node} let {}'s SYN ACK {} not out: its number is not that of the SYN that {node} had let out",
                role.letter(),
                packet.tuple()
            );
            Some(Diagnosis::new(Cause::InvalidDropped, detail).mark(frame, format!("never left {node}")))
        })
    }

    fn sequence(&self, frame: usize) -> Option<u32> {
        Some(Packet::of(&self.evidence.frames[frame])?.tcp()?.sequence)
    }

    /// Whether a link inside lost all of a side's SYNs to the other, or all that were aimed right, before its NAT had them.
    pub(super) fn lost_inside(&self) -> Option<Diagnosis> {
        Role::BOTH.into_iter().find_map(|role| {
            let (lost, left): (Vec<_>, Vec<_>) =
                self.inside(role).punching().partition(|s| s.lost && !s.left);
            let right = |syn: &&&InnerSyn| self.is_aimed_right(role, syn);
            let first = match left.is_empty() {
                true => lost.first(),
                false => lost.iter().find(right).filter(|_| !left.iter().any(|syn| right(&syn))),
            }?;
            let detail =
                format!("peer {}'s SYN {} was lost on its way to its NAT", role.letter(), first.tuple);
            Some(lost_frame(first.frame, &detail))
        })
    }

    /// Whether a SYN went to an endpoint that the other side's came from.
    fn is_aimed_right(&self, role: Role, syn: &InnerSyn) -> bool {
        self.timeline.syns(role.other()).any(|other| other.tuple.source == syn.tuple.destination)
    }

    fn why_kept(&self, node: &NodeName, nat: &Behavior, syn: &InnerSyn) -> (Cause, String) {
        let live = self.live(node, syn.at);
        let of_host: Vec<&CtEntry> =
            live.iter().filter(|e| e.original.source.ip() == syn.tuple.source.ip()).collect();
        // An endpoint-independent mapping serves many flows.
        let held = match nat.mapping {
            Mapping::EndpointIndependent => {
                of_host.iter().map(|e| e.reply.destination).collect::<BTreeSet<_>>().len()
            }
            _ => of_host.len(),
        };
        if let Some(quota) = nat.quota.filter(|quota| held >= *quota as usize) {
            return (Cause::QuotaReached, format!("the host had {held} mappings, and may have {quota}"));
        }
        if let Some(why) = exhausted(nat, &live, &of_host) {
            return (Cause::PortsExhausted, why);
        }
        let remote = |e: &&CtEntry| e.reply.source == syn.tuple.destination;
        let taken: Option<SocketAddrV4> = live.iter().find(remote).map(|e| e.reply.destination);
        match (taken, live.is_empty()) {
            (Some(taken), _) => (
                Cause::TupleClash,
                format!("{taken} to {} was already another flow's", syn.tuple.destination),
            ),
            (None, false) => {
                (Cause::TupleClash, "another flow had the port that it would have got".to_owned())
            }
            (None, true) => (Cause::LabError, "it had room, and nothing was in the way".to_owned()),
        }
    }

    /// The entries of a NAT at a moment. Events are read late, so an entry counts from the SYN that made it, and from when
    /// that came: of two SYNs the NAT takes the earlier first, however late its link takes what becomes of it.
    fn live(&self, node: &NodeName, moment: Nanos) -> Vec<CtEntry> {
        let packets = tracking::packets(self.evidence);
        let latest = |event: &CtEvent, tuple: Tuple, when: fn(&tracking::SegmentOnLink, &Frame) -> Nanos| {
            let seen = packets.get(&pair(tuple)).map_or(&[][..], Vec::as_slice);
            let opening = seen.iter().filter(|seen| seen.flags.is_opening());
            let times = opening.map(|seen| when(seen, &self.evidence.frames[seen.frame]));
            times.filter(|time| *time <= event.at).max()
        };
        let made = |event: &CtEvent| {
            let came = latest(event, event.entry.original, |seen, _| seen.at);
            // Outward, a packet was made before its link took it, and its link lets go of it only later.
            let went = latest(event, event.entry.reply, |_, frame| frame.entered);
            came.into_iter().chain(went).min().unwrap_or(event.at)
        };
        let mut live: Vec<CtEntry> = Vec::new();
        for event in self.evidence.conntrack.iter().filter(|e| e.node == *node) {
            match event.change {
                CtChange::New if made(event) <= moment => live.push(event.entry),
                CtChange::Destroy if event.at <= moment => {
                    live.retain(|e| e.original != event.entry.original)
                }
                _ => {}
            }
        }
        live
    }
}

/// What is said where every port that a host could get is taken, by the entries of all hosts and of this one.
fn exhausted(nat: &Behavior, live: &[CtEntry], of_host: &[&CtEntry]) -> Option<String> {
    let taken_of = |entries: &mut dyn Iterator<Item = &CtEntry>| -> BTreeSet<SocketAddrV4> {
        entries.map(|entry| entry.reply.destination).collect()
    };
    let mut taken = taken_of(&mut live.iter());
    let room = match nat.pool {
        Pool::Kernel => return None,
        Pool::Range(range) => {
            taken.retain(|external| range.contains(external.port()));
            range.size() as usize
        }
        Pool::Ranges(all) => {
            taken.retain(|external| all.contains(external.port()));
            all.size() as usize
        }
        Pool::Blocks { size, .. } => {
            taken = taken_of(&mut of_host.iter().copied());
            usize::from(size)
        }
    };
    let count = usize::from(nat.addresses.count);
    if count == 1 || nat.addresses.are_arbitrary() {
        let room = room.saturating_mul(count);
        return (taken.len() >= room).then(|| format!("all its {room} ports were taken"));
    }
    // A host gets ports of one address: that of its other mappings, or where it has none, one that cannot be told.
    let own = of_host.first().map(|entry| *entry.reply.destination.ip());
    let mut of_address: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    taken.iter().for_each(|external| *of_address.entry(*external.ip()).or_default() += 1);
    of_address.retain(|address, taken| own.is_none_or(|own| own == *address) && *taken >= room);
    let full = of_address.first_key_value().map(|(address, _)| *address)?;
    Some(format!("all {room} ports of {full} were taken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{ExternalAddresses, Pooling, PortRange};

    fn entry(host: u8, address: u8, port: u16) -> CtEntry {
        let remote = SocketAddrV4::new([198, 51, 100, 2].into(), 5000);
        let original =
            Tuple { source: SocketAddrV4::new([10, 0, 0, host].into(), port), destination: remote };
        let external = SocketAddrV4::new([192, 0, 2, address].into(), port);
        let reply = Tuple { source: remote, destination: external };
        CtEntry { original, reply, state: None, status: 0, id: 1 }
    }

    /// What is said of host .2, where each of two addresses has four ports.
    fn said(pooling: Pooling, entries: &[(u8, u8, u16)]) -> Option<String> {
        let nat = Behavior {
            pool: Pool::Range(PortRange { low: 4000, high: 4003 }),
            addresses: ExternalAddresses { count: 2, pooling },
            ..Behavior::port_preserving()
        };
        let live: Vec<CtEntry> =
            entries.iter().map(|(host, address, port)| entry(*host, *address, *port)).collect();
        let of_host: Vec<&CtEntry> =
            live.iter().filter(|entry| entry.original.source.ip().octets()[3] == 2).collect();
        exhausted(&nat, &live, &of_host)
    }

    #[test]
    fn a_host_of_a_paired_pool_has_the_ports_of_one_address() {
        let at =
            |host: u8, address: u8, count: u16| (4000..4000 + count).map(move |port| (host, address, port));
        let full = Some("all 4 ports of 192.0.2.3 were taken".to_owned());
        let all = |parts: [Vec<(u8, u8, u16)>; 2]| parts.concat();
        let own_full = all([at(2, 3, 4).collect(), at(3, 2, 1).collect()]);
        assert_eq!(said(Pooling::Paired, &own_full), full);
        assert_eq!(said(Pooling::Arbitrary, &own_full), None);
        let other_full = all([at(2, 2, 1).collect(), at(3, 3, 4).collect()]);
        assert_eq!(said(Pooling::Paired, &other_full), None);
        // A host without a mapping: which address it would have got cannot be told.
        assert_eq!(said(Pooling::Paired, &at(3, 3, 4).collect::<Vec<_>>()), full);
        let half = all([at(3, 3, 2).collect(), at(4, 2, 2).collect()]);
        assert_eq!(said(Pooling::Paired, &half), None, "four ports are taken, and no address is full");
        let both = all([at(3, 3, 4).collect(), at(4, 2, 4).collect()]);
        assert_eq!(said(Pooling::Arbitrary, &both), Some("all its 8 ports were taken".to_owned()));
    }
}
