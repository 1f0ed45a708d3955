//! Carries out what a method decides: sockets, timers, and the handshake on each stream that comes up.
//!
//! Every socket lives in a task of one set, so that dropping the punch ends them all. SYNs leave in the order in which
//! the method asked for them, because a NAT that counts allocates its ports in that order.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::contract::Event;
use crate::handshake::{Agreement, HandshakeError};
use crate::method::{Action, Dial, Happening, Method};
use crate::socket::{self, Refusal};

/// How long role b keeps streams that were not chosen, for role a to close them first.
const LOSERS_STAY: Duration = Duration::from_secs(1);

/// A stream that both sides agreed upon, and when.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) stream: TcpStream,
    pub(crate) established: Instant,
    pub(crate) authenticated: Instant,
}

/// What was tried, for the report and for the error.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// SYNs sent, retransmissions by the kernel not counted.
    pub syns: u32,
    /// Dials that came to nothing, by what happened.
    pub refused: BTreeMap<String, u32>,
    /// Streams that came up and were not the peer.
    pub strangers: u32,
}

impl Tally {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = match self.syns {
            1 => "1 SYN sent".to_owned(),
            syns => format!("{syns} SYNs sent"),
        };
        for (what, count) in &self.refused {
            text.push_str(&format!(", {count} {what}"));
        }
        if self.strangers > 0 {
            text.push_str(&format!(", {} streams of strangers refused", self.strangers));
        }
        text
    }
}

enum Done {
    Refused(Dial, Refusal),
    Stranger,
    NotChosen,
    Won(Won),
}

/// One punch under way.
pub(crate) struct Punch<'a> {
    method: &'a mut dyn Method,
    address: Ipv4Addr,
    agreement: Arc<Agreement>,
    tally: &'a mut Tally,
    tell: &'a mut (dyn FnMut(&Event) + Send),
    tasks: JoinSet<Done>,
    waiting: BTreeMap<(Instant, u64), Dial>,
    /// Streams that are up and not yet decided upon.
    standing: Arc<AtomicUsize>,
    give_up: Option<Instant>,
    next_id: u64,
}

impl<'a> Punch<'a> {
    pub(crate) fn new(
        method: &'a mut dyn Method,
        address: Ipv4Addr,
        agreement: Agreement,
        tally: &'a mut Tally,
        tell: &'a mut (dyn FnMut(&Event) + Send),
    ) -> Self {
        Self {
            method,
            address,
            agreement: Arc::new(agreement),
            tally,
            tell,
            tasks: JoinSet::new(),
            waiting: BTreeMap::new(),
            standing: Arc::default(),
            give_up: None,
            next_id: 0,
        }
    }

    /// Punches until a stream is agreed upon; `None` when the method expects nothing more.
    pub(crate) async fn run(mut self) -> Option<Won> {
        let actions = self.method.on(Happening::Go);
        self.act(actions);
        loop {
            let dial = self.waiting.keys().next().map(|(due, _)| *due);
            let give_up = self.give_up;
            let done = tokio::select! {
                Some(done) = self.tasks.join_next() => done,
                () = sleep_until(dial.unwrap_or_else(Instant::now)), if dial.is_some() => {
                    self.dial_due();
                    continue;
                }
                () = sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => return None,
                else => return None,
            };
            match done {
                Ok(Done::Won(won)) => return Some(self.close_losers(won).await),
                Ok(Done::Refused(dial, why)) => self.refused(dial, why),
                Ok(Done::Stranger) => self.tally.strangers += 1,
                Ok(Done::NotChosen) | Err(_) => {}
            }
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Dial(dial) if dial.after.is_zero() => self.dial(dial),
                Action::Dial(dial) => {
                    self.next_id += 1;
                    self.waiting.insert((Instant::now() + dial.after, self.next_id), dial);
                }
                Action::GiveUpIn(patience) => self.give_up = Some(Instant::now() + patience),
            }
        }
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now) {
            let dial = entry.remove();
            self.dial(dial);
        }
    }

    fn dial(&mut self, dial: Dial) {
        self.next_id += 1;
        let local = SocketAddrV4::new(self.address, dial.port);
        if self.tally.syns == 0 {
            (self.tell)(&Event::Attempt { local, remote: dial.remote, method: self.method.name() });
        }
        self.tally.syns += 1;
        let dialled = socket::dial(local, dial.remote, dial.reach);
        self.tasks.spawn(attempt(
            dial,
            dialled,
            self.next_id,
            Arc::clone(&self.agreement),
            Arc::clone(&self.standing),
        ));
    }

    fn refused(&mut self, dial: Dial, why: Refusal) {
        *self.tally.refused.entry(why.to_string()).or_default() += 1;
        let actions = self.method.on(Happening::Refused(dial, why));
        self.act(actions);
    }

    /// Role a closes the streams that lost by dropping them; role b waits until it has.
    async fn close_losers(mut self, won: Won) -> Won {
        let standing = Arc::clone(&self.standing);
        if self.agreement.waits_for_losers() {
            let all_gone = async {
                while standing.load(Ordering::Relaxed) > 0 && self.tasks.join_next().await.is_some() {}
            };
            let _ = timeout(LOSERS_STAY, all_gone).await;
        }
        won
    }
}

/// Counts a stream as standing while it lives.
struct Standing(Arc<AtomicUsize>);

impl Standing {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn attempt(
    dial: Dial,
    dialled: io::Result<TcpStream>,
    id: u64,
    agreement: Arc<Agreement>,
    standing: Arc<AtomicUsize>,
) -> Done {
    let stream = match dialled {
        Ok(stream) => stream,
        Err(error) => return Done::Refused(dial, Refusal::from(&error)),
    };
    if let Err(refusal) = socket::settled(&stream).await {
        return Done::Refused(dial, refusal);
    }
    authenticate(stream, dial, id, &agreement, &standing).await
}

async fn authenticate(
    mut stream: TcpStream,
    dial: Dial,
    id: u64,
    agreement: &Agreement,
    standing: &Arc<AtomicUsize>,
) -> Done {
    let established = Instant::now();
    let guard = Standing::new(standing);
    match agreement.perform(&mut stream, id, dial.remote).await {
        Ok(agreed) => Done::Won(Won { stream, established, authenticated: agreed.authenticated }),
        Err(HandshakeError::NotChosen) => {
            // Role a closes it.
            let _ = stream.read(&mut [0; 64]).await;
            drop(guard);
            Done::NotChosen
        }
        Err(HandshakeError::NotThePeer) => {
            socket::abort_on_close(&stream);
            Done::Stranger
        }
        // It broke in the middle, as a reset in SYN_RECV would have broken it: worth another dial.
        Err(HandshakeError::Io(error)) => Done::Refused(dial, Refusal::from(&error)),
    }
}
