//! Holds what a run found against what another one found: which cells changed, and for what cause.
//!
//! Two things can change in a cell: how often it passes, and how long that takes, in trips. Each is an exact test, and
//! the error rate of [`FALSE_ALARMS_PER_RUN`] is shared out over both tests of all cells, so that two runs of the same
//! programs on the same NATs are told apart once in 100,000 comparisons. What a check of the kernel sees is one word,
//! and any other word is a change.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::statistics::FALSE_ALARMS_PER_RUN;
use crate::model::statistics::{Count, not_larger, same_rate};
use crate::report::baseline::{Baseline, Record};

/// A longer time is a change only beyond half a trip: a packet more or less takes a whole one.
const TRIPS_TOLERATED: f64 = 0.5;

/// … and beyond what a busy machine may add.
const MS_TOLERATED: f64 = 10.0;

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Cells and checks that are in both.
    pub compared: usize,
    /// Those that changed, in the order of their ids.
    pub changes: Vec<Change>,
    /// Ids that only the older run has.
    pub missing: Vec<String>,
    /// Ids that only the newer run has.
    pub new: Vec<String>,
    /// Ids of cells in which something broke in either run, so that nothing can be said.
    pub broken: Vec<String>,
    /// Cells with so few trials that even a total change would not have been seen.
    pub blind: Vec<String>,
    /// The kernels, where they differ.
    pub kernels: Option<(String, String)>,
}

/// A cell that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The cell.
    pub id: String,
    /// In which way.
    pub kind: Kind,
    /// What was: `20/20` or `2.1 trips`.
    pub before: String,
    /// What is.
    pub now: String,
    /// How likely that is without a change; `None` where nothing is left to chance.
    pub by_chance: Option<f64>,
    /// Causes of failures or ways of winning that came or went.
    pub cause: String,
}

/// How a cell changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It passed, and never does any more.
    Broken,
    /// It always passed, and only sometimes does.
    Flaky,
    /// It passes less often.
    Worse,
    /// It passes more often.
    Better,
    /// It takes longer.
    Slower,
    /// It takes less long.
    Faster,
    /// A check saw something else.
    Other,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Flaky => "flaky",
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::Other => "changed",
        }
    }
}

impl Comparison {
    /// Compares what was with what is.
    #[must_use]
    pub fn new(before: &Baseline, now: &Baseline) -> Self {
        let cells = pairs(&before.cells, &now.cells);
        let checks = pairs(&before.checks, &now.checks);
        let alpha = FALSE_ALARMS_PER_RUN / cells.len().max(1) as f64 / 2.0;
        let usable = || cells.iter().filter(|(_, before, now)| before.broken + now.broken == 0);
        let mut changes: Vec<Change> =
            usable().flat_map(|(id, before, now)| of_cell(id, before, now, alpha)).collect();
        changes.extend(checks.iter().filter(|(_, a, b)| a != b).map(|(id, a, b)| of_check(id, a, b)));
        changes.sort_by(|a, b| a.id.cmp(&b.id).then(a.kind.cmp(&b.kind)));
        let blind = usable().filter(|(_, before, now)| is_blind(before.count(), now.count(), alpha));
        let broken = cells.iter().filter(|(_, before, now)| before.broken + now.broken > 0);
        let (old, new) = (ids(before), ids(now));
        Self {
            compared: cells.len() + checks.len(),
            changes,
            missing: old.difference(&new).map(|id| (*id).clone()).collect(),
            new: new.difference(&old).map(|id| (*id).clone()).collect(),
            broken: broken.map(|(id, ..)| (*id).to_owned()).collect(),
            blind: blind.map(|(id, ..)| (*id).to_owned()).collect(),
            kernels: (before.kernel != now.kernel).then(|| (before.kernel.clone(), now.kernel.clone())),
        }
    }

    /// Whether nothing changed and nothing that was there is lost; what is new changes nothing.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty() && self.missing.is_empty()
    }
}

/// Everything that a run has, by name.
fn ids(run: &Baseline) -> BTreeSet<&String> {
    run.cells.keys().chain(run.checks.keys()).collect()
}

