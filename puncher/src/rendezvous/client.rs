//! A peer's end of the rendezvous: connects to every endpoint of the server from the port it will punch from, learns
//! its external endpoints, and exchanges messages.
//!
//! The connections stay open while this lives: they hold the mappings whose ports were learnt.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::address_policy::AddressPolicy;
use crate::address_policy::SpecialAddresses;
use crate::classify::{Answer, Observation};
use crate::meeting::{Meeting, Role};
use crate::platform::{Host, System as _};
use crate::rendezvous::message::{FrameReader, Reply, Request, VERSION, frame, write_frame};
use crate::rendezvous::proof::{self, Digest};
use crate::sealed::Sealed;
use crate::secret::Secret;
use crate::socket::{self, DialFailure, SynTtl};
use crate::text::printable;

/// How long other connections may take once the first has succeeded, at least; and in round trips, because a server may be
/// far: one is the handshake's, one the greeting's, and a packet of each may be lost.
const STRAGGLER: Duration = Duration::from_millis(500);
const STRAGGLER_TRIPS: u32 = 6;

/// A packet may be lost, and the kernel sends the next SYN only after a second: who has not answered within this many
/// round trips is dialled anew, and then waited for twice as long.
const LATE: u32 = 8;
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// A server that lies about its endpoints has this many SYNs sent to others.
const MOST_ENDPOINTS: usize = 4;

/// Why the rendezvous failed. Part of a [`ConnectError`](crate::ConnectError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No endpoint could be connected.
    #[error("cannot reach rendezvous server {server}: {why}")]
    Unreachable {
        /// The first endpoint.
        server: SocketAddrV4,
        /// What happened there.
        why: String,
    },
    /// The name of a server has no address.
    #[error("cannot find rendezvous server \"{server}\": {why}")]
    Unknown {
        /// As it was given.
        server: String,
        /// What the system said.
        why: String,
    },
    /// The local endpoint cannot be bound.
    #[error("cannot bind {local}: {source}")]
    Bind {
        /// The endpoint asked for.
        local: SocketAddrV4,
        /// What the system said.
        source: io::Error,
    },
    /// The conversation broke.
    #[error("lost the rendezvous server: {0}")]
    Lost(#[from] io::Error),
    /// The server ended the conversation.
    #[error("the rendezvous server refused: {0}")]
    Refused(String),
    /// Something came that does not belong here.
    #[error("the rendezvous server said something unexpected: {0}")]
    Unexpected(String),
    /// The application's own channel broke, see [`Signalling`](crate::Signalling).
    #[error("lost the channel to the peer: {0}")]
    Channel(io::Error),
    /// None of the application's own servers told what it saw, see [`Observer`](crate::Observer).
    #[error("no server told which endpoint it sees")]
    Unobserved,
}

impl ClientError {
    /// None of these endpoints of a server answered.
    pub(crate) fn unreachable(servers: &[SocketAddrV4], why: String) -> Self {
        let nowhere = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0);
        Self::Unreachable { server: servers.first().copied().unwrap_or(nowhere), why }
    }

    /// Something came that does not belong here.
    pub(crate) fn unexpected(what: &impl std::fmt::Debug) -> Self {
        Self::Unexpected(printable(&format!("{what:?}")))
    }
}

/// One connection to the server.
#[derive(Debug)]
pub struct ServerLink {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    observation: Observation,
    endpoints: Vec<SocketAddrV4>,
    challenge: Option<Digest>,
    round_trip: Duration,
    dialled: Instant,
}

impl ServerLink {
    /// Has the server send SYNs to where this connection comes from; what became of those from its address, and of those
    /// from another one.
    ///
    /// # Errors
    /// When the connection is lost or the server says something else.
    pub async fn probe_unsolicited(&mut self, wait_ms: u32) -> Result<(Answer, Answer), ClientError> {
        write_frame(&mut self.writer, &Request::UnsolicitedProbe { wait_ms }).await?;
        match self.reader.next().await? {
            Some(Reply::UnsolicitedAnswers { same_address, other_address }) => {
                Ok((same_address, other_address))
            }
            other => Err(ClientError::unexpected(&other)),
        }
    }

