//! The sockets of one punch: dials them, accepts, and runs the handshake on each stream that comes up.
//!
//! Every socket lives in a task of one set, so that dropping the table ends them all. SYNs leave in the order in which
//! they are asked for, because a NAT that counts allocates its ports in that order.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::fault_injection::{self, Fault};
use crate::handshake::{Agreement, HandshakeError};
use crate::live_streams::{LiveStream, LiveStreams};
use crate::method::{Dial, MethodName};
use crate::socket::{self, DialFailure, SynTtl};
use crate::stream::StreamKeys;

/// How long role b keeps streams that were not selected, for role a to close them first.
const LOSERS_STAY: Duration = Duration::from_secs(1);

/// Connections that may wait to be accepted: as many as strangers may hold, so that a burst of theirs, which comes faster than
/// it is accepted, does not have the kernel drop the peer's SYN for a second.
const BACKLOG: i32 = 512;

/// A stream that both sides agreed upon, and when.
#[derive(Debug)]
pub(crate) struct WonStream {
    pub(crate) stream: TcpStream,
    pub(crate) keys: StreamKeys,
    pub(crate) by: MethodName,
    pub(crate) established: Instant,
    pub(crate) authenticated: Instant,
}

/// What became of a socket.
#[derive(Debug)]
pub(crate) enum SocketOutcome {
    Refused(Dial, DialFailure),
    NotSelected,
    Won(Box<WonStream>),
    /// The ends that this dial needs are free now.
    Free(Dial),
    Accepted(TcpListener, TcpStream, SocketAddr, MethodName),
}

/// A dial that was not up when last heard of.
#[derive(Debug)]
struct Pending {
    ttl: SynTtl,
    up: Arc<AtomicBool>,
    task: AbortHandle,
}

/// All sockets of a punch.
#[derive(Debug)]
pub(crate) struct SocketSet {
    address: Ipv4Addr,
    /// Other addresses of this host that the peer may dial on the common network.
    others: Vec<Ipv4Addr>,
    agreement: Arc<Agreement>,
    tasks: JoinSet<SocketOutcome>,
    listening: HashSet<SocketAddrV4>,
    /// Dials that are not up yet, by their two ends.
    pending: HashMap<(u16, SocketAddrV4), Pending>,
    live_streams: LiveStreams,
    /// The handshakes of streams that strangers may have opened, by the number of the stream.
    accepted: HashMap<u64, AbortHandle>,
    next_id: u64,
}

impl SocketSet {
    pub(crate) fn new(address: Ipv4Addr, others: Vec<Ipv4Addr>, agreement: Agreement) -> Self {
        Self {
            address,
            others,
            agreement: Arc::new(agreement),
            tasks: JoinSet::new(),
            listening: HashSet::new(),
            pending: HashMap::new(),
            live_streams: LiveStreams::default(),
            accepted: HashMap::new(),
            next_id: 0,
        }
    }

    /// Where a dial comes from. On the common network another address than towards the server may be the one to use: where this
    /// host has several, the system chooses.
    pub(crate) fn local(&self, dial: &Dial) -> SocketAddrV4 {
        let chosen = dial.by == MethodName::Private && !self.others.is_empty();
        SocketAddrV4::new(if chosen { Ipv4Addr::UNSPECIFIED } else { self.address }, dial.port)
    }

    /// Sends a SYN now. One between the same two ends that reached less far makes way for it: nobody can have answered that.
    pub(crate) fn dial(&mut self, dial: Dial) {
        let ends = (dial.port, dial.remote);
        if let Some(old) = self.pending.get(&ends)
            && old.ttl.is_less_than(dial.ttl)
            && !old.up.load(Ordering::Relaxed)
        {
            // The socket is closed when its task has been dropped; until then its ends are in use.
            old.task.abort();
            let delayed = Dial { after: Duration::ZERO, ..dial };
            self.pending.remove(&ends);
            self.tasks.spawn(async move {
                tokio::task::yield_now().await;
                SocketOutcome::Free(delayed)
            });
            return;
        }
        let dialled = socket::dial(self.local(&dial), dial.remote, dial.ttl);
        let handshake = self.handshake(dial.by);
        let up = Arc::new(AtomicBool::new(false));
        let (live_streams, is_up) = (self.live_streams.clone(), Arc::clone(&up));
        let task = self.tasks.spawn(async move {
            match established(dialled).await {
                Ok(stream) => {
                    is_up.store(true, Ordering::Relaxed);
                    let live_streams = live_streams.enter(handshake.id, None);
                    handshake.perform(stream, dial, live_streams).await
                }
                Err(why) => SocketOutcome::Refused(dial, why),
            }
        });
        if dial.port != 0 && dial.ttl != SynTtl::Full {
            self.pending.insert(ends, Pending { ttl: dial.ttl, up, task });
        }
    }

