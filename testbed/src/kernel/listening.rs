//! Who listens in a namespace: `/proc/net/tcp`, `udp` and their IPv6 siblings (Documentation/networking/proc_net_tcp.rst).
//!
//! A socket that listens at every IPv6 address takes IPv4 connections too: many languages open such a one.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::namespace::Inside;

/// What a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// A TCP socket that accepts connections.
    Tcp,
    /// A UDP socket that takes packets from everybody.
    Udp,
}

/// Whether a TCP socket of the namespace that this thread is in listens on `endpoint`, or on its port at every address.
#[must_use]
pub fn is_listening(_: &Inside, endpoint: SocketAddrV4) -> bool {
    listed(PortKind::Tcp, endpoint.port(), |address| address.is_none_or(|address| address == *endpoint.ip()))
}

/// Whether a socket of the namespace that this thread is in takes what comes for a port, at any address.
#[must_use]
pub fn is_open(_: &Inside, kind: PortKind, port: u16) -> bool {
    listed(kind, port, |_| true)
}

/// Whether any table lists such a socket at an address that will do; `None` is every address.
fn listed(kind: PortKind, port: u16, will_do: impl Fn(Option<Ipv4Addr>) -> bool) -> bool {
    let files = match kind {
        PortKind::Tcp => ["tcp", "tcp6"],
        PortKind::Udp => ["udp", "udp6"],
    };
    files.iter().any(|file| {
        // A machine without IPv6 has no such file.
        let table = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        listeners(&table, kind).iter().any(|(address, found)| *found == port && will_do(*address))
    })
}

/// The sockets in a table that listen, each with its IPv4 address, or `None` where it is every address.
fn listeners(table: &str, kind: PortKind) -> Vec<(Option<Ipv4Addr>, u16)> {
    // TCP_LISTEN, and TCP_CLOSE for a UDP socket that is connected to nobody (tcp_states.h).
    let wanted = match kind {
        PortKind::Tcp => "0A",
        PortKind::Udp => "07",
    };
    let listener = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (address, port) = words.next()?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (words.nth(1) == Some(wanted)).then_some(())?;
        Some((ipv4(address)?, port))
    };
    table.lines().filter_map(listener).collect()
}

/// An address as 32-bit words in the machine's order; the outer `None` is an address of IPv6 alone.
fn ipv4(hexadecimal: &str) -> Option<Option<Ipv4Addr>> {
    let words: Option<Vec<[u8; 4]>> = hexadecimal
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect();
    let address = match words?[..] {
        [address] => address,
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0xff, 0xff] | [0, 0, 0, 0], address] => address,
        _ => return None,
    };
    Some((address != [0; 4]).then_some(Ipv4Addr::from(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(bytes))
    }

    fn table(address: &str, state: &str) -> String {
        format!("sl local rem st\n   0: {address}:1B58 00000000:0000 {state} 00000000:00000000 00:0\n")
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let address = Ipv4Addr::new(127, 0, 0, 1);
        let local = word(address.octets());
        assert_eq!(listeners(&table(&local, "0A"), PortKind::Tcp), [(Some(address), 7000)]);
        assert_eq!(listeners(&table("00000000", "0A"), PortKind::Tcp), [(None, 7000)]);
        assert_eq!(listeners(&table(&local, "01"), PortKind::Tcp), []);
        assert_eq!(listeners(&table(&local, "07"), PortKind::Udp), [(Some(address), 7000)]);
        assert_eq!(listeners("", PortKind::Tcp), []);
    }

    #[test]
    fn a_socket_at_every_address_of_ipv6_listens_at_those_of_ipv4() {
        let zero = "00000000";
        let all = format!("{zero}{zero}{zero}{zero}");
        assert_eq!(listeners(&table(&all, "0A"), PortKind::Tcp), [(None, 7000)]);
        let mapped = format!("{zero}{zero}{}{}", word([0, 0, 0xff, 0xff]), word([10, 0, 0, 2]));
        let address = Ipv4Addr::new(10, 0, 0, 2);
        assert_eq!(listeners(&table(&mapped, "0A"), PortKind::Tcp), [(Some(address), 7000)]);
        let own = format!("{}{zero}{zero}{}", word([0x20, 1, 0xd, 0xb8]), word([0, 0, 0, 1]));
        assert_eq!(listeners(&table(&own, "0A"), PortKind::Tcp), []);
    }
}
