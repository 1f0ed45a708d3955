//! Trials and theory -> verdict: exact binomial tests at an error rate that holds for the whole run. Pure.
//!
//! A run claims something about many cells at once. If each were tested at 1e-5, a run of a thousand cells would cry
//! wolf once in a hundred; so the rate is shared out evenly over the cells of the run (Bonferroni).

mod fixed;
mod sequential;

use std::time::Duration;

use statrs::distribution::{Beta, ContinuousCDF};

use crate::model::outcome::{
    CellResult, Difference, Expectation, NoExpectation, Outcome, Rate, Trial, Verdict,
};
use crate::model::statistics::{Count, FALSE_ALARMS_PER_RUN, percent};
use crate::model::suite::Cell;

/// A cell whose trials are done.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Which cell.
    pub cell: Cell,
    /// Its trials, in the order of their numbers.
    pub trials: Vec<Trial>,
    /// What theory says, or why it says nothing.
    pub expected: Result<Expectation, NoExpectation>,
    /// One way from peer to peer.
    pub trip: Duration,
    /// Why the cell could not be run at all: a NAT that does not behave as declared, a control that went wrong.
    pub refused: Option<String>,
}

/// How cells are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    /// Cells in the run, all shards together: each has an equal share of the error rate.
    pub cells: usize,
    /// Which test.
    pub testing: Testing,
}

/// How trials are held against theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Testing {
    /// As many trials as were asked for, judged once.
    Fixed,
    /// As many as it takes, judged after each batch.
    Sequential,
}

impl Standard {
    fn alpha(self) -> f64 {
        FALSE_ALARMS_PER_RUN / self.cells.max(1) as f64
    }
}

/// Makes the result of a cell from its trials.
#[must_use]
pub fn conclude(finished: Finished, standard: Standard) -> CellResult {
    let Finished { cell, trials, expected, trip, refused } = finished;
    let silence = expected.as_ref().err().cloned();
    let mut result = CellResult {
        cell,
        trials,
        expected: expected.ok(),
        trip,
        observed: None,
        verdict: Verdict::AsExpected,
        difference: None,
        note: String::new(),
    };
    let count = result.count();
    result.observed = rate(count.passed, count.tried);
    (result.verdict, result.note) = judge(&result, refused, silence, standard);
    if let (Verdict::Differs, Some(expected)) = (result.verdict, &result.expected) {
        let difference = difference(count, expected.nearest(count));
        result.note = format!("{}: {}", difference.name(), result.note);
        result.difference = Some(difference);
    }
    result
}

fn judge(
    result: &CellResult,
    refused: Option<String>,
    silence: Option<NoExpectation>,
    standard: Standard,
) -> (Verdict, String) {
    if let Some(why) = refused {
        return (Verdict::Error, why);
    }
    let first =
        |wanted: fn(&Outcome) -> Option<String>| result.trials.iter().find_map(|t| wanted(&t.outcome));
    if let Some(why) =
        first(|outcome| if let Outcome::Error(why) = outcome { Some(why.to_string()) } else { None })
    {
        return (Verdict::Error, format!("{} of {} trials: {why}", result.errors(), result.trials.len()));
    }
    let count = result.count();
    if count.tried == 0 {
        let why = first(|outcome| if let Outcome::Skipped(why) = outcome { Some(why.clone()) } else { None });
        return (Verdict::Skipped, why.unwrap_or_else(|| "no trial was run".to_owned()));
    }
    let Some(expected) = &result.expected else {
        let because = silence.map_or_else(String::new, |none| none.because);
        return (Verdict::Undecided, format!("{because}: compare with a baseline"));
    };
    match standard.testing {
        Testing::Fixed => fixed::compare(count, expected.nearest(count), standard.alpha()),
        Testing::Sequential => sequential::compare(count, expected.nearest(count), standard.alpha()),
    }
}

/// In which way the trials contradict theory.
fn difference(count: Count, probability: f64) -> Difference {
    match count.passed {
        0 => Difference::Broken,
        _ if count.rate() > probability => Difference::Better,
        _ if probability >= 1.0 => Difference::Flaky,
        _ => Difference::Worse,
    }
}

/// The observed rate with its exact (Clopper-Pearson) 95 % interval; `None` without trials.
#[must_use]
pub fn rate(passed: u64, tried: u64) -> Option<Rate> {
    if tried == 0 {
        return None;
    }
    let (k, n) = (passed as f64, tried as f64);
    let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(q));
    let low = if passed == 0 { 0.0 } else { quantile(k, n - k + 1.0, 0.025) };
    let high = if passed == tried { 1.0 } else { quantile(k + 1.0, n - k, 0.975) };
    Some(Rate { probability: k / n, low, high })
}

/// What was seen, with its interval: `19 of 20 passed (95 %: 75.1 % to 99.9 %)`.
fn seen(count: Count) -> String {
    let Count { passed, tried } = count;
    match rate(passed, tried) {
        Some(Rate { low, high, .. }) => {
            format!("{passed} of {tried} passed (95 %: {} to {})", percent(low), percent(high))
        }
        None => "no trial passed or failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_one_in_the_books() {
        // Clopper-Pearson for 10 of 10 and for 5 of 10.
        let all = rate(10, 10).expect("ten trials");
        assert!((all.low - 0.6915).abs() < 1e-3 && (all.high - 1.0).abs() < 1e-12, "{all:?}");
        let half = rate(5, 10).expect("ten trials");
        assert!((half.low - 0.1871).abs() < 1e-3 && (half.high - 0.8129).abs() < 1e-3, "{half:?}");
        assert_eq!(rate(0, 0), None);
    }

    #[test]
    fn a_broken_cell_is_told_from_a_flaky_one() {
        for (passed, probability, expected) in [
            (0, 1.0, Difference::Broken),
            (0, 0.6, Difference::Broken),
            (19, 1.0, Difference::Flaky),
            (3, 0.6, Difference::Worse),
            (3, 0.0, Difference::Better),
            (19, 0.6, Difference::Better),
        ] {
            assert_eq!(
                difference(Count { passed, tried: 20 }, probability),
                expected,
                "{passed} {probability}"
            );
        }
    }

    #[test]
    fn percentages_do_not_round_to_certainty() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_9), "1 - 1.0e-4");
        assert_eq!(percent(0.983), "98.3 %");
        assert_eq!(percent(1.6e-5), "1.6e-5");
    }
}
