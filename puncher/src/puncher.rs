//! One meeting from start to stream: rendezvous, exchange of cards, rounds of punching.

use std::fmt;
use std::net::SocketAddrV4;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use crate::attempt_log::{AttemptLog, WaitingFor};
use crate::classify::Observation;
use crate::config::{Config, ConfigError, ServerTrust};
use crate::connection::{Connection, Report};
use crate::contract::Event;
use crate::driver::{DrivenStream, Driver, DriverSetup, MeasuringRules, ViewBase};
use crate::error::ConnectError;
use crate::fd_limit;
use crate::handshake::Agreement;
use crate::meeting::{Meeting, Role};
use crate::method::Method;
use crate::method::simultaneous_open::SimultaneousOpen;
use crate::method::view::SideFacts;
use crate::rendezvous::client::{Client, ClientError};
use crate::rendezvous::message::Reply;
use crate::sealed::{Nonce, Sealed, Seals};
use crate::secret::Secret;
use crate::socket;
use crate::socket_set::SocketSet;
use crate::ticket::{self, Introduction, SealedTicket};

/// Hops behind one NAT: the NAT itself, and the router that drops the SYN.
const USUAL_HOPS: u8 = 2;

/// The time to the peer when nobody could measure it: only delays of redials follow from it.
const UNKNOWN_TRIP: Duration = Duration::from_millis(20);

/// What a peer tells the other first, before there is a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PeerHello {
    nonce: Nonce,
    method: String,
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
        if let Ok(fits) = fd_limit::make_room(config.budget_syns)
            && fits < config.budget_syns
        {
            (self.tell)(&Event::Limited { budget_syns: fits, wanted: config.budget_syns });
            config.budget_syns = fits;
        }
        Attempt { start: Instant::now(), config, role, log: AttemptLog::default(), tell: &mut *self.tell }
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
    fn conclude(
        self,
        result: Result<Result<Option<Connection>, ConnectError>, Elapsed>,
    ) -> Result<Connection, ConnectError> {
        match result {
            Ok(Ok(Some(connection))) => Ok(connection),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => {
                let (peer, after) = (self.role.other(), self.start.elapsed());
                Err(ConnectError::NoPath { peer, after, log: Box::new(self.log) })
            }
        }
    }

    async fn at_rendezvous(&mut self, meeting: &Meeting) -> Result<Option<Connection>, ConnectError> {
        let mut client = Client::connect(self.config.bind, &self.config.rendezvous).await?;
        if client.observations().len() < 2 {
            // One mapping says nothing of how the next is chosen.
            client.connect_to_the_rest().await.into_iter().for_each(|link| client.keep(link));
        }
        for Observation { local, server, external } in client.observations() {
            (self.tell)(&Event::Mapped { local, external, server });
        }
        self.log.waiting_for = WaitingFor::Peer;
        let mut seals = Seals::new(meeting);
        let (own, peer) = self.exchange_hellos(meeting, &mut client, &mut seals).await?;
        self.log.waiting_for = WaitingFor::Go;
        let trip = Duration::from_micros(own.one_way_us.saturating_add(peer.one_way_us));
        let key = seals.session_key().expect("the session started with the exchange of cards");
        let agreed = key.mac("puncher 1 agreed numbers", &[]);
        let view = ViewBase { role: self.role, trip: trip.min(self.config.deadline), agreed };
        let own = self.side(client.local(), client.observations());
        let mut method = self.config.method.build(self.config.seed);
        let sockets = SocketSet::new(*own.local.ip(), Agreement::new(key, self.role));
        let setting = self.setting(Some((client, seals)), sockets, &mut *method, own, view);
        let driven = Driver::new(setting).run().await?;
        self.connection(driven)
    }

    async fn exchange_hellos(
        &mut self,
        meeting: &Meeting,
        client: &mut Client,
        seals: &mut Seals,
    ) -> Result<(PeerHello, PeerHello), ConnectError> {
        let own = PeerHello {
            nonce: Nonce::random(),
            method: self.config.method.to_string(),
            one_way_us: micros(client.one_way()),
        };
        client.join_with(meeting.label(), meeting.role, seals.seal(&own)).await?;
        let peer: PeerHello = seals.open(&next_sealed(client).await?)?;
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
        self.log.waiting_for = WaitingFor::Go;
        sleep(start_in + self.config.start_delay).await;
        let known = |endpoint| vec![Observation { local: endpoint, server: endpoint, external: endpoint }];
        let own = self.side(local, known(local));
        let peer = self.side(remote, known(remote));
        let mut method = SimultaneousOpen::preserved_port(self.config.seed).with_holes();
        let sockets = SocketSet::new(*local.ip(), agreement);
        let view = ViewBase { role: self.role, trip: UNKNOWN_TRIP, agreed: [0; 32] };
        let setting = self.setting(None, sockets, &mut method, own, view);
        let driven = Driver::new(setting).run_alone(peer).await?;
        self.connection(driven)
    }

    fn side(&self, local: SocketAddrV4, observations: Vec<Observation>) -> SideFacts {
        let (syns, hops) = (self.config.budget_syns, self.config.hops.unwrap_or(USUAL_HOPS));
        let own = observations.iter().all(|seen| seen.external.ip() == local.ip());
        let address_confirmed = own || self.config.server_trust == ServerTrust::Full;
        SideFacts {
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
        sockets: SocketSet,
        method: &'s mut dyn Method,
        own: SideFacts,
        view: ViewBase,
    ) -> DriverSetup<'s> {
        let Config { low_ports, hops, start_delay, .. } = self.config;
        let rules = MeasuringRules { low_ports, hops };
        let (log, tell) = (&mut self.log, &mut *self.tell);
        DriverSetup { server, sockets, method, own, rules, view, start_delay, log, tell }
    }

    fn connection(&self, driven: Option<DrivenStream>) -> Result<Option<Connection>, ConnectError> {
        let Some(DrivenStream { won, start }) = driven else { return Ok(None) };
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
