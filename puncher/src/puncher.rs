//! One meeting from start to stream: rendezvous, exchange of cards, rounds of punching.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use crate::classify::Observation;
use crate::config::{Config, ConfigError, ServerWord};
use crate::contract::Event;
use crate::driver::{Driven, Driver, Setting, ViewBase};
use crate::handshake::Agreement;
use crate::limits;
use crate::meeting::{Meeting, Role};
use crate::method::meet::Meet;
use crate::method::view::Side;
use crate::method::{Method, MethodName};
use crate::rendezvous::client::{Client, ClientError};
use crate::rendezvous::message::Reply;
use crate::secret::{Nonce, Refused, Sealed, Seals, Secret};
use crate::socket;
use crate::table::Table;
use crate::ticket::{self, Introduction, SealedTicket, TicketError};
use crate::tried::{Tried, Waiting};

/// Hops behind one NAT: the NAT itself, and the router that drops the SYN.
const USUAL_HOPS: u8 = 2;

/// The time to the peer when nobody could measure it: only delays of redials follow from it.
const UNKNOWN_TRIP: Duration = Duration::from_millis(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The rendezvous failed.
    #[error(transparent)]
    Rendezvous(#[from] ClientError),
    /// A message that came by way of the rendezvous server is not the peer's.
    #[error("refused a message that claims to be the peer's: {0}")]
    Forged(Refused),
    /// The peers were started with different methods.
    #[error("the peer uses method {peer}, this side {own}")]
    MethodsDiffer {
        /// This side's.
        own: MethodName,
        /// The peer's.
        peer: String,
    },
    /// Without a rendezvous server there must be a peer's endpoint.
    #[error("no rendezvous server given, and no endpoint of the peer")]
    NoIntroduction,
    /// The tickets do not make a meeting.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The local endpoint cannot be bound.
    #[error("cannot bind {local}: {source}")]
    Bind {
        /// The endpoint asked for.
        local: SocketAddrV4,
        /// What the system said.
        source: io::Error,
    },
    /// The peer left before the punch.
    #[error("the peer left the meeting")]
    PeerLeft,
    /// Time ran out, or the method expects nothing more.
    #[error("no path to peer \"{peer}\" after {:.1} s{tried}", .after.as_secs_f64())]
    NoPath {
        /// The peer's role.
        peer: crate::meeting::Role,
        /// Since the call.
        after: Duration,
        /// What was tried.
        tried: Box<Tried>,
    },
}

impl ConnectError {
    /// Whether the caller asked for what cannot be; otherwise there is no path, no peer or no server at present.
    #[must_use]
    pub fn could_not_run(&self) -> bool {
        matches!(
            self,
            Self::MethodsDiffer { .. }
                | Self::NoIntroduction
                | Self::Ticket(_)
                | Self::Bind { .. }
                | Self::Rendezvous(ClientError::Bind { .. })
        )
    }
}

/// How a connection was won.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// This end, as the socket names it.
    pub local: SocketAddrV4,
    /// The other end, as the socket names it.
    pub remote: SocketAddrV4,
    /// The method that won.
    pub method: &'static str,
    /// From the agreed start to ESTABLISHED.
    pub established: Duration,
    /// From the agreed start to the peer's proof.
    pub authenticated: Duration,
    /// SYNs this side sent.
    pub syns: u32,
}

/// A stream to the peer.
#[derive(Debug)]
pub struct Connection {
    /// Authenticated; everything on it is the application's.
    pub stream: TcpStream,
    /// How it was won.
    pub report: Report,
}

/// What a peer tells the other first, before there is a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Card {
    nonce: Nonce,
    method: String,
    /// Microseconds to the rendezvous server, one way.
    one_way_us: u64,
}

/// Gets connections.
pub struct Puncher {
    config: Config,
    tell: Box<dyn FnMut(&Event) + Send>,
}

