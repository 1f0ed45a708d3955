//! How silence is waited for, where a program carries the packets across and takes its own time.

use std::time::{Duration, Instant};

use super::ANSWER_DEADLINE;
use crate::kernel::error::Result;

/// How often such a NAT is looked at.
const GLANCE: Duration = Duration::from_micros(200);

/// How long nothing must come before silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Patience {
    /// For a moment: the question is asked again, or silence says nothing.
    Short,
    /// For so long that a machine which works at all has answered: a row may say that nothing came.
    Long,
}

impl Patience {
    const fn time(self) -> Duration {
        Duration::from_millis(match self {
            Self::Short => 40,
            Self::Long => 400,
        })
    }
}

/// Looks until nothing new has been seen for a while, or until what was seen is enough. A NAT that has something to do is waited
/// for longer: where many programs want few processors, an answer takes its time. Each look hears whether silence would end with it,
/// and then tells whether the NAT still has work.
pub(super) fn until_silent<T>(
    patience: Patience,
    clock: impl Fn() -> Instant,
    mut seen: Vec<T>,
    mut look: impl FnMut(&mut Vec<T>, bool) -> Result<bool>,
    is_enough: impl Fn(&[T]) -> bool,
) -> Result<Vec<T>> {
    let began = clock();
    let mut last = began;
    loop {
        // The time is taken before the look: what comes after the look is not silence, however late the clock is read.
        let (looked, before) = (clock(), seen.len());
        let is_silent = looked.saturating_duration_since(last) > patience.time();
        let has_work = look(&mut seen, is_silent)?;
        let is_new = seen.len() > before;
        if is_new {
            last = clock();
        }
        if is_enough(&seen) || (is_silent && !is_new && !has_work) || looked - began > ANSWER_DEADLINE {
            return Ok(seen);
        }
        std::thread::sleep(GLANCE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_comes_while_the_probe_has_no_processor_is_not_silence() {
        let (began, passed, looks) = (Instant::now(), Cell::new(Duration::ZERO), Cell::new(0));
        let look = |seen: &mut Vec<&str>, _| {
            if looks.replace(looks.get() + 1) == 1 {
                seen.push("an answer");
            }
            // Right after each look, the processor does something else for a second.
            passed.set(passed.get() + Duration::from_secs(1));
            Ok(false)
        };
        let seen = until_silent(Patience::Long, || began + passed.get(), Vec::new(), look, |_| false);
        assert_eq!(seen.expect("no error"), ["an answer"]);
    }

    #[test]
    fn a_program_that_has_work_is_waited_for() {
        let (began, passed) = (Instant::now(), Cell::new(Duration::ZERO));
        let look = |seen: &mut Vec<&str>, _| {
            passed.set(passed.get() + Duration::from_millis(100));
            // It gets a processor after two seconds.
            if passed.get() == Duration::from_secs(2) {
                seen.push("an answer");
            }
            Ok(passed.get() < Duration::from_secs(2))
        };
        let seen = until_silent(Patience::Long, || began + passed.get(), Vec::new(), look, |_| false);
        assert_eq!(seen.expect("no error"), ["an answer"]);
        assert!(passed.get() < Duration::from_secs(3), "{:?}", passed.get());
    }
}
