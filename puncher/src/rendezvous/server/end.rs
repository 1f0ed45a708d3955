//! Why a connection ends, as it is told to the client and written to the log.

use std::io;

use crate::rendezvous::lobby::Refusal;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionEnd {
    /// The client ended it, or the network did.
    #[error("the client has left")]
    Left,
    #[error("others need the place: too many connections or meetings of your address or network")]
    Evicted,
    #[error("what you were sent was not read in time")]
    Unread,
    #[error("another connection with the same secret took this side over: does each peer have its own role?")]
    TakenOver,
    #[error("the server is stopping")]
    Stopping,
    #[error("the connection has lasted as long as one may")]
    Lifetime,
    #[error("too many meetings of your address or network")]
    TooManyMeetings,
    #[error("too many joins a second from your address or network")]
    TooManyJoins,
    #[error("too many requests on one connection")]
    TooManyRequests,
    #[error("too many messages of your address or network wait for their readers")]
    TooMuchWaits,
    #[error("this server asks for a token")]
    NoToken,
    #[error("nothing was said in time")]
    Silent,
    #[error("that is no message")]
    Garbage,
    /// As the lobby says.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<io::Error> for ConnectionEnd {
    fn from(error: io::Error) -> Self {
        // What came may be anything, so it is not repeated.
        if error.kind() == io::ErrorKind::InvalidData { Self::Garbage } else { Self::Left }
    }
}

impl ConnectionEnd {
    /// Whether it is for what the client did.
    pub(super) fn is_the_clients_fault(self) -> bool {
        !matches!(self, Self::Left | Self::Evicted | Self::TakenOver | Self::Stopping | Self::Lifetime)
    }
}
