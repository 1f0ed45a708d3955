//! A sequence on the bench, and what the reference says of it.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::action::{Action, FlowKey, Number, Sender};
use crate::judge::reference::{Findings, NatView, Rulebook, check_by};
use crate::kernel::error::{Error, Result};
use crate::model::address_plan::Network;
use crate::model::behavior::{Behavior, Translation};
use crate::model::evidence::{CtEvent, Direction, Evidence, Fate, Frame, Nanos, nanos};
use crate::model::kernel_rules::KernelRules;
use crate::model::packet::{Packet, PacketKind, TcpFlags};
use crate::model::topology::NodeName;
use crate::probe::prove::Subject;
use crate::probe::prove::bench::{
    ArrivedPacket, Bench, CableDirection, RecordedFrame, Side, WAN, is_external, site,
};
use crate::probe::prove::frame::{Probe, QuotedIcmpError};

/// Time between two packets, and from a packet to what came of it, as the reference is told: on the bench each is dealt
/// with before the next is sent, so that their order is certain.
const APART: Nanos = 5_000_000;
const THROUGH: Nanos = 1_000;

/// By how much what is played may fall behind the time that the reference is told: timers of the NAT go on meanwhile.
const BEHIND: Duration = Duration::from_millis(200);

/// Who sends ICMP errors.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A sequence that was played.
#[derive(Debug)]
pub(super) struct PlayedSequence {
    pub(super) findings: Findings,
    /// Whether it was played in the time that the reference was told.
    pub(super) in_time: bool,
    pub(super) ladder: Vec<String>,
}

/// What the two ends of a flow have sent.
#[derive(Debug, Clone, Copy, Default)]
struct FlowNumbers {
    /// The next number of the host, and of the remote; the last one that was used.
    next: [u32; 2],
    last: [u32; 2],
    /// The last segment that came out towards the remote.
    outside: Option<Probe>,
}

/// What is known of each flow.
type Flows = BTreeMap<(usize, usize, usize), FlowNumbers>;

/// The external endpoint of each inside and remote one.
type Externals = HashMap<(SocketAddrV4, SocketAddrV4), SocketAddrV4>;

/// Plays the actions on a NAT that remembers nothing.
pub(super) fn play(
    bench: &mut Bench,
    subject: &Subject,
    (rules, kernel): (Rulebook, KernelRules),
    actions: &[Action],
) -> Result<PlayedSequence> {
    bench.forget()?;
    bench.record_anew();
    let mut flows: Flows = BTreeMap::new();
    let mut externals: Externals = HashMap::new();
    let node = NodeName::new("bench").map_err(|e| Error::other("name the bench", e.to_string()))?;
    let (mut records, mut conntrack, mut now) = (Vec::new(), Vec::new(), 0);
    let (begun, mut in_time) = (Instant::now(), true);
    for action in actions {
        now += APART;
        let seen = act(bench, action, &mut flows, &externals)?;
        if let Action::Wait(time) = action {
            now += nanos(*time);
        }
        learn(&subject.declared, action, &seen, (&mut flows, &mut externals));
        records.push((now, bench.record_anew()));
        in_time &= begun.elapsed() <= Duration::from_nanos(now) + BEHIND;
        // They are read when the packet that led to them has been dealt with.
        let (at, after) = (now + 2 * THROUGH, now);
        let event = |(change, entry)| CtEvent { node: node.clone(), at, after, change, entry };
        conntrack.extend(bench.changes()?.into_iter().map(event));
    }
    let (frames, ladder) = frames(&records, now);
    let evidence = Evidence { frames, conntrack, ..Evidence::default() };
    let lan = |side: Side| Network { address: gateway(side), prefix: 24 };
    let nat = NatView {
        node: &node,
        profile: &subject.name,
        declared: &subject.declared,
        outer: site().external(&subject.declared),
        up: link(Side::Outside),
        down: [Side::Inside0, Side::Inside1].map(|side| (link(side), lan(side))).to_vec(),
        datapath: subject.config.datapath,
        kernel,
    };
    Ok(PlayedSequence { findings: check_by(rules, &evidence, &nat), in_time, ladder })
}

