//! One direction of a wire as a pure decision: a frame enters, and its fate and the moment it is due come out.
//!
//! Every frame takes the same number of draws whatever the conditions are, so that under one seed the n-th frame
//! meets the same faults on a link with other conditions.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::conditions::Conditions;
use crate::model::evidence::{Direction, Nanos};

/// What a link with a limited rate may have waiting for its turn, as time; what comes on top is lost.
const LONGEST_QUEUE: Nanos = 1_000_000_000;

/// One direction of a wire.
#[derive(Debug)]
pub(super) struct Channel {
    conditions: Conditions,
    draws: ChaCha8Rng,
    last_entered: Nanos,
    busy_until: Nanos,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is lost; it would have been due then.
    Lost(Nanos),
    /// It is due at a moment, and so may be a copy of it.
    Carried {
        /// When the frame is to leave.
        due: Nanos,
        /// When its copy is to leave, if there is one.
        copy: Option<Nanos>,
    },
}

impl Channel {
    /// A direction whose faults are fixed by the seed, the link and the direction.
    pub(super) fn new(conditions: Conditions, seed: u64, link: u16, direction: Direction) -> Self {
        Self { conditions, draws: draws(seed, link, direction), last_entered: 0, busy_until: 0 }
    }

    /// New conditions, for the frames that enter from now on.
    pub(super) fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// The least time that a frame which enters now takes.
    pub(super) fn shortest(&self) -> Nanos {
        nanos(self.conditions.shortest())
    }

    /// New draws, and an empty queue.
    pub(super) fn restart(&mut self, seed: u64, link: u16, direction: Direction) {
        self.draws = draws(seed, link, direction);
        self.busy_until = 0;
    }

    /// When a frame enters. Frames enter in the order of the calls, whatever their stamps say: stamps of different
    /// processors need not agree to the last.
    pub(super) fn enter(&mut self, stamped: Nanos) -> Nanos {
        self.last_entered = self.last_entered.max(stamped);
        self.last_entered
    }

    /// Decides about the frame of this many bytes that entered last.
    pub(super) fn admit(&mut self, bytes: u64) -> Admission {
        let draws = FaultDraws::draw(&mut self.draws);
        let Some(on_its_way) = self.take_turn(bytes) else {
            return Admission::Lost(self.last_entered);
        };
        let Conditions { delay, jitter, loss, duplication, reordering, .. } = self.conditions;
        let due = |skips: bool, further: f64| {
            on_its_way + if skips { 0 } else { nanos(delay) + (nanos(jitter) as f64 * further) as Nanos }
        };
        let first = due(draws.reordering < reordering, draws.jitter);
        if draws.loss < loss {
            return Admission::Lost(first);
        }
        let copy = (draws.duplication < duplication).then(|| due(false, draws.copy_jitter));
        Admission::Carried { due: first, copy }
    }

    /// When the last bit of the frame is on the link; `None` when too much waits already.
    fn take_turn(&mut self, bytes: u64) -> Option<Nanos> {
        let Some(rate) = self.conditions.rate else { return Some(self.last_entered) };
        let start = self.busy_until.max(self.last_entered);
        if start - self.last_entered > LONGEST_QUEUE {
            return None;
        }
        let takes = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate.max(1));
        self.busy_until = start.saturating_add(Nanos::try_from(takes).unwrap_or(Nanos::MAX));
        Some(self.busy_until)
    }
}

/// What is drawn for a frame, each evenly from 0 to 1.
struct FaultDraws {
    loss: f64,
    duplication: f64,
    reordering: f64,
    jitter: f64,
    copy_jitter: f64,
}

impl FaultDraws {
    fn draw(draws: &mut ChaCha8Rng) -> Self {
        Self {
            loss: draws.random(),
            duplication: draws.random(),
            reordering: draws.random(),
            jitter: draws.random(),
            copy_jitter: draws.random(),
        }
    }
}

fn draws(seed: u64, link: u16, direction: Direction) -> ChaCha8Rng {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    draws.set_stream(u64::from(link) << 1 | u64::from(direction == Direction::Down));
    draws
}

