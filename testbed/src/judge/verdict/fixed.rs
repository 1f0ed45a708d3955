//! The verdict after a fixed number of trials: an exact two-sided binomial test against theory.

use crate::judge::verdict::{TheoryTest, seen};
use crate::model::outcome::Verdict;
use crate::model::statistics::{Count, Rates, RejectionRegion, at_least, at_most};

/// Compares the trials with the rates that theory leaves possible, at the error rate `alpha`.
pub(super) fn compare(count: Count, rates: Rates, alpha: f64) -> TheoryTest {
    let region = RejectionRegion::binomial(count.tried, rates, alpha);
    let (verdict, note) = if region.rejects(count.passed) {
        (Verdict::Differs, difference(count, rates))
    } else if region.sees_total_change(rates) {
        (Verdict::AsExpected, String::new())
    } else {
        (Verdict::Undecided, too_few(count, rates, region))
    };
    TheoryTest { verdict, note, sensitivity: region.sensitivity(rates) }
}

fn difference(count: Count, rates: Rates) -> String {
    let seen = seen(count);
    match tail(count, rates) {
        0.0 if rates.low >= 1.0 => format!("{seen}, but by theory ({rates}) none may fail"),
        0.0 if rates.high <= 0.0 => format!("{seen}, but by theory ({rates}) none may pass"),
        chance => {
            format!("{seen} where theory says {rates}; by chance that happens with probability {chance:.1e}")
        }
    }
}

fn too_few(count: Count, rates: Rates, region: RejectionRegion) -> String {
    let seen = seen(count);
    let sensitivity = region.sensitivity(rates);
    match sensitivity.change_from(&rates.to_string()) {
        Some(change) => format!("{seen}: so few would reveal only {change}"),
        None => format!("{seen}: so few could not show any change from {rates}"),
    }
}

/// The probability of what was seen, or of anything more extreme on its side, at the possible rate nearest to it.
pub(super) fn tail(count: Count, rates: Rates) -> f64 {
    let Count { passed, tried } = count;
    let rate = rates.nearest(count.rate());
    at_most(tried, rate, passed).min(at_least(tried, rate, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passed: u64, tried: u64, probability: f64) -> Verdict {
        compare(Count { passed, tried }, Rates::exactly(probability), 1e-5 / 9.0).verdict
    }

    #[test]
    fn what_theory_excludes_is_said_without_a_chance() {
        let said = |passed, rate| difference(Count { passed, tried: 10 }, Rates::exactly(rate));
        assert!(said(0, 1.0).ends_with(", but by theory (100 %) none may fail"), "{}", said(0, 1.0));
        assert!(said(1, 0.0).ends_with(", but by theory (0 %) none may pass"), "{}", said(1, 0.0));
        assert!(said(10, 1e-5).contains("by chance"), "{}", said(10, 1e-5));
        let few = Count { passed: 3, tried: 3 };
        let region = RejectionRegion::binomial(3, Rates::exactly(0.5), 0.5);
        let few = too_few(few, Rates::exactly(0.5), region);
        assert!(few.contains(": so few would reveal only a fall from 50.0 % to "), "{few}");
        let interval = Rates { low: 0.25, high: 0.5 };
        let wide = RejectionRegion::binomial(20, interval, 0.5);
        let of_an_interval = too_few(Count { passed: 6, tried: 20 }, interval, wide);
        assert!(of_an_interval.contains(" a fall from 25.0 %–50.0 % to "), "{of_an_interval}");
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
    fn the_smallest_change_is_named() {
        let compared = compare(Count { passed: 20, tried: 30 }, Rates::exactly(0.64), 1e-6);
        let change = compared.sensitivity.fall_to.expect("thirty trials show a large change");
        assert!((0.0..0.2).contains(&change), "{change}");
        let few = compare(Count { passed: 3, tried: 5 }, Rates::exactly(0.5), 1e-6);
        assert!(few.note.ends_with("so few could not show any change from 50.0 %"), "{}", few.note);
    }

    #[test]
    fn an_interval_differs_only_outside_of_it() {
        let between =
            |passed| compare(Count { passed, tried: 100 }, Rates { low: 0.016, high: 0.26 }, 1e-6).verdict;
        assert_eq!(
            (between(0), between(26), between(60)),
            (Verdict::AsExpected, Verdict::AsExpected, Verdict::Differs)
        );
    }
}
