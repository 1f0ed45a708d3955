//! What the reference reads of a packet: addresses, hops, and of TCP all that connection tracking looks at.

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, TcpOptionElement};

use crate::model::evidence::{Frame, Tuple};
use crate::model::packet::{IcmpMessage, Packet, PacketKind, Segment, TcpFlags, recorded_data};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// Length of a TCP header without options.
const FIXED: usize = 20;

/// A packet on a link of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tuple: Tuple,
    pub(super) ttl: u8,
    pub(super) kind: HeadKind,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    Tcp(TcpHead),
    Icmp(IcmpMessage),
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpHead {
    pub(super) segment: Segment,
    /// The window as it stands in the header.
    pub(super) window: u16,
    /// Whether it has any option.
    pub(super) has_options: bool,
    /// The window scale option.
    pub(super) scale: Option<u8>,
    /// The highest number that it acknowledges, selectively or not.
    pub(super) selective: u32,
}

impl Head {
    /// Reads a frame; `None` if it is neither TCP nor ICMP.
    pub(super) fn of(frame: &Frame) -> Option<Self> {
        let packet = Packet::of(frame)?;
        let kind = match packet.kind {
            PacketKind::Tcp(segment) => HeadKind::Tcp(TcpHead::of(segment, frame)?),
            PacketKind::Icmp(message) => HeadKind::Icmp(message),
            PacketKind::Udp | PacketKind::Other(_) => return None,
        };
        Some(Self { tuple: packet.tuple(), ttl: packet.ttl, kind })
    }

    pub(super) fn tcp(&self) -> Option<&TcpHead> {
        match &self.kind {
            HeadKind::Tcp(head) => Some(head),
            HeadKind::Icmp(_) => None,
        }
    }
}

impl TcpHead {
    fn of(segment: Segment, frame: &Frame) -> Option<Self> {
        let ip = Ipv4HeaderSlice::from_slice(frame.bytes.get(ETHERNET..)?).ok()?;
        let tcp = TcpHeaderSlice::from_slice(frame.bytes.get(ETHERNET + ip.slice().len()..)?).ok()?;
        let mut head = Self {
            segment,
            window: tcp.window_size(),
            has_options: !tcp.options().is_empty(),
            scale: None,
            selective: segment.acknowledgment,
        };
        for option in tcp.options_iterator().map_while(Result::ok) {
            match option {
                TcpOptionElement::WindowScale(bits) => head.scale = Some(bits),
                TcpOptionElement::SelectiveAcknowledgement((_, first), rest) => {
                    let ends = rest.iter().flatten().map(|(_, end)| *end).chain([first]);
                    let highest = |most: u32, end: u32| {
                        if super::order::after(end, most) { end } else { most }
                    };
                    head.selective = ends.fold(head.selective, highest);
                }
                _ => {}
            }
        }
        Some(head)
    }

    /// The number after its last byte; a SYN and a FIN count as one each.
    pub(super) fn end(&self) -> u32 {
        let flags = self.segment.flags;
        let extra = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        self.segment.sequence.wrapping_add(self.segment.payload).wrapping_add(extra)
    }

    pub(super) fn is_syn(&self) -> bool {
        self.segment.flags.contains(TcpFlags::SYN)
    }

    pub(super) fn has_ack(&self) -> bool {
        self.segment.flags.contains(TcpFlags::ACK)
    }

    /// Whether its flags go together (`tcp_valid_flags`): none but SYN, SYN ACK, FIN ACK, ACK, RST and RST ACK do.
    pub(super) fn is_whole(&self) -> bool {
        const LOOKED_AT: u8 = TcpFlags::SYN.0 | TcpFlags::ACK.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
        let flags = TcpFlags(self.segment.flags.0 & LOOKED_AT);
        let both = |flag: TcpFlags| TcpFlags(flag.0 | TcpFlags::ACK.0);
        let (syn, fin, reset) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST);
        [syn, both(syn), both(fin), TcpFlags::ACK, reset, both(reset)].contains(&flags)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.segment.flags.contains(TcpFlags::RST)
    }
}

/// What a NAT must leave alone in a segment.
struct Untouchable<'a> {
    /// Everything of the fixed header but ports and checksum.
    fixed: [u8; 14],
    options: &'a [u8],
    /// As far as it was recorded.
    data: &'a [u8],
}

impl<'a> Untouchable<'a> {
    fn of(frame: &'a Frame) -> Option<Self> {
        let ip = Ipv4HeaderSlice::from_slice(frame.bytes.get(ETHERNET..)?).ok()?;
        let tcp = TcpHeaderSlice::from_slice(frame.bytes.get(ETHERNET + ip.slice().len()..)?).ok()?;
        let (head, options) = tcp.slice().split_at_checked(FIXED)?;
        let mut fixed = [0; 14];
        fixed[..12].copy_from_slice(&head[4..16]);
        fixed[12..].copy_from_slice(&head[18..]);
        Some(Self { fixed, options, data: recorded_data(frame)? })
    }
}

/// Whether a NAT left alone what it must of a segment, as far as both sides of it were recorded.
pub(super) fn untouched(before: &Frame, after: &Frame) -> Result<(), &'static str> {
    let (Some(before), Some(after)) = (Untouchable::of(before), Untouchable::of(after)) else {
        return Ok(());
    };
    let common = before.data.len().min(after.data.len());
    if before.fixed != after.fixed {
        Err("its TCP header was")
    } else if before.options != after.options {
        Err("its TCP options were")
    } else if before.data[..common] != after.data[..common] {
        Err("its data was")
    } else {
        Ok(())
    }
}
