//! Reads how long connection tracking lets a mapping live in each state, and what is to be declared of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::model::behavior::Timeouts;
use crate::probe::prove::lifetimes::{WAYS, drive, left, read_absolute, timer};
use crate::probe::prove::prober::Prober;

/// Longer than the longest tick of a kernel, 10 ms: what is left of a timer is then less than all of it, and what the
/// kernel says, rounded down to whole seconds, is one second less.
const MORE_THAN_A_TICK: Duration = Duration::from_millis(30);

/// How soon the kernel must be asked, so that it is one second less and no more.
const SECOND: Duration = Duration::from_secs(1);

/// How often a timer is read by a probe that is too slow.
const TRIES: usize = 5;

/// How long a mapping lives in each state, by the timer's name; `None` where no mapping was in the state.
pub(super) type TimersSeen = Vec<(&'static str, Option<Duration>)>;

/// Reads every timer.
pub(super) fn survey(prober: &mut Prober) -> Result<TimersSeen> {
    WAYS.into_iter().map(|(name, _)| Ok((name, read(prober, name)?))).collect()
}

fn read(prober: &mut Prober, name: &str) -> Result<Option<Duration>> {
    let Some((_, steps)) = WAYS.iter().find(|(timer, _)| *timer == name) else { return Ok(None) };
    for _ in 0..TRIES {
        prober.bench.forget()?;
        let began = Instant::now();
        let Some(driven) = drive(prober, steps)? else { return Ok(None) };
        sleep(MORE_THAN_A_TICK);
        let Some(left) = left(prober, &driven)? else { return Ok(None) };
        if began.elapsed() < SECOND {
            return Ok(Some(left + SECOND));
        }
    }
    Err(Error::other(
        format!("read the timer {name}"),
        "machine too slow: each try took longer than a second",
    ))
}

/// The absolute timeout, in whole seconds.
pub(super) fn absolute(prober: &mut Prober) -> Result<Option<Duration>> {
    let whole = |left: Duration| Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
    Ok(read_absolute(prober)?.map(whole))
}

/// What is to be declared, so that each timer is as it was seen: nothing where the kernel's default explains it.
///
/// A FIN waits for its acknowledgment, and a timer that no connection outlives is not seen: such a timer is cut to another.
/// Where its own default would be cut to the same, it is left at that.
pub(super) fn declare(seen: &TimersSeen) -> Timeouts {
    let value = |name: &str| seen.iter().find(|(timer, _)| *timer == name).and_then(|(_, value)| *value);
    let cut_to = |name: &str| match name {
        "fin_wait" => value("unacknowledged"),
        "unacknowledged" | "max_retrans" => value("established"),
        _ => None,
    };
    let mut timeouts = Timeouts::default();
    for (name, _, default) in Timeouts::default().timers() {
        let Some(value) = value(name) else { continue };
        let explained = cut_to(name).map_or(default, |limit| default.min(limit));
        if value != explained {
            *timer(&mut timeouts, name) = Some(value);
        }
    }
    timeouts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(change: &[(&'static str, u64)]) -> TimersSeen {
        let value = |name: &str, default: Duration| {
            let changed = change.iter().find(|(timer, _)| *timer == name);
            changed.map_or(default, |(_, seconds)| Duration::from_secs(*seconds))
        };
        Timeouts::default().timers().into_iter().map(|(n, _, d)| (n, Some(value(n, d)))).collect()
    }

    #[test]
    fn the_kernels_own_timers_are_not_declared() {
        assert_eq!(declare(&seen(&[])), Timeouts::default());
    }

    #[test]
    fn what_differs_is_declared() {
        let timeouts = declare(&seen(&[("established", 7_440), ("close", 9)]));
        assert_eq!(timeouts.to_string(), "established 7440 s, close 9 s");
    }

    #[test]
    fn a_timer_that_is_cut_to_another_is_left_at_its_default() {
        let timeouts = declare(&seen(&[("established", 200), ("unacknowledged", 200), ("max_retrans", 200)]));
        assert_eq!(timeouts.to_string(), "established 200 s");
        let long = declare(&seen(&[("unacknowledged", 7_440), ("fin_wait", 7_440)]));
        assert_eq!(long.to_string(), "fin_wait 7440 s, unacknowledged 7440 s");
    }
}
