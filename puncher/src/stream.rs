//! The stream that an application gets: encrypted and authenticated end to end.
//!
//! On the wire each message of the protocol follows its length, two bytes, big-endian. An empty message is the end: a stream
//! that ends without one was cut off, and reading it fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::config::Protection;
use crate::session::TAG_BYTES;

/// Plain bytes in one message that is sent; Noise allows 65,519.
const CHUNK: usize = 32 * 1024;

/// Room for the longest message that may come, and the beginning of the next.
const INCOMING: usize = 2 * (2 + 65_535);

/// What the handshake leaves for the stream.
#[derive(Debug)]
pub(crate) struct StreamKeys {
    pub(crate) send: TransportState,
    pub(crate) receive: TransportState,
    pub(crate) binding: [u8; 32],
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
            Transport::Encrypted(encrypted) => &encrypted.stream,
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

/// Messages of the protocol over any stream.
#[derive(Debug)]
struct Encrypted<S> {
    stream: S,
    send: TransportState,
    receive: TransportState,
    /// What has come: the part between `first` and `end` is not decrypted yet.
    incoming: Box<[u8]>,
    first: usize,
    end: usize,
    /// What was decrypted and did not fit, and how much of it has been read.
    plain: Vec<u8>,
    taken: usize,
    has_ended: bool,
    /// What was encrypted, and how much of it has left.
    outgoing: Vec<u8>,
    sent: usize,
    said_end: bool,
}

impl<S> Encrypted<S> {
    fn new(stream: S, keys: StreamKeys) -> Self {
        Self {
            stream,
            send: keys.send,
            receive: keys.receive,
            incoming: vec![0; INCOMING].into_boxed_slice(),
            first: 0,
            end: 0,
            plain: Vec::new(),
            taken: 0,
            has_ended: false,
            outgoing: Vec::new(),
            sent: 0,
            said_end: false,
        }
    }

    /// The length of the next message, if all of it has come.
    fn whole(&self) -> Option<usize> {
        let (head, rest) = self.incoming[self.first..self.end].split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*head));
        (rest.len() >= length).then_some(length)
    }

    /// Decrypts the next message, which has come wholly; straight to the reader where it has room.
    fn decrypt(&mut self, length: usize, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let message = &self.incoming[self.first + 2..self.first + 2 + length];
        let room = length.saturating_sub(TAG_BYTES);
        let plain = if room <= into.remaining() {
            let plain = self.receive.read_message(message, into.initialize_unfilled_to(room));
            let plain = plain.map_err(refused)?;
            into.advance(plain);
            plain
        } else {
            self.plain.resize(room, 0);
            self.taken = 0;
            let plain = self.receive.read_message(message, &mut self.plain).map_err(refused)?;
            self.plain.truncate(plain);
            plain
        };
        self.has_ended = plain == 0;
        self.first += 2 + length;
        if self.first == self.end {
            (self.first, self.end) = (0, 0);
        }
        Ok(())
    }

    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        let length = plain.len() + TAG_BYTES;
        let head = u16::try_from(length).map_err(io::Error::other)?;
        self.outgoing.extend(head.to_be_bytes());
        let start = self.outgoing.len();
        self.outgoing.resize(start + length, 0);
        self.send.write_message(plain, &mut self.outgoing[start..]).map_err(refused)?;
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Encrypted<S> {
    /// Sends all that was encrypted.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let left = &self.outgoing[self.sent..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads more of what comes.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.first > INCOMING / 2 {
            self.incoming.copy_within(self.first..self.end, 0);
            (self.first, self.end) = (0, self.end - self.first);
        }
        let mut room = ReadBuf::new(&mut self.incoming[self.end..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let count = room.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut off")));
        }
        self.end += count;
        Poll::Ready(Ok(()))
    }
}

