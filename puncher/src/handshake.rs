//! Proves on a punched stream that the other end is the peer, agrees upon one stream when several came up, and makes its keys.
//!
//! Both ends know a session already (public keys of both travelled through the rendezvous server or in tickets), so each
//! opens its direction as soon as the stream is up, and knows the other one trip later:
//!
//! ```text
//!  A                     B
//!  |--hello------------->|   both, as soon as the stream is up: opens a direction (see `session`)
//!  |<-------------hello--|   one trip: each knows that the other is the peer
//!  |<-----------confirm--|   two trips: a knows that b knows
//!  |--select------------>|   three: on exactly one stream ever
//! ```
//!
//! Role a takes the first stream that is confirmed, says so on it, and closes the others. Role b takes the one on which a has
//! said so: what b has, a acknowledged. A stranger who is silent on one stream holds up no other. `confirm` and `select` name
//! the opening of the other direction, so both ends mean the same stream.
//!
//! After them the stream belongs to the application. Which endpoints the two sides see is of no account: the peer is whoever
//! has the keys.
//!
//! Where no public keys could be exchanged beforehand, each side sends its own first, and the session is made on the stream:
//! one trip more.

use std::io;
use std::sync::Mutex;

use snow::{HandshakeState, TransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::config::Protection;
use crate::meeting::{Meeting, Role};
use crate::secret::{KEY_BYTES, Secret};
use crate::session::{Channel, OPENING_BYTES, Session, TAG_BYTES};
use crate::stream::StreamKeys;
use crate::sync::lock;
use crate::x25519::{EphemeralKey, PublicKey};

/// A hello: it opens a direction, and holds a version.
const HELLO_BYTES: usize = OPENING_BYTES + 1;

/// The version of what is said on a stream.
const VERSION: u8 = 3;

/// Bytes of a hash in BLAKE2s.
const HASH_BYTES: usize = 32;

/// `confirm` and `select`: a kind and a hash.
const DECISION_BYTES: usize = 1 + HASH_BYTES + TAG_BYTES;

/// What is sent where no public keys could be exchanged beforehand: one, and a keyed hash of it.
const IN_BAND_BYTES: usize = 32 + KEY_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Confirm = 1,
    Select = 2,
}

/// Why a stream was refused.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It broke or ended.
    #[error("the stream ended before it was agreed upon: {0}")]
    Io(#[from] io::Error),
    /// The other end does not hold the keys of the session, or repeats what it has heard.
    #[error("the other end is not the peer")]
    NotThePeer,
    /// Another stream was selected.
    #[error("another stream was selected")]
    NotSelected,
}

/// Where the session comes from.
#[derive(Debug)]
enum KeySource {
    /// Public keys of both sides have been exchanged.
    Exchanged(Session),
    /// They are exchanged on each stream.
    InBand { secret: Secret, label: String, own: EphemeralKey },
}

/// What all streams of one side share: the session, and which of them is to be the connection.
#[derive(Debug)]
pub struct Agreement {
    keys: KeySource,
    role: Role,
    channel: Channel,
    /// Role a: the stream that was selected.
    selected: Mutex<Option<u64>>,
}

/// A stream that both sides agreed upon.
#[derive(Debug)]
pub struct AgreedStream {
    /// When the peer's proof had arrived.
    pub(crate) authenticated: Instant,
    pub(crate) keys: StreamKeys,
}

/// A stream whose other end has proved to be the peer.
struct AuthenticatedStream {
    send: TransportState,
    receive: TransportState,
    /// What names the opening of each direction.
    sent: [u8; HASH_BYTES],
    received: [u8; HASH_BYTES],
}

impl Agreement {
    /// For one session, of which both sides know the other's public key.
    pub(crate) fn new(session: Session, role: Role, protection: Protection) -> Self {
        Self::with(KeySource::Exchanged(session), role, protection)
    }

    /// For a meeting without a word beforehand.
    #[must_use]
    pub fn in_band(meeting: &Meeting, protection: Protection) -> Self {
        let own = EphemeralKey::generate();
        let keys = KeySource::InBand { secret: meeting.secret.clone(), label: meeting.label(), own };
        Self::with(keys, meeting.role, protection)
    }

    fn with(keys: KeySource, role: Role, protection: Protection) -> Self {
        Self { keys, role, channel: Channel::Stream(protection), selected: Mutex::new(None) }
    }

    /// Whether this side keeps the streams that were not selected until the other has closed them.
    pub(crate) fn waits_for_losers(&self) -> bool {
        self.role == Role::B
    }

