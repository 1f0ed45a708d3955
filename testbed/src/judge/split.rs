//! A side behind a NAT of sockets, which ends each connection of the inside and opens one of its own (a split connection, RFC 3135,
//! section 2.2). Pure.
//!
//! What the other side meets is a host: the kernel of the NAT's node answers, dials and listens there. So the side is judged as if its
//! peer were that node, with whatever NATs stand above it. What the program inside claims is a connection of its own, which is
//! found again outside by the remote endpoint and by the data that went over it, as no number is the same. And the NAT itself
//! is held to carrying across: a SYN for each connection that the inside opens, and no more than the inside sends SYNs.

mod carried;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use self::carried::Carried;
use crate::judge::program_output::Claim;
use crate::judge::reference::NatView;
use crate::judge::timeline::{Flow, Role, Vantage};
use crate::model::behavior::Behavior;
use crate::model::datapath::Datapath;
use crate::model::evidence::{Direction, Evidence, Fate, Frame, Nanos, Tuple};
use crate::model::packet::{Packet, Segment, TcpFlags, recorded_data};

/// Connections by endpoints and number of the SYN, with the times at which that came to the NAT or was sent by it.
type Opened = BTreeMap<(Tuple, u32), Vec<Nanos>>;

/// A side whose outermost NAT of sockets stands in for its peer.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitSide<'a> {
    nat: &'a NatView<'a>,
    /// The side as the inside has it: up to the NAT.
    inner: Vantage,
    /// The side as it is judged: from the NAT on.
    pub vantage: Vantage,
    /// What the NATs above declare.
    pub declared: Vec<Behavior>,
}

impl<'a> SplitSide<'a> {
    /// The side behind `vantage`, if one of its NATs is one of sockets; `declared` is what its NATs declare, innermost first.
    #[must_use]
    pub fn of(vantage: &Vantage, declared: &[Behavior], views: &'a [NatView<'a>]) -> Option<Self> {
        let view = |node| views.iter().find(|view| view.node == node && view.datapath == Datapath::Sockets);
        let (place, nat) =
            vantage.nats.iter().enumerate().rev().find_map(|(at, node)| Some((at, view(node)?)))?;
        let inner = Vantage { nats: vantage.nats[..place].to_vec(), ..vantage.clone() };
        let judged = Vantage {
            peer: nat.node.clone(),
            internal: nat.outer.first,
            nats: vantage.nats[place + 1..].to_vec(),
            host_link: nat.up,
            ..vantage.clone()
        };
        let above = declared.get(place + 1..).unwrap_or_default().to_vec();
        Some(Self { nat, inner, vantage: judged, declared: above })
    }

    /// The claim of the peer, about the connection of the NAT's that carried the one which the program names.
    #[must_use]
    pub fn claim(&self, evidence: &Evidence, claim: &Claim) -> Claim {
        let Claim::Success(named) = claim else { return claim.clone() };
        let Some((local, remote)) = named.connection else { return claim.clone() };
        let inside = self.inner.translate(&evidence.conntrack, Tuple { source: local, destination: remote });
        let found = inside.into_iter().find_map(|tuple| self.outside(evidence, tuple));
        let mut named = named.clone();
        // Without one, the claim names what nobody outside has: it is not borne out.
        named.connection = Some(found.map_or((local, remote), |tuple| (tuple.source, tuple.destination)));
        Claim::Success(named)
    }

    /// The connection outside that carried what went over this one inside.
    fn outside(&self, evidence: &Evidence, inside: Tuple) -> Option<Tuple> {
        let all = self.opened(evidence, Where::Outside).into_keys().map(|(tuple, _)| tuple);
        let to_remote: BTreeSet<Tuple> =
            all.filter(|tuple| tuple.destination == inside.destination).collect();
        let within = Spoken::read(evidence, |frame| self.is_below(frame), &[inside].into());
        let without = Spoken::read(evidence, |frame| frame.link == self.nat.up, &to_remote);
        let within = within.get(&inside)?;
        without.into_iter().find_map(|(tuple, said)| within.is_the_same_as(&said).then_some(tuple))
    }

    fn is_below(&self, frame: &Frame) -> bool {
        self.nat.down.iter().any(|(link, _)| *link == frame.link)
    }

    /// The connections that were opened towards the core on one side of the NAT: endpoints and number of the SYN.
    fn opened(&self, evidence: &Evidence, place: Where) -> Opened {
        let mut opened = Opened::new();
        for (frame, packet) in evidence.packets().filter(|(frame, _)| frame.direction == Direction::Up) {
            // What a link below loses or still has at the end, the NAT never got; what it sends counts from when it sent it.
            let (seen, at) = match place {
                Where::Inside => (frame.fate == Fate::Delivered, frame.left.max(frame.entered)),
                Where::Outside => (!frame.is_copy, frame.entered),
            };
            let here = match place {
                Where::Inside => {
                    self.is_below(frame)
                        && self.nat.down.iter().all(|(_, lan)| !lan.contains(*packet.destination.ip()))
                }
                Where::Outside => frame.link == self.nat.up && self.nat.outer.contains(*packet.source.ip()),
            };
            let to_nat = self.nat.outer.contains(*packet.destination.ip());
            if let Some(tcp) = packet.tcp().filter(|tcp| seen && here && !to_nat && tcp.flags.is_opening()) {
                opened.entry((packet.tuple(), tcp.sequence)).or_default().push(at);
            }
        }
        opened
    }

    /// What the NAT did and no NAT of sockets may do: it opened no connection for a SYN, or one without a SYN.
    #[must_use]
    pub fn contradiction(&self, evidence: &Evidence) -> Option<String> {
        let ended = evidence.ended();
        let [asked, opened] = [Where::Inside, Where::Outside].map(|place| self.opened(evidence, place));
        let remotes: BTreeSet<SocketAddrV4> =
            asked.keys().chain(opened.keys()).map(|(tuple, _)| tuple.destination).collect();
        let what = remotes.into_iter().find_map(|remote| {
            let what = Carried::towards(remote, &asked, &opened).contradiction(ended)?;
            Some(format!("{what} to {remote}"))
        })?;
        let NatView { profile, node, .. } = self.nat;
        Some(format!("NAT \"{profile}\" in \"{node}\" does not carry across what it is asked for: {what}"))
    }

    /// Why nobody can tell whose failure it was, where a trial did not pass: a connection stood between the other side and the NAT's own
    /// socket, and what the inside was told of it is the NAT's affair.
    #[must_use]
    pub fn doubt(&self, flows: &[Flow]) -> Option<String> {
        let stood = |flow: &&Flow| Role::BOTH.iter().all(|role| flow.established(*role).is_some());
        let flow = flows.iter().find(stood)?;
        let NatView { profile, node, .. } = self.nat;
        Some(format!(
            "the connection {} stood, with a socket of NAT \"{profile}\" in \"{node}\" as one end: whether the NAT or a program \
             lost it cannot be told",
            flow.a
        ))
    }
}

