//! Compares what two runs found: which cells changed, and for what cause.
//!
//! Two things can change in a cell: how often it passes, and how long that takes, in trips. Beside the tests of cells,
//! one test over all like cells finds a change that none of them shows by itself. Each test is exact, and the error rate
//! of [`FALSE_ALARMS_PER_RUN`] is shared out over all of them, so that two runs of the same programs on the same NATs are
//! told apart once in 100,000 comparisons. What a check of the kernel sees is one word, and any other word is a change.

mod cells;
mod pools;
mod shortage;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::statistics::{Count, FALSE_ALARMS_PER_RUN, Sensitivity};
use crate::report::baseline::{Baseline, Record};

pub use shortage::Shortage;

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Cells and checks that are in both.
    pub compared: usize,
    /// What each cell's trials could have shown, in the order of their ids; without those where nothing can be said.
    pub cells: Vec<ComparedCell>,
    /// Those that changed, in the order of their ids.
    pub changes: Vec<Change>,
    /// The groups of like cells that changed, taken together.
    pub together: Vec<Change>,
    /// Ids that only the older run has.
    pub missing: Vec<String>,
    /// Ids that only the newer run has.
    pub new: Vec<String>,
    /// Ids of cells in which something broke in either run, so that nothing can be said.
    pub broken: Vec<String>,
    /// Ids of cells that were interrupted in either run: what was finished by then is no fair sample.
    pub interrupted: Vec<String>,
    /// The kernels, where they differ.
    pub kernels: Option<(String, String)>,
    /// Probability that any of the tests finds a change though there is none: the sum of their sizes, computed.
    pub false_alarms: f64,
}

/// What the comparison of a cell could have shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedCell {
    /// The cell.
    pub id: String,
    /// What was.
    pub before: Count,
    /// How many trials there are now.
    pub tried: u64,
    /// What they could have shown.
    pub sensitivity: Sensitivity,
    /// Whether they could have shown a total change.
    pub total_change: TotalChange,
}

/// Whether a comparison could have shown a total change: from what was to never or always, whichever is farther.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotalChange {
    /// It could.
    Detectable,
    /// There are too few trials.
    Undetectable,
}

/// A cell, or a group of cells, that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The cell, or which cells.
    pub id: String,
    /// In which way.
    pub kind: ChangeKind,
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
pub enum ChangeKind {
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

impl ChangeKind {
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

/// The error rate of each test.
#[derive(Debug, Clone, Copy)]
struct ErrorRateShares {
    /// Of the test of a cell's rate: half of the whole, shared out over the cells.
    rate: f64,
    /// Of the tests of a cell's times, slower or faster: a quarter of the whole.
    time: f64,
    /// Of the test of a group of cells: the last quarter.
    pool: f64,
}

impl ErrorRateShares {
    fn of(whole: f64, cells: usize, pools: usize) -> Self {
        let each = |part: f64, number: usize| whole * part / number.max(1) as f64;
        Self { rate: each(0.5, cells), time: each(0.25, cells), pool: each(0.25, pools) }
    }
}

/// What is known of a cell from both runs.
#[derive(Debug, Clone, Copy)]
struct CellPair<'a> {
    id: &'a str,
    before: &'a Record,
    now: &'a Record,
}

impl CellPair<'_> {
    fn is_broken(&self) -> bool {
        self.before.broken + self.now.broken > 0
    }

    fn is_interrupted(&self) -> bool {
        self.before.unfinished + self.now.unfinished > 0
    }
}

impl Comparison {
    /// Compares what was with what is.
    #[must_use]
    pub fn new(before: &Baseline, now: &Baseline) -> Self {
        Self::at(before, now, FALSE_ALARMS_PER_RUN)
    }

    /// The same, at this error rate.
    fn at(before: &Baseline, now: &Baseline, false_alarms: f64) -> Self {
        let all = pairs(&before.cells, &now.cells);
        let cells: Vec<CellPair<'_>> =
            all.iter().map(|(id, before, now)| CellPair { id, before, now }).collect();
        let checks = pairs(&before.checks, &now.checks);
        let (old, new) = (ids(before), ids(now));
        let mut compared = Self {
            compared: cells.len() + checks.len(),
            cells: Vec::new(),
            changes: checks.iter().filter(|(_, a, b)| a != b).map(|(id, a, b)| of_check(id, a, b)).collect(),
            together: Vec::new(),
            missing: old.difference(&new).map(|id| (*id).clone()).collect(),
            new: new.difference(&old).map(|id| (*id).clone()).collect(),
            broken: named(&cells, |pair| pair.is_broken()),
            interrupted: named(&cells, |pair| pair.is_interrupted() && !pair.is_broken()),
            kernels: (before.kernel != now.kernel).then(|| (before.kernel.clone(), now.kernel.clone())),
            false_alarms: 0.0,
        };
        compared.test(&cells, false_alarms);
        compared
    }

    /// Makes all tests of the cells of which something can be said.
    fn test(&mut self, cells: &[CellPair<'_>], false_alarms: f64) {
        let usable: Vec<CellPair<'_>> =
            cells.iter().copied().filter(|pair| !pair.is_broken() && !pair.is_interrupted()).collect();
        let pools = pools::of(&usable);
        let shares = ErrorRateShares::of(false_alarms, usable.len(), pools.len());
        self.changes.extend(usable.iter().flat_map(|pair| cells::changes(*pair, shares)));
        self.changes.sort_by(|a, b| a.id.cmp(&b.id).then(a.kind.cmp(&b.kind)));
        self.together = pools.iter().filter_map(|pool| pool.change(shares)).collect();
        self.cells = usable.iter().map(|pair| cells::sensitivity(*pair, shares)).collect();
        let sizes = usable.iter().map(|pair| cells::size(*pair, shares));
        self.false_alarms = sizes.chain(pools.iter().map(|pool| pool.size(shares))).sum();
    }

    /// Whether nothing changed and nothing that was there is lost; what is new changes nothing.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty() && self.together.is_empty() && self.missing.is_empty()
    }

    /// Ids of cells with so few trials that even a total change would not have been seen.
    pub fn blind(&self) -> impl Iterator<Item = &str> {
        self.cells
            .iter()
            .filter(|cell| cell.total_change == TotalChange::Undetectable)
            .map(|cell| cell.id.as_str())
    }

    /// Whether the comparison could have shown a total change of this cell.
    #[must_use]
    pub fn sees(&self, id: &str) -> bool {
        self.cells.iter().any(|cell| cell.id == id && cell.total_change == TotalChange::Detectable)
    }
}

/// The names of the cells of which something is so.
fn named(cells: &[CellPair<'_>], is_so: impl Fn(&CellPair<'_>) -> bool) -> Vec<String> {
    cells.iter().filter(|pair| is_so(pair)).map(|pair| pair.id.to_owned()).collect()
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

fn of_check(id: &str, before: &str, now: &str) -> Change {
    let (before, now) = (before.to_owned(), now.to_owned());
    Change { id: id.to_owned(), kind: ChangeKind::Other, before, now, by_chance: None, cause: String::new() }
}

fn figure(count: Count) -> String {
    format!("{}/{}", count.passed, count.tried)
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
mod tests;
