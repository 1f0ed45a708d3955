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

use std::io;
use std::net::SocketAddrV4;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::meeting::Role;
use crate::secret::{KEY_BYTES, Secret};

/// Bytes of a frame: its kind, the endpoint it was sent to, and a keyed hash of both and of the sender's role.
pub const FRAME_BYTES: usize = 1 + 6 + KEY_BYTES;

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

/// What all streams of one side share: the key, and which of them is to be the connection.
#[derive(Debug)]
pub struct Agreement {
    key: Secret,
    role: Role,
    /// Role a: the stream proposed at present.
    proposed: watch::Sender<Option<u64>>,
    /// Role b: the stream that was confirmed.
    confirmed: Mutex<Option<u64>>,
}

/// A stream that both sides agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// When the peer's proof had arrived.
    pub authenticated: Instant,
}

impl Agreement {
    /// For one session.
    #[must_use]
    pub fn new(session_key: Secret, role: Role) -> Self {
        Self { key: session_key, role, proposed: watch::Sender::new(None), confirmed: Mutex::new(None) }
    }

    /// Whether this side keeps the streams that lost until the other has closed them.
    #[must_use]
    pub fn waits_for_losers(&self) -> bool {
        self.role == Role::B
    }

    /// Proves both ends to each other on one stream and waits until it is chosen. `id` tells the streams of this side
    /// apart; `remote` is the other end as this side's socket names it.
    ///
    /// # Errors
    /// When the other end is a stranger, or another stream was chosen. The caller keeps the stream open until the whole
    /// punch is over.
    pub async fn perform<S>(
        &self,
        stream: &mut S,
        id: u64,
        remote: SocketAddrV4,
    ) -> Result<Agreed, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.role {
            Role::A => {
                let proposed = self.propose_if_first(id);
                let result = self.choose(stream, id, remote, proposed).await;
                if result.is_err() {
                    self.withdraw(id);
                }
                result
            }
            Role::B => self.confirm(stream, id, remote).await,
        }
    }

    async fn choose<S>(
        &self,
        stream: &mut S,
        id: u64,
        remote: SocketAddrV4,
        proposed: bool,
    ) -> Result<Agreed, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut greeting = self.frame(Kind::Hello, remote).to_vec();
        if proposed {
            greeting.extend(self.frame(Kind::Chosen, remote));
        }
        stream.write_all(&greeting).await?;
        self.expect(stream, Kind::Hello).await?;
        let authenticated = Instant::now();
        if !proposed {
            self.wait_for_turn(id).await;
            stream.write_all(&self.frame(Kind::Chosen, remote)).await?;
        }
        self.expect(stream, Kind::Confirm).await?;
        Ok(Agreed { authenticated })
    }

    async fn confirm<S>(
        &self,
        stream: &mut S,
        id: u64,
        remote: SocketAddrV4,
    ) -> Result<Agreed, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        stream.write_all(&self.frame(Kind::Hello, remote)).await?;
        self.expect(stream, Kind::Hello).await?;
        self.expect(stream, Kind::Chosen).await?;
        let authenticated = Instant::now();
        if !self.confirm_if_first(id) {
            return Err(HandshakeError::NotChosen);
        }
        stream.write_all(&self.frame(Kind::Confirm, remote)).await?;
        Ok(Agreed { authenticated })
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
        let mut confirmed = self.confirmed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *confirmed.get_or_insert(id) == id
    }

    fn frame(&self, kind: Kind, remote: SocketAddrV4) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[0] = kind as u8;
        frame[1..5].copy_from_slice(&remote.ip().octets());
        frame[5..7].copy_from_slice(&remote.port().to_be_bytes());
        let proof = self.proof(self.role, &frame[..7]);
        frame[7..].copy_from_slice(&proof);
        frame
    }

    fn proof(&self, sender: Role, head: &[u8]) -> [u8; KEY_BYTES] {
        self.key.mac("puncher 1 stream", &[&[sender.byte()], head])
    }

    async fn expect(&self, stream: &mut (impl AsyncRead + Unpin), kind: Kind) -> Result<(), HandshakeError> {
        let mut frame = [0; FRAME_BYTES];
        stream.read_exact(&mut frame).await?;
        if self.is_genuine(&frame, kind) { Ok(()) } else { Err(HandshakeError::NotThePeer) }
    }

    fn is_genuine(&self, frame: &[u8; FRAME_BYTES], kind: Kind) -> bool {
        let (head, proof) = frame.split_at(7);
        let Some(proof) = proof.first_chunk::<KEY_BYTES>() else { return false };
        let expected = blake3::Hash::from_bytes(self.proof(self.role.other(), head));
        head[0] == kind as u8 && expected == blake3::Hash::from_bytes(*proof)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const REMOTE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 5000);

    fn sides() -> (Agreement, Agreement) {
        let key = Secret::new([3; 32]);
        (Agreement::new(key.clone(), Role::A), Agreement::new(key, Role::B))
    }

    async fn run(side: &Agreement, id: u64, stream: &mut DuplexStream) -> Result<Agreed, HandshakeError> {
        side.perform(stream, id, REMOTE).await
    }

    #[tokio::test]
    async fn two_peers_authenticate_and_agree() {
        let (a, b) = sides();
        let (mut left, mut right) = duplex(1024);
        let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 7, &mut right));
        assert!(at_a.is_ok() && at_b.is_ok());
    }

    #[tokio::test]
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
        let (a, b) = sides();
        let (mut left, mut right) = duplex(1024);
        let cut = async {
            right.write_all(&b.frame(Kind::Hello, REMOTE)[..20]).await.unwrap();
            drop(right);
        };
        let (at_a, ()) = tokio::join!(run(&a, 1, &mut left), cut);
        assert!(matches!(at_a, Err(HandshakeError::Io(_))));
    }

    proptest! {
        #[test]
        fn a_frame_altered_anywhere_is_refused(at in 0..FRAME_BYTES, bit in 0..8u32) {
            let (a, b) = sides();
            let mut frame = b.frame(Kind::Hello, REMOTE);
            prop_assert!(a.is_genuine(&frame, Kind::Hello));
            frame[at] ^= 1 << bit;
            prop_assert!(!a.is_genuine(&frame, Kind::Hello));
        }

        #[test]
        fn no_random_bytes_are_genuine(bytes: [u8; 16], rest: [u8; 23]) {
            let mut frame = [0; FRAME_BYTES];
            frame[..16].copy_from_slice(&bytes);
            frame[16..].copy_from_slice(&rest);
            let (a, _) = sides();
            for kind in [Kind::Hello, Kind::Chosen, Kind::Confirm] {
                prop_assert!(!a.is_genuine(&frame, kind));
            }
        }
    }
}