/// Which side of the NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Inside,
    Outside,
}

/// The first that the ends of a connection said, as far as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Spoken {
    up: SpokenByEnd,
    down: SpokenByEnd,
}

/// The first that one end said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SpokenByEnd {
    /// Which numbers it may begin with: those after the SYNs.
    begins: BTreeSet<u32>,
    said: Option<Vec<u8>>,
}

impl Spoken {
    /// What was said on each of these connections here.
    fn read(
        evidence: &Evidence,
        here: impl Fn(&Frame) -> bool,
        connections: &BTreeSet<Tuple>,
    ) -> BTreeMap<Tuple, Self> {
        let mut all: BTreeMap<Tuple, Self> =
            connections.iter().map(|tuple| (*tuple, Self::default())).collect();
        let delivered = |frame: &&Frame| frame.fate == Fate::Delivered;
        for frame in evidence.frames.iter().filter(delivered).filter(|frame| here(frame)) {
            let Some(packet) = Packet::of(frame) else { continue };
            let Some(segment) = packet.tcp() else { continue };
            let tuple = packet.tuple();
            if let Some(spoken) = all.get_mut(&tuple) {
                spoken.up.add(frame, segment);
            } else if let Some(spoken) = all.get_mut(&tuple.reversed()) {
                spoken.down.add(frame, segment);
            }
        }
        all
    }

    /// Whether both ends said something, and the same here as there.
    fn is_the_same_as(&self, other: &Self) -> bool {
        self.up.is_the_same_as(&other.up) && self.down.is_the_same_as(&other.down)
    }
}

impl SpokenByEnd {
    fn add(&mut self, frame: &Frame, segment: &Segment) {
        if segment.flags.contains(TcpFlags::SYN) {
            self.begins.insert(segment.sequence.wrapping_add(1));
        } else if segment.payload > 0 && self.begins.contains(&segment.sequence) {
            self.said.get_or_insert_with(|| recorded_data(frame).unwrap_or_default().to_vec());
        }
    }

