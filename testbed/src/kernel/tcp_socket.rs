//! TCP sockets of testbed's own, in the namespace of the calling thread.
//!
//! They never linger: a socket that outlives its owner would keep its namespace alive (tcp_orphan_retries in ip-sysctl).

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::kernel::namespace::Inside;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 8;

/// A socket that is neither connected nor listening yet.
#[derive(Debug)]
pub struct TcpSocket(Socket);

impl TcpSocket {
    /// A socket in the namespace that this thread is in, bound to `local` if that is given. Others may share the address.
    ///
    /// # Errors
    /// When there is no descriptor left, or the address is not available.
    pub fn open(_: &Inside, local: Option<SocketAddrV4>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        if let Some(local) = local {
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&local.into())?;
        }
        Ok(Self(socket))
    }

    /// Listens. Must be called in the context of a runtime.
    ///
    /// # Errors
    /// When another socket listens there.
    pub fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)?;
        TcpListener::from_std(self.0.into())
    }

    /// Sends a SYN and waits for nothing.
    ///
    /// # Errors
    /// When the kernel refuses to send it.
    pub fn begin_connecting(&self, remote: SocketAddrV4) -> io::Result<()> {
        match self.0.connect(&remote.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
            _ => Ok(()),
        }
    }

    /// Connects within `patience`. Must be called in the context of a runtime.
    ///
    /// # Errors
    /// Why the connection was not established; `TimedOut` when nothing was heard.
    pub async fn connect(self, remote: SocketAddrV4, patience: Duration) -> io::Result<TcpStream> {
        self.begin_connecting(remote)?;
        let stream = TcpStream::from_std(self.0.into())?;
        timeout(patience, stream.writable())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        match SockRef::from(&stream.as_fd()).take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }
}
