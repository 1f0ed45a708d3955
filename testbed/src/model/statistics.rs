//! Exact tests for counts: is this rate another than that one, is this set of times another than that one? Pure.
//!
//! The caller chooses the error rate; `judge::verdict` compares a rate with theory, `report::compare` one run with
//! another.

mod binomial;
mod pooled;
mod region;

pub use binomial::{at_least, at_most};
pub use pooled::PooledTest;
pub use region::{POWER, Rates, RejectionRegion, Sensitivity};

use statrs::distribution::{Discrete, Hypergeometric};
use statrs::function::beta::ln_beta;

/// Probability that a run in which theory is right everywhere reports at least one difference.
pub const FALSE_ALARMS_PER_RUN: f64 = 1e-5;

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
    let draw = Draw::of(before, now);
    (2.0 * draw.at_most(now.passed).min(draw.at_least(now.passed))).min(1.0)
}

/// Probability that [`same_rate`] falls below `alpha` although the rate is the same, for as many trials of which as many
/// passed in all.
#[must_use]
pub fn same_rate_size(before: Count, now: Count, alpha: f64) -> f64 {
    let draw = Draw::of(before, now);
    draw.region(alpha / 2.0).into_iter().sum()
}

/// What [`same_rate`] calls a difference from `before` at the error rate `alpha`, by how many of `tried` trials pass.
#[must_use]
pub fn changed_rates(before: Count, tried: u64, alpha: f64) -> RejectionRegion {
    let draw = |passed| Draw::of(before, Count { passed, tried });
    let too_few = |passed| 2.0 * draw(passed).at_most(passed) < alpha;
    let too_many = |passed| 2.0 * draw(passed).at_least(passed) < alpha;
    RejectionRegion::new(tried, too_few, too_many)
}

/// How likely it is that times of one and the same distribution lie at least as far apart as these, where `now` is
/// suspected to be the larger (Mood's median test, exact whatever the distribution and its ties).
///
/// Both must have values; else nothing can be said and the answer is 1.
#[must_use]
pub fn not_larger(before: &[f64], now: &[f64]) -> f64 {
    above_the_middle(before, now).map_or(1.0, |(draw, above)| draw.at_least(above))
}

/// Probability that [`not_larger`] falls below `alpha` although the distribution is the same, for times that are tied as
/// these are.
#[must_use]
pub fn not_larger_size(before: &[f64], now: &[f64], alpha: f64) -> f64 {
    above_the_middle(before, now).map_or(0.0, |(draw, _)| draw.region(alpha)[1])
}

/// The draw of those that lie above the median of all, and how many of `now` do.
fn above_the_middle(before: &[f64], now: &[f64]) -> Option<(Draw, u64)> {
    if before.is_empty() || now.is_empty() {
        return None;
    }
    let mut all: Vec<f64> = before.iter().chain(now).copied().collect();
    all.sort_by(f64::total_cmp);
    let middle = all[(all.len() - 1) / 2];
    let above = |values: &[f64]| values.iter().filter(|value| **value > middle).count() as u64;
    let draw = Draw { population: all.len() as u64, marked: above(&all), drawn: now.len() as u64 };
    Some((draw, above(now)))
}

/// How much better a rate that was not fixed beforehand explains the trials than `rate` does: a wager on their order, at
/// fair odds if `rate` is true, that bets by the trials so far (the beta-binomial mixture with Jeffreys' weights).
///
/// If `rate` is true, this ever reaches `1 / alpha` with a probability of at most `alpha`, however many trials are made and
/// whenever one looks (Ville's inequality). So trials may be added until one is sure, which no fixed test allows.
#[must_use]
pub fn wager(count: Count, rate: f64) -> f64 {
    const WEIGHT: f64 = 0.5;
    let (passed, failed) = (count.passed as f64, (count.tried - count.passed) as f64);
    let mixture = ln_beta(WEIGHT + passed, WEIGHT + failed) - ln_beta(WEIGHT, WEIGHT);
    let log = |times: f64, rate: f64| if times == 0.0 { 0.0 } else { times * rate.ln() };
    (mixture - log(passed, rate) - log(failed, 1.0 - rate)).exp()
}

