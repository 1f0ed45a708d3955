//! Which cells of a baseline have so few trials that no comparison with it could show even a total change, and how many
//! trials would do.

use std::fmt;

use super::{Comparison, ErrorRateShares};
use crate::model::statistics::{Count, FALSE_ALARMS_PER_RUN, Rates, changed_rates};
use crate::report::baseline::Baseline;
use crate::report::escape::harmless;

/// More trials than this are not asked for.
const MOST_TRIALS: u64 = 1_000_000;

/// The cells of a baseline that have too few trials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// How many there are.
    pub cells: usize,
    /// One that needs the most trials.
    pub example: String,
    /// The trials a cell that are enough for all of them, in the baseline and in each run.
    pub needed: u64,
}

impl Shortage {
    /// What a baseline is short of where later runs have as many trials as `run`; `None` where it is short of nothing.
    #[must_use]
    pub fn of(baseline: &Baseline, run: &Baseline) -> Option<Self> {
        let compared = Comparison::new(baseline, run);
        let shares = ErrorRateShares::of(FALSE_ALARMS_PER_RUN, compared.cells.len(), 0);
        let blind = compared.blind().filter_map(|id| {
            let count = baseline.cells.get(id)?.count();
            Some((id, needed(count, shares.rate)?))
        });
        let (example, needed) = blind.max_by_key(|(_, needed)| *needed)?;
        Some(Self { cells: compared.blind().count(), example: example.to_owned(), needed })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cells, example, needed } = self;
        let cells = if *cells == 1 { "1 cell has".to_owned() } else { format!("{cells} cells have") };
        write!(
            f,
            "{cells} too few trials to show even a total change, as {}: {needed} trials are enough, in the baseline and \
             in each run (testbed run SUITE --trials {needed})",
            harmless(example)
        )
    }
}

/// How many trials, before and now, show a total change from the rate of `count`; `None` without any trial.
fn needed(count: Count, alpha: f64) -> Option<u64> {
    if count.tried == 0 {
        return None;
    }
    let enough = |tried: &u64| {
        let passed = (count.rate() * *tried as f64).round() as u64;
        let before = Count { passed, tried: *tried };
        changed_rates(before, *tried, alpha).sees_total_change(Rates::exactly(before.rate()))
    };
    // Rounding lets single numbers fall out of line; what is named is enough, and few too many.
    let upper = std::iter::successors(Some(1_u64), |tried| Some(tried * 2))
        .find(|t| *t > MOST_TRIALS || enough(t))?;
    (upper / 2..=upper.min(MOST_TRIALS)).find(enough)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::baseline::Record;

    fn baseline(cells: &[(&str, u64, u64)]) -> Baseline {
        let record = |passed, failed| Record { passed, failed, trip_ms: 20.0, ..Record::default() };
        let cells =
            cells.iter().map(|(id, passed, failed)| ((*id).to_owned(), record(*passed, *failed))).collect();
        Baseline { cells, ..Baseline::default() }
    }

    #[test]
    fn the_trials_that_are_named_are_enough_and_one_fewer_are_not() {
        let few = baseline(&[("even", 2, 2), ("sure", 20, 0)]);
        let short = Shortage::of(&few, &few).expect("four trials are too few");
        assert_eq!((short.cells, short.example.as_str()), (1, "even"));
        let with = |tried: u64| baseline(&[("even", tried.div_ceil(2), tried / 2), ("sure", 20, 0)]);
        assert_eq!(Shortage::of(&with(short.needed), &with(short.needed)), None);
        assert!(Shortage::of(&with(short.needed - 1), &with(short.needed - 1)).is_some(), "{short}");
    }

    #[test]
    fn a_baseline_of_many_runs_needs_fewer_trials_in_each() {
        let (many, once) = (baseline(&[("a", 100, 0)]), baseline(&[("a", 6, 0)]));
        assert!(Shortage::of(&once, &once).is_some());
        assert_eq!(Shortage::of(&many, &once), None);
    }
}
