//! Trials and theory -> verdict: exact binomial tests at an error rate that holds for the whole run. Pure.
//!
//! A run claims something about many cells at once. If each were tested at 1e-5, a run of a thousand cells would cry
//! wolf once in a hundred; so the rate is shared out evenly over the cells of the run (Bonferroni).

mod fixed;
mod sequential;

use std::time::Duration;

use statrs::distribution::{Beta, ContinuousCDF};

use crate::model::outcome::{
    CellResult, Difference, Expectation, NoExpectation, Outcome, Rate, Trial, Verdict, VoidTrial,
};
use crate::model::statistics::{Count, FALSE_ALARMS_PER_RUN, Rates, Sensitivity};
use crate::model::suite::Cell;

/// A cell whose trials are done.
#[derive(Debug, Clone)]
pub struct FinishedCell {
    /// Which cell.
    pub cell: Cell,
    /// Its trials, in the order of their numbers.
    pub trials: Vec<Trial>,
    /// The trials that were asked for; it has fewer when the run was interrupted.
    pub asked: u32,
    /// Trials that were played and not counted.
    pub void: Vec<VoidTrial>,
    /// The cells that it is like: those with the same class of NATs and the same method.
    pub group: String,
    /// What theory says, or why it says nothing.
    pub expected: Result<Expectation, NoExpectation>,
    /// One way from peer to peer.
    pub trip: Duration,
    /// Why the cell could not be run at all: a NAT that does not behave as declared, a control that went wrong.
    pub refused: Option<String>,
}

/// How cells are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standard {
    /// Cells in the run, all shards together: each has an equal share of the error rate.
    pub cells: usize,
    /// Which test.
    pub testing: TestDesign,
    /// Probability that a run in which theory is right everywhere reports a difference.
    pub false_alarms: f64,
}

/// How trials are compared with theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestDesign {
    /// As many trials as were asked for, judged once.
    Fixed,
    /// As many as it takes, judged after each batch.
    Sequential,
}

impl Standard {
    /// The standard of every run: the error rate is [`FALSE_ALARMS_PER_RUN`].
    #[must_use]
    pub const fn of_run(cells: usize, testing: TestDesign) -> Self {
        Self { cells, testing, false_alarms: FALSE_ALARMS_PER_RUN }
    }

    fn alpha(self) -> f64 {
        self.false_alarms / self.cells.max(1) as f64
    }

    fn compare(self, count: Count, rates: Rates) -> TheoryTest {
        match self.testing {
            TestDesign::Fixed => fixed::compare(count, rates, self.alpha()),
            TestDesign::Sequential => sequential::compare(count, rates, self.alpha()),
        }
    }
}

/// The result of comparing trials with theory.
#[derive(Debug, Clone, PartialEq)]
struct TheoryTest {
    verdict: Verdict,
    /// Why it is not as expected; empty when it is.
    note: String,
    sensitivity: Sensitivity,
}

/// Makes the result of a cell from its trials.
#[must_use]
pub fn conclude(finished: FinishedCell, standard: Standard) -> CellResult {
    let FinishedCell { cell, trials, asked, void, group, expected, trip, refused } = finished;
    let silence = expected.as_ref().err().cloned();
    let mut result = CellResult {
        cell,
        trials,
        asked,
        void,
        group,
        expected: expected.ok(),
        trip,
        observed: None,
        sensitivity: None,
        verdict: Verdict::AsExpected,
        difference: None,
        note: String::new(),
    };
    let count = result.count();
    result.observed = rate(count.passed, count.tried);
    match judge(&result, refused, silence, standard) {
        Err((verdict, note)) => (result.verdict, result.note) = (verdict, note),
        Ok(TheoryTest { verdict, note, sensitivity }) => {
            (result.verdict, result.note, result.sensitivity) = (verdict, note, Some(sensitivity));
        }
    }
    if let (Verdict::Differs, Some(expected)) = (result.verdict, &result.expected) {
        let difference = difference(count, expected.rates());
        result.note = format!("{}: {}", difference.name(), result.note);
        result.difference = Some(difference);
    }
    result
}

