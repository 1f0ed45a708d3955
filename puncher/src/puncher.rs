//! One meeting from start to stream: rendezvous, exchange of cards, rounds of punching.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use crate::address_policy::{AddressKind, AddressPolicy, interface_addresses};
use crate::attempt_log::{AttemptLog, WaitingFor};
use crate::classify::Observation;
use crate::config::{Config, ConfigError, Protection};
use crate::connection::{Connection, Report};
use crate::contract::{Awaited, Event};
use crate::driver::{DrivenStream, Driver, DriverSetup, LAST_WORD, MeasuringRules, SendingRules, ViewBase};
use crate::error::ConnectError;
use crate::fd_limit;
use crate::handshake::Agreement;
use crate::introducer::Introducer;
use crate::meeting::{Meeting, Role};
use crate::method::Method;
use crate::method::private::MOST_ADDRESSES;
use crate::method::simultaneous_open::SimultaneousOpen;
use crate::method::view::SideFacts;
use crate::own_channel::{OwnChannel, OwnMeans};
use crate::rendezvous::client::{Client, ClientError};
use crate::rendezvous::message::Reply;
use crate::sealed::{RelayChannel, SealError, Sealed, open_first, seal_first};
use crate::secret::Secret;
use crate::session::Session;
use crate::signalling::{Observer, Signalling};
use crate::socket;
use crate::socket_set::SocketSet;
use crate::stream::PeerStream;
use crate::text::printable;
use crate::ticket::{self, Introduction, OwnTicket, SealedTicket};
use crate::x25519::{EphemeralKey, PublicKey};

/// Hops behind one NAT: the NAT itself, and the router that drops the SYN.
const USUAL_HOPS: u8 = 2;

/// The time to the peer when nobody could measure it: only delays of redials follow from it.
const UNKNOWN_TRIP: Duration = Duration::from_millis(20);

/// Whose word a peer's endpoint is, where there is no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndpointFrom {
    /// This side's user typed it.
    User,
    /// The peer's ticket says so.
    Peer,
}

/// The version of what two peers tell each other.
const VERSION: u32 = 3;

/// What a peer tells the other first, before there is a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PeerHello {
    version: u32,
    #[serde(with = "hex::serde")]
    public: PublicKey,
    method: String,
    protection: Protection,
    /// Microseconds to the rendezvous server, one way.
    one_way_us: u64,
}