/// The rates that the trials leave possible, at every moment at once: outside, [`wager`] has reached `1 / alpha`.
#[must_use]
pub fn rates_left(count: Count, alpha: f64) -> (f64, f64) {
    if count.tried == 0 {
        return (0.0, 1.0);
    }
    let seen = count.rate();
    // The wager grows with the distance from the rate that was seen.
    let edge = |mut inside: f64, mut outside: f64| {
        if wager(count, outside) < 1.0 / alpha {
            return outside;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(inside, outside);
            let side = if wager(count, middle) < 1.0 / alpha { &mut inside } else { &mut outside };
            *side = middle;
        }
        inside
    };
    (edge(seen, 0.0), edge(seen, 1.0))
}

/// Some are drawn, without putting back, of a population in which some are marked.
#[derive(Debug, Clone, Copy)]
struct Draw {
    population: u64,
    marked: u64,
    drawn: u64,
}

impl Draw {
    /// What passed now, drawn from all that passed before or now.
    fn of(before: Count, now: Count) -> Self {
        Self { population: before.tried + now.tried, marked: before.passed + now.passed, drawn: now.tried }
    }

    /// The fewest marked ones that can be drawn, and the probabilities of this many, one more, and so on.
    fn distribution(self) -> (u64, Vec<f64>) {
        let lowest = (self.marked + self.drawn).saturating_sub(self.population);
        let highest = self.marked.min(self.drawn);
        let Ok(law) = Hypergeometric::new(self.population, self.marked, self.drawn) else {
            return (0, vec![1.0]);
        };
        (lowest, (lowest..=highest).map(|count| law.ln_pmf(count).exp()).collect())
    }

