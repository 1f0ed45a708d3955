//! How long a lab is left alone until what was sent in it has arrived. Pure.
//!
//! The kernel carries packets at once. A wire holds them for a while, and a program that makes a NAT may wait for a processor and still
//! have some.

use std::time::Duration;

use tokio::time::Instant;

use crate::lab::nat_program::NatPrograms;

/// How often programs are looked at.
const GLANCE: Duration = Duration::from_millis(1);

/// How much longer programs that never rest are waited for.
const MOST: Duration = Duration::from_secs(2);

/// Whether frames pass the links of a lab.
#[derive(Debug)]
pub(super) struct Passing {
    seen: u64,
}

impl Passing {
    /// So many have passed until now.
    pub(super) fn begin(frames: u64) -> Self {
        Self { seen: frames }
    }

    /// What the programs do that make NATs; where frames have passed since the last time, the lab works as if one of them did.
    pub(super) fn or(&mut self, programs: NatPrograms, frames: u64) -> NatPrograms {
        let before = std::mem::replace(&mut self.seen, frames);
        if before == frames { programs.max(NatPrograms::Resting) } else { NatPrograms::Working }
    }
}

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
    use std::cell::RefCell;

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
    fn a_link_where_frames_pass_is_waited_for_until_it_has_been_quiet() {
        let frames = |passed: Duration| passed.as_millis().min(200) as u64 / 25;
        let passing = RefCell::new(Passing::begin(0));
        let state = |passed| passing.borrow_mut().or(NatPrograms::Absent, frames(passed));
        assert_eq!(settled_after(state), Duration::from_millis(200) + TIME);
        let mut passing = Passing::begin(3);
        assert_eq!(passing.or(NatPrograms::Working, 3), NatPrograms::Working);
    }

    #[test]
    fn a_program_that_never_rests_is_not_waited_for_without_end() {
        assert_eq!(settled_after(|_| NatPrograms::Working), TIME + MOST);
    }
}