    /// Accepts on a port, once per port; for peers on the common network on all addresses.
    pub(crate) fn listen(&mut self, port: u16, by: MethodName) -> io::Result<()> {
        let others = if by == MethodName::Private { self.others.clone() } else { Vec::new() };
        self.listen_at(SocketAddrV4::new(self.address, port), by)?;
        // An address may have gone since.
        others.into_iter().for_each(|address| drop(self.listen_at(SocketAddrV4::new(address, port), by)));
        Ok(())
    }

    fn listen_at(&mut self, local: SocketAddrV4, by: MethodName) -> io::Result<()> {
        if self.listening.contains(&local) {
            return Ok(());
        }
        let socket = socket::bind_shared(local)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        self.listening.insert(local);
        self.tasks.spawn(accept(listener, by));
        Ok(())
    }

    /// The next thing that becomes of a socket; never, when there are none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> SocketOutcome {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(SocketOutcome::Accepted(listener, stream, from, by))) => {
                    self.tasks.spawn(accept(listener, by));
                    self.accepted(stream, from, by);
                }
                Some(Ok(SocketOutcome::Free(dial))) => self.dial(dial),
                Some(Ok(done)) => return done,
                // A task that was ended tells nothing.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Whether a stream that is up may be agreed upon soon.
    pub(crate) fn is_promising(&self, trip: Duration) -> bool {
        self.live_streams.are_promising(trip)
    }

    /// Whether the other end of a stream has proved to be the peer.
    pub(crate) fn has_peer(&self) -> bool {
        self.live_streams.have_peer()
    }

    fn accepted(&mut self, stream: TcpStream, from: SocketAddr, by: MethodName) {
        let SocketAddr::V4(remote) = from else { return };
        if let Some(handshake) = self.live_streams.to_make_room().and_then(|id| self.accepted.remove(&id)) {
            handshake.abort();
        }
        self.accepted.retain(|_, handshake| !handshake.is_finished());
        let handshake = self.handshake(by);
        let (id, live_streams) = (self.next_id, self.live_streams.enter(self.next_id, Some(*remote.ip())));
        let dial = Dial::now(by, 0, remote);
        let task = self.tasks.spawn(async move {
            let _ = stream.set_nodelay(true);
            match handshake.perform(stream, dial, live_streams).await {
                // Nobody dialled it, so nobody dials it again.
                SocketOutcome::Refused(..) => SocketOutcome::NotSelected,
                outcome => outcome,
            }
        });
        self.accepted.insert(id, task);
    }

    fn handshake(&mut self, by: MethodName) -> Handshake {
        self.next_id += 1;
        Handshake { id: self.next_id, by, agreement: Arc::clone(&self.agreement) }
    }

    /// Role a closes the streams that lost by dropping them; role b waits until it has, for a while.
    pub(crate) async fn close_losers(mut self) {
        if self.agreement.waits_for_losers() {
            let all_gone = async {
                while self.has_peer() {
                    self.next().await;
                }
            };
            let _ = timeout(LOSERS_STAY, all_gone).await;
        }
    }
}

async fn accept(listener: TcpListener, by: MethodName) -> SocketOutcome {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return SocketOutcome::Accepted(listener, stream, from, by),
            // A connection that ended before it was accepted, or no descriptor left for it.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Until the stream of a dial is up.
async fn established(dialled: io::Result<TcpStream>) -> Result<TcpStream, DialFailure> {
    let stream = dialled.map_err(|error| DialFailure::from(&error))?;
    if fault_injection::is(Fault::EarlyDrop) {
        let early = timeout(fault_injection::EARLY, socket::settled(&stream)).await;
        early.unwrap_or(Err(DialFailure::TimedOut))?;
    } else {
        socket::settled(&stream).await?;
    }
    Ok(stream)
}

/// What one stream needs to prove itself.
struct Handshake {
    id: u64,
    by: MethodName,
    agreement: Arc<Agreement>,
}

impl Handshake {
    async fn perform(self, mut stream: TcpStream, dial: Dial, live_streams: LiveStream) -> SocketOutcome {
        let established = Instant::now();
        match self.agreement.perform(&mut stream, self.id, || live_streams.prove()).await {
            Ok(agreed) => SocketOutcome::Won(Box::new(WonStream {
                stream,
                keys: agreed.keys,
                by: self.by,
                established,
                authenticated: agreed.authenticated,
            })),
            Err(HandshakeError::NotSelected) => SocketOutcome::NotSelected,
            Err(HandshakeError::NotThePeer) => {
                socket::abort_on_close(&stream);
                SocketOutcome::Refused(dial, DialFailure::Stranger)
            }
            // It broke in the middle, as a reset in SYN_RECV would have broken it: worth another dial.
            Err(HandshakeError::Io(error)) if error.raw_os_error().is_some() => {
                SocketOutcome::Refused(dial, DialFailure::from(&error))
            }
            Err(HandshakeError::Io(_)) => SocketOutcome::Refused(dial, DialFailure::Stranger),
        }
    }
}
