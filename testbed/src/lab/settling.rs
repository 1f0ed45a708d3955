//! How long a lab is left alone until what was sent in it has arrived. Pure.
//!
//! The kernel carries packets at once. A program that makes a NAT may wait for a processor and still have packets.

use std::time::Duration;

use tokio::time::Instant;

use crate::lab::nat_program::NatPrograms;

/// How often programs are looked at.
const GLANCE: Duration = Duration::from_millis(1);

/// How much longer programs that never rest are waited for.
const MOST: Duration = Duration::from_secs(2);

/// Waits for so long, and where programs make NATs until none of them has had work for so long.
#[derive(Debug)]
pub(super) struct Settling {
    time: Duration,
    began: Instant,
    quiet_since: Instant,
}

impl Settling {
    /// Begins now.
    pub(super) fn begin(time: Duration, now: Instant) -> Self {
        Self { time, began: now, quiet_since: now }
    }

    /// How long to wait before the programs are looked at again, which do this now; `None` when that is enough.
    pub(super) fn wait(&mut self, now: Instant, programs: NatPrograms) -> Option<Duration> {
        if programs == NatPrograms::Working {
            self.quiet_since = now;
        }
        let rest = self.time.saturating_sub(now.duration_since(self.quiet_since));
        let is_over = rest.is_zero() || now.duration_since(self.began) >= self.time + MOST;
        let pause = if programs == NatPrograms::Absent { rest } else { GLANCE };
        (!is_over).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(30);

    /// After how long it is enough, where programs do this at each time.
    fn settled_after(programs: impl Fn(Duration) -> NatPrograms) -> Duration {
        let began = Instant::now();
        let (mut settling, mut passed) = (Settling::begin(TIME, began), Duration::ZERO);
        while let Some(pause) = settling.wait(began + passed, programs(passed)) {
            assert!(!pause.is_zero(), "after {passed:?}");
            passed += pause;
            assert!(passed < 2 * MOST, "it never ends");
        }
        passed
    }

    #[test]
    fn a_program_that_works_is_waited_for_until_it_has_rested() {
        assert_eq!(settled_after(|_| NatPrograms::Absent), TIME);
        assert_eq!(settled_after(|_| NatPrograms::Resting), TIME);
        let busy = Duration::from_millis(200);
        for then in [NatPrograms::Resting, NatPrograms::Absent] {
            let works = |passed| if passed <= busy { NatPrograms::Working } else { then };
            assert_eq!(settled_after(works), busy + TIME, "{then:?}");
        }
        let last = |passed| if passed == TIME { NatPrograms::Working } else { NatPrograms::Resting };
        assert_eq!(settled_after(last), 2 * TIME, "it began when it was about to be enough");
    }

    #[test]
    fn a_program_that_never_rests_is_not_waited_for_without_end() {
        assert_eq!(settled_after(|_| NatPrograms::Working), TIME + MOST);
    }
}
