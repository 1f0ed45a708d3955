//! Messages between the peers as they travel through the rendezvous server: it cannot alter them, nor read any but the first.
//!
//! The first message of each peer holds the public key of its session, and is sealed under the shared secret alone. All
//! that follow are encrypted with the keys of the session (see `session`), which shows that the first was not a replay.
//! What is said on the punched stream itself is made in `handshake`.

use serde::{Deserialize, Serialize};
use snow::{HandshakeState, TransportState};

use crate::meeting::{Meeting, Role};
use crate::secret::KEY_BYTES;
use crate::session::{Channel, OPENING_BYTES, Session};

/// A message between the peers as it travels through the rendezvous server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The first message in JSON, later ones encrypted, in hexadecimal digits.
    pub text: String,
    /// Of the first message: the keyed hash of its sender's role, the meeting and the text, in hexadecimal digits.
    pub seal: String,
}

/// Why a sealed message was refused. Part of a [`ConnectError`](crate::ConnectError).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The seal does not belong to this text, sender and place in the conversation.
    #[error("the seal does not fit: forged, replayed, or made with another key")]
    Seal,
    /// The seal fits, but the text is not a message of this version.
    #[error("the peer speaks another version")]
    Text,
}

/// Seals the first message of a meeting.
///
/// # Panics
/// Never for the message types of this crate: they all have a JSON form.
pub(crate) fn seal_first<T: Serialize>(meeting: &Meeting, message: &T) -> Sealed {
    let text = serde_json::to_string(message).expect("messages have a JSON form");
    let seal = hex::encode(seal_of(meeting, meeting.role, &text));
    Sealed { text, seal }
}

/// Opens the first message of the peer.
///
/// # Errors
/// When the seal does not fit, or the text is no message of type `T`.
pub(crate) fn open_first<T: for<'de> Deserialize<'de>>(
    meeting: &Meeting,
    sealed: &Sealed,
) -> Result<T, SealError> {
    let mut given = [0; KEY_BYTES];
    hex::decode_to_slice(&sealed.seal, &mut given).map_err(|_| SealError::Seal)?;
    let expected = blake3::Hash::from_bytes(seal_of(meeting, meeting.role.other(), &sealed.text));
    // The comparison of blake3 hashes takes the same time whatever they hold.
    if expected != blake3::Hash::from_bytes(given) {
        return Err(SealError::Seal);
    }
    serde_json::from_str(&sealed.text).map_err(|_| SealError::Text)
}

/// As in version 1, so that a peer of that version is told for what it is.
fn seal_of(meeting: &Meeting, from: Role, text: &str) -> [u8; KEY_BYTES] {
    let count = 0u64.to_le_bytes();
    let parts = [meeting.label().into_bytes(), vec![from.byte()], count.to_vec(), text.as_bytes().to_vec()];
    meeting.secret.mac("puncher 1 message", &parts.each_ref().map(Vec::as_slice))
}

/// One direction of the conversation.
#[derive(Debug)]
enum Direction {
    Unopened(Box<HandshakeState>),
    Open(TransportState),
    /// A message was refused: what follows could not be understood either.
    Broken,
}

impl Direction {
    /// Encrypts the next message; how long it has become.
    fn write(&mut self, payload: &[u8], into: &mut [u8]) -> Option<usize> {
        let (length, next) = match std::mem::replace(self, Self::Broken) {
            Self::Unopened(mut noise) => {
                (noise.write_message(payload, into).ok()?, noise.into_transport_mode().ok()?)
            }
            Self::Open(mut noise) => (noise.write_message(payload, into).ok()?, noise),
            Self::Broken => return None,
        };
        *self = Self::Open(next);
        Some(length)
    }

    /// Decrypts the next message; how long it was.
    fn read(&mut self, message: &[u8], into: &mut [u8]) -> Option<usize> {
        let (length, next) = match std::mem::replace(self, Self::Broken) {
            Self::Unopened(mut noise) => {
                (noise.read_message(message, into).ok()?, noise.into_transport_mode().ok()?)
            }
            Self::Open(mut noise) => (noise.read_message(message, into).ok()?, noise),
            Self::Broken => return None,
        };
        *self = Self::Open(next);
        Some(length)
    }
}

/// Encrypts and decrypts the messages of one session, in both directions. They have to come in order, each once.
#[derive(Debug)]
pub(crate) struct RelayChannel {
    sending: Direction,
    receiving: Direction,
}

impl RelayChannel {
    pub(crate) fn new(session: &Session) -> Self {
        Self {
            sending: Direction::Unopened(Box::new(session.sender(Channel::Relay))),
            receiving: Direction::Unopened(Box::new(session.receiver(Channel::Relay))),
        }
    }

