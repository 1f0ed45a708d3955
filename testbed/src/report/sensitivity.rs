//! What trials could have shown, for people: cells of which the same is to be said together, the most first.

use std::collections::BTreeMap;

use crate::model::statistics::{Rates, Sensitivity};
use crate::report::escape::harmless;
use crate::report::plural::counted;
use crate::report::results::Results;

/// Lines that are written when there are many.
const LINES: usize = 6;

/// What the cells of a run could have shown against theory, a line for each kind: `98 cells of 20 trials at 100 %: a fall
/// to 89.1 %`.
#[must_use]
pub fn of_run(results: &Results) -> Vec<String> {
    lines(results.punches().filter_map(|cell| {
        let (expected, sensitivity) = (cell.expected.as_ref()?, Sensitivity::from(cell.sensitivity?));
        let tried = cell.passed + cell.failed;
        Some(format!("of {} at {}: {sensitivity}", counted(tried, "trial"), expected.rates()))
    }))
}

/// Each text once with how many cells it is of.
#[must_use]
pub fn lines(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, cells)| std::cmp::Reverse(*cells));
    let hidden: usize = counts.iter().skip(LINES).map(|(_, cells)| cells).sum();
    let line = |(text, cells): &(String, usize)| format!("{} {}", counted(*cells, "cell"), harmless(text));
    let mut lines: Vec<String> = counts.iter().take(LINES).map(line).collect();
    if hidden > 0 {
        lines.push(format!("{hidden} other cells: see the sensitivity of each in results.json"));
    }
    lines
}

/// What theory says, and what trials that were held against it could have shown.
#[must_use]
pub fn sentence(rates: Rates, sensitivity: Sensitivity) -> String {
    format!("from {rates}, the trials could have shown {sensitivity}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_which_the_same_is_said_are_counted() {
        let texts = ["b", "a", "b", "c", "d", "e", "f", "g", "h"].map(str::to_owned);
        let lines = lines(texts.into_iter());
        assert_eq!(lines[..2], ["2 cells b", "1 cell a"]);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("2 other cells: see the sensitivity of each in results.json")
        );
    }
}
