//! The protocols that a NAT gives ports to. It treats both alike and keeps their ports apart (RFC 4787, RFC 5382).

use std::fmt;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The name of a set or chain of this protocol: TCP's are plain.
    pub(super) const fn pick(self, tcp: &'static str, udp: &'static str) -> &'static str {
        match self {
            Self::Tcp => tcp,
            Self::Udp => udp,
        }
    }

    /// What the name of a set or chain of this protocol ends in.
    pub(super) const fn suffix(self) -> &'static str {
        self.pick("", "_udp")
    }
}

/// As nft calls it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pick("tcp", "udp"))
    }
}
