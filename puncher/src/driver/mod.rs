//! Carries out what the planner and a method decide, round by round: measures, tells the peer, waits for the agreed start,
//! dials. It decides nothing itself.
//!
//! One loop waits for whatever comes next: a socket, the rendezvous server, a measurement, a timer. The sockets of earlier
//! rounds go on meanwhile, so a stream may be won at any time.

mod measure;
mod planner;
mod timers;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::Socket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::address_policy::AddressPolicy;
use crate::address_policy::ServerTrust;
use crate::attempt_log::AttemptLog;
use crate::classify::allocation;
use crate::contract::Event;
use crate::error::ConnectError;
use crate::introducer::Introducer;
use crate::method::view::{RoundView, SideFacts};
use crate::method::{Action, Dial, Method, Outlook, RoundNote};
use crate::rendezvous::client::ClientError;
use crate::rendezvous::message::Reply;
use crate::sealed::{RelayChannel, Sealed};
use crate::socket::DialFailure;
use crate::socket_set::{SocketOutcome, SocketSet, WonStream};
use measure::Measured;
pub(crate) use planner::MeasuringRules;
use planner::RoundPlanner;
use timers::{Due, Timers};

/// How long a stream may still come up after the peer has left the meeting: it may have won already.
const AFTER_PEER_LEFT: Duration = Duration::from_millis(500);

/// How long after the deadline a stream that is the peer's may still be agreed upon.
pub(crate) const LAST_WORD: Duration = Duration::from_millis(300);

/// This many SYNs leave together, then a pause: a queue on the way that holds a thousand packets has room for a spray. Linux
/// drops what a processor's queue has no room for (`net.core.netdev_max_backlog`).
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// What the peers tell each other within the session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Message {
    /// Ready for a round; this is what has been measured.
    Confirm { round: u32, side: SideFacts },
    /// Said within a round.
    Note { round: u32, note: RoundNote },
}

/// What a driver starts from.
pub(crate) struct DriverSetup<'a, 'c> {
    /// `None` when nobody introduces the peers.
    pub(crate) server: Option<(Introducer<'c>, RelayChannel)>,
    pub(crate) sockets: SocketSet,
    pub(crate) method: &'a mut dyn Method,
    pub(crate) own: SideFacts,
    pub(crate) rules: MeasuringRules,
    pub(crate) sending: SendingRules,
    pub(crate) view: ViewBase,
    /// How much later than agreed this side starts.
    pub(crate) start_delay: Duration,
    /// When the own mappings were measured.
    pub(crate) measured_at: Instant,
    /// When the search ends.
    pub(crate) deadline: Instant,
    pub(crate) log: &'a mut AttemptLog,
    pub(crate) tell: &'a mut (dyn FnMut(&Event) + Send),
}

/// What this side may send, whatever the others say.
#[derive(Debug, Clone)]
pub(crate) struct SendingRules {
    pub(crate) policy: AddressPolicy,
    pub(crate) trust: ServerTrust,
}

/// What does not change from round to round.
pub(crate) struct ViewBase {
    pub(crate) role: crate::meeting::Role,
    pub(crate) trip: Duration,
    pub(crate) agreed: [u8; 32],
}

/// A stream, and the first agreed start.
pub(crate) struct DrivenStream {
    pub(crate) won: Box<WonStream>,
    pub(crate) start: Instant,
    /// The others, which are to be closed.
    pub(crate) losers: SocketSet,
}

/// The sockets and connections of one punch.
pub(crate) struct Driver<'a, 'c> {
    server: Option<(Introducer<'c>, RelayChannel)>,
    sockets: SocketSet,
    method: &'a mut dyn Method,
    planner: RoundPlanner,
    timers: Timers,
    measuring: JoinSet<Measured>,
    /// Ports that are ours although nothing was dialled from them yet.
    held: Vec<Socket>,
    /// The port that the NAT has kept, where it keeps each once.
    kept_port: Option<u16>,
    sending: SendingRules,
    /// The peer's own word for its address.
    peer_address: Ipv4Addr,
    view: ViewBase,
    start: Option<Instant>,
    start_delay: Duration,
    /// The end at the latest.
    end: Instant,
    log: &'a mut AttemptLog,
    tell: &'a mut (dyn FnMut(&Event) + Send),
}

/// What woke the loop.
enum Wakeup {
    Socket(SocketOutcome),
    Server(Result<Reply, ClientError>),
    Measured(Measured),
    Due(Due),
}

impl<'a, 'c> Driver<'a, 'c> {
    pub(crate) fn new(setup: DriverSetup<'a, 'c>) -> Self {
        Self {
            server: setup.server,
            sockets: setup.sockets,
            method: setup.method,
            planner: RoundPlanner::new(setup.own, setup.rules, setup.measured_at),
            timers: Timers::until(setup.deadline),
            end: setup.deadline + LAST_WORD,
            measuring: JoinSet::new(),
            held: Vec::new(),
            kept_port: None,
            sending: setup.sending,
            peer_address: Ipv4Addr::UNSPECIFIED,
            view: setup.view,
            start: None,
            start_delay: setup.start_delay,
            log: setup.log,
            tell: setup.tell,
        }
    }

