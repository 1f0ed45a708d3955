//! Proves on a punched stream that the other end is the peer, and agrees upon one stream when several came up.
//!
//! Both ends know a session key already (nonces of both travelled through the rendezvous), so each sends its proof as
//! soon as the stream is up, and knows the other's one trip later. Three frames of equal length exist:
//!
//! - *hello*: the sender has the session key. Both send it first. It names the endpoint the sender believes to talk to.
//! - *chosen*: role a proposes this stream. On the first stream that comes up it leaves together with the hello.
//! - *confirm*: role b accepts, on exactly one stream ever. What b confirmed is the connection, whatever a proposed
//!   since. Role a closes the other streams when it has the confirmation; b never closes first.
//!
//! After them the stream belongs to the application.
//!
//! A hello could be carried from one stream to another by a stranger who received it. So it names the endpoint it was sent
//! to, and the receiver compares that with what it knows of itself.
//!
//! Where no nonces could be exchanged beforehand, each side sends a nonce first, and the key is made of both: one trip more.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::meeting::{Meeting, Role};
use crate::sealed::{Nonce, session_key};
use crate::secret::{KEY_BYTES, Secret};
use crate::sync::lock;

/// Bytes of a frame: its kind, the endpoint it was sent to, and a keyed hash of both and of the sender's role.
pub(crate) const FRAME_BYTES: usize = 1 + 6 + KEY_BYTES;

/// How long role a waits for the stream it proposed first before it proposes another that has proved itself.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hello = 1,
    Chosen = 2,
    Confirm = 3,
}

/// Why a stream was refused.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It broke or ended.
    #[error("the stream ended before it was authenticated: {0}")]
    Io(#[from] io::Error),
    /// The other end does not hold the session key, or repeats what it has heard.
    #[error("the other end is not the peer")]
    NotThePeer,
    /// The peer chose another stream.
    #[error("another stream was chosen")]
    NotChosen,
}

/// Where the key comes from.
#[derive(Debug)]
enum Keying {
    /// Nonces of both sides have been exchanged.
    Session(Secret),
    /// They are exchanged on each stream.
    InBand { secret: Secret, label: String },
}

/// What this side knows of its own endpoints.
#[derive(Debug, Clone, Default)]
pub struct OwnEndpoints {
    /// The external endpoint of a local port, where it is the same for every destination.
    pub external: HashMap<u16, SocketAddrV4>,
    /// All addresses this side is known by; empty when that cannot be told.
    pub addresses: Vec<Ipv4Addr>,
}

impl OwnEndpoints {
    /// Whether a peer may believe to talk to `named` when it talks to this side's `local`.
    fn may_be(&self, local: SocketAddrV4, named: SocketAddrV4) -> bool {
        match self.external.get(&local.port()) {
            Some(external) => named == *external || named == local,
            None => self.addresses.is_empty() || self.addresses.contains(named.ip()),
        }
    }
}

/// What all streams of one side share: the key, and which of them is to be the connection.
#[derive(Debug)]
pub struct Agreement {
    keying: Keying,
    role: Role,
    own: Mutex<OwnEndpoints>,
    /// Role a: the stream proposed at present.
    proposed: watch::Sender<Option<u64>>,
    /// Role b: the stream that was confirmed.
    confirmed: Mutex<Option<u64>>,
}

/// One stream, as this side's socket names its ends.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Tells the streams of this side apart.
    pub id: u64,
    /// This end.
    pub local: SocketAddrV4,
    /// The other.
    pub remote: SocketAddrV4,
}

/// A stream that both sides agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// When the peer's proof had arrived.
    pub authenticated: Instant,
}

impl Agreement {
    /// For one session, whose key is made of nonces that both sides know.
    #[must_use]
    pub fn new(session_key: Secret, role: Role) -> Self {
        Self::with(Keying::Session(session_key), role)
    }

    /// For a meeting without a word beforehand.
    #[must_use]
    pub fn in_band(meeting: &Meeting) -> Self {
        Self::with(Keying::InBand { secret: meeting.secret.clone(), label: meeting.label() }, meeting.role)
    }

    fn with(keying: Keying, role: Role) -> Self {
        let (own, confirmed) = (Mutex::default(), Mutex::default());
        Self { keying, role, own, proposed: watch::Sender::new(None), confirmed }
    }

