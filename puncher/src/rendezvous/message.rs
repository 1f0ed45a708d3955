//! What peers and rendezvous server say to each other: frames of JSON, each preceded by its length.
//!
//! A frame is a 16-bit big-endian length and this many bytes of one JSON object, at most [`MAX_FRAME`]. Reading is
//! cancel-safe: a half frame stays in the reader until the rest comes.

use std::io;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::classify::Answer;
use crate::meeting::Role;
use crate::rendezvous::proof::{Digest, TokenProof};
use crate::sealed::Sealed;
use crate::text::printable;

/// Longest frame in bytes, without its length: enough for any message here, too little to hoard memory with.
pub(crate) const MAX_FRAME: usize = 4096;

/// The version of this language.
pub const VERSION: u32 = 1;

/// From a peer to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// Asks for nothing. The first frame on each connection: the server knows of it even if the acknowledgement of its
    /// SYN-ACK was lost, and need not wait a second for the next.
    Hello,
    /// Take one side of a meeting.
    Join {
        /// The version the peer speaks.
        version: u32,
        /// The meeting's label, see [`crate::meeting::Meeting::label`].
        meeting: String,
        /// The side to take.
        role: Role,
        /// Who has the key to it may take the side over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock: Option<Digest>,
        /// The right to meet here, where the server asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenProof>,
    },
    /// Take the side over that was found taken. Until then what a peer says in a meeting goes to nobody.
    TakeOver {
        /// The key to the lock that was left there last.
        key: Digest,
        /// The lock for the next.
        lock: Digest,
    },
    /// Hand this to the other side, now or as soon as it comes.
    Relay {
        /// Sealed; the server cannot alter it unnoticed.
        body: Sealed,
    },
    /// This side is ready for the numbered round; when both are, the server says go.
    Ready {
        /// Counts from 1.
        round: u32,
    },
    /// Send SYNs to the endpoint this very connection comes from, out of ports and addresses it has not spoken to: what
    /// its NAT does with them is the answer. Never to any other endpoint.
    #[serde(rename = "knock")]
    UnsolicitedProbe {
        /// How long to wait for an answer, in milliseconds; the server bounds it.
        wait_ms: u32,
    },
}

/// From the server to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// The first frame on each connection.
    Welcome {
        /// The version the server speaks.
        version: u32,
        /// Where the connection comes from, as the server sees it.
        external: SocketAddrV4,
        /// All endpoints of the server.
        endpoints: Vec<SocketAddrV4>,
        /// The number to prove a token over, if the server asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        challenge: Option<Digest>,
    },
    /// Another connection has the side. Who has the key may take it over.
    Taken {
        /// How often that has happened: the number of the key.
        times: u32,
    },
    /// The other side's message.
    Relay {
        /// As the other side sealed it.
        body: Sealed,
    },
    /// Both are ready: start now. Sent later to the nearer peer, so that it arrives at both at once.
    Go {
        /// The round that starts.
        round: u32,
    },
    /// What became of the SYNs that were asked for.
    #[serde(rename = "knocked")]
    UnsolicitedAnswers {
        /// From the address this connection speaks to, out of another port.
        same_address: Answer,
        /// From another address.
        other_address: Answer,
    },
    /// The other side left.
    Gone,
    /// The server ends this connection.
    Error {
        /// Why, for a human.
        why: String,
    },
}

