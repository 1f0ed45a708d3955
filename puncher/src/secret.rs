//! The shared secret, what is derived from it, and sealed messages between the peers.
//!
//! The first message of each peer is sealed under the secret alone, because the nonces are not known yet; everything
//! after it is sealed under a session key made of both nonces, which proves that the first was not a replay. Frames
//! on the punched stream itself are made in `handshake`.

use std::fmt;
use std::path::Path;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::meeting::{Meeting, Role};

/// Bytes of a secret, a key and a seal.
pub const KEY_BYTES: usize = 32;

/// The secret that both peers share. Its `Debug` form does not show it.
#[derive(Clone)]
pub struct Secret([u8; KEY_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file could not be read.
    #[error("cannot read key file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was read is no secret.
    #[error("a key is 64 hexadecimal digits, this one is not")]
    Malformed,
}

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new secret from the system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// The secret written as 64 hexadecimal digits, blanks around them ignored.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, SecretError> {
        from_hex(text.trim()).map(Self).ok_or(SecretError::Malformed)
    }

    /// The secret in a key file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::Read { path: path.display().to_string(), source })?;
        Self::from_hex(&text)
    }

    /// The secret as 64 hexadecimal digits, for writing a key file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// A keyed hash of the parts for one purpose. Each part is preceded by its length, so that parts cannot flow into
    /// each other.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// A number used once, from the system's random source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub(crate) [u8; 16]);

impl Nonce {
    /// A fresh nonce.
    #[must_use]
    pub fn random() -> Self {
        Self(random_bytes())
    }
}

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).map(Self).ok_or_else(|| serde::de::Error::custom("a nonce is 32 hexadecimal digits"))
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

/// Why a sealed message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The seal does not belong to this text, sender and place in the conversation.
    #[error("the seal does not fit: forged, replayed, or made with another key")]
    Seal,
    /// The seal fits, but the text is not a message of this version.
    #[error("the peer speaks another version")]
    Text,
}

/// Seals and opens the messages of one meeting, in both directions.
#[derive(Debug)]
pub struct Seals {
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
    pub fn new(meeting: &Meeting) -> Self {
        Self { secret: meeting.secret.clone(), label: meeting.label(), role: meeting.role, session: None }
    }

    /// From here on everything is sealed under both nonces.
    pub fn start_session(&mut self, own: Nonce, peer: Nonce) {
        let key = session_key(&self.secret, &self.label, self.role, own, peer);
        self.session = Some(Session { key, sent: 0, received: 0 });
    }

    /// The session key, once there is one.
    #[must_use]
    pub fn session_key(&self) -> Option<Secret> {
        self.session.as_ref().map(|session| session.key.clone())
    }

    /// Seals one message.
    ///
    /// # Panics
    /// Never for the message types of this crate: they all have a JSON form.
    pub fn seal<T: Serialize>(&mut self, message: &T) -> Sealed {
        let text = serde_json::to_string(message).expect("messages have a JSON form");
        let seal = match &mut self.session {
            None => seal_of(&self.secret, &self.label, self.role, None, &text),
            Some(session) => {
                session.sent += 1;
                seal_of(&session.key, &self.label, self.role, Some(session.sent), &text)
            }
        };
        Sealed { text, seal: to_hex(&seal) }
    }

    /// Opens one message of the peer.
    ///
    /// # Errors
    /// When the seal does not fit, or the text is no message of type `T`.
    pub fn open<T: for<'de> Deserialize<'de>>(&mut self, sealed: &Sealed) -> Result<T, Refused> {
        let from = self.role.other();
        let (key, count) = match &self.session {
            None => (&self.secret, None),
            Some(session) => (&session.key, Some(session.received + 1)),
        };
        let expected = blake3::Hash::from_bytes(seal_of(key, &self.label, from, count, &sealed.text));
        let given = from_hex::<KEY_BYTES>(&sealed.seal).ok_or(Refused::Seal)?;
        // The comparison of blake3 hashes takes the same time whatever they hold.
        if expected != blake3::Hash::from_bytes(given) {
            return Err(Refused::Seal);
        }
        if let Some(session) = &mut self.session {
            session.received += 1;
        }
        serde_json::from_str(&sealed.text).map_err(|_| Refused::Text)
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
    Secret(secret.mac("puncher 1 session", &[label.as_bytes(), &a.0, &b.0]))
}

/// Bytes from the system's random source; never from a seed, because they guard something.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly `N` bytes written in hexadecimal digits.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
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
        assert_eq!(a.open::<u32>(&sealed), Err(Refused::Seal), "sent back to its sender");
        let altered = Sealed { text: "2".into(), ..sealed.clone() };
        assert_eq!(b.open::<u32>(&altered), Err(Refused::Seal), "altered");
        assert_eq!(b.open::<u32>(&sealed), Ok(1));
        assert_eq!(b.open::<u32>(&sealed), Err(Refused::Seal), "replayed");
    }

    #[test]
    fn a_message_of_an_earlier_session_is_refused() {
        let (mut a, _) = in_session();
        let old = a.seal(&1u32);
        let (_, mut b) = pair();
        b.start_session(Nonce([9; 16]), Nonce([1; 16]));
        assert_eq!(b.open::<u32>(&old), Err(Refused::Seal));
    }

    #[test]
    fn a_message_under_another_key_is_refused() {
        let (mut a, _) = pair();
        let other = Meeting { name: "m".into(), role: Role::B, secret: Secret::new([8; 32]) };
        assert_eq!(Seals::new(&other).open::<u32>(&a.seal(&1u32)), Err(Refused::Seal));
    }

    #[test]
    fn keys_are_read_from_hexadecimal_digits_only() {
        let text = "00ff".repeat(16);
        assert_eq!(Secret::from_hex(&format!("{text}\n")).unwrap().to_hex(), text);
        for wrong in
            ["", "00", &text[1..], &text.replace('f', "g"), &text.replace("00", "é"), &"+f".repeat(32)]
        {
            assert!(Secret::from_hex(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "Secret(..)");
    }
}
