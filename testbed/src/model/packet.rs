//! What a frame says: the few header fields that judging and explaining need, read from the first bytes of a frame.
//!
//! Takes any bytes and never panics. Lengths come from the headers and the length on the link, not from how many
//! bytes were kept, so that a segment of 64 KiB (GSO) decodes from its first hundred bytes. IPv4 only.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, TcpHeaderSlice};

use crate::model::evidence::{Evidence, Frame, Tuple};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// An IPv4 packet on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from; port 0 unless it is TCP or UDP.
    pub source: SocketAddrV4,
    /// Where it goes; port 0 unless it is TCP or UDP.
    pub destination: SocketAddrV4,
    /// Hops it may still make.
    pub ttl: u8,
    /// What it carries.
    pub kind: PacketKind,
}

/// What an IPv4 packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// A TCP segment.
    Tcp(Segment),
    /// An ICMP message.
    Icmp(IcmpMessage),
    /// A UDP datagram.
    Udp,
    /// Another protocol by its number, a later fragment, or a header that was cut short.
    Other(u8),
}

/// The header of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The control bits.
    pub flags: TcpFlags,
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: u32,
    /// Acknowledgment number; meaningless without ACK.
    pub acknowledgment: u32,
    /// Bytes of data it carries.
    pub payload: u32,
}

/// An ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpMessage {
    /// Type (RFC 792): 3 is destination unreachable, 11 time exceeded.
    pub kind: u8,
    /// Code within the type.
    pub code: u8,
    /// For an error about a TCP segment: whose.
    pub about: Option<QuotedSegment>,
}

/// The TCP segment that an ICMP error quotes: RFC 792 promises its first 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotedSegment {
    /// Its endpoints, as it was sent.
    pub tuple: Tuple,
    /// Its sequence number.
    pub sequence: u32,
}

/// The control bits of a TCP segment (RFC 9293, section 3.1), CWR the highest and FIN the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this is a SYN/ACK.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0) == Self::SYN.0 | Self::ACK.0
    }

    /// Whether this is a SYN that opens a connection: one without ACK and RST.
    #[must_use]
    pub const fn is_opening(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0 | Self::RST.0) == Self::SYN.0
    }
}

impl fmt::Display for TcpFlags {
    /// Like `SYN ACK`; `none` when no bit is set. ECN bits are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(TcpFlags, &str); 5] = [
            (TcpFlags::SYN, "SYN"),
            (TcpFlags::FIN, "FIN"),
            (TcpFlags::RST, "RST"),
            (TcpFlags::PSH, "PSH"),
            (TcpFlags::ACK, "ACK"),
        ];
        let names: Vec<&str> =
            NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|&(_, name)| name).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(" ") }.as_str())
    }
}

impl Evidence {
    /// The IPv4 packets of all links in the order in which they entered them, each with the frame that carried it.
    pub fn packets(&self) -> impl Iterator<Item = (&Frame, Packet)> {
        self.frames.iter().filter_map(|frame| Some((frame, Packet::of(frame)?)))
    }
}

impl Packet {
    /// Reads a frame of the tap; `None` when it is not IPv4 (ARP, IPv6) or not even a whole IPv4 header.
    #[must_use]
    pub fn of(frame: &Frame) -> Option<Self> {
        Self::decode(&frame.bytes, frame.length)
    }

    /// Reads the first `bytes` of an Ethernet frame that was `length` bytes long on the link.
    #[must_use]
    pub fn decode(bytes: &[u8], length: u32) -> Option<Self> {
        let ethernet = Ethernet2HeaderSlice::from_slice(bytes).ok()?;
        if ethernet.ether_type() != EtherType::IPV4 {
            return None;
        }
        let (ip_bytes, ip_length) = (bytes.get(ETHERNET..)?, length.saturating_sub(14));
        let ip = Ipv4HeaderSlice::from_slice(ip_bytes).ok()?;
        let payload = ip_bytes.get(ip.slice().len()..).unwrap_or_default();
        let payload_length = ip_payload_length(&ip, ip_length);
        let kind = decode_kind(&ip, payload, payload_length);
        let (from, to) = match kind {
            PacketKind::Tcp(_) | PacketKind::Udp => ports(payload).unwrap_or_default(),
            PacketKind::Icmp(_) | PacketKind::Other(_) => (0, 0),
        };
        Some(Self {
            source: SocketAddrV4::new(ip.source_addr(), from),
            destination: SocketAddrV4::new(ip.destination_addr(), to),
            ttl: ip.ttl(),
            kind,
        })
    }

    /// The TCP segment it carries, if it carries one.
    #[must_use]
    pub fn tcp(&self) -> Option<&Segment> {
        match &self.kind {
            PacketKind::Tcp(segment) => Some(segment),
            _ => None,
        }
    }

