//! The test over like cells, those with the same class of NATs and the same method: a change that is too small to show
//! in any of them may show in all of them together.

use std::collections::BTreeMap;

use super::{CellPair, Change, ChangeKind, ErrorRateShares, figure, shift};
use crate::model::statistics::{Count, PooledTest};
use crate::report::baseline::Record;

/// Like cells, two or more.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    group: &'a str,
    cells: Vec<CellPair<'a>>,
    test: PooledTest,
}

/// The pools of these cells. Where neither run says what a cell is like, it is like the others of which none says it.
pub(super) fn of<'a>(cells: &[CellPair<'a>]) -> Vec<Pool<'a>> {
    let mut groups: BTreeMap<&str, Vec<CellPair<'_>>> = BTreeMap::new();
    for pair in cells {
        let group = if pair.now.group.is_empty() { &pair.before.group } else { &pair.now.group };
        groups.entry(group).or_default().push(*pair);
    }
    let pool = |(group, cells): (_, Vec<CellPair<'a>>)| {
        let test = PooledTest::new(cells.iter().map(|pair| (pair.before.count(), pair.now.count())));
        Pool { group, cells, test }
    };
    groups.into_iter().filter(|(_, cells)| cells.len() > 1).map(pool).collect()
}

impl<'a> Pool<'a> {
    /// The change of all of them together, if there is one.
    pub(super) fn change(&self, shares: ErrorRateShares) -> Option<Change> {
        let chance = self.test.chance();
        let which = if self.group.is_empty() { String::new() } else { format!(" of {}", self.group) };
        (chance < shares.pool).then(|| Change {
            id: format!("{} cells{which}, together", self.cells.len()),
            kind: if self.test.fell() { ChangeKind::Worse } else { ChangeKind::Better },
            before: figure(self.sum(|pair| pair.before)),
            now: figure(self.sum(|pair| pair.now)),
            by_chance: Some(chance),
            cause: shift(&self.causes(|pair| pair.before), &self.causes(|pair| pair.now)),
        })
    }

    /// Probability that its test finds a change though there is none.
    pub(super) fn size(&self, shares: ErrorRateShares) -> f64 {
        self.test.size(shares.pool)
    }

    fn sum(&self, of: fn(&CellPair<'a>) -> &'a Record) -> Count {
        let mut sum = Count { passed: 0, tried: 0 };
        for pair in &self.cells {
            let count = of(pair).count();
            sum.passed += count.passed;
            sum.tried += count.tried;
        }
        sum
    }

    fn causes(&self, of: fn(&CellPair<'a>) -> &'a Record) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for pair in &self.cells {
            for (cause, number) in &of(pair).causes {
                *all.entry(cause.clone()).or_insert(0) += number;
            }
        }
        all
    }
}