/// What is in both, by its id.
fn pairs<'a, T>(
    before: &'a BTreeMap<String, T>,
    now: &'a BTreeMap<String, T>,
) -> Vec<(&'a str, &'a T, &'a T)> {
    before.iter().filter_map(|(id, old)| Some((id.as_str(), old, now.get(id)?))).collect()
}

/// The changes of a cell: none, of its rate, of its time, or both.
fn of_cell(id: &str, before: &Record, now: &Record, alpha: f64) -> Vec<Change> {
    let rate = same_rate(before.count(), now.count());
    let (slower, faster) = (later(before, now), later(now, before));
    let mut changes = Vec::new();
    if rate < alpha {
        changes.push(Change {
            id: id.to_owned(),
            kind: of_rate(before.count(), now.count()),
            before: figure(before.count()),
            now: figure(now.count()),
            by_chance: Some(rate),
            cause: shift(&before.causes, &now.causes),
        });
    }
    for (kind, chance) in [(Kind::Slower, slower), (Kind::Faster, faster)] {
        if 2.0 * chance < alpha {
            changes.push(Change {
                id: id.to_owned(),
                kind,
                before: time(&before.trips),
                now: time(&now.trips),
                by_chance: Some(2.0 * chance),
                cause: shift(&before.won_by, &now.won_by),
            });
        }
    }
    changes
}

/// How likely it is that `now` takes no longer than `before` and what is tolerated.
fn later(before: &Record, now: &Record) -> f64 {
    let noise = if now.trip_ms > 0.0 { MS_TOLERATED / now.trip_ms } else { 0.0 };
    let tolerated = TRIPS_TOLERATED.max(noise);
    let before: Vec<f64> = before.trips.iter().map(|trips| trips + tolerated).collect();
    not_larger(&before, &now.trips)
}

fn of_rate(before: Count, now: Count) -> Kind {
    match (now.passed, before.passed == before.tried) {
        (0, _) => Kind::Broken,
        (_, true) => Kind::Flaky,
        _ if now.rate() < before.rate() => Kind::Worse,
        _ => Kind::Better,
    }
}

/// Whether not even the opposite of what was would be seen.
fn is_blind(before: Count, now: Count, alpha: f64) -> bool {
    let opposite = if before.rate() >= 0.5 { 0 } else { now.tried };
    same_rate(before, Count { passed: opposite, ..now }) >= alpha
}

fn of_check(id: &str, before: &str, now: &str) -> Change {
    let (before, now) = (before.to_owned(), now.to_owned());
    Change { id: id.to_owned(), kind: Kind::Other, before, now, by_chance: None, cause: String::new() }
}

fn figure(count: Count) -> String {
    format!("{}/{}", count.passed, count.tried)
}

/// The median.
fn time(trips: &[f64]) -> String {
    match trips.get(trips.len() / 2) {
        Some(middle) => format!("{middle} trips"),
        None => "-".to_owned(),
    }
}

