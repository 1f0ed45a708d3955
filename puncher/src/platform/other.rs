//! Systems that puncher is compiled for and has not been tried on: macOS and Windows.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::Socket;
use tokio::net::TcpStream;

#[cfg(unix)]
use super::unix;
use super::{DialFailure, IcmpError, System, TcpState};

pub(crate) struct Other;

impl System for Other {
    const CANNOT_LIMIT_HOPS: Option<&'static str> = Some(
        "this system ends a socket whose SYN died on its way: it has no IP_MINTTL that covers a connection being made",
    );

    /// On Windows SO_REUSEADDR alone allows it.
    fn share_port(socket: &Socket) -> io::Result<()> {
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        #[cfg(not(unix))]
        let _ = socket;
        Ok(())
    }

    fn limit_hops(_: &Socket, _: u8) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn keep_icmp_errors(_: &Socket) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn icmp_error(_: &TcpStream) -> Option<IcmpError> {
        None
    }

    fn acknowledge_by_answers(_: &TcpStream) {}

    /// A socket with a peer is connected; the difference to one that is about to be is a trip.
    fn state(stream: &TcpStream) -> Option<TcpState> {
        Some(if stream.peer_addr().is_ok() { TcpState::Established } else { TcpState::SynSent })
    }

    fn min_round_trip(_: &TcpStream) -> Option<Duration> {
        None
    }

    fn unacknowledged(_: &TcpStream) -> u64 {
        0
    }

    fn is_connecting(error: &io::Error) -> bool {
        #[cfg(unix)]
        return unix::is_connecting(error);
        #[cfg(not(unix))]
        return error.kind() == io::ErrorKind::WouldBlock;
    }

    fn dial_failure(error: &io::Error) -> DialFailure {
        #[cfg(unix)]
        return unix::dial_failure(error);
        #[cfg(not(unix))]
        return match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialFailure::Reset,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => DialFailure::Unreachable,
            io::ErrorKind::TimedOut => DialFailure::TimedOut,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => DialFailure::InUse,
            _ => DialFailure::Other(error.raw_os_error().unwrap_or(0)),
        };
    }

    /// On Windows only the address towards the server is known.
    fn interface_addresses() -> Vec<Ipv4Addr> {
        #[cfg(unix)]
        return unix::interface_addresses();
        #[cfg(not(unix))]
        return vec![Ipv4Addr::LOCALHOST];
    }

    /// Windows has no limit that counts here.
    fn raise_open_files(wanted: u64) -> io::Result<u64> {
        #[cfg(unix)]
        return unix::raise_open_files(wanted);
        #[cfg(not(unix))]
        return Ok(wanted);
    }

    /// On Windows a file takes the rights of its folder; those of a user's own folders are the user's.
    fn mode_that_others_read(metadata: &Metadata) -> Option<u32> {
        #[cfg(unix)]
        return unix::mode_that_others_read(metadata);
        #[cfg(not(unix))]
        {
            let _ = metadata;
            None
        }
    }

    fn make_private(options: &mut OpenOptions) {
        #[cfg(unix)]
        unix::make_private(options);
        #[cfg(not(unix))]
        let _ = options;
    }
}
