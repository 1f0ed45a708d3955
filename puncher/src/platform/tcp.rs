//! What a system says of a TCP socket, in words of our own.

use std::io;
use std::net::Ipv4Addr;

use super::{Host, System as _};

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialFailure {
    /// A reset, or an ICMP port unreachable: the kernel reports both alike.
    Reset,
    /// Another ICMP error: unreachable or forbidden.
    Unreachable,
    /// The kernel gave up retransmitting.
    TimedOut,
    /// These two endpoints have a connection already.
    InUse,
    /// Somebody answered who is not the peer.
    Stranger,
    /// Something else, by its errno.
    Other(i32),
}

impl std::fmt::Display for DialFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable by ICMP"),
            Self::TimedOut => f.write_str("unanswered"),
            Self::InUse => f.write_str("already connected"),
            Self::Stranger => f.write_str("answered by strangers"),
            Self::Other(errno) => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl From<&io::Error> for DialFailure {
    fn from(error: &io::Error) -> Self {
        Host::dial_failure(error)
    }
}

/// ICMP: time to live exceeded (RFC 792).
pub(crate) const TIME_EXCEEDED: u8 = 11;

/// An ICMP error that came for a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IcmpError {
    /// The type, see RFC 792.
    pub kind: u8,
    /// Who sent it.
    pub from: Ipv4Addr,
}

/// The states of a TCP socket that matter here, numbered as in `include/net/tcp_states.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux tells all of them"))]
pub(crate) enum TcpState {
    /// Open both ways.
    Established,
    /// A SYN left, nothing came.
    SynSent,
    /// A SYN came, too; its answer is awaited.
    SynReceived,
    /// The other side has ended its half.
    CloseWait,
    /// Any other.
    Closing,
}
