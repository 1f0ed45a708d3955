//! X25519 (RFC 7748) as `snow` asks for it. What the fixed keys of a session make is computed once for all its channels.
//!
//! Each of these computations takes tens of microseconds, which is most of what a short meeting computes. Every direction of
//! every channel derives the own public key from the private one, and needs what the two fixed keys make together.

use std::fmt;
use std::sync::Arc;

use curve25519_dalek::montgomery::MontgomeryPoint;
use snow::Error;
use snow::types::{Dh, Random};
use zeroize::Zeroizing;

use crate::secret::random_bytes;

/// Bytes of a private key, of a public key, and of what two keys make together.
const BYTES: usize = 32;

/// The public half of a session's key pair.
pub(crate) type PublicKey = [u8; 32];

/// One side's key pair for one session.
#[derive(Clone)]
pub(crate) struct EphemeralKey {
    private: Zeroizing<[u8; 32]>,
    public: PublicKey,
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey(..)")
    }
}

impl EphemeralKey {
    /// A new pair from the system's random source.
    pub(crate) fn generate() -> Self {
        let private = Zeroizing::new(random_bytes());
        let public = public_of(&private);
        Self { private, public }
    }

    /// A pair that was kept, see [`EphemeralKey::to_bytes`].
    pub(crate) fn from_bytes(bytes: &Zeroizing<[u8; 64]>) -> Self {
        let mut key = Self { private: Zeroizing::new([0; 32]), public: [0; 32] };
        key.private.copy_from_slice(&bytes[..32]);
        key.public.copy_from_slice(&bytes[32..]);
        key
    }

    /// Private and public half, to be kept where nobody else reads them.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&*self.private);
        bytes[32..].copy_from_slice(&self.public);
        bytes
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn private(&self) -> &[u8; 32] {
        &self.private
    }
}

/// What is known of a session's keys before any channel of it is opened.
#[derive(Clone)]
pub(crate) struct SessionKeys(Arc<Known>);

struct Known {
    own: EphemeralKey,
    peer: PublicKey,
    shared: Zeroizing<[u8; BYTES]>,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

impl SessionKeys {
    /// The own pair, the peer's public key, and what they make together.
    pub(crate) fn new(own: EphemeralKey, peer: PublicKey) -> Self {
        let shared = exchange(own.private(), peer);
        Self(Arc::new(Known { own, peer, shared }))
    }

    /// The own pair.
    pub(crate) fn own(&self) -> &EphemeralKey {
        &self.0.own
    }

    /// The peer's public key.
    pub(crate) fn peer(&self) -> &PublicKey {
        &self.0.peer
    }
}

/// The public key that belongs to a private one.
fn public_of(private: &[u8; BYTES]) -> PublicKey {
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

/// What a private key and the public one of somebody else make together.
fn exchange(private: &[u8; BYTES], public: PublicKey) -> Zeroizing<[u8; BYTES]> {
    Zeroizing::new(MontgomeryPoint(public).mul_clamped(*private).to_bytes())
}

/// One key pair of a handshake: the fixed one of a session, or one that is made for the handshake.
#[derive(Default)]
pub(crate) struct X25519 {
    private: Zeroizing<[u8; BYTES]>,
    public: PublicKey,
    known: Option<SessionKeys>,
    /// Whether this is the session's own pair.
    is_own: bool,
}

impl X25519 {
    /// A pair that is yet to be set or made, in a handshake of the session with these keys.
    pub(crate) fn of_session(keys: SessionKeys) -> Self {
        Self { known: Some(keys), ..Self::default() }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        BYTES
    }

    fn priv_len(&self) -> usize {
        BYTES
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        let own = self.known.as_ref().map(SessionKeys::own).filter(|own| {
            // The comparison of blake3 hashes takes the same time whatever they hold.
            blake3::Hash::from_bytes(*own.private()) == blake3::Hash::from_bytes(*self.private)
        });
        match own.map(EphemeralKey::public) {
            Some(public) => (self.public, self.is_own) = (public, true),
            None => {
                self.is_own = false;
                self.public = public_of(&self.private);
            }
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        rng.try_fill_bytes(&mut *self.private)?;
        self.is_own = false;
        self.public = public_of(&self.private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public: PublicKey = public.get(..BYTES).and_then(|key| key.try_into().ok()).ok_or(Error::Dh)?;
        let known = self.known.as_ref().filter(|known| self.is_own && *known.peer() == public);
        match known {
            Some(known) => out[..BYTES].copy_from_slice(&*known.0.shared),
            None => out[..BYTES].copy_from_slice(&*exchange(&self.private, public)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(text, &mut bytes).expect("64 digits");
        bytes
    }

    /// The pair of Alice, the pair of Bob, and what they make together (RFC 7748, section 6.1).
    fn of_the_rfc() -> ([([u8; BYTES], PublicKey); 2], [u8; BYTES]) {
        let alice = (
            bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
            bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
        );
        let bob = (
            bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
            bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
        );
        ([alice, bob], bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"))
    }

    fn shared(pair: &X25519, public: &PublicKey) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        pair.dh(public, &mut out).expect("32 bytes");
        out
    }

    #[test]
    fn the_keys_of_the_rfc_make_what_the_rfc_says() {
        let ([alice, bob], expected) = of_the_rfc();
        for ((private, public), other) in [(alice, bob.1), (bob, alice.1)] {
            let mut pair = X25519::default();
            pair.set(&private);
            assert_eq!(pair.pubkey(), public);
            assert_eq!(shared(&pair, &other), expected);
        }
    }

    #[test]
    fn what_is_known_is_what_would_be_computed() {
        let ([alice, bob], expected) = of_the_rfc();
        let own = EphemeralKey::from_bytes(&Zeroizing::new([alice.0, alice.1].concat().try_into().unwrap()));
        let mut pair = X25519::of_session(SessionKeys::new(own, bob.1));
        pair.set(&alice.0);
        assert!(pair.is_own);
        assert_eq!(pair.pubkey(), alice.1);
        assert_eq!(shared(&pair, &bob.1), expected);
    }

    #[test]
    fn what_is_known_of_one_pair_is_never_given_for_another() {
        let ([alice, bob], known) = of_the_rfc();
        let own = EphemeralKey::from_bytes(&Zeroizing::new([alice.0, alice.1].concat().try_into().unwrap()));
        let keys = SessionKeys::new(own, bob.1);
        let other = EphemeralKey::generate();
        let plain = |private: &[u8; BYTES], public: PublicKey| {
            let mut pair = X25519::default();
            pair.set(private);
            shared(&pair, &public)
        };
        let mut pair = X25519::of_session(keys);
        pair.set(&alice.0);
        assert_eq!(shared(&pair, &other.public()), plain(&alice.0, other.public()), "another public key");
        pair.set(other.private());
        assert_eq!(pair.pubkey(), other.public());
        assert_eq!(shared(&pair, &bob.1), plain(other.private(), bob.1), "another private key");
        pair.set(&alice.0);
        let mut rng =
            snow::resolvers::CryptoResolver::resolve_rng(&snow::resolvers::DefaultResolver).unwrap();
        pair.generate(&mut *rng).unwrap();
        assert_ne!(pair.pubkey(), alice.1);
        assert_ne!(shared(&pair, &bob.1), known, "a new pair");
    }

    #[test]
    fn a_key_that_is_too_short_is_refused() {
        assert!(matches!(X25519::default().dh(&[1; 31], &mut [0; BYTES]), Err(Error::Dh)));
    }
}
