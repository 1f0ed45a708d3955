//! The questions that a probe can ask a NAT, and the answers there are.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::Duration;

use crate::kernel::error::{Error, Result};
use crate::model::datapath::Datapath;
use crate::model::packet::{Packet, PacketKind, TcpFlags};
use crate::model::port_set::PortSet;

use super::bench::{ArrivedPacket, Bench, Patience, Side};
use super::frame::Probe;

/// How often a SYN is sent before it counts as refused: a NAT that never shares ports may drop a SYN whose fresh port
/// turns out to be taken, and then draws again. With a pool that is not nearly full, six such draws in a row do not
/// happen.
const SYNS: usize = 6;

/// How often something is measured while the processor drops frames.
const MEASURED: usize = 5;

/// Time between a SYN and its retransmission. The kernel counts what comes twice within one of its ticks, of which
/// the longest take 10 ms, as two connections, and a quota would be reached too soon.
const RETRANSMISSION: Duration = Duration::from_millis(25);

/// A connection as the inside sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct Flow {
    /// The network that the inside endpoint is on.
    pub(in crate::probe) side: Side,
    /// The inside endpoint.
    pub(in crate::probe) inside: SocketAddrV4,
    /// The remote endpoint.
    pub(in crate::probe) remote: SocketAddrV4,
    /// The sequence number of the inside's SYN.
    pub(in crate::probe) isn: u32,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Fate {
    /// It came out at another side.
    Delivered {
        /// Where.
        side: Side,
        /// With which source.
        source: SocketAddrV4,
        /// To whom.
        destination: SocketAddrV4,
    },
    /// It was answered by a reset.
    Reset,
    /// It was answered by a reset that came from this endpoint, not from the one that was asked.
    ResetFrom(SocketAddrV4),
    /// It was answered by a SYN/ACK of the NAT's own.
    SynAck,
    /// It was answered by an ICMP error of this type and code.
    Icmp(u8, u8),
    /// Nothing happened.
    Silence,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { source, destination, .. } => {
                write!(f, "delivered to {destination}, with the source {source}")
            }
            Self::Reset => f.write_str("a reset"),
            Self::ResetFrom(source) => write!(f, "a reset from {source}"),
            Self::SynAck => f.write_str("a SYN/ACK"),
            Self::Icmp(kind, code) => write!(f, "ICMP {kind}/{code}"),
            Self::Silence => f.write_str("silence"),
        }
    }
}

/// The SYNs of connections from inside that got out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::probe) struct Losses {
    /// How many got out.
    pub(in crate::probe) opened: u32,
    /// How many of these had to be sent again.
    pub(in crate::probe) again: u32,
}

impl Losses {
    /// Those after a further measurement, during which the machine dropped so many frames: if it dropped any, what vanished says nothing
    /// of the NAT.
    fn unless_dropped(self, after: Self, dropped: u64) -> Self {
        if dropped == 0 { after } else { self }
    }
}

/// Asks questions on a bench, each with endpoints that no other has used.
#[derive(Debug)]
pub(in crate::probe) struct Prober {
    /// The bench.
    pub(in crate::probe) bench: Bench,
    /// How often its SYNs needed to be sent again.
    pub(in crate::probe) losses: Losses,
    insides: u32,
    remotes: u32,
    numbers: u32,
}

/// Ports are gone through in steps of this prime, which divides no number of ports but one: each comes up once before any comes up again.
const SCATTERED: u32 = 39_119;

impl Prober {
    /// A prober on a bench.
    pub(in crate::probe) fn new(bench: Bench) -> Self {
        Self { bench, losses: Losses::default(), insides: 0, remotes: 0, numbers: 0 }
    }