fn gateway(side: Side) -> Ipv4Addr {
    let [a, b, c, _] = side.address().octets();
    Ipv4Addr::new(a, b, c, 1)
}

fn link(side: Side) -> u16 {
    side as u16
}

/// The host of a flow: two on the first network, one on the other.
fn host(flow: FlowKey) -> (Side, SocketAddrV4) {
    let (side, address) = match flow.host {
        0 => (Side::Inside0, Side::Inside0.address()),
        1 => (Side::Inside1, Side::Inside1.address()),
        _ => (Side::Inside0, Ipv4Addr::from(u32::from(Side::Inside0.address()) + 1)),
    };
    (side, SocketAddrV4::new(address, [4_000, 50_001][flow.port]))
}

/// The remote endpoint of a flow: two ports of each of two addresses.
fn remote(flow: FlowKey) -> SocketAddrV4 {
    let address = Ipv4Addr::new(198, 18, 0, [1, 2][flow.remote / 2]);
    SocketAddrV4::new(address, [7_000, 7_001][flow.remote % 2])
}

fn key(flow: FlowKey) -> (usize, usize, usize) {
    (flow.host, flow.port, flow.remote)
}

/// The external endpoint of a flow; what it would be if ports were kept, where it has none.
fn external(flow: FlowKey, externals: &Externals) -> SocketAddrV4 {
    let (_, inside) = host(flow);
    externals.get(&(inside, remote(flow))).copied().unwrap_or(SocketAddrV4::new(WAN, inside.port()))
}

fn act(
    bench: &mut Bench,
    action: &Action,
    flows: &mut Flows,
    externals: &Externals,
) -> Result<Vec<ArrivedPacket>> {
    match *action {
        Action::Error { flow, kind, code } => {
            let Some(about) = flows.get(&key(flow)).and_then(|ends| ends.outside) else {
                return Ok(Vec::new());
            };
            let error =
                QuotedIcmpError { source: ROUTER, destination: *about.source.ip(), kind, code, about };
            bench.send_icmp_error(Side::Outside, &error)
        }
        Action::Hairpin { from, to } => {
            let (side, inside) = host(from);
            bench.ask(side, &Probe::syn(inside, external(to, externals), 77))
        }
        Action::Wait(time) => {
            std::thread::sleep(time);
            Ok(Vec::new())
        }
        Action::Segment { flow, sender, .. } => {
            let (side, inside) = host(flow);
            let (side, source, destination) = match sender {
                Sender::Host => (side, inside, remote(flow)),
                Sender::Remote => (Side::Outside, remote(flow), external(flow, externals)),
            };
            let ends = flows.entry(key(flow)).or_insert_with(|| fresh(flow));
            bench.ask(side, &segment(action, ends, source, destination))
        }
    }
}

/// The numbers that a flow begins with.
fn fresh(flow: FlowKey) -> FlowNumbers {
    let first = u32::try_from(flow.host * 100 + flow.port * 10 + flow.remote).unwrap_or_default();
    let next = [1_000_000 * (first + 1), 3_000_000_000 + 1_000_000 * first];
    FlowNumbers { next, last: next, outside: None }
}

fn segment(
    action: &Action,
    ends: &mut FlowNumbers,
    source: SocketAddrV4,
    destination: SocketAddrV4,
) -> Probe {
    let Action::Segment { sender, flags, sequence, acknowledgment, data, .. } = *action else {
        return Probe::syn(source, destination, 0);
    };
    let (own, other) = match sender {
        Sender::Host => (0, 1),
        Sender::Remote => (1, 0),
    };
    let choose = |number: Number, right: u32, again: u32| match number {
        Number::Right => right,
        Number::Again => again,
        Number::Wild(off) => right.wrapping_add(off),
        Number::Zero => 0,
    };
    let payload: &'static [u8] = if data { b"data" } else { b"" };
    let number = choose(sequence, ends.next[own], ends.last[own]);
    let has_ack = flags.contains(TcpFlags::ACK);
    let probe = Probe {
        source,
        destination,
        flags,
        sequence: number,
        acknowledgment: if has_ack { choose(acknowledgment, ends.next[other], ends.last[other]) } else { 0 },
        payload,
    };
    if sequence == Number::Right {
        let counts = flags.contains(TcpFlags::SYN) || flags.contains(TcpFlags::FIN);
        let length = u32::try_from(payload.len()).unwrap_or_default() + u32::from(counts);
        ends.last[own] = number;
        ends.next[own] = number.wrapping_add(length);
    }
    probe
}

