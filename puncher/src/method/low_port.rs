//! `low-port`: draws from a small pool, by binding source ports below 1024.
//!
//! RFC 4787 REQ-3 asks NATs to keep low ports low. Linux does: a random mapping of a source port from 512 to 1023 is one of
//! 424 ports instead of 64,512. So `spray` needs few SYNs a side against one known port, and about as many as the pool
//! has ports when the other NAT counts or draws as well: all draws go to one endpoint, where no two can be alike, so
//! together they fill the pool.
//!
//! Packets: as `spray`. Conditions: the side whose NAT draws may bind ports below 1024, and was seen to be mapped to one
//! of those 424. Cost: about 60 SYNs a side against a known port, about 460 otherwise.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::method::pool::{LOW, Pool};
use crate::method::view::{Predictability, RoundView, SideFacts};
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote, spray};
use crate::socket::DialFailure;

/// Draws from the small pool.
#[derive(Debug)]
pub(crate) struct LowPort {
    waiting: Vec<Action>,
    redraws: bool,
    rng: ChaCha8Rng,
}

impl LowPort {
    /// Guesses follow from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { waiting: Vec::new(), redraws: false, rng: ChaCha8Rng::seed_from_u64(seed) }
    }
}

/// Whether a side whose NAT draws can draw from the small pool. Against another that cannot, it still helps.
pub(crate) fn is_possible(view: &RoundView) -> bool {
    [&view.own, &view.peer].into_iter().any(draws_low)
}

fn draws_low(side: &SideFacts) -> bool {
    side.predictability() == Predictability::Random
        && side.low.is_some_and(|external| LOW.contains(&external.port()))
}

/// The small one where it was measured, else what was seen.
fn pool(side: &SideFacts) -> Pool {
    if draws_low(side) { Pool::Low } else { Pool::of(&side.observations) }
}

impl Method for LowPort {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        if !is_possible(view) {
            let because = "no side draws its ports from the pool for low source ports, or may bind one";
            let outlook = Outlook { peer: None, probability: 0.0, because: because.into() };
            return vec![Action::Expect(outlook), Action::GiveUpIn(Duration::ZERO)];
        }
        let Some(plan) = spray::plan(MethodName::LowPort, view, pool, &mut self.rng) else {
            return vec![Action::GiveUpIn(Duration::ZERO)];
        };
        self.redraws = plan.redraws;
        let patience = view.trips(12, Duration::from_millis(300));
        plan.begin(view.role, &mut self.waiting, patience, Action::NextRoundIn)
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        let lost = self.redraws && matches!(why, DialFailure::Reset | DialFailure::Unreachable);
        if lost { vec![Action::Dial(dial)] } else { Vec::new() }
    }

    fn told(&mut self, note: RoundNote) -> Vec<Action> {
        match note {
            RoundNote::Open => std::mem::take(&mut self.waiting),
        }
    }

    fn wants_low_port(&self, round: u32) -> bool {
        round == 1
    }

    fn wants_hops(&self, _: u32) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meeting::Role;
    use crate::method::pool::LOW_SOURCES;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    #[test]
    fn draws_come_from_low_ports_and_guesses_go_to_their_pool() {
        let mut here = view(Role::A, &[36424, 13999], &[6000, 6000]);
        here.own.low = Some("192.0.2.2:777".parse().unwrap());
        let holes = dials(&LowPort::new(1).begin(&here));
        assert!(!holes.is_empty() && holes.iter().all(|hole| LOW_SOURCES.contains(&hole.port)));
        let mut seeker = LowPort::new(1);
        seeker.begin(&mirrored(&here));
        let guesses = dials(&seeker.told(RoundNote::Open));
        assert!(!guesses.is_empty() && guesses.iter().all(|guess| LOW.contains(&guess.remote.port())));
    }

    #[test]
    fn where_both_draw_the_dialler_draws_again_for_each_refusal() {
        let low = Some("192.0.2.2:777".parse().unwrap());
        let mut here = view(Role::A, &[36424, 13999], &[36424, 13999]);
        (here.own.low, here.peer.low) = (low, low);
        let (mut opener, mut dialler) = (LowPort::new(1), LowPort::new(2));
        let hole = dials(&opener.begin(&here))[0];
        assert_eq!(opener.refused(hole, DialFailure::Reset), []);
        dialler.begin(&mirrored(&here));
        let draw = dials(&dialler.told(RoundNote::Open))[0];
        assert_eq!(dialler.refused(draw, DialFailure::Reset), [Action::Dial(draw)]);
        assert_eq!(dialler.refused(draw, DialFailure::InUse), []);
    }

    #[test]
    fn it_is_possible_only_where_it_was_measured() {
        let mut here = view(Role::A, &[36424, 13999], &[6000, 6000]);
        assert!(!is_possible(&here));
        here.own.low = Some("192.0.2.2:40777".parse().unwrap());
        assert!(!is_possible(&here), "mapped to the large pool");
        here.own.low = Some("192.0.2.2:777".parse().unwrap());
        assert!(is_possible(&here));
        here.peer.observations[0].external.set_port(1);
        assert!(is_possible(&here), "the peer draws from another pool");
        assert_eq!((pool(&here.own), pool(&here.peer)), (Pool::Low, Pool::Kernel));
        assert!(!is_possible(&view(Role::A, &[5000, 5000], &[6000, 6000])), "nobody draws");
    }
}