    /// Source and destination together.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        Tuple { source: self.source, destination: self.destination }
    }
}

/// The data of the TCP segment in a frame, as far as it was recorded; without what pads a short frame. `None` when it carries no
/// whole TCP header.
#[must_use]
pub fn recorded_data(frame: &Frame) -> Option<&[u8]> {
    let segment = *Packet::of(frame)?.tcp()?;
    let ip = Ipv4HeaderSlice::from_slice(frame.bytes.get(ETHERNET..)?).ok()?;
    let tcp = ETHERNET + ip.slice().len();
    let start = tcp + TcpHeaderSlice::from_slice(frame.bytes.get(tcp..)?).ok()?.slice().len();
    let end = start.saturating_add(usize::try_from(segment.payload).ok()?).min(frame.bytes.len());
    frame.bytes.get(start..end)
}

/// Bytes behind the IP header: what the header says, but never more than were on the link. A segment too large for
/// the header's 16 bits carries 0 there (BIG TCP), and then the link knows.
fn ip_payload_length(ip: &Ipv4HeaderSlice<'_>, ip_length: u32) -> u32 {
    let total = match ip.total_len() {
        0 => ip_length,
        said => u32::from(said).min(ip_length),
    };
    total.saturating_sub(u32::from(ip.ihl()) * 4)
}

fn decode_kind(ip: &Ipv4HeaderSlice<'_>, payload: &[u8], payload_length: u32) -> PacketKind {
    let other = PacketKind::Other(ip.protocol().0);
    if ip.fragments_offset().value() != 0 {
        return other;
    }
    match ip.protocol() {
        IpNumber::TCP => decode_tcp(payload, payload_length).map_or(other, PacketKind::Tcp),
        IpNumber::ICMP => decode_icmp(payload).map_or(other, PacketKind::Icmp),
        IpNumber::UDP if payload.len() >= 8 => PacketKind::Udp,
        _ => other,
    }
}

fn decode_tcp(payload: &[u8], payload_length: u32) -> Option<Segment> {
    let tcp = TcpHeaderSlice::from_slice(payload).ok()?;
    Some(Segment {
        flags: TcpFlags(tcp.slice()[13]),
        sequence: tcp.sequence_number(),
        acknowledgment: tcp.acknowledgment_number(),
        payload: payload_length.saturating_sub(u32::from(tcp.data_offset()) * 4),
    })
}

fn decode_icmp(payload: &[u8]) -> Option<IcmpMessage> {
    const HEADER: usize = 8;
    const DESTINATION_UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    let (kind, code) = (*payload.first()?, *payload.get(1)?);
    let quotes = matches!(kind, DESTINATION_UNREACHABLE | TIME_EXCEEDED);
    let about = payload.get(HEADER..).filter(|_| quotes).and_then(decode_quoted);
    Some(IcmpMessage { kind, code, about })
}

/// The segment that an ICMP error quotes. It may be cut after 8 bytes, so the full header parsers do not fit.
fn decode_quoted(quoted: &[u8]) -> Option<QuotedSegment> {
    let ip = Ipv4HeaderSlice::from_slice(quoted).ok()?;
    if ip.protocol() != IpNumber::TCP || ip.fragments_offset().value() != 0 {
        return None;
    }
    let tcp = quoted.get(ip.slice().len()..)?;
    let (from, to) = ports(tcp)?;
    let sequence = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let endpoint = |address: Ipv4Addr, port| SocketAddrV4::new(address, port);
    let tuple =
        Tuple { source: endpoint(ip.source_addr(), from), destination: endpoint(ip.destination_addr(), to) };
    Some(QuotedSegment { tuple, sequence })
}

