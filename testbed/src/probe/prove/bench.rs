//! The bench that a NAT is proved on: the NAT in a namespace of its own, and the probe at the far end of its cables.
//!
//! ```text
//!   probe: outside ──── wan  NAT  lan0 ──── probe: inside0
//!                                 lan1 ──── probe: inside1
//! ```
//!
//! The probe's ends have no addresses and no TCP stack: every frame is made and read here, so that one namespace
//! stands in for any number of hosts on either side, and nothing but the NAT ever answers.
//!
//! # How silence is known
//! Frames that are sent one after the other by a thread which stays on one processor pass the NAT in that order. So
//! each question is followed by an ARP request on the same cable: when its answer is here, everything that the
//! question led to is here, and what is not here was not sent. No time is waited for, and no load on the machine can
//! turn an answer into silence.
//!
//! But for one: a processor drops frames while its queue is full, whatever filled it. The kernel counts them, so that what
//! was asked meanwhile is asked again ([`Prober::surely`](super::prober::Prober::surely)).
//!
//! And a program that carries the packets across by itself takes its own time. Of such a NAT silence can only be waited for
//! ([`Patience`]).

mod cables;
mod side;
mod silence;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::kernel::backlog;
use crate::kernel::conntrack::{Conntrack, Events};
use crate::kernel::error::{Errno, Error, Result};
use crate::kernel::namespace::Namespace;
use crate::kernel::packet_socket::{LARGEST_FRAME, OFFLOAD_HEADER, PacketSocket};
use crate::kernel::processors;
use crate::kernel::ruleset::{DynamicSet, Nft, SetFlusher};
use crate::kernel::sysctl::Sysctl;
use crate::lab::absolute_timeout::AbsoluteTimeout;
use crate::lab::nat_program::NatProgram;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::nat_thread::Enforcement;
use crate::lab::periodic_flush::PeriodicFlush;
use crate::model::address_plan::Network;
use crate::model::datapath::Datapath;
use crate::model::evidence::{CtChange, CtEntry, Tuple};
use crate::model::packet::Packet;

pub(in crate::probe) use cables::ShownToIp;
use cables::{namespace, wire_up};
pub(in crate::probe) use side::Side;
pub(in crate::probe) use silence::Patience;
use silence::until_silent;

use super::frame::{Probe, QuotedIcmpError, datagram, is_arp_answer, who_has};

/// How long the NAT may take to answer an ARP request before the bench counts as broken.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How long a processor is left alone whose queue is full.
const BREATH: Duration = Duration::from_millis(1);

/// The external address of the NAT on the bench.
pub(in crate::probe) const WAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Whether an address is one that a NAT on the bench may have outside.
pub(in crate::probe) fn is_external(address: Ipv4Addr) -> bool {
    Network { address: WAN, prefix: 24 }.contains(address) && address != Side::Outside.address()
}

/// Hosts on each inside network that the NAT knows the way to: .2 and up.
const HOSTS: u8 = 2;

/// A packet that arrived at one of the probe's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct ArrivedPacket {
    /// At which.
    pub(in crate::probe) side: Side,
    /// The packet.
    pub(in crate::probe) packet: Packet,
}

/// A NAT, wired up and running, and the means to ask it.
#[derive(Debug)]
pub(in crate::probe) struct Bench {
    nat: Namespace,
    /// Kept alive: the far ends of the cables are in here.
    _probe: Namespace,
    sockets: [PacketSocket; 3],
    conntrack: Conntrack,
    events: Events,
    /// The entries that are there, as far as events have told, by their numbers.
    known: BTreeMap<u32, Tuple>,
    sets: SetFlusher,
    dynamic: Vec<DynamicSet>,
    /// What ends its connections at their absolute timeout, if it has one: put off, unless that is what is asked about.
    absolute: Option<AbsoluteTimeout>,
    /// What has it forget everything at regular intervals, if it is to: put off as well.
    flushing: Option<PeriodicFlush>,
    /// The user's program that makes the NAT, if there is one.
    program: Option<NatProgram>,
    /// What carries the packets across.
    datapath: Datapath,
    runtime: Handle,
    /// The one that everything happens on.
    processor: usize,
    buffer: Vec<u8>,
    /// The last frames with data that arrived, whole.
    with_data: Vec<Vec<u8>>,
    /// Everything that went over the cables, where it is recorded.
    record: Option<Vec<RecordedFrame>>,
}

/// A frame that went over a cable of the bench.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::probe) struct RecordedFrame {
    /// Which cable.
    pub(in crate::probe) side: Side,
    /// Whether it went to the NAT, or came from it.
    pub(in crate::probe) heading: CableDirection,
    /// All of it.
    pub(in crate::probe) bytes: Vec<u8>,
}

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum CableDirection {
    ToNat,
    FromNat,
}

