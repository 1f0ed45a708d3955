//! What the reference reads of a packet: addresses, hops, and of TCP all that connection tracking looks at.

use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, TcpOptionElement};

use crate::model::evidence::{Frame, Tuple};
use crate::model::packet::{IcmpMessage, Packet, PacketKind, Segment, TcpFlags};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

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

/// What a NAT must leave alone in a segment: everything of the TCP header but ports and checksum, and the data as far
/// as both were recorded.
pub(super) fn untouched(before: &Frame, after: &Frame) -> Result<(), &'static str> {
    let parts = |frame: &Frame| -> Option<([u8; 16], Vec<u8>, Vec<u8>)> {
        let ip = Ipv4HeaderSlice::from_slice(frame.bytes.get(ETHERNET..)?).ok()?;
        let start = ETHERNET + ip.slice().len();
        let tcp = TcpHeaderSlice::from_slice(frame.bytes.get(start..)?).ok()?;
        let head = tcp.slice();
        let mut fixed = [0; 16];
        fixed[..12].copy_from_slice(&head[4..16]);
        fixed[12..14].copy_from_slice(&head[18..20]);
        let end = usize::try_from(frame.length).unwrap_or(usize::MAX).min(frame.bytes.len());
        let data = frame.bytes.get(start + head.len()..end).unwrap_or_default().to_vec();
        Some((fixed, head[20..].to_vec(), data))
    };
    let (Some((fixed, options, data)), Some((fixed_after, options_after, data_after))) =
        (parts(before), parts(after))
    else {
        return Ok(());
    };
    let common = data.len().min(data_after.len());
    if fixed != fixed_after {
        Err("its TCP header was")
    } else if options != options_after {
        Err("its TCP options were")
    } else if data[..common] != data_after[..common] {
        Err("its data was")
    } else {
        Ok(())
    }
}
