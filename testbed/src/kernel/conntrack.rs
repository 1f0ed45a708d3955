//! Connection tracking of one namespace by netlink: events as they happen, a dump of what is there, a flush.
//!
//! Only TCP over IPv4 is reported. The NEW event of a flow is sent before the packet that made it leaves the NAT, so
//! code that has seen the packet can read the event.

mod ages;
mod counters;

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, Nla,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol,
    Tuple as TupleNla,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::kernel::readiness;
use crate::model::evidence::{CtChange, CtEntry, CtState, Tuple};

/// `CTA_ID` of `nfnetlink_conntrack.h`.
const CTA_ID: u16 = 12;
/// Multicast groups of `nfnetlink_compat.h`: new, update, destroy.
const ALL_CHANGES: &[u32] = &[1, 2, 3];
/// New and destroy alone.
const BEGINS_AND_ENDS: &[u32] = &[1, 3];
/// Room for events that have not been read; a spray of a thousand SYNs takes a fraction of it.
const EVENT_BUFFER: usize = 8 << 20;
/// The largest batch that the kernel hands over at once.
const RECEIVE_BUFFER: usize = 64 << 10;

/// This many entries at most are named: 64 take 78 µs then and 146 µs without, four 14 and 119. Of more, the answers that
/// some are gone might not find room.
const WORTH_NAMING: usize = 64;

/// Of `netlink.h`.
const NLMSG_ALIGNTO: usize = 4;

/// What a read of the events brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All there was.
    Everything,
    /// The kernel ran out of room and threw events away, or said something that cannot be read.
    SomeLost,
}

/// The events of one namespace.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
}

/// Requests to connection tracking of one namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    /// The number of the last request, by which its answer is known.
    last: AtomicU32,
}

