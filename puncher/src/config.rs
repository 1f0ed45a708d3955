//! How to punch: what a caller sets, checked before anything starts.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::driver::LowPorts;
use crate::method::MethodName;
use crate::secret::Secret;

/// How to punch.
#[derive(Debug, Clone)]
pub struct Config {
    /// Endpoints of one rendezvous server, two at least for the mapping to be learnt.
    pub rendezvous: Vec<SocketAddrV4>,
    /// Shown to a rendezvous server that asks who may meet there.
    pub token: Option<Secret>,
    /// The local endpoint to punch from; address and port may be unspecified.
    pub bind: SocketAddrV4,
    /// The way to punch; both peers need the same.
    pub method: MethodName,
    /// SYNs this side may send, and so sockets it may open.
    pub budget_syns: u32,
    /// The time `connect` may take.
    pub deadline: Duration,
    /// Whether source ports below 1024 may help.
    pub low_ports: LowPorts,
    /// Hops a SYN must live to have passed this side's own NATs; found out when it matters, unless it is set.
    pub hops: Option<u8>,
    /// What the server's word on external addresses is worth.
    pub server_word: ServerWord,
    /// How often an idle connection says something, so that no NAT forgets it.
    pub keep_alive: Option<Duration>,
    /// How much later than agreed this side starts: to see what unequal starts do.
    pub start_delay: Duration,
    /// For decisions that are random, never for secrets.
    pub seed: u64,
}

/// Whether the rendezvous server is believed when it says what this side's external address is. With a false one it could
/// have the other side send SYNs to a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerWord {
    /// As far as the routers on the way confirm it; else the other side sends few SYNs there.
    #[default]
    Confirmed,
    /// Wholly: the server is this side's own or the peer's.
    Enough,
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A budget of nothing.
    #[error("a budget of 0 SYNs punches nothing")]
    NoBudget,
    /// A deadline of nothing.
    #[error("a deadline of 0 s is over before it begins")]
    NoTime,
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
            low_ports: LowPorts::default(),
            hops: None,
            server_word: ServerWord::default(),
            keep_alive: None,
            start_delay: Duration::ZERO,
            seed: u64::from_le_bytes(crate::secret::random_bytes()),
        }
    }

    /// Whether it can work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        // Linux: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL.
        let kept = Duration::from_secs(1)..=Duration::from_secs(32_767);
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
