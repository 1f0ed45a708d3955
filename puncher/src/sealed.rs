//! Messages between the peers as they travel through the rendezvous server: sealed, so that it cannot alter them.
//!
//! The first message of each peer is sealed under the secret alone, because the nonces are not known yet; everything
//! after it is sealed under a session key made of both nonces, which proves that the first was not a replay. Frames
//! on the punched stream itself are made in `handshake`.

use serde::{Deserialize, Serialize};

use crate::meeting::{Meeting, Role};
use crate::secret::{KEY_BYTES, Secret, random_bytes};

/// A number used once, from the system's random source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonce(pub(crate) [u8; 16]);

impl Nonce {
    /// A fresh nonce.
    #[must_use]
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("a nonce is 32 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// A message between the peers as it travels through the rendezvous server: readable, but not alterable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The message, in JSON.
    pub text: String,
    /// Keyed hash of the sender's role, the meeting and the text, in hexadecimal digits.
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

/// Seals and opens the messages of one meeting, in both directions.
#[derive(Debug)]
pub(crate) struct Seals {
    secret: Secret,
    label: String,
    role: Role,
    session: Option<Session>,
}

/// What the two nonces make: a key that has never been used before, and counters against replay within the meeting.
#[derive(Debug)]
struct Session {
    key: Secret,
    sent: u64,
    received: u64,
}

impl Seals {
    /// Seals for one peer of a meeting, before the nonces are known.
    #[must_use]
    pub(crate) fn new(meeting: &Meeting) -> Self {
        Self { secret: meeting.secret.clone(), label: meeting.label(), role: meeting.role, session: None }
    }

    /// From here on everything is sealed under both nonces.
    pub(crate) fn start_session(&mut self, own: Nonce, peer: Nonce) {
        let key = session_key(&self.secret, &self.label, self.role, own, peer);
        self.session = Some(Session { key, sent: 0, received: 0 });
    }

    /// The session key, once there is one.
    #[must_use]
    pub(crate) fn session_key(&self) -> Option<Secret> {
        self.session.as_ref().map(|session| session.key.clone())
    }

    /// Seals one message.
    ///
    /// # Panics
    /// Never for the message types of this crate: they all have a JSON form.
    pub(crate) fn seal<T: Serialize>(&mut self, message: &T) -> Sealed {
        let text = serde_json::to_string(message).expect("messages have a JSON form");
        let seal = match &mut self.session {
            None => seal_of(&self.secret, &self.label, self.role, None, &text),
            Some(session) => {
                session.sent += 1;
                seal_of(&session.key, &self.label, self.role, Some(session.sent), &text)
            }
        };
        Sealed { text, seal: hex::encode(seal) }
    }

    /// Opens one message of the peer.
    ///
    /// # Errors
    /// When the seal does not fit, or the text is no message of type `T`.
    pub(crate) fn open<T: for<'de> Deserialize<'de>>(&mut self, sealed: &Sealed) -> Result<T, SealError> {
        let from = self.role.other();
        let (key, count) = match &self.session {
            None => (&self.secret, None),
            Some(session) => (&session.key, Some(session.received + 1)),
        };
        let expected = blake3::Hash::from_bytes(seal_of(key, &self.label, from, count, &sealed.text));
        let mut given = [0; KEY_BYTES];
        hex::decode_to_slice(&sealed.seal, &mut given).map_err(|_| SealError::Seal)?;
        // The comparison of blake3 hashes takes the same time whatever they hold.
        if expected != blake3::Hash::from_bytes(given) {
            return Err(SealError::Seal);
        }
        if let Some(session) = &mut self.session {
            session.received += 1;
        }
        serde_json::from_str(&sealed.text).map_err(|_| SealError::Text)
    }
}

fn seal_of(key: &Secret, label: &str, from: Role, count: Option<u64>, text: &str) -> [u8; KEY_BYTES] {
    let count = count.unwrap_or(0).to_le_bytes();
    key.mac("puncher 1 message", &[label.as_bytes(), &[from.byte()], &count, text.as_bytes()])
}

/// The key of one session: the same on both sides, whoever computes it.
pub(crate) fn session_key(secret: &Secret, label: &str, role: Role, own: Nonce, peer: Nonce) -> Secret {
    let (a, b) = match role {
        Role::A => (own, peer),
        Role::B => (peer, own),
    };
    Secret::new(secret.mac("puncher 1 session", &[label.as_bytes(), &a.0, &b.0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Seals, Seals) {
        let meeting = |role| Meeting { name: "m".into(), role, secret: Secret::new([7; 32]) };
        (Seals::new(&meeting(Role::A)), Seals::new(&meeting(Role::B)))
    }

    fn in_session() -> (Seals, Seals) {
        let (mut a, mut b) = pair();
        let (nonce_a, nonce_b) = (Nonce([1; 16]), Nonce([2; 16]));
        a.start_session(nonce_a, nonce_b);
        b.start_session(nonce_b, nonce_a);
        (a, b)
    }

    #[test]
    fn what_one_seals_the_other_opens() {
        let (mut a, mut b) = pair();
        assert_eq!(b.open(&a.seal(&"hello".to_owned())), Ok("hello".to_owned()));
        let (mut a, mut b) = in_session();
        for word in ["one", "two"] {
            assert_eq!(b.open(&a.seal(&word.to_owned())), Ok(word.to_owned()));
        }
    }

    #[test]
    fn altered_reflected_and_replayed_messages_are_refused() {
        let (mut a, mut b) = in_session();
        let sealed = a.seal(&1u32);
        assert_eq!(a.open::<u32>(&sealed), Err(SealError::Seal), "sent back to its sender");
        let altered = Sealed { text: "2".into(), ..sealed.clone() };
        assert_eq!(b.open::<u32>(&altered), Err(SealError::Seal), "altered");
        assert_eq!(b.open::<u32>(&sealed), Ok(1));
        assert_eq!(b.open::<u32>(&sealed), Err(SealError::Seal), "replayed");
    }

    #[test]
    fn a_message_of_an_earlier_session_is_refused() {
        let (mut a, _) = in_session();
        let old = a.seal(&1u32);
        let (_, mut b) = pair();
        b.start_session(Nonce([9; 16]), Nonce([1; 16]));
        assert_eq!(b.open::<u32>(&old), Err(SealError::Seal));
    }

    #[test]
    fn a_message_under_another_key_is_refused() {
        let (mut a, _) = pair();
        let other = Meeting { name: "m".into(), role: Role::B, secret: Secret::new([8; 32]) };
        assert_eq!(Seals::new(&other).open::<u32>(&a.seal(&1u32)), Err(SealError::Seal));
    }
}
