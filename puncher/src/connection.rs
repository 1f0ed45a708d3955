//! A connection that was won, and how.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::method::MethodName;
use crate::stream::PeerStream;

/// How a connection was won. Part of a [`Connection`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// This end, as the socket names it.
    pub local: SocketAddrV4,
    /// The other end, as the socket names it.
    pub remote: SocketAddrV4,
    /// The method that won.
    pub method: MethodName,
    /// From the agreed start to ESTABLISHED.
    pub established: Duration,
    /// From the agreed start to the peer's proof.
    pub authenticated: Duration,
    /// SYNs this side sent.
    pub syns: u32,
}

/// A stream to the peer, from [`Puncher::connect`](crate::Puncher::connect), which has an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection {
    /// Encrypted, and authenticated at both ends.
    pub stream: PeerStream,
    /// How it was won.
    pub report: Report,
}
