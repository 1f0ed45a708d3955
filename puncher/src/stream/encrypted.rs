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
const OUTGOING: usize = 8 * (HEAD_BYTES + CHUNK + TAG_BYTES);

/// Messages under one key, then the next is made of it (Noise, section 11.3). Of full length they are 4 GiB; what AES-GCM can
/// protect under one key is far more (NIST SP 800-38D, appendix B).
const KEY_MESSAGES: u64 = if cfg!(test) { 3 } else { 1 << 17 };

/// Room for the longest messages that may come, several of them for one system call.
const INCOMING: usize = 4 * (HEAD_BYTES + 65_535);

#[derive(Debug)]
pub(crate) struct Encrypted<S> {
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
        // The cipher decrypts in place: without room for the tag as well it makes a copy of its own.
        let plain = if fits(length, into) {
            let room = length.min(into.remaining());
            let plain = self.receive.read_message(message, into.initialize_unfilled_to(room));
            let plain = plain.map_err(refused)?;
            into.advance(plain);
            plain
        } else {
            self.plain.resize(length, 0);
            self.taken = 0;
            let plain = self.receive.read_message(message, &mut self.plain);
            // Nothing of a message that was refused may ever be read.
            self.plain.truncate(*plain.as_ref().unwrap_or(&0));
            plain.map_err(refused)?
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
        // The beginning of one message at most. All the room behind it is for one system call.
        if self.first > 0 {
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

/// Whether what this message says can be decrypted straight to the reader.
fn fits(length: usize, into: &ReadBuf<'_>) -> bool {
    length.saturating_sub(TAG_BYTES) <= into.remaining()
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
            let has_read = into.filled().len() > before;
            if self.has_ended || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match self.whole() {
                Some(length) if !has_read => {
                    self.decrypt(length, into)?;
                    continue;
                }
                // What has been read already is not lost to an error in what follows: the next read meets it again.
                Some(length) if fits(length, into) && self.decrypt(length, into).is_ok() => continue,
                _ if has_read => return Poll::Ready(Ok(())),
                _ => (),
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
mod tests;