/// The surroundings of a NAT on the bench.
pub(in crate::probe) fn site() -> NatSite {
    let network = |side: Side| Network { address: side.gateway(), prefix: 24 }.base();
    NatSite {
        wan: WAN,
        lans: vec![("lan0".to_owned(), network(Side::Inside0)), ("lan1".to_owned(), network(Side::Inside1))],
    }
}

impl Bench {
    /// Builds the bench around a NAT. The thread must be one that may block, within a tokio runtime, and stays on one
    /// processor from now on.
    pub(in crate::probe) fn build(config: &NatConfig) -> Result<Self> {
        let processor = processors::stay_on_one()?;
        let runtime = Handle::current();
        let (probe, probe_links) = namespace(&runtime)?;
        let (nat, nat_links) = namespace(&runtime)?;
        runtime.block_on(wire_up(&nat_links, &probe_links, &probe))?;
        for address in &config.further {
            let device = Side::Outside.device_index();
            runtime.block_on(nat_links.add_address(device, *address, 24))?;
        }
        let sockets = probe.enter(|inside| {
            let open = |side: Side| PacketSocket::carrier(inside, side.devices().1);
            Ok::<_, Error>([open(Side::Outside)?, open(Side::Inside0)?, open(Side::Inside1)?])
        })??;
        let nft = Nft::of(config.source);
        let (conntrack, events, sets, absolute) = nat.enter(|inside| {
            for (key, value) in &config.sysctls {
                Sysctl::new(key.clone(), value).write(inside)?;
            }
            nft.load(inside, &config.script()).map_err(config.at_file())?;
            let absolute = AbsoluteTimeout::of(inside, config, Enforcement::PutOff)?;
            let (conntrack, events) = (Conntrack::open(inside)?, Events::open(inside)?);
            Ok::<_, Error>((conntrack, events, SetFlusher::open(inside)?, absolute))
        })??;
        let start = |command| runtime.block_on(NatProgram::start(command, &nat));
        let program = config.command.as_ref().map(start).transpose()?;
        // What a program makes beside them is not in the rules' text.
        let rules = config.command.is_none().then_some(config.ruleset.as_str());
        let (dynamic, flushing) = nat.enter(|inside| {
            let dynamic = nft.dynamic_sets(inside, rules)?;
            let flushing = PeriodicFlush::of(inside, config, &dynamic, Enforcement::PutOff)?;
            Ok::<_, Error>((dynamic, flushing))
        })??;
        let (buffer, with_data) = (vec![0; LARGEST_FRAME], Vec::new());
        let mut bench = Self {
            nat,
            _probe: probe,
            sockets,
            conntrack,
            events,
            known: BTreeMap::new(),
            sets,
            dynamic,
            absolute,
            flushing,
            program,
            datapath: config.datapath,
            runtime,
            processor,
            buffer,
            with_data,
            record: None,
        };
        for side in Side::ALL {
            bench.fence(side)?;
        }
        Ok(bench)
    }

    /// Sends a segment and returns all that it led to.
    pub(in crate::probe) fn ask(&mut self, from: Side, probe: &Probe) -> Result<Vec<ArrivedPacket>> {
        self.send(from, probe)?;
        self.fence(from)
    }

    /// The same, where a NAT that can only be waited for need not be waited for any longer once what arrived answers the question.
    pub(in crate::probe) fn ask_until(
        &mut self,
        from: Side,
        probe: &Probe,
        patience: Patience,
        is_answer: impl Fn(&[ArrivedPacket]) -> bool,
    ) -> Result<Vec<ArrivedPacket>> {
        self.send(from, probe)?;
        self.fence_until(from, patience, is_answer)
    }

    /// The same of a NAT of which it is not known what carries its packets across.
    pub(in crate::probe) fn ask_unknown(
        &mut self,
        from: Side,
        probe: &Probe,
        is_answer: impl Fn(&[ArrivedPacket]) -> bool,
    ) -> Result<Vec<ArrivedPacket>> {
        self.send(from, probe)?;
        let seen = self.fence_by_arp(from)?;
        self.wait_for_silence(Patience::Long, seen, is_answer)
    }

    /// Sends an ICMP error and returns all that it led to.
    pub(in crate::probe) fn send_icmp_error(
        &mut self,
        from: Side,
        error: &QuotedIcmpError,
    ) -> Result<Vec<ArrivedPacket>> {
        let (nat, probe) = from.macs();
        self.put(from, &error.frame(probe, nat))?;
        self.fence(from)
    }

    /// Sends a UDP datagram and returns all that it led to.
    pub(in crate::probe) fn ask_udp(
        &mut self,
        from: Side,
        source: SocketAddrV4,
        destination: SocketAddrV4,
    ) -> Result<Vec<ArrivedPacket>> {
        let (nat, own) = from.macs();
        self.put(from, &datagram((source, destination), (own, nat)))?;
        self.fence(from)
    }

