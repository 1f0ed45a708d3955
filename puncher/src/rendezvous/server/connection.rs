//! One connection: reads requests at the pace its address may have, writes what waits in its mailbox, and ends when told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::platform::{Host, System as _};
use crate::rendezvous::message::{FrameReader, Reply, Request, VERSION, frame};
use crate::rendezvous::proof::Digest;
use crate::rendezvous::server::end::ConnectionEnd;
use crate::rendezvous::server::mailbox::Letter;
use crate::rendezvous::server::state::{ConnectionSlot, RequestContext, Shared};
use crate::rendezvous::server::unread::Unread;
use crate::rendezvous::server::unsolicited_probe::{self, ProbeSources};
use crate::socket;

/// Requests that one connection may make: a punch of many rounds makes about a hundred.
const MOST_REQUESTS: u32 = 1024;

/// Requests that are dealt with before others get their turn. An honest peer sends two at once.
const TURN: u32 = 4;

/// The runtime's timers count milliseconds and round up: waiting for less would make it worse.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// A client that has a place, and the descriptor that it takes.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) place: ConnectionSlot,
    pub(super) descriptor: OwnedSemaphorePermit,
}

/// Serves a client until either side ends it. The stream is closed last: who sees its end finds it in the figures.
pub(super) async fn serve(client: Client, shared: Arc<Shared>) {
    let Client { mut stream, place, descriptor } = client;
    let why = tokio::select! {
        biased;
        why = place.mailbox.ended() => why,
        ended = timeout(shared.limits.lifetime, converse(&mut stream, &place, &shared)) => match ended {
            Ok(Ok(())) => ConnectionEnd::Left,
            Ok(Err(why)) => why,
            Err(_) => ConnectionEnd::Lifetime,
        },
    };
    place.give_up(why);
    say_why(&stream, why);
    drop(stream);
    drop(descriptor);
}

/// Without waiting. A client that has not taken what it was sent before gets a reset, so that the kernel keeps nothing.
fn say_why(stream: &TcpStream, why: ConnectionEnd) {
    if Host::unacknowledged(stream) > 0 {
        socket::abort_on_close(stream);
    } else if why != ConnectionEnd::Left
        && let Ok(bytes) = frame(&Reply::Error { why: why.to_string() })
    {
        let _ = stream.try_write(&bytes);
    }
}

async fn converse(
    stream: &mut TcpStream,
    place: &ConnectionSlot,
    shared: &Shared,
) -> Result<(), ConnectionEnd> {
    Host::acknowledge_by_answers(stream);
    let challenge = shared.tokens.as_ref().map(|_| Digest::random());
    let sources = sources(stream, shared);
    let (read, write) = stream.split();
    let limit = shared.limits.write;
    let mut outgoing = Outgoing { stream: write, limit, unread: Unread::within(limit) };
    let endpoints = shared.endpoints.clone();
    outgoing.send(&Reply::Welcome { version: VERSION, external: place.client, endpoints, challenge }).await?;
    let mut incoming = Incoming::new(FrameReader::new(read).within(shared.limits.frame), shared.limits.frame);
    loop {
        tokio::select! {
            letter = place.mailbox.next() => outgoing.deliver(letter).await?,
            () = sleep_until_some(outgoing.unread.due()) => outgoing.check()?,
            request = incoming.next() => {
                let Some((request, bytes)) = request? else { return Ok(()) };
                if let Request::UnsolicitedProbe { wait_ms } = request {
                    let reply = probe(place, sources, wait_ms).await;
                    outgoing.send(&reply).await?;
                }
                let one_way = Host::min_round_trip(outgoing.stream.as_ref()).unwrap_or_default() / 2;
                let pause = place.handle(request, RequestContext { bytes, one_way, challenge })?;
                incoming.pause(pause);
                if incoming.requests.is_multiple_of(TURN) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// The listening address that the client speaks to, and another one.
fn sources(stream: &TcpStream, shared: &Shared) -> Option<ProbeSources> {
    let Ok(SocketAddr::V4(local)) = stream.local_addr() else { return None };
    let same = *local.ip();
    let other = |address: &&Ipv4Addr| **address != same && !address.is_unspecified();
    Some(ProbeSources { same, other: shared.addresses.iter().find(other).copied() })
}

async fn probe(place: &ConnectionSlot, sources: Option<ProbeSources>, wait_ms: u32) -> Reply {
    match (sources, place.probe()) {
        (Some(sources), Some(_hold)) => unsolicited_probe::run(sources, place.client, wait_ms).await,
        _ => unsolicited_probe::UNTRIED,
    }
}

/// The reading half.
struct Incoming<'a> {
    reader: FrameReader<ReadHalf<'a>>,
    requests: u32,
    bytes: u64,
    /// Nothing is read before.
    from: Option<Instant>,
    /// The first request has to be there by then.
    by: Option<Instant>,
}

impl<'a> Incoming<'a> {
    fn new(reader: FrameReader<ReadHalf<'a>>, patience: Duration) -> Self {
        Self { reader, requests: 0, bytes: 0, from: None, by: Some(Instant::now() + patience) }
    }

    fn pause(&mut self, pause: Duration) {
        self.from = (!pause.is_zero()).then(|| Instant::now() + pause);
    }

    /// The next request and the bytes that were read for it. Cancel-safe.
    async fn next(&mut self) -> Result<Option<(Request, u64)>, ConnectionEnd> {
        if let Some(from) = self.from {
            sleep_until(from).await;
        }
        let request = match self.by {
            Some(by) => timeout_at(by, self.reader.next()).await.map_err(|_| ConnectionEnd::Silent)?,
            None => self.reader.next().await,
        };
        let Some(request) = request? else { return Ok(None) };
        self.by = None;
        self.requests += 1;
        if self.requests > MOST_REQUESTS {
            return Err(ConnectionEnd::TooManyRequests);
        }
        let bytes = self.reader.read() - self.bytes;
        self.bytes += bytes;
        Ok(Some((request, bytes)))
    }
}

/// The writing half.
struct Outgoing<'a> {
    stream: WriteHalf<'a>,
    limit: Duration,
    unread: Unread,
}

impl Outgoing<'_> {
    async fn deliver(&mut self, letter: Letter) -> Result<(), ConnectionEnd> {
        let Letter { due, reply, hold } = letter;
        if due > Instant::now() + TIMER_STEP {
            sleep_until(due - TIMER_STEP / 2).await;
        }
        self.send(&reply).await?;
        drop(hold);
        Ok(())
    }

    async fn send(&mut self, reply: &Reply) -> Result<(), ConnectionEnd> {
        let bytes = frame(reply)?;
        timeout(self.limit, self.stream.write_all(&bytes)).await.map_err(|_| ConnectionEnd::Unread)??;
        self.unread.wrote(bytes.len(), Instant::now());
        Ok(())
    }

    fn check(&mut self) -> Result<(), ConnectionEnd> {
        let queued = Host::unacknowledged(self.stream.as_ref());
        self.unread.check(queued, Instant::now()).map_err(|_| ConnectionEnd::Unread)
    }
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
