//! What may happen next: a segment of some flow, from one end or the other, with right or wrong numbers, or an ICMP error.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::model::packet::TcpFlags;

/// Hosts inside, ports of each, and remote endpoints, so few that tuples are used again.
pub(super) const HOSTS: usize = 3;
pub(super) const PORTS: usize = 2;
pub(super) const REMOTES: usize = 4;

/// A flow: a host, one of its ports, and a remote endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) host: usize,
    pub(super) port: usize,
    pub(super) remote: usize,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Host,
    Remote,
}

/// How a number fits what was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// As a TCP would send it.
    Right,
    /// The one before.
    Again,
    /// Beyond any window.
    Wild(u32),
    /// Nought.
    Zero,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A segment.
    Segment {
        flow: FlowKey,
        sender: Sender,
        flags: TcpFlags,
        sequence: Number,
        acknowledgment: Number,
        data: bool,
    },
    /// An ICMP error from outside about the last segment that came out of this flow.
    Error { flow: FlowKey, kind: u8, code: u8 },
    /// A host sends a SYN to the external endpoint of another flow.
    Hairpin { from: FlowKey, to: FlowKey },
    /// Nobody sends anything for so long.
    Wait(Duration),
}

/// How long is waited: the timers of NATs are whole seconds, and half a second away from these nothing hangs on how long the
/// packets before took.
const WAITS: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_millis(2_500)];

impl Action {
    /// A sequence of any actions.
    pub(super) fn sequence(random: &mut ChaCha8Rng, length: usize) -> Vec<Self> {
        (0..length).map(|_| Self::random(random)).collect()
    }

    /// The same with a wait in it, before which a connection comes as far as it likes in half of the sequences: by chance alone few
    /// get to their end.
    pub(super) fn sequence_with_wait(random: &mut ChaCha8Rng, length: usize) -> Vec<Self> {
        let wait = Self::Wait(WAITS[random.random_range(0..WAITS.len())]);
        let mut actions = Self::sequence(random, length);
        if random.random_bool(0.5) {
            let mut orderly = Self::orderly(random);
            orderly.truncate(random.random_range(1..=orderly.len()));
            orderly.push(wait);
            actions.splice(..0, orderly);
        } else {
            actions.insert(random.random_range(length / 4..length), wait);
        }
        actions
    }

    /// A connection that comes about, stands and is closed, by one end first or the other.
    fn orderly(random: &mut ChaCha8Rng) -> Vec<Self> {
        use Sender::{Host, Remote};
        let (first, last) = if random.random_bool(0.5) { (Host, Remote) } else { (Remote, Host) };
        let both = |a: TcpFlags, b: TcpFlags| TcpFlags(a.0 | b.0);
        let (syn, ack, fin) = (TcpFlags::SYN, TcpFlags::ACK, both(TcpFlags::FIN, TcpFlags::ACK));
        let segments = [
            (Host, syn),
            (Remote, both(syn, ack)),
            (Host, ack),
            (first, fin),
            (last, ack),
            (last, fin),
            (first, ack),
        ];
        let segment = |(sender, flags)| Self::Segment {
            flow: FlowKey { host: 0, port: 0, remote: 0 },
            sender,
            flags,
            sequence: Number::Right,
            acknowledgment: Number::Right,
            data: false,
        };
        segments.map(segment).to_vec()
    }

    /// Any action; those of a connection that comes about and goes are the likeliest.
    fn random(random: &mut ChaCha8Rng) -> Self {
        let flow = flow(random);
        match random.random_range(0..100) {
            0..4 => Self::Error { flow, kind: 3, code: random.random_range(0..4) },
            4..5 => Self::Error { flow, kind: 11, code: 0 },
            5..8 => Self::Hairpin { from: flow, to: self::flow(random) },
            _ => {
                let (flags, data) = flags(random);
                Self::Segment {
                    flow,
                    sender: if random.random_bool(0.5) { Sender::Host } else { Sender::Remote },
                    flags,
                    sequence: number(random),
                    acknowledgment: number(random),
                    data,
                }
            }
        }
    }
}

/// How often a segment has flags that do not go together.
const ODD: f64 = 0.02;

fn flow(random: &mut ChaCha8Rng) -> FlowKey {
    // One flow is used most of the time, so that it gets through its states.
    if random.random_bool(0.5) {
        return FlowKey { host: 0, port: 0, remote: 0 };
    }
    FlowKey {
        host: random.random_range(0..HOSTS),
        port: random.random_range(0..PORTS),
        remote: random.random_range(0..REMOTES),
    }
}

fn flags(random: &mut ChaCha8Rng) -> (TcpFlags, bool) {
    let both = |a: TcpFlags, b: TcpFlags| TcpFlags(a.0 | b.0);
    if random.random_bool(ODD) {
        let odd = [
            TcpFlags(0),
            TcpFlags::FIN,
            both(TcpFlags::SYN, TcpFlags::FIN),
            both(TcpFlags::SYN, TcpFlags::RST),
        ];
        return (odd[random.random_range(0..odd.len())], false);
    }
    match random.random_range(0..20) {
        0..5 => (TcpFlags::SYN, false),
        5..8 => (both(TcpFlags::SYN, TcpFlags::ACK), false),
        8..12 => (TcpFlags::ACK, false),
        12..15 => (both(TcpFlags::PSH, TcpFlags::ACK), true),
        15..17 => (both(TcpFlags::FIN, TcpFlags::ACK), false),
        17..18 => (TcpFlags::RST, false),
        _ => (both(TcpFlags::RST, TcpFlags::ACK), false),
    }
}

fn number(random: &mut ChaCha8Rng) -> Number {
    match random.random_range(0..20) {
        0..2 => Number::Again,
        2 => Number::Wild(random.random_range(1 << 20..1 << 31)),
        3 => Number::Zero,
        _ => Number::Right,
    }
}
