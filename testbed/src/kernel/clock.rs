//! The clock of the evidence: CLOCK_MONOTONIC, and how the kernel's packet timestamps map to it.
//!
//! The kernel stamps received frames with CLOCK_REALTIME, which anybody may set; CLOCK_MONOTONIC never steps.

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use crate::model::evidence::Nanos;

/// Nanoseconds of CLOCK_MONOTONIC, now.
#[must_use]
pub fn monotonic() -> Nanos {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Nanos {
    let now = clock_gettime(clock).expect("CLOCK_MONOTONIC and CLOCK_REALTIME exist on every Linux");
    u64::try_from(now.num_nanoseconds()).unwrap_or(0)
}

/// By how much two readings of both clocks may differ although CLOCK_REALTIME was not set: both are slewed together
/// (`timekeeping_adjust` of kernel/time/timekeeping.c), and each pair is off by a microsecond.
const READ_APART: u128 = 20_000;

/// Both clocks as a thread reads them again and again, so that it sees that CLOCK_REALTIME was set.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pair: ClockPair,
    /// When it was seen that CLOCK_REALTIME had been set.
    set: Option<Nanos>,
}

impl Clocks {
    /// Reads both for the first time.
    #[must_use]
    pub fn read() -> Self {
        Self { pair: ClockPair::read(), set: None }
    }

    /// Reads both again.
    pub fn read_again(&mut self) {
        *self = self.followed_by(ClockPair::read());
    }

    fn followed_by(self, pair: ClockPair) -> Self {
        let was_set = self.pair.offset().abs_diff(pair.offset()) > READ_APART;
        Self { pair, set: if was_set { Some(pair.monotonic) } else { self.set } }
    }

    /// The CLOCK_MONOTONIC time of a CLOCK_REALTIME one that was taken after `since`; `None` where CLOCK_REALTIME has been set since
    /// then, so that nobody knows which of its times is meant.
    #[must_use]
    pub fn to_monotonic(self, realtime: Nanos, since: Nanos) -> Option<Nanos> {
        self.set.is_none_or(|set| set < since).then(|| self.pair.to_monotonic(realtime)).flatten()
    }
}

#[cfg(test)]
impl Clocks {
    /// Read for the first time at this time of CLOCK_MONOTONIC, with CLOCK_REALTIME so far ahead.
    pub(crate) fn at(monotonic: Nanos, ahead: Nanos) -> Self {
        Self { pair: ClockPair::at(monotonic, ahead), set: None }
    }

    /// Read again at this time.
    pub(crate) fn and_later(self, monotonic: Nanos, ahead: Nanos) -> Self {
        self.followed_by(ClockPair::at(monotonic, ahead))
    }
}

#[cfg(test)]
impl ClockPair {
    fn at(monotonic: Nanos, ahead: Nanos) -> Self {
        Self { monotonic, realtime: monotonic + ahead }
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct ClockPair {
    monotonic: Nanos,
    realtime: Nanos,
}

impl ClockPair {
    /// Reads both clocks, again if something came between, so that the pair is off by less than a microsecond.
    #[must_use]
    pub fn read() -> Self {
        const TRIES: usize = 8;
        const CLOSE: Nanos = 1_000;
        let sample = || {
            let before = monotonic();
            let realtime = read(ClockId::CLOCK_REALTIME);
            let after = monotonic();
            (after - before, Self { monotonic: before + (after - before) / 2, realtime })
        };
        let mut best = sample();
        for _ in 1..TRIES {
            if best.0 <= CLOSE {
                break;
            }
            let next = sample();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }

    /// The CLOCK_MONOTONIC time of a CLOCK_REALTIME one; `None` if that was before the machine started. Wrong when
    /// CLOCK_REALTIME was set between the two.
    fn to_monotonic(self, realtime: Nanos) -> Option<Nanos> {
        (self.monotonic + realtime).checked_sub(self.realtime)
    }

    /// By how much CLOCK_REALTIME is ahead.
    fn offset(self) -> i128 {
        i128::from(self.realtime) - i128::from(self.monotonic)
    }

    /// Nanoseconds to add to a CLOCK_MONOTONIC time to get nanoseconds since 1970.
    #[must_use]
    pub fn unix_offset(self) -> Nanos {
        self.realtime.saturating_sub(self.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_a_realtime_stamp_to_the_same_moment() {
        let pair = ClockPair { monotonic: 1_000, realtime: 50_000 };
        assert_eq!(pair.to_monotonic(50_250), Some(1_250));
        assert_eq!(pair.to_monotonic(49_900), Some(900));
        assert_eq!(pair.to_monotonic(10), None);
    }

    #[test]
    fn after_realtime_was_set_no_earlier_stamp_is_trusted() {
        const MS: Nanos = 1_000_000;
        let clocks = Clocks::at(10 * MS, 50_000 * MS);
        // Read a little apart.
        let apart = clocks.and_later(1_010 * MS, 50_000 * MS + MS / 100);
        assert_eq!(apart.to_monotonic(51_000 * MS, 0), Some(1_000 * MS - MS / 100));
        for ahead in [50_002 * MS, 49_998 * MS] {
            let set = apart.and_later(1_020 * MS, ahead);
            assert_eq!(set.to_monotonic(ahead + 1_019 * MS, 1_015 * MS), None, "stamped before or after?");
            assert_eq!(set.to_monotonic(ahead + 1_025 * MS, 1_021 * MS), Some(1_025 * MS));
            let later = set.and_later(1_030 * MS, ahead);
            assert_eq!(later.to_monotonic(ahead + 1_019 * MS, 1_015 * MS), None);
        }
    }

    #[test]
    fn the_pair_agrees_with_the_clock_around_it() {
        let before = monotonic();
        let pair = ClockPair::read();
        let after = monotonic();
        assert!((before..=after).contains(&pair.monotonic));
    }
}