    /// Encrypts one message.
    ///
    /// # Panics
    /// Never for the message types of this crate: they all have a JSON form, and are shorter than Noise allows.
    pub(crate) fn seal<T: Serialize>(&mut self, message: &T) -> Sealed {
        let text = serde_json::to_vec(message).expect("messages have a JSON form");
        let mut bytes = vec![0; text.len() + OPENING_BYTES];
        let length = self.sending.write(&text, &mut bytes);
        bytes.truncate(length.expect("a message that Noise allows"));
        Sealed { text: hex::encode(bytes), seal: String::new() }
    }

    /// Decrypts one message of the peer.
    ///
    /// # Errors
    /// When it is not the peer's next one, or no message of type `T`.
    pub(crate) fn open<T: for<'de> Deserialize<'de>>(&mut self, sealed: &Sealed) -> Result<T, SealError> {
        let message = hex::decode(&sealed.text).map_err(|_| SealError::Seal)?;
        let mut text = vec![0; message.len()];
        let length = self.receiving.read(&message, &mut text);
        text.truncate(length.ok_or(SealError::Seal)?);
        serde_json::from_slice(&text).map_err(|_| SealError::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::session::tests::{pair, pair_with};

    fn meeting(role: Role, byte: u8) -> Meeting {
        Meeting { name: "m".into(), role, secret: Secret::new([byte; 32]) }
    }

    fn channels() -> (RelayChannel, RelayChannel) {
        let (a, b) = pair();
        (RelayChannel::new(&a), RelayChannel::new(&b))
    }

    #[test]
    fn the_first_message_is_opened_by_the_peer_only() {
        let (a, b) = (meeting(Role::A, 7), meeting(Role::B, 7));
        let sealed = seal_first(&a, &"hello");
        assert_eq!(open_first(&b, &sealed), Ok("hello".to_owned()));
        assert_eq!(open_first::<String>(&a, &sealed), Err(SealError::Seal), "sent back to its sender");
        let altered = Sealed { text: "\"hullo\"".into(), ..sealed.clone() };
        assert_eq!(open_first::<String>(&b, &altered), Err(SealError::Seal), "altered");
        assert_eq!(open_first::<u32>(&b, &sealed), Err(SealError::Text), "another version");
        assert_eq!(open_first::<String>(&meeting(Role::B, 8), &sealed), Err(SealError::Seal), "another key");
        let elsewhere = Meeting { name: "n".into(), ..b };
        assert_eq!(open_first::<String>(&elsewhere, &sealed), Err(SealError::Seal), "another meeting");
    }

    #[test]
    fn what_one_seals_the_other_opens_and_nobody_reads() {
        let (mut a, mut b) = channels();
        for word in ["one", "two", "three"] {
            let sealed = a.seal(&word);
            assert!(!sealed.text.contains(&hex::encode(word)), "{sealed:?}");
            assert_eq!(b.open(&sealed), Ok(word.to_owned()));
            assert_eq!(a.open(&b.seal(&word)), Ok(word.to_owned()));
        }
    }

    #[test]
    fn altered_reflected_replayed_and_reordered_messages_are_refused() {
        let refused = |meddle: fn(&mut RelayChannel) -> Sealed| {
            let (mut a, mut b) = channels();
            assert_eq!(b.open(&a.seal(&1u32)), Ok(1));
            b.open::<u32>(&meddle(&mut a)) == Err(SealError::Seal)
        };
        assert!(!refused(|a| a.seal(&2u32)), "the control");
        assert!(refused(|a| {
            let mut sealed = a.seal(&2u32);
            let flipped = if sealed.text.starts_with('0') { "1" } else { "0" };
            sealed.text.replace_range(..1, flipped);
            sealed
        }));
        assert!(refused(|a| {
            a.seal(&2u32);
            a.seal(&3u32)
        }));
        assert!(refused(|_| Sealed { text: "no digits".into(), seal: String::new() }));
        let (mut a, mut b) = channels();
        let sealed = a.seal(&1u32);
        assert_eq!(a.open::<u32>(&sealed), Err(SealError::Seal), "sent back to its sender");
        assert_eq!(b.open::<u32>(&sealed), Ok(1));
        assert_eq!(b.open::<u32>(&sealed), Err(SealError::Seal), "replayed");
        assert_eq!(b.open::<u32>(&a.seal(&2u32)), Err(SealError::Seal), "nothing follows what was refused");
    }

    #[test]
    fn messages_of_another_session_or_key_are_refused() {
        let (mut a, _) = channels();
        let old = a.seal(&1u32);
        let (_, mut b) = channels();
        assert_eq!(b.open::<u32>(&old), Err(SealError::Seal));
        let (a, b) = pair_with(1, 2);
        let sealed = RelayChannel::new(&a).seal(&1u32);
        assert_eq!(RelayChannel::new(&b).open::<u32>(&sealed), Err(SealError::Seal));
    }
}
