//! TCP sockets as punching needs them: bound to a port that others share, connected without waiting, judged by what
//! the kernel says and not by what `connect` returned.
//!
//! All sockets of a port set both SO_REUSEADDR and SO_REUSEPORT before they bind, or the next one cannot (Linux,
//! `inet_bind_conflict`). Nothing here retries; that is a method's decision. What differs between systems is in `platform`.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

pub(crate) use crate::platform::{DialFailure, TIME_EXCEEDED, TcpState};
use crate::platform::{Host, System as _};

/// How far a SYN goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynTtl {
    /// To the peer.
    Full,
    /// Through the own NATs only: it dies after this many hops, and the ICMP it causes is ignored.
    Limited(u8),
}

impl SynTtl {
    /// Whether `other` goes further.
    #[must_use]
    pub fn is_less_than(self, other: Self) -> bool {
        match (self, other) {
            (Self::Limited(hops), Self::Limited(further)) => hops < further,
            (Self::Limited(_), Self::Full) => true,
            (Self::Full, _) => false,
        }
    }
}

/// A socket bound to a local endpoint that other sockets of this user may share.
///
/// # Errors
/// When the system has no socket left or the endpoint cannot be bound.
pub fn bind_shared(local: SocketAddrV4) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    Host::share_port(&socket)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Whether no socket has this local endpoint, not even one that shares it.
#[must_use]
pub(crate) fn is_free(local: SocketAddrV4) -> bool {
    let alone = Socket::new(Domain::IPV4, Type::STREAM, None);
    alone.is_ok_and(|socket| socket.bind(&local.into()).is_ok())
}

/// Sends a SYN from a shared local endpoint and returns at once; [`settled`] tells what becomes of it.
///
/// # Errors
/// When the socket cannot be made or the kernel refuses at once.
pub(crate) fn dial(local: SocketAddrV4, remote: SocketAddrV4, ttl: SynTtl) -> io::Result<TcpStream> {
    let socket = bind_shared(local)?;
    // Where it cannot be, the SYN goes all the way: most NATs drop it unanswered.
    let is_limited = Host::CANNOT_LIMIT_HOPS.is_none();
    if let (SynTtl::Limited(hops), true) = (ttl, is_limited) {
        Host::limit_hops(&socket, hops)?;
    }
    let stream = connect(socket, remote)?;
    if let (SynTtl::Limited(_), true) = (ttl, is_limited) {
        // Retransmissions go all the way.
        SockRef::from(&stream).set_ttl_v4(64)?;
    }
    Ok(stream)
}

/// Sends a SYN that lives for so many hops and dies of the ICMP error, which `System::icmp_error` then tells.
///
/// # Errors
/// When the socket cannot be made or the kernel refuses at once.
pub(crate) fn dial_hops(local: SocketAddrV4, remote: SocketAddrV4, hops: u8) -> io::Result<TcpStream> {
    let socket = bind_shared(local)?;
    socket.set_ttl_v4(hops.into())?;
    Host::keep_icmp_errors(&socket)?;
    connect(socket, remote)
}

fn connect(socket: Socket, remote: SocketAddrV4) -> io::Result<TcpStream> {
    match socket.connect(&remote.into()) {
        Ok(()) => {}
        Err(error) if Host::is_connecting(&error) => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// Waits until the socket is connected both ways, or cannot be.
///
/// Writability comes with an error, too; `getpeername` succeeds in SYN_RECV already, one trip early. So TCP_INFO is asked.
///
/// # Errors
/// What the network answered instead.
pub(crate) async fn settled(stream: &TcpStream) -> Result<(), DialFailure> {
    loop {
        stream.writable().await.map_err(|error| DialFailure::from(&error))?;
        if let Some(error) = stream.take_error().map_err(|error| DialFailure::from(&error))? {
            return Err(DialFailure::from(&error));
        }
        match Host::state(stream) {
            Some(TcpState::Established | TcpState::CloseWait) => return Ok(()),
            Some(TcpState::SynSent | TcpState::SynReceived) => {}
            _ => return Err(DialFailure::Reset),
        }
        // Not yet: forget this readiness and wait for the next.
        let _ = stream.try_io(tokio::io::Interest::WRITABLE, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }
}

/// The two ends of a stream.
///
/// # Errors
/// When it is not connected, or not over IPv4.
pub(crate) fn ends(stream: &TcpStream) -> io::Result<(SocketAddrV4, SocketAddrV4)> {
    match (stream.local_addr()?, stream.peer_addr()?) {
        (SocketAddr::V4(local), SocketAddr::V4(remote)) => Ok((local, remote)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Has the kernel say something on an idle connection this often, so that no NAT forgets it. A peer that does not answer
/// four times is gone.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn keep_alive(stream: &TcpStream, every: Duration) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(every).with_interval(every).with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keep_alive)
}

/// Ends a socket without a farewell, so that no orphan of it stays in the kernel.
pub(crate) fn abort_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);

    fn v4(address: io::Result<SocketAddr>) -> SocketAddrV4 {
        match address.unwrap() {
            SocketAddr::V4(endpoint) => endpoint,
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    #[tokio::test]
    async fn many_sockets_share_one_port() {
        let first = bind_shared(ANY).unwrap();
        let port = first.local_addr().unwrap().as_socket_ipv4().unwrap();
        let listener = bind_shared(port).unwrap();
        listener.listen(1).unwrap();
        assert!(bind_shared(port).is_ok());
    }

    #[tokio::test]
    async fn a_dial_to_a_listener_settles_and_has_a_round_trip() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(ANY, v4(listener.local_addr()), SynTtl::Full).unwrap();
        assert_eq!(settled(&stream).await, Ok(()));
        assert_eq!(Host::state(&stream), Some(TcpState::Established));
        assert!(Host::min_round_trip(&stream).is_some());
        assert_eq!(ends(&stream).unwrap().1, v4(listener.local_addr()));
    }

    #[tokio::test]
    async fn a_dial_to_a_closed_port_is_refused() {
        let closed = bind_shared(ANY).unwrap();
        let remote = closed.local_addr().unwrap().as_socket_ipv4().unwrap();
        let outcome = match dial(ANY, remote, SynTtl::Full) {
            Ok(stream) => settled(&stream).await,
            Err(error) => Err(DialFailure::from(&error)),
        };
        assert_eq!(outcome, Err(DialFailure::Reset));
    }

    #[tokio::test]
    async fn the_same_two_endpoints_cannot_be_connected_twice() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = v4(listener.local_addr());
        let first = dial(ANY, remote, SynTtl::Full).unwrap();
        settled(&first).await.unwrap();
        let again = dial(v4(first.local_addr()), remote, SynTtl::Full).unwrap_err();
        assert_eq!(DialFailure::from(&again), DialFailure::InUse);
    }
}
