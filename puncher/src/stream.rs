//! The stream that an application gets: encrypted and authenticated end to end.

mod drain_wakers;
mod encrypted;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::config::Protection;
use crate::meeting::Role;
use crate::secret::Secret;
use crate::session::{Channel, OPENING_BYTES, Session};
use crate::x25519::EphemeralKey;
use encrypted::Encrypted;

/// What the handshake leaves for the stream.
#[derive(Debug)]
pub(crate) struct StreamKeys {
    pub(crate) send: TransportState,
    pub(crate) receive: TransportState,
    pub(crate) binding: [u8; 32],
}

/// Keys of the two ends of a stream, as a handshake leaves them.
pub(crate) fn key_pair() -> (StreamKeys, StreamKeys) {
    let (key_a, key_b, secret) = (EphemeralKey::generate(), EphemeralKey::generate(), Secret::random());
    let (public_a, public_b) = (key_a.public(), key_b.public());
    let a = Session::new(&secret, "m", Role::A, (key_a, public_b));
    let b = Session::new(&secret, "m", Role::B, (key_b, public_a));
    let ((send_a, receive_b), (send_b, receive_a)) = (direction(&a, &b), direction(&b, &a));
    let keys = |send, receive| StreamKeys { send, receive, binding: [0; 32] };
    (keys(send_a, receive_a), keys(send_b, receive_b))
}

fn direction(from: &Session, to: &Session) -> (TransportState, TransportState) {
    const OPENS: &str = "the keys belong together";
    let channel = Channel::Stream(Protection::Encrypted);
    let (mut send, mut receive) = (from.sender(channel), to.receiver(channel));
    let mut message = [0; OPENING_BYTES];
    send.write_message(&[], &mut message).expect(OPENS);
    receive.read_message(&message, &mut []).expect(OPENS);
    (send.into_transport_mode().expect(OPENS), receive.into_transport_mode().expect(OPENS))
}

/// The two ends of an encrypted stream over another, with keys that nobody else has.
pub(crate) fn encrypted_ends<S>(left: S, right: S) -> (Encrypted<S>, Encrypted<S>) {
    let (a, b) = key_pair();
    (Encrypted::new(left, a), Encrypted::new(right, b))
}

/// A stream to the peer, from [`Connection`](crate::Connection).
///
/// What is written is encrypted and authenticated between the two peers; nobody between them, nor the rendezvous server, can
/// read or alter it. End it with `shutdown`: a stream that was cut off is an error
/// ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)) at the other end, never a quiet end.
///
/// ```
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// async fn greet(mut stream: puncher::PeerStream) -> std::io::Result<String> {
///     stream.write_all(b"hello").await?;
///     stream.shutdown().await?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer).await?;
///     Ok(answer)
/// }
/// ```
#[derive(Debug)]
pub struct PeerStream {
    carrier: Transport,
    binding: [u8; 32],
}

#[derive(Debug)]
enum Transport {
    Encrypted(Box<Encrypted<TcpStream>>),
    Plain(TcpStream),
}

impl PeerStream {
    pub(crate) fn new(stream: TcpStream, keys: StreamKeys, protection: Protection) -> Self {
        let binding = keys.binding;
        let carrier = match protection {
            Protection::Encrypted => Transport::Encrypted(Box::new(Encrypted::new(stream, keys))),
            Protection::UnprotectedUntilChannelBound => Transport::Plain(stream),
        };
        Self { carrier, binding }
    }

    /// 32 bytes that only the two ends of this very stream know. See
    /// [`Protection::UnprotectedUntilChannelBound`] for what they are for.
    #[must_use]
    pub fn channel_binding(&self) -> &[u8; 32] {
        &self.binding
    }

    /// The TCP stream below, to look at it or to set options. What is written to it directly destroys this stream.
    #[must_use]
    pub fn get_ref(&self) -> &TcpStream {
        match &self.carrier {
            Transport::Encrypted(encrypted) => encrypted.get_ref(),
            Transport::Plain(stream) => stream,
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Transport::Encrypted(encrypted) => Pin::new(encrypted).poll_read(context, into),
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Transport::Encrypted(encrypted) => Pin::new(encrypted).poll_write(context, bytes),
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Transport::Encrypted(encrypted) => Pin::new(encrypted).poll_write_vectored(context, parts),
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Transport::Encrypted(encrypted) => Pin::new(encrypted).poll_flush(context),
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Transport::Encrypted(encrypted) => Pin::new(encrypted).poll_shutdown(context),
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
