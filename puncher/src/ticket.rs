//! Tickets: all that two peers must know of each other when there is no rendezvous server, one line each, to be exchanged
//! over any channel.
//!
//! A ticket holds the external endpoint its owner expects to have (its NAT must preserve ports, or the port be known
//! otherwise), a nonce, and a start by the wall clock with the difference between the two clocks that it tolerates. It is
//! sealed under the shared secret. This is the only place where a wall clock matters: the line may take any time to arrive,
//! so a start cannot be agreed relative to it.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::meeting::{Meeting, Role};
use crate::sealed::{Nonce, session_key};
use crate::secret::Secret;

/// What every ticket begins with: its version.
const PREFIX: &str = "puncher1.";

/// Longest ticket in bytes.
const LONGEST: usize = 1024;

/// What a ticket says.
///
/// ```
/// use std::time::Duration;
/// use puncher::{SealedTicket, Secret, Ticket};
///
/// let secret = Secret::random();
/// let (external, local) = ("203.0.113.9:4000".parse()?, "10.0.0.2:4000".parse()?);
/// let ticket = Ticket::new(external, local, Duration::from_secs(30), Duration::from_secs(1));
/// let line = ticket.seal(&secret).to_string();
/// assert_eq!(line.parse::<SealedTicket>()?.open(&secret)?, ticket);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where its owner's SYN will come from.
    pub external: SocketAddrV4,
    /// Where it starts from.
    pub local: SocketAddrV4,
    nonce: Nonce,
    /// Milliseconds since 1970 by the owner's clock.
    start_ms: u64,
    tolerance_ms: u64,
}

/// Why a ticket was refused. Returned by [`SealedTicket::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not a ticket at all.
    #[error("not a ticket: it should begin with {PREFIX} and be one line")]
    Malformed,
    /// Sealed with another secret, or altered.
    #[error("the ticket's seal does not fit: altered, or made with another key")]
    Seal,
    /// Both tickets are the same.
    #[error("both tickets are the same one")]
    Same,
    /// The agreed start is past.
    #[error("the agreed start was {0:.1?} ago, more than the tickets tolerate")]
    Late(Duration),
}

/// A ticket in its sealed form: one line of text. [`Ticket`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTicket {
    body: String,
    seal: [u8; 32],
}

/// What two tickets make.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// Whose role is which follows from the nonces.
    pub role: Role,
    /// For the handshake.
    pub(crate) session_key: Secret,
    /// This side's ticket.
    pub own: Ticket,
    /// The other's.
    pub peer: Ticket,
    /// How long from now until both start.
    pub wait: Duration,
    /// By how much the other may start earlier or later.
    pub tolerance: Duration,
}

impl Ticket {
    /// A new ticket: punch from `local`, expected outside as `external`, in `start_in` from now.
    #[must_use]
    pub fn new(external: SocketAddrV4, local: SocketAddrV4, start_in: Duration, tolerance: Duration) -> Self {
        let start = since_1970(SystemTime::now()) + start_in;
        Self {
            external,
            local,
            nonce: Nonce::random(),
            start_ms: millis(start),
            tolerance_ms: millis(tolerance),
        }
    }

    /// Seals it.
    ///
    /// # Panics
    /// Never: a ticket has a JSON form.
    #[must_use]
    pub fn seal(&self, secret: &Secret) -> SealedTicket {
        let body = serde_json::to_string(self).expect("a ticket has a JSON form");
        SealedTicket { seal: seal_of(secret, &body), body }
    }
}

impl SealedTicket {
    /// Opens it.
    ///
    /// # Errors
    /// When it was made with another secret, or altered.
    pub fn open(&self, secret: &Secret) -> Result<Ticket, TicketError> {
        let expected = blake3::Hash::from_bytes(seal_of(secret, &self.body));
        if expected != blake3::Hash::from_bytes(self.seal) {
            return Err(TicketError::Seal);
        }
        serde_json::from_str(&self.body).map_err(|_| TicketError::Malformed)
    }
}

impl fmt::Display for SealedTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.{}", hex::encode(&self.body), hex::encode(self.seal))
    }
}

impl FromStr for SealedTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(TicketError::Malformed);
        }
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
        let (body, seal) = parts.ok_or(TicketError::Malformed)?;
        let bytes = hex::decode(body).map_err(|_| TicketError::Malformed)?;
        let body = String::from_utf8(bytes).map_err(|_| TicketError::Malformed)?;
        let mut ticket = Self { body, seal: [0; 32] };
        hex::decode_to_slice(seal, &mut ticket.seal).map_err(|_| TicketError::Malformed)?;
        Ok(ticket)
    }
}