impl fmt::Debug for Puncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puncher").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Puncher {
    /// Checks the configuration.
    ///
    /// # Errors
    /// When it cannot work.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config, tell: Box::new(|_| ()) })
    }

    /// Tells this closure what happens.
    #[must_use]
    pub fn on_event(mut self, tell: impl FnMut(&Event) + Send + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Meets the peer at the rendezvous server and punches. Dropping the future ends everything it started.
    ///
    /// # Errors
    /// When there is no path, no peer, or no rendezvous server, see [`ConnectError`].
    pub async fn connect(&mut self, meeting: &Meeting) -> Result<Connection, ConnectError> {
        if self.config.rendezvous.is_empty() {
            return Err(ConnectError::NoIntroduction);
        }
        let deadline = self.config.deadline;
        let mut attempt = self.attempt(meeting.role);
        let result = timeout(deadline, attempt.at_rendezvous(meeting)).await;
        attempt.conclude(result)
    }

    /// Punches towards an endpoint that is known already, starting `start_in` from now; both NATs must keep ports. The
    /// deadline counts from the start. No nonces were exchanged, so the handshake takes a trip more.
    ///
    /// # Errors
    /// When there is no path.
    pub async fn connect_to(
        &mut self,
        meeting: &Meeting,
        peer: SocketAddrV4,
        start_in: Duration,
    ) -> Result<Connection, ConnectError> {
        let deadline = self.config.deadline + start_in;
        let agreement = Agreement::in_band(meeting);
        let mut attempt = self.attempt(meeting.role);
        let result = timeout(deadline, attempt.alone(agreement, None, peer, start_in)).await;
        attempt.conclude(result)
    }

    /// Punches as two tickets say. The deadline counts from the agreed start.
    ///
    /// # Errors
    /// When the tickets do not make a meeting, or there is no path.
    pub async fn connect_by_tickets(
        &mut self,
        own: &SealedTicket,
        peer: &SealedTicket,
        secret: &Secret,
    ) -> Result<Connection, ConnectError> {
        let Introduction { role, session_key, own, peer, wait, tolerance } =
            ticket::introduce(own, peer, secret, SystemTime::now())?;
        let deadline = self.config.deadline + wait + tolerance;
        let agreement = Agreement::new(session_key, role);
        let mut attempt = self.attempt(role);
        let (local, remote) = (Some(own.local), peer.external);
        let result = timeout(deadline, attempt.alone(agreement, local, remote, wait)).await;
        attempt.conclude(result)
    }

    fn attempt(&mut self, role: Role) -> Attempt<'_> {
        let mut config = self.config.clone();
        // When the limit cannot be read, the dials that do not fit fail one by one.
        if let Ok(fits) = limits::make_room(config.budget_syns)
            && fits < config.budget_syns
        {
            (self.tell)(&Event::Limited { budget_syns: fits, wanted: config.budget_syns });
            config.budget_syns = fits;
        }
        Attempt { start: Instant::now(), config, role, tried: Tried::default(), tell: &mut *self.tell }
    }
}

struct Attempt<'a> {
    start: Instant,
    config: Config,
    role: Role,
    tried: Tried,
    tell: &'a mut (dyn FnMut(&Event) + Send),
}

