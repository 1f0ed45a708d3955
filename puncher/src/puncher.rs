//! One meeting from start to stream: rendezvous, exchange of cards, rounds of punching.

use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::classify::Observation;
use crate::contract::Event;
use crate::driver::{Driven, Driver, LowPorts, Setting, ViewBase};
use crate::handshake::Agreement;
use crate::meeting::Meeting;
use crate::method::MethodName;
use crate::method::view::Side;
use crate::rendezvous::client::{Client, ClientError};
use crate::rendezvous::message::Reply;
use crate::secret::{Nonce, Refused, Sealed, Seals};
use crate::socket;
use crate::table::Table;
use crate::tried::{Tried, Waiting};

/// How to punch.
#[derive(Debug, Clone)]
pub struct Config {
    /// Endpoints of one rendezvous server, two at least for the mapping to be learnt.
    pub rendezvous: Vec<SocketAddrV4>,
    /// The local endpoint to punch from; address and port may be unspecified.
    pub bind: SocketAddrV4,
    /// The way to punch; both peers need the same.
    pub method: MethodName,
    /// SYNs this side may send, and so sockets it may open.
    pub budget_syns: u32,
    /// The time `connect` may take.
    pub deadline: Duration,
    /// Whether source ports below 1024 may help.
    pub low_ports: LowPorts,
    /// Hops a SYN must live to have passed this side's own NATs: two behind one NAT.
    pub hops: u8,
    /// For decisions that are random, never for secrets.
    pub seed: u64,
}

impl Config {
    /// The defaults, with these endpoints of a rendezvous server.
    #[must_use]
    pub fn new(rendezvous: Vec<SocketAddrV4>) -> Self {
        Self {
            rendezvous,
            bind: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
            method: MethodName::default(),
            budget_syns: 1280,
            deadline: Duration::from_secs(3),
            low_ports: LowPorts::default(),
            hops: 2,
            seed: u64::from_le_bytes(crate::secret::random_bytes()),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No endpoint of a rendezvous server.
    #[error("no rendezvous server given, this method needs one")]
    NoRendezvous,
    /// A budget of nothing.
    #[error("a budget of 0 SYNs punches nothing")]
    NoBudget,
    /// A deadline of nothing.
    #[error("a deadline of 0 s is over before it begins")]
    NoTime,
}

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
        tried: Tried,
    },
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
        if config.rendezvous.is_empty() {
            return Err(ConfigError::NoRendezvous);
        }
        if config.budget_syns == 0 {
            return Err(ConfigError::NoBudget);
        }
        if config.deadline.is_zero() {
            return Err(ConfigError::NoTime);
        }
        Ok(Self { config, tell: Box::new(|_| ()) })
    }

    /// Tells this closure what happens.
    #[must_use]
    pub fn on_event(mut self, tell: impl FnMut(&Event) + Send + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Meets the peer and punches. Dropping the future ends everything it started.
    ///
    /// # Errors
    /// When there is no path, no peer, or no rendezvous server, see [`ConnectError`].
    pub async fn connect(&mut self, meeting: &Meeting) -> Result<Connection, ConnectError> {
        let start = Instant::now();
        let mut tried = Tried::default();
        let attempt =
            Attempt { config: &self.config, meeting, tried: &mut tried, tell: &mut *self.tell }.run();
        match timeout_at(start + self.config.deadline, attempt).await {
            Ok(Ok(Some(connection))) => Ok(connection),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => {
                Err(ConnectError::NoPath { peer: meeting.role.other(), after: start.elapsed(), tried })
            }
        }
    }
}

struct Attempt<'a> {
    config: &'a Config,
    meeting: &'a Meeting,
    tried: &'a mut Tried,
    tell: &'a mut (dyn FnMut(&Event) + Send),
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Option<Connection>, ConnectError> {
        let mut client = Client::connect(self.config.bind, &self.config.rendezvous).await?;
        client.join(self.meeting.label(), self.meeting.role).await?;
        self.tell_mappings(&client);
        self.tried.waiting_for = Waiting::Card;
        let mut seals = Seals::new(self.meeting);
        let (own, peer) = self.exchange_cards(&mut client, &mut seals).await?;
        self.tried.waiting_for = Waiting::Go;
        let trip = Duration::from_micros(own.one_way_us.saturating_add(peer.one_way_us));
        self.drive(client, seals, trip.min(self.config.deadline)).await
    }

    fn tell_mappings(&mut self, client: &Client) {
        for Observation { local, server, external } in client.observations() {
            (self.tell)(&Event::Mapped { local, external, server });
        }
    }

    async fn exchange_cards(
        &mut self,
        client: &mut Client,
        seals: &mut Seals,
    ) -> Result<(Card, Card), ConnectError> {
        let own = Card {
            nonce: Nonce::random(),
            method: self.config.method.to_string(),
            one_way_us: micros(client.one_way()),
        };
        client.relay(seals.seal(&own)).await?;
        let peer: Card = seals.open(&next_sealed(client).await?)?;
        seals.start_session(own.nonce, peer.nonce);
        if peer.method != own.method {
            return Err(ConnectError::MethodsDiffer { own: self.config.method, peer: peer.method });
        }
        Ok((own, peer))
    }

    async fn drive(
        &mut self,
        client: Client,
        seals: Seals,
        trip: Duration,
    ) -> Result<Option<Connection>, ConnectError> {
        let key = seals.session_key().expect("the session started with the exchange of cards");
        let role = self.meeting.role;
        let agreed = key.mac("puncher 1 agreed numbers", &[]);
        let local = client.local();
        let own = Side {
            local,
            observations: client.observations(),
            low: None,
            refused: false,
            syns: self.config.budget_syns,
            hops: self.config.hops,
        };
        let mut method = self.config.method.build(self.config.seed);
        let setting = Setting {
            client,
            seals,
            table: Table::new(*local.ip(), Agreement::new(key, role)),
            method: &mut *method,
            own,
            view: ViewBase { role, trip, agreed },
            low_ports: self.config.low_ports,
            tried: self.tried,
            tell: self.tell,
        };
        let Some(Driven { won, start }) = Driver::new(setting).run().await? else { return Ok(None) };
        let (local, remote) = socket::ends(&won.stream).map_err(ClientError::Lost)?;
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

async fn next_sealed(client: &mut Client) -> Result<Sealed, ConnectError> {
    match client.next().await? {
        Reply::Relay { body } => Ok(body),
        Reply::Gone => Err(ConnectError::PeerLeft),
        other => Err(ClientError::Unexpected(format!("{other:?}")).into()),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