/// Gets connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use puncher::{Config, ConnectError, Meeting, Puncher, Role, Secret};
///
/// let servers = vec!["203.0.113.1:7000".parse()?, "203.0.113.2:7001".parse()?];
/// let meeting = Meeting { name: "some-name".into(), role: Role::A, secret: Secret::from_file("secret".as_ref())? };
/// let mut puncher = Puncher::new(Config::new(servers))?;
/// match puncher.connect(&meeting).await {
///     Ok(connection) => println!("won by {}", connection.report.method),
///     Err(ConnectError::NoPath { log, .. }) => println!("no path{log}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
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
    ///
    /// ```
    /// # fn example() -> Result<(), puncher::ConfigError> {
    /// use puncher::{Config, Event, Puncher};
    ///
    /// let puncher = Puncher::new(Config::new(Vec::new()))?.on_event(|event| {
    ///     if let Event::Mapped { external, .. } = event {
    ///         println!("seen from outside as {external}");
    ///     }
    /// });
    /// # Ok(()) }
    /// ```
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
        let mut attempt = self.attempt(meeting.role);
        let result = attempt.at_rendezvous(meeting).await;
        attempt.conclude(result)
    }

    /// Meets the peer by way of the application's own channel and servers, and punches. No rendezvous server takes part. The
    /// peer is awaited as at a server; the deadline counts as there. `examples/own_channel.rs` is a whole program.
    ///
    /// # Errors
    /// When there is no path, no peer, or the channel is lost, see [`ConnectError`].
    pub async fn connect_through(
        &mut self,
        meeting: &Meeting,
        channel: &mut impl Signalling,
        observer: &impl Observer,
    ) -> Result<Connection, ConnectError> {
        let mut attempt = self.attempt(meeting.role);
        let result = attempt.through(meeting, (channel, observer)).await;
        attempt.conclude(result)
    }

    /// Punches towards an endpoint that is known already, starting `start_in` from now; both NATs must keep ports. The
    /// deadline counts from the start. No keys were exchanged, so the handshake takes a trip more.
    ///
    /// # Errors
    /// When there is no path.
    pub async fn connect_to(
        &mut self,
        meeting: &Meeting,
        peer: SocketAddrV4,
        start_in: Duration,
    ) -> Result<Connection, ConnectError> {
        let agreement = Agreement::in_band(meeting, self.config.protection);
        let mut attempt = self.attempt(meeting.role);
        let result = attempt.alone(agreement, None, (peer, EndpointFrom::User), start_in).await;
        attempt.conclude(result)
    }

    /// Punches as two tickets say. The deadline counts from the agreed start.
    ///
    /// # Errors
    /// When the tickets do not make a meeting, or there is no path.
    pub async fn connect_by_tickets(
        &mut self,
        own: &OwnTicket,
        peer: &SealedTicket,
        secret: &Secret,
    ) -> Result<Connection, ConnectError> {
        let Introduction { role, session, own, peer, wait, tolerance } =
            ticket::introduce(own, peer, secret, SystemTime::now())?;
        let agreement = Agreement::new(session, role, self.config.protection);
        let mut attempt = self.attempt(role);
        attempt.config.deadline += tolerance;
        let result =
            attempt.alone(agreement, Some(own.local), (peer.external, EndpointFrom::Peer), wait).await;
        attempt.conclude(result)
    }

    fn attempt(&mut self, role: Role) -> Attempt<'_> {
        let mut config = self.config.clone();
        // When the limit cannot be read, the dials that do not fit fail one by one.
        if let Ok(fits) = fd_limit::make_room(config.budget_syns)
            && fits < config.budget_syns
        {
            (self.tell)(&Event::Limited { budget_syns: fits, wanted: config.budget_syns });
            config.budget_syns = fits;
        }
        let log = AttemptLog { budget_syns: config.budget_syns, ..AttemptLog::default() };
        Attempt { start: Instant::now(), config, role, log, tell: &mut *self.tell }
    }
}

struct Attempt<'a> {
    start: Instant,
    config: Config,
    role: Role,
    log: AttemptLog,
    tell: &'a mut (dyn FnMut(&Event) + Send),
}