impl Attempt<'_> {
    fn conclude(
        self,
        result: Result<Result<Option<Connection>, ConnectError>, Elapsed>,
    ) -> Result<Connection, ConnectError> {
        match result {
            Ok(Ok(Some(connection))) => Ok(connection),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => {
                let (peer, after) = (self.role.other(), self.start.elapsed());
                Err(ConnectError::NoPath { peer, after, tried: Box::new(self.tried) })
            }
        }
    }

    async fn at_rendezvous(&mut self, meeting: &Meeting) -> Result<Option<Connection>, ConnectError> {
        let mut client = Client::connect(self.config.bind, &self.config.rendezvous).await?;
        client = client.with_token(self.config.token.clone());
        if client.observations().len() < 2 {
            // One mapping says nothing of how the next is chosen.
            client.connect_to_the_rest().await.into_iter().for_each(|link| client.keep(link));
        }
        for Observation { local, server, external } in client.observations() {
            (self.tell)(&Event::Mapped { local, external, server });
        }
        self.tried.waiting_for = Waiting::Card;
        let mut seals = Seals::new(meeting);
        let (own, peer) = self.exchange_cards(meeting, &mut client, &mut seals).await?;
        self.tried.waiting_for = Waiting::Go;
        let trip = Duration::from_micros(own.one_way_us.saturating_add(peer.one_way_us));
        let key = seals.session_key().expect("the session started with the exchange of cards");
        let agreed = key.mac("puncher 1 agreed numbers", &[]);
        let view = ViewBase { role: self.role, trip: trip.min(self.config.deadline), agreed };
        let own = self.side(client.local(), client.observations());
        let mut method = self.config.method.build(self.config.seed);
        let table = Table::new(*own.local.ip(), Agreement::new(key, self.role));
        let setting = self.setting(Some((client, seals)), table, &mut *method, own, view);
        let driven = Driver::new(setting).run().await?;
        self.connection(driven)
    }

    async fn exchange_cards(
        &mut self,
        meeting: &Meeting,
        client: &mut Client,
        seals: &mut Seals,
    ) -> Result<(Card, Card), ConnectError> {
        let own = Card {
            nonce: Nonce::random(),
            method: self.config.method.to_string(),
            one_way_us: micros(client.one_way()),
        };
        let card = seals.seal(&own);
        client.join_with(meeting, card.clone()).await?;
        let peer: Card = seals.open(&first_sealed(client, meeting, card).await?)?;
        seals.start_session(own.nonce, peer.nonce);
        if peer.method != own.method {
            return Err(ConnectError::MethodsDiffer { own: self.config.method, peer: peer.method });
        }
        Ok((own, peer))
    }

    /// Without a rendezvous server: both ends are taken for what they are said to be.
    async fn alone(
        &mut self,
        agreement: Agreement,
        local: Option<SocketAddrV4>,
        remote: SocketAddrV4,
        start_in: Duration,
    ) -> Result<Option<Connection>, ConnectError> {
        let asked = local.unwrap_or(self.config.bind);
        let bind = |source| ConnectError::Bind { local: asked, source };
        let holder = socket::bind_shared(asked).map_err(bind)?;
        let local = holder.local_addr().map_err(bind)?.as_socket_ipv4().unwrap_or(asked);
        self.tried.waiting_for = Waiting::Go;
        sleep(start_in + self.config.start_delay).await;
        let known = |endpoint| vec![Observation { local: endpoint, server: endpoint, external: endpoint }];
        let own = self.side(local, known(local));
        let peer = self.side(remote, known(remote));
        let mut method = Meet::preserved_port(self.config.seed).with_holes();
        let table = Table::new(*local.ip(), agreement);
        let view = ViewBase { role: self.role, trip: UNKNOWN_TRIP, agreed: [0; 32] };
        let setting = self.setting(None, table, &mut method, own, view);
        let driven = Driver::new(setting).run_alone(peer).await?;
        self.connection(driven)
    }

    fn side(&self, local: SocketAddrV4, observations: Vec<Observation>) -> Side {
        let (syns, hops) = (self.config.budget_syns, self.config.hops.unwrap_or(USUAL_HOPS));
        let own = observations.iter().all(|seen| seen.external.ip() == local.ip());
        let address_confirmed = own || self.config.server_word == ServerWord::Enough;
        Side {
            local,
            observations,
            low: None,
            kept_once: false,
            refused: false,
            syns,
            hops,
            address_confirmed,
        }
    }

    fn setting<'s>(
        &'s mut self,
        server: Option<(Client, Seals)>,
        table: Table,
        method: &'s mut dyn Method,
        own: Side,
        view: ViewBase,
    ) -> Setting<'s> {
        let Config { low_ports, hops, start_delay, .. } = self.config;
        let tried = &mut self.tried;
        Setting { server, table, method, own, view, low_ports, hops, start_delay, tried, tell: self.tell }
    }

    fn connection(&self, driven: Option<Driven>) -> Result<Option<Connection>, ConnectError> {
        let Some(Driven { won, start }) = driven else { return Ok(None) };
        let (local, remote) = socket::ends(&won.stream).map_err(ClientError::Lost)?;
        if let Some(every) = self.config.keep_alive {
            socket::keep_alive(&won.stream, every).map_err(ClientError::Lost)?;
        }
        let report = Report {
            local,
            remote,
            method: won.by,
            established: won.established.saturating_duration_since(start),
            authenticated: won.authenticated.saturating_duration_since(start),
            syns: self.tried.tally.total(),
        };
        Ok(Some(Connection { stream: won.stream, report }))
    }
}

/// The peer's card. If the server holds this side for a connection that was lost, it is taken over, once.
async fn first_sealed(client: &mut Client, meeting: &Meeting, card: Sealed) -> Result<Sealed, ConnectError> {
    let mut first = client.next().await?;
    if let Reply::Taken { times } = first {
        client.take_over(meeting, times, card).await?;
        first = client.next().await?;
    }
    match first {
        Reply::Relay { body } => Ok(body),
        Reply::Gone => Err(ConnectError::PeerLeft),
        other => Err(ClientError::Unexpected(format!("{other:?}")).into()),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sendable<T: Send>(value: T) -> T {
        value
    }

    #[tokio::test]
    async fn a_connect_may_be_spawned_and_cancelled() {
        let mut puncher = Puncher::new(Config::new(vec!["127.0.0.1:9".parse().unwrap()])).unwrap();
        let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
        let connecting = tokio::spawn(sendable(async move { puncher.connect(&meeting).await.map(|_| ()) }));
        connecting.abort();
        assert!(connecting.await.is_err_and(|error| error.is_cancelled()));
    }

    #[tokio::test]
    async fn without_a_server_or_an_endpoint_there_is_no_meeting() {
        let mut puncher = Puncher::new(Config::new(Vec::new())).unwrap();
        let meeting = Meeting { name: "m".into(), role: Role::A, secret: Secret::random() };
        assert!(matches!(puncher.connect(&meeting).await, Err(ConnectError::NoIntroduction)));
    }
}