    /// What lies at the lower and at the upper end, as much on either side as stays below `alpha`.
    fn region(self, alpha: f64) -> [f64; 2] {
        let (_, chances) = self.distribution();
        let end = |chances: &mut dyn Iterator<Item = &f64>| {
            let sums = chances.scan(0.0, |sum, chance| {
                *sum += chance;
                Some(*sum)
            });
            sums.take_while(|sum| *sum < alpha).last().unwrap_or(0.0)
        };
        [end(&mut chances.iter()), end(&mut chances.iter().rev())]
    }

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

/// A probability as a percentage that never rounds to a lie: `100 %` and `0 %` are exact, and what is near them has two
/// digits of the difference, down to a millionth.
#[must_use]
pub fn percent(p: f64) -> String {
    const LEAST: f64 = 1e-6;
    // Decimals that show two digits of a share.
    let decimals = |share: f64| (1.0 - ((share * 100.0).log10() + 1e-9).floor()).max(1.0) as usize;
    match p {
        p if p >= 1.0 => "100 %".to_owned(),
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < LEAST => "< 0.0001 %".to_owned(),
        p if 1.0 - p < LEAST => "> 99.9999 %".to_owned(),
        p if p < 0.001 => format!("{:.1$} %", p * 100.0, decimals(p)),
        p if p > 0.999 => format!("{:.1$} %", p * 100.0, decimals(1.0 - p)),
        p => format!("{:.1} %", p * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, tried: u64) -> Count {
        Count { passed, tried }
    }

    #[test]
    fn percentages_never_say_always_or_never_where_it_is_not() {
        for (p, said) in [
            (1.0, "100 %"),
            (0.0, "0 %"),
            (0.5, "50.0 %"),
            (0.0123, "1.2 %"),
            (0.001, "0.1 %"),
            (3.1e-5, "0.0031 %"),
            (0.99995, "99.9950 %"),
            (0.9997, "99.970 %"),
            (1e-9, "< 0.0001 %"),
            (1.0 - 1e-9, "> 99.9999 %"),
        ] {
            assert_eq!(percent(p), said);
        }
    }

    #[test]
    fn ends_that_read_the_same_are_said_once() {
        assert_eq!(Rates { low: 0.000_031_1, high: 0.000_031_2 }.to_string(), "0.0031 %");
        assert_eq!(Rates { low: 0.1, high: 0.2 }.to_string(), "10.0 %–20.0 %");
        assert_eq!(Rates::exactly(1.0).to_string(), "100 %");
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

    /// All ways in which 12 trials can go, weighted by how likely they are: the wager pays 1 on average.
    #[test]
    fn the_wager_is_fair() {
        for rate in [0.1_f64, 0.64, 1.0] {
            let mut pays = 0.0;
            for way in 0..4096u32 {
                let passed = u64::from(way.count_ones());
                let ones = way.count_ones().cast_signed();
                let likely = rate.powi(ones) * (1.0 - rate).powi(12 - ones);
                if likely > 0.0 {
                    pays += likely * wager(count(passed, 12), rate);
                }
            }
            // What cannot happen pays too, where the rate is certain.
            assert!(pays <= 1.0 + 1e-9 && (rate >= 1.0 || pays > 1.0 - 1e-9), "{rate}: {pays}");
        }
        assert!(wager(count(11, 12), 1.0).is_infinite());
    }

    #[test]
    fn the_rates_left_close_in_on_the_truth() {
        let width = |passed, tried| {
            let (low, high) = rates_left(count(passed, tried), 1e-3);
            let seen = passed as f64 / tried as f64;
            assert!(low <= seen && seen <= high, "{low} {seen} {high}");
            high - low
        };
        assert_eq!(rates_left(count(0, 0), 1e-3), (0.0, 1.0));
        assert!(width(0, 10) > width(0, 20) && width(0, 20) > width(0, 60));
        assert!(width(32, 50) > width(320, 500) && width(320, 500) < 0.2);
        let (low, high) = rates_left(count(50, 50), 1e-3);
        assert!(low > 0.8 && high >= 1.0, "{low} {high}");
    }

    /// Looked at after each of 400 trials, a thousand times: with a fixed test at 5 % far more than a tenth would cry.
    #[test]
    fn looking_after_every_trial_costs_nothing() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut alarms = 0;
        for _ in 0..1000 {
            let mut seen = count(0, 0);
            let alarm = (0..400).any(|_| {
                seen = count(seen.passed + u64::from(rng.random_bool(0.64)), seen.tried + 1);
                wager(seen, 0.64) >= 20.0
            });
            alarms += u32::from(alarm);
        }
        // The seed is fixed, so that this draws the same each time.
        assert!(alarms <= 50, "{alarms} of 1000");
    }

    /// The size of Fisher's test is the sum over all tables of the same margins that it calls a difference.
    #[test]
    fn the_size_of_fisher_s_test_is_a_sum_over_tables() {
        for (before, now, alpha) in [
            (count(30, 40), count(10, 20), 0.05),
            (count(20, 20), count(19, 20), 1e-3),
            (count(5, 9), count(4, 9), 0.3),
        ] {
            let (low, chances) = Draw::of(before, now).distribution();
            let all = before.passed + now.passed;
            let table = |passed: u64| (count(all - passed, before.tried), count(passed, now.tried));
            let rejected = (low..).zip(&chances).filter(|(passed, _)| {
                let (before, now) = table(*passed);
                same_rate(before, now) < alpha
            });
            let size: f64 = rejected.map(|(_, chance)| chance).sum();
            assert!((same_rate_size(before, now, alpha) - size).abs() < 1e-12, "{before:?} {now:?}: {size}");
        }
    }

    #[test]
    fn changed_rates_are_those_that_the_test_rejects() {
        for (before, tried, alpha) in
            [(count(20, 20), 20, 1e-7), (count(13, 40), 30, 1e-3), (count(2, 2), 2, 1e-3)]
        {
            let region = changed_rates(before, tried, alpha);
            for passed in 0..=tried {
                let rejected = same_rate(before, count(passed, tried)) < alpha;
                assert_eq!(region.rejects(passed), rejected, "{before:?} {passed}/{tried}");
            }
        }
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