    /// Until a stream is agreed upon; `None` when the method expects nothing more.
    pub(crate) async fn run(mut self) -> Result<Option<DrivenStream>, ConnectError> {
        self.prepare_round().await?;
        self.wait().await
    }

    /// One round, begun now, with what is known of the peer.
    pub(crate) async fn run_alone(mut self, peer: SideFacts) -> Result<Option<DrivenStream>, ConnectError> {
        self.planner.begin_alone();
        self.begin(peer).await;
        self.wait().await
    }

    async fn wait(mut self) -> Result<Option<DrivenStream>, ConnectError> {
        loop {
            match self.next().await {
                Wakeup::Socket(SocketOutcome::Won(won)) => {
                    let start = self.start.unwrap_or(won.established);
                    return Ok(Some(DrivenStream { won, start, losers: self.sockets }));
                }
                Wakeup::Socket(outcome) => self.socket(outcome).await,
                Wakeup::Server(reply) => self.server(reply).await?,
                Wakeup::Measured(measured) => self.measured(measured).await,
                Wakeup::Due(Due::Dials) => {
                    let due = self.timers.due_dials(Instant::now());
                    due.into_iter().for_each(|dial| self.dial(dial));
                }
                Wakeup::Due(Due::NextRound) => self.prepare_round().await?,
                Wakeup::Due(Due::GiveUp) if self.sockets.is_promising(self.view.trip) => {
                    // A stream is being agreed upon: it may be the one.
                    self.timers.give_up = Some(Instant::now() + AFTER_PEER_LEFT);
                }
                Wakeup::Due(Due::Deadline) if self.sockets.has_peer() && Instant::now() < self.end => {
                    // The peer may have selected it already.
                    self.timers.deadline = Some(self.end);
                }
                Wakeup::Due(Due::GiveUp | Due::Deadline) => return Ok(None),
            }
        }
    }

