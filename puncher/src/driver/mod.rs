//! Carries out what a method decides, round by round: measures, tells the peer, waits for the agreed start, dials.
//!
//! One loop waits for whatever comes next: a socket, the rendezvous server, a measurement, a timer. The sockets of earlier
//! rounds go on meanwhile, so a stream may be won at any time.

mod measure;

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::Socket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::classify::Observation;
use crate::contract::Event;
use crate::handshake::OwnEndpoints;
use crate::method::view::{self, Side, View};
use crate::method::{Action, Dial, Method, Note, Outlook};
use crate::puncher::ConnectError;
use crate::rendezvous::client::{Client, ClientError};
use crate::rendezvous::message::Reply;
use crate::secret::{Refused, Sealed, Seals};
use crate::socket::Refusal;
use crate::table::{Done, Table, Won};
use crate::tried::Tried;
use measure::Measured;

/// How long a stream may still come up after the peer has left the meeting: it may have won already.
const AFTER_PEER_LEFT: Duration = Duration::from_millis(500);

/// So many SYNs leave together, then a pause: a queue on the way that holds a thousand packets has room for a spray. Linux
/// drops what a processor's queue has no room for (`net.core.netdev_max_backlog`).
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// What the peers tell each other within the session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Message {
    /// Ready for a round; this is what has been measured.
    Confirm { round: u32, side: Side },
    /// Said within a round.
    Note { round: u32, note: Note },
}

/// What a driver starts from.
pub(crate) struct Setting<'a> {
    /// `None` when the peers meet without a server.
    pub(crate) server: Option<(Client, Seals)>,
    pub(crate) table: Table,
    pub(crate) method: &'a mut dyn Method,
    pub(crate) own: Side,
    pub(crate) view: ViewBase,
    pub(crate) low_ports: LowPorts,
    /// As set; what is used is in `own`.
    pub(crate) hops: Option<u8>,
    /// How much later than agreed this side starts.
    pub(crate) start_delay: Duration,
    pub(crate) tried: &'a mut Tried,
    pub(crate) tell: &'a mut (dyn FnMut(&Event) + Send),
}

/// What does not change from round to round.
pub(crate) struct ViewBase {
    pub(crate) role: crate::meeting::Role,
    pub(crate) trip: Duration,
    pub(crate) agreed: [u8; 32],
}

/// Whether source ports below 1024 may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LowPorts {
    /// If the process may bind them.
    #[default]
    WhenPermitted,
    /// Never.
    Never,
}

/// A stream, and the first agreed start.
pub(crate) struct Driven {
    pub(crate) won: Won,
    pub(crate) start: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Measuring,
    Agreeing,
    Punching,
}

pub(crate) struct Driver<'a> {
    setting: Setting<'a>,
    /// What the peer has confirmed, by round: the one that is being agreed, and the next if the peer is ahead.
    peer: BTreeMap<u32, Side>,
    round: u32,
    phase: Phase,
    measuring: JoinSet<Measured>,
    /// With when they were dialled.
    measured: Vec<(Instant, Observation)>,
    measured_at: Instant,
    waiting: BTreeMap<(Instant, u64), Dial>,
    next_round: Option<Instant>,
    give_up: Option<Instant>,
    start: Option<Instant>,
    sequence: u64,
    endpoints: OwnEndpoints,
    has_looked: bool,
    /// Only one endpoint of the server has answered the port that is punched from: the next mapping may be another.
    seen_once: bool,
    /// Whether a second port has shown that the NAT does keep its mappings.
    seen_again: bool,
    peer_is_confirmed: bool,
    /// Ports that are ours although nothing was dialled from them yet.
    held: Vec<Socket>,
}