/// Source and destination port, which TCP and UDP keep in the same place.
fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    let at = |i: usize| Some(u16::from_be_bytes(transport.get(i..i + 2)?.try_into().ok()?));
    Some((at(0)?, at(2)?))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const A: [u8; 4] = [192, 0, 2, 2];
    const B: [u8; 4] = [198, 51, 100, 2];

    fn endpoint(address: [u8; 4], port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(address.into(), port)
    }

    fn tcp_frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(A, B, 63)
            .tcp(4000, 5000, 77, 1024)
            .syn()
            .ack(99)
            .write(&mut bytes, payload)
            .expect("writing to memory");
        bytes
    }

    fn length(bytes: &[u8]) -> u32 {
        u32::try_from(bytes.len()).expect("short")
    }

    #[test]
    fn reads_a_segment_from_its_first_bytes() {
        let frame = tcp_frame(&[1; 1000]);
        let packet = Packet::decode(&frame[..128], length(&frame)).expect("is IPv4");
        assert_eq!(packet.tuple(), Tuple { source: endpoint(A, 4000), destination: endpoint(B, 5000) });
        assert_eq!(packet.ttl, 63);
        let segment = packet.tcp().expect("is TCP");
        assert_eq!(segment.flags.to_string(), "SYN ACK");
        assert!(!segment.flags.is_opening());
        assert_eq!((segment.sequence, segment.acknowledgment, segment.payload), (77, 99, 1000));
    }

    #[test]
    fn ignores_ethernet_padding_but_not_a_missing_total_length() {
        let mut frame = tcp_frame(&[1; 2]);
        let payload = |frame: &[u8], length| {
            Packet::decode(frame, length).and_then(|p| p.tcp().map(|s| s.payload)).expect("is TCP")
        };
        assert_eq!(payload(&frame, length(&frame) + 4), 2, "padding is not payload");
        frame[16..18].fill(0);
        assert_eq!(payload(&frame, 14 + 40 + 70_000), 70_000, "BIG TCP says 0, the link knows");
    }

    #[test]
    fn recorded_data_ends_where_the_segment_or_the_record_does() {
        let of = |mut bytes: Vec<u8>, kept: usize, padding: usize| {
            let length = length(&bytes) + u32::try_from(padding).expect("short");
            bytes.truncate(kept);
            bytes.resize(bytes.len() + padding, 0);
            let (fate, bytes) = (crate::model::evidence::Fate::Delivered, bytes.into());
            let direction = crate::model::evidence::Direction::Up;
            let frame = Frame {
                link: 0,
                direction,
                entered: 0,
                due: 0,
                left: 0,
                fate,
                is_copy: false,
                length,
                bytes,
            };
            recorded_data(&frame).map(<[u8]>::to_vec)
        };
        assert_eq!(of(tcp_frame(&[7, 8]), 56, 4), Some(vec![7, 8]), "padding is no data");
        assert_eq!(of(tcp_frame(&[7; 1000]), 128, 0), Some(vec![7; 74]));
        assert_eq!(of(tcp_frame(&[]), 54, 0), Some(Vec::new()));
        assert_eq!(of(tcp_frame(&[7]), 40, 0), None, "the TCP header is not whole");
    }

    #[test]
    fn an_opening_syn_has_neither_ack_nor_rst() {
        assert!(TcpFlags::SYN.is_opening());
        assert!(TcpFlags(0xc2).is_opening(), "ECN asks for CWR and ECE on a SYN");
        for flags in [0x12, 0x06, 0x10, 0x00] {
            assert!(!TcpFlags(flags).is_opening(), "{}", TcpFlags(flags));
        }
    }

    #[test]
    fn names_the_segment_that_an_icmp_error_is_about() {
        let syn = tcp_frame(&[]);
        let unreachable =
            etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Host);
        for kept in [28, 40] {
            let mut bytes = Vec::new();
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(B, A, 64)
                .icmpv4(unreachable.clone())
                .write(&mut bytes, &syn[14..14 + kept])
                .expect("writing to memory");
            let packet = Packet::decode(&bytes, length(&bytes)).expect("is IPv4");
            let tuple = Tuple { source: endpoint(A, 4000), destination: endpoint(B, 5000) };
            let about = Some(QuotedSegment { tuple, sequence: 77 });
            assert_eq!(packet.kind, PacketKind::Icmp(IcmpMessage { kind: 3, code: 1, about }));
            assert_eq!(packet.source, endpoint(B, 0));
        }
    }

    #[test]
    fn leaves_alone_what_it_does_not_know() {
        let mut arp = tcp_frame(&[]);
        arp[12..14].copy_from_slice(&0x0806_u16.to_be_bytes());
        assert_eq!(Packet::decode(&arp, length(&arp)), None);
        let frame = tcp_frame(&[]);
        let cut = Packet::decode(&frame[..40], length(&frame)).expect("the IP header is whole");
        assert_eq!(cut.kind, PacketKind::Other(6));
        let mut fragment = tcp_frame(&[1; 64]);
        fragment[20..22].copy_from_slice(&100_u16.to_be_bytes());
        let later = Packet::decode(&fragment, length(&fragment)).expect("is IPv4");
        assert_eq!((later.kind, later.source), (PacketKind::Other(6), endpoint(A, 0)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), length: u32) {
            let _ = Packet::decode(&bytes, length);
        }

        #[test]
        fn any_damage_to_a_segment_decodes_without_panic(at in 0_usize..54, value: u8, keep in 0_usize..=60) {
            let mut frame = tcp_frame(&[7; 6]);
            frame[at] = value;
            if let Some(segment) = Packet::decode(&frame[..keep.min(frame.len())], 60).and_then(|p| p.tcp().copied()) {
                prop_assert!(segment.payload <= 60);
            }
        }
    }
}
