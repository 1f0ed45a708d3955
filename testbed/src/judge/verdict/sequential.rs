//! The verdict while trials are added until one is sure: a test that may be looked at after every trial.
//!
//! A fixed test that is repeated finds something in the end, whatever is true. This one bets against theory at fair
//! odds ([`wager`]), and theory is refuted when the bet has won what the error rate is worth, whenever that is. It is
//! confirmed when the rates that the trials leave possible all lie near to what it says.

use crate::judge::verdict::seen;
use crate::model::outcome::Verdict;
use crate::model::statistics::percent;
use crate::model::statistics::{Count, rates_left, wager};

/// Probability that a rate is ruled out, at any time, although it is the true one.
const RULED_OUT: f64 = 1e-3;

/// One is sure that theory is right when no rate is left that is farther from what it says.
const NEAR: f64 = 0.2;

/// Compares the trials so far with theory's probability, at the error rate `alpha`.
pub(super) fn compare(count: Count, probability: f64, alpha: f64) -> (Verdict, String) {
    let theory = percent(probability);
    let won = wager(count, probability);
    if won >= 1.0 / alpha {
        let note = format!(
            "{} where theory says {theory}; a fair bet against theory has won {won:.1e} times its stake",
            seen(count)
        );
        return (Verdict::Differs, note);
    }
    let (low, high) = rates_left(count, RULED_OUT);
    if low >= probability - NEAR && high <= probability + NEAR {
        return (Verdict::AsExpected, String::new());
    }
    let note =
        format!("{}: everything between {} and {} is possible", seen(count), percent(low), percent(high));
    (Verdict::Undecided, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passed: u64, tried: u64, probability: f64) -> Verdict {
        compare(Count { passed, tried }, probability, 1e-5 / 9.0).0
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
        let (_, note) = compare(Count { passed: 5, tried: 10 }, 0.5, 1e-6);
        assert!(note.starts_with("5 of 10 passed (95 %: 18.7 % to 81.3 %): everything between"), "{note}");
    }
}