impl Events {
    /// Starts listening in the namespace of this thread.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn open(inside: &Inside) -> Result<Self> {
        Self::of_groups(inside, ALL_CHANGES)
    }

    /// The same, to what begins and ends entries alone.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn of_begins_and_ends(inside: &Inside) -> Result<Self> {
        Self::of_groups(inside, BEGINS_AND_ENDS)
    }

    fn of_groups(_: &Inside, groups: &[u32]) -> Result<Self> {
        const TRIED: &str = "listen to conntrack events";
        let socket = open(TRIED)?;
        // Without the right to go beyond net.core.rmem_max, what that allows has to do.
        if setsockopt(&socket, sockopt::RcvBufForce, &EVENT_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &EVENT_BUFFER)
                .map_err(|e| Error::call(TRIED, "setsockopt(SO_RCVBUF)", e))?;
        }
        for group in groups {
            socket.add_membership(*group).map_err(|e| Error::io(TRIED, "NETLINK_ADD_MEMBERSHIP", &e))?;
        }
        socket.set_non_blocking(true).map_err(|e| Error::io(TRIED, "fcntl(O_NONBLOCK)", &e))?;
        Ok(Self { socket })
    }

    /// Hands over every event that has happened, and returns at once.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn read(&self, mut event: impl FnMut(CtChange, CtEntry)) -> Result<Read> {
        self.each(|message| {
            if let Some((change, entry)) = change(message) {
                event(change, entry);
            }
        })
    }

    /// The same, with how long an entry has lived that has ended, by the kernel's own clock. It keeps that where
    /// `net.netfilter.nf_conntrack_timestamp` is set.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn read_with_ages(&self, mut event: impl FnMut(CtChange, CtEntry, Option<Duration>)) -> Result<Read> {
        self.each(|message| {
            if let Some((change, entry)) = change(message) {
                event(change, entry, ages::lived(message));
            }
        })
    }

    fn each(&self, mut event: impl FnMut(&NetlinkMessage<NetfilterMessage>)) -> Result<Read> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        let mut read = Read::Everything;
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {
                    if each_message(&buffer, |message| event(&message)).is_err() {
                        read = Read::SomeLost;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => read = Read::SomeLost,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read conntrack events", "recv", &error)),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

// SAFETY: the socket is open, and the same, until the events are dropped.
unsafe impl readiness::Owner for Events {}

impl Conntrack {
    /// Opens a socket in the namespace of this thread.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn open(_: &Inside) -> Result<Self> {
        Ok(Self { socket: open("talk to conntrack")?, last: AtomicU32::new(0) })
    }

    /// Forgets every entry.
    ///
    /// What is `known` to be there, by the direction that it began in, goes first and one by one: the kernel finds that at
    /// once, and walks through its whole table (`nf_ct_iterate_cleanup`, 0.12 ms for 262,144 places) only for what is left. It does no
    /// harm to name what is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flush(&self, known: &[Tuple]) -> Result<()> {
        const TRIED: &str = "flush conntrack";
        let known = if known.len() > WORTH_NAMING { &[] } else { known };
        let mut batch = Vec::new();
        for tuple in known {
            let delete = ConntrackMessage::Delete(vec![ConntrackAttribute::CtaTupleOrig(nlas(tuple))]);
            batch.extend(request(delete, NLM_F_REQUEST, self.next_number()));
        }
        // Of those before only what failed is answered.
        let rest = self.next_number();
        batch.extend(request(ConntrackMessage::Delete(Vec::new()), NLM_F_REQUEST | NLM_F_ACK, rest));
        self.send(TRIED, &batch)?;
        self.answers(TRIED, rest, |_| ())
    }

    /// Ends one entry, of which nothing is left for a packet that comes later. Says whether it was there.
    ///
    /// The number tells it from another entry of the same flow that has taken its place.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&self, flow: &Tuple, id: u32) -> Result<bool> {
        const TRIED: &str = "end a conntrack entry";
        let number = self.next_number();
        let named = vec![
            ConntrackAttribute::CtaTupleOrig(nlas(flow)),
            ConntrackAttribute::Other(DefaultNla::new(CTA_ID, id.to_be_bytes().to_vec())),
        ];
        self.send(TRIED, &request(ConntrackMessage::Delete(named), NLM_F_REQUEST | NLM_F_ACK, number))?;
        match self.answers(TRIED, number, |_| ()) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(false),
            answered => answered.map(|()| true),
        }
    }

    fn next_number(&self) -> u32 {
        self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Every entry that there is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dump(&self) -> Result<Vec<CtEntry>> {
        const TRIED: &str = "list conntrack entries";
        let number = self.next_number();
        self.send(TRIED, &request(ConntrackMessage::Get(Vec::new()), NLM_F_REQUEST | NLM_F_DUMP, number))?;
        let mut entries = Vec::new();
        self.answers(TRIED, number, |message| entries.extend(change(message).map(|(_, entry)| entry)))?;
        Ok(entries)
    }

    /// The time that the entry of a flow has left unless a packet prolongs it, in whole seconds; the flow is named by the direction
    /// that it began in. `None` when there is no such entry.
    ///
    /// The kernel finds one entry at once, and walks through its whole table to list them all.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lifetime(&self, flow: &Tuple) -> Result<Option<Duration>> {
        const TRIED: &str = "read a conntrack entry";
        let number = self.next_number();
        let get = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleOrig(nlas(flow))]);
        self.send(TRIED, &request(get, NLM_F_REQUEST | NLM_F_ACK, number))?;
        let mut left = None;
        match self.answers(TRIED, number, |message| left = timeout(message)) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            answered => answered.map(|()| left),
        }
    }

    fn send(&self, tried: &str, requests: &[u8]) -> Result<()> {
        self.socket.send(requests, 0).map(drop).map_err(|e| Error::io(tried, "send", &e))
    }

    /// Reads until the kernel says that it is done with the request of that number, or that it will not; what it says of
    /// others, as that an entry is gone, is nobody's business.
    fn answers(
        &self,
        tried: &str,
        number: u32,
        mut answer: impl FnMut(&NetlinkMessage<NetfilterMessage>),
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0).map_err(|e| Error::io(tried, "recv", &e))?;
            let mut end = None;
            let whole = each_message(&buffer, |message| match &message.payload {
                // Without the right, only the first of several requests is answered (nfnetlink.c, nfnetlink_rcv).
                NetlinkPayload::Error(error) if error.raw_code() == -libc::EPERM => {
                    end = Some(Err(Error::io(tried, "netlink", &io::Error::from_raw_os_error(libc::EPERM))));
                }
                _ if message.header.sequence_number != number => {}
                NetlinkPayload::Done(_) => end = Some(Ok(())),
                NetlinkPayload::Error(error) => {
                    end = Some(match error.raw_code() {
                        0 => Ok(()),
                        code => Err(Error::io(tried, "netlink", &io::Error::from_raw_os_error(-code))),
                    });
                }
                _ => answer(&message),
            });
            whole.map_err(|()| Error::other(tried, "the kernel's answer cannot be read"))?;
            if let Some(end) = end {
                return end;
            }
        }
    }
}

/// A request with its number.
fn request(message: ConntrackMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let family = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let mut packet =
        NetlinkMessage::new(header, NetlinkPayload::from(NetfilterMessage::new(family, message)));
    packet.finalize();
    // As the kernel aligns them, one behind the other.
    let mut bytes = vec![0; packet.buffer_len().next_multiple_of(NLMSG_ALIGNTO)];
    packet.serialize(&mut bytes);
    bytes
}

fn open(tried: &str) -> Result<Socket> {
    let mut socket =
        Socket::new(NETLINK_NETFILTER).map_err(|e| Error::io(tried, "socket(NETLINK_NETFILTER)", &e))?;
    socket.bind_auto().map_err(|e| Error::io(tried, "bind", &e))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(|e| Error::io(tried, "connect", &e))?;
    Ok(socket)
}

/// The events in what the kernel sent at once, and whether all of it could be read.
#[must_use]
pub fn decode(bytes: &[u8]) -> (Vec<(CtChange, CtEntry)>, Read) {
    let mut events = Vec::new();
    let whole = each_message(bytes, |message| events.extend(change(&message)));
    (events, if whole.is_ok() { Read::Everything } else { Read::SomeLost })
}

