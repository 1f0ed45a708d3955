//! When what is due: dials that were put off, the next round, the end. Pure; the time is passed in.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::method::Dial;

/// What may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// One dial at least.
    Dials,
    /// The end of a round.
    NextRound,
    /// The end, because nothing more is expected.
    GiveUp,
    /// The end, because time is up.
    Deadline,
}

/// The timers of one punch.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// In the order in which they were asked for, where several are due at once.
    dials: BTreeMap<(Instant, u64), Dial>,
    sequence: u64,
    pub(super) next_round: Option<Instant>,
    pub(super) give_up: Option<Instant>,
    pub(super) deadline: Option<Instant>,
}

impl Timers {
    /// Nothing is due before the deadline.
    pub(super) fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }

    /// Puts a dial off until then.
    pub(super) fn dial_at(&mut self, due: Instant, dial: Dial) {
        self.sequence += 1;
        self.dials.insert((due, self.sequence), dial);
    }

    /// The dials that are due, in order.
    pub(super) fn due_dials(&mut self, now: Instant) -> Vec<Dial> {
        let later = self.dials.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.dials, later).into_values().collect()
    }

    /// What is due first, and when.
    pub(super) fn next(&self) -> Option<(Instant, Due)> {
        let dial = self.dials.keys().next().map(|(due, _)| (*due, Due::Dials));
        let next_round = self.next_round.map(|due| (due, Due::NextRound));
        let give_up = self.give_up.map(|due| (due, Due::GiveUp));
        let deadline = self.deadline.map(|due| (due, Due::Deadline));
        [deadline, dial, next_round, give_up].into_iter().flatten().min_by_key(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dials_come_when_they_are_due_and_in_order() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let dial = |port| Dial::now(crate::MethodName::Spray, port, "192.0.2.1:9".parse().unwrap());
        let mut timers = Timers::default();
        timers.dial_at(now + second * 2, dial(3));
        timers.dial_at(now + second, dial(1));
        timers.dial_at(now + second, dial(2));
        assert_eq!(timers.next(), Some((now + second, Due::Dials)));
        assert_eq!(timers.due_dials(now), []);
        assert_eq!(timers.due_dials(now + second), [dial(1), dial(2)]);
        assert_eq!(timers.due_dials(now + second * 9), [dial(3)]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_earliest_of_all_is_next() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut timers = Timers { give_up: Some(now + second * 3), ..Timers::default() };
        assert_eq!(timers.next(), Some((now + second * 3, Due::GiveUp)));
        timers.next_round = Some(now + second * 2);
        assert_eq!(timers.next(), Some((now + second * 2, Due::NextRound)));
    }
}