    fn is_the_same_as(&self, other: &Self) -> bool {
        match (&self.said, &other.said) {
            (Some(one), Some(other)) => {
                let common = one.len().min(other.len());
                common > 0 && one[..common] == other[..common]
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::judge::program_output::SuccessClaim;
    use crate::judge::staged::{NAT_LINKS, nat_view};
    use crate::model::topology::NodeName;

    const UP: u16 = NAT_LINKS[0];
    const DOWN: u16 = NAT_LINKS[1];
    const HOST: &str = "10.0.0.2:4000";
    const EXTERNAL: &str = "192.0.2.2:40002";
    const REMOTE: &str = "198.51.100.2:5000";

    fn end(text: &str) -> SocketAddrV4 {
        text.parse().expect("an endpoint")
    }

    /// What one link saw: from, to, number, data; a SYN where there is none.
    fn frame(link: u16, direction: Direction, (from, to): (&str, &str), number: u32, said: &str) -> Frame {
        let (from, to) = (end(from), end(to));
        let tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(from.ip().octets(), to.ip().octets(), 64)
            .tcp(from.port(), to.port(), number, 64_000);
        let tcp = if said.is_empty() { tcp.syn() } else { tcp.ack(1) };
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, said.as_bytes()).expect("a writable packet");
        let length = u32::try_from(bytes.len()).expect("short");
        let at = 1_000_000;
        let bytes = bytes.into();
        Frame {
            link,
            direction,
            entered: at,
            due: at,
            left: at,
            fate: Fate::Delivered,
            is_copy: false,
            length,
            bytes,
        }
    }

    /// A connection on one side: its SYNs, then what each end says.
    fn connection(link: u16, (near, far): (&str, &str), number: u32, said: [&str; 2]) -> Vec<Frame> {
        let (up, down) = ((near, far), (far, near));
        let mut frames =
            vec![frame(link, Direction::Up, up, number, ""), frame(link, Direction::Down, down, 7, "")];
        for (direction, ends, number, text) in
            [(Direction::Up, up, number + 1, said[0]), (Direction::Down, down, 8, said[1])]
        {
            if !text.is_empty() {
                frames.push(frame(link, direction, ends, number, text));
            }
        }
        frames
    }

    /// What the side behind the NAT makes of these frames.
    fn with<T>(frames: Vec<Frame>, look: impl FnOnce(&SplitSide<'_>, &Evidence) -> T) -> T {
        let node = |name| NodeName::new(name).expect("a good name");
        let (nat, declared) = (node("nat-a"), Behavior::port_preserving());
        let views = [NatView { profile: "passt", datapath: Datapath::Sockets, ..nat_view(&nat, &declared) }];
        let vantage = Vantage {
            peer: node("peer-a"),
            internal: *end(HOST).ip(),
            nats: vec![node("nat-a"), node("carrier")],
            transparent: BTreeSet::new(),
            external: Ipv4Addr::new(203, 0, 113, 9).into(),
            link: 5,
            host_link: DOWN,
        };
        let side = SplitSide::of(&vantage, &[declared, Behavior::firewall()], &views).expect("a split side");
        let mut frames = frames;
        frames.push(Frame {
            entered: 2_000_000_000,
            left: 2_000_000_000,
            ..frame(9, Direction::Up, (HOST, REMOTE), 1, "x")
        });
        look(&side, &Evidence { frames, ..Evidence::default() })
    }

    fn claimed(frames: Vec<Frame>) -> SocketAddrV4 {
        let named = SuccessClaim { connection: Some((end(HOST), end(REMOTE))), method: None };
        match with(frames, |side, evidence| side.claim(evidence, &Claim::Success(named))) {
            Claim::Success(SuccessClaim { connection: Some((local, _)), .. }) => local,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_node_of_the_nat_stands_in_for_the_peer() {
        with(Vec::new(), |side, _| {
            let vantage = &side.vantage;
            assert_eq!(
                (vantage.peer.as_str(), vantage.internal, vantage.host_link),
                ("nat-a", *end(EXTERNAL).ip(), UP)
            );
            assert_eq!((vantage.nats.len(), side.declared.as_slice()), (1, &[Behavior::firewall()][..]));
        });
    }

    #[test]
    fn a_claim_is_about_the_connection_that_carried_the_same_data() {
        let inside = || connection(DOWN, (HOST, REMOTE), 100, ["hello", "world"]);
        let other = || connection(UP, ("192.0.2.2:40000", REMOTE), 500, ["hello", "there"]);
        let outside = |said| connection(UP, (EXTERNAL, REMOTE), 900, said);
        assert_eq!(claimed([inside(), other(), outside(["he", "world"])].concat()), end(EXTERNAL));
        assert_eq!(claimed([inside(), other()].concat()), end(HOST), "other data");
        assert_eq!(claimed([inside(), outside(["hello", ""])].concat()), end(HOST), "nothing came back");
        let elsewhere = connection(UP, (EXTERNAL, "198.51.100.2:5001"), 900, ["hello", "world"]);
        assert_eq!(claimed([inside(), elsewhere].concat()), end(HOST), "another remote endpoint");
    }

    /// A SYN, at a time in milliseconds.
    fn syn_at(ms: Nanos, port: u16, link: u16) -> Frame {
        let (host, external) = (format!("10.0.0.2:{port}"), format!("192.0.2.2:{port}"));
        let from = if link == DOWN { host } else { external };
        let at = ms * 1_000_000;
        let frame = frame(link, Direction::Up, (&from, REMOTE), u32::from(port), "");
        Frame { entered: at, due: at, left: at, ..frame }
    }

    /// What is said of connections that come to the NAT and leave it at these times, in milliseconds.
    fn said(asked: &[(Nanos, u16)], opened: &[Nanos]) -> Option<String> {
        let asked = asked.iter().map(|(ms, port)| syn_at(*ms, *port, DOWN));
        let opened = opened.iter().zip(40_000..).map(|(ms, port)| syn_at(*ms, port, UP));
        with(asked.chain(opened).collect(), |side, evidence| side.contradiction(evidence))
    }

    #[track_caller]
    fn contains(said: Option<String>, expected: &str) {
        assert!(said.as_ref().is_some_and(|why| why.contains(expected)), "{said:?}");
    }

    #[test]
    fn a_syn_that_is_swallowed_or_made_of_nothing_is_the_nats_fault() {
        assert_eq!(said(&[(10, 4000)], &[11]), None);
        contains(said(&[(10, 4000)], &[]), "its inside asked for 1 connection, and it opened 0 afterwards");
        contains(said(&[(10, 4000)], &[11, 12]), "it had got 1 SYN of its inside, and opened 2 connections");
        contains(said(&[], &[11]), "it had got 0 SYNs of its inside, and opened 1 connection to");
        assert_eq!(said(&[(10, 4000), (20, 4000)], &[11, 21]), None, "the inside asked twice");
        assert_eq!(said(&[(1_900, 4000)], &[]), None, "it came at the end");
    }

    #[test]
    fn a_connection_too_many_does_not_make_up_for_one_that_is_missing() {
        contains(said(&[(10, 4000), (300, 4001)], &[11, 12]), "got 1 SYN of its inside, and opened 2");
        // The first SYN came twice, so that both may be of it; the second asked for one of its own.
        let again = [(10, 4000), (20, 4000), (300, 4001)];
        contains(said(&again, &[11, 21]), "its inside asked for 1 connection, and it opened 0 afterwards");
        assert_eq!(said(&again, &[11, 301]), None);
        assert_eq!(said(&again, &[11, 21, 301]), None);
        assert_eq!(said(&[(10, 4000), (10, 4001)], &[12, 11]), None, "in any order");
    }

    #[test]
    fn a_syn_that_never_came_to_the_nat_asks_for_nothing() {
        let swallowed = |change: fn(Frame) -> Frame| {
            let syns = vec![change(syn_at(10, 4000, DOWN))];
            with(syns, |side, evidence| side.contradiction(evidence))
        };
        assert!(swallowed(|syn| syn).is_some());
        assert_eq!(swallowed(|syn| Frame { fate: Fate::Lost, ..syn }), None);
        assert_eq!(swallowed(|syn| Frame { fate: Fate::InFlight, ..syn }), None);
        // A slow link has it until shortly before the end.
        assert_eq!(swallowed(|syn| Frame { left: 1_900_000_000, ..syn }), None);
        let lost = Frame { fate: Fate::Lost, ..syn_at(10, 4000, DOWN) };
        let made = with(vec![lost, syn_at(20, 40_000, UP)], |side, evidence| side.contradiction(evidence));
        contains(made, "it had got 0 SYNs of its inside, and opened 1 connection");
    }
}
