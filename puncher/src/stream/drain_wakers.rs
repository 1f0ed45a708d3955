//! Wakes whoever waits until more can be sent: a stream below remembers one waker for writing, and both the reader and the
//! writer of a stream above may have to send what was encrypted.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use crate::sync::lock;

/// Who wants to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    Reader,
    Writer,
}

/// Stands for both at the stream below.
#[derive(Debug, Default)]
pub(super) struct DrainWakers {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl DrainWakers {
    /// Wakes this task, too, when more can be sent.
    pub(super) fn register(&self, interest: Interest, waker: &Waker) {
        let mut place = lock(match interest {
            Interest::Reader => &self.reader,
            Interest::Writer => &self.writer,
        });
        match &mut *place {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

impl Wake for DrainWakers {
    fn wake(self: Arc<Self>) {
        for place in [&self.reader, &self.writer] {
            let waiting = lock(place).take();
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}