fn nanos(duration: std::time::Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX >> 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FRAMES: u64 = 20_000;

    fn channel(conditions: Conditions, seed: u64) -> Channel {
        Channel::new(conditions, seed, 3, Direction::Up)
    }

    fn admit(channel: &mut Channel, stamped: Nanos, bytes: u64) -> Admission {
        channel.enter(stamped);
        channel.admit(bytes)
    }

    fn admit_all(conditions: Conditions, seed: u64) -> Vec<Admission> {
        let mut channel = channel(conditions, seed);
        (0..FRAMES).map(|n| admit(&mut channel, n * 1_000, 100)).collect()
    }

    /// Whether `seen` of all frames fits a probability; by Hoeffding it wrongly says no once in a million times.
    fn fits(seen: usize, probability: f64) -> bool {
        let margin = ((2.0 / 1e-6_f64).ln() / (2.0 * FRAMES as f64)).sqrt();
        (seen as f64 / FRAMES as f64 - probability).abs() <= margin
    }

    #[test]
    fn a_plain_delay_is_exact_and_keeps_the_order() {
        let conditions = Conditions::delayed(Duration::from_millis(5));
        for (n, admission) in (0..).zip(admit_all(conditions, 1)) {
            assert_eq!(admission, Admission::Carried { due: n * 1_000 + 5_000_000, copy: None });
        }
    }

    #[test]
    fn stamps_that_run_backwards_keep_the_order() {
        let mut channel = channel(Conditions::default(), 1);
        assert_eq!(channel.enter(1_000), 1_000);
        assert_eq!(channel.enter(900), 1_000);
        assert_eq!(channel.admit(60), Admission::Carried { due: 1_000, copy: None });
    }

    #[test]
    fn loss_duplication_and_reordering_have_their_rates() {
        let conditions = Conditions {
            loss: 0.1,
            duplication: 0.2,
            reordering: 0.3,
            ..Conditions::delayed(Duration::from_millis(5))
        };
        let all = admit_all(conditions, 2);
        let carried = |wanted: fn(Nanos, Nanos, Option<Nanos>) -> bool| {
            (0..)
                .zip(&all)
                .filter(|(n, admission)| match admission {
                    Admission::Carried { due, copy } => wanted(n * 1_000, *due, *copy),
                    Admission::Lost(_) => false,
                })
                .count()
        };
        assert!(fits(all.iter().filter(|a| matches!(a, Admission::Lost(_))).count(), 0.1));
        assert!(fits(carried(|_, _, copy| copy.is_some()), 0.9 * 0.2));
        assert!(fits(carried(|entered, due, _| due == entered), 0.9 * 0.3));
    }

    #[test]
    fn jitter_spreads_evenly_and_reorders() {
        let conditions = Conditions {
            jitter: Duration::from_micros(10),
            ..Conditions::delayed(Duration::from_micros(50))
        };
        let dues: Vec<Nanos> = admit_all(conditions, 3)
            .into_iter()
            .map(|admission| match admission {
                Admission::Carried { due, .. } => due,
                Admission::Lost(_) => panic!("nothing is to be lost"),
            })
            .collect();
        let further: Vec<Nanos> = (0..).zip(&dues).map(|(n, due)| due - n * 1_000 - 50_000).collect();
        assert!(further.iter().all(|&f| f <= 10_000));
        assert!(fits(further.iter().filter(|&&f| f < 2_500).count(), 0.25));
        assert!(dues.windows(2).any(|pair| pair[1] < pair[0]), "frames 1 us apart overtake within 10 us");
    }

    #[test]
    fn the_same_seed_brings_the_same_faults_and_another_does_not() {
        let conditions = Conditions { loss: 0.5, ..Conditions::default() };
        assert_eq!(admit_all(conditions, 4), admit_all(conditions, 4));
        assert_ne!(admit_all(conditions, 4), admit_all(conditions, 5));
        let other_way = |direction| {
            let mut channel = Channel::new(conditions, 4, 3, direction);
            (0..64).map(|n| admit(&mut channel, n, 60)).collect::<Vec<_>>()
        };
        assert_ne!(other_way(Direction::Up), other_way(Direction::Down));
    }

    #[test]
    fn a_rate_spaces_frames_and_loses_what_waits_too_long() {
        let conditions = Conditions { rate: Some(8_000_000), ..Conditions::default() };
        let mut channel = channel(conditions, 5);
        let due = |admission| match admission {
            Admission::Carried { due, .. } => Some(due),
            Admission::Lost(_) => None,
        };
        assert_eq!(due(admit(&mut channel, 0, 1_000)), Some(1_000_000), "1000 bytes at 1 byte a microsecond");
        assert_eq!(due(admit(&mut channel, 0, 1_000)), Some(2_000_000));
        assert_eq!(
            due(admit(&mut channel, 10_000_000, 1_000)),
            Some(11_000_000),
            "an idle link starts at once"
        );
        let kept = (0..5_000).filter(|_| due(admit(&mut channel, 10_000_000, 1_000)).is_some()).count();
        assert_eq!(kept, 1_000, "one second of waiting, at a millisecond a frame");
    }
}
