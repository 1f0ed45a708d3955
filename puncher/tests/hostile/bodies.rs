//! Every reader of puncher that bytes from the network or from another person come to.

use std::pin::Pin;
use std::task::{Context, Poll};

use puncher::internals::{Reply, Request, encrypted_ends, frame, hear_from_channel, most_dials, take_frame};
use puncher::internals::{lonely_agreement, lonely_agreement_in_band};
use puncher::{OwnTicket, Role, SealedTicket, Secret};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
use tokio::runtime::Runtime;

/// A target's name and its body.
pub type Body = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Body; 6] = [
    ("rendezvous", rendezvous),
    ("handshake", handshake),
    ("stream", stream),
    ("channel", channel),
    ("card", card),
    ("ticket", ticket),
];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Frames of the rendezvous protocol, from either side; what was understood must survive a second way through.
pub fn rendezvous(data: &[u8]) {
    let mut buffer = data.to_vec();
    while let Ok(Some(request)) = take_frame::<Request>(&mut buffer) {
        let again = frame(&request).expect("it came in a frame of this size");
        assert!(take_frame::<Request>(&mut again.clone()).is_ok_and(|r| r.is_some()));
    }
    let mut buffer = data.to_vec();
    while let Ok(Some(_)) = take_frame::<Reply>(&mut buffer) {}
}

/// A stranger at the other end of a stream: whatever it says, it is not the peer.
pub fn handshake(data: &[u8]) {
    let runtime = runtime();
    for role in [Role::A, Role::B] {
        for agreement in [lonely_agreement(role), lonely_agreement_in_band(role)] {
            let result = runtime.block_on(agreement.perform(&mut Stranger(data), 1, || ()));
            assert!(result.is_err(), "a stranger was taken for the peer");
        }
    }
}

/// What is sent before somebody on the way alters it: a short message, one longer than a record, and another short one.
const SENT: [usize; 3] = [10, 40_000, 1];

/// Somebody between the peers alters an encrypted stream, as three bytes each say. What is read is what was sent, up to an error.
pub fn stream(data: &[u8]) {
    let sent: Vec<u8> = (0..SENT.iter().sum()).map(|number: usize| number as u8).collect();
    runtime().block_on(async {
        let ((left, mut wire), (mut altered, right)) = (duplex(1 << 16), duplex(1 << 17));
        let (mut a, mut b) = encrypted_ends(left, right);
        let mut rest = &sent[..];
        for length in SENT {
            let (now, later) = rest.split_at(length);
            a.write_all(now).await.expect("there is room");
            rest = later;
        }
        a.shutdown().await.expect("there is room");
        drop(a);
        let mut bytes = Vec::new();
        wire.read_to_end(&mut bytes).await.expect("it was written");
        let whole = bytes.clone();
        data.chunks_exact(3).take(64).for_each(|how| alter(&mut bytes, [how[0], how[1], how[2]]));
        altered.write_all(&bytes).await.expect("there is room");
        drop(altered);
        let mut heard = Vec::new();
        let ended = b.read_to_end(&mut heard).await;
        assert!(sent.starts_with(&heard), "bytes were read that nobody sent");
        // What comes after the end that was said is nobody's.
        assert_eq!(
            ended.is_ok(),
            bytes.starts_with(&whole),
            "an altered stream ended well, or a whole one did not"
        );
    });
}

/// Does one thing to the bytes somewhere: to their first hundred, to the last ones, or anywhere.
fn alter(bytes: &mut Vec<u8>, [what, place, with]: [u8; 3]) {
    let place = usize::from(place);
    let at = match what % 3 {
        0 => place,
        1 => bytes.len().saturating_sub(place + 1),
        _ => place * 160,
    };
    let at = at.min(bytes.len().saturating_sub(1));
    let end = (at + usize::from(with)).min(bytes.len());
    match what / 3 % 4 {
        0 if at < bytes.len() => bytes[at] ^= with,
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        _ => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

/// What an application's channel brings, a message a line.
pub fn channel(data: &[u8]) {
    let messages: Vec<_> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for role in [Role::A, Role::B] {
        let count = messages.len();
        let heard = runtime().block_on(hear_from_channel(role, messages.clone()));
        // Role a is told itself when both are ready.
        assert!(heard <= count, "{heard} of {count} messages");
    }
}

/// What a peer with the secret says of itself. No method asks for more than it has, and the few that redial or listen.
pub fn card(data: &[u8]) {
    if let Some(most) = most_dials(data) {
        assert!(most <= 1280 + 64, "{most} SYNs at a time");
    }
}

/// A ticket that another person sent.
pub fn ticket(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(own) = text.parse::<OwnTicket>() {
        assert!(own.to_text().parse::<OwnTicket>().is_ok(), "an own ticket changed on paper");
    }
    if let Ok(ticket) = text.parse::<SealedTicket>() {
        assert!(ticket.open(&Secret::new([7; 32])).is_err(), "a ticket was opened that nobody sealed");
        assert_eq!(
            ticket.to_string().parse::<SealedTicket>().ok(),
            Some(ticket),
            "a ticket changed on paper"
        );
    }
}

/// Says what it was given, then ends; swallows what it is told.
struct Stranger<'a>(&'a [u8]);

impl AsyncRead for Stranger<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (now, later) = self.0.split_at(self.0.len().min(into.remaining()));
        into.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stranger<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, said: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(said.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
