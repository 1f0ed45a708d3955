//! Whether a peer takes what it is sent: the kernel's send queue is asked, since a write ends when the kernel has the bytes.
//!
//! Everything written has to be acknowledged within a limit. A peer that does not read advertises no window, and the
//! bytes stay in the queue of this host.

use std::time::Duration;

use tokio::time::Instant;

/// What has been written and not been acknowledged yet: pure.
#[derive(Debug)]
pub(super) struct Unread {
    limit: Duration,
    written: u64,
    /// This many bytes have to be acknowledged by then.
    owed: Option<(u64, Instant)>,
}

/// The peer does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLate;

impl Unread {
    /// Nothing is written; what will be has to be acknowledged within this time.
    pub(super) fn within(limit: Duration) -> Self {
        Self { limit, written: 0, owed: None }
    }

    /// This many bytes were given to the kernel.
    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.written += bytes as u64;
        self.owed.get_or_insert((self.written, now + self.limit));
    }

    /// When to ask the kernel.
    pub(super) fn due(&self) -> Option<Instant> {
        self.owed.map(|(_, due)| due)
    }

    /// This many bytes of all that was written are still in the kernel's queue.
    ///
    /// # Errors
    /// When some have been there for too long.
    pub(super) fn check(&mut self, queued: u64, now: Instant) -> Result<(), TooLate> {
        let Some((owed, due)) = self.owed else { return Ok(()) };
        let acknowledged = self.written.saturating_sub(queued);
        if acknowledged >= owed {
            self.owed = (queued > 0).then_some((self.written, now + self.limit));
        } else if now >= due {
            return Err(TooLate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn each_byte_has_the_limit_and_not_the_conversation() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut unread = Unread::within(LIMIT);
        assert_eq!(unread.due(), None);
        unread.wrote(100, at(0));
        unread.wrote(100, at(4));
        assert_eq!(unread.due(), Some(at(5)));
        assert_eq!(unread.check(100, at(5)), Ok(()), "the first hundred were acknowledged");
        assert_eq!(unread.due(), Some(at(10)));
        assert_eq!(unread.check(0, at(10)), Ok(()));
        assert_eq!(unread.due(), None);
    }

    #[test]
    fn a_peer_that_acknowledges_a_little_now_and_then_is_too_late_all_the_same() {
        let start = Instant::now();
        let mut unread = Unread::within(LIMIT);
        unread.wrote(1000, start);
        assert_eq!(unread.check(900, start + Duration::from_secs(3)), Ok(()));
        assert_eq!(unread.check(1, start + LIMIT), Err(TooLate));
    }

    #[tokio::test]
    async fn the_kernel_tells_what_a_peer_has_not_read() {
        use crate::platform::{Host, System as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let writer = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let _reader = listener.accept().unwrap();
        assert_eq!(Host::unacknowledged(&writer), 0);
        writer.writable().await.unwrap();
        while writer.try_write(&[0; 4096]).is_ok() {}
        assert!(Host::unacknowledged(&writer) > 0);
    }
}
