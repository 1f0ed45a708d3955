//! Who is in which meeting, and who has to hear what: the decisions of the rendezvous server, without a socket.
//!
//! A side of a meeting belongs to the connection that took it. A peer that lost its connection, and whose server has not
//! noticed, takes the side over: it shows a key that only the secret of the meeting can make. The server knows the hash of
//! that key since the side was taken, and each key is shown once, so whoever listens cannot use it again.

use std::collections::HashMap;
use std::time::Duration;

use crate::meeting::Role;
use crate::rendezvous::message::Reply;
use crate::rendezvous::proof::Digest;
use crate::sealed::Sealed;

/// Names one connection to the server. Later ones have higher numbers.
pub(super) type ConnectionId = u64;

/// Messages kept for a side that has not come yet.
const KEPT_MESSAGES: usize = 8;

/// Longest label of a meeting in bytes.
const LABEL_BYTES: usize = 64;

/// A reply that has to be sent. `H` is what is held while it waits, and freed with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery<H> {
    /// To whom.
    pub to: ConnectionId,
    /// What.
    pub reply: Reply,
    /// How much later than now.
    pub after: Duration,
    /// Freed when it has been sent.
    pub held: Option<H>,
}

impl<H> Delivery<H> {
    /// At once, and nothing is held for it.
    #[must_use]
    pub(super) fn now(to: ConnectionId, reply: Reply) -> Self {
        Self { to, reply, after: Duration::ZERO, held: None }
    }

    fn message(to: ConnectionId, Kept { body, held }: Kept<H>) -> Self {
        Self { held: Some(held), ..Self::now(to, Reply::Relay { body }) }
    }
}

/// Why a request was refused; the connection is ended with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Another connection already stands on that side.
    #[error("this side of the meeting is taken")]
    SideTaken,
    /// This connection is in a meeting already.
    #[error("this connection has joined already")]
    JoinedAlready,
    /// Only a peer in a meeting may ask for this.
    #[error("join a meeting first")]
    NotJoined,
    /// The label is empty or too long.
    #[error("a meeting's label has 1 to {LABEL_BYTES} bytes")]
    BadLabel,
    /// The other side has not come, and enough is kept for it.
    #[error("too many messages for a peer that is not here")]
    TooManyMessages,
    /// The key does not fit the lock of the side.
    #[error("this side of the meeting is taken by somebody with another secret")]
    WrongKey,
}

/// The side that a peer asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// The meeting's label.
    pub label: String,
    /// The side.
    pub role: Role,
    /// Whoever has the key may take it over.
    pub lock: Option<Digest>,
}

/// Whether a side can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// At once.
    Free,
    /// Somebody has it, from whom it was taken over this many times before. It takes the key of that number.
    Taken {
        /// Counts from 0.
        times: u32,
    },
}

/// What became of a wish to join.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined<H> {
    /// The side is taken, and this is to be delivered.
    In(Vec<Delivery<H>>),
    /// Somebody else has it. It was taken over this many times before.
    Taken {
        /// The number of the key that opens it now.
        times: u32,
    },
}

/// A message that waits for its reader.
#[derive(Debug)]
struct Kept<H> {
    body: Sealed,
    held: H,
}

/// One side of a meeting.
#[derive(Debug)]
struct Side<H> {
    connection: Option<ConnectionId>,
    lock: Option<Digest>,
    /// How often it has been taken over.
    times: u32,
    kept: Vec<Kept<H>>,
    ready: Option<(u32, Duration)>,
}

impl<H> Default for Side<H> {
    fn default() -> Self {
        Self { connection: None, lock: None, times: 0, kept: Vec::new(), ready: None }
    }
}

/// All meetings. `H` is what is held for each message that waits.
#[derive(Debug)]
pub(super) struct Lobby<H> {
    meetings: HashMap<String, [Side<H>; 2]>,
    members: HashMap<ConnectionId, (String, Role)>,
    /// Those who found their side taken, and may yet show the key.
    claimants: HashMap<ConnectionId, (String, Role)>,
}

fn index(role: Role) -> usize {
    match role {
        Role::A => 0,
        Role::B => 1,
    }
}

impl<H> Default for Lobby<H> {
    fn default() -> Self {
        Self { meetings: HashMap::new(), members: HashMap::new(), claimants: HashMap::new() }
    }
}

impl<H> Lobby<H> {
    /// How many meetings there are.
    #[must_use]
    pub(super) fn meetings(&self) -> usize {
        self.meetings.len()
    }

    /// Whether this connection is in a meeting that has both its sides.
    #[must_use]
    pub(super) fn has_peer(&self, id: ConnectionId) -> bool {
        let sides = self.members.get(&id).and_then(|(label, _)| self.meetings.get(label));
        sides.is_some_and(|sides| sides.iter().all(|side| side.connection.is_some()))
    }

