//! How often a side that draws its port tries: a reset that refuses a dial ends its mapping as well, so that the dial which
//! follows has a port of its own.
//!
//! When the programs dial again, and how long, stands in `docs/puncher-contract.md` for each method, and for other programs
//! in their suite. How many dials that makes depends on how fast refusals come back, so the answer is an interval.

use std::time::Duration;

use crate::model::suite::Redial;

use super::TheoryInput;
use super::method::{Method, RedialingSide};
use super::side::Side;

/// A meeting in which a NAT draws is given up after this many trips, and never before [`LEAST_PATIENCE`].
const PATIENCE_TRIPS: u32 = 8;
const LEAST_PATIENCE: Duration = Duration::from_millis(400);

/// This many dials are made at once after a refusal. Of the later ones one in four waits, on a path of almost no delay each.
const AT_ONCE: u32 = 4;
const SHORT_TRIP: Duration = Duration::from_millis(3);

/// The longest of these waits: half a trip at first, between these, and growing by a sixteenth each time.
const LEAST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// What a slow machine adds to the way of a refusal and of the dial that follows.
const SLOW: Duration = Duration::from_millis(10);

/// Trips that a dial needs until both ends are established, so that giving up does not end it; and what is certain to do.
const NEEDED: u32 = 2;
const CERTAIN: u32 = 4;

/// Rounds that a program may make when it took a port that is drawn for one that is known, before it sees that it is not.
const MISREAD_ROUNDS: u32 = 3;

/// How often a port is drawn for one guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrawsPerGuess {
    /// On a slow machine.
    pub(super) least: u32,
    /// On an idle one.
    pub(super) usual: u32,
    /// As often as refusals can come back.
    pub(super) most: u32,
    /// If the programs took the port for one that is known.
    pub(super) misread: u32,
}

impl DrawsPerGuess {
    const ONE: Self = Self { least: 1, usual: 1, most: 1, misread: MISREAD_ROUNDS };

    /// Where `drawing` draws and dials `other`; `towards` is one way from it to what refuses it.
    pub(super) fn of(
        input: &TheoryInput<'_>,
        drawing: &Side<'_>,
        other: &Side<'_>,
        towards: Duration,
    ) -> Self {
        let late = Duration::from_secs_f64(input.skew_ms.abs() / 1000.0);
        let patience = match patience(input, drawing) {
            Some(patience) if drawing.redraws() && other.resets_dials() => patience,
            _ => return Self::ONE,
        };
        let trips = |count: u32| patience.saturating_sub(late + input.trip * count);
        let slowest = 2 * input.trip + SLOW;
        let most = dials(patience, 2 * towards, input.trip).min(input.budget.syns.max(1));
        let foreign = input.redial.is_some();
        Self {
            // Nobody knows how fast a stranger's program dials again.
            least: if foreign { 1 } else { dials(trips(CERTAIN), slowest, input.trip).min(most) },
            usual: dials(trips(NEEDED), 2 * input.trip, input.trip).min(most),
            most,
            misread: most.saturating_mul(MISREAD_ROUNDS),
        }
    }
}

impl DrawsPerGuess {
    /// Where both sides draw: of two sequences of dials each is under way together with two of the other.
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            usual: self.usual.min(other.usual),
            most: if (self.most, other.most) == (1, 1) { 1 } else { 2 * self.most.max(other.most) },
            misread: 2 * self.misread.max(other.misread),
        }
    }
}

/// How long the drawing side dials again; `None` if it does not.
fn patience(input: &TheoryInput<'_>, drawing: &Side<'_>) -> Option<Duration> {
    let own = (input.trip * PATIENCE_TRIPS).max(LEAST_PATIENCE).min(input.budget.deadline);
    match input.redial {
        Some(Redial::None) => None,
        Some(Redial::AfterRefusal) => Some(input.budget.deadline),
        None => match input.method.dials_again() {
            RedialingSide::Never => None,
            RedialingSide::Both => Some(own),
            // The other side has one guess, which a refusal ends.
            RedialingSide::TowardsKnown => (!drawing.answers_strangers()).then_some(own),
        },
    }
}

/// Dials within `time` from the first on, where a refusal takes `refusal` to come.
fn dials(time: Duration, refusal: Duration, trip: Duration) -> u32 {
    let (mut count, mut at) = (0, Duration::ZERO);
    let mut longest = (trip / 2).clamp(LEAST_WAIT, LONGEST_WAIT);
    while at < time {
        count += 1;
        at += refusal;
        if count > AT_ONCE {
            // On average.
            let one_in = if trip < SHORT_TRIP { 1 } else { 4 };
            at += longest / 2 / one_in;
            longest = (longest + longest / 16 / one_in).min(LONGEST_WAIT);
        }
        // Refusals that take no time come no faster than a program can dial.
        at += Duration::from_micros(100);
    }
    count
}

impl Method {
    /// Whether a side dials again after a refusal where a port is drawn.
    const fn dials_again(self) -> RedialingSide {
        match self {
            Self::SimultaneousOpen | Self::Sequential => RedialingSide::TowardsKnown,
            Self::ObservedPort | Self::PreservedPort | Self::Hairpin => RedialingSide::Both,
            // `listen` and `private` guess no port, `low-port` and `spray` count their draws themselves.
            Self::LowTtl | Self::Listen | Self::LowPort | Self::Spray | Self::Private | Self::Auto => {
                RedialingSide::Never
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn refusals_that_take_two_trips_leave_time_for_about_twenty_dials() {
        assert_eq!(dials(MS(400), MS(20), MS(10)), 20);
        assert_eq!(dials(MS(20), MS(20), MS(10)), 1);
        assert_eq!(dials(Duration::ZERO, MS(20), MS(10)), 0);
    }

    #[test]
    fn on_a_path_of_no_delay_waits_grow() {
        let count = dials(MS(400), Duration::ZERO, Duration::ZERO);
        assert!((40..80).contains(&count), "{count}");
    }
}