/// Puts the two tickets of a meeting together, `now` by this side's clock.
///
/// # Errors
/// When one does not open, both are one, or the start is past.
pub(crate) fn introduce(
    own: &SealedTicket,
    peer: &SealedTicket,
    secret: &Secret,
    now: SystemTime,
) -> Result<Introduction, TicketError> {
    let (own, peer) = (own.open(secret)?, peer.open(secret)?);
    let role = match own.nonce.0.cmp(&peer.nonce.0) {
        std::cmp::Ordering::Less => Role::A,
        std::cmp::Ordering::Greater => Role::B,
        std::cmp::Ordering::Equal => return Err(TicketError::Same),
    };
    let start = Duration::from_millis(own.start_ms.max(peer.start_ms));
    let tolerance = Duration::from_millis(own.tolerance_ms.max(peer.tolerance_ms));
    let now = since_1970(now);
    if now > start.saturating_add(tolerance) {
        return Err(TicketError::Late(now - start));
    }
    // The nonces make the name, so that a ticket used twice makes another meeting.
    let meeting = Meeting { name: "ticket".into(), role, secret: secret.clone() };
    let session_key = session_key(secret, &meeting.label(), role, own.nonce, peer.nonce);
    Ok(Introduction { role, session_key, own, peer, wait: start.saturating_sub(now), tolerance })
}

fn seal_of(secret: &Secret, body: &str) -> [u8; 32] {
    secret.mac("puncher 1 ticket", &[body.as_bytes()])
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret() -> Secret {
        Secret::new([5; 32])
    }

    fn ticket(start_in: u64) -> Ticket {
        let endpoint = |text: &str| text.parse().unwrap();
        let (external, local) = (endpoint("203.0.113.9:4000"), endpoint("10.0.0.2:4000"));
        Ticket::new(external, local, Duration::from_secs(start_in), Duration::from_secs(1))
    }

    #[test]
    fn a_ticket_survives_its_line() {
        let sealed = ticket(1).seal(&secret());
        let read: SealedTicket = format!("{sealed}\n").parse().unwrap();
        assert_eq!(read.open(&secret()), sealed.open(&secret()));
    }

    #[test]
    fn two_tickets_agree_upon_roles_key_and_the_later_start() {
        let (soon, late) = (ticket(1).seal(&secret()), ticket(5).seal(&secret()));
        let now = SystemTime::now();
        let here = introduce(&soon, &late, &secret(), now).unwrap();
        let there = introduce(&late, &soon, &secret(), now).unwrap();
        assert_eq!(here.role, there.role.other());
        assert_eq!(here.session_key.to_hex(), there.session_key.to_hex());
        assert_eq!(here.wait, there.wait);
        assert!(here.wait > Duration::from_secs(4));
    }

    #[test]
    fn what_is_not_the_peers_ticket_is_refused() {
        let own = ticket(1).seal(&secret());
        let other = ticket(1).seal(&Secret::new([6; 32]));
        let now = SystemTime::now();
        assert_eq!(introduce(&own, &other, &secret(), now).unwrap_err(), TicketError::Seal);
        assert_eq!(introduce(&own, &own, &secret(), now).unwrap_err(), TicketError::Same);
        let later = now + Duration::from_secs(60);
        let peer = ticket(1).seal(&secret());
        assert!(matches!(introduce(&own, &peer, &secret(), later), Err(TicketError::Late(_))));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", tail in "[0-9a-f.é]{0,200}") {
            let _ = text.parse::<SealedTicket>();
            let _ = format!("{PREFIX}{tail}").parse::<SealedTicket>();
        }

        #[test]
        fn an_altered_ticket_does_not_open(at in 0usize..200, digit in "[0-9a-f]") {
            let line = ticket(1).seal(&secret()).to_string();
            let at = PREFIX.len() + at % (line.len() - PREFIX.len());
            let mut altered = line.clone();
            altered.replace_range(at..=at, &digit);
            if altered != line && let Ok(read) = altered.parse::<SealedTicket>() {
                prop_assert_eq!(read.open(&secret()), Err(TicketError::Seal));
            }
        }
    }
}