    /// What the server saw of it.
    #[must_use]
    pub fn observation(&self) -> Observation {
        self.observation
    }

    /// When its SYN left: mappings are made in this order.
    #[must_use]
    pub fn dialled(&self) -> Instant {
        self.dialled
    }

    /// How long another SYN to this server may be unanswered.
    fn patience(&self) -> Duration {
        (self.round_trip * LATE).max(LEAST_PATIENCE)
    }
}

/// Connected to a rendezvous server.
#[derive(Debug)]
pub struct Client {
    primary: ServerLink,
    others: Vec<ServerLink>,
    local: SocketAddrV4,
    token: Option<Secret>,
    policy: AddressPolicy,
}

impl Client {
    /// Connects to all endpoints at once, from one local port. The SYNs leave in the order given, and so NATs that count
    /// allocate their ports in it.
    ///
    /// # Errors
    /// When the port cannot be bound or no endpoint answers.
    pub async fn connect(local: SocketAddrV4, servers: &[SocketAddrV4]) -> Result<Self, ClientError> {
        let bind = |source| ClientError::Bind { local, source };
        // A port chosen by the system is held until the connections share it.
        let holder = socket::bind_shared(local).map_err(bind)?;
        let bound = holder.local_addr().map_err(bind)?.as_socket_ipv4().unwrap_or(local);
        let mut links = connect_all(bound, servers, None).await?.into_iter();
        let primary =
            links.next().ok_or_else(|| ClientError::unreachable(servers, "no endpoint was given".into()))?;
        let local = primary.observation.local;
        let policy = AddressPolicy::new(SpecialAddresses::Refuse);
        Ok(Self { primary, others: links.collect(), local, policy, token: None })
    }

    /// Dials of the endpoints that the server names what this policy allows, and no longer what the default does.
    #[must_use]
    pub(crate) fn with_policy(self, policy: AddressPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Which addresses that the server names may be dialled.
    pub(crate) fn policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// The port and address that all connections come from.
    #[must_use]
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// What was learnt, in the order in which the SYNs left.
    #[must_use]
    pub fn observations(&self) -> Vec<Observation> {
        std::iter::once(&self.primary).chain(&self.others).map(|link| link.observation).collect()
    }

    /// Opens one more connection, from this local port (0 for any): its observation is the NAT's newest mapping. Keep it
    /// with [`Client::keep`], or the mapping is lost. Independent of the other connections; the first SYN leaves at once.
    pub fn measure(&self, port: u16) -> impl Future<Output = Result<ServerLink, String>> + Send + 'static {
        let local = SocketAddrV4::new(*self.local.ip(), port);
        let dialled = Dialled::new(local, self.primary.observation.server);
        let (_, patience) = watch::channel(Some(self.primary.patience()));
        let within = straggler(self.primary.round_trip);
        async move {
            let link = timeout(within, dialled.open(patience)).await;
            link.unwrap_or_else(|_| Err("unanswered".into()))
        }
    }

