//! `simultaneous-open`: both sides dial the endpoint predicted for the other, at the same time.
//!
//! ```text
//!  A        NAT-a        NAT-b        B
//!  |--SYN---->|--.    .----|<---SYN---|   both holes are open when the SYNs arrive
//!  |          |   \  /     |          |
//!  |<---SYN---|----\/------|---SYN--->|   one trip: both answer
//!  |<-SYN/ACK-|<---/\------|-SYN/ACK->|   two trips: both established
//! ```
//!
//! Conditions: both external ports predictable; NATs that accept a SYN after a SYN. NATs that drop unsolicited SYNs
//! allow any difference between the two starts. Where they answer with a reset or an ICMP error, the dial that was
//! refused is repeated from the same port at a random moment within half a trip, so that two sides never refuse each
//! other in lock step. Cost: one socket; one SYN, and one more for each refusal.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::method::{Action, Dial, Happening, Method};
use crate::predict::Prediction;
use crate::socket::{Reach, Refusal};

/// The method's name.
pub const NAME: &str = "simultaneous-open";

/// Below this chance the peer's port is a guess, and waiting would not make it better.
const HOPELESS: f64 = 0.01;

/// How long a guess is given: several trips of any sensible path.
const GUESS_PATIENCE: Duration = Duration::from_millis(600);

/// What one side knows when it starts.
#[derive(Debug)]
pub struct SimultaneousOpen {
    port: u16,
    target: Prediction,
    /// The chance that the peer can predict this side.
    own_probability: f64,
    /// Redials are spread over this time.
    jitter: Duration,
    syns_left: u32,
    rng: ChaCha8Rng,
}

impl SimultaneousOpen {
    /// From local `port` to `target`. `own_probability` is the chance that the peer predicts this side rightly, `trip`
    /// the time to the peer as far as it is known.
    #[must_use]
    pub fn new(
        port: u16,
        target: Prediction,
        own_probability: f64,
        trip: Duration,
        (syns, seed): (u32, u64),
    ) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { port, target, own_probability, jitter: trip / 2, syns_left: syns, rng }
    }

    fn dial(&mut self, after: Duration) -> Vec<Action> {
        if self.syns_left == 0 {
            return Vec::new();
        }
        self.syns_left -= 1;
        let dial = Dial { port: self.port, remote: self.target.endpoint, reach: Reach::Peer, after };
        vec![Action::Dial(dial)]
    }
}

impl Method for SimultaneousOpen {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, happening: Happening) -> Vec<Action> {
        match happening {
            Happening::Go => {
                let mut actions = self.dial(Duration::ZERO);
                if self.target.probability * self.own_probability < HOPELESS {
                    actions.push(Action::GiveUpIn(GUESS_PATIENCE));
                }
                actions
            }
            // These two endpoints are connected already: that stream is being authenticated.
            Happening::Refused(_, Refusal::InUse) => Vec::new(),
            Happening::Refused(_, _) => {
                let after = self.rng.random_range(Duration::ZERO..=self.jitter);
                self.dial(after)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(probability: f64, syns: u32) -> SimultaneousOpen {
        let endpoint = "192.0.2.1:5000".parse().unwrap();
        let target = Prediction { endpoint, probability, because: String::new() };
        SimultaneousOpen::new(4000, target, 1.0, Duration::from_millis(10), (syns, 1))
    }

    fn only_dial(actions: &[Action]) -> Dial {
        match actions {
            [Action::Dial(dial)] => *dial,
            other => panic!("expected one dial, got {other:?}"),
        }
    }

    #[test]
    fn dials_the_prediction_at_once() {
        let dial = only_dial(&method(1.0, 9).on(Happening::Go));
        assert_eq!((dial.port, dial.remote.port(), dial.after), (4000, 5000, Duration::ZERO));
    }

    #[test]
    fn redials_within_half_a_trip_until_the_budget_is_spent() {
        let mut method = method(1.0, 3);
        let first = only_dial(&method.on(Happening::Go));
        for _ in 0..2 {
            let again = only_dial(&method.on(Happening::Refused(first, Refusal::Reset)));
            assert!(again.after <= Duration::from_millis(5));
            assert_eq!(again.remote, first.remote);
        }
        assert_eq!(method.on(Happening::Refused(first, Refusal::Reset)), []);
    }

    #[test]
    fn a_guess_is_given_up_and_a_prediction_is_not() {
        assert!(method(1e-5, 9).on(Happening::Go).contains(&Action::GiveUpIn(GUESS_PATIENCE)));
        assert_eq!(method(1.0, 9).on(Happening::Go).len(), 1);
    }

    #[test]
    fn two_connected_endpoints_are_not_dialled_again() {
        let mut method = method(1.0, 9);
        let first = only_dial(&method.on(Happening::Go));
        assert_eq!(method.on(Happening::Refused(first, Refusal::InUse)), []);
    }
}
