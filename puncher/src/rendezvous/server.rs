//! The rendezvous server's sockets: accepts, reads frames, sends what the lobby decides, and keeps to its limits.
//!
//! One task per connection. Tasks share the lobby behind a mutex that is never held across an await. A connection that
//! does not read its replies, sends garbage, or stays too long is ended; nobody else notices.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::rendezvous::lobby::{ConnectionId, Delivery, Lobby, Refusal};
use crate::rendezvous::message::{FrameReader, Reply, Request, VERSION, write_frame};
use crate::socket;

/// Replies that may wait for a peer that does not read; one more and it is ended.
const OUTBOX: usize = 32;

/// The runtime's timers count milliseconds and round up: waiting for less would make it worse.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// How much the server takes upon itself.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address; a carrier's NAT may stand for many peers.
    pub connections_per_address: usize,
    /// Meetings at once.
    pub meetings: usize,
    /// How long a connection may last.
    pub lifetime: Duration,
    /// How long one reply may take to leave.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            meetings: 8192,
            lifetime: Duration::from_secs(300),
            write: Duration::from_secs(5),
        }
    }
}

/// A server that has bound its endpoints.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    endpoints: Vec<SocketAddrV4>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lobby: Lobby,
    outboxes: HashMap<ConnectionId, mpsc::Sender<(Instant, Reply)>>,
    per_address: HashMap<IpAddr, usize>,
    next: ConnectionId,
}

impl Server {
    /// Binds all endpoints.
    ///
    /// # Errors
    /// When one of them cannot be bound; the message names it.
    pub fn bind(endpoints: &[SocketAddrV4], limits: Limits) -> io::Result<Self> {
        let listeners = endpoints.iter().map(|endpoint| bind(*endpoint)).collect::<io::Result<Vec<_>>>()?;
        let endpoints = listeners.iter().map(local_v4).collect::<io::Result<Vec<_>>>()?;
        let state = State {
            lobby: Lobby::new(limits.meetings),
            outboxes: HashMap::new(),
            per_address: HashMap::new(),
            next: 0,
        };
        Ok(Self { listeners, shared: Arc::new(Shared { limits, endpoints, state: Mutex::new(state) }) })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &[SocketAddrV4] {
        &self.shared.endpoints
    }

    /// Serves until the future is dropped; dropping it ends every connection.
    pub async fn run(self) {
        let mut listening = JoinSet::new();
        for listener in self.listeners {
            listening.spawn(accept(listener, Arc::clone(&self.shared)));
        }
        while listening.join_next().await.is_some() {}
    }
}

fn bind(endpoint: SocketAddrV4) -> io::Result<TcpListener> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {endpoint}: {error}"));
    let listen = || -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&endpoint.into())?;
        socket.listen(4096)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(named)
}

fn local_v4(listener: &TcpListener) -> io::Result<SocketAddrV4> {
    match listener.local_addr()? {
        SocketAddr::V4(endpoint) => Ok(endpoint),
        SocketAddr::V6(endpoint) => Err(io::Error::other(format!("{endpoint} is no IPv4 endpoint"))),
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    if let Some(seat) = Seat::take(&shared, from.ip()) {
                        connections.spawn(serve(stream, from, seat));
                    }
                }
                // Out of descriptors or memory: those in use are freed soon, and there is nobody to tell.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The right to be connected; given back when dropped, however the connection ends.
struct Seat {
    shared: Arc<Shared>,
    id: ConnectionId,
    address: IpAddr,
    outbox: mpsc::Receiver<(Instant, Reply)>,
}

impl Seat {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut state = shared.lock();
        let full = state.outboxes.len() >= shared.limits.connections;
        let seats = state.per_address.get(&address).copied().unwrap_or(0);
        if full || seats >= shared.limits.connections_per_address {
            return None;
        }
        *state.per_address.entry(address).or_default() += 1;
        state.next += 1;
        let (sender, outbox) = mpsc::channel(OUTBOX);
        let id = state.next;
        state.outboxes.insert(id, sender);
        drop(state);
        Some(Self { shared: Arc::clone(shared), id, address, outbox })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.outboxes.remove(&self.id);
        let deliveries = state.lobby.leave(self.id);
        state.deliver(deliveries);
        if let Some(seats) = state.per_address.get_mut(&self.address) {
            *seats -= 1;
            if *seats == 0 {
                state.per_address.remove(&self.address);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Puts replies into the outboxes. An outbox that is full is closed, which ends its connection.
    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        for Delivery { to, reply, after } in deliveries {
            let full = match self.outboxes.get(&to) {
                Some(outbox) => outbox.try_send((now + after, reply)).is_err(),
                None => false,
            };
            if full {
                self.outboxes.remove(&to);
            }
        }
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, mut seat: Seat) {
    let lifetime = seat.shared.limits.lifetime;
    let _ = timeout(lifetime, converse(stream, from, &mut seat)).await;
}

async fn converse(mut stream: TcpStream, from: SocketAddr, seat: &mut Seat) -> io::Result<()> {
    let SocketAddr::V4(external) = from else { return Ok(()) };
    stream.set_nodelay(true)?;
    let endpoints = seat.shared.endpoints.clone();
    let welcome = Reply::Welcome { version: VERSION, external, endpoints };
    let limit = seat.shared.limits.write;
    write_within(limit, &mut stream, &welcome).await?;
    let round_trip = socket::Watch::of(&stream);
    let (read, mut write) = stream.split();
    let mut reader = FrameReader::new(read);
    loop {
        tokio::select! {
            request = reader.next::<Request>() => {
                let Some(request) = request? else { return Ok(()) };
                if let Err(refusal) = handle(seat, request, &round_trip) {
                    return write_within(limit, &mut write, &Reply::Error { why: refusal.to_string() }).await;
                }
            }
            reply = seat.outbox.recv() => {
                let Some((due, reply)) = reply else { return Ok(()) };
                if due > Instant::now() + TIMER_STEP {
                    sleep_until(due - TIMER_STEP / 2).await;
                }
                write_within(limit, &mut write, &reply).await?;
            }
        }
    }
}

fn handle(seat: &Seat, request: Request, stream: &socket::Watch) -> Result<(), Refusal> {
    let mut state = seat.shared.lock();
    let deliveries = match request {
        Request::Join { meeting, role, .. } => state.lobby.join(seat.id, &meeting, role)?,
        Request::Relay { body } => state.lobby.relay(seat.id, body)?,
        Request::Ready { round } => {
            let one_way = stream.min_round_trip().unwrap_or_default() / 2;
            state.lobby.ready(seat.id, round, one_way)?
        }
    };
    state.deliver(deliveries);
    Ok(())
}

async fn write_within(
    limit: Duration,
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    reply: &Reply,
) -> io::Result<()> {
    timeout(limit, write_frame(stream, reply)).await.map_err(|_| io::ErrorKind::TimedOut)?
}
