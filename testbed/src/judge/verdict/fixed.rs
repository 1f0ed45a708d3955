//! The verdict after a fixed number of trials: an exact two-sided binomial test against theory.

use statrs::distribution::{Binomial, DiscreteCDF};

use crate::judge::verdict::seen;
use crate::model::outcome::Verdict;
use crate::model::statistics::Count;
use crate::model::statistics::percent;

/// Probability with which a change is to be noticed when "the smallest change" is named.
const POWER: f64 = 0.9;

/// Compares the trials with theory's probability, at the error rate `alpha`.
pub(super) fn compare(count: Count, probability: f64, alpha: f64) -> (Verdict, String) {
    let Count { passed, tried } = count;
    let test = Test { tried, probability, alpha };
    let theory = percent(probability);
    if test.rejects(passed) {
        let chance = test.tail(passed);
        let how_likely = match chance {
            0.0 => "never".to_owned(),
            chance => format!("with probability {chance:.1e}"),
        };
        let note = format!("{} where theory says {theory}; by chance that happens {how_likely}", seen(count));
        return (Verdict::Differs, note);
    }
    if test.can_tell() {
        return (Verdict::AsExpected, String::new());
    }
    let note = match test.smallest_change() {
        Some(rate) => {
            format!("{}: so few could only show a change to {} or beyond", seen(count), percent(rate))
        }
        None => format!("{}: so few could not show any change from {theory}", seen(count)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(passed: u64, tried: u64, probability: f64) -> Verdict {
        compare(Count { passed, tried }, probability, 1e-5 / 9.0).0
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
}