/// Holds the trials against theory, or says why they cannot be: with the verdict and the reason.
fn judge(
    result: &CellResult,
    refused: Option<String>,
    silence: Option<NoExpectation>,
    standard: Standard,
) -> Result<TheoryTest, (Verdict, String)> {
    if let Some(why) = refused {
        return Err((Verdict::Error, why));
    }
    let first =
        |wanted: fn(&Outcome) -> Option<String>| result.trials.iter().find_map(|t| wanted(&t.outcome));
    if let Some(why) =
        first(|outcome| if let Outcome::Error(why) = outcome { Some(why.to_string()) } else { None })
    {
        return Err((
            Verdict::Error,
            format!("{} of {} trials: {why}", result.errors(), result.trials.len()),
        ));
    }
    let count = result.count();
    if let Some(why) =
        first(|outcome| if let Outcome::Skipped(why) = outcome { Some(why.clone()) } else { None })
        && count.tried == 0
    {
        return Err((Verdict::Skipped, why));
    }
    let Some(expected) = &result.expected else {
        let because = silence.map_or_else(String::new, |none| none.because);
        return Err((Verdict::NoExpectation, format!("{}: {because}", seen(count))));
    };
    if count.tried == 0 {
        return Err((Verdict::Undecided, "no trial was run".to_owned()));
    }
    let rates = expected.rates();
    let compared = standard.compare(count, rates);
    Ok(if result.is_interrupted() { interrupted(result, rates, compared) } else { compared })
}

/// What may be said of a cell that has not had all its trials. Those that end first are no fair sample, because a trial
/// that fails lasts longer: only what can never happen contradicts theory then.
fn interrupted(result: &CellResult, rates: Rates, compared: TheoryTest) -> TheoryTest {
    let count = result.count();
    if compared.verdict == Verdict::Differs && fixed::tail(count, rates) == 0.0 {
        return compared;
    }
    let note =
        format!("interrupted after {} of {} trials: {}", result.trials.len(), result.asked, seen(count));
    TheoryTest { verdict: Verdict::Undecided, note, ..compared }
}

/// In which way the trials contradict theory.
fn difference(count: Count, rates: Rates) -> Difference {
    match count.passed {
        0 => Difference::Broken,
        _ if count.rate() > rates.high => Difference::Better,
        _ if rates.low >= 1.0 => Difference::Flaky,
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

/// What was seen, with its interval: `19 of 20 passed (95 %: 75.1 %–99.9 %)`.
fn seen(count: Count) -> String {
    let Count { passed, tried } = count;
    match rate(passed, tried) {
        Some(Rate { low, high, .. }) => {
            format!("{passed} of {tried} passed (95 %: {})", Rates { low, high })
        }
        None => "no trial passed or failed".to_owned(),
    }
}

#[cfg(test)]
mod simulated;

#[cfg(test)]
mod tests {
    use super::simulated::{cell, trials, unknown};
    use super::*;

    fn concluded(passed: u32, failed: u32, asked: u32, expected: Option<f64>) -> CellResult {
        let expected = expected.map(|p| Expectation::exactly(p, "")).ok_or_else(unknown);
        let finished = FinishedCell { asked, expected, ..cell(trials(passed, failed)) };
        conclude(finished, Standard::of_run(9, TestDesign::Fixed))
    }

    #[test]
    fn a_method_that_theory_does_not_know_has_no_expectation() {
        let result = concluded(20, 0, 20, None);
        assert_eq!((result.verdict, result.sensitivity), (Verdict::NoExpectation, None));
        assert!(result.note.ends_with("theory does not know this method"), "{}", result.note);
    }

    #[test]
    fn an_interrupted_cell_is_undecided_unless_it_did_what_is_impossible() {
        assert_eq!(concluded(19, 0, 20, Some(1.0)).verdict, Verdict::Undecided);
        assert_eq!(concluded(12, 0, 200, Some(0.01)).verdict, Verdict::Undecided);
        assert_eq!(concluded(12, 0, 12, Some(0.01)).verdict, Verdict::Differs);
        let impossible = concluded(18, 1, 20, Some(1.0));
        assert_eq!((impossible.verdict, impossible.difference), (Verdict::Differs, Some(Difference::Flaky)));
        let note = concluded(19, 0, 20, Some(1.0)).note;
        assert!(note.starts_with("interrupted after 19 of 20 trials: 19 of 19 passed"), "{note}");
    }

    #[test]
    fn what_this_machine_cannot_run_is_skipped() {
        let mut skipped = trials(0, 3);
        skipped
            .iter_mut()
            .for_each(|trial| trial.outcome = Outcome::Skipped("no such thing here".to_owned()));
        let result =
            conclude(FinishedCell { asked: 3, ..cell(skipped) }, Standard::of_run(1, TestDesign::Fixed));
        assert_eq!((result.verdict, result.note.as_str()), (Verdict::Skipped, "no such thing here"));
    }

    #[test]
    fn a_verdict_says_what_it_could_have_seen() {
        let seen = concluded(20, 0, 20, Some(1.0)).sensitivity.expect("it was compared");
        assert!(seen.fall_to.is_some_and(|rate| (0.88..0.9).contains(&rate)), "{seen:?}");
        assert_eq!(concluded(1, 2, 3, Some(0.5)).verdict, Verdict::Undecided);
    }

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
                difference(Count { passed, tried: 20 }, Rates::exactly(probability)),
                expected,
                "{passed} {probability}"
            );
        }
    }
}
