//! TCP sockets as punching needs them: bound to a port that others share, connected without waiting, judged by what
//! the kernel says and not by what `connect` returned.
//!
//! All sockets of a port set both SO_REUSEADDR and SO_REUSEPORT before they bind, or the next one cannot (Linux,
//! `inet_bind_conflict`). Nothing here retries; that is a method's decision.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

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
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED | libc::ECONNRESET) => Self::Reset,
            Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES | libc::ENOPROTOOPT) => {
                Self::Unreachable
            }
            Some(libc::ETIMEDOUT) => Self::TimedOut,
            Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => Self::InUse,
            errno => Self::Other(errno.unwrap_or(0)),
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
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&local.into())?;
    Ok(socket)
}

/// Has the kernel acknowledge together with what is said next, for a conversation of one question and one answer at a
/// time: fewer packets. Where no answer comes, it acknowledges a little later by itself.
pub(crate) fn acknowledge_by_answers(stream: &TcpStream) {
    // A kernel that does not know it acknowledges at once.
    let _ = SockRef::from(stream).set_tcp_quickack(false);
}

/// Sends a SYN from a shared local endpoint and returns at once; [`settled`] tells what becomes of it.
///
/// # Errors
/// When the socket cannot be made or the kernel refuses at once.
pub(crate) fn dial(local: SocketAddrV4, remote: SocketAddrV4, ttl: SynTtl) -> io::Result<TcpStream> {
    let socket = bind_shared(local)?;
    if let SynTtl::Limited(hops) = ttl {
        limit_hops(&socket, hops)?;
    }
    let stream = connect(socket, remote)?;
    if let SynTtl::Limited(_) = ttl {
        // Retransmissions go all the way.
        SockRef::from(&stream).set_ttl_v4(64)?;
    }
    Ok(stream)
}

/// Sends a SYN that lives for this many hops and dies of the ICMP error, which [`icmp_error`] then tells.
///
/// # Errors
/// When the socket cannot be made or the kernel refuses at once.
pub(crate) fn dial_hops(local: SocketAddrV4, remote: SocketAddrV4, hops: u8) -> io::Result<TcpStream> {
    let socket = bind_shared(local)?;
    socket.set_ttl_v4(hops.into())?;
    keep_icmp_errors(&socket)?;
    connect(socket, remote)
}

fn connect(socket: Socket, remote: SocketAddrV4) -> io::Result<TcpStream> {
    match socket.connect(&remote.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// The SYN lives for this many hops. The ICMP time-exceeded quotes it with a TTL of 1 or less, which IP_MINTTL refuses,
/// so the socket stays in SYN_SENT with its initial sequence number (Linux, `tcp_v4_err`).
fn limit_hops(socket: &Socket, hops: u8) -> io::Result<()> {
    socket.set_ttl_v4(hops.into())?;
    set_min_ttl(socket.as_raw_fd(), hops.max(2))
}

fn set_min_ttl(fd: RawFd, ttl: u8) -> io::Result<()> {
    set_ip_option(fd, libc::IP_MINTTL, ttl.into())
}

/// Has the kernel keep ICMP errors that come for this socket, for [`icmp_error`].
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn keep_icmp_errors(socket: &impl AsRawFd) -> io::Result<()> {
    set_ip_option(socket.as_raw_fd(), libc::IP_RECVERR, 1)
}

fn set_ip_option(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is a live int of the length given, and the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(fd, libc::IPPROTO_IP, option, (&raw const value).cast(), size_of_val(&value) as u32)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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

/// Room for one control message: `sock_extended_err` and the sender's address, with its header.
#[repr(align(8))]
struct Control([u8; 128]);

/// The last ICMP error that was kept for this socket.
#[must_use]
pub(crate) fn icmp_error(stream: &TcpStream) -> Option<IcmpError> {
    let (mut data, mut control) = ([0u8; 64], Control([0; 128]));
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a msghdr of zeros is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // C libraries differ in the type of lengths.
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points to buffers that live as long as the call, with their lengths.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    if got < 0 {
        return None;
    }
    // SAFETY: `message` was filled by recvmsg; the macro stays within `msg_controllen`.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::IPPROTO_IP, libc::IP_RECVERR) {
        return None;
    }
    let wanted = size_of::<libc::sock_extended_err>() + size_of::<libc::sockaddr_in>();
    // SAFETY: only computes a length.
    if header.cmsg_len < unsafe { libc::CMSG_LEN(wanted as u32) } as _ {
        return None;
    }
    // SAFETY: the data is a sock_extended_err followed by a sockaddr_in: its length was checked above.
    let (error, sender) = unsafe {
        let error = libc::CMSG_DATA(header).cast::<libc::sock_extended_err>();
        (error.read_unaligned(), error.add(1).cast::<libc::sockaddr_in>().read_unaligned())
    };
    let from = Ipv4Addr::from(u32::from_be(sender.sin_addr.s_addr));
    (error.ee_origin == libc::SO_EE_ORIGIN_ICMP).then_some(IcmpError { kind: error.ee_type, from })
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
        match Watch::of(stream).state() {
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

/// The states of a TCP socket that matter here, numbered as in `include/net/tcp_states.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Asks the kernel about a socket that stays open at least as long as this is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(RawFd);

/// Bytes of `struct tcp_info` up to and with `tcpi_min_rtt` (Linux 4.6 and later).
const INFO_BYTES: usize = 152;

/// Where in `struct tcp_info` the smallest round trip is, in microseconds.
const MIN_RTT_AT: usize = 148;

impl Watch {
    /// Watches this socket.
    #[must_use]
    pub(crate) fn of(socket: &impl AsFd) -> Self {
        Self(socket.as_fd().as_raw_fd())
    }

    /// Its state.
    #[must_use]
    pub(crate) fn state(self) -> Option<TcpState> {
        Some(match self.info()?[0] {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            3 => TcpState::SynReceived,
            8 => TcpState::CloseWait,
            _ => TcpState::Closing,
        })
    }

    /// The smallest round trip seen on it: that of the handshake, unless a later one was shorter. The smoothed one would
    /// contain delayed acknowledgements.
    #[must_use]
    pub(crate) fn min_round_trip(self) -> Option<Duration> {
        let bytes = *self.info()?[MIN_RTT_AT..].first_chunk()?;
        let micros = u32::from_ne_bytes(bytes);
        // The kernel says all ones until it has measured.
        (micros != u32::MAX && micros != 0).then(|| Duration::from_micros(micros.into()))
    }

    fn info(self) -> Option<[u8; INFO_BYTES]> {
        let mut info = [0; INFO_BYTES];
        let mut length = INFO_BYTES as libc::socklen_t;
        // SAFETY: `info` has `length` bytes, the kernel writes no more, and any bytes are a valid [u8].
        let done = unsafe {
            libc::getsockopt(
                self.0,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        (done == 0 && length as usize == INFO_BYTES).then_some(info)
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
        assert_eq!(Watch::of(&stream).state(), Some(TcpState::Established));
        assert!(Watch::of(&stream).min_round_trip().is_some());
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
