//! Tickets: all that two peers must know of each other when there is no rendezvous server, one line each, to be exchanged
//! over any channel.
//!
//! A ticket holds the external endpoint its owner expects to have (its NAT must preserve ports, or the port be known
//! otherwise), the public key of the session, and a start by the wall clock with the difference between the two clocks that
//! it tolerates. It is sealed under the shared secret. The owner keeps the private key until both tickets are used. This is
//! the only place where a wall clock matters: the line may take any time to arrive, so a start cannot be agreed relative
//! to it.

use std::fmt;
use std::net::SocketAddrV4;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::meeting::{Meeting, Role};
use crate::secret::Secret;
use crate::session::Session;
use crate::x25519::{EphemeralKey, PublicKey};

/// What every ticket of this version begins with.
const PREFIX: &str = "puncher3.";

/// What tickets of any version begin with.
const ANY_PREFIX: &str = "puncher";

/// Longest ticket in bytes.
const LONGEST: usize = 1024;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Where its owner's SYN will come from.
    pub external: SocketAddrV4,
    /// Where it starts from.
    pub local: SocketAddrV4,
    #[serde(with = "hex::serde")]
    public: PublicKey,
    /// Milliseconds since 1970 by the owner's clock.
    start_ms: u64,
    tolerance_ms: u64,
}

/// Your own ticket, with the private key that belongs to it. Its `Debug` form does not show that.
///
/// ```
/// use std::time::Duration;
/// use puncher::{OwnTicket, SealedTicket, Secret};
///
/// let secret = Secret::random();
/// let (external, local) = ("203.0.113.9:4000".parse()?, "10.0.0.2:4000".parse()?);
/// let own = OwnTicket::new(external, local, Duration::from_secs(30), Duration::from_secs(1));
/// let line = own.seal(&secret).to_string(); // for the peer
/// assert_eq!(&line.parse::<SealedTicket>()?.open(&secret)?, own.ticket());
/// let kept = own.to_text(); // for this side, until both tickets are used
/// assert_eq!(kept.parse::<OwnTicket>()?.ticket(), own.ticket());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OwnTicket {
    ticket: Ticket,
    key: EphemeralKey,
}

/// Why a ticket was refused. Returned by [`SealedTicket::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not a ticket at all.
    #[error("not a ticket: it should begin with {PREFIX} and be one line")]
    Malformed,
    /// A ticket of another version.
    #[error("a ticket of another version of puncher: this one reads those that begin with {PREFIX}")]
    Version,
    /// Not what was kept of an own ticket.
    #[error("not an own ticket: it has a line of JSON and one of 128 hexadecimal digits")]
    NotOwn,
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

/// A ticket in its sealed form: one line of text. [`OwnTicket`] has an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedTicket {
    body: String,
    seal: [u8; 32],
}

/// What two tickets make.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// Whose role is which follows from the public keys.
    pub(crate) role: Role,
    pub(crate) session: Session,
    /// This side's ticket.
    pub(crate) own: Ticket,
    /// The other's.
    pub(crate) peer: Ticket,
    /// How long from now until both start.
    pub(crate) wait: Duration,
    /// By how much the other may start earlier or later.
    pub(crate) tolerance: Duration,
}

impl OwnTicket {
    /// A new ticket: punch from `local`, expected outside as `external`, in `start_in` from now.
    #[must_use]
    pub fn new(external: SocketAddrV4, local: SocketAddrV4, start_in: Duration, tolerance: Duration) -> Self {
        let key = EphemeralKey::generate();
        let start = since_1970(SystemTime::now()) + start_in;
        let ticket = Ticket {
            external,
            local,
            public: key.public(),
            start_ms: millis(start),
            tolerance_ms: millis(tolerance),
        };
        Self { ticket, key }
    }

    /// What it says.
    #[must_use]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Seals it, for the peer.
    ///
    /// # Panics
    /// Never: a ticket has a JSON form.
    #[must_use]
    pub fn seal(&self, secret: &Secret) -> SealedTicket {
        let body = serde_json::to_string(&self.ticket).expect("a ticket has a JSON form");
        SealedTicket { seal: seal_of(secret, &body), body }
    }

    /// Both halves as two lines of text, to be kept where nobody else reads them, and read again by `parse`. Whoever keeps
    /// them longer than until both tickets are used keeps what could open what was said.
    ///
    /// # Panics
    /// Never: a ticket has a JSON form.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let body = serde_json::to_string(&self.ticket).expect("a ticket has a JSON form");
        let key = Zeroizing::new(hex::encode(*self.key.to_bytes()));
        Zeroizing::new(format!("{body}\n{}\n", &*key))
    }
}