    /// Makes a measurement, and makes it again with a NAT that remembers nothing if it did not come out `as_expected` while the
    /// processor dropped frames: what is missing then was perhaps not missing.
    ///
    /// # Errors
    /// Those of the measurement, or that the processor never stopped.
    pub(in crate::probe) fn surely<T>(
        &mut self,
        measure: impl Fn(&mut Self) -> Result<T>,
        as_expected: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let before = self.losses;
        for _ in 0..MEASURED {
            let dropped = self.bench.dropped()?;
            let found = measure(self);
            let dropped = self.bench.dropped()? - dropped;
            self.losses = before.unless_dropped(self.losses, dropped);
            if found.as_ref().is_ok_and(&as_expected) || dropped == 0 {
                return found;
            }
            self.bench.rest();
            self.bench.forget()?;
        }
        let why =
            format!("the processor's queue was full, and frames were dropped, {MEASURED} times in a row");
        Err(Error::other("measure a NAT", why))
    }

    /// Makes room for further mappings, where a host may have only so many at a time.
    pub(in crate::probe) fn breathe(&mut self, room: Option<u32>) -> Result<()> {
        if room.is_some() { self.bench.forget() } else { Ok(()) }
    }

    /// A remote endpoint whose address nothing has been sent to.
    pub(in crate::probe) fn remote(&mut self) -> SocketAddrV4 {
        /// 198.18.0.0/15, the networks for tests of network devices (RFC 2544).
        const FIRST: u32 = 0xc612_0000;
        self.remotes += 1;
        let n = self.remotes;
        SocketAddrV4::new(
            Ipv4Addr::from(FIRST + n % 0x1_ffff),
            4_000 + u16::try_from(n % 50_000).unwrap_or(0),
        )
    }

    /// An inside endpoint that has not been used, its port anywhere from 2048 to 65535.
    pub(in crate::probe) fn inside(&mut self, side: Side) -> SocketAddrV4 {
        const PORTS: u32 = 65_536 - 2_048;
        self.insides += 1;
        let n = self.insides.wrapping_mul(SCATTERED) % PORTS;
        SocketAddrV4::new(side.address(), 2_048 + u16::try_from(n).unwrap_or(0))
    }

    /// An inside endpoint whose port lies in a pool: each of its ports comes up once before any comes up again, then in another order.
    pub(in crate::probe) fn inside_of(&mut self, side: Side, pool: PortSet) -> SocketAddrV4 {
        self.insides += 1;
        let size = pool.size().max(1);
        let port = pool.nth(self.insides.wrapping_mul(SCATTERED).wrapping_add(self.insides / size) % size);
        SocketAddrV4::new(side.address(), port.unwrap_or(pool.low()))
    }

    /// Connections from different endpoints whose ports lie outside a pool, each to a remote endpoint of its own: those of the first host, and
    /// as far as it has too few, those of further ones. `None` where all hosts together have too few.
    pub(in crate::probe) fn flows_beside(
        &mut self,
        side: Side,
        pool: PortSet,
        wanted: usize,
    ) -> Option<Vec<Flow>> {
        const HOSTS: usize = 200;
        let ports: Vec<u16> = (1..=u16::MAX).filter(|port| !pool.contains(*port)).collect();
        if ports.len() * HOSTS < wanted {
            return None;
        }
        let [a, b, c, first] = side.address().octets();
        let flow = |n: usize| {
            let host = first + u8::try_from(n / ports.len()).unwrap_or(0);
            let inside =
                SocketAddrV4::new([a, b, c, host].into(), ports[n * SCATTERED as usize % ports.len()]);
            let remote = self.remote();
            self.flow_between(side, inside, remote)
        };
        Some((0..wanted).map(flow).collect())
    }

    /// A connection between two unused endpoints.
    pub(in crate::probe) fn flow(&mut self, side: Side) -> Flow {
        let (inside, remote) = (self.inside(side), self.remote());
        self.flow_between(side, inside, remote)
    }