/// Whose numbers changed: `predicted port wrong 0 -> 17`, the largest change first.
fn shift(before: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>) -> String {
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let count = |counts: &BTreeMap<String, usize>, key| counts.get(key).copied().unwrap_or(0);
    let mut changed: Vec<_> = keys
        .into_iter()
        .map(|key| (key, count(before, key), count(now, key)))
        .filter(|(_, a, b)| a != b)
        .collect();
    changed.sort_by_key(|(_, a, b)| std::cmp::Reverse(a.abs_diff(*b)));
    changed.iter().map(|(key, a, b)| format!("{key} {a} -> {b}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(passed: u64, failed: u64, trips: f64) -> Record {
        let passed_times = usize::try_from(passed).expect("few");
        let causes = (failed > 0).then(|| ("filtered".to_owned(), usize::try_from(failed).expect("few")));
        Record {
            passed,
            failed,
            trip_ms: 20.0,
            trips: vec![trips; passed_times],
            causes: causes.into_iter().collect(),
            ..Record::default()
        }
    }

    fn run(cells: &[(&str, Record)]) -> Baseline {
        let cells = cells.iter().map(|(id, record)| ((*id).to_owned(), record.clone())).collect();
        Baseline { suite: "s".to_owned(), kernel: "6".to_owned(), cells, checks: BTreeMap::new() }
    }

    fn kinds(before: Record, now: Record) -> Vec<Kind> {
        let compared = Comparison::new(&run(&[("a", before)]), &run(&[("a", now)]));
        compared.changes.iter().map(|change| change.kind).collect()
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        assert_eq!(kinds(record(20, 0, 2.0), record(20, 0, 2.1)), []);
        assert_eq!(kinds(record(0, 20, 0.0), record(0, 20, 0.0)), []);
        assert_eq!(kinds(record(12, 8, 2.0), record(9, 11, 2.0)), []);
    }

    #[test]
    fn each_kind_of_change_is_told_from_the_others() {
        assert_eq!(kinds(record(20, 0, 2.0), record(0, 20, 0.0)), [Kind::Broken]);
        assert_eq!(kinds(record(200, 0, 2.0), record(150, 50, 2.0)), [Kind::Flaky]);
        assert_eq!(kinds(record(150, 50, 2.0), record(60, 140, 2.0)), [Kind::Worse]);
        assert_eq!(kinds(record(0, 20, 2.0), record(20, 0, 2.0)), [Kind::Better]);
        assert_eq!(kinds(record(20, 0, 2.0), record(20, 0, 3.0)), [Kind::Slower]);
        assert_eq!(kinds(record(20, 0, 3.0), record(20, 0, 2.0)), [Kind::Faster]);
        assert_eq!(kinds(record(200, 0, 2.0), record(100, 100, 9.0)), [Kind::Flaky, Kind::Slower]);
    }

    #[test]
    fn a_busy_machine_is_not_a_slower_program() {
        let late = |ms: f64, trip_ms: f64| {
            let at = |trips| Record { trip_ms, ..record(50, 0, trips) };
            kinds(at(2.0), at(2.0 + ms / trip_ms))
        };
        assert_eq!(late(9.0, 10.0), []);
        assert_eq!(late(11.0, 10.0), [Kind::Slower]);
        assert_eq!(late(49.0, 100.0), []);
        assert_eq!(late(51.0, 100.0), [Kind::Slower]);
    }

    #[test]
    fn causes_that_came_and_went_are_named() {
        let compared =
            Comparison::new(&run(&[("a", record(20, 0, 2.0))]), &run(&[("a", record(0, 20, 0.0))]));
        let change = &compared.changes[0];
        assert_eq!((change.before.as_str(), change.now.as_str()), ("20/20", "0/20"));
        assert_eq!(change.cause, "filtered 0 -> 20");
        assert!(change.by_chance.is_some_and(|p| p < 1e-9), "{change:?}");
    }

    #[test]
    fn what_is_only_in_one_is_told_and_what_broke_is_not_compared() {
        let broken = Record { broken: 1, ..record(0, 19, 0.0) };
        let before = run(&[("a", record(20, 0, 2.0)), ("b", record(20, 0, 2.0)), ("few", record(2, 0, 2.0))]);
        let now = run(&[("b", broken), ("c", record(20, 0, 2.0)), ("few", record(2, 0, 2.0))]);
        let compared = Comparison::new(&before, &now);
        assert_eq!((compared.missing, compared.new), (vec!["a".to_owned()], vec!["c".to_owned()]));
        assert_eq!((compared.broken, compared.blind), (vec!["b".to_owned()], vec!["few".to_owned()]));
        assert_eq!((compared.compared, compared.changes), (2, vec![]));
    }

    #[test]
    fn a_check_that_sees_another_thing_changed() {
        let seen = |word: &str| Baseline {
            checks: BTreeMap::from([("kernel/dnat-range".to_owned(), word.to_owned())]),
            kernel: word.to_owned(),
            ..Baseline::default()
        };
        let compared = Comparison::new(&seen("random"), &seen("first"));
        assert_eq!(compared.changes[0].kind, Kind::Other);
        assert_eq!(compared.kernels, Some(("random".to_owned(), "first".to_owned())));
        assert!(Comparison::new(&seen("first"), &seen("first")).is_unchanged());
    }
}