    /// From now on this is known of the own endpoints.
    pub fn know(&self, own: OwnEndpoints) {
        *lock(&self.own) = own;
    }

    /// Whether this side keeps the streams that lost until the other has closed them.
    #[must_use]
    pub fn waits_for_losers(&self) -> bool {
        self.role == Role::B
    }

    /// Proves both ends to each other on one stream and waits until it is chosen.
    ///
    /// # Errors
    /// When the other end is a stranger, or another stream was chosen. The caller keeps the stream open until the whole
    /// punch is over.
    pub async fn perform<S>(&self, stream: &mut S, ends: Ends) -> Result<Agreed, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let proposed = self.role == Role::A && self.propose_if_first(ends.id);
        let key = self.key(stream).await;
        let result = match key {
            Ok(key) => Exchange { agreement: self, key, ends, stream }.run(proposed).await,
            Err(error) => Err(error.into()),
        };
        if result.is_err() {
            self.withdraw(ends.id);
        }
        result
    }

    async fn key(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Secret> {
        match &self.keying {
            Keying::Session(key) => Ok(key.clone()),
            Keying::InBand { secret, label } => {
                let own = Nonce::random();
                stream.write_all(&own.0).await?;
                let mut peer = Nonce([0; 16]);
                stream.read_exact(&mut peer.0).await?;
                Ok(session_key(secret, label, self.role, own, peer))
            }
        }
    }

    fn propose_if_first(&self, id: u64) -> bool {
        self.proposed.send_if_modified(|proposed| {
            let first = proposed.is_none();
            if first {
                *proposed = Some(id);
            }
            first
        })
    }

    fn withdraw(&self, id: u64) {
        self.proposed.send_if_modified(|proposed| {
            let mine = *proposed == Some(id);
            if mine {
                *proposed = None;
            }
            mine
        });
    }

    /// Until the proposal of another stream has come to nothing, or taken too long: a stranger may hold that stream.
    async fn wait_for_turn(&self, id: u64) {
        let mut proposed = self.proposed.subscribe();
        let _ = timeout(PATIENCE, proposed.wait_for(Option::is_none)).await;
        self.proposed.send_replace(Some(id));
    }

    fn confirm_if_first(&self, id: u64) -> bool {
        *lock(&self.confirmed).get_or_insert(id) == id
    }
}

/// The handshake on one stream.
struct Exchange<'a, S> {
    agreement: &'a Agreement,
    key: Secret,
    ends: Ends,
    stream: &'a mut S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    async fn run(mut self, proposed: bool) -> Result<Agreed, HandshakeError> {
        match self.agreement.role {
            Role::A => self.choose(proposed).await,
            Role::B => self.confirm().await,
        }
    }

    async fn choose(&mut self, proposed: bool) -> Result<Agreed, HandshakeError> {
        let mut greeting = self.frame(Kind::Hello).to_vec();
        if proposed {
            greeting.extend(self.frame(Kind::Chosen));
        }
        self.stream.write_all(&greeting).await?;
        self.expect(Kind::Hello).await?;
        let authenticated = Instant::now();
        if !proposed {
            self.agreement.wait_for_turn(self.ends.id).await;
            let chosen = self.frame(Kind::Chosen);
            self.stream.write_all(&chosen).await?;
        }
        self.expect(Kind::Confirm).await?;
        Ok(Agreed { authenticated })
    }

    async fn confirm(&mut self) -> Result<Agreed, HandshakeError> {
        let hello = self.frame(Kind::Hello);
        self.stream.write_all(&hello).await?;
        self.expect(Kind::Hello).await?;
        self.expect(Kind::Chosen).await?;
        let authenticated = Instant::now();
        if !self.agreement.confirm_if_first(self.ends.id) {
            return Err(HandshakeError::NotChosen);
        }
        let confirm = self.frame(Kind::Confirm);
        self.stream.write_all(&confirm).await?;
        Ok(Agreed { authenticated })
    }

    fn frame(&self, kind: Kind) -> [u8; FRAME_BYTES] {
        frame(&self.key, self.agreement.role, kind, self.ends.remote)
    }

    async fn expect(&mut self, kind: Kind) -> Result<(), HandshakeError> {
        let mut frame = [0; FRAME_BYTES];
        self.stream.read_exact(&mut frame).await?;
        let named = genuine(&self.key, self.agreement.role.other(), kind, &frame);
        match named {
            Some(named) if lock(&self.agreement.own).may_be(self.ends.local, named) => Ok(()),
            _ => Err(HandshakeError::NotThePeer),
        }
    }
}

