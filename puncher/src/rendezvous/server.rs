//! The rendezvous server's sockets: accepts, reads frames, sends what the lobby decides, and keeps to its limits.
//!
//! One task per connection. Tasks share the lobby behind a mutex that is never held across an await. A connection that
//! does not read its replies, sends garbage, or stays too long is ended; nobody else notices.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::contract::Metrics;
use crate::fd_limit;
use crate::rendezvous::lobby::{ConnectionId, Delivery, Lobby, Refusal};
use crate::rendezvous::message::{FrameReader, Reply, Request, VERSION, write_frame};
use crate::rendezvous::unsolicited_probe;
use crate::{socket, sync};

/// Replies that may wait for a peer that does not read; one more and it is ended.
const OUTBOX: usize = 32;

/// Requests that one connection may make: a punch of many rounds makes about a hundred.
const MOST_REQUESTS: u32 = 1024;

/// The runtime's timers count milliseconds and round up: waiting for less would make it worse.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// How much the server takes upon itself. [`rendezvous`](crate::rendezvous) has an example.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all. When they are used up, the oldest one that has not joined a meeting makes room.
    pub connections: usize,
    /// Connections from one address; a carrier's NAT may stand for many peers.
    pub connections_per_address: usize,
    /// Meetings at once.
    pub meetings: usize,
    /// How long a connection may last.
    pub lifetime: Duration,
    /// How long a frame may take from its first byte to its last.
    pub frame: Duration,
    /// How long one reply may take to leave.
    pub write: Duration,
    /// How long those who are connected have left when the server is stopped.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            meetings: 8192,
            lifetime: Duration::from_secs(300),
            frame: Duration::from_secs(10),
            write: Duration::from_secs(5),
            grace: Duration::from_secs(5),
        }
    }
}

/// A server that has bound its endpoints. [`rendezvous`](crate::rendezvous) has an example.
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
    connections: BTreeMap<ConnectionId, Entry>,
    per_address: HashMap<IpAddr, usize>,
    next: ConnectionId,
    metrics: Metrics,
}

/// One connection as the others see it; removing it ends it.
#[derive(Debug)]
struct Entry {
    outbox: mpsc::Sender<(Instant, Reply)>,
    joined: Joined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    Yes,
    No,
}

/// Reads the figures of a running server. [`rendezvous`](crate::rendezvous) has an example.
#[derive(Debug, Clone)]
pub struct MetricsReader(Arc<Shared>);

impl MetricsReader {
    /// The figures at present.
    #[must_use]
    pub fn read(&self) -> Metrics {
        let state = self.0.lock();
        Metrics { connections: state.connections.len(), meetings: state.lobby.meetings(), ..state.metrics }
    }
}

impl Server {
    /// Binds all endpoints, and makes room for as many connections as the system allows.
    ///
    /// # Errors
    /// When one of them cannot be bound; the message names it.
    pub fn bind(endpoints: &[SocketAddrV4], mut limits: Limits) -> io::Result<Self> {
        let wanted = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        limits.connections = limits.connections.min(fd_limit::make_room(wanted)? as usize);
        let listeners = endpoints.iter().map(|endpoint| bind(*endpoint)).collect::<io::Result<Vec<_>>>()?;
        let endpoints = listeners.iter().map(local_v4).collect::<io::Result<Vec<_>>>()?;
        let state = State {
            lobby: Lobby::new(limits.meetings),
            connections: BTreeMap::new(),
            per_address: HashMap::new(),
            next: 0,
            metrics: Metrics::default(),
        };
        Ok(Self { listeners, shared: Arc::new(Shared { limits, endpoints, state: Mutex::new(state) }) })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoints(&self) -> &[SocketAddrV4] {
        &self.shared.endpoints
    }

    /// Its limits, as far as the system allows them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Reads its figures while it runs.
    #[must_use]
    pub fn metrics(&self) -> MetricsReader {
        MetricsReader(Arc::clone(&self.shared))
    }

    /// Serves until `stop` is ready, then takes nobody new and waits for those who are connected, for a while. Dropping the
    /// future ends every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        self.serve_until(stop).await.finish().await;
    }