    async fn next(&mut self) -> Wakeup {
        let Self { server, sockets, measuring, timers, .. } = self;
        let due = timers.next();
        let server = async {
            match server {
                Some((introducer, _)) => introducer.next().await,
                None => std::future::pending().await,
            }
        };
        let timer = async {
            match due {
                Some((at, due)) => {
                    sleep_until(at).await;
                    due
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = sockets.next() => Wakeup::Socket(outcome),
            reply = server => Wakeup::Server(reply),
            Some(Ok(measured)) = measuring.join_next() => Wakeup::Measured(measured),
            due = timer => Wakeup::Due(due),
        }
    }

    /// Without the server no further round can be agreed; what was begun goes on.
    async fn send(&mut self, message: &Message) {
        let Some((introducer, relay)) = &mut self.server else { return };
        let sealed = relay.seal(message);
        if introducer.relay(sealed).await.is_err() {
            self.server = None;
        }
    }

    async fn server(&mut self, reply: Result<Reply, ClientError>) -> Result<(), ConnectError> {
        match reply {
            Ok(Reply::Relay { body }) => self.peer_says(&body).await,
            Ok(Reply::Go { round }) => self.go(round).await,
            Ok(Reply::Gone) if self.start.is_none() => Err(ConnectError::PeerLeft),
            Ok(Reply::Gone) => {
                self.server = None;
                self.log.peer_left = true;
                self.timers.give_up = Some(Instant::now() + AFTER_PEER_LEFT);
                Ok(())
            }
            Ok(other) => Err(ClientError::unexpected(&other).into()),
            Err(error) if self.start.is_none() => Err(error.into()),
            Err(_) => {
                self.server = None;
                Ok(())
            }
        }
    }

    async fn peer_says(&mut self, body: &Sealed) -> Result<(), ConnectError> {
        let Some((_, relay)) = &mut self.server else { return Ok(()) };
        match relay.open(body)? {
            Message::Confirm { round, side } => {
                self.planner.peer_confirms(round, side);
                self.follow().await
            }
            Message::Note { round, note } if round == self.planner.round() => {
                let actions = self.method.told(note);
                self.act(actions).await;
                Ok(())
            }
            Message::Note { .. } => Ok(()),
        }
    }

    async fn go(&mut self, round: u32) -> Result<(), ConnectError> {
        let unexpected = || ClientError::Unexpected(format!("go for round {round}"));
        let peer = self.planner.take_peer(round).ok_or_else(unexpected)?;
        if self.start.is_none() {
            // Nothing is missed: there is no socket yet, and what the peer says meanwhile waits at the server's connection.
            self.start = Some(Instant::now());
            sleep(self.start_delay).await;
        }
        self.begin(peer).await;
        self.follow().await
    }

    /// Prepares the next round if the peer has done so already.
    async fn follow(&mut self) -> Result<(), ConnectError> {
        if self.planner.is_behind() { self.prepare_round().await } else { Ok(()) }
    }

    async fn begin(&mut self, peer: SideFacts) {
        self.start.get_or_insert_with(Instant::now);
        self.timers.give_up = None;
        self.log.punching();
        let ViewBase { role, trip, agreed } = self.view;
        let (round, own) = (self.planner.round(), self.planner.own().clone());
        let mut view = RoundView { round, role, own, peer, trip, agreed };
        view.limit_unconfirmed_syns(self.sending.trust);
        self.peer_address = *view.peer.local.ip();
        let trusted = self.sending.trust == ServerTrust::Full;
        self.planner.punch(view.peer.address_confirmed || trusted);
        self.log.own_nat = allocation(&view.own.observations);
        self.log.peer_nat = allocation(&view.peer.observations);
        let actions = self.method.begin(&view);
        self.act(actions).await;
    }

    async fn act(&mut self, actions: Vec<Action>) {
        let mut dials = 0;
        for action in actions {
            // Many dials take their time.
            let now = Instant::now();
            match action {
                Action::Expect(outlook) => self.expect(outlook),
                Action::Dial(dial) if dial.after.is_zero() => {
                    self.dial(dial);
                    dials += 1;
                    if dials % BURST == 0 {
                        sleep(PAUSE).await;
                    }
                }
                Action::Dial(dial) => self.timers.dial_at(now + dial.after, dial),
                Action::Listen { port, by } => {
                    if let Err(error) = self.sockets.listen(port, by) {
                        self.log.tally.count(&format!("listening failed: {error}"));
                    }
                }
                Action::Tell(note) => {
                    let message = Message::Note { round: self.planner.round(), note };
                    self.send(&message).await;
                }
                // A round that is being prepared already is not prepared again.
                Action::NextRoundIn(_) if !self.planner.is_punching() => {}
                Action::NextRoundIn(patience) => self.timers.next_round = Some(now + patience),
                Action::GiveUpIn(patience) => self.timers.give_up = Some(now + patience),
            }
        }
    }

    fn expect(&mut self, outlook: Outlook) {
        let because = outlook.because.clone();
        (self.tell)(&match outlook.peer {
            Some(peer) => Event::Predicted { peer, because },
            None => Event::Expected { probability: outlook.probability, because },
        });
        self.log.outlook = Some(outlook);
    }

    fn dial(&mut self, dial: Dial) {
        let sides = (*self.planner.own().local.ip(), self.peer_address);
        if let Some(kind) = self.sending.policy.refuses_peer(dial.remote, sides) {
            self.log.tally.count(&format!("not sent to {kind}"));
            return;
        }
        if !self.planner.spend_syn(self.log.tally.total()) {
            return;
        }
        let local: SocketAddrV4 = self.sockets.local(&dial);
        if self.log.tally.is_first(dial.by.name()) {
            (self.tell)(&Event::Attempt { local, remote: dial.remote, method: dial.by.name() });
        }
        self.sockets.dial(dial);
    }

    async fn socket(&mut self, outcome: SocketOutcome) {
        let SocketOutcome::Refused(dial, why) = outcome else { return };
        self.log.tally.count(&why.to_string());
        self.log.strangers += u32::from(why == DialFailure::Stranger);
        if matches!(why, DialFailure::Reset | DialFailure::Unreachable) {
            self.planner.was_refused();
        }
        let actions = self.method.refused(dial, why);
        self.act(actions).await;
    }
}
