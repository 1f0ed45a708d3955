//! Every reader of puncher that bytes from the network or from another person come to.

use std::pin::Pin;
use std::task::{Context, Poll};

use puncher::internals::lonely_agreement;
use puncher::internals::{Reply, Request, frame, take_frame};
use puncher::{OwnTicket, Role, SealedTicket, Secret};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A target's name and its body.
pub type Body = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Body; 3] = [("rendezvous", rendezvous), ("handshake", handshake), ("ticket", ticket)];

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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for role in [Role::A, Role::B] {
        let agreement = lonely_agreement(role);
        let result = runtime.block_on(agreement.perform(&mut Stranger(data), 1, || ()));
        assert!(result.is_err(), "a stranger was taken for the peer");
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
