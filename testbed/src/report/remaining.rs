//! How long a run will still take: the forecast of it, corrected by the speed of this run. Pure: the time is passed in.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::event::{RunInfo, TrialForecast};

/// The share of the work that is taken to have gone at the speed of the forecast before the run began: it steadies the first estimates.
const PRIOR: f64 = 0.05;

/// What a trial that is under way has done at most of its work: nobody knows when it ends.
const NEARLY_ALL: f64 = 0.95;

/// The work of a run, in seconds as [`TrialForecast`] counts them, or in trials where there is no forecast.
#[derive(Debug, Default)]
pub(super) struct RemainingTime {
    /// One trial of each cell, by its id.
    trials: HashMap<String, TrialForecast>,
    /// Work of all trials, and of those that ended.
    all: f64,
    done: f64,
    /// Seconds that all of it takes by the forecast.
    takes: f64,
    /// Trials that are under way, and when they began.
    under_way: HashMap<(String, u32), Duration>,
}

impl RemainingTime {
    /// A run begins.
    pub(super) fn new(info: &RunInfo) -> Self {
        let ids = info.cells.iter().map(|cell| cell.id.clone());
        let trials: HashMap<_, _> = ids.zip(info.forecast.trials.iter().copied()).collect();
        let work = info.forecast.work.as_secs_f64();
        Self {
            all: if trials.is_empty() { info.trials_in_all as f64 } else { work },
            takes: info.forecast.takes.as_secs_f64(),
            trials,
            ..Self::default()
        }
    }

    /// A trial begins.
    pub(super) fn begun(&mut self, cell: &str, number: u32, now: Duration) {
        self.under_way.insert((cell.to_owned(), number), now);
    }

    /// A trial, or a check of the kernel, ended.
    pub(super) fn ended(&mut self, cell: &str, number: u32) {
        self.under_way.remove(&(cell.to_owned(), number));
        self.done += self.work(cell);
    }

    /// The share of the work that is done; less than 1 until the run is over.
    pub(super) fn share(&self) -> f64 {
        if self.all > 0.0 { (self.done / self.all).min(0.99) } else { 0.0 }
    }

    /// How long it will still take, so long after the first trial began; nothing where nobody can say.
    pub(super) fn left(&self, now: Duration, since: Option<Duration>) -> Duration {
        let played = since.map(|since| now.saturating_sub(since)).unwrap_or_default().as_secs_f64();
        let done = (self.done + self.half_done(now)).min(self.all);
        let prior = if self.trials.is_empty() { 0.0 } else { PRIOR };
        let work = done + prior * self.all;
        if work <= 0.0 {
            return Duration::ZERO;
        }
        let rest = (self.all - done) * (played + prior * self.takes) / work;
        Duration::from_secs_f64(rest.max(self.last_to_end(now)).min(1e9))
    }

    fn work(&self, cell: &str) -> f64 {
        self.trials.get(cell).map_or(1.0, |trial| trial.work.as_secs_f64())
    }

    /// What the trials that are under way have done.
    fn half_done(&self, now: Duration) -> f64 {
        let share = |cell: &str, began: Duration| {
            let takes = self.trials.get(cell)?.takes.as_secs_f64();
            Some((now.saturating_sub(began).as_secs_f64() / takes.max(0.001)).min(NEARLY_ALL))
        };
        let each = self.under_way.iter();
        each.map(|((cell, _), began)| share(cell, *began).unwrap_or_default() * self.work(cell)).sum()
    }

    /// How long the trial that is under way and ends last will still take.
    fn last_to_end(&self, now: Duration) -> f64 {
        let left = |cell: &str, began: Duration| {
            let takes = self.trials.get(cell).map(|trial| trial.takes).unwrap_or_default();
            takes.saturating_sub(now.saturating_sub(began))
        };
        let each = self.under_way.iter().map(|((cell, _), began)| left(cell, *began));
        each.max().unwrap_or_default().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Event, Forecast};
    use crate::report::sample::events;

    /// Trials of each cell, as in the matrix.
    const TRIALS: u32 = 20;

