//! How to punch: what a caller sets, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address_policy::{ServerTrust, SpecialAddresses};
use crate::method::MethodName;
use crate::secret::Secret;

/// How to punch.
///
/// ```
/// use std::time::Duration;
///
/// # fn main() -> Result<(), std::net::AddrParseError> {
/// let servers = vec!["203.0.113.1:7000".parse()?, "203.0.113.2:7001".parse()?];
/// let mut config = puncher::Config::new(servers);
/// config.deadline = Duration::from_secs(10);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Endpoints of one rendezvous server, at least two for the mapping to be learnt. May be empty where no server is used.
    /// No default.
    pub rendezvous: Vec<SocketAddrV4>,
    /// Shown to a rendezvous server that asks who may meet there. Default: `None`.
    pub token: Option<Secret>,
    /// The local endpoint to punch from; address and port may be unspecified. Default: `0.0.0.0:0`, the system chooses.
    pub bind: SocketAddrV4,
    /// The way to punch; both peers need the same. Default: [`MethodName::Auto`].
    pub method: MethodName,
    /// SYNs this side may send, and so sockets it may open; retransmissions by the kernel are not counted. Default: 1,280.
    /// Range: from 1.
    pub budget_syns: u32,
    /// The time `connect` may take, not counted while the peer is awaited. Default: 3 s. Range: more than 0.
    pub deadline: Duration,
    /// How long the peer is awaited at the rendezvous server. Default: 2 min.
    pub patience: Duration,
    /// Whether source ports below 1024 may help. Default: [`LowPorts::WhenPermitted`].
    pub low_ports: LowPorts,
    /// Hops a SYN must live to have passed this side's own NATs. Default: `None`, found out when it matters. Range: from 1.
    pub hops: Option<u8>,
    /// How far the server is believed about external addresses. Default: [`ServerTrust::Confirmed`].
    pub server_trust: ServerTrust,
    /// Whether SYNs may go to this host and to links without a router, if the peer or the server names such addresses.
    /// Default: [`SpecialAddresses::Refuse`].
    pub special_addresses: SpecialAddresses,
    /// What protects the stream once it is won; both peers need the same. Default: [`Protection::Encrypted`].
    pub protection: Protection,
    /// How often an idle connection says something, so that no NAT forgets it. Default: `None`, never. Range: 1 s to
    /// 32,767 s.
    pub keep_alive: Option<Duration>,
    /// How much later than agreed this side starts: to see what unequal starts do. Default: 0 s.
    pub start_delay: Duration,
    /// For decisions that are random, never for secrets. Default: drawn anew.
    pub seed: u64,
}

/// Whether source ports below 1024 may be used. See [`Config::low_ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LowPorts {
    /// If the process may bind them.
    #[default]
    WhenPermitted,
    /// Never.
    Never,
}

/// What protects the stream once it is won. See [`Config::protection`]. Neither the peer nor the server can have this side
/// use another than it was set to: where the peers differ there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// All that is written is encrypted and authenticated end to end.
    #[default]
    Encrypted,
    /// Nothing, for applications that run TLS or the like of their own on the stream. Whoever sits between the peers can
    /// then read and alter it, the rendezvous server included, **unless the application checks the channel binding**:
    /// inside its own protected session each side proves to the other that it knows
    /// [`PeerStream::channel_binding`](crate::PeerStream::channel_binding), for instance by using it as a pre-shared key
    /// of TLS, or by sending a keyed hash, under the binding, of a value that TLS exports (RFC 5705). An end that cannot
    /// is not the peer.
    UnprotectedUntilChannelBound,
}

/// Why a configuration cannot work. Returned by [`Puncher::new`](crate::Puncher::new).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A budget of nothing.
    #[error("a budget of 0 SYNs punches nothing")]
    NoBudget,
    /// A deadline of nothing.
    #[error("a deadline of 0 s is over before it begins")]
    NoTime,
    /// The system cannot do what the method does.
    #[error("no method {method} here: {why}")]
    MethodAbsent {
        /// The method.
        method: MethodName,
        /// What is missing.
        why: &'static str,
    },
    /// The kernel counts keep-alive in seconds.
    #[error("a connection is kept alive every 1 s to 32767 s, not every {0:?}")]
    KeepAlive(Duration),
    /// A SYN that lives for no hop does not leave.
    #[error("a SYN must live for at least 1 hop")]
    NoHops,
}

impl Config {
    /// The defaults, with these endpoints of a rendezvous server.
    #[must_use]
    pub fn new(rendezvous: Vec<SocketAddrV4>) -> Self {
        Self {
            rendezvous,
            token: None,
            bind: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            method: MethodName::default(),
            budget_syns: 1280,
            deadline: Duration::from_secs(3),
            patience: Duration::from_secs(120),
            low_ports: LowPorts::default(),
            hops: None,
            server_trust: ServerTrust::default(),
            special_addresses: SpecialAddresses::default(),
            protection: Protection::default(),
            keep_alive: None,
            start_delay: Duration::ZERO,
            seed: u64::from_le_bytes(crate::secret::random_bytes()),
        }
    }

    /// Whether it can work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        // Linux: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL.
        let kept = Duration::from_secs(1)..=Duration::from_secs(32_767);
        if let Some(why) = self.method.absent_because() {
            return Err(ConfigError::MethodAbsent { method: self.method, why });
        }
        match self.keep_alive {
            _ if self.budget_syns == 0 => Err(ConfigError::NoBudget),
            _ if self.deadline.is_zero() => Err(ConfigError::NoTime),
            _ if self.hops == Some(0) => Err(ConfigError::NoHops),
            Some(every) if !kept.contains(&every) => Err(ConfigError::KeepAlive(every)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let good = || Config::new(Vec::new());
        assert_eq!(good().check(), Ok(()));
        assert_eq!(Config { budget_syns: 0, ..good() }.check(), Err(ConfigError::NoBudget));
        assert_eq!(Config { deadline: Duration::ZERO, ..good() }.check(), Err(ConfigError::NoTime));
        assert_eq!(Config { hops: Some(0), ..good() }.check(), Err(ConfigError::NoHops));
        let often = Duration::from_millis(10);
        assert_eq!(Config { keep_alive: Some(often), ..good() }.check(), Err(ConfigError::KeepAlive(often)));
    }
}