    /// Sends a segment without waiting for what it leads to.
    pub(in crate::probe) fn send(&mut self, from: Side, probe: &Probe) -> Result<()> {
        let (nat, own) = from.macs();
        self.put(from, &probe.frame(own, nat))
    }

    /// Waits until everything that was sent from this side has been dealt with, and returns what arrived anywhere.
    pub(in crate::probe) fn fence(&mut self, side: Side) -> Result<Vec<ArrivedPacket>> {
        self.fence_until(side, Patience::Long, |_| false)
    }

    /// The same, where a NAT that can only be waited for need not be waited for any longer once what arrived is enough.
    pub(in crate::probe) fn fence_until(
        &mut self,
        side: Side,
        patience: Patience,
        is_enough: impl Fn(&[ArrivedPacket]) -> bool,
    ) -> Result<Vec<ArrivedPacket>> {
        match self.datapath {
            Datapath::Conntrack => self.fence_by_arp(side),
            Datapath::Packets | Datapath::Sockets => self.wait_for_silence(patience, Vec::new(), is_enough),
        }
    }

    /// Waits for the answer to an ARP request, before which the kernel has dealt with all that was sent from this side.
    fn fence_by_arp(&mut self, side: Side) -> Result<Vec<ArrivedPacket>> {
        let (_, probe) = side.macs();
        self.put(side, &who_has(side.gateway(), (probe, side.address())))?;
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let mut seen = Vec::new();
        loop {
            let answered = self.drain(side, &mut seen)?;
            if answered {
                // What the NAT sent elsewhere before it answered has arrived by now, and waits.
                for other in Side::ALL {
                    self.drain(other, &mut seen)?;
                }
                return Ok(seen);
            }
            for other in Side::ALL.into_iter().filter(|other| *other != side) {
                self.drain(other, &mut seen)?;
            }
            if Instant::now() > deadline {
                let why = format!("no answer to an ARP request within {ANSWER_DEADLINE:?}");
                return Err(Error::other(format!("reach the NAT on its device {}", side.devices().0), why));
            }
            self.wait(side, deadline)?;
        }
    }

    /// Waits until nothing has arrived anywhere for a while, or what arrived is enough, beside what was seen before.
    fn wait_for_silence(
        &mut self,
        patience: Patience,
        seen: Vec<ArrivedPacket>,
        is_enough: impl Fn(&[ArrivedPacket]) -> bool,
    ) -> Result<Vec<ArrivedPacket>> {
        let look = |seen: &mut Vec<ArrivedPacket>, may_end: bool| {
            // Asked before the look: what it sends afterwards is no answer to anything that came before.
            let has_work = may_end && self.program.as_ref().is_some_and(NatProgram::has_work);
            Side::ALL.into_iter().try_for_each(|side| self.drain(side, seen).map(drop))?;
            Ok(has_work)
        };
        until_silent(patience, Instant::now, seen, look, is_enough)
    }

    /// Waits until something arrives on one side. Mostly it has by now: the kernel does the work while we send.
    fn wait(&self, side: Side, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.sockets[side.index()].wait_for_frame(left).map_err(|e| Error::io("wait for the NAT", "poll", &e))
    }

    /// Takes what has arrived on one side; whether an ARP answer was among it.
    fn drain(&mut self, side: Side, seen: &mut Vec<ArrivedPacket>) -> Result<bool> {
        let mut answered = false;
        let tried = || format!("receive on device {}", side.devices().1);
        loop {
            let socket = &self.sockets[side.index()];
            let received = socket.receive(&mut self.buffer).map_err(|e| Error::io(tried(), "recvmsg", &e))?;
            let Some(received) = received else { break };
            let frame = self.buffer.get(OFFLOAD_HEADER..received.kept).unwrap_or_default();
            answered |= is_arp_answer(frame);
            let length = u32::try_from(received.length).unwrap_or(u32::MAX);
            if let Some(packet) = Packet::decode(frame, length) {
                if let Some(record) = &mut self.record {
                    record.push(RecordedFrame {
                        side,
                        heading: CableDirection::FromNat,
                        bytes: frame.to_vec(),
                    });
                }
                seen.push(ArrivedPacket { side, packet });
                if packet.tcp().is_some_and(|tcp| tcp.payload > 0) {
                    self.with_data.push(frame.to_vec());
                }
            }
        }
        let drops = self.sockets[side.index()].take_drops();
        match drops.map_err(|e| Error::io(tried(), "getsockopt(PACKET_STATISTICS)", &e))? {
            0 => Ok(answered),
            lost => Err(Error::other(tried(), format!("{lost} frames found no room"))),
        }
    }

