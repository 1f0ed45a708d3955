//! What the connections share: who is connected, who meets whom, and who has used how much.
//!
//! One mutex, which is never held across an await. What is done under it takes logarithmic time, except once when the
//! server stops.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rendezvous::lobby::{ConnectionId, Delivery, Joined, Lobby, Seat, Vacancy};
use crate::rendezvous::message::{Reply, Request};
use crate::rendezvous::proof::{Digest, TokenProof};
use crate::rendezvous::server::end::ConnectionEnd;
use crate::rendezvous::server::limits::{Limits, paces};
use crate::rendezvous::server::mailbox::{Letter, Mailbox};
use crate::rendezvous::server::metrics::Metrics;
use crate::rendezvous::server::quota::{Pool, QuotaHold};
use crate::rendezvous::server::rate::Rates;
use crate::rendezvous::server::shares::{ClientRank, Members, Shares, Verdict};
use crate::rendezvous::server::tokens::Tokens;
use crate::sync;

/// What a request counts beyond its bytes, and a message that waits beyond its text: the work it makes, and the memory
/// around it.
const OVERHEAD: usize = 256;

/// At most one warning within this time says that somebody was turned away.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Shared by all connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// The endpoints that clients are told.
    pub(super) endpoints: Vec<SocketAddrV4>,
    /// The addresses of this host that it listens on.
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) tokens: Option<Tokens>,
    waiting: Pool,
    probes: Pool,
    state: Mutex<State>,
    /// Told when the last member leaves a server that is stopping.
    pub(super) emptied: Notify,
}

#[derive(Debug)]
struct State {
    lobby: Lobby<QuotaHold>,
    connections: HashMap<ConnectionId, Entry>,
    places: Shares,
    sides: Shares,
    arrivals: Rates,
    joins: Rates,
    reads: Rates,
    probes: Rates,
    next: ConnectionId,
    metrics: Metrics,
    warned: Option<Instant>,
    stopping: bool,
}

/// One connection as the others see it.
#[derive(Debug)]
struct Entry {
    address: Ipv4Addr,
    mailbox: Arc<Mailbox>,
}

/// The right to be connected; given back when dropped, however the connection ends.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    shared: Arc<Shared>,
    pub(super) id: ConnectionId,
    pub(super) client: SocketAddrV4,
    pub(super) mailbox: Arc<Mailbox>,
}

/// What a request came with that the request does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestContext {
    /// Bytes that were read for it.
    pub(super) bytes: u64,
    /// The time to the client, one way.
    pub(super) one_way: Duration,
    /// What a token has to be proved over.
    pub(super) challenge: Option<Digest>,
}

impl Shared {
    pub(super) fn new(
        limits: Limits,
        endpoints: Vec<SocketAddrV4>,
        addresses: Vec<Ipv4Addr>,
        tokens: Option<Tokens>,
    ) -> Self {
        let rates = |per_second| {
            let (address, network) = paces(per_second);
            Rates::new(address, network)
        };
        let members = if tokens.is_some() { Members::Proven } else { Members::Anybody };
        let state = State {
            lobby: Lobby::default(),
            connections: HashMap::new(),
            places: Shares::new(limits.connection_places(), members),
            sides: Shares::new(limits.side_places(), members),
            arrivals: rates(limits.connections_per_second),
            joins: rates(limits.joins_per_second),
            reads: rates(limits.bytes_per_second),
            probes: rates(limits.probes_per_second),
            next: 0,
            metrics: Metrics::default(),
            warned: None,
            stopping: false,
        };
        Self {
            limits,
            endpoints,
            addresses,
            tokens,
            waiting: Pool::new(limits.waiting_places()),
            probes: Pool::new(limits.probe_places()),
            state: Mutex::new(state),
            emptied: Notify::new(),
        }
    }

