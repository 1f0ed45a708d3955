//! Who is in which meeting, and who has to hear what: the decisions of the rendezvous server, without a socket.
//!
//! Everything is bounded: meetings, messages kept for a side that has not come, and their size (by the frame).

use std::collections::HashMap;
use std::time::Duration;

use crate::meeting::Role;
use crate::rendezvous::message::Reply;
use crate::sealed::Sealed;

/// Names one connection to the server.
pub(super) type ConnectionId = u64;

/// Messages kept for a side that has not come yet.
const KEPT_MESSAGES: usize = 8;

/// Longest label of a meeting in bytes.
const LABEL_BYTES: usize = 64;

/// A reply that has to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// To whom.
    pub to: ConnectionId,
    /// What.
    pub reply: Reply,
    /// How much later than now.
    pub after: Duration,
}

impl Delivery {
    fn now(to: ConnectionId, reply: Reply) -> Self {
        Self { to, reply, after: Duration::ZERO }
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
    /// Too many meetings at once.
    #[error("the server is full")]
    Full,
    /// The other side has not come, and enough is kept for it.
    #[error("too many messages for a peer that is not here")]
    TooManyMessages,
}

/// One side of a meeting.
#[derive(Debug, Default)]
struct Side {
    connection: Option<ConnectionId>,
    kept: Vec<Sealed>,
    ready: Option<(u32, Duration)>,
}

/// All meetings.
#[derive(Debug)]
pub(super) struct Lobby {
    meetings: HashMap<String, [Side; 2]>,
    members: HashMap<ConnectionId, (String, Role)>,
    limit: usize,
}

fn index(role: Role) -> usize {
    match role {
        Role::A => 0,
        Role::B => 1,
    }
}

impl Lobby {
    /// A lobby for at most so many meetings.
    #[must_use]
    pub(super) fn new(limit: usize) -> Self {
        Self { meetings: HashMap::new(), members: HashMap::new(), limit }
    }

    /// How many meetings there are.
    #[must_use]
    pub(super) fn meetings(&self) -> usize {
        self.meetings.len()
    }

    /// A connection takes one side; what was kept for it is delivered.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn join(
        &mut self,
        from: ConnectionId,
        label: &str,
        role: Role,
    ) -> Result<Vec<Delivery>, Refusal> {
        if self.members.contains_key(&from) {
            return Err(Refusal::JoinedAlready);
        }
        if label.is_empty() || label.len() > LABEL_BYTES {
            return Err(Refusal::BadLabel);
        }
        if !self.meetings.contains_key(label) && self.meetings.len() >= self.limit {
            return Err(Refusal::Full);
        }
        let side = &mut self.meetings.entry(label.to_owned()).or_default()[index(role)];
        if side.connection.is_some() {
            return Err(Refusal::SideTaken);
        }
        side.connection = Some(from);
        self.members.insert(from, (label.to_owned(), role));
        Ok(side.kept.drain(..).map(|body| Delivery::now(from, Reply::Relay { body })).collect())
    }

