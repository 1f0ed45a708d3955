//! What trials could have shown, for people: cells of which the same is to be said together, the most first.

use std::collections::BTreeMap;

use crate::model::plural::counted;
use crate::model::statistics::{POWER, Rates, Sensitivity};
use crate::report::escape::harmless;
use crate::report::results::Results;

/// Kinds of cells that are told of where all are wanted, and where few are.
pub const MANY: usize = 6;
pub const FEW: usize = 1;

/// What the cells of a run could have shown against theory, a line for each kind: `20 trials would reveal (with 90 % probability)
/// a fall from 100 % to 89.1 % (98 cells)`.
#[must_use]
pub fn of_run(results: &Results, most: usize) -> Vec<String> {
    let texts = results.punches().filter_map(|cell| {
        let (expected, sensitivity) = (cell.expected.as_ref()?, Sensitivity::from(cell.sensitivity?));
        Some(sentence(
            &counted(cell.passed + cell.failed, "trial"),
            &expected.rates().to_string(),
            sensitivity,
        ))
    });
    lines(texts, most)
}

/// What so many trials would reveal of a change from what was expected.
#[must_use]
pub fn sentence(trials: &str, expected: &str, sensitivity: Sensitivity) -> String {
    match sensitivity.change_from(expected) {
        Some(change) => format!("{trials} would reveal (with {:.0} % probability) {change}", 100.0 * POWER),
        None => format!("{trials} would not reveal even a total change from {expected}"),
    }
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

/// What the trials of a cell would reveal, behind `would reveal`.
#[must_use]
pub fn of_cell(rates: Rates, sensitivity: Sensitivity) -> String {
    let expected = rates.to_string();
    match sensitivity.change_from(&expected) {
        Some(change) => format!("{change}, with {:.0} % probability", 100.0 * POWER),
        None => format!("not even a total change from {expected}"),
    }
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

    #[test]
    fn what_trials_would_reveal_is_a_sentence() {
        let seen = |fall_to, rise_to| Sensitivity { false_alarm: 0.0, fall_to, rise_to };
        for (trials, rates, seen, expected) in [
            (
                "20 trials",
                Rates::exactly(1.0),
                seen(Some(0.891), None),
                "20 trials would reveal (with 90 % probability) a fall from 100 % to 89.1 %",
            ),
            (
                "60 trials",
                Rates { low: 0.25, high: 0.5 },
                seen(Some(0.1), Some(0.75)),
                "60 trials would reveal (with 90 % probability) a fall from 25.0 %–50.0 % to 10.0 % or a rise to 75.0 %",
            ),
            (
                "1 trial",
                Rates::exactly(1.0),
                seen(None, None),
                "1 trial would not reveal even a total change from 100 %",
            ),
        ] {
            assert_eq!(sentence(trials, &rates.to_string(), seen), expected);
        }
        let of_cell = of_cell(Rates::exactly(1.0), seen(Some(0.891), None));
        assert_eq!(of_cell, "a fall from 100 % to 89.1 %, with 90 % probability");
    }
}
