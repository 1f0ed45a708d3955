//! Trials and theory -> verdict: exact binomial tests at an error rate that holds for the whole run. Pure.
//!
//! A run claims something about many cells at once. If each were tested at 1e-5, a run of a thousand cells would cry
//! wolf once in a hundred; so the rate is shared out evenly over the cells of the run (Bonferroni).

use std::time::Duration;

use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};

use crate::model::outcome::{CellResult, Expectation, Rate, Trial, Verdict};
use crate::model::suite::Cell;

/// Probability that a run in which theory is right everywhere reports at least one difference.
pub const FALSE_ALARMS_PER_RUN: f64 = 1e-5;

/// Probability with which a change is to be noticed when "the smallest change" is named.
const POWER: f64 = 0.9;

/// A cell whose trials are done.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Which cell.
    pub cell: Cell,
    /// Its trials, in the order of their numbers.
    pub trials: Vec<Trial>,
    /// What theory says.
    pub expected: Option<Expectation>,
    /// One way from peer to peer.
    pub trip: Duration,
    /// Why the cell could not be run at all: a NAT that does not behave as declared, a control that went wrong.
    pub refused: Option<String>,
}

/// Makes the result of a cell from its trials; `cells` is the number of cells in the run, for the share of the error
/// rate.
#[must_use]
pub fn conclude(finished: Finished, cells: usize) -> CellResult {
    let Finished { cell, trials, expected, trip, refused } = finished;
    let mut result = CellResult {
        cell,
        trials,
        expected,
        trip,
        observed: None,
        verdict: Verdict::AsExpected,
        note: String::new(),
    };
    let (passed, failed) = (result.passed() as u64, result.failed() as u64);
    result.observed = rate(passed, passed + failed);
    (result.verdict, result.note) = judge(&result, refused, FALSE_ALARMS_PER_RUN / cells.max(1) as f64);
    result
}

fn judge(result: &CellResult, refused: Option<String>, alpha: f64) -> (Verdict, String) {
    use crate::model::outcome::Outcome;
    if let Some(why) = refused {
        return (Verdict::Error, why);
    }
    if let Some(Outcome::Error(why)) =
        result.trials.iter().map(|t| &t.outcome).find(|o| matches!(o, Outcome::Error(_)))
    {
        let count = result.errors();
        return (Verdict::Error, format!("{count} of {} trials: {why}", result.trials.len()));
    }
    let (passed, tried) = (result.passed() as u64, (result.passed() + result.failed()) as u64);
    if tried == 0 {
        let why = result.trials.iter().find_map(|t| match &t.outcome {
            Outcome::Skipped(why) => Some(why.clone()),
            _ => None,
        });
        return (Verdict::Skipped, why.unwrap_or_else(|| "no trial was run".to_owned()));
    }
    match &result.expected {
        Some(expected) => compare(passed, tried, expected, alpha),
        None => (Verdict::Undecided, "theory does not know this method: compare with a baseline".to_owned()),
    }
}

fn compare(passed: u64, tried: u64, expected: &Expectation, alpha: f64) -> (Verdict, String) {
    let test = Test { tried, probability: expected.probability, alpha };
    if test.rejects(passed) {
        let note = format!(
            "{passed} of {tried} passed where theory says {}; by chance that happens with probability {:.1e}",
            percent(expected.probability),
            test.tail(passed)
        );
        return (Verdict::Differs, note);
    }
    if test.can_tell() {
        return (Verdict::AsExpected, String::new());
    }
    let note = match test.smallest_change() {
        Some(rate) => format!("{tried} trials could only show a change to {} or beyond", percent(rate)),
        None => {
            format!("{tried} trials are too few to show any change from {}", percent(expected.probability))
        }
    };
    (Verdict::Undecided, note)
}

/// An exact two-sided test of a success probability.
#[derive(Debug, Clone, Copy)]
struct Test {
    tried: u64,
    probability: f64,
    alpha: f64,
}

impl Test {
    /// The smaller tail: the probability of `passed` or anything more extreme on its side.
    fn tail(self, passed: u64) -> f64 {
        at_most(self.tried, self.probability, passed).min(at_least(self.tried, self.probability, passed))
    }

    fn rejects(self, passed: u64) -> bool {
        self.tail(passed) < self.alpha / 2.0
    }

    /// Whether a total change, to never or to always, would have been seen.
    fn can_tell(self) -> bool {
        let opposite = if self.probability >= 0.5 { 0 } else { self.tried };
        self.rejects(opposite)
    }