/// What woke the loop.
enum Woken {
    Socket(Done),
    Server(Result<Reply, ClientError>),
    Measured(Measured),
    DialDue,
    RoundOver,
    GiveUp,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(setting: Setting<'a>) -> Self {
        let seen_once = setting.own.observations.len() == 1;
        Self {
            setting,
            peer: BTreeMap::new(),
            round: 0,
            phase: Phase::Measuring,
            measuring: JoinSet::new(),
            measured: Vec::new(),
            measured_at: Instant::now(),
            waiting: BTreeMap::new(),
            next_round: None,
            give_up: None,
            start: None,
            sequence: 0,
            endpoints: OwnEndpoints::default(),
            has_looked: false,
            seen_once,
            seen_again: false,
            peer_is_confirmed: false,
            held: Vec::new(),
        }
    }

    /// Until a stream is agreed upon; `None` when the method expects nothing more.
    pub(crate) async fn run(mut self) -> Result<Option<Driven>, ConnectError> {
        self.prepare_round().await?;
        self.wait().await
    }

    async fn wait(mut self) -> Result<Option<Driven>, ConnectError> {
        loop {
            match self.woken().await {
                Woken::Socket(Done::Won(won)) => {
                    let start = self.start.unwrap_or(won.established);
                    self.setting.table.close_losers().await;
                    return Ok(Some(Driven { won, start }));
                }
                Woken::Socket(done) => self.socket(done).await?,
                Woken::Server(reply) => self.server(reply).await?,
                Woken::Measured(measured) => self.measured(measured).await?,
                Woken::DialDue => self.dial_due(),
                Woken::RoundOver => self.prepare_round().await?,
                Woken::GiveUp if self.setting.table.is_standing() => {
                    // A stream is being authenticated: it may be the one.
                    self.give_up = Some(Instant::now() + AFTER_PEER_LEFT);
                }
                Woken::GiveUp => return Ok(None),
            }
        }
    }

    /// One round, begun now, with what is known of the peer.
    pub(crate) async fn run_alone(mut self, peer: Side) -> Result<Option<Driven>, ConnectError> {
        self.round = 1;
        self.begin(peer).await;
        self.wait().await
    }

