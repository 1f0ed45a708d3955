//! The keys of one session: each side makes a key pair for it, and what the two pairs and the shared secret make together
//! guards the messages by way of the server and the streams.
//!
//! The protocol is `Noise_Kpsk0_25519_AESGCM_BLAKE2s`, by `snow`: one message opens one direction of one channel. The
//! pre-shared key is made of the shared secret, the meeting and both public keys. The prologue names the channel and who
//! sends, so that nothing said in one place or direction counts in another.
//!
//! Both key pairs live for one session, and each direction of each stream begins with a fresh key of its own. So no key is
//! used twice, and what was said stays secret if the shared secret gets out later.
//!
//! The cipher is ring's, where the feature is on; the key exchange is `x25519`.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::config::Protection;
use crate::meeting::Role;
use crate::secret::Secret;
use crate::x25519::{EphemeralKey, PublicKey, SessionKeys, X25519};

const PATTERN: &str = "Noise_Kpsk0_25519_AESGCM_BLAKE2s";

/// What the first message of a direction adds to its payload: a public key and a tag.
pub(crate) const OPENING_BYTES: usize = 32 + TAG_BYTES;

/// What each later message adds to its payload.
pub(crate) const TAG_BYTES: usize = 16;

/// What is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Messages by way of the rendezvous server.
    Relay,
    /// A punched stream.
    Stream(Protection),
}

impl Channel {
    fn byte(self) -> u8 {
        match self {
            Self::Relay => b'r',
            Self::Stream(Protection::Encrypted) => b'e',
            Self::Stream(Protection::UnprotectedUntilChannelBound) => b'u',
        }
    }
}

/// What both sides have once they know each other's public key.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    role: Role,
    keys: SessionKeys,
    key: Secret,
}

impl Session {
    /// The session of a meeting, known by its label.
    pub(crate) fn new(
        secret: &Secret,
        label: &str,
        role: Role,
        (own, peer): (EphemeralKey, PublicKey),
    ) -> Self {
        let (a, b) = match role {
            Role::A => (own.public(), peer),
            Role::B => (peer, own.public()),
        };
        let key = Secret::new(secret.mac("puncher 2 session", &[label.as_bytes(), &a, &b]));
        Self { role, keys: SessionKeys::new(own, peer), key }
    }

    /// Bytes that both sides have and nobody else.
    pub(crate) fn shared_bytes(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.key.mac(purpose, parts)
    }

    /// Begins what this side sends on a channel. A new one for each stream.
    pub(crate) fn sender(&self, channel: Channel) -> HandshakeState {
        let prologue = prologue(channel, self.role);
        let psk = self.psk();
        let builder = self.builder(&psk, &prologue);
        builder.build_initiator().expect("all that the pattern needs is given")
    }

    /// Begins what this side receives on a channel.
    pub(crate) fn receiver(&self, channel: Channel) -> HandshakeState {
        let prologue = prologue(channel, self.role.other());
        let psk = self.psk();
        let builder = self.builder(&psk, &prologue);
        builder.build_responder().expect("all that the pattern needs is given")
    }

    fn psk(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.mac("puncher 2 noise", &[]))
    }

    fn builder<'b>(&'b self, psk: &'b [u8; 32], prologue: &'b [u8]) -> Builder<'b> {
        let given = "each is given once and has its length";
        let builder = builder(self.keys.clone()).psk(0, psk).expect(given);
        builder
            .prologue(prologue)
            .expect(given)
            .local_private_key(self.keys.own().private())
            .expect(given)
            .remote_public_key(self.keys.peer())
            .expect(given)
    }
}

/// For a handshake of the session with these keys.
fn builder<'b>(keys: SessionKeys) -> Builder<'b> {
    Builder::with_resolver(PATTERN.parse().expect("a pattern that snow knows"), Box::new(Primitives { keys }))
}

/// Where the parts of the protocol come from.
struct Primitives {
    keys: SessionKeys,
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::of_session(self.keys.clone()))),
            other => DefaultResolver.resolve_dh(other),
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        #[cfg(feature = "ring")]
        return snow::resolvers::RingResolver.resolve_cipher(choice);
        #[cfg(not(feature = "ring"))]
        DefaultResolver.resolve_cipher(choice)
    }
}