    /// Keeps what goes over the cables from now on, and returns what was kept so far.
    pub(in crate::probe) fn record_anew(&mut self) -> Vec<RecordedFrame> {
        self.record.replace(Vec::new()).unwrap_or_default()
    }

    fn put(&mut self, side: Side, frame: &[u8]) -> Result<()> {
        if let Some(record) = &mut self.record {
            let bytes = frame.get(OFFLOAD_HEADER..).unwrap_or_default().to_vec();
            record.push(RecordedFrame { side, heading: CableDirection::ToNat, bytes });
        }
        let deadline = Instant::now() + ANSWER_DEADLINE;
        loop {
            let sent = self.sockets[side.index()].send(frame);
            match sent {
                // The processor's queue is full and the frame did not leave: it does once the queue has been worked off.
                Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) && Instant::now() < deadline => {
                    std::thread::sleep(BREATH);
                }
                sent => {
                    let tried = || format!("send on device {}", side.devices().1);
                    return sent.map_err(|e| Error::io(tried(), "send", &e));
                }
            }
        }
    }

    /// Lets the processor do what waits for it.
    pub(in crate::probe) fn rest(&self) {
        std::thread::sleep(BREATH);
    }

    /// How many frames of whatever namespace the processor has had no room for so far.
    pub(in crate::probe) fn dropped(&self) -> Result<u64> {
        let read = |e| Error::io("count the frames that were dropped", backlog::READ, &e);
        backlog::dropped(self.processor).map_err(read)
    }

    /// Leaves the NAT alone for so long, or until its program ends; a NAT without a program that stays is not waited for.
    ///
    /// # Errors
    /// When its program has ended by itself, or changed its node.
    pub(in crate::probe) fn leave_alone(&mut self, time: Duration) -> Result<()> {
        match &mut self.program {
            Some(program) => self.runtime.block_on(program.outlives(time, &self.nat)),
            None => Ok(()),
        }
    }

    /// Forgets all connections and mappings, as between two trials.
    pub(in crate::probe) fn forget(&mut self) -> Result<()> {
        if let Some(program) = self.program.as_mut().filter(|program| program.stays()) {
            self.runtime.block_on(program.renew(&self.nat, &self.conntrack))?;
            return self.new_entries().map(drop);
        }
        // Named ones are found at once. For the rest the kernel walks through its whole table, and all other benches wait.
        self.changes()?;
        let known: Vec<_> = std::mem::take(&mut self.known).into_values().collect();
        self.conntrack.flush(&known)?;
        self.sets.flush(&self.dynamic)?;
        self.new_entries().map(drop)
    }

    /// Whether the NAT's rules remember anything in sets or maps of nftables.
    pub(in crate::probe) fn fills_sets(&self) -> bool {
        !self.dynamic.is_empty()
    }

    /// The original tuples of the entries that came up since this was last asked.
    pub(in crate::probe) fn new_entries(&mut self) -> Result<Vec<(SocketAddrV4, SocketAddrV4)>> {
        let new = self.changes()?.into_iter().filter(|(change, _)| *change == CtChange::New);
        Ok(new.map(|(_, entry)| (entry.original.source, entry.original.destination)).collect())
    }

    /// What has changed in the table of connections since this was last asked.
    pub(in crate::probe) fn changes(&mut self) -> Result<Vec<(CtChange, CtEntry)>> {
        let (mut changes, known) = (Vec::new(), &mut self.known);
        self.events.read(|change, entry| {
            match change {
                CtChange::New => drop(known.insert(entry.id, entry.original)),
                CtChange::Update => {}
                CtChange::Destroy => drop(known.remove(&entry.id)),
            }
            changes.push((change, entry));
        })?;
        Ok(changes)
    }

    /// The frames with data that arrived since this was last asked, whole.
    pub(in crate::probe) fn take_data(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.with_data)
    }

    /// Sends a segment from one side to a host of another one, past the NAT's own address, and finds all that it led to.
    pub(in crate::probe) fn ask_across(
        &mut self,
        (from, to): (Side, Side),
        probe: &Probe,
    ) -> Result<Vec<ArrivedPacket>> {
        self.put(from, &probe.frame(from.macs().1, to.macs().1))?;
        self.fence(from)
    }

    /// What carries the packets across.
    pub(in crate::probe) fn datapath(&self) -> Datapath {
        self.datapath
    }

    /// What ends the NAT's connections at their absolute timeout, if it has one.
    pub(in crate::probe) fn absolute(&self) -> Option<&AbsoluteTimeout> {
        self.absolute.as_ref()
    }

    /// What has the NAT forget everything at regular intervals, if it is to.
    pub(in crate::probe) fn flushing(&self) -> Option<&PeriodicFlush> {
        self.flushing.as_ref()
    }

    /// Connection tracking of the NAT.
    pub(in crate::probe) fn conntrack(&self) -> &Conntrack {
        &self.conntrack
    }
}
