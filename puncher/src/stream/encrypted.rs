//! Messages of the protocol over any stream.
//!
//! On the wire each message follows its length, two bytes, big-endian. An empty message is the end: a stream that ends without
//! one was cut off, and reading it fails.
//!
//! What was written is encrypted at once and waits in one buffer until the stream below takes it. Reading helps it on its way,
//! too: a program that writes a question and then reads the answer need not flush.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::StreamKeys;
use super::drain_wakers::{DrainWakers, Interest};
use crate::session::TAG_BYTES;

/// Bytes before each message: its length.
const HEAD_BYTES: usize = 2;

/// Plain bytes in one message that is sent; Noise allows 65,519. Longer ones leave the processor's nearest cache.
const CHUNK: usize = 32 * 1024;

/// What is encrypted before the stream below is asked to take it: some messages in one system call, so that the kernel cuts
/// packets of full size.
const OUTGOING: usize = 4 * (HEAD_BYTES + CHUNK + TAG_BYTES);

/// Messages under one key, then the next is made of it (Noise, section 11.3). Of full length they are 4 GiB; what AES-GCM can
/// protect under one key is far more (NIST SP 800-38D, appendix B).
const KEY_MESSAGES: u64 = if cfg!(test) { 3 } else { 1 << 17 };

/// Room for the longest message that may come, and the beginning of the next.
const INCOMING: usize = 2 * (HEAD_BYTES + 65_535);

#[derive(Debug)]
pub(super) struct Encrypted<S> {
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
    /// What was encrypted: the part between `sent` and `filled` has not left yet.
    outgoing: Box<[u8]>,
    sent: usize,
    filled: usize,
    said_end: bool,
    /// Who wants to know when more of it can leave.
    wakers: Arc<DrainWakers>,
}

impl<S> Encrypted<S> {
    pub(super) fn new(stream: S, keys: StreamKeys) -> Self {
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
            outgoing: vec![0; OUTGOING].into_boxed_slice(),
            sent: 0,
            filled: 0,
            said_end: false,
            wakers: Arc::default(),
        }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The length of the next message, if all of it has come.
    fn whole(&self) -> Option<usize> {
        let (head, rest) = self.incoming[self.first..self.end].split_first_chunk::<HEAD_BYTES>()?;
        let length = usize::from(u16::from_be_bytes(*head));
        (rest.len() >= length).then_some(length)
    }

    /// Decrypts the next message, which has come wholly; straight to the reader where it has room.
    fn decrypt(&mut self, length: usize, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let message = &self.incoming[self.first + HEAD_BYTES..self.first + HEAD_BYTES + length];
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
        if self.receive.receiving_nonce().is_multiple_of(KEY_MESSAGES) {
            self.receive.rekey_incoming();
        }
        self.has_ended = plain == 0;
        self.first += HEAD_BYTES + length;
        if self.first == self.end {
            (self.first, self.end) = (0, 0);
        }
        Ok(())
    }

    /// Encrypts as much as there is room for; how much that was.
    fn encrypt(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        for part in plain.chunks(CHUNK) {
            if self.outgoing.len() - self.filled < HEAD_BYTES + part.len() + TAG_BYTES {
                break;
            }
            self.encrypt_message(part)?;
            done += part.len();
        }
        Ok(done)
    }