impl Attempt<'_> {
    fn conclude(self, result: Result<Option<Connection>, ConnectError>) -> Result<Connection, ConnectError> {
        result?.ok_or_else(|| {
            let (peer, after) = (self.role.other(), self.start.elapsed());
            ConnectError::NoPath { peer, after, log: Box::new(self.log) }
        })
    }

    async fn at_rendezvous(&mut self, meeting: &Meeting) -> Result<Option<Connection>, ConnectError> {
        let deadline = self.start + self.config.deadline;
        self.tell_waiting(Awaited::Server, self.config.deadline);
        let Ok(client) = timeout_at(deadline, self.reach_server()).await else { return Ok(None) };
        self.meet(meeting, Introducer::Server(Box::new(client?)), deadline).await
    }

    async fn through(
        &mut self,
        meeting: &Meeting,
        own: OwnMeans<'_>,
    ) -> Result<Option<Connection>, ConnectError> {
        let deadline = self.start + self.config.deadline;
        self.tell_waiting(Awaited::Server, self.config.deadline);
        let observed = OwnChannel::observed(self.config.bind, self.role, own);
        let Ok(channel) = timeout_at(deadline, observed).await else { return Ok(None) };
        let introducer = Introducer::Own(channel?);
        self.tell_mappings(introducer.observations());
        self.meet(meeting, introducer, deadline).await
    }

    /// Meets the peer, and punches.
    async fn meet(
        &mut self,
        meeting: &Meeting,
        mut introducer: Introducer<'_>,
        mut deadline: Instant,
    ) -> Result<Option<Connection>, ConnectError> {
        self.log.has_met = true;
        self.log.waiting_for = WaitingFor::Peer;
        let (key, patience) = (EphemeralKey::generate(), self.config.patience);
        let joined = Instant::now();
        self.tell_waiting(Awaited::Peer, patience);
        let hellos = self.exchange_hellos(meeting, &mut introducer, key.public());
        let Ok(hellos) = timeout_at(joined + patience, hellos).await else { return Ok(None) };
        let (own, peer) = hellos?;
        // Waiting for the peer is not punching; what the server takes is.
        let waited = joined.elapsed().saturating_sub(introducer.one_way() * 2);
        deadline += waited;
        let measured_at = Instant::now().checked_sub(waited).unwrap_or(joined);
        self.log.waiting_for = WaitingFor::Go;
        let trip = match &introducer {
            Introducer::Server(_) => Duration::from_micros(own.one_way_us.saturating_add(peer.one_way_us)),
            Introducer::Own(channel) => channel.one_way(),
        };
        let session = Session::new(&meeting.secret, &meeting.label(), self.role, (key, peer.public));
        let agreed = session.shared_bytes("puncher 2 agreed numbers", &[]);
        let view = ViewBase { role: self.role, trip: trip.min(self.config.deadline), agreed };
        let own = self.side(introducer.local(), introducer.observations());
        let mut method = self.config.method.build(self.config.seed);
        let relay = RelayChannel::new(&session);
        let agreement = Agreement::new(session, self.role, self.config.protection);
        let sockets = SocketSet::new(*own.local.ip(), own.addresses.clone(), agreement);
        let mut setup = self.setup(Some((introducer, relay)), sockets, &mut *method, own, (view, deadline));
        setup.measured_at = measured_at;
        let driven = timeout_at(deadline + LAST_WORD, Driver::new(setup).run()).await;
        self.connection(driven.unwrap_or(Ok(None))?).await
    }

    /// Connects to the server and learns the own mappings.
    async fn reach_server(&mut self) -> Result<Client, ConnectError> {
        let mut client = Client::connect(self.config.bind, &self.config.rendezvous).await?;
        client = client.with_token(self.config.token.clone());
        client = client.with_policy(AddressPolicy::new(self.config.special_addresses));
        if client.observations().len() < 2 {
            // One mapping says nothing of how the next is chosen.
            client.connect_to_the_rest().await.into_iter().for_each(|link| client.keep(link));
        }
        self.tell_mappings(client.observations());
        Ok(client)
    }

    fn tell_waiting(&mut self, until: Awaited, at_most: Duration) {
        (self.tell)(&Event::Waiting { until, at_most });
    }

    fn tell_mappings(&mut self, observations: Vec<Observation>) {
        for Observation { local, server, external } in observations {
            (self.tell)(&Event::Mapped { local, external, server });
        }
    }

    async fn exchange_hellos(
        &mut self,
        meeting: &Meeting,
        introducer: &mut Introducer<'_>,
        public: PublicKey,
    ) -> Result<(PeerHello, PeerHello), ConnectError> {
        let own = PeerHello {
            version: VERSION,
            public,
            method: self.config.method.to_string(),
            protection: self.config.protection,
            one_way_us: micros(introducer.one_way()),
        };
        let hello = seal_first(meeting, &own);
        let sealed = match introducer {
            Introducer::Server(client) => {
                client.join_with(meeting, hello.clone()).await?;
                first_sealed(client, meeting, hello).await?
            }
            Introducer::Own(channel) => channel.greet(hello).await?,
        };
        let peer: PeerHello = open_first(meeting, &sealed)?;
        if peer.version != own.version {
            return Err(SealError::Text.into());
        }
        if peer.method != own.method {
            return Err(ConnectError::MethodsDiffer {
                own: self.config.method,
                peer: printable(&peer.method),
            });
        }
        if peer.protection != own.protection {
            return Err(ConnectError::ProtectionsDiffer { own: own.protection, peer: peer.protection });
        }
        Ok((own, peer))
    }

    /// Without a rendezvous server: both ends are taken for what they are said to be.
    async fn alone(
        &mut self,
        agreement: Agreement,
        local: Option<SocketAddrV4>,
        (remote, whose): (SocketAddrV4, EndpointFrom),
        start_in: Duration,
    ) -> Result<Option<Connection>, ConnectError> {
        let asked = local.unwrap_or(self.config.bind);
        let bind = |source| ConnectError::Bind { local: asked, source };
        let holder = socket::bind_shared(asked).map_err(bind)?;
        let local = holder.local_addr().map_err(bind)?.as_socket_ipv4().unwrap_or(asked);
        let policy = AddressPolicy::new(self.config.special_addresses);
        if let Some(kind) = policy.refuses_peer(remote, (*local.ip(), *remote.ip())) {
            return Err(ConnectError::AddressRefused { endpoint: remote, kind: kind.to_string() });
        }
        self.log.waiting_for = WaitingFor::Go;
        let deadline = self.start + start_in + self.config.deadline;
        self.tell_waiting(Awaited::Start, start_in);
        sleep(start_in + self.config.start_delay).await;
        let known = |endpoint| vec![Observation { local: endpoint, server: endpoint, external: endpoint }];
        let own = self.side(local, known(local));
        let mut peer = self.side(remote, known(remote));
        peer.address_confirmed = whose == EndpointFrom::User;
        let mut method = SimultaneousOpen::preserved_port(self.config.seed).with_holes();
        let sockets = SocketSet::new(*local.ip(), Vec::new(), agreement);
        let view = ViewBase { role: self.role, trip: UNKNOWN_TRIP, agreed: [0; 32] };
        let setup = self.setup(None, sockets, &mut method, own, (view, deadline));
        let driven = timeout_at(deadline + LAST_WORD, Driver::new(setup).run_alone(peer)).await;
        self.connection(driven.unwrap_or(Ok(None))?).await
    }

    /// What this host may be dialled at besides, unless the user chose an address.
    fn other_addresses(&self, local: Ipv4Addr) -> Vec<Ipv4Addr> {
        if !self.config.bind.ip().is_unspecified() {
            return Vec::new();
        }
        let anywhere = AddressPolicy::with(self.config.special_addresses, Vec::new());
        let mut others = interface_addresses();
        others.retain(|address| *address != local && anywhere.kind(*address) == AddressKind::Ordinary);
        others.truncate(MOST_ADDRESSES);
        others
    }

    fn side(&self, local: SocketAddrV4, observations: Vec<Observation>) -> SideFacts {
        let (syns, hops) = (self.config.budget_syns, self.config.hops.unwrap_or(USUAL_HOPS));
        let own = observations.iter().all(|seen| seen.external.ip() == local.ip());
        let address_confirmed = own;
        SideFacts {
            local,
            addresses: self.other_addresses(*local.ip()),
            observations,
            low: None,
            kept_once: false,
            refused: false,
            syns,
            hops,
            address_confirmed,
        }
    }

    fn setup<'s, 'c>(
        &'s mut self,
        server: Option<(Introducer<'c>, RelayChannel)>,
        sockets: SocketSet,
        method: &'s mut dyn Method,
        own: SideFacts,
        (view, deadline): (ViewBase, Instant),
    ) -> DriverSetup<'s, 'c> {
        let Config { low_ports, hops, start_delay, .. } = self.config;
        let rules = MeasuringRules { low_ports, hops };
        let policy = AddressPolicy::new(self.config.special_addresses);
        let sending = SendingRules { policy, trust: self.config.server_trust };
        let measured_at = Instant::now();
        let (log, tell) = (&mut self.log, &mut *self.tell);
        DriverSetup {
            server,
            sockets,
            method,
            own,
            rules,
            sending,
            view,
            start_delay,
            measured_at,
            deadline,
            log,
            tell,
        }
    }

    /// Time is no longer up once there is a stream: the other side has it, too.
    async fn connection(&mut self, driven: Option<DrivenStream>) -> Result<Option<Connection>, ConnectError> {
        let Some(DrivenStream { won, start, losers }) = driven else { return Ok(None) };
        losers.close_losers().await;
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
            syns: self.log.tally.total(),
        };
        let stream = PeerStream::new(won.stream, won.keys, self.config.protection);
        Ok(Some(Connection { stream, report }))
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
        other => Err(ClientError::unexpected(&other).into()),
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
