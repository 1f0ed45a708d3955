//! A packet socket in use: when each frame entered, and how many found no room.

use std::io;

use crate::kernel::clock::{self, Clocks};
use crate::kernel::packet_socket::{PacketSocket, Received};
use crate::model::evidence::Nanos;

/// Whether a socket may have more after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    Perhaps,
}

/// Frames read at most where all that waits is wanted; a flood must not keep the thread forever.
pub(super) const FLOOD: usize = 100_000;

/// A socket, and when it was last seen without a frame waiting.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: PacketSocket,
    emptied: Nanos,
    drops: u64,
}

impl Port {
    pub(super) fn new(socket: PacketSocket) -> Self {
        Self { socket, emptied: clock::monotonic(), drops: 0 }
    }

    /// The next frame and when it entered; `None` when none waits.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        clocks: Clocks,
    ) -> io::Result<Option<(Nanos, Received)>> {
        let received = self.socket.receive(buffer)?;
        let now = clock::monotonic();
        if received.is_none() {
            self.emptied = now;
        }
        Ok(received.map(|received| (self.entered(&received, clocks, now), received)))
    }

    /// When a frame that was read `now` entered: by the kernel's stamp where that is plausible, else now. It came
    /// after the socket was last empty, but for the moment between being stamped and being queued.
    fn entered(&self, received: &Received, clocks: Clocks, now: Nanos) -> Nanos {
        const FROM_STAMP_TO_SOCKET: Nanos = 10_000_000;
        let earliest = self.emptied.saturating_sub(FROM_STAMP_TO_SOCKET);
        let stamped = received.stamp.and_then(|stamp| clocks.to_monotonic(stamp, earliest));
        stamped.filter(|stamp| (earliest..=now).contains(stamp)).unwrap_or(now)
    }

    /// How many frames have found no room since the socket was opened.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn drops(&mut self) -> io::Result<u64> {
        self.drops += u64::from(self.socket.take_drops()?);
        Ok(self.drops)
    }
}