fn prologue(channel: Channel, sender: Role) -> Vec<u8> {
    [b"puncher 2 ".as_slice(), &[channel.byte(), sender.byte()]].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two sides of one session.
    pub(crate) fn pair() -> (Session, Session) {
        pair_with(1, 1)
    }

    /// Two sides whose secrets are these.
    pub(crate) fn pair_with(byte_a: u8, byte_b: u8) -> (Session, Session) {
        let (key_a, key_b) = (EphemeralKey::generate(), EphemeralKey::generate());
        let (public_a, public_b) = (key_a.public(), key_b.public());
        let session = |byte, role, keys| Session::new(&Secret::new([byte; 32]), "m", role, keys);
        (session(byte_a, Role::A, (key_a, public_b)), session(byte_b, Role::B, (key_b, public_a)))
    }

    /// Whether what one sends is taken by the other.
    fn passes(sender: &mut HandshakeState, receiver: &mut HandshakeState) -> bool {
        let (mut message, mut payload) = ([0; 128], [0; 128]);
        let length = sender.write_message(b"hello", &mut message).unwrap();
        assert_eq!(length, OPENING_BYTES + 5);
        let read = receiver.read_message(&message[..length], &mut payload);
        read.is_ok_and(|length| &payload[..length] == b"hello")
    }

    const STREAM: Channel = Channel::Stream(Protection::Encrypted);

    #[test]
    fn both_directions_open() {
        let (a, b) = pair();
        assert!(passes(&mut a.sender(STREAM), &mut b.receiver(STREAM)));
        assert!(passes(&mut b.sender(STREAM), &mut a.receiver(STREAM)));
        assert_eq!(a.shared_bytes("x", &[]), b.shared_bytes("x", &[]));
    }

    #[test]
    fn nothing_counts_elsewhere_than_where_it_was_said() {
        let (a, b) = pair();
        let other = Channel::Stream(Protection::UnprotectedUntilChannelBound);
        assert!(!passes(&mut a.sender(STREAM), &mut a.receiver(STREAM)), "sent back to its sender");
        assert!(!passes(&mut a.sender(STREAM), &mut b.receiver(Channel::Relay)), "another channel");
        assert!(!passes(&mut a.sender(STREAM), &mut b.receiver(other)), "another protection");
        let (_, stranger) = pair();
        assert!(!passes(&mut a.sender(STREAM), &mut stranger.receiver(STREAM)), "another session");
        let (a, b) = pair_with(1, 2);
        assert!(!passes(&mut a.sender(STREAM), &mut b.receiver(STREAM)), "another secret");
    }

    /// The pre-shared key alone opens nothing: the private key of the session is needed, too.
    #[test]
    fn the_secret_alone_does_not_open_what_was_said() {
        let (a, b) = pair();
        let mut message = [0; 128];
        let length = a.sender(STREAM).write_message(b"hello", &mut message).unwrap();
        let peer = *b.keys.peer();
        let spy = Session { keys: SessionKeys::new(EphemeralKey::generate(), peer), ..b };
        let read = spy.receiver(STREAM).read_message(&message[..length], &mut [0; 128]);
        assert!(read.is_err());
    }

    #[test]
    fn no_two_openings_are_alike() {
        let (a, _) = pair();
        let open = || {
            let mut message = [0; 128];
            a.sender(STREAM).write_message(&[], &mut message).unwrap();
            message
        };
        assert_ne!(open(), open());
    }

    #[test]
    fn a_key_that_was_kept_is_the_same() {
        let (a, b) = pair();
        let own = EphemeralKey::from_bytes(&b.keys.own().to_bytes());
        let again = Session { keys: SessionKeys::new(own, *b.keys.peer()), ..b };
        assert!(passes(&mut a.sender(STREAM), &mut again.receiver(STREAM)));
    }

    /// Both directions, with snow's own key exchange at the other end.
    #[test]
    fn the_other_end_may_compute_everything_itself() {
        let (a, b) = pair();
        let (psk, own, peer) = (b.psk(), *b.keys.own().private(), *b.keys.peer());
        let plain = |prologue: &[u8], initiates: bool| {
            let builder = Builder::with_resolver(PATTERN.parse().unwrap(), Box::new(DefaultResolver));
            let builder = builder.psk(0, &psk).unwrap().prologue(prologue).unwrap();
            let builder = builder.local_private_key(&own).unwrap().remote_public_key(&peer).unwrap();
            if initiates { builder.build_initiator().unwrap() } else { builder.build_responder().unwrap() }
        };
        assert!(passes(&mut a.sender(STREAM), &mut plain(&prologue(STREAM, Role::A), false)));
        assert!(passes(&mut plain(&prologue(STREAM, Role::B), true), &mut a.receiver(STREAM)));
    }
}