    /// Serves until `stop` is ready and its listeners are closed. Those who are connected by then are left over.
    pub async fn serve_until(self, stop: impl Future<Output = ()>) -> Rest {
        let (send, mut accepted) = mpsc::channel(64);
        let mut listening = JoinSet::new();
        for listener in self.listeners {
            listening.spawn(accept(listener, Arc::clone(&self.shared), send.clone()));
        }
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some((stream, from, seat)) = accepted.recv() => {
                    connections.spawn(serve(stream, from, seat));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        listening.shutdown().await;
        Rest { connections, grace: self.shared.limits.grace }
    }
}

/// Those who are connected to a server that takes nobody new, see [`Server::serve_until`]. Dropping it ends every connection at once.
#[derive(Debug)]
pub struct Rest {
    connections: JoinSet<()>,
    grace: Duration,
}

impl Rest {
    /// Waits until all have ended, for no longer than the grace of the server's limits.
    pub async fn finish(mut self) {
        let all_ended = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(self.grace, all_ended).await;
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

type Accepted = (TcpStream, SocketAddr, Seat);

async fn accept(listener: TcpListener, shared: Arc<Shared>, accepted: mpsc::Sender<Accepted>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if let Some(seat) = Seat::take(&shared, from.ip())
                    && accepted.send((stream, from, seat)).await.is_err()
                {
                    return;
                }
            }
            // Out of descriptors or memory: those in use are freed soon, and there is nobody to tell.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
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
        let seats = state.per_address.get(&address).copied().unwrap_or(0);
        let room = seats < shared.limits.connections_per_address
            && (state.connections.len() < shared.limits.connections || state.evict());
        if !room {
            state.metrics.turned_away += 1;
            return None;
        }
        state.metrics.accepted += 1;
        *state.per_address.entry(address).or_default() += 1;
        state.next += 1;
        let id = state.next;
        let (sender, outbox) = mpsc::channel(OUTBOX);
        state.connections.insert(id, Entry { outbox: sender, joined: Joined::No });
        drop(state);
        Some(Self { shared: Arc::clone(shared), id, address, outbox })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.connections.remove(&self.id);
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
        sync::lock(&self.state)
    }
}

impl State {
    /// Ends the oldest connection that has not joined a meeting; false when all have.
    fn evict(&mut self) -> bool {
        let oldest = self.connections.iter().find(|(_, entry)| entry.joined == Joined::No).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.connections.remove(&id);
            self.metrics.evicted += 1;
        }
        oldest.is_some()
    }

    /// Puts replies into the outboxes. An outbox that is full is closed, which ends its connection.
    fn deliver(&mut self, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        for Delivery { to, reply, after } in deliveries {
            match &reply {
                Reply::Relay { .. } => self.metrics.relayed += 1,
                Reply::Go { .. } => self.metrics.starts += 1,
                _ => {}
            }
            let full = match self.connections.get(&to) {
                Some(entry) => entry.outbox.try_send((now + after, reply)).is_err(),
                None => false,
            };
            if full {
                self.connections.remove(&to);
                self.metrics.refused += 1;
            }
        }
    }
}

/// The stream is closed last: who sees its end finds it in the figures.
async fn serve(mut stream: TcpStream, from: SocketAddr, mut seat: Seat) {
    let lifetime = seat.shared.limits.lifetime;
    let ended = timeout(lifetime, converse(&mut stream, from, &mut seat)).await;
    if matches!(ended, Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData) {
        seat.shared.lock().metrics.refused += 1;
    }
}

async fn converse(stream: &mut TcpStream, from: SocketAddr, seat: &mut Seat) -> io::Result<()> {
    let SocketAddr::V4(external) = from else { return Ok(()) };
    stream.set_nodelay(true)?;
    socket::acknowledge_by_answers(stream);
    let endpoints = seat.shared.endpoints.clone();
    let welcome = Reply::Welcome { version: VERSION, external, endpoints };
    let limits = seat.shared.limits;
    write_within(limits.write, stream, &welcome).await?;
    let round_trip = socket::Watch::of(stream);
    let (read, mut write) = stream.split();
    let mut reader = FrameReader::new(read).within(limits.frame);
    let mut requests = 0;
    loop {
        tokio::select! {
            request = reader.next::<Request>() => {
                let Some(request) = request? else { return Ok(()) };
                requests += 1;
                if requests > MOST_REQUESTS {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "too many requests"));
                }
                if let Request::UnsolicitedProbe { wait_ms } = request {
                    let reply = unsolicited_probe::run(external, &seat.shared.endpoints, wait_ms).await;
                    write_within(limits.write, &mut write, &reply).await?;
                } else if let Err(refusal) = handle(seat, request, round_trip) {
                    seat.shared.lock().metrics.refused += 1;
                    let why = refusal.to_string();
                    return write_within(limits.write, &mut write, &Reply::Error { why }).await;
                }
            }
            reply = seat.outbox.recv() => {
                let Some((due, reply)) = reply else { return Ok(()) };
                if due > Instant::now() + TIMER_STEP {
                    sleep_until(due - TIMER_STEP / 2).await;
                }
                write_within(limits.write, &mut write, &reply).await?;
            }
        }
    }
}

fn handle(seat: &Seat, request: Request, stream: socket::Watch) -> Result<(), Refusal> {
    let mut state = seat.shared.lock();
    let deliveries = match request {
        Request::Join { meeting, role, .. } => {
            let deliveries = state.lobby.join(seat.id, &meeting, role)?;
            if let Some(entry) = state.connections.get_mut(&seat.id) {
                entry.joined = Joined::Yes;
            }
            deliveries
        }
        Request::Relay { body } => state.lobby.relay(seat.id, body)?,
        Request::Ready { round } => {
            let one_way = stream.min_round_trip().unwrap_or_default() / 2;
            state.lobby.ready(seat.id, round, one_way)?
        }
        // Answered by the connection itself.
        Request::Hello | Request::UnsolicitedProbe { .. } => Vec::new(),
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
