//! What a peer proves to the rendezvous server: that a side is its own, and that it may meet here at all.
//!
//! The server never sees the secret of a meeting, nor a token in use. A side of a meeting has a chain of keys made from the
//! secret. With each of them goes a lock, its hash: whoever takes the side leaves the first lock, whoever takes it over
//! shows the first key and leaves the second lock, and so on. A token is proved over a number that the server drew for
//! this connection.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::meeting::{Meeting, Role};
use crate::secret::Secret;

/// 32 bytes, on the wire 64 hexadecimal digits. A comparison takes the same time whatever they hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(blake3::Hash);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digest = blake3::Hash::from_hex(text);
        digest.map(Self).map_err(|_| serde::de::Error::custom("expected 64 hexadecimal digits"))
    }
}

impl Digest {
    /// A number that nobody can guess, from the system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(crate::secret::random_bytes().into())
    }

    /// The lock that this key opens.
    #[must_use]
    pub fn lock(&self) -> Self {
        Self(blake3::hash(self.0.as_bytes()))
    }
}

/// The key of one side of a meeting after it was taken over this many times.
#[must_use]
pub(crate) fn side_key(meeting: &Meeting, times: u32) -> Digest {
    let (label, role) = (meeting.label(), [meeting.role.byte()]);
    let parts = [label.as_bytes(), &role, &times.to_le_bytes()];
    Digest(meeting.secret.mac("puncher 1 side key", &parts).into())
}

/// Proves a token without showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenProof {
    /// Which token, see [`token_name`].
    pub name: Digest,
    /// A keyed hash of the server's number, the meeting and the side.
    pub proof: Digest,
}

/// What a server with many tokens finds one by. It does not tell the token.
#[must_use]
pub(crate) fn token_name(token: &Secret) -> Digest {
    Digest(token.mac("puncher 1 token name", &[]).into())
}

/// The proof of a token for one seat, over the number that the server drew for this connection.
#[must_use]
pub(crate) fn prove_token(token: &Secret, challenge: Digest, label: &str, role: Role) -> TokenProof {
    let parts = [&challenge.0.as_bytes()[..], label.as_bytes(), &[role.byte()]];
    TokenProof { name: token_name(token), proof: Digest(token.mac("puncher 1 token proof", &parts).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_of_a_side_is_its_own() {
        let meeting = |byte, role| Meeting { name: "m".into(), role, secret: Secret::new([byte; 32]) };
        let key = side_key(&meeting(1, Role::A), 0);
        assert_eq!(key, side_key(&meeting(1, Role::A), 0), "a program that starts anew knows it again");
        for other in [(1, Role::A, 1), (1, Role::B, 0), (2, Role::A, 0)] {
            assert_ne!(key, side_key(&meeting(other.0, other.1), other.2));
        }
        assert_ne!(key, key.lock());
    }

    #[test]
    fn a_proof_is_good_for_one_token_number_meeting_and_side() {
        let (token, challenge) = (Secret::new([1; 32]), Digest::random());
        let proof = prove_token(&token, challenge, "m", Role::A);
        assert_eq!(proof, prove_token(&token, challenge, "m", Role::A));
        assert_ne!(proof, prove_token(&token, Digest::random(), "m", Role::A));
        assert_ne!(proof, prove_token(&token, challenge, "n", Role::A));
        assert_ne!(proof, prove_token(&token, challenge, "m", Role::B));
        assert_ne!(proof, prove_token(&Secret::new([2; 32]), challenge, "m", Role::A));
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let digest = Digest::random();
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        for wrong in ["\"\"", "\"00\"", &text.replace('"', ""), &format!("\"{}\"", "g".repeat(64))] {
            assert!(serde_json::from_str::<Digest>(wrong).is_err(), "{wrong}");
        }
    }
}