    /// A place for a client that has just connected, if it gets one.
    pub(super) fn admit(self: &Arc<Self>, client: SocketAddrV4) -> Option<ConnectionSlot> {
        let address = *client.ip();
        let mut state = self.lock();
        if !state.arrivals.allows(address, 1, Instant::now()) {
            state.turn_away(address);
            return None;
        }
        match state.places.admit(address) {
            Verdict::Room => {}
            Verdict::Instead(victim) => state.end(victim, ConnectionEnd::Evicted),
            Verdict::Full => {
                state.turn_away(address);
                return None;
            }
        }
        state.metrics.accepted += 1;
        state.next += 1;
        let id = state.next;
        state.places.add(address, id, ClientRank::Stranger);
        let mailbox = Arc::new(Mailbox::default());
        state.connections.insert(id, Entry { address, mailbox: Arc::clone(&mailbox) });
        drop(state);
        tracing::trace!(%client, id, "connected");
        Some(ConnectionSlot { shared: Arc::clone(self), id, client, mailbox })
    }

    /// The figures at present.
    pub(super) fn metrics(&self) -> Metrics {
        let (waiting_bytes, probes) = (self.waiting.held(), self.probes.held());
        let state = self.lock();
        let (connections, meetings) = (state.connections.len(), state.lobby.meetings());
        Metrics { connections, meetings, waiting_bytes, probes, ..state.metrics }
    }