    async fn woken(&mut self) -> Woken {
        let Self { setting, measuring, waiting, next_round, give_up, .. } = self;
        let at = |time: Option<Instant>| sleep_until(time.unwrap_or_else(Instant::now));
        let dial = waiting.keys().next().map(|(due, _)| *due);
        let server = async {
            match &mut setting.server {
                Some((client, _)) => client.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = setting.table.next() => Woken::Socket(done),
            reply = server => Woken::Server(reply),
            Some(Ok(measured)) = measuring.join_next() => Woken::Measured(measured),
            () = at(dial), if dial.is_some() => Woken::DialDue,
            () = at(*next_round), if next_round.is_some() => Woken::RoundOver,
            () = at(*give_up), if give_up.is_some() => Woken::GiveUp,
        }
    }

    /// Without the server no further round can be agreed; what was begun goes on.
    async fn send(&mut self, message: &Message) {
        let Some((client, seals)) = &mut self.setting.server else { return };
        let sealed = seals.seal(message);
        if client.relay(sealed).await.is_err() {
            self.setting.server = None;
        }
    }

    async fn server(&mut self, reply: Result<Reply, ClientError>) -> Result<(), ConnectError> {
        match reply {
            Ok(Reply::Relay { body }) => self.peer_says(&body).await,
            Ok(Reply::Go { round }) => self.go(round).await,
            Ok(Reply::Gone) if self.start.is_none() => Err(ConnectError::PeerLeft),
            Ok(Reply::Gone) => {
                self.setting.server = None;
                self.tried().peer_left = true;
                self.give_up = Some(Instant::now() + AFTER_PEER_LEFT);
                Ok(())
            }
            Ok(other) => Err(ClientError::Unexpected(format!("{other:?}")).into()),
            Err(error) if self.start.is_none() => Err(error.into()),
            Err(_) => {
                self.setting.server = None;
                Ok(())
            }
        }
    }

    async fn peer_says(&mut self, body: &Sealed) -> Result<(), ConnectError> {
        let Some((_, seals)) = &mut self.setting.server else { return Ok(()) };
        match seals.open(body)? {
            Message::Confirm { round, side } => {
                if (self.round..=self.round + 1).contains(&round) {
                    self.peer.insert(round, side);
                }
                self.follow().await
            }
            Message::Note { round, note } if round == self.round => {
                let actions = self.setting.method.told(note);
                self.act(actions).await;
                Ok(())
            }
            Message::Note { .. } => Ok(()),
        }
    }

    async fn go(&mut self, round: u32) -> Result<(), ConnectError> {
        // The server may say go although the peer has not confirmed, or twice.
        let unexpected = || ClientError::Unexpected(format!("go for round {round}"));
        let peer = self.peer.remove(&round).filter(|_| round == self.round).ok_or_else(unexpected)?;
        if self.start.is_none() {
            // Nothing is missed: there is no socket yet, and what the peer says meanwhile waits at the server's connection.
            self.start = Some(Instant::now());
            sleep(self.setting.start_delay).await;
        }
        self.begin(peer).await;
        self.follow().await
    }

    /// Prepares the next round if the peer has done so already.
    async fn follow(&mut self) -> Result<(), ConnectError> {
        let is_behind = self.phase == Phase::Punching && self.peer.contains_key(&(self.round + 1));
        if is_behind { self.prepare_round().await } else { Ok(()) }
    }

    async fn begin(&mut self, peer: Side) {
        self.start.get_or_insert_with(Instant::now);
        self.phase = Phase::Punching;
        self.give_up = None;
        self.tried().punching();
        let ViewBase { role, trip, agreed } = self.setting.view;
        let mut view = View { round: self.round, role, own: self.setting.own.clone(), peer, trip, agreed };
        view.spare_strangers();
        self.peer_is_confirmed = view.peer.address_confirmed;
        let actions = self.setting.method.begin(&view);
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
                Action::Dial(dial) => {
                    self.sequence += 1;
                    self.waiting.insert((now + dial.after, self.sequence), dial);
                }
                Action::Listen { port, by } => {
                    if let Err(error) = self.setting.table.listen(port, by) {
                        self.tried().tally.count(&format!("listening failed: {error}"));
                    }
                }
                Action::Tell(note) => {
                    let message = Message::Note { round: self.round, note };
                    self.send(&message).await;
                }
                // A round that is being prepared already is not prepared again.
                Action::NextRoundIn(_) if self.phase != Phase::Punching => {}
                Action::NextRoundIn(patience) => self.next_round = Some(now + patience),
                Action::GiveUpIn(patience) => self.give_up = Some(now + patience),
            }
        }
    }

    fn expect(&mut self, outlook: Outlook) {
        if let Some(peer) = outlook.peer {
            (self.setting.tell)(&Event::Predicted { peer, because: outlook.because.clone() });
        } else {
            (self.setting.tell)(&Event::Expected {
                probability: outlook.probability,
                because: outlook.because.clone(),
            });
        }
        self.tried().outlook = Some(outlook);
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let dial = entry.remove();
            self.dial(dial);
        }
    }

    fn dial(&mut self, dial: Dial) {
        let spent = self.tried().tally.total();
        if self.setting.own.syns == 0 || (!self.peer_is_confirmed && spent >= view::UNCONFIRMED_SYNS) {
            return;
        }
        self.setting.own.syns -= 1;
        let local: SocketAddrV4 = self.setting.table.local(&dial);
        if self.tried().tally.is_first(dial.by) {
            (self.setting.tell)(&Event::Attempt { local, remote: dial.remote, method: dial.by });
        }
        self.setting.table.dial(dial);
    }

    async fn socket(&mut self, done: Done) -> Result<(), ConnectError> {
        match done {
            Done::Refused(dial, why) => {
                self.tried().tally.count(&why.to_string());
                self.setting.own.refused |= matches!(why, Refusal::Reset | Refusal::Unreachable);
                let actions = self.setting.method.refused(dial, why);
                self.act(actions).await;
            }
            Done::NotChosen | Done::Won(_) | Done::Free(_) | Done::Accepted(..) => {}
        }
        Ok(())
    }

    fn tried(&mut self) -> &mut Tried {
        self.setting.tried
    }
}

impl From<Refused> for ConnectError {
    fn from(refused: Refused) -> Self {
        Self::Forged(refused)
    }
}
