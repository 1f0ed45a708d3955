//! Exact tests for counts: is this rate another than that one, is this set of times another than that one? Pure.
//!
//! Whoever asks chooses the error rate; `run::verdict` holds a rate against theory, `report::compare` one run against
//! another.

use statrs::distribution::{Discrete, Hypergeometric};

/// Trials that passed, of those that passed or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Those that passed.
    pub passed: u64,
    /// All.
    pub tried: u64,
}

impl Count {
    /// The rate; not a number without trials.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.passed as f64 / self.tried as f64
    }
}

/// How likely it is that two sets of trials with one and the same rate differ at least as much as these (Fisher's exact
/// test; twice the smaller tail).
#[must_use]
pub fn same_rate(before: Count, now: Count) -> f64 {
    let draw =
        Draw { population: before.tried + now.tried, marked: before.passed + now.passed, drawn: now.tried };
    (2.0 * draw.at_most(now.passed).min(draw.at_least(now.passed))).min(1.0)
}

/// How likely it is that times of one and the same distribution lie at least as far apart as these, where `now` is
/// suspected to be the larger (Mood's median test, exact whatever the distribution and its ties).
///
/// Both must have values; else nothing can be said and the answer is 1.
#[must_use]
pub fn not_larger(before: &[f64], now: &[f64]) -> f64 {
    if before.is_empty() || now.is_empty() {
        return 1.0;
    }
    let mut all: Vec<f64> = before.iter().chain(now).copied().collect();
    all.sort_by(f64::total_cmp);
    let middle = all[(all.len() - 1) / 2];
    let above = |values: &[f64]| values.iter().filter(|value| **value > middle).count() as u64;
    let draw = Draw { population: all.len() as u64, marked: above(&all), drawn: now.len() as u64 };
    draw.at_least(above(now))
}

/// Some are drawn, without putting back, of a population in which some are marked.
#[derive(Debug, Clone, Copy)]
struct Draw {
    population: u64,
    marked: u64,
    drawn: u64,
}

impl Draw {
    /// Probability that at most `count` of the drawn ones are marked.
    fn at_most(self, count: u64) -> f64 {
        self.sum(0, count)
    }

    /// Probability that at least `count` of the drawn ones are marked.
    fn at_least(self, count: u64) -> f64 {
        self.sum(count, self.drawn)
    }

    /// All terms are positive, so that tiny tails keep their digits.
    fn sum(self, low: u64, high: u64) -> f64 {
        let Ok(law) = Hypergeometric::new(self.population, self.marked, self.drawn) else { return 1.0 };
        (low..=high.min(self.drawn)).map(|count| law.ln_pmf(count).exp()).sum::<f64>().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, tried: u64) -> Count {
        Count { passed, tried }
    }

    /// The lady tasting tea: 4 of 4 against 0 of 4 has one chance in 70 on either side.
    #[test]
    fn fisher_s_own_example() {
        assert!((same_rate(count(4, 4), count(0, 4)) - 2.0 / 70.0).abs() < 1e-9);
        assert!((same_rate(count(3, 4), count(1, 4)) - 2.0 * 17.0 / 70.0).abs() < 1e-9);
    }

    #[test]
    fn equal_rates_are_never_suspicious() {
        for (passed, tried) in [(0, 20), (20, 20), (7, 20), (0, 0), (1, 1)] {
            let same = same_rate(count(passed, tried), count(passed, tried));
            assert!(same > 0.5, "{passed}/{tried}: {same}");
        }
    }

    #[test]
    fn a_loss_of_twenty_in_twenty_is_seen_and_one_in_twenty_is_not() {
        assert!(same_rate(count(20, 20), count(0, 20)) < 1e-10);
        assert!(same_rate(count(20, 20), count(19, 20)) > 0.5);
        assert!(same_rate(count(2000, 2000), count(1900, 2000)) < 1e-20);
    }

    /// Of all ways to choose whose are whose, exactly the share that the test claims is as extreme.
    #[test]
    fn the_median_test_is_exact_by_counting() {
        let (before, now) = ([1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]);
        let all: Vec<f64> = before.iter().chain(&now).copied().collect();
        let middle = 2.0;
        let above = |pick: u32| {
            all.iter().enumerate().filter(|(at, v)| pick & (1 << at) != 0 && **v > middle).count()
        };
        let picks: Vec<u32> = (0..256u32).filter(|pick| pick.count_ones() == 4).collect();
        let seen = now.iter().filter(|v| **v > middle).count();
        let extreme = picks.iter().filter(|pick| above(**pick) >= seen).count();
        let expected = extreme as f64 / picks.len() as f64;
        assert!((not_larger(&before, &now) - expected).abs() < 1e-9, "{expected}");
    }

    #[test]
    fn times_that_all_grew_are_seen_and_ties_are_not() {
        let (two, three) = (vec![2.0; 20], vec![3.0; 20]);
        assert!(not_larger(&two, &three) < 1e-10);
        assert!(not_larger(&three, &two) > 0.99);
        assert!(not_larger(&two, &two) > 0.99);
        assert!(not_larger(&[], &two) > 0.99);
    }
}
