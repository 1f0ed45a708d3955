//! What trials could have shown, for people: cells of which the same is to be said together, the most first.

use std::collections::BTreeMap;

use crate::model::statistics::{Rates, Sensitivity};
use crate::report::escape::harmless;
use crate::report::plural::counted;
use crate::report::results::Results;

/// Kinds of cells that are told of where all are wanted, and where few are.
pub const MANY: usize = 6;
pub const FEW: usize = 1;

/// What the cells of a run could have shown against theory, a line for each kind: `a fall to 89.1 % from 100 % with 20 trials
/// (98 cells)`.
#[must_use]
pub fn of_run(results: &Results, most: usize) -> Vec<String> {
    let texts = results.punches().filter_map(|cell| {
        let (expected, sensitivity) = (cell.expected.as_ref()?, Sensitivity::from(cell.sensitivity?));
        let tried = cell.passed + cell.failed;
        Some(format!("{sensitivity} from {} with {}", expected.rates(), counted(tried, "trial")))
    });
    lines(texts, most)
}

/// Each text once with how many cells it is of; of many texts so many.
#[must_use]
pub fn lines(texts: impl Iterator<Item = String>, most: usize) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, cells)| std::cmp::Reverse(*cells));
    let hidden: usize = counts.iter().skip(most).map(|(_, cells)| cells).sum();
    let line = |(text, cells): &(String, usize)| format!("{} ({})", harmless(text), counted(*cells, "cell"));
    let mut lines: Vec<String> = counts.iter().take(most).map(line).collect();
    if hidden > 0 {
        lines.push(format!("{}: see the sensitivity of each in results.json", counted(hidden, "other cell")));
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
        let lines = lines(texts.into_iter(), MANY);
        assert_eq!(lines[..2], ["b (2 cells)", "a (1 cell)"]);
        assert_eq!(
            lines.last().map(String::as_str),
            Some("2 other cells: see the sensitivity of each in results.json")
        );
    }
}
