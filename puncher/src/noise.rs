//! Encryption of a stream that was won (feature `noise`): `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`.
//!
//! Both sides make a key for this stream only, so what was said stays secret if the shared secret gets out later; that secret
//! and the meeting's name go into it, so nobody between the peers can take part. Role a begins.
//!
//! On the stream each message of the protocol follows its length, two bytes, big-endian. An empty message is the end: a stream
//! that ends without one was cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use snow::{Builder, TransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::meeting::{Meeting, Role};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// What the protocol adds to a message.
const TAG_BYTES: usize = 16;

/// Plain bytes in one message: a length of two bytes would allow four times as many.
const CHUNK: usize = 16 * 1024;

/// A stream whose contents nobody else can read or alter.
#[derive(Debug)]
pub struct Encrypted<S> {
    stream: S,
    transport: TransportState,
    /// What has come and is not yet a whole message.
    incoming: Vec<u8>,
    /// What was decrypted, and how much of it has been read.
    plain: Vec<u8>,
    taken: usize,
    has_ended: bool,
    /// What was encrypted, and how much of it has left.
    outgoing: Vec<u8>,
    sent: usize,
    said_end: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Encrypted<S> {
    /// Agrees upon a key with the peer of this meeting; takes a trip there and back.
    ///
    /// # Errors
    /// When the stream breaks, or the other end does not hold the meeting's secret.
    pub async fn new(mut stream: S, meeting: &Meeting) -> io::Result<Self> {
        let shared = meeting.secret.mac("puncher 1 noise", &[meeting.name.as_bytes()]);
        let builder = Builder::new(PATTERN.parse().map_err(refused)?);
        let builder = builder.psk(0, &shared).and_then(|b| b.prologue(b"puncher 1")).map_err(refused)?;
        let (mut message, mut none) = ([0; 128], [0; 128]);
        let handshake = match meeting.role {
            Role::A => {
                let mut handshake = builder.build_initiator().map_err(refused)?;
                let length = handshake.write_message(&[], &mut message).map_err(refused)?;
                send(&mut stream, &message[..length]).await?;
                handshake.read_message(&receive(&mut stream).await?, &mut none).map_err(refused)?;
                handshake
            }
            Role::B => {
                let mut handshake = builder.build_responder().map_err(refused)?;
                handshake.read_message(&receive(&mut stream).await?, &mut none).map_err(refused)?;
                let length = handshake.write_message(&[], &mut message).map_err(refused)?;
                send(&mut stream, &message[..length]).await?;
                handshake
            }
        };
        Ok(Self {
            stream,
            transport: handshake.into_transport_mode().map_err(refused)?,
            incoming: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            has_ended: false,
            outgoing: Vec::new(),
            sent: 0,
            said_end: false,
        })
    }

    /// Takes a whole message from what has come.
    fn decrypt(&mut self) -> io::Result<bool> {
        let Some((head, rest)) = self.incoming.split_first_chunk::<2>() else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes(*head));
        let Some(message) = rest.get(..length) else { return Ok(false) };
        self.plain.resize(length.saturating_sub(TAG_BYTES), 0);
        self.taken = 0;
        let plain = self.transport.read_message(message, &mut self.plain).map_err(refused)?;
        self.plain.truncate(plain);
        self.has_ended = plain == 0;
        self.incoming.drain(..2 + length);
        Ok(true)
    }

    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        let mut message = vec![0; plain.len() + TAG_BYTES];
        let length = self.transport.write_message(plain, &mut message).map_err(refused)?;
        let head = u16::try_from(length).map_err(io::Error::other)?;
        self.outgoing.extend(head.to_be_bytes());
        self.outgoing.extend(&message[..length]);
        Ok(())
    }

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
}

fn refused(error: snow::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let head = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&head.to_be_bytes()).await?;
    stream.write_all(message).await
}

/// A message of the handshake; longer ones than it has are refused unread.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > 128 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.taken < self.plain.len() {
                let count = into.remaining().min(self.plain.len() - self.taken);
                into.put_slice(&self.plain[self.taken..self.taken + count]);
                self.taken += count;
                return Poll::Ready(Ok(()));
            }
            if self.has_ended {
                return Poll::Ready(Ok(()));
            }
            if self.decrypt()? {
                continue;
            }
            let mut bytes = [0; CHUNK];
            let mut room = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
            if room.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.incoming.extend(room.filled());
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
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::secret::Secret;

    fn meeting(role: Role, byte: u8) -> Meeting {
        Meeting { name: "m".into(), role, secret: Secret::new([byte; 32]) }
    }

    async fn pair(
        between: (DuplexStream, DuplexStream),
    ) -> (Encrypted<DuplexStream>, Encrypted<DuplexStream>) {
        let (a, b) = (meeting(Role::A, 1), meeting(Role::B, 1));
        let both = tokio::join!(Encrypted::new(between.0, &a), Encrypted::new(between.1, &b));
        (both.0.unwrap(), both.1.unwrap())
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_ends() {
        let (mut a, mut b) = pair(duplex(1000)).await;
        let sent: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
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

    #[tokio::test]
    async fn another_secret_is_refused() {
        let (left, right) = duplex(1000);
        let (a, b) = (meeting(Role::A, 1), meeting(Role::B, 2));
        let refused = tokio::spawn(async move { Encrypted::new(right, &b).await.map(|_| ()) });
        let _ = tokio::time::timeout(std::time::Duration::from_secs(9), Encrypted::new(left, &a)).await;
        assert_eq!(refused.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Two encrypted ends with somebody between them, who does this to what a says.
    async fn meddled(meddle: impl FnOnce(&mut Vec<u8>)) -> io::Result<usize> {
        let ((left, mut at_a), (mut at_b, right)) = (duplex(1000), duplex(1000));
        let handshake = tokio::spawn(pair((left, right)));
        for (from, to, length) in [(true, false, 50), (false, true, 50)] {
            let mut message = vec![0; length];
            let (from, to) = match (from, to) {
                (true, _) => (&mut at_a, &mut at_b),
                _ => (&mut at_b, &mut at_a),
            };
            from.read_exact(&mut message).await?;
            to.write_all(&message).await?;
        }
        let (mut a, mut b) = handshake.await.map_err(io::Error::other)?;
        a.write_all(b"pay ten").await?;
        a.flush().await?;
        let mut said = vec![0; 2 + 7 + TAG_BYTES];
        at_a.read_exact(&mut said).await?;
        meddle(&mut said);
        at_b.write_all(&said).await?;
        drop(at_b);
        let mut heard = Vec::new();
        b.read_to_end(&mut heard).await
    }

    #[tokio::test]
    async fn what_was_altered_or_cut_off_is_refused() {
        assert_eq!(meddled(|said| said[5] ^= 1).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            meddled(|_| ()).await.unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof,
            "no end was said"
        );
        assert_eq!(meddled(|said| said.truncate(9)).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
