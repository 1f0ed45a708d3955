//! What a link does to the frames that cross it, for each direction.
//!
//! Delays are one way and per link. The wire (`lab::wire`) carries them out.

use std::time::Duration;

/// The conditions of one direction of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Time from entering the link to leaving it.
    pub delay: Duration,
    /// Each frame is delayed by a further time drawn evenly from `0..=jitter`; frames may overtake each other.
    pub jitter: Duration,
    /// Probability, 0 to 1, that a frame is lost.
    pub loss: f64,
    /// Probability, 0 to 1, that a frame arrives twice.
    pub duplication: f64,
    /// Probability, 0 to 1, that a frame skips the delay and so overtakes those before it.
    pub reordering: f64,
    /// Bits per second that the link carries; `None` for no limit.
    pub rate: Option<u64>,
}

impl Conditions {
    /// A perfect link that takes `delay` one way.
    #[must_use]
    pub const fn delayed(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss: 0.0, duplication: 0.0, reordering: 0.0, rate: None }
    }

    /// The least time that a frame takes, where some overtake others.
    #[must_use]
    pub fn shortest(&self) -> Duration {
        if self.reordering > 0.0 { Duration::ZERO } else { self.delay }
    }

    /// Its delay, or the one that takes its place: a link that takes no time is only there to be watched, and stays so.
    #[must_use]
    pub fn delay_or(&self, other: Option<Duration>) -> Duration {
        other.filter(|_| !self.delay.is_zero()).unwrap_or(self.delay)
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::delayed(Duration::ZERO)
    }
}

/// The conditions of a link in both directions, seen from the node that lies further from the core.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkConditions {
    /// Towards the core.
    pub up: Conditions,
    /// Away from the core.
    pub down: Conditions,
}

impl LinkConditions {
    /// The same conditions both ways.
    #[must_use]
    pub const fn symmetric(conditions: Conditions) -> Self {
        Self { up: conditions, down: conditions }
    }
}
