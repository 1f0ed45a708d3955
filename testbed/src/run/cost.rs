//! How long a run is expected to take, trial by trial and as a whole: for even shards, for the time left, and before a run. Pure.

use std::time::Duration;

use crate::model::catalogue::Catalogue;
use crate::model::event::{Forecast, TrialForecast};
use crate::model::suite::{Cell, Suite};
use crate::run::prepared_cell::PreparedCell;
use crate::run::queue::Patience;
use crate::run::request::RunError;

/// What a trial takes beside waiting for packets: its programs are started, and its lab is reset.
const OVERHEAD: Duration = Duration::from_millis(60);

/// Trips of a trial that passes: to the rendezvous server and back, to the peer and back, and the authentication.
const TRIPS: u32 = 8;

/// Processor time of a trial: 18 ms where nothing else runs (`docs/performance.md`, "A trial"), rounded up. Trials wait side by side,
/// but they share the processors.
const PROCESSOR_TIME: Duration = Duration::from_millis(20);

/// How many trials run at the same time, and on how many processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Trials.
    pub trials: usize,
    /// Processors.
    pub processors: usize,
}

/// The time that all trials of a cell take together: those that fail take until the deadline.
///
/// # Errors
/// When the cell cannot be run at all.
pub fn expected_time(suite: &Suite, catalogue: &Catalogue, cell: &Cell) -> Result<Duration, RunError> {
    let ready = PreparedCell::new(suite, catalogue, cell)?;
    Ok(expected_time_of_one(&ready) * ready.part.trials)
}

/// The time that one trial of a cell takes.
#[must_use]
pub(super) fn expected_time_of_one(ready: &PreparedCell) -> Duration {
    let passes = ready.expected.as_ref().map_or(0.5, |expected| expected.probability);
    OVERHEAD + TRIPS * ready.trip.mul_f64(passes) + ready.part.budget.deadline.mul_f64(1.0 - passes)
}

/// What a trial of a cell does most of the time: one that more likely fails than not waits for its deadline.
#[must_use]
pub(super) fn patience(ready: &PreparedCell) -> Patience {
    match &ready.expected {
        _ if ready.has_neighbours() => Patience::Works,
        Ok(expected) if expected.probability >= 0.5 => Patience::Works,
        _ => Patience::Waits,
    }
}

/// How long these cells of a suite are expected to take.
///
/// # Errors
/// As [`expected_time`].
pub fn forecast_of_suite(
    suite: &Suite,
    catalogue: &Catalogue,
    cells: &[Cell],
    places: Places,
) -> Result<Forecast, RunError> {
    let ready = cells.iter().map(|cell| PreparedCell::new(suite, catalogue, cell));
    Ok(forecast(&ready.collect::<Result<Vec<_>, _>>()?, places))
}

/// How long these cells are expected to take.
#[must_use]
pub(super) fn forecast(cells: &[PreparedCell], places: Places) -> Forecast {
    let each = cells.iter().map(|ready| (expected_time_of_one(ready), ready.part.trials));
    forecast_of_times(&each.collect::<Vec<_>>(), places)
}

/// The same of cells whose trials take so long and are so many.
fn forecast_of_times(cells: &[(Duration, u32)], places: Places) -> Forecast {
    let share = |time: Duration, of: usize| time.div_f64(of.max(1) as f64);
    let computes = share(PROCESSOR_TIME, places.processors);
    let (mut trials, mut waiting, mut computing) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for (takes, count) in cells {
        let waits = share(*takes, places.trials);
        trials.push(TrialForecast { takes: *takes, work: waits + computes });
        waiting += waits * *count;
        computing += computes * *count;
    }
    let longest = trials.iter().map(|trial| trial.takes).max().unwrap_or_default();
    // Trials wait and compute at the same time: what there is more of takes the time.
    Forecast { trials, work: waiting + computing, takes: waiting.max(computing).max(longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(cells: &[(u64, u32)], trials: usize, processors: usize) -> Duration {
        let cells: Vec<_> = cells.iter().map(|(ms, trials)| (Duration::from_millis(*ms), *trials)).collect();
        let forecast = forecast_of_times(&cells, Places { trials, processors });
        let work: Duration =
            forecast.trials.iter().zip(&cells).map(|(one, (_, count))| one.work * *count).sum();
        assert!(forecast.work.abs_diff(work) < Duration::from_micros(1), "{forecast:?}");
        forecast.takes
    }

    #[test]
    fn a_run_takes_what_there_is_most_of() {
        let seconds = Duration::from_secs;
        assert_eq!(takes(&[(1_000, 100)], 10, 2), seconds(10), "waiting");
        assert_eq!(takes(&[(1_000, 1_000)], 1_000, 2), seconds(10), "computing");
        assert_eq!(takes(&[(3_500, 1), (100, 10)], 100, 2), Duration::from_millis(3_500), "one trial");
        assert_eq!(takes(&[], 10, 2), Duration::ZERO);
    }
}