    /// From now on nobody joins, and those who wait for a peer in vain are told so.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        for (id, entry) in &state.connections {
            if state.lobby.is_member(*id) && !state.lobby.has_peer(*id) {
                entry.mailbox.end(ConnectionEnd::Stopping);
            }
        }
    }

    /// Meetings at present.
    pub(super) fn meetings(&self) -> usize {
        self.lock().lobby.meetings()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

impl ConnectionSlot {
    /// Does what the client asks for, and tells how long to wait before its next request is read.
    ///
    /// # Errors
    /// With the reason to end the connection.
    pub(super) fn handle(&self, request: Request, with: RequestContext) -> Result<Duration, ConnectionEnd> {
        let (shared, address, now) = (&*self.shared, *self.client.ip(), Instant::now());
        match &request {
            Request::Join { meeting, role, token, .. } if !shared.may_meet(*token, with, meeting, *role) => {
                return Err(ConnectionEnd::NoToken);
            }
            _ => {}
        }
        let mut state = shared.lock();
        let deliveries = match request {
            Request::Join { meeting: label, role, lock, .. } => {
                state.join(self.id, Seat { label, role, lock }, now)?
            }
            Request::TakeOver { key, lock } => state.take_over(self.id, key, lock)?,
            Request::Relay { .. } | Request::Ready { .. } if state.lobby.is_claimant(self.id) => Vec::new(),
            Request::Relay { body } => {
                let amount = body.text.len() + body.seal.len() + OVERHEAD;
                let hold = shared.waiting.take(address, amount).ok_or(ConnectionEnd::TooMuchWaits)?;
                state.lobby.relay(self.id, body, hold)?.into_iter().collect()
            }
            Request::Ready { round } => state.lobby.ready(self.id, round, with.one_way)?,
            // Answered by the connection itself.
            Request::Hello | Request::UnsolicitedProbe { .. } => Vec::new(),
        };
        state.deliver(deliveries);
        let bytes = u32::try_from(with.bytes).unwrap_or(u32::MAX);
        Ok(state.reads.charge(address, bytes.saturating_add(OVERHEAD as u32), now))
    }

    /// The right to one unsolicited probe, if the client has not had its share.
    pub(super) fn probe(&self) -> Option<QuotaHold> {
        let address = *self.client.ip();
        let allowed = self.shared.lock().probes.allows(address, 1, Instant::now());
        if allowed { self.shared.probes.take(address, 1) } else { None }
    }

    /// The place is free from now on.
    pub(super) fn give_up(self, why: ConnectionEnd) {
        tracing::debug!(client = %self.client, id = self.id, %why, "connection ends");
        let mut state = self.shared.lock();
        match why {
            ConnectionEnd::Unread => state.metrics.unread += 1,
            why if why.is_the_clients_fault() => state.metrics.refused += 1,
            _ => {}
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.end(self.id, ConnectionEnd::Left);
        let last = state.stopping && state.lobby.meetings() == 0;
        drop(state);
        if last {
            self.shared.emptied.notify_waiters();
        }
    }
}

impl Shared {
    fn may_meet(
        &self,
        token: Option<TokenProof>,
        with: RequestContext,
        label: &str,
        role: crate::meeting::Role,
    ) -> bool {
        let Some(tokens) = &self.tokens else { return true };
        let (Some(proof), Some(challenge)) = (token, with.challenge) else { return false };
        tokens.admit(&proof, challenge, label, role)
    }
}

impl State {
    fn join(
        &mut self,
        id: ConnectionId,
        seat: Seat,
        now: Instant,
    ) -> Result<Vec<Delivery<QuotaHold>>, ConnectionEnd> {
        if self.stopping {
            return Err(ConnectionEnd::Stopping);
        }
        let address = self.connections.get(&id).ok_or(ConnectionEnd::Left)?.address;
        if !self.joins.allows(address, 1, now) {
            self.warn(address, now, "joins too often");
            return Err(ConnectionEnd::TooManyJoins);
        }
        if self.lobby.vacancy(id, &seat)? == Vacancy::Free {
            self.take_side(id, address)?;
        }
        match self.lobby.join(id, seat)? {
            Joined::In(deliveries) => {
                self.places.promote(address, id);
                tracing::debug!(%address, id, "joined a meeting");
                Ok(deliveries)
            }
            Joined::Taken { times } => Ok(vec![Delivery::now(id, Reply::Taken { times })]),
        }
    }

    fn take_over(
        &mut self,
        id: ConnectionId,
        key: Digest,
        lock: Digest,
    ) -> Result<Vec<Delivery<QuotaHold>>, ConnectionEnd> {
        let address = self.connections.get(&id).ok_or(ConnectionEnd::Left)?.address;
        let (lost, deliveries) = self.lobby.take_over(id, key, lock)?;
        if let Some(lost) = lost {
            // The lobby has told the peer already.
            self.end(lost, ConnectionEnd::TakenOver);
            self.metrics.taken_over += 1;
        }
        self.take_side(id, address)?;
        self.places.promote(address, id);
        tracing::debug!(%address, id, ?lost, "took a side over");
        Ok(deliveries)
    }

    fn take_side(&mut self, id: ConnectionId, address: Ipv4Addr) -> Result<(), ConnectionEnd> {
        match self.sides.admit(address) {
            Verdict::Room => {}
            Verdict::Instead(victim) => self.end(victim, ConnectionEnd::Evicted),
            Verdict::Full => return Err(ConnectionEnd::TooManyMeetings),
        }
        self.sides.add(address, id, ClientRank::Member);
        Ok(())
    }

    /// Ends a connection, if it has not ended yet. Its peer is told.
    fn end(&mut self, id: ConnectionId, why: ConnectionEnd) {
        let Some(Entry { address, mailbox }) = self.connections.remove(&id) else { return };
        self.places.remove(address, id);
        self.sides.remove(address, id);
        if why == ConnectionEnd::Evicted {
            self.metrics.evicted += 1;
        }
        mailbox.end(why);
        let deliveries = self.lobby.leave(id);
        self.deliver(deliveries);
    }

    /// Puts replies into mailboxes. Whose mailbox is full does not read, and is ended.
    fn deliver(&mut self, deliveries: Vec<Delivery<QuotaHold>>) {
        let now = Instant::now();
        for Delivery { to, reply, after, held } in deliveries {
            match &reply {
                Reply::Relay { .. } => self.metrics.relayed += 1,
                Reply::Go { .. } => self.metrics.starts += 1,
                _ => {}
            }
            let letter = Letter { due: now + after, reply, hold: held };
            if self.connections.get(&to).is_some_and(|entry| entry.mailbox.post(letter).is_err()) {
                self.end(to, ConnectionEnd::Unread);
            }
        }
    }

    fn turn_away(&mut self, address: Ipv4Addr) {
        self.metrics.turned_away += 1;
        self.warn(address, Instant::now(), "makes too many connections");
    }

    /// Tells of a limit that was reached, not each time.
    fn warn(&mut self, address: Ipv4Addr, now: Instant, what: &str) {
        if self.warned.is_none_or(|last| now >= last + WARNING_INTERVAL) {
            self.warned = Some(now);
            let Metrics { turned_away, evicted, refused, .. } = self.metrics;
            tracing::warn!(%address, turned_away, evicted, refused, "an address {what}");
        }
    }
}
