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
    /// CLOCK_REALTIME was set between the two, which the caller can only tell by what is plausible.
    #[must_use]
    pub fn to_monotonic(self, realtime: Nanos) -> Option<Nanos> {
        (self.monotonic + realtime).checked_sub(self.realtime)
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
    fn the_pair_agrees_with_the_clock_around_it() {
        let before = monotonic();
        let pair = ClockPair::read();
        let after = monotonic();
        assert!((before..=after).contains(&pair.monotonic));
    }
}