    /// Proves both ends to each other on one stream and waits until it is selected. `proven` is called when the other end has
    /// proved to be the peer.
    ///
    /// # Errors
    /// When the other end is a stranger, the stream breaks, or another stream was selected.
    pub async fn perform<S>(
        &self,
        stream: &mut S,
        id: u64,
        proven: impl FnOnce(),
    ) -> Result<AgreedStream, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let in_band;
        let session = match &self.keys {
            KeySource::Exchanged(session) => session,
            KeySource::InBand { secret, label, own } => {
                let peer = self.exchange_keys(stream, (secret, label, own)).await?;
                in_band = Session::new(secret, label, self.role, (own.clone(), peer));
                &in_band
            }
        };
        let mut both = self.greet(stream, session).await?;
        let authenticated = Instant::now();
        proven();
        match self.role {
            Role::A => self.select(stream, id, &mut both).await?,
            Role::B => confirm(stream, &mut both).await?,
        }
        let AuthenticatedStream { send, receive, sent, received } = both;
        let (of_a, of_b) = match self.role {
            Role::A => (sent, received),
            Role::B => (received, sent),
        };
        let binding = session.shared_bytes("puncher 2 channel binding", &[&of_a, &of_b]);
        Ok(AgreedStream { authenticated, keys: StreamKeys { send, receive, binding } })
    }

    async fn exchange_keys<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        (secret, label, own): (&Secret, &str, &EphemeralKey),
    ) -> Result<PublicKey, HandshakeError> {
        let seal = |from: Role, public: &PublicKey| {
            secret.mac("puncher 2 public key", &[label.as_bytes(), &[from.byte()], public])
        };
        let public = own.public();
        stream.write_all(&[public, seal(self.role, &public)].concat()).await?;
        let mut said = [0; IN_BAND_BYTES];
        stream.read_exact(&mut said).await?;
        let (peer, given) = said.split_at(32);
        let peer: PublicKey = peer.try_into().expect("32 bytes");
        let given = blake3::Hash::from_bytes(given.try_into().expect("32 bytes"));
        // The comparison of blake3 hashes takes the same time whatever they hold.
        if blake3::Hash::from_bytes(seal(self.role.other(), &peer)) != given {
            return Err(HandshakeError::NotThePeer);
        }
        Ok(peer)
    }

    /// Opens both directions.
    async fn greet<S>(&self, stream: &mut S, session: &Session) -> Result<AuthenticatedStream, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut sender, mut receiver) = (session.sender(self.channel), session.receiver(self.channel));
        let mut hello = [0; HELLO_BYTES];
        sender.write_message(&[VERSION], &mut hello).map_err(|_| HandshakeError::NotThePeer)?;
        stream.write_all(&hello).await?;
        stream.read_exact(&mut hello).await?;
        let mut version = [0; HELLO_BYTES];
        let length = receiver.read_message(&hello, &mut version).map_err(|_| HandshakeError::NotThePeer)?;
        if version[..length] != [VERSION] {
            return Err(HandshakeError::NotThePeer);
        }
        let (sent, received) = (hash(&sender), hash(&receiver));
        let open =
            |noise: HandshakeState| noise.into_transport_mode().map_err(|_| HandshakeError::NotThePeer);
        Ok(AuthenticatedStream { send: open(sender)?, receive: open(receiver)?, sent, received })
    }

    /// Role a: of the streams that are confirmed the first is the connection.
    async fn select<S>(
        &self,
        stream: &mut S,
        id: u64,
        both: &mut AuthenticatedStream,
    ) -> Result<(), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        expect(stream, Decision::Confirm, both).await?;
        if *lock(&self.selected).get_or_insert(id) != id {
            return Err(HandshakeError::NotSelected);
        }
        let said = say(stream, Decision::Select, both).await;
        if said.is_err() {
            // It broke before b can have heard of it: another may take its place.
            *lock(&self.selected) = None;
        }
        said
    }
}

/// Role b: this stream is good; the connection is the one that a then selects.
async fn confirm<S>(stream: &mut S, both: &mut AuthenticatedStream) -> Result<(), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    say(stream, Decision::Confirm, both).await?;
    match expect(stream, Decision::Select, both).await {
        // Role a closes what it has not selected.
        Err(HandshakeError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(HandshakeError::NotSelected)
        }
        other => other,
    }
}

/// What names the opening of a direction.
fn hash(noise: &HandshakeState) -> [u8; HASH_BYTES] {
    noise.get_handshake_hash().try_into().expect("BLAKE2s has 32 bytes")
}

async fn say<S>(
    stream: &mut S,
    decision: Decision,
    both: &mut AuthenticatedStream,
) -> Result<(), HandshakeError>
where
    S: AsyncWrite + Unpin,
{
    let mut payload = [decision as u8; 1 + HASH_BYTES];
    payload[1..].copy_from_slice(&both.received);
    let mut message = [0; DECISION_BYTES];
    both.send.write_message(&payload, &mut message).map_err(|_| HandshakeError::NotThePeer)?;
    stream.write_all(&message).await?;
    Ok(())
}

async fn expect<S>(
    stream: &mut S,
    decision: Decision,
    both: &mut AuthenticatedStream,
) -> Result<(), HandshakeError>
where
    S: AsyncRead + Unpin,
{
    let (mut message, mut payload) = ([0; DECISION_BYTES], [0; DECISION_BYTES]);
    stream.read_exact(&mut message).await?;
    let length = both.receive.read_message(&message, &mut payload).map_err(|_| HandshakeError::NotThePeer)?;
    let said = payload[..length].split_first();
    let fits = said.is_some_and(|(kind, named)| *kind == decision as u8 && named == both.sent);
    if fits { Ok(()) } else { Err(HandshakeError::NotThePeer) }
}

#[cfg(test)]
mod tests;