    /// Whether this connection is in a meeting.
    #[must_use]
    pub(super) fn is_member(&self, id: ConnectionId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether a side can be had.
    ///
    /// # Errors
    /// When this connection may not ask for it, or nobody may take it over.
    pub(super) fn vacancy(&self, from: ConnectionId, seat: &Seat) -> Result<Vacancy, Refusal> {
        if self.members.contains_key(&from) || self.claimants.contains_key(&from) {
            return Err(Refusal::JoinedAlready);
        }
        if seat.label.is_empty() || seat.label.len() > LABEL_BYTES {
            return Err(Refusal::BadLabel);
        }
        match self.meetings.get(&seat.label).map(|sides| &sides[index(seat.role)]) {
            Some(Side { connection: Some(_), lock, .. }) if lock.is_none() || seat.lock.is_none() => {
                Err(Refusal::SideTaken)
            }
            Some(Side { connection: Some(_), times, .. }) => Ok(Vacancy::Taken { times: *times }),
            _ => Ok(Vacancy::Free),
        }
    }

    /// A connection takes one side; what was kept for it is delivered.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn join(&mut self, from: ConnectionId, seat: Seat) -> Result<Joined<H>, Refusal> {
        let vacancy = self.vacancy(from, &seat)?;
        let Seat { label, role, lock } = seat;
        if let Vacancy::Taken { times } = vacancy {
            self.claimants.insert(from, (label, role));
            return Ok(Joined::Taken { times });
        }
        let sides = self.meetings.entry(label.clone()).or_default();
        let side = &mut sides[index(role)];
        side.connection = Some(from);
        side.lock = lock;
        let kept = std::mem::take(&mut side.kept);
        self.members.insert(from, (label, role));
        Ok(Joined::In(kept.into_iter().map(|kept| Delivery::message(from, kept)).collect()))
    }

    /// A connection that found its side taken shows the key, and leaves a lock for the next. The connection that had the
    /// side until now comes with what is to be delivered: it has lost it.
    ///
    /// # Errors
    /// When the key does not fit, or the connection has not asked for a side that was taken.
    pub(super) fn take_over(
        &mut self,
        from: ConnectionId,
        key: Digest,
        lock: Digest,
    ) -> Result<(Option<ConnectionId>, Vec<Delivery<H>>), Refusal> {
        let (label, role) = self.claimants.remove(&from).ok_or(Refusal::NotJoined)?;
        let side = self.meetings.get(&label).map(|sides| &sides[index(role)]);
        let (lost, mut times) = side.map_or((None, 0), |side| (side.connection, side.times));
        let mut deliveries = Vec::new();
        if let Some(lost) = lost {
            if side.and_then(|side| side.lock) != Some(key.lock()) {
                return Err(Refusal::WrongKey);
            }
            deliveries = self.leave(lost);
            times = times.saturating_add(1);
        }
        if let Joined::In(kept) = self.join(from, Seat { label: label.clone(), role, lock: Some(lock) })? {
            deliveries.extend(kept);
        }
        if let Some(sides) = self.meetings.get_mut(&label) {
            sides[index(role)].times = times;
        }
        Ok((lost, deliveries))
    }

    /// Whether a connection may yet show the key to a side that is taken. Until then what it says goes to nobody.
    #[must_use]
    pub(super) fn is_claimant(&self, id: ConnectionId) -> bool {
        self.claimants.contains_key(&id)
    }

    /// Hands a message to the other side, or keeps it until that side comes.
    ///
    /// # Errors
    /// When the sender is in no meeting, or too much is kept already.
    pub(super) fn relay(
        &mut self,
        from: ConnectionId,
        body: Sealed,
        held: H,
    ) -> Result<Option<Delivery<H>>, Refusal> {
        let (sides, role) = self.sides(from)?;
        let other = &mut sides[index(role.other())];
        let message = Kept { body, held };
        match other.connection {
            Some(to) => Ok(Some(Delivery::message(to, message))),
            None if other.kept.len() < KEPT_MESSAGES => {
                other.kept.push(message);
                Ok(None)
            }
            None => Err(Refusal::TooManyMessages),
        }
    }

    /// A side is ready; when both are for the same round, both are told to go. `one_way` is the sender's measured time
    /// to the server: the nearer peer is told later by the difference, so that both hear it at the same moment.
    ///
    /// # Errors
    /// When the sender is in no meeting.
    pub(super) fn ready(
        &mut self,
        from: ConnectionId,
        round: u32,
        one_way: Duration,
    ) -> Result<Vec<Delivery<H>>, Refusal> {
        let (sides, role) = self.sides(from)?;
        sides[index(role)].ready = Some((round, one_way));
        let farthest = match sides {
            [Side { ready: Some((a, far_a)), .. }, Side { ready: Some((b, far_b)), .. }] if a == b => {
                (*far_a).max(*far_b)
            }
            _ => return Ok(Vec::new()),
        };
        let go = |side: &mut Side<H>| {
            let (_, one_way) = side.ready.take()?;
            let delivery = Delivery::now(side.connection?, Reply::Go { round });
            Some(Delivery { after: farthest - one_way, ..delivery })
        };
        Ok(sides.iter_mut().filter_map(go).collect())
    }

    /// A connection ended; the other side is told.
    pub(super) fn leave(&mut self, from: ConnectionId) -> Vec<Delivery<H>> {
        self.claimants.remove(&from);
        let Some((label, role)) = self.members.remove(&from) else { return Vec::new() };
        let Some(sides) = self.meetings.get_mut(&label) else { return Vec::new() };
        sides[index(role)] = Side::default();
        match sides[index(role.other())].connection {
            Some(to) => vec![Delivery::now(to, Reply::Gone)],
            None => {
                self.meetings.remove(&label);
                Vec::new()
            }
        }
    }

    fn sides(&mut self, from: ConnectionId) -> Result<(&mut [Side<H>; 2], Role), Refusal> {
        let (label, role) = self.members.get(&from).ok_or(Refusal::NotJoined)?;
        let sides = self.meetings.get_mut(label).ok_or(Refusal::NotJoined)?;
        Ok((sides, *role))
    }
}

#[cfg(test)]
mod tests;
