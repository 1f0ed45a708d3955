//! A socket on which this process takes requests of others of the same user on this machine: each is a message and three
//! descriptors, and the connection stays for answers.
//!
//! It is a socket with an abstract name (unix(7)): no file, and gone with the process.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, getsockopt,
    listen, recv, send, socket,
};
use nix::unistd::geteuid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::raw;
use crate::kernel::error::{Error, Result};
use crate::kernel::readiness;

/// The longest message, in bytes: a command with its environment.
const LONGEST: usize = 1 << 17;

/// Descriptors that are handed over: a standard input, output and error.
const FILES: usize = 3;

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// Where others may connect.
#[derive(Debug)]
pub struct UserListener(AsyncFd<OwnedFd>);

/// What somebody who has connected wants.
#[derive(Debug)]
pub struct UserRequest {
    /// What they want.
    pub message: Vec<u8>,
    /// What they handed over.
    pub files: [OwnedFd; FILES],
    /// The connection to them.
    pub connection: UserConnection,
}

/// A connection between two processes of a user.
#[derive(Debug)]
pub struct UserConnection(AsyncFd<OwnedFd>);

/// The name of a socket for something, of this user's: the same for all of them until one enters a user namespace.
#[must_use]
pub fn socket_name(of: &str) -> String {
    format!("testbed-{}-{of}", geteuid())
}

impl UserListener {
    /// Listens under that name, within a runtime; `None` where somebody has one already.
    ///
    /// # Errors
    /// When the kernel has no socket for it.
    pub fn open(name: &str) -> Result<Option<Self>> {
        let socket = endpoint()?;
        match bind(socket.as_raw_fd(), &address(name)?) {
            Err(Errno::EADDRINUSE) => return Ok(None),
            bound => bound.map_err(failed("bind"))?,
        }
        listen(&socket, Backlog::MAXCONN).map_err(failed("listen"))?;
        Ok(Some(Self(watched(socket)?)))
    }

    /// Waits for the next request. Other users are turned away.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub async fn request(&self) -> Result<UserRequest> {
        loop {
            let accept = |listener: &OwnedFd| Ok(accept4(listener.as_raw_fd(), FLAGS)?);
            let came = self.0.async_io(Interest::READABLE, accept).await;
            let came = came.map_err(|why| Error::io(TRIED, "accept", &why))?;
            // SAFETY: it is new, and nobody else has it.
            let socket = unsafe { OwnedFd::from_raw_fd(came) };
            if is_of_this_user(&socket)?
                && let Some(request) = UserRequest::receive(watched(socket)?).await
            {
                return Ok(request);
            }
        }
    }
}

impl UserRequest {
    /// Receives it; `None` when they have gone, or handed over too little.
    async fn receive(socket: AsyncFd<OwnedFd>) -> Option<Self> {
        let mut message = vec![0; LONGEST];
        let receive = |socket: &OwnedFd| Ok(raw::receive(socket.as_raw_fd(), &mut message)?);
        let received = socket.async_io(Interest::READABLE, receive).await.ok()?;
        message.truncate(received.length);
        let came = received.descriptors.into_iter().filter(|descriptor| *descriptor >= 0);
        // SAFETY: the kernel has just made them for this process, and nobody else knows them.
        let files = came.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) });
        let files = files.collect::<Vec<_>>().try_into().ok()?;
        Some(Self { message, files, connection: UserConnection(socket) })
    }
}

impl UserConnection {
    /// Sends something. The other side may have gone.
    pub fn send(&self, word: &[u8]) {
        let _ = send(self.0.as_raw_fd(), word, MsgFlags::MSG_NOSIGNAL);
    }

    /// Waits for what the other side sends; `None` when it has gone.
    pub async fn receive(&self) -> Option<Vec<u8>> {
        let mut word = vec![0; LONGEST];
        let receive = |socket: &OwnedFd| Ok(recv(socket.as_raw_fd(), &mut word, MsgFlags::empty())?);
        let length = self.0.async_io(Interest::READABLE, receive).await.ok()?;
        word.truncate(length);
        (length > 0).then_some(word)
    }
}

/// Connects to the listener of that name, within a runtime, and hands over a request; `None` where this user has none.
///
/// # Errors
/// When the message is too long, or the kernel has no socket for it.
pub fn send_request(
    name: &str,
    message: &[u8],
    files: [BorrowedFd<'_>; FILES],
) -> Result<Option<UserConnection>> {
    let socket = endpoint()?;
    if connect(socket.as_raw_fd(), &address(name)?).is_err() || !is_of_this_user(&socket)? {
        return Ok(None);
    }
    if message.len() >= LONGEST {
        return Err(Error::other(TRIED, "the command and its environment are too long"));
    }
    raw::send(socket.as_raw_fd(), message, &[], &files.map(|file| file.as_raw_fd()))
        .map_err(failed("sendmsg"))?;
    Ok(Some(UserConnection(watched(socket)?)))
}

const TRIED: &str = "share a lab with another testbed";

fn failed(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::call(TRIED, call, errno)
}

fn endpoint() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None).map_err(failed("socket"))
}

fn address(name: &str) -> Result<UnixAddr> {
    UnixAddr::new_abstract(name.as_bytes()).map_err(failed("bind"))
}

fn watched(socket: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    readiness::watch(socket).map_err(|why| Error::io(TRIED, "epoll_ctl", &why))
}

/// Whether the other end was made by this user: anybody may take or use an abstract name.
fn is_of_this_user(socket: &OwnedFd) -> Result<bool> {
    let theirs = getsockopt(socket, PeerCredentials).map_err(failed("getsockopt(SO_PEERCRED)"))?;
    Ok(theirs.uid() == geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;

    #[tokio::test]
    async fn a_request_hands_over_descriptors_and_is_answered() {
        let name = socket_name(&format!("test-{}", std::process::id()));
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let files = || [writer.as_fd(), writer.as_fd(), writer.as_fd()];
        assert!(send_request(&name, b"hello", files()).expect("a socket").is_none(), "nobody listens yet");
        let listener = UserListener::open(&name).expect("a socket").expect("the first one");
        assert!(UserListener::open(&name).expect("a socket").is_none(), "the name is taken");
        let other = send_request(&name, b"hello", files()).expect("a socket").expect("a listener");
        let UserRequest { message, files: [first, ..], connection } =
            listener.request().await.expect("a request");
        drop(writer);
        assert_eq!(message, b"hello");
        File::from(first).write_all(b"through").expect("our pipe");
        let mut through = [0; 7];
        reader.read_exact(&mut through).expect("our pipe");
        assert_eq!(&through, b"through");
        connection.send(b"done");
        assert_eq!(other.receive().await.as_deref(), Some(&b"done"[..]));
        drop(other);
        assert_eq!(connection.receive().await, None);
    }
}
