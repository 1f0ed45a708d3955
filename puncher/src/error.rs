//! Why there is no connection.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use crate::attempt_log::{AttemptLog, FailureKind};
use crate::config::Protection;
use crate::meeting::Role;
use crate::method::MethodName;
use crate::rendezvous::client::ClientError;
use crate::sealed::SealError;
use crate::ticket::TicketError;

/// Why there is no connection. Returned by [`Puncher::connect`](crate::Puncher::connect), which has an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The rendezvous failed.
    #[error(transparent)]
    Rendezvous(#[from] ClientError),
    /// A message that came by way of the rendezvous server is not the peer's.
    #[error("refused a message that claims to be the peer's: {0}")]
    Forged(SealError),
    /// The peers were started with different methods.
    #[error("the peer uses method {peer}, this side {own}")]
    MethodsDiffer {
        /// This side's.
        own: MethodName,
        /// The peer's.
        peer: String,
    },
    /// The peers were set to protect the stream differently.
    #[error("the peer protects the stream differently: {peer:?}, this side {own:?}")]
    ProtectionsDiffer {
        /// This side's.
        own: Protection,
        /// The peer's.
        peer: Protection,
    },
    /// Without a rendezvous server there must be a peer's endpoint.
    #[error("no rendezvous server given, and no endpoint of the peer")]
    NoIntroduction,
    /// The peer's endpoint is one of this host or of nobody, see [`SpecialAddresses`](crate::SpecialAddresses).
    #[error("no SYN is sent to {endpoint}, {kind}")]
    AddressRefused {
        /// The endpoint.
        endpoint: SocketAddrV4,
        /// What kind of address it has.
        kind: String,
    },
    /// The tickets do not make a meeting.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The local endpoint cannot be bound.
    #[error("cannot bind {local}: {source}")]
    Bind {
        /// The endpoint asked for.
        local: SocketAddrV4,
        /// What the system said.
        source: io::Error,
    },
    /// The peer left before the punch.
    #[error("the peer left the meeting")]
    PeerLeft,
    /// Time ran out, or the method expects nothing more.
    #[error("no path to peer \"{peer}\" after {:.1} s{log}", .after.as_secs_f64())]
    NoPath {
        /// The peer's role.
        peer: Role,
        /// Since the call.
        after: Duration,
        /// What was tried.
        log: Box<AttemptLog>,
    },
}

impl ConnectError {
    /// What stood in the way.
    ///
    /// ```
    /// use puncher::{ConnectError, FailureKind};
    ///
    /// fn advice(error: &ConnectError) -> &'static str {
    ///     match error.kind() {
    ///         FailureKind::Server | FailureKind::Peer => "try again",
    ///         FailureKind::Path | FailureKind::Budget => "use a relay",
    ///         _ => "tell the user",
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::MethodsDiffer { .. }
            | Self::ProtectionsDiffer { .. }
            | Self::NoIntroduction
            | Self::AddressRefused { .. }
            | Self::Ticket(_)
            | Self::Bind { .. }
            | Self::Rendezvous(ClientError::Bind { .. }) => FailureKind::CannotRun,
            Self::Rendezvous(_) => FailureKind::Server,
            Self::Forged(SealError::Seal) => FailureKind::Secret,
            Self::Forged(SealError::Text) | Self::PeerLeft => FailureKind::Peer,
            Self::NoPath { log, .. } => log.kind(),
        }
    }
}

impl From<SealError> for ConnectError {
    fn from(error: SealError) -> Self {
        Self::Forged(error)
    }
}
