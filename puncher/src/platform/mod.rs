//! All that is different from one operating system to the next, behind one trait.
//!
//! Linux is the system that puncher is made for. Elsewhere what cannot be done is absent, and says why.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::Socket;
use tokio::net::TcpStream;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
mod tcp;
#[cfg(unix)]
mod unix;

#[cfg(target_os = "linux")]
pub(crate) use linux::Linux as Host;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Other as Host;

pub(crate) use tcp::{DialFailure, IcmpError, TIME_EXCEEDED, TcpState};

/// What an operating system does for puncher.
pub(crate) trait System {
    /// Why a SYN cannot be made to die on its way without ending its socket; `None` where it can.
    const CANNOT_LIMIT_HOPS: Option<&'static str>;

    /// Lets other sockets have the same port. Before it is bound.
    fn share_port(socket: &Socket) -> io::Result<()>;

    /// The next SYN lives for so many hops; its socket does not believe the ICMP error that it causes.
    fn limit_hops(socket: &Socket, hops: u8) -> io::Result<()>;

    /// Has ICMP errors that come for this socket kept, for [`System::icmp_error`].
    fn keep_icmp_errors(socket: &Socket) -> io::Result<()>;

    /// The last ICMP error that was kept for this socket.
    fn icmp_error(stream: &TcpStream) -> Option<IcmpError>;

    /// Has the system acknowledge together with what is said next, for a conversation of one question and one answer at a
    /// time: fewer packets. Where no answer comes, it acknowledges a little later by itself.
    fn acknowledge_by_answers(stream: &TcpStream);

    /// The state of a socket.
    fn state(stream: &TcpStream) -> Option<TcpState>;

    /// The smallest round trip seen on it, where the system knows.
    fn min_round_trip(stream: &TcpStream) -> Option<Duration>;

    /// Bytes that were written and that the other end has not acknowledged; 0 where the system does not tell.
    fn unacknowledged(stream: &TcpStream) -> u64;

    /// Whether a connect that does not wait has begun.
    fn is_connecting(error: &io::Error) -> bool;

    /// What an error of a dial means.
    fn dial_failure(error: &io::Error) -> DialFailure;

    /// The IPv4 addresses of this host's interfaces; none where the system does not tell.
    fn interface_addresses() -> Vec<Ipv4Addr>;

    /// The limit of open files, after it was raised as far as it may be and is wanted.
    fn raise_open_files(wanted: u64) -> io::Result<u64>;

    /// The mode of a file that others than its owner may read.
    fn mode_that_others_read(metadata: &Metadata) -> Option<u32>;

    /// A file that is made is its owner's alone.
    fn make_private(options: &mut OpenOptions);
}