fn frame(key: &Secret, sender: Role, kind: Kind, remote: SocketAddrV4) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    frame[0] = kind as u8;
    frame[1..5].copy_from_slice(&remote.ip().octets());
    frame[5..7].copy_from_slice(&remote.port().to_be_bytes());
    let proof = proof(key, sender, &frame[..7]);
    frame[7..].copy_from_slice(&proof);
    frame
}

fn proof(key: &Secret, sender: Role, head: &[u8]) -> [u8; KEY_BYTES] {
    key.mac("puncher 1 stream", &[&[sender.byte()], head])
}

/// The endpoint named by a frame of this kind and sender; `None` when it is not theirs.
fn genuine(key: &Secret, sender: Role, kind: Kind, frame: &[u8; FRAME_BYTES]) -> Option<SocketAddrV4> {
    let (head, given) = frame.split_at(7);
    // The comparison of blake3 hashes takes the same time whatever they hold.
    let expected = blake3::Hash::from_bytes(proof(key, sender, head));
    let given = blake3::Hash::from_bytes(*given.first_chunk::<KEY_BYTES>()?);
    let address: [u8; 4] = head[1..5].try_into().ok()?;
    let port = u16::from_be_bytes(head[5..7].try_into().ok()?);
    (expected == given && head[0] == kind as u8).then(|| SocketAddrV4::new(address.into(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 4000);
    const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5000);

    fn key() -> Secret {
        Secret::new([3; 32])
    }

    fn sides() -> (Agreement, Agreement) {
        (Agreement::new(key(), Role::A), Agreement::new(key(), Role::B))
    }

    async fn run(side: &Agreement, id: u64, stream: &mut DuplexStream) -> Result<Agreed, HandshakeError> {
        side.perform(stream, Ends { id, local: LOCAL, remote: REMOTE }).await
    }

    #[tokio::test]
    async fn two_peers_authenticate_and_agree() {
        let (a, b) = sides();
        let (mut left, mut right) = duplex(1024);
        let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 7, &mut right));
        assert!(at_a.is_ok() && at_b.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_streams_both_take_the_same() {
        let (a, b) = sides();
        let (mut left1, mut right1) = duplex(1024);
        let (mut left2, mut right2) = duplex(1024);
        let at_a = async {
            tokio::select! {
                Ok(_) = run(&a, 1, &mut left1) => 1,
                Ok(_) = run(&a, 2, &mut left2) => 2,
            }
        };
        let at_b = async {
            tokio::select! {
                Ok(_) = run(&b, 1, &mut right1) => 1,
                Ok(_) = run(&b, 2, &mut right2) => 2,
            }
        };
        let (at_a, at_b) = tokio::join!(at_a, at_b);
        assert_eq!(at_a, at_b);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stranger_on_the_first_stream_does_not_stop_the_second() {
        let (a, b) = sides();
        let (mut left1, _silent) = duplex(1024);
        let (mut left2, mut right2) = duplex(1024);
        let stranger = run(&a, 1, &mut left1);
        tokio::pin!(stranger);
        // The stranger's stream came up first and was proposed.
        assert!(futures_poll_once(&mut stranger).await.is_none());
        let (at_a, at_b) = tokio::join!(run(&a, 2, &mut left2), run(&b, 2, &mut right2));
        assert!(at_a.is_ok() && at_b.is_ok());
    }

    async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn another_key_is_refused() {
        let (a, _) = sides();
        let stranger = Agreement::new(Secret::new([4; 32]), Role::B);
        let (mut left, mut right) = duplex(1024);
        let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&stranger, 1, &mut right));
        assert!(matches!(at_a, Err(HandshakeError::NotThePeer)));
        assert!(matches!(at_b, Err(HandshakeError::NotThePeer)));
    }

    #[tokio::test]
    async fn an_echo_is_refused() {
        let (a, _) = sides();
        let (mut left, mut right) = duplex(1024);
        let echo = async {
            let mut hello = [0; FRAME_BYTES];
            right.read_exact(&mut hello).await.unwrap();
            right.write_all(&hello).await.unwrap();
        };
        let (at_a, ()) = tokio::join!(run(&a, 1, &mut left), echo);
        assert!(matches!(at_a, Err(HandshakeError::NotThePeer)));
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_an_error() {
        let (a, _) = sides();
        let (mut left, mut right) = duplex(1024);
        let cut = async {
            right.write_all(&frame(&key(), Role::B, Kind::Hello, REMOTE)[..20]).await.unwrap();
            drop(right);
        };
        let (at_a, ()) = tokio::join!(run(&a, 1, &mut left), cut);
        assert!(matches!(at_a, Err(HandshakeError::Io(_))));
    }

    #[tokio::test]
    async fn without_a_word_beforehand_the_nonces_are_exchanged_on_the_stream() {
        let side = |role, byte| {
            Agreement::in_band(&Meeting { name: "m".into(), role, secret: Secret::new([byte; 32]) })
        };
        let (mut left, mut right) = duplex(1024);
        let (a, b) = (side(Role::A, 1), side(Role::B, 1));
        let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
        assert!(at_a.is_ok() && at_b.is_ok());
        let (mut left, mut right) = duplex(1024);
        let (a, stranger) = (side(Role::A, 1), side(Role::B, 2));
        let (at_a, _) = tokio::join!(run(&a, 1, &mut left), run(&stranger, 1, &mut right));
        assert!(matches!(at_a, Err(HandshakeError::NotThePeer)));
    }

    #[tokio::test]
    async fn a_hello_that_was_sent_to_somebody_else_is_refused() {
        let (_, b) = sides();
        let elsewhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 5000);
        b.know(OwnEndpoints { external: HashMap::new(), addresses: vec![*REMOTE.ip()] });
        let (mut left, mut right) = duplex(1024);
        let carried = async {
            left.write_all(&frame(&key(), Role::A, Kind::Hello, elsewhere)).await.unwrap();
            left.write_all(&frame(&key(), Role::A, Kind::Chosen, elsewhere)).await.unwrap();
        };
        let (at_b, ()) = tokio::join!(run(&b, 1, &mut right), carried);
        assert!(matches!(at_b, Err(HandshakeError::NotThePeer)));
    }

    #[test]
    fn an_own_endpoint_is_known_by_its_mapping_or_by_its_address() {
        let external = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 9), 4000);
        let other_port = SocketAddrV4::new(*external.ip(), 4001);
        let fixed = OwnEndpoints {
            external: [(4000, external)].into(),
            addresses: vec![*external.ip(), *LOCAL.ip()],
        };
        assert!(fixed.may_be(LOCAL, external) && fixed.may_be(LOCAL, LOCAL));
        assert!(!fixed.may_be(LOCAL, other_port));
        let drawn = OwnEndpoints { external: HashMap::new(), ..fixed };
        assert!(drawn.may_be(LOCAL, other_port) && !drawn.may_be(LOCAL, REMOTE));
        assert!(OwnEndpoints::default().may_be(LOCAL, REMOTE), "nothing is known");
    }

    proptest! {
        #[test]
        fn a_frame_altered_anywhere_is_refused(at in 0..FRAME_BYTES, bit in 0..8u32) {
            let mut frame = frame(&key(), Role::B, Kind::Hello, REMOTE);
            prop_assert_eq!(genuine(&key(), Role::B, Kind::Hello, &frame), Some(REMOTE));
            frame[at] ^= 1 << bit;
            prop_assert_eq!(genuine(&key(), Role::B, Kind::Hello, &frame), None);
        }

        #[test]
        fn no_random_bytes_are_genuine(bytes: [u8; 16], rest: [u8; 23]) {
            let mut frame = [0; FRAME_BYTES];
            frame[..16].copy_from_slice(&bytes);
            frame[16..].copy_from_slice(&rest);
            for kind in [Kind::Hello, Kind::Chosen, Kind::Confirm] {
                prop_assert_eq!(genuine(&key(), Role::A, kind, &frame), None);
            }
        }
    }
}
