//! The processors: how many there are, and how busy they are, whatever the reason.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::kernel::error::{Error, Result};

/// How many this process may use.
#[must_use]
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the processors have done since the machine started, in ticks of 10 ms usually.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// Until now; `None` where the kernel does not tell.
    #[must_use]
    pub fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and guests, who are counted
    /// in user and nice already (proc_stat(5)).
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).take(8).collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { idle, all: ticks.iter().sum() })
    }

    /// The share of the time since `earlier` in which a processor had nothing to do, from 0 to 1; `None` when no time has
    /// passed.
    #[must_use]
    pub fn idle_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.idle.saturating_sub(earlier.idle) as f64 / all as f64)
    }
}

/// Keeps the calling thread on the processor that it is on, and says which that is.
///
/// # Errors
/// When the kernel refuses.
pub fn stay_on_one() -> Result<usize> {
    const TRIED: &str = "stay on one processor";
    let failed = |call: &'static str| move |errno| Error::call(TRIED, call, errno);
    // SAFETY: the call takes no arguments.
    let processor = unsafe { libc::sched_getcpu() };
    let processor = usize::try_from(processor).map_err(|_| Error::other(TRIED, "sched_getcpu failed"))?;
    let mut set = CpuSet::new();
    set.set(processor).map_err(failed("CPU_SET"))?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(failed("sched_setaffinity"))?;
    Ok(processor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_told_from_work() {
        let at = |text| Ticks::parse(text).unwrap();
        let before = at("cpu  100 10 50 800 40 0 5 3 7 1\ncpu0 1 2 3 4\n");
        let after = at("cpu  130 10 60 850 50 0 5 3 9 1\n");
        assert_eq!(after.idle_since(before), Some(0.6));
        assert_eq!(before.idle_since(before), None);
        assert_eq!(Ticks::parse("intr 1 2 3\n"), None);
    }

    #[test]
    fn the_machine_tells() {
        assert!(Ticks::read().is_some());
    }
}
