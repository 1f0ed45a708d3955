//! For applications that have a way to reach the peer already: their own messages in place of our rendezvous server, and
//! their own servers to be seen by.
//!
//! What travels is sealed end to end, so the application's channel can delay or drop it, and neither read nor alter it.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::classify::Observation;
use crate::socket::{self, SynTtl};

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The application's own channel to the peer, for [`Puncher::connect_through`](crate::Puncher::connect_through). Messages
/// arrive in order, each once, whole, or the channel is lost. Each is at most 4 KiB long; a meeting takes some dozen.
///
/// A pair of tokio's unbounded channels is one.
pub trait Signalling: Send {
    /// Sends a message to the peer. It does not wait: what cannot leave at once is queued.
    ///
    /// # Errors
    /// When the channel is lost.
    fn send(&mut self, message: Vec<u8>) -> io::Result<()>;

    /// The peer's next message. The future may be dropped at any time, and no message may be lost by that.
    ///
    /// # Errors
    /// When the channel is lost.
    fn receive(&mut self) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

impl Signalling for (UnboundedSender<Vec<u8>>, UnboundedReceiver<Vec<u8>>) {
    fn send(&mut self, message: Vec<u8>) -> io::Result<()> {
        self.0.send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.1.recv().await.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Which of the application's servers are to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// The first of them, always the same.
    One,
    /// All of them. At least two, which differ in address and port, tell what a NAT does; with one it is guessed.
    All,
}

impl Breadth {
    /// Those of the servers that are to look.
    #[must_use]
    pub fn of<T>(self, servers: &[T]) -> &[T] {
        match self {
            Self::One => servers.get(..1).unwrap_or_default(),
            Self::All => servers,
        }
    }
}

/// The application's own servers that tell where a connection comes from, for
/// [`Puncher::connect_through`](crate::Puncher::connect_through): of its own making, or STUN over TCP (RFC 8489 section 6.2.2).
pub trait Observer: Send + Sync {
    /// Connects from this local endpoint, where port 0 stands for any, and tells what each server saw. [`dial`] makes such a
    /// connection: all that leave one port share it. The SYNs leave when this is called, before the future is polled: a NAT
    /// that counts gives out its ports in that order. Who does not answer is left out; after 2 s nobody waits any more.
    fn observe(
        &self,
        local: SocketAddrV4,
        breadth: Breadth,
    ) -> impl Future<Output = Vec<Observed>> + Send + 'static;
}

/// What one server saw, and the connection that it saw it on.
pub struct Observed {
    pub(crate) observation: Observation,
    _held: Box<dyn Any + Send>,
}

impl Observed {
    /// `connection` is kept until the punch is over, because the mapping lasts as long as it does.
    pub fn new(observation: Observation, connection: impl Send + 'static) -> Self {
        Self { observation, _held: Box::new(connection) }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("observation", &self.observation).finish_non_exhaustive()
    }
}

/// Connects from a local endpoint that other connections may share, and that is punched from later. The SYN leaves at once.
///
/// # Errors
/// When the endpoint cannot be bound, or nobody answers.
pub fn dial(
    local: SocketAddrV4,
    server: SocketAddrV4,
) -> impl Future<Output = io::Result<TcpStream>> + Send + 'static {
    let dialled = socket::dial(local, server, SynTtl::Full);
    async move {
        let stream = dialled?;
        socket::settled(&stream).await.map_err(|failure| io::Error::other(failure.to_string()))?;
        Ok(stream)
    }
}

/// [`Signalling`] behind a pointer.
pub(crate) trait AnySignalling: Send {
    fn send(&mut self, message: Vec<u8>) -> io::Result<()>;
    fn receive(&mut self) -> Boxed<'_, io::Result<Vec<u8>>>;
}

impl<T: Signalling> AnySignalling for T {
    fn send(&mut self, message: Vec<u8>) -> io::Result<()> {
        Signalling::send(self, message)
    }

    fn receive(&mut self) -> Boxed<'_, io::Result<Vec<u8>>> {
        Box::pin(Signalling::receive(self))
    }
}

/// [`Observer`] behind a pointer.
pub(crate) trait AnyObserver: Send + Sync {
    fn observe(&self, local: SocketAddrV4, breadth: Breadth) -> Boxed<'static, Vec<Observed>>;
}

impl<T: Observer> AnyObserver for T {
    fn observe(&self, local: SocketAddrV4, breadth: Breadth) -> Boxed<'static, Vec<Observed>> {
        Box::pin(Observer::observe(self, local, breadth))
    }
}