impl FromStr for OwnTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (body, key) = text.trim().split_once('\n').ok_or(TicketError::NotOwn)?;
        let ticket: Ticket = serde_json::from_str(body).map_err(|_| TicketError::NotOwn)?;
        let mut bytes = Zeroizing::new([0; 64]);
        hex::decode_to_slice(key.trim(), &mut *bytes).map_err(|_| TicketError::NotOwn)?;
        let key = EphemeralKey::from_bytes(&bytes);
        if key.public() == ticket.public { Ok(Self { ticket, key }) } else { Err(TicketError::NotOwn) }
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
        if text.starts_with(ANY_PREFIX) && !text.starts_with(PREFIX) {
            return Err(TicketError::Version);
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
/// When the peer's does not open, both are one, or the start is past.
pub(crate) fn introduce(
    own: &OwnTicket,
    peer: &SealedTicket,
    secret: &Secret,
    now: SystemTime,
) -> Result<Introduction, TicketError> {
    let peer = peer.open(secret)?;
    let OwnTicket { ticket: own, key } = own.clone();
    let role = match own.public.cmp(&peer.public) {
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
    let meeting = Meeting { name: "ticket".into(), role, secret: secret.clone() };
    let session = Session::new(secret, &meeting.label(), role, (key, peer.public));
    Ok(Introduction { role, session, own, peer, wait: start.saturating_sub(now), tolerance })
}

fn seal_of(secret: &Secret, body: &str) -> [u8; 32] {
    secret.mac("puncher 2 ticket", &[body.as_bytes()])
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

    fn ticket(start_in: u64) -> OwnTicket {
        let endpoint = |text: &str| text.parse().unwrap();
        let (external, local) = (endpoint("203.0.113.9:4000"), endpoint("10.0.0.2:4000"));
        OwnTicket::new(external, local, Duration::from_secs(start_in), Duration::from_secs(1))
    }

    #[test]
    fn a_ticket_survives_its_line() {
        let sealed = ticket(1).seal(&secret());
        let read: SealedTicket = format!("{sealed}\n").parse().unwrap();
        assert_eq!(read.open(&secret()), sealed.open(&secret()));
    }

    #[test]
    fn two_tickets_agree_upon_roles_key_and_the_later_start() {
        let (soon, late) = (ticket(1), ticket(5));
        let now = SystemTime::now();
        let here = introduce(&soon, &late.seal(&secret()), &secret(), now).unwrap();
        let there = introduce(&late, &soon.seal(&secret()), &secret(), now).unwrap();
        assert_eq!(here.role, there.role.other());
        assert_eq!(here.session.shared_bytes("x", &[]), there.session.shared_bytes("x", &[]));
        assert_eq!(here.wait, there.wait);
        assert!(here.wait > Duration::from_secs(4));
    }

    #[test]
    fn what_is_not_the_peers_ticket_is_refused() {
        let own = ticket(1);
        let other = ticket(1).seal(&Secret::new([6; 32]));
        let now = SystemTime::now();
        assert_eq!(introduce(&own, &other, &secret(), now).unwrap_err(), TicketError::Seal);
        let same = own.seal(&secret());
        assert_eq!(introduce(&own, &same, &secret(), now).unwrap_err(), TicketError::Same);
        let later = now + Duration::from_secs(60);
        let peer = ticket(1).seal(&secret());
        assert!(matches!(introduce(&own, &peer, &secret(), later), Err(TicketError::Late(_))));
        assert_eq!("puncher1.00.00".parse::<SealedTicket>(), Err(TicketError::Version));
    }

    #[test]
    fn an_own_ticket_is_kept_with_its_key_and_only_with_that() {
        let own = ticket(1);
        let read: OwnTicket = own.to_text().parse().unwrap();
        assert_eq!((read.ticket(), *read.key.to_bytes()), (own.ticket(), *own.key.to_bytes()));
        let (body, _) =
            own.to_text().split_once('\n').map(|(body, key)| (body.to_owned(), key.len())).unwrap();
        let other = ticket(1).to_text().split_once('\n').unwrap().1.to_owned();
        for wrong in ["", &body, &format!("{body}\n{other}"), &own.seal(&secret()).to_string()] {
            assert_eq!(wrong.parse::<OwnTicket>().unwrap_err(), TicketError::NotOwn, "{wrong:?}");
        }
        assert!(
            !format!("{own:?}").contains(&other[..64]) && format!("{own:?}").contains("EphemeralKey(..)")
        );
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