    /// Hands a message to the other side, or keeps it until that side comes.
    ///
    /// # Errors
    /// When the sender is in no meeting, or too much is kept already.
    pub(super) fn relay(&mut self, from: ConnectionId, body: Sealed) -> Result<Vec<Delivery>, Refusal> {
        let (sides, role) = self.sides(from)?;
        let other = &mut sides[index(role.other())];
        match other.connection {
            Some(to) => Ok(vec![Delivery::now(to, Reply::Relay { body })]),
            None if other.kept.len() < KEPT_MESSAGES => {
                other.kept.push(body);
                Ok(Vec::new())
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
    ) -> Result<Vec<Delivery>, Refusal> {
        let (sides, role) = self.sides(from)?;
        sides[index(role)].ready = Some((round, one_way));
        let farthest = match sides {
            [Side { ready: Some((a, far_a)), .. }, Side { ready: Some((b, far_b)), .. }] if a == b => {
                (*far_a).max(*far_b)
            }
            _ => return Ok(Vec::new()),
        };
        let go = |side: &mut Side| {
            let (_, one_way) = side.ready.take()?;
            Some(Delivery { to: side.connection?, reply: Reply::Go { round }, after: farthest - one_way })
        };
        Ok(sides.iter_mut().filter_map(go).collect())
    }

    /// A connection ended; the other side is told.
    pub(super) fn leave(&mut self, from: ConnectionId) -> Vec<Delivery> {
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

    fn sides(&mut self, from: ConnectionId) -> Result<(&mut [Side; 2], Role), Refusal> {
        let (label, role) = self.members.get(&from).ok_or(Refusal::NotJoined)?;
        let sides = self.meetings.get_mut(label).ok_or(Refusal::NotJoined)?;
        Ok((sides, *role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Sealed {
        Sealed { text: text.into(), seal: String::new() }
    }

    fn both() -> Lobby {
        let mut lobby = Lobby::new(2);
        lobby.join(1, "m", Role::A).unwrap();
        lobby.join(2, "m", Role::B).unwrap();
        lobby
    }

    #[test]
    fn a_message_goes_to_the_other_side_only() {
        let mut lobby = both();
        assert_eq!(lobby.relay(1, body("x")), Ok(vec![Delivery::now(2, Reply::Relay { body: body("x") })]));
    }

    #[test]
    fn a_message_waits_for_a_side_that_has_not_come() {
        let mut lobby = Lobby::new(1);
        lobby.join(1, "m", Role::A).unwrap();
        assert_eq!(lobby.relay(1, body("x")), Ok(vec![]));
        assert_eq!(lobby.join(2, "m", Role::B), Ok(vec![Delivery::now(2, Reply::Relay { body: body("x") })]));
    }

    #[test]
    fn go_comes_when_both_are_ready_and_later_to_the_nearer() {
        let mut lobby = both();
        let ms = Duration::from_millis;
        assert_eq!(lobby.ready(1, 1, ms(5)), Ok(vec![]));
        let go = |to, after| Delivery { to, reply: Reply::Go { round: 1 }, after: ms(after) };
        assert_eq!(lobby.ready(2, 1, ms(30)), Ok(vec![go(1, 25), go(2, 0)]));
        assert_eq!(lobby.ready(2, 2, ms(30)), Ok(vec![]), "round 2 needs both again");
    }

    #[test]
    fn nobody_goes_while_they_mean_different_rounds() {
        let mut lobby = both();
        lobby.ready(1, 1, Duration::ZERO).unwrap();
        assert_eq!(lobby.ready(2, 2, Duration::ZERO), Ok(vec![]));
    }

    #[test]
    fn an_end_is_told_and_frees_the_side() {
        let mut lobby = both();
        assert_eq!(lobby.leave(1), [Delivery::now(2, Reply::Gone)]);
        assert_eq!(lobby.join(3, "m", Role::A), Ok(vec![]));
        lobby.leave(3);
        lobby.leave(2);
        assert_eq!(lobby.meetings(), 0);
    }

    #[test]
    fn what_would_grow_without_bound_is_refused() {
        let mut lobby = Lobby::new(1);
        assert_eq!(lobby.relay(1, body("x")), Err(Refusal::NotJoined));
        lobby.join(1, "m", Role::A).unwrap();
        assert_eq!(lobby.join(1, "m", Role::B), Err(Refusal::JoinedAlready));
        assert_eq!(lobby.join(2, "m", Role::A), Err(Refusal::SideTaken));
        assert_eq!(lobby.join(2, "n", Role::A), Err(Refusal::Full));
        assert_eq!(lobby.join(2, "", Role::A), Err(Refusal::BadLabel));
        for _ in 0..KEPT_MESSAGES {
            lobby.relay(1, body("x")).unwrap();
        }
        assert_eq!(lobby.relay(1, body("x")), Err(Refusal::TooManyMessages));
    }
}