/// Calls `each` with every message in `bytes`, up to the first that cannot be read, if there is one.
fn each_message(
    mut bytes: &[u8],
    mut each: impl FnMut(NetlinkMessage<NetfilterMessage>),
) -> std::result::Result<(), ()> {
    while let Some(length) = bytes.first_chunk().map(|b| u32::from_ne_bytes(*b) as usize) {
        let message = bytes.get(..length).ok_or(())?;
        is_ours(message).then_some(()).ok_or(())?;
        each(NetlinkMessage::deserialize(message).map_err(drop)?);
        bytes = bytes.get(length.next_multiple_of(NLMSG_ALIGNTO)..).unwrap_or_default();
    }
    Ok(())
}

/// Whether a message is netlink's own (its end, an error) or conntrack's. The socket is told of nothing else, and the
/// decoders of other subsystems panic at attributes that are shorter than their header.
fn is_ours(message: &[u8]) -> bool {
    /// `NFNL_SUBSYS_CTNETLINK` of `nfnetlink.h`; netlink's own messages have zero there.
    const CTNETLINK: u16 = 1;
    let kind = message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    kind.is_some_and(|kind| kind >> 8 <= CTNETLINK)
}

/// What a message says of a TCP entry, if it is about one.
fn change(message: &NetlinkMessage<NetfilterMessage>) -> Option<(CtChange, CtEntry)> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
    let NetfilterMessageInner::Conntrack(conntrack) = &inner.inner else { return None };
    match conntrack {
        ConntrackMessage::New(attributes) => {
            // `ctnetlink_conntrack_event` marks what is new as created exclusively.
            let change =
                if message.header.flags & NLM_F_EXCL == 0 { CtChange::Update } else { CtChange::New };
            Some((change, entry(attributes)?))
        }
        ConntrackMessage::Delete(attributes) => Some((CtChange::Destroy, entry(attributes)?)),
        _ => None,
    }
}

fn entry(attributes: &[ConntrackAttribute]) -> Option<CtEntry> {
    let (mut original, mut reply, mut state, mut status, mut id) = (None, None, None, 0, 0);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(nlas) => original = Some(tuple(nlas)?),
            ConntrackAttribute::CtaTupleReply(nlas) => reply = Some(tuple(nlas)?),
            ConntrackAttribute::CtaProtoInfo(nlas) => state = tcp_state(nlas),
            ConntrackAttribute::CtaStatus(bits) => status = bits.bits(),
            ConntrackAttribute::Other(nla) if nla.kind() == CTA_ID && nla.value_len() == 4 => {
                let mut value = [0; 4];
                nla.emit_value(&mut value);
                id = u32::from_be_bytes(value);
            }
            _ => {}
        }
    }
    Some(CtEntry { original: original?, reply: reply?, state, status, id })
}

/// How long the entry that a message is about has left.
fn timeout(message: &NetlinkMessage<NetfilterMessage>) -> Option<Duration> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &inner.inner else {
        return None;
    };
    attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTimeout(seconds) => Some(Duration::from_secs(u64::from(*seconds))),
        _ => None,
    })
}

/// One direction of a TCP flow; `None` for other protocols.
fn tuple(nlas: &[TupleNla]) -> Option<Tuple> {
    let (mut source, mut destination, mut from, mut to, mut tcp) = (None, None, 0, 0, false);
    for nla in nlas {
        match nla {
            TupleNla::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(IpAddr::V4(ip)) => source = Some(*ip),
                        IPTuple::DestinationAddress(IpAddr::V4(ip)) => destination = Some(*ip),
                        _ => {}
                    }
                }
            }
            TupleNla::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(protocol) => tcp = *protocol == Protocol::Tcp,
                        ProtoTuple::SourcePort(port) => from = *port,
                        ProtoTuple::DestinationPort(port) => to = *port,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let tuple =
        Tuple { source: SocketAddrV4::new(source?, from), destination: SocketAddrV4::new(destination?, to) };
    tcp.then_some(tuple)
}

/// One direction of a TCP flow, as a request names it.
fn nlas(tuple: &Tuple) -> Vec<TupleNla> {
    let Tuple { source, destination } = tuple;
    let addresses = vec![
        IPTuple::SourceAddress((*source.ip()).into()),
        IPTuple::DestinationAddress((*destination.ip()).into()),
    ];
    let ports = vec![
        ProtoTuple::Protocol(Protocol::Tcp),
        ProtoTuple::SourcePort(source.port()),
        ProtoTuple::DestinationPort(destination.port()),
    ];
    vec![TupleNla::Ip(addresses), TupleNla::Proto(ports)]
}

fn tcp_state(nlas: &[ProtoInfo]) -> Option<CtState> {
    let tcp = nlas.iter().find_map(|nla| match nla {
        ProtoInfo::TCP(nlas) => Some(nlas),
        _ => None,
    })?;
    tcp.iter().find_map(|nla| match nla {
        ProtoInfoTCP::State(number) => CtState::from_kernel(*number),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }
    }
}
