//! The tests of one cell: of how often it passes and of how long that takes, and what they could have shown.

use super::{CellPair, Change, ChangeKind, ComparedCell, ErrorRateShares, TotalChange, figure, shift};
use crate::model::statistics::{
    Count, Rates, Sensitivity, changed_rates, not_larger, not_larger_size, same_rate, same_rate_size,
};
use crate::report::baseline::Record;

/// A longer time is a change only beyond half a trip: a packet more or less takes a whole one.
const TRIPS_TOLERATED: f64 = 0.5;

/// … and beyond what a busy machine may add.
const MS_TOLERATED: f64 = 10.0;

/// The changes of a cell: none, of its rate, of its time, or both.
pub(super) fn changes(pair: CellPair<'_>, shares: ErrorRateShares) -> Vec<Change> {
    let CellPair { id, before, now } = pair;
    let rate = same_rate(before.count(), now.count());
    let mut changes = Vec::new();
    if rate < shares.rate {
        changes.push(Change {
            id: id.to_owned(),
            kind: of_rate(before.count(), now.count()),
            before: figure(before.count()),
            now: figure(now.count()),
            by_chance: Some(rate),
            cause: shift(&before.causes, &now.causes),
        });
    }
    for (kind, earlier, later) in [(ChangeKind::Slower, before, now), (ChangeKind::Faster, now, before)] {
        let chance = 2.0 * not_larger(&tolerated(earlier, later), &later.trips);
        if chance < shares.time {
            changes.push(Change {
                id: id.to_owned(),
                kind,
                before: time(&before.trips),
                now: time(&now.trips),
                by_chance: Some(chance),
                cause: shift(&before.won_by, &now.won_by),
            });
        }
    }
    changes
}

/// Probability that any of the tests of a cell finds a change though there is none.
pub(super) fn size(pair: CellPair<'_>, shares: ErrorRateShares) -> f64 {
    let CellPair { before, now, .. } = pair;
    let times = [(before, now), (now, before)]
        .map(|(earlier, later)| not_larger_size(&tolerated(earlier, later), &later.trips, shares.time / 2.0));
    same_rate_size(before.count(), now.count(), shares.rate) + times[0] + times[1]
}

/// What the comparison of a cell's rates could have shown.
pub(super) fn sensitivity(pair: CellPair<'_>, shares: ErrorRateShares) -> ComparedCell {
    let (before, tried) = (pair.before.count(), pair.now.count().tried);
    let id = pair.id.to_owned();
    if before.tried == 0 {
        let sensitivity = Sensitivity { false_alarm: 0.0, fall_to: None, rise_to: None };
        return ComparedCell { id, before, tried, sensitivity, total_change: TotalChange::Undetectable };
    }
    let (region, rates) = (changed_rates(before, tried, shares.rate), Rates::exactly(before.rate()));
    let false_alarm = same_rate_size(before, pair.now.count(), shares.rate);
    let sensitivity = Sensitivity { false_alarm, ..region.sensitivity(rates) };
    let total_change =
        if region.sees_total_change(rates) { TotalChange::Detectable } else { TotalChange::Undetectable };
    ComparedCell { id, before, tried, sensitivity, total_change }
}

/// The earlier times, each with what is tolerated: what lies beyond is later.
fn tolerated(earlier: &Record, later: &Record) -> Vec<f64> {
    let noise = if later.trip_ms > 0.0 { MS_TOLERATED / later.trip_ms } else { 0.0 };
    let tolerated = TRIPS_TOLERATED.max(noise);
    earlier.trips.iter().map(|trips| trips + tolerated).collect()
}

fn of_rate(before: Count, now: Count) -> ChangeKind {
    match (now.passed, before.passed == before.tried) {
        (0, _) => ChangeKind::Broken,
        (_, true) => ChangeKind::Flaky,
        _ if now.rate() < before.rate() => ChangeKind::Worse,
        _ => ChangeKind::Better,
    }
}

/// The median.
fn time(trips: &[f64]) -> String {
    match trips.get(trips.len() / 2) {
        Some(middle) => format!("{middle} one-way delays"),
        None => "-".to_owned(),
    }
}