    /// Connects from the same port to the server's other endpoints, those that were not named or did not answer. Give them
    /// to [`Client::keep`]. Independent of the other connections.
    pub fn connect_to_the_rest(&self) -> impl Future<Output = Vec<ServerLink>> + Send + 'static {
        let known: Vec<_> = self.observations().iter().map(|seen| seen.server).collect();
        self.connect_within_reason(self.local, move |endpoint| !known.contains(endpoint))
    }

    /// Connects from another port to several of the server's endpoints, to see whether they see the same mapping. Give
    /// them to [`Client::keep`]. Independent of the other connections.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn connect_anew(&self) -> io::Result<impl Future<Output = Vec<ServerLink>> + Send + 'static> {
        let holder = socket::bind_shared(SocketAddrV4::new(*self.local.ip(), 0))?;
        let local = holder.local_addr()?.as_socket_ipv4().unwrap_or(self.local);
        let links = self.connect_within_reason(local, |_| true);
        Ok(async move {
            let links = links.await;
            drop(holder);
            links
        })
    }

    /// Those that come up, of this many endpoints and within such a time as even a server that lies may have.
    fn connect_within_reason(
        &self,
        local: SocketAddrV4,
        wanted: impl Fn(&SocketAddrV4) -> bool,
    ) -> impl Future<Output = Vec<ServerLink>> + Send + 'static {
        let named = self.server();
        let allowed = |endpoint: &SocketAddrV4| self.policy.allows_server(*endpoint, named);
        let servers = self.primary.endpoints.iter().copied().filter(allowed).filter(wanted);
        let servers: Vec<_> = servers.take(MOST_ENDPOINTS).collect();
        let within = straggler(self.primary.round_trip) * 2;
        async move {
            let end = Some(Instant::now() + within);
            connect_all(local, &servers, end).await.unwrap_or_default()
        }
    }

    /// The endpoint that the conversation is with.
    #[must_use]
    pub fn server(&self) -> SocketAddrV4 {
        self.primary.observation.server
    }

    /// Keeps a connection open as long as this lives.
    pub fn keep(&mut self, link: ServerLink) {
        self.others.push(link);
    }

    /// The measured time to the server, one way.
    #[must_use]
    pub fn one_way(&self) -> Duration {
        self.primary.round_trip / 2
    }

    /// Shows this token to a server that asks for one.
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// Takes a side of a meeting and has a first sealed message handed to the peer. If another connection has the side the
    /// server answers [`Reply::Taken`], for [`Client::take_over`].
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn join_with(&mut self, meeting: &Meeting, body: Sealed) -> Result<(), ClientError> {
        let lock = proof::side_key(meeting, 0).lock();
        self.say(&[self.wish(meeting.label(), meeting.role, Some(lock)), Request::Relay { body }]).await
    }

    /// Takes a side over from a connection that had the same secret, and has a first sealed message handed to the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn take_over(
        &mut self,
        meeting: &Meeting,
        times: u32,
        body: Sealed,
    ) -> Result<(), ClientError> {
        let key = proof::side_key(meeting, times);
        let lock = proof::side_key(meeting, times.saturating_add(1)).lock();
        self.say(&[Request::TakeOver { key, lock }, Request::Relay { body }]).await
    }

    fn wish(&self, label: String, role: Role, lock: Option<Digest>) -> Request {
        let proof = |(token, challenge)| proof::prove_token(token, challenge, &label, role);
        let token = self.token.as_ref().zip(self.primary.challenge).map(proof);
        Request::Join { version: VERSION, meeting: label, role, lock, token }
    }

    /// Has a sealed message handed to the peer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn relay(&mut self, body: Sealed) -> Result<(), ClientError> {
        self.say(&[Request::Relay { body }]).await
    }

    /// Has a sealed message handed to the peer, and tells the server that this side is ready for a round.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn relay_and_be_ready(&mut self, body: Sealed, round: u32) -> Result<(), ClientError> {
        self.say(&[Request::Relay { body }, Request::Ready { round }]).await
    }

    /// Sends requests in one piece, and so mostly in one packet.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn say(&mut self, requests: &[Request]) -> Result<(), ClientError> {
        let frames = requests.iter().map(frame).collect::<io::Result<Vec<_>>>()?;
        Ok(self.primary.writer.write_all(&frames.concat()).await?)
    }

    /// The next thing the server says. Cancel-safe.
    ///
    /// # Errors
    /// When the connection is lost or the server refuses.
    pub async fn next(&mut self) -> Result<Reply, ClientError> {
        match self.primary.reader.next().await? {
            Some(Reply::Error { why }) => Err(ClientError::Refused(printable(&why))),
            Some(reply) => Ok(reply),
            None => Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// How long a connection to a server may take that has answered others within this.
fn straggler(round_trip: Duration) -> Duration {
    (round_trip * STRAGGLER_TRIPS).max(STRAGGLER)
}

/// Dials all at once and keeps those that come up, before `end` if there is one, in the order given.
async fn connect_all(
    local: SocketAddrV4,
    servers: &[SocketAddrV4],
    end: Option<Instant>,
) -> Result<Vec<ServerLink>, ClientError> {
    let (tell, patience) = watch::channel(None);
    let mut pending = JoinSet::new();
    for (place, server) in servers.iter().copied().enumerate() {
        let opening = Dialled::new(local, server).open(patience.clone());
        pending.spawn(async move { (place, opening.await) });
    }
    let mut within = STRAGGLER;
    let mut links = Vec::new();
    let mut failures = Vec::new();
    loop {
        let next = async {
            if links.is_empty() {
                pending.join_next().await
            } else {
                timeout(within, pending.join_next()).await.unwrap_or(None)
            }
        };
        let next = match end {
            Some(end) => timeout_at(end, next).await.unwrap_or(None),
            None => next.await,
        };
        match next {
            Some(Ok((place, Ok(link)))) => {
                tell.send_if_modified(|patience| patience.replace(link.patience()).is_none());
                within = straggler(link.round_trip);
                links.push((place, link));
            }
            Some(Ok((place, Err(why)))) => failures.push((place, why)),
            Some(Err(error)) => failures.push((servers.len(), error.to_string())),
            None => break,
        }
    }
    // Their endpoints are free from now on.
    pending.shutdown().await;
    if links.is_empty() {
        failures.sort();
        let why = failures.into_iter().next().map_or_else(|| "no endpoint was given".into(), |(_, why)| why);
        return Err(ClientError::unreachable(servers, why));
    }
    links.sort_by_key(|(place, _)| *place);
    Ok(links.into_iter().map(|(_, link)| link).collect())
}

/// A connection that is being made.
struct Dialled {
    local: SocketAddrV4,
    server: SocketAddrV4,
    stream: io::Result<TcpStream>,
    at: Instant,
}

impl Dialled {
    /// The SYN leaves at once.
    fn new(local: SocketAddrV4, server: SocketAddrV4) -> Self {
        let at = Instant::now();
        Self { local, server, stream: socket::dial(local, server, SynTtl::Full), at }
    }

    /// Dials anew as long as nothing answers, once it is known how long an answer may take.
    async fn settled(mut self, mut patience: watch::Receiver<Option<Duration>>) -> Result<Self, String> {
        let mut dials = 0;
        loop {
            let stream = self.stream.as_ref().map_err(ToString::to_string)?;
            let late = async {
                match patience.wait_for(Option::is_some).await.map(|known| *known) {
                    Ok(Some(patience)) => sleep(patience * (1 << dials)).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                settled = socket::settled(stream) => {
                    settled.map_err(|refusal: DialFailure| refusal.to_string())?;
                    return Ok(self);
                }
                () = late => {
                    // Its endpoint must be free.
                    drop(self.stream);
                    self = Self::new(self.local, self.server);
                    dials += 1;
                }
            }
        }
    }

    async fn open(self, patience: watch::Receiver<Option<Duration>>) -> Result<ServerLink, String> {
        let Self { stream, server, at: dialled, .. } = self.settled(patience).await?;
        let took = dialled.elapsed();
        let stream = stream.map_err(|error| error.to_string())?;
        let Ok(SocketAddr::V4(local)) = stream.local_addr() else {
            return Err("not connected over IPv4".into());
        };
        let round_trip = Host::min_round_trip(&stream).unwrap_or(took);
        Host::acknowledge_by_answers(&stream);
        let (read, mut writer) = stream.into_split();
        write_frame(&mut writer, &Request::Hello).await.map_err(|error| error.to_string())?;
        let mut reader = FrameReader::new(read);
        match reader.next().await.map_err(|error| error.to_string())? {
            Some(Reply::Welcome { version: VERSION, external, endpoints, challenge }) => {
                let observation = Observation { local, server, external };
                Ok(ServerLink { reader, writer, observation, endpoints, challenge, round_trip, dialled })
            }
            Some(Reply::Welcome { version, .. }) => {
                Err(format!("it speaks version {version}, this is version {VERSION}"))
            }
            Some(other) => Err(printable(&format!("it began with {other:?}"))),
            None => Err("it hung up: too many connections from here?".into()),
        }
    }
}
