//! What waits to be sent on one connection, and the order to end it.
//!
//! Nobody who posts ever waits: a mailbox that is full tells, and its connection is ended.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rendezvous::message::Reply;
use crate::rendezvous::server::end::ConnectionEnd;
use crate::rendezvous::server::quota::QuotaHold;
use crate::sync;

/// Replies that may wait for a peer that does not read.
const ROOM: usize = 32;

/// A reply that is to be sent.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) due: Instant,
    pub(super) reply: Reply,
    /// Held for it while it waits.
    pub(super) hold: Option<QuotaHold>,
}

/// There is no room for another letter.
#[derive(Debug)]
pub(super) struct MailboxFull;

/// The mailbox of one connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    content: Mutex<Content>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Content {
    letters: VecDeque<Letter>,
    end: Option<ConnectionEnd>,
}

impl Mailbox {
    /// Puts a letter in.
    pub(super) fn post(&self, letter: Letter) -> Result<(), MailboxFull> {
        let mut content = self.lock();
        if content.letters.len() >= ROOM {
            return Err(MailboxFull);
        }
        content.letters.push_back(letter);
        drop(content);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Orders the connection to end. The first order counts, and what waits is dropped.
    pub(super) fn end(&self, why: ConnectionEnd) {
        let mut content = self.lock();
        content.end.get_or_insert(why);
        content.letters = VecDeque::new();
        drop(content);
        self.changed.notify_waiters();
    }

    /// The next letter. Cancel-safe.
    pub(super) async fn next(&self) -> Letter {
        self.wait_for(|content| content.letters.pop_front()).await
    }

    /// The order to end. Cancel-safe.
    pub(super) async fn ended(&self) -> ConnectionEnd {
        self.wait_for(|content| content.end).await
    }

    async fn wait_for<T>(&self, mut take: impl FnMut(&mut Content) -> Option<T>) -> T {
        loop {
            // Hears of every change after this line, polled or not.
            let changed = self.changed.notified();
            let taken = take(&mut self.lock());
            match taken {
                Some(taken) => return taken,
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        sync::lock(&self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(round: u32) -> Letter {
        Letter { due: Instant::now(), reply: Reply::Go { round }, hold: None }
    }

    #[tokio::test]
    async fn letters_come_in_order_and_the_end_comes_whoever_waits_for_what() {
        let mailbox = Mailbox::default();
        mailbox.post(letter(1)).unwrap();
        mailbox.post(letter(2)).unwrap();
        assert_eq!(mailbox.next().await.reply, Reply::Go { round: 1 });
        assert_eq!(mailbox.next().await.reply, Reply::Go { round: 2 });
        let (ended, posted) = tokio::join!(mailbox.ended(), async { mailbox.end(ConnectionEnd::Evicted) });
        assert_eq!((ended, posted), (ConnectionEnd::Evicted, ()));
        mailbox.end(ConnectionEnd::Unread);
        assert_eq!(mailbox.ended().await, ConnectionEnd::Evicted, "the first order counts");
    }

    #[test]
    fn a_full_mailbox_takes_no_more() {
        let mailbox = Mailbox::default();
        for round in 0..ROOM {
            mailbox.post(letter(round as u32)).unwrap();
        }
        assert!(mailbox.post(letter(0)).is_err());
    }
}
