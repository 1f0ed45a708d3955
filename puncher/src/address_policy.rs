//! Which addresses that others name may be dialled.
//!
//! A rendezvous server names its own other endpoints and the peer's external one, a peer its internal one. Without a check
//! they could have this host try its own ports, or its neighbours', and look at what it does next. The addresses that this
//! host's user named are not checked: those of the server, and of a peer that was typed.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::platform::{Host, System as _};

/// How far the rendezvous server is believed when it says what the peer's external address is. With a false one it could
/// have this side send SYNs to a stranger. The peer decides for itself, and is not told. See [`Config::server_trust`](crate::Config::server_trust).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerTrust {
    /// As far as the peer has found it confirmed by the routers on its way; else at most 64 SYNs go there.
    #[default]
    Confirmed,
    /// Wholly: the server is one's own.
    Full,
}

/// Whether SYNs may go to loopback and link-local addresses and to this host's own, if the peer or the server names them:
/// with false ones they could find out what listens there. See [`Config::special_addresses`](crate::Config::special_addresses).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpecialAddresses {
    /// Only to a loopback or link-local address that the peer itself says it has, while this side has one of that kind, too.
    #[default]
    Refuse,
    /// To all of them, for two peers on one host.
    Allow,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// It may be anybody's.
    Ordinary,
    /// 127.0.0.0/8: RFC 1122 section 3.2.1.3.
    Loopback,
    /// 169.254.0.0/16: RFC 3927.
    LinkLocal,
    /// One of this host's.
    ThisHost,
    /// Not one host's: RFC 1122 section 3.2.1.3, RFC 5771.
    Nobody,
}

impl std::fmt::Display for AddressKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ordinary => "an ordinary address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::ThisHost => "an address of this host",
            Self::Nobody => "not the address of one host",
        })
    }
}

/// What is known of this host, and what its user allows.
#[derive(Debug, Clone)]
pub(crate) struct AddressPolicy {
    special: SpecialAddresses,
    /// The addresses of all interfaces.
    own: Vec<Ipv4Addr>,
}

impl AddressPolicy {
    /// With the addresses that this host has now.
    pub(crate) fn new(special: SpecialAddresses) -> Self {
        Self::with(special, interface_addresses())
    }

    pub(crate) fn with(special: SpecialAddresses, own: Vec<Ipv4Addr>) -> Self {
        Self { special, own }
    }

    pub(crate) fn kind(&self, address: Ipv4Addr) -> AddressKind {
        match address.octets() {
            [0 | 224..=239, ..] | [255, 255, 255, 255] => AddressKind::Nobody,
            [127, ..] => AddressKind::Loopback,
            _ if self.own.contains(&address) => AddressKind::ThisHost,
            [169, 254, ..] => AddressKind::LinkLocal,
            _ => AddressKind::Ordinary,
        }
    }

    /// Whether an endpoint that a server names as its own may be dialled; `named` is what the user calls the server.
    pub(crate) fn allows_server(&self, endpoint: SocketAddrV4, named: SocketAddrV4) -> bool {
        let kind = self.kind(*endpoint.ip());
        let allowed = match kind {
            // How soon this side goes on would tell a server elsewhere what answers in this network.
            AddressKind::Ordinary => !is_private(*endpoint.ip()) || is_private(*named.ip()),
            AddressKind::Nobody => return false,
            // A server that the user says is here may say so of its other endpoints.
            special => special == self.kind(*named.ip()),
        };
        (allowed || self.special == SpecialAddresses::Allow) && endpoint.port() != 0
    }

    /// Why an endpoint of the peer must not be dialled from this local address, if so; `told` is the peer's own word for
    /// its address, which no server can forge.
    pub(crate) fn refuses_peer(
        &self,
        endpoint: SocketAddrV4,
        (local, told): (Ipv4Addr, Ipv4Addr),
    ) -> Option<AddressKind> {
        let kind = self.kind(*endpoint.ip());
        let allowed = match kind {
            AddressKind::Ordinary => true,
            AddressKind::Nobody => false,
            // Two peers on one host or link, whose users chose those addresses.
            AddressKind::Loopback | AddressKind::LinkLocal
                if self.special_kind(local) == kind && *endpoint.ip() == told =>
            {
                true
            }
            AddressKind::Loopback | AddressKind::LinkLocal | AddressKind::ThisHost => {
                self.special == SpecialAddresses::Allow
            }
        };
        (!allowed || endpoint.port() == 0).then_some(kind)
    }