    /// A connection between two endpoints.
    pub(in crate::probe) fn flow_between(
        &mut self,
        side: Side,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Flow {
        Flow { side, inside, remote, isn: self.isn() }
    }

    /// A sequence number that no other segment has.
    pub(in crate::probe) fn isn(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers.wrapping_mul(0x0010_0001)
    }

    /// Sends a SYN from inside; the external endpoint that it gets, or `None` if it does not come out.
    pub(in crate::probe) fn open(&mut self, flow: &Flow) -> Result<Option<SocketAddrV4>> {
        self.send_syns(flow, 0..SYNS)
    }

    /// The same with a single SYN, where it may well be refused and nobody minds.
    pub(in crate::probe) fn open_at_once(&mut self, flow: &Flow) -> Result<Option<SocketAddrV4>> {
        self.send_syns(flow, 0..1)
    }

    /// Sends the SYNs of these numbers one after the other, until one comes out.
    fn send_syns(&mut self, flow: &Flow, numbers: Range<usize>) -> Result<Option<SocketAddrV4>> {
        let end = numbers.end;
        for n in numbers {
            if n > 0 {
                std::thread::sleep(RETRANSMISSION);
            }
            let (syn, datapath) = (Probe::syn(flow.inside, flow.remote, flow.isn), self.bench.datapath());
            let is_out = |seen: &[ArrivedPacket]| external(seen, flow, datapath).is_some();
            let patience = if n + 1 < end { Patience::Short } else { Patience::Long };
            let seen = self.bench.ask_until(flow.side, &syn, patience, is_out)?;
            if let Some(source) = external(&seen, flow, datapath) {
                self.losses.opened += 1;
                self.losses.again += u32::from(n > 0);
                return Ok(Some(source));
            }
        }
        Ok(None)
    }

    /// Opens a connection between two unused endpoints.
    pub(in crate::probe) fn open_fresh(&mut self, side: Side) -> Result<(Flow, Option<SocketAddrV4>)> {
        let flow = self.flow(side);
        let external = self.open(&flow)?;
        Ok((flow, external))
    }

    /// Opens many connections: their first SYNs are sent in batches, before anything is waited for.
    pub(in crate::probe) fn open_all(&mut self, flows: &[Flow]) -> Result<Vec<Option<SocketAddrV4>>> {
        /// What fits into a socket's buffer with room to spare, also without the right to enlarge it.
        const BATCH: usize = 32;
        let mut found = Vec::with_capacity(flows.len());
        for batch in flows.chunks(BATCH) {
            for flow in batch {
                self.bench.send(flow.side, &Probe::syn(flow.inside, flow.remote, flow.isn))?;
            }
            let datapath = self.bench.datapath();
            let all_out = |seen: &[ArrivedPacket]| {
                seen.len() >= batch.len() && batch.iter().all(|flow| external(seen, flow, datapath).is_some())
            };
            let seen = self.bench.fence_until(batch[0].side, Patience::Short, all_out)?;
            for flow in batch {
                found.push(match external(&seen, flow, datapath) {
                    Some(endpoint) => {
                        self.losses.opened += 1;
                        Some(endpoint)
                    }
                    None => self.send_syns(flow, 1..1 + SYNS)?,
                });
            }
        }
        Ok(found)
    }

    /// Sends a SYN from outside.
    pub(in crate::probe) fn knock(&mut self, remote: SocketAddrV4, at: SocketAddrV4) -> Result<Fate> {
        let probe = Probe::syn(remote, at, self.isn());
        self.fate(Side::Outside, &probe)
    }

    /// Sends a segment and finds out what becomes of it.
    pub(in crate::probe) fn fate(&mut self, from: Side, probe: &Probe) -> Result<Fate> {
        let datapath = self.bench.datapath();
        let of = |seen: &[ArrivedPacket]| fate(seen, from, probe, datapath);
        let seen = self.bench.ask_until(from, probe, Patience::Long, |seen| of(seen) != Fate::Silence)?;
        Ok(of(&seen))
    }

    /// Opens a connection, and completes its handshake from both ends.
    ///
    /// Returns the external endpoint and the remote's sequence number; `None` if a segment did not get through.
    pub(in crate::probe) fn establish(&mut self, flow: &Flow) -> Result<Option<(SocketAddrV4, u32)>> {
        let Some(external) = self.open(flow)? else { return Ok(None) };
        let theirs = self.isn();
        let answer = Probe::ack((flow.remote, external), TcpFlags::SYN, (theirs, flow.isn.wrapping_add(1)));
        let answered = self.fate(Side::Outside, &answer)?;
        let ack = Probe::ack(
            (flow.inside, flow.remote),
            TcpFlags(0),
            (flow.isn.wrapping_add(1), theirs.wrapping_add(1)),
        );
        let acknowledged = self.fate(flow.side, &ack)?;
        let through = |fate| matches!(fate, Fate::Delivered { .. });
        Ok((through(answered) && through(acknowledged)).then_some((external, theirs)))
    }
}

/// The source of the flow's SYN as it came out.
fn external(seen: &[ArrivedPacket], flow: &Flow, datapath: Datapath) -> Option<SocketAddrV4> {
    let is_it = |seen: &&ArrivedPacket| {
        // A socket of the NAT's own has a number of its own.
        let same = |number: u32| datapath == Datapath::Sockets || number == flow.isn;
        let syn = seen.packet.tcp().filter(|tcp| tcp.flags.is_opening() && same(tcp.sequence));
        seen.side == Side::Outside && seen.packet.destination == flow.remote && syn.is_some()
    };
    seen.iter().find(is_it).map(|seen| seen.packet.source)
}

/// What became of `probe`, sent from `from`, by all that was seen afterwards.
pub(in crate::probe) fn fate(seen: &[ArrivedPacket], from: Side, probe: &Probe, datapath: Datapath) -> Fate {
    let same = |packet: &Packet| match datapath {
        Datapath::Conntrack | Datapath::Packets => is_same(packet, probe),
        Datapath::Sockets => is_its_like(packet, from, probe),
    };
    let delivered = seen.iter().find(|s| s.side != from && same(&s.packet));
    if let Some(ArrivedPacket { side, packet }) = delivered {
        return Fate::Delivered { side: *side, source: packet.source, destination: packet.destination };
    }
    let answers = seen.iter().filter(|s| s.side == from).map(|s| &s.packet);
    let mut fates = answers.filter_map(|packet| match packet.kind {
        PacketKind::Tcp(tcp) if tcp.flags.contains(TcpFlags::RST) && packet.destination == probe.source => {
            Some(if packet.source == probe.destination {
                Fate::Reset
            } else {
                Fate::ResetFrom(packet.source)
            })
        }
        PacketKind::Tcp(tcp)
            if tcp.flags.is_answer() && tcp.acknowledgment == probe.sequence.wrapping_add(1) =>
        {
            Some(Fate::SynAck)
        }
        PacketKind::Icmp(message) if message.about.is_some_and(|q| q.sequence == probe.sequence) => {
            Some(Fate::Icmp(message.kind, message.code))
        }
        _ => None,
    });
    fates.next().unwrap_or(Fate::Silence)
}

/// Whether a packet belongs to the connection that the NAT opened because of the probe: to or from the same remote endpoint, and of the
/// same flags.
fn is_its_like(packet: &Packet, from: Side, probe: &Probe) -> bool {
    let remote_is_same = match from {
        Side::Outside => packet.source == probe.source,
        Side::Inside0 | Side::Inside1 => packet.destination == probe.destination,
    };
    remote_is_same && packet.tcp().is_some_and(|tcp| tcp.flags == probe.flags)
}

/// Whether a packet is the probe, addresses and ports apart.
fn is_same(packet: &Packet, probe: &Probe) -> bool {
    packet.tcp().is_some_and(|tcp| tcp.sequence == probe.sequence && tcp.flags == probe.flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanished_while_the_machine_dropped_frames_is_not_the_nats_loss() {
        let before = Losses { opened: 100, again: 1 };
        let after = Losses { opened: 124, again: 21 };
        assert_eq!(before.unless_dropped(after, 0), after);
        assert_eq!(before.unless_dropped(after, 3), before);
    }
}