    /// A run of 30 cells that wait for their deadline and 90 that connect, 256 trials at a time on two processors, each with 20 ms.
    fn run() -> RunInfo {
        let Event::RunStarted(info) = events().swap_remove(0) else { panic!("a run starts") };
        let cell = |index: usize| {
            let mut cell = info.cells[0].clone();
            cell.id = format!("cell-{index}");
            cell
        };
        let cells: Vec<_> = (0..120).map(cell).collect();
        let jobs = 256;
        let trial = |index| {
            let takes = Duration::from_millis(if index < 30 { 3_560 } else { 180 });
            TrialForecast { takes, work: takes / jobs + Duration::from_millis(10) }
        };
        let trials: Vec<_> = (0..cells.len()).map(trial).collect();
        let work = trials.iter().map(|trial| trial.work * TRIALS).sum();
        let trials_in_all = u64::from(TRIALS) * cells.len() as u64;
        let forecast = Forecast { trials, work, takes: Duration::from_secs(24) };
        RunInfo { cells, forecast, trials_in_all, jobs: jobs as usize, ..info }
    }

    #[test]
    fn it_takes_at_least_as_long_as_the_trial_that_ends_last() {
        let info = run();
        let mut remaining = RemainingTime::new(&info);
        let quick = (1..=TRIALS).flat_map(|number| info.cells[1..].iter().map(move |cell| (cell, number)));
        let waits = (2..=TRIALS).map(|number| (&info.cells[0], number));
        quick.chain(waits).for_each(|(cell, number)| remaining.ended(&cell.id, number));
        remaining.begun(&info.cells[0].id, 1, Duration::from_secs(30));
        let left = |ms| remaining.left(Duration::from_millis(ms), Some(Duration::ZERO));
        assert_eq!(left(30_000), Duration::from_millis(3_560));
        assert_eq!(left(31_000), Duration::from_millis(2_560));
        assert!(left(40_000) < Duration::from_secs(1), "it should have ended");
    }

    /// Plays the run where each trial keeps a processor for so long. For each second: the time so far, the estimate, the share.
    fn played(processor: Duration) -> Vec<(f64, f64, f64)> {
        let info = run();
        let mut remaining = RemainingTime::new(&info);
        let mut begins: Vec<(Duration, Duration, String, u32)> = Vec::new();
        let cells = info.cells.iter().zip(&info.forecast.trials);
        for (number, (cell, trial)) in
            (1..=TRIALS).flat_map(|number| cells.clone().map(move |cell| (number, cell)))
        {
            // Two processors begin the trials one after the other; a trial waits for a place if all are taken.
            let turn = begins.len() as u32 * processor / 2;
            let place =
                begins.len().checked_sub(info.jobs).map_or(Duration::ZERO, |earlier| begins[earlier].1);
            let begin = turn.max(place);
            begins.push((begin, begin + trial.takes + processor, cell.id.clone(), number));
        }
        let mut happens: Vec<(Duration, bool, &str, u32)> = Vec::new();
        for (begin, end, cell, number) in &begins {
            happens.extend([(*begin, true, cell.as_str(), *number), (*end, false, cell.as_str(), *number)]);
        }
        happens.sort();
        let over = happens.last().expect("trials").0.as_secs();
        let mut told = Vec::new();
        let mut happens = happens.into_iter().peekable();
        for second in 0..over {
            let now = Duration::from_secs(second);
            while let Some((at, begins, cell, number)) = happens.next_if(|(at, ..)| *at <= now) {
                match begins {
                    true => remaining.begun(cell, number, at),
                    false => remaining.ended(cell, number),
                }
            }
            told.push((
                second as f64,
                remaining.left(now, Some(Duration::ZERO)).as_secs_f64(),
                remaining.share(),
            ));
        }
        told
    }

    #[test]
    fn a_machine_as_theory_expects_is_estimated_from_the_begin() {
        let told = played(Duration::from_millis(20));
        let all = told.len() as f64;
        for (second, left, _) in told {
            assert!((second + left - all).abs() < 0.3 * all, "{second} s of {all} s: {left} s left");
        }
    }

    #[test]
    fn a_slow_machine_is_noticed_and_the_estimate_stays() {
        // As on a machine where others compute, too.
        for times in [3, 6] {
            let told = played(Duration::from_millis(20) * times);
            let all = told.len() as f64;
            for (second, left, share) in told.iter().filter(|(second, ..)| *second >= 0.15 * all) {
                let error = (second + left - all).abs();
                assert!(error < 0.3 * all, "{second} s of {all} s: {left} s left");
                assert!((share - second / all).abs() < 0.2, "{second} s of {all} s: {share}");
            }
            let jumps = told
                .windows(2)
                .skip(told.len() / 5)
                .filter(|pair| pair[1].1 > pair[0].1 + 0.05 * all)
                .count();
            assert_eq!(jumps, 0, "{told:?}");
        }
    }
}