    /// Without a look at whose it is.
    fn special_kind(&self, address: Ipv4Addr) -> AddressKind {
        Self { special: self.special, own: Vec::new() }.kind(address)
    }
}

/// Whether only hosts of some network know this address: RFC 1918, and RFC 6598 for that of a carrier.
fn is_private(address: Ipv4Addr) -> bool {
    address.is_private() || matches!(address.octets(), [100, 64..=127, ..])
}

/// The IPv4 addresses of this host's interfaces; none where the system does not tell.
pub(crate) fn interface_addresses() -> Vec<Ipv4Addr> {
    Host::interface_addresses()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

    fn policy(special: SpecialAddresses) -> AddressPolicy {
        AddressPolicy::with(special, vec![Ipv4Addr::LOCALHOST, OWN])
    }

    fn endpoint(text: &str) -> SocketAddrV4 {
        format!("{text}:80").parse().unwrap()
    }

    #[test]
    fn a_server_has_nobody_dial_this_host_or_nobody() {
        let cases = [
            ("203.0.113.2", "203.0.113.1", true),
            ("192.168.1.9", "203.0.113.1", false),
            ("100.64.0.9", "203.0.113.1", false),
            ("192.168.1.9", "10.0.0.1", true),
            ("203.0.113.2", "10.0.0.1", true),
            ("127.0.0.1", "203.0.113.1", false),
            ("192.168.1.2", "203.0.113.1", false),
            ("169.254.169.254", "203.0.113.1", false),
            ("224.0.0.1", "203.0.113.1", false),
            ("0.0.0.0", "203.0.113.1", false),
            ("255.255.255.255", "203.0.113.1", false),
            ("127.0.0.2", "127.0.0.1", true),
            ("169.254.1.1", "127.0.0.1", false),
        ];
        for (named, by, allowed) in cases {
            let policy = policy(SpecialAddresses::Refuse);
            assert_eq!(policy.allows_server(endpoint(named), endpoint(by)), allowed, "{named} by {by}");
        }
        let allowing = policy(SpecialAddresses::Allow);
        assert!(allowing.allows_server(endpoint("192.168.1.9"), endpoint("1.1.1.1")));
        assert!(
            !allowing.allows_server(endpoint("224.0.0.1"), endpoint("1.1.1.1")),
            "whatever the user allows"
        );
    }

    #[test]
    fn a_peer_here_is_dialled_where_it_says_and_the_user_is() {
        let cases = [
            ("198.51.100.2", "192.168.1.2", "10.0.0.2", true),
            ("127.0.2.2", "127.0.2.1", "127.0.2.2", true),
            ("127.0.0.1", "127.0.2.1", "127.0.2.2", false),
            ("127.0.0.1", "192.168.1.2", "127.0.0.1", false),
            ("192.168.1.2", "192.168.1.2", "192.168.1.2", false),
            ("169.254.7.7", "169.254.7.1", "169.254.7.7", true),
            ("169.254.169.254", "192.168.1.2", "169.254.169.254", false),
            ("0.1.2.3", "192.168.1.2", "0.1.2.3", false),
        ];
        for (remote, local, told, allowed) in cases {
            let sides = (local.parse().unwrap(), told.parse().unwrap());
            let refused = policy(SpecialAddresses::Refuse).refuses_peer(endpoint(remote), sides);
            assert_eq!(refused.is_none(), allowed, "{remote} from {local}, the peer is {told}");
            let refused = policy(SpecialAddresses::Allow).refuses_peer(endpoint(remote), sides);
            assert_eq!(refused.is_none(), !remote.starts_with("0."), "{remote}, allowed");
        }
    }

    #[test]
    fn this_host_has_its_loopback_address() {
        assert!(interface_addresses().contains(&Ipv4Addr::LOCALHOST));
    }
}