    /// The rate nearest to the expected one that this many trials would expose nine times in ten.
    fn smallest_change(self) -> Option<f64> {
        let (towards, limit) = if self.probability >= 0.5 { (-1.0, 0.0) } else { (1.0, 1.0) };
        let seen = |rate: f64| {
            let rejected = (0..=self.tried).filter(|k| self.rejects(*k));
            rejected.map(|k| exactly(self.tried, rate, k)).sum::<f64>() >= POWER
        };
        let steps = 200;
        (1..=steps)
            .map(|i| {
                self.probability
                    + towards * (limit - self.probability).abs() * f64::from(i) / f64::from(steps)
            })
            .find(|rate| seen(rate.clamp(0.0, 1.0)))
    }
}

/// P(X <= k) for X binomial.
fn at_most(n: u64, p: f64, k: u64) -> f64 {
    match certain(p) {
        Some(always) => f64::from(u8::from(!always || k >= n)),
        None => Binomial::new(p, n).map_or(f64::NAN, |b| b.cdf(k)),
    }
}

/// P(X >= k) for X binomial.
fn at_least(n: u64, p: f64, k: u64) -> f64 {
    match (certain(p), k.checked_sub(1)) {
        (_, None) => 1.0,
        (Some(always), Some(_)) => f64::from(u8::from(always && k <= n)),
        (None, Some(below)) => Binomial::new(p, n).map_or(f64::NAN, |b| b.sf(below)),
    }
}

/// P(X = k) for X binomial.
fn exactly(n: u64, p: f64, k: u64) -> f64 {
    at_most(n, p, k) - k.checked_sub(1).map_or(0.0, |below| at_most(n, p, below))
}

/// Whether a probability is that of a certain (`true`) or an impossible (`false`) event.
fn certain(p: f64) -> Option<bool> {
    (p <= 0.0).then_some(false).or((p >= 1.0).then_some(true))
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

/// A probability as a percentage that never rounds to a lie: `100 %` and `0 %` are exact.
#[must_use]
pub fn percent(p: f64) -> String {
    match p {
        p if p >= 1.0 => "100 %".to_owned(),
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.001 => format!("{p:.1e}"),
        p if p > 0.999 => format!("1 - {:.1e}", 1.0 - p),
        p => format!("{:.1} %", p * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passed: u64, tried: u64, probability: f64) -> Verdict {
        compare(passed, tried, &Expectation { probability, because: String::new() }, 1e-5 / 9.0).0
    }

    #[test]
    fn one_failure_refutes_certainty() {
        assert_eq!(verdict(20, 20, 1.0), Verdict::AsExpected);
        assert_eq!(verdict(19, 20, 1.0), Verdict::Differs);
        assert_eq!(verdict(1, 1, 1.0), Verdict::AsExpected);
    }

    #[test]
    fn a_lucky_guess_does_not_refute_the_almost_impossible() {
        let one_port = 1.0 / 64512.0;
        assert_eq!(verdict(0, 20, one_port), Verdict::AsExpected);
        assert_eq!(verdict(1, 20, one_port), Verdict::AsExpected);
        assert_eq!(verdict(2, 20, one_port), Verdict::Differs);
    }

    #[test]
    fn few_trials_of_an_even_chance_decide_nothing() {
        assert_eq!(verdict(3, 5, 0.5), Verdict::Undecided);
        assert_eq!(verdict(50, 100, 0.5), Verdict::AsExpected);
        assert_eq!(verdict(20, 100, 0.5), Verdict::Differs);
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
    fn tails_are_exact() {
        assert!((at_most(3, 0.5, 1) - 0.5).abs() < 1e-12);
        assert!((at_least(3, 0.5, 3) - 0.125).abs() < 1e-12);
        assert!((exactly(4, 0.25, 2) - 0.210_937_5).abs() < 1e-9);
    }

    #[test]
    fn the_smallest_change_is_named() {
        let test = Test { tried: 30, probability: 0.64, alpha: 1e-6 };
        let change = test.smallest_change().expect("thirty trials show a large change");
        assert!((0.0..0.2).contains(&change), "{change}");
    }

    #[test]
    fn percentages_do_not_round_to_certainty() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.999_9), "1 - 1.0e-4");
        assert_eq!(percent(0.983), "98.3 %");
        assert_eq!(percent(1.6e-5), "1.6e-5");
    }
}