fn refused(error: snow::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        loop {
            if self.taken < self.plain.len() {
                let count = into.remaining().min(self.plain.len() - self.taken);
                into.put_slice(&self.plain[self.taken..self.taken + count]);
                self.taken += count;
            }
            // What has been read already is not lost to an error in what follows.
            if self.has_ended || into.remaining() == 0 || into.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if let Some(length) = self.whole() {
                self.decrypt(length, into)?;
                continue;
            }
            ready!(self.poll_fill(context))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let count = bytes.len().min(CHUNK);
        if count > 0 {
            self.encrypt(&bytes[..count])?;
            // What does not leave now leaves with the next write or flush.
            let _ = self.poll_drain(context)?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_end {
            self.encrypt(&[])?;
            self.said_end = true;
        }
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::session::tests::pair;
    use crate::session::{Channel, Session};

    /// Keys of two ends, as a handshake leaves them.
    fn keys() -> (StreamKeys, StreamKeys) {
        let (a, b) = pair();
        let direction = |from: &Session, to: &Session| {
            let channel = Channel::Stream(Protection::Encrypted);
            let (mut send, mut receive) = (from.sender(channel), to.receiver(channel));
            let mut message = [0; 64];
            let length = send.write_message(&[], &mut message).unwrap();
            receive.read_message(&message[..length], &mut [0; 64]).unwrap();
            (send.into_transport_mode().unwrap(), receive.into_transport_mode().unwrap())
        };
        let ((send_a, receive_b), (send_b, receive_a)) = (direction(&a, &b), direction(&b, &a));
        let keys = |send, receive| StreamKeys { send, receive, binding: [0; 32] };
        (keys(send_a, receive_a), keys(send_b, receive_b))
    }

    fn ends(buffer: usize) -> (Encrypted<DuplexStream>, Encrypted<DuplexStream>) {
        let ((left, right), (a, b)) = (duplex(buffer), keys());
        (Encrypted::new(left, a), Encrypted::new(right, b))
    }

    fn bytes(count: u32) -> Vec<u8> {
        (0..count).map(|number| (number % 251) as u8).collect()
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_ends() {
        let (mut a, mut b) = ends(1000);
        let sent = bytes(300_000);
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            a.write_all(&copy).await.unwrap();
            a.shutdown().await.unwrap();
            a
        });
        let mut received = Vec::new();
        b.read_to_end(&mut received).await.unwrap();
        assert!(received == sent);
        b.write_all(b"thanks").await.unwrap();
        b.shutdown().await.unwrap();
        let mut thanks = String::new();
        writing.await.unwrap().read_to_string(&mut thanks).await.unwrap();
        assert_eq!(thanks, "thanks");
    }

    /// What a says, as it is on the wire, with this done to it; what b makes of it.
    async fn meddled(meddle: impl FnOnce(&mut Vec<u8>)) -> io::Result<usize> {
        let ((left, mut at_a), (mut at_b, right), (a, b)) = (duplex(1000), duplex(1000), keys());
        let (mut a, mut b) = (Encrypted::new(left, a), Encrypted::new(right, b));
        a.write_all(b"pay ten").await?;
        a.flush().await?;
        let mut said = vec![0; 2 + 7 + TAG_BYTES];
        at_a.read_exact(&mut said).await?;
        meddle(&mut said);
        at_b.write_all(&said).await?;
        drop(at_b);
        b.read_to_end(&mut Vec::new()).await
    }

    #[tokio::test]
    async fn what_was_altered_cut_off_or_said_twice_is_refused() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        assert_eq!(meddled(|said| said[5] ^= 1).await.unwrap_err().kind(), InvalidData, "altered");
        assert_eq!(meddled(|_| ()).await.unwrap_err().kind(), UnexpectedEof, "no end was said");
        assert_eq!(meddled(|said| said.truncate(9)).await.unwrap_err().kind(), UnexpectedEof, "cut off");
        let twice = meddled(|said| said.extend(said.clone())).await;
        assert_eq!(twice.unwrap_err().kind(), InvalidData, "said twice");
        let short = meddled(|said| *said = vec![0, 3, 1, 2, 3]).await;
        assert_eq!(short.unwrap_err().kind(), InvalidData, "too short for a tag");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_pieces_make_the_same_stream(
            pieces in proptest::collection::vec(0usize..70_000, 1..6),
            reads in proptest::collection::vec(1usize..70_000, 1..6),
            buffer in 1usize..200_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                let (mut a, mut b) = ends(buffer);
                let sent = bytes(pieces.iter().sum::<usize>() as u32);
                let copy = sent.clone();
                let writing = tokio::spawn(async move {
                    let mut rest = &copy[..];
                    for piece in pieces {
                        let (now, later) = rest.split_at(piece);
                        a.write_all(now).await.unwrap();
                        rest = later;
                    }
                    a.shutdown().await.unwrap();
                    a
                });
                let mut received: Vec<u8> = Vec::new();
                for length in reads.iter().cycle() {
                    let mut part = vec![0; *length];
                    let count = b.read(&mut part).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    received.extend(&part[..count]);
                }
                assert!(received == sent);
                drop(writing.await.unwrap());
            });
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_are_taken_for_the_peers(
            noise in proptest::collection::vec(any::<u8>(), 1..600)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                let ((mut wire, right), (_, keys)) = (duplex(1000), keys());
                wire.write_all(&noise).await.unwrap();
                drop(wire);
                let read = Encrypted::new(right, keys).read_to_end(&mut Vec::new()).await;
                assert!(read.is_err());
            });
        }
    }
}
