//! The verdict while trials are added until one is sure: a test that may be looked at after every trial.
//!
//! A fixed test that is repeated after each trial refutes theory in the end, even if theory is right. This test bets against
//! theory at fair odds ([`wager`]). Theory is refuted as soon as the bet has multiplied its stake by the inverse of the error
//! rate. Theory is confirmed when all rates that the trials leave possible lie near the expected one.

use crate::judge::verdict::{TheoryTest, seen};
use crate::model::outcome::Verdict;
use crate::model::statistics::{Count, Rates, RejectionRegion, Sensitivity, percent, rates_left, wager};

/// Probability that a rate is ruled out, at any time, although it is the true one.
const RULED_OUT: f64 = 1e-3;

/// One is sure that theory is right when no rate is left that is farther from what it says.
const NEAR: f64 = 0.2;

/// Compares the trials so far with the rates that theory leaves possible, at the error rate `alpha`.
pub(super) fn compare(count: Count, rates: Rates, alpha: f64) -> TheoryTest {
    let region = RejectionRegion::sequential(count.tried, rates, alpha);
    let (low, high) = rates_left(count, RULED_OUT);
    let (verdict, note) = if region.rejects(count.passed) {
        let won = wager(count, rates.nearest(count.rate()));
        let bet = format!("a fair bet against theory has won {won:.1e} times its stake");
        (Verdict::Differs, format!("{} where theory says {rates}; {bet}", seen(count)))
    } else if low >= rates.low - NEAR && high <= rates.high + NEAR && region.sees_total_change(rates) {
        (Verdict::AsExpected, String::new())
    } else {
        let (low, high) = (percent(low), percent(high));
        (Verdict::Undecided, format!("{}: everything between {low} and {high} is possible", seen(count)))
    };
    let sensitivity = region.sensitivity(rates);
    // What this one look adds to the looks before it is not known; all together stay below the error rate (Ville).
    let false_alarm = if sensitivity.false_alarm > 0.0 { alpha } else { 0.0 };
    TheoryTest { verdict, note, sensitivity: Sensitivity { false_alarm, ..sensitivity } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passed: u64, tried: u64, probability: f64) -> Verdict {
        compare(Count { passed, tried }, Rates::exactly(probability), 1e-5 / 9.0).verdict
    }

    #[test]
    fn few_trials_do_not_make_sure() {
        assert_eq!(verdict(20, 20, 1.0), Verdict::Undecided);
        assert_eq!(verdict(60, 60, 1.0), Verdict::AsExpected);
        assert_eq!(verdict(64, 100, 0.64), Verdict::Undecided);
        assert_eq!(verdict(192, 300, 0.64), Verdict::AsExpected);
    }

    #[test]
    fn what_cannot_happen_refutes_at_once() {
        assert_eq!(verdict(19, 20, 1.0), Verdict::Differs);
        assert_eq!(verdict(1, 1, 0.0), Verdict::Differs);
    }

    #[test]
    fn a_rate_that_is_off_is_found_in_the_end() {
        assert_eq!(verdict(12, 30, 0.64), Verdict::Undecided);
        assert_eq!(verdict(120, 300, 0.64), Verdict::Differs);
    }

    #[test]
    fn what_is_undecided_says_what_is_possible() {
        let TheoryTest { note, .. } = compare(Count { passed: 5, tried: 10 }, Rates::exactly(0.5), 1e-6);
        assert!(note.starts_with("5 of 10 passed (95 %: 18.7 %–81.3 %): everything between"), "{note}");
    }

    /// Looked at after every trial, the test refutes a true rate no more often than it may, counted over every way that
    /// the trials can go.
    #[test]
    fn its_size_over_all_looks_is_below_the_error_rate() {
        for (rate, alpha) in [(0.5, 0.05), (0.9, 0.01), (0.26, 0.01)] {
            let (mut refuted, mut ways) = (0.0, vec![1.0]);
            for tried in 1..=200_u64 {
                let region = RejectionRegion::sequential(tried, Rates::exactly(rate), alpha);
                let mut next = vec![0.0; ways.len() + 1];
                for (passed, way) in ways.iter().enumerate() {
                    next[passed] += way * (1.0 - rate);
                    next[passed + 1] += way * rate;
                }
                for (passed, way) in (0..).zip(&mut next).filter(|(passed, _)| region.rejects(*passed)) {
                    refuted += std::mem::take(way);
                    assert!(passed <= tried);
                }
                ways = next;
            }
            assert!(refuted <= alpha && refuted > alpha / 50.0, "{rate}: {refuted}");
        }
    }
}