    /// Encrypts one message, for which there is room.
    fn encrypt_message(&mut self, plain: &[u8]) -> io::Result<()> {
        let (head, room) = self.outgoing[self.filled..].split_at_mut(HEAD_BYTES);
        let length = self.send.write_message(plain, room).map_err(refused)?;
        if self.send.sending_nonce().is_multiple_of(KEY_MESSAGES) {
            self.send.rekey_outgoing();
        }
        head.copy_from_slice(&u16::try_from(length).map_err(io::Error::other)?.to_be_bytes());
        self.filled += HEAD_BYTES + length;
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Encrypted<S> {
    /// Sends all that was encrypted. Whoever had to wait for that is woken when more can leave, the reader and the writer alike:
    /// the stream below remembers only one of them.
    fn poll_drain(&mut self, context: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        if self.sent == self.filled {
            return Poll::Ready(Ok(()));
        }
        self.wakers.register(interest, context.waker());
        let both = Waker::from(Arc::clone(&self.wakers));
        let mut context = Context::from_waker(&both);
        while self.sent < self.filled {
            let left = &self.outgoing[self.sent..self.filled];
            let count = ready!(Pin::new(&mut self.stream).poll_write(&mut context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        (self.sent, self.filled) = (0, 0);
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
            // The peer may be waiting for what was written. An error in sending it is the writer's to hear.
            let _ = self.poll_drain(context, Interest::Reader);
            ready!(self.poll_fill(context))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context, Interest::Writer))?;
        let mut count = 0;
        for part in parts {
            let done = self.encrypt(part)?;
            count += done;
            if done < part.len() {
                break;
            }
        }
        // What does not leave now leaves with the next write, flush or read.
        if let Poll::Ready(done) = self.poll_drain(context, Interest::Writer) {
            done?;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context, Interest::Writer))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context, Interest::Writer))?;
        if !self.said_end {
            self.encrypt_message(&[])?;
            self.said_end = true;
        }
        ready!(self.poll_drain(context, Interest::Writer))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::config::Protection;
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

    /// b answers what it has heard all of; nobody flushes.
    async fn answer(mut b: Encrypted<DuplexStream>, length: usize) -> Encrypted<DuplexStream> {
        let mut heard = vec![0; length];
        b.read_exact(&mut heard).await.unwrap();
        b.write_all(&heard[..10]).await.unwrap();
        b
    }

    #[tokio::test]
    async fn who_reads_the_answer_need_not_flush_the_question() {
        let (mut a, b) = ends(1000);
        let question = bytes(4 * CHUNK as u32);
        let answering = tokio::spawn(answer(b, question.len()));
        a.write_all(&question).await.unwrap();
        assert!(a.sent < a.filled, "the last part waits here");
        let mut heard = [0; 10];
        a.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, question[..10]);
        drop(answering.await.unwrap());
    }

    /// The reader's task waits all the while, and is what the stream below would wake if it remembered the last waker only.
    #[tokio::test]
    async fn a_reader_that_waits_or_gives_up_never_leaves_the_writer_asleep() {
        for gives_up in [false, true] {
            let (a, b) = ends(1000);
            let (mut from_b, mut to_b) = tokio::io::split(a);
            let question = bytes(3 * OUTGOING as u32);
            let answering = answer(b, question.len());
            let writing = async { to_b.write_all(&question).await.unwrap() };
            let reading = async {
                let mut heard = [0; 10];
                let read = from_b.read_exact(&mut heard);
                if gives_up {
                    tokio::pin!(read);
                    // Once, after the writer has filled all there is.
                    tokio::task::yield_now().await;
                    assert!(polled_once(read.as_mut()).await.is_pending());
                    None
                } else {
                    read.await.unwrap();
                    Some(heard)
                }
            };
            let (_, heard, mut b) = tokio::join!(writing, reading, tokio::spawn(answering));
            assert!(heard.is_none_or(|heard| heard == question[..10]));
            b.as_mut().unwrap().flush().await.unwrap();
        }
    }

    /// Polls once.
    async fn polled_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
    }

    #[tokio::test]
    async fn parts_are_written_together() {
        let (mut a, mut b) = ends(1 << 20);
        let parts = [bytes(10), bytes(OUTGOING as u32), bytes(1)];
        let slices = parts.each_ref().map(|part| IoSlice::new(part));
        let count = a.write_vectored(&slices).await.unwrap();
        assert!(count > 10 && count < parts.concat().len(), "{count}: as much as there is room for");
        let mut heard = vec![0; count];
        b.read_exact(&mut heard).await.unwrap();
        assert!(heard == parts.concat()[..count]);
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
