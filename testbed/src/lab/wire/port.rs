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

/// How long before a frame is queued to a socket it may have been stamped.
const FROM_STAMP_TO_SOCKET: Nanos = 10_000_000;

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
        Ok(received.map(|received| (entered(received.stamp, self.emptied, clocks, now), received)))
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

/// When a frame that was read `now` entered: by the kernel's stamp where that is plausible, else now. It came after the socket was last
/// empty, but for the moment between being stamped and being queued.
fn entered(stamp: Option<Nanos>, emptied: Nanos, clocks: Clocks, now: Nanos) -> Nanos {
    let earliest = emptied.saturating_sub(FROM_STAMP_TO_SOCKET);
    let stamped = stamp.and_then(|stamp| clocks.to_monotonic(stamp, earliest));
    stamped.filter(|stamp| (earliest..=now).contains(stamp)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    /// By how much CLOCK_REALTIME is ahead.
    const AHEAD: Nanos = 1_000_000 * MS;

    /// When a frame entered with this stamp: the socket was last empty at 100 ms, and the frame is read at 150 ms.
    fn read_at_150(stamp: Nanos, clocks: Clocks) -> Nanos {
        entered(Some(stamp), 100 * MS, clocks, 150 * MS)
    }

    #[test]
    fn a_frame_entered_when_it_was_stamped_if_it_can_have_been_in_the_socket_since() {
        let clocks = Clocks::at(0, AHEAD);
        assert_eq!(read_at_150(AHEAD + 120 * MS, clocks), 120 * MS);
        let queued_later = 100 * MS - FROM_STAMP_TO_SOCKET;
        assert_eq!(read_at_150(AHEAD + queued_later, clocks), queued_later);
        assert_eq!(read_at_150(AHEAD + queued_later - 1, clocks), 150 * MS, "it would have been read before");
        assert_eq!(read_at_150(AHEAD + 151 * MS, clocks), 150 * MS, "not yet");
        assert_eq!(entered(None, 100 * MS, clocks, 150 * MS), 150 * MS, "not stamped");
    }

    #[test]
    fn no_stamp_of_before_the_realtime_clock_was_set_is_believed() {
        let set = |by: i64| Clocks::at(0, AHEAD).and_later(140 * MS, AHEAD.saturating_add_signed(by));
        // Stamped at 120 ms by the clock of before, which looks like 110 ms by that of after.
        assert_eq!(read_at_150(AHEAD + 120 * MS, set(10_000_000)), 150 * MS);
        assert_eq!(read_at_150(AHEAD + 120 * MS, set(-10_000_000)), 150 * MS);
        assert_eq!(read_at_150(AHEAD + 120 * MS, set(0)), 120 * MS, "it was not set");
        // Of a socket that has been empty since, all stamps are of the new clock.
        let stamp = AHEAD + 10 * MS + 160 * MS;
        assert_eq!(entered(Some(stamp), 155 * MS, set(10_000_000), 170 * MS), 160 * MS);
    }
}
