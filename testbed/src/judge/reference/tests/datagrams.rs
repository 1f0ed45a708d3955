use super::*;
use crate::model::behavior::Translation;

#[test]
fn what_is_said_of_a_datagram_is_not_judged() {
    let router = Behavior { translation: Translation::Router, ..plain() };
    let about_udp = || {
        let mut quoted = Vec::new();
        let datagram = PacketBuilder::ipv4([10, 0, 0, 2], end(REMOTE).ip().octets(), 63).udp(4000, 53);
        datagram.write(&mut quoted, b"where?").expect("a writable packet");
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(end(REMOTE).ip().octets(), [10, 0, 0, 2], 60)
            .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
                etherparse::icmpv4::DestUnreachableHeader::Network,
            ))
            .write(&mut bytes, &quoted)
            .expect("a writable packet");
        bytes
    };
    let mut drawing = Drawing::default();
    drawing.record(UP, Direction::Down, about_udp());
    drawing.record(DOWN, Direction::Down, about_udp());
    assert_eq!(drawing.says(&router), None);
}