/// Reads frames; keeps what has come of an unfinished one.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// When the unfinished frame began.
    began: Option<Instant>,
    limit: Option<Duration>,
    read: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames from this stream.
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), began: None, limit: None, read: 0 }
    }

    /// A frame may take so long from its first byte to its last.
    #[must_use]
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Bytes that have come in all.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// The next message, or `None` at an orderly end between two frames. Cancel-safe.
    ///
    /// # Errors
    /// When the stream fails or ends within a frame, or a frame is too long or slow, empty, or no message.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = take_frame(&mut self.buffer)? {
                self.began = None;
                return Ok(Some(message));
            }
            if self.buffer.is_empty() {
                self.began = None;
            } else {
                self.began.get_or_insert_with(Instant::now);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let count = match (self.began, self.limit) {
                (Some(began), Some(limit)) => {
                    timeout_at(began + limit, read).await.map_err(|_| invalid("half a frame".into()))??
                }
                _ => read.await?,
            };
            self.read += count as u64;
            if count == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// Takes the first whole frame off the buffer.
///
/// # Errors
/// When what the buffer begins with can never become a message.
pub fn take_frame<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(length) = buffer.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes))) else {
        return Ok(None);
    };
    if length == 0 || length > MAX_FRAME {
        return Err(invalid(format!("a frame of {length} bytes, allowed are 1 to {MAX_FRAME}")));
    }
    let Some(body) = buffer.get(2..2 + length) else { return Ok(None) };
    let message = serde_json::from_slice(body).map_err(|error| invalid(format!("not a message: {error}")))?;
    buffer.drain(..2 + length);
    Ok(Some(message))
}

/// The bytes of one frame.
///
/// # Errors
/// When the message is longer than a frame may be.
pub fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message).map_err(|error| invalid(error.to_string()))?;
    if body.len() > MAX_FRAME {
        return Err(invalid(format!("a message of {} bytes, a frame holds {MAX_FRAME}", body.len())));
    }
    let length = u16::try_from(body.len()).expect("checked above");
    Ok([&length.to_be_bytes()[..], &body].concat())
}

/// Writes one frame.
///
/// # Errors
/// When the stream fails or the message is too long.
pub(crate) async fn write_frame<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    stream.write_all(&frame(message)?).await
}

fn invalid(why: String) -> io::Error {
    // What was read may be quoted in it.
    io::Error::new(io::ErrorKind::InvalidData, printable(&why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn go() -> Reply {
        Reply::Go { round: 3 }
    }

    #[test]
    fn frames_are_length_and_json() {
        let bytes = frame(&go()).unwrap();
        assert_eq!(&bytes[2..], br#"{"type":"go","round":3}"#);
        assert_eq!(usize::from(bytes[1]), bytes.len() - 2);
    }

    #[test]
    fn a_frame_may_come_in_any_pieces() {
        let bytes = [frame(&go()).unwrap(), frame(&Reply::Gone).unwrap()].concat();
        let mut buffer = Vec::new();
        let mut seen = Vec::new();
        for byte in bytes {
            buffer.push(byte);
            seen.extend(take_frame::<Reply>(&mut buffer).unwrap());
        }
        assert_eq!(seen, [go(), Reply::Gone]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_can_never_become_a_message_is_refused_early() {
        for start in [&[0, 0][..], &[0x10, 0x01], &[0xff, 0xff], b"\x00\x02{]"] {
            assert!(take_frame::<Reply>(&mut start.to_vec()).is_err(), "{start:?}");
        }
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_an_error_and_between_frames_is_not() {
        let bytes = frame(&go()).unwrap();
        let mut whole = FrameReader::new(&bytes[..]);
        assert_eq!(whole.next().await.unwrap(), Some(go()));
        assert_eq!(whole.next::<Reply>().await.unwrap(), None);
        let mut cut = FrameReader::new(&bytes[..5]);
        assert_eq!(cut.next::<Reply>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut buffer = bytes.clone();
            while let Ok(Some(_)) = take_frame::<Request>(&mut buffer) {}
            prop_assert!(buffer.len() <= bytes.len());
        }

        #[test]
        fn every_message_survives_its_frame(text in ".{0,200}", seal in "[0-9a-f]{64}", round: u32) {
            for request in [Request::Relay { body: Sealed { text, seal } }, Request::Ready { round }] {
                let mut buffer = frame(&request).unwrap();
                prop_assert_eq!(take_frame(&mut buffer).unwrap(), Some(request));
                prop_assert!(buffer.is_empty());
            }
        }
    }
}
