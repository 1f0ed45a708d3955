//! The frames that the probe sends, made by hand: no TCP stack stands between a probe and what it wants to know.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{PacketBuilder, TcpHeader};

use crate::kernel::packet_socket::OFFLOAD_HEADER;
use crate::model::address_plan::Mac;
use crate::model::packet::TcpFlags;

/// Hops that a probe may make.
const TTL: u8 = 64;

/// A TCP segment to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct Probe {
    /// Where it claims to come from.
    pub(in crate::probe) source: SocketAddrV4,
    /// Where it goes.
    pub(in crate::probe) destination: SocketAddrV4,
    /// Its control bits.
    pub(in crate::probe) flags: TcpFlags,
    /// Its sequence number.
    pub(in crate::probe) sequence: u32,
    /// Its acknowledgment number, which counts if the flag ACK is set.
    pub(in crate::probe) acknowledgment: u32,
    /// Its data.
    pub(in crate::probe) payload: &'static [u8],
}

impl Probe {
    /// A SYN.
    pub(in crate::probe) fn syn(source: SocketAddrV4, destination: SocketAddrV4, sequence: u32) -> Self {
        Self { source, destination, flags: TcpFlags::SYN, sequence, acknowledgment: 0, payload: b"" }
    }

    /// A segment with the flag ACK and `flags`.
    pub(in crate::probe) fn ack(
        (source, destination): (SocketAddrV4, SocketAddrV4),
        flags: TcpFlags,
        (sequence, acknowledgment): (u32, u32),
    ) -> Self {
        let flags = TcpFlags(flags.0 | TcpFlags::ACK.0);
        Self { source, destination, flags, sequence, acknowledgment, payload: b"" }
    }

    /// The whole frame from one MAC address to another, as a carrier sends it.
    pub(in crate::probe) fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let has = |flag: TcpFlags| self.flags.contains(flag);
        let mut tcp = TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, u16::MAX);
        tcp.syn = has(TcpFlags::SYN);
        tcp.fin = has(TcpFlags::FIN);
        tcp.rst = has(TcpFlags::RST);
        tcp.ack = has(TcpFlags::ACK);
        tcp.acknowledgment_number = self.acknowledgment;
        let builder = PacketBuilder::ethernet2(from, to)
            .ipv4(self.source.ip().octets(), self.destination.ip().octets(), TTL)
            .tcp_header(tcp);
        let mut bytes = vec![0; OFFLOAD_HEADER];
        // Writing to memory fails only for payloads that no IP packet can hold, and probes are short.
        let written = builder.write(&mut bytes, self.payload);
        debug_assert!(written.is_ok());
        bytes
    }
}

/// An ICMP error that quotes a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) struct QuotedIcmpError {
    /// Who sends the error.
    pub(in crate::probe) source: Ipv4Addr,
    /// To whom.
    pub(in crate::probe) destination: Ipv4Addr,
    /// Type of the error.
    pub(in crate::probe) kind: u8,
    /// Code within the type.
    pub(in crate::probe) code: u8,
    /// The quoted segment, as it arrived.
    pub(in crate::probe) about: Probe,
}

impl QuotedIcmpError {
    /// The whole frame from one MAC address to another, as a carrier sends it.
    pub(in crate::probe) fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        const ETHERNET: usize = 14;
        let quoted = self.about.frame(from, to).split_off(OFFLOAD_HEADER + ETHERNET);
        let builder = PacketBuilder::ethernet2(from, to)
            .ipv4(self.source.octets(), self.destination.octets(), TTL)
            .icmpv4_raw(self.kind, self.code, [0; 4]);
        let mut bytes = vec![0; OFFLOAD_HEADER];
        let written = builder.write(&mut bytes, &quoted);
        debug_assert!(written.is_ok());
        bytes
    }
}

/// Asks by ARP who has `wanted`; the answer is the fence behind everything that was sent before.
pub(in crate::probe) fn who_has(wanted: Ipv4Addr, asker: (Mac, Ipv4Addr)) -> Vec<u8> {
    const BROADCAST: Mac = [0xff; 6];
    let mut bytes = vec![0; OFFLOAD_HEADER];
    bytes.extend(BROADCAST);
    bytes.extend(asker.0);
    bytes.extend([0x08, 0x06]);
    // Ethernet, IPv4, their address lengths, a request.
    bytes.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    bytes.extend(asker.0);
    bytes.extend(asker.1.octets());
    bytes.extend([0; 6]);
    bytes.extend(wanted.octets());
    bytes
}

/// Whether a received Ethernet frame is an ARP answer.
pub(in crate::probe) fn is_arp_answer(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(20..22) == Some(&[0, 2])
}

/// A UDP datagram as a carrier sends it.
pub(in crate::probe) fn datagram(
    (source, destination): (SocketAddrV4, SocketAddrV4),
    (from, to): (Mac, Mac),
) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from, to)
        .ipv4(source.ip().octets(), destination.ip().octets(), TTL)
        .udp(source.port(), destination.port());
    let mut bytes = vec![0; OFFLOAD_HEADER];
    let written = builder.write(&mut bytes, b"probe");
    debug_assert!(written.is_ok());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packet::{Packet, PacketKind};

    const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 4000);
    const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 5000);
    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn decode(frame: &[u8]) -> Packet {
        let bytes = &frame[OFFLOAD_HEADER..];
        Packet::decode(bytes, u32::try_from(bytes.len()).expect("short")).expect("an IPv4 packet")
    }

    #[test]
    fn a_probe_says_what_it_was_told_to() {
        let probe = Probe { payload: b"seven b", ..Probe::ack((A, B), TcpFlags::SYN, (77, 99)) };
        let packet = decode(&probe.frame(MAC, MAC));
        assert_eq!((packet.source, packet.destination), (A, B));
        let segment = packet.tcp().expect("a segment");
        assert_eq!(segment.flags.to_string(), "SYN ACK");
        assert_eq!((segment.sequence, segment.acknowledgment, segment.payload), (77, 99, 7));
    }

    #[test]
    fn an_icmp_error_quotes_the_segment() {
        let about = Probe::syn(A, B, 5);
        let error = QuotedIcmpError { source: *B.ip(), destination: *A.ip(), kind: 3, code: 1, about };
        let packet = decode(&error.frame(MAC, MAC));
        let PacketKind::Icmp(message) = packet.kind else { panic!("not an ICMP message: {packet:?}") };
        assert_eq!((message.kind, message.code), (3, 1));
        let quoted = message.about.expect("it quotes a segment");
        assert_eq!((quoted.tuple.source, quoted.tuple.destination, quoted.sequence), (A, B, 5));
    }

    #[test]
    fn an_arp_question_is_no_answer() {
        let mut frame = who_has(*B.ip(), (MAC, *A.ip()));
        assert!(!is_arp_answer(&frame[OFFLOAD_HEADER..]));
        frame[OFFLOAD_HEADER + 21] = 2;
        assert!(is_arp_answer(&frame[OFFLOAD_HEADER..]));
    }
}
