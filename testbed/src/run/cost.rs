//! How long a cell is expected to take, so that shards are even. Pure.

use std::time::Duration;

use crate::model::catalogue::Catalogue;
use crate::model::suite::{Cell, Suite};
use crate::run::prepared_cell::PreparedCell;
use crate::run::queue::Patience;
use crate::run::request::RunError;

/// What a trial takes beside waiting for packets: its programs are started, and its lab is reset.
const OVERHEAD: Duration = Duration::from_millis(60);

/// Trips of a trial that passes: to the rendezvous server and back, to the peer and back, and the authentication.
const TRIPS: u32 = 8;

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

/// How long all these cells take if this many trials run at a time, with processors to spare.
///
/// # Errors
/// As [`expected_time`].
pub fn expected_time_of_all(
    suite: &Suite,
    catalogue: &Catalogue,
    cells: &[Cell],
    at_a_time: usize,
) -> Result<Duration, RunError> {
    let mut all = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for cell in cells {
        let cell_takes = expected_time(suite, catalogue, cell)?;
        all += cell_takes;
        longest = longest.max(cell_takes / suite.part(cell).trials.max(1));
    }
    let side_by_side = u32::try_from(at_a_time.max(1)).unwrap_or(u32::MAX);
    Ok((all / side_by_side).max(longest))
}
