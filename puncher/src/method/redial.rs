//! When to dial again after a refusal.
//!
//! Mostly at once: after an ICMP error the NAT's hole is still open, and a peer's SYN that comes through it while no socket
//! waits for it is answered by the own host with a reset, which spoils that pair of endpoints. Now and then, and after the
//! first few, at a random moment, so that two sides never refuse each other in lock step, and a path of almost no delay
//! does not eat the budget.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fault_injection::{self, Fault};
use crate::method::{Action, Dial};
use crate::socket::DialFailure;

/// The least spread: on a path of almost no delay a redial at once would only spend the budget.
const LEAST: Duration = Duration::from_millis(2);

/// The largest spread.
const MOST: Duration = Duration::from_millis(50);

/// This many redials come at once before any is delayed.
const AT_ONCE: u32 = 4;

/// Then, of this many, one is delayed on a long path.
const DELAYED: u32 = 4;

/// On a path shorter than this, all are.
const SHORT: Duration = Duration::from_millis(3);

/// Spreads redials.
#[derive(Debug)]
pub(crate) struct Redial {
    spread: Duration,
    trip: Duration,
    count: u32,
    rng: ChaCha8Rng,
}

impl Redial {
    /// Redials that follow from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { spread: LEAST, trip: Duration::ZERO, count: 0, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Delays are up to half a trip: the next SYN leaves before the other side's has crossed the path.
    pub(crate) fn start(&mut self, trip: Duration) {
        self.trip = trip;
        self.spread = (trip / 2).clamp(LEAST, MOST);
    }

    /// The same dial again; nothing when its endpoints are connected already or the system has no room.
    pub(crate) fn again(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        if matches!(why, DialFailure::InUse | DialFailure::Other(_)) || fault_injection::is(Fault::NoRedial) {
            return Vec::new();
        }
        vec![Action::Dial(Dial { after: self.delay(), ..dial })]
    }

    fn delay(&mut self) -> Duration {
        self.count += 1;
        let delayed = self.count > AT_ONCE && (self.trip < SHORT || self.rng.random_range(0..DELAYED) == 0);
        if !delayed {
            return Duration::ZERO;
        }
        let delay = self.rng.random_range(Duration::ZERO..=self.spread);
        self.spread = (self.spread + self.spread / 16).min(MOST);
        delay
    }

    /// For other decisions of the same method.
    pub(crate) fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::tests::dials;

    const TRIP: Duration = Duration::from_millis(10);

    fn dial() -> Dial {
        Dial::now(crate::MethodName::Listen, 1, "192.0.2.1:2".parse().unwrap())
    }

    fn delays(trip: Duration, count: usize) -> Vec<Duration> {
        let mut redial = Redial::new(1);
        redial.start(trip);
        (0..count).map(|_| dials(&redial.again(dial(), DialFailure::Reset))[0].after).collect()
    }

    #[test]
    fn the_first_redials_come_at_once() {
        assert_eq!(delays(TRIP, AT_ONCE as usize), [Duration::ZERO; AT_ONCE as usize]);
    }

    #[test]
    fn on_a_long_path_most_come_at_once_and_no_two_sides_stay_in_step() {
        let delays = delays(TRIP, 400);
        let at_once = delays.iter().filter(|delay| delay.is_zero()).count();
        assert!((250..350).contains(&at_once), "{at_once}");
        assert!(delays.iter().all(|delay| *delay <= MOST));
    }

    #[test]
    fn on_a_short_path_redials_grow_rarer() {
        let delays = delays(Duration::ZERO, 200);
        let sum = |delays: &[Duration]| delays.iter().sum::<Duration>();
        assert!(sum(&delays[100..]) > sum(&delays[..100]));
    }

    #[test]
    fn what_would_fail_again_is_not_repeated() {
        for why in [DialFailure::InUse, DialFailure::Other(libc::EMFILE)] {
            assert_eq!(Redial::new(1).again(dial(), why), []);
        }
    }
}