/// What the ends of a flow come to know from what came out.
fn learn(
    declared: &Behavior,
    action: &Action,
    seen: &[ArrivedPacket],
    (flows, externals): (&mut Flows, &mut Externals),
) {
    let Action::Segment { flow, sender: Sender::Host, .. } = action else { return };
    let (_, inside) = host(*flow);
    let remote = remote(*flow);
    let out = seen.iter().find(|seen| seen.side == Side::Outside && seen.packet.destination == remote);
    let Some(ArrivedPacket { packet, .. }) = out else { return };
    let PacketKind::Tcp(tcp) = packet.kind else { return };
    // What leaked untranslated tells of no external endpoint.
    if !is_external(*packet.source.ip()) && declared.translation == Translation::Nat {
        return;
    }
    externals.insert((inside, remote), packet.source);
    if let Some(ends) = flows.get_mut(&key(*flow)) {
        ends.outside = Some(Probe {
            source: packet.source,
            destination: packet.destination,
            flags: tcp.flags,
            sequence: tcp.sequence,
            acknowledgment: tcp.acknowledgment,
            payload: b"",
        });
    }
}

/// What went over the cables when, as the frames of a trial and as lines to read.
fn frames(records: &[(Nanos, Vec<RecordedFrame>)], ended: Nanos) -> (Vec<Frame>, Vec<String>) {
    let (mut frames, mut ladder) = (Vec::new(), Vec::new());
    let mut before = 0;
    for (number, (sent, record)) in records.iter().enumerate() {
        let waited = sent.saturating_sub(before + APART);
        if waited > 0 {
            ladder.push(format!("{:3}    nothing for {:.1} s", number + 1, waited as f64 / 1e9));
        }
        before = *sent;
        for recorded in record {
            let at = sent + if recorded.heading == CableDirection::FromNat { THROUGH } else { 0 };
            let frame = frame(recorded, at);
            if let Some(packet) = Packet::of(&frame) {
                ladder.push(line(number, recorded, &packet));
                frames.push(frame);
            }
        }
    }
    // The end of the evidence lies well behind the last packet, on a link of nobody.
    let nowhere = RecordedFrame { side: Side::Outside, heading: CableDirection::FromNat, bytes: Vec::new() };
    frames.push(Frame { link: u16::MAX, ..frame(&nowhere, ended + 2 * APART) });
    (frames, ladder)
}

fn frame(recorded: &RecordedFrame, at: Nanos) -> Frame {
    let up = (recorded.side == Side::Outside) == (recorded.heading == CableDirection::FromNat);
    Frame {
        link: link(recorded.side),
        direction: if up { Direction::Up } else { Direction::Down },
        entered: at,
        due: at,
        left: at,
        fate: Fate::Delivered,
        is_copy: false,
        length: u32::try_from(recorded.bytes.len()).unwrap_or(u32::MAX),
        bytes: recorded.bytes.clone().into_boxed_slice(),
    }
}

fn line(number: usize, recorded: &RecordedFrame, packet: &Packet) -> String {
    let what = match packet.kind {
        PacketKind::Tcp(tcp) => {
            format!("{} seq {} ack {} len {}", tcp.flags, tcp.sequence, tcp.acknowledgment, tcp.payload)
        }
        PacketKind::Icmp(icmp) => format!("ICMP {}/{}", icmp.kind, icmp.code),
        PacketKind::Udp | PacketKind::Other(_) => "other".to_owned(),
    };
    let arrow = if recorded.heading == CableDirection::ToNat { "->" } else { "  ->" };
    let side = match recorded.side {
        Side::Outside => "outside",
        Side::Inside0 => "inside 0",
        Side::Inside1 => "inside 1",
    };
    format!("{:3} {arrow} {side:8} {} {what}", number + 1, packet.tuple())
}
