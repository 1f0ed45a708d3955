//! The rejection region of a test: the counts that it calls a difference. Everything that a test promises follows from
//! it by summing: how often it is wrong, and which changes it sees.

use std::fmt;

use crate::model::statistics::binomial::{at_least, at_most};
use crate::model::statistics::{Count, percent, wager};

/// Probability with which a change is to be noticed when "the smallest change" is named.
pub const POWER: f64 = 0.9;

/// Steps of the search for a rate: enough for all digits of a `f64`.
const STEPS: u32 = 60;

/// The rates from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Rates {
    /// Only this one.
    #[must_use]
    pub const fn exactly(rate: f64) -> Self {
        Self { low: rate, high: rate }
    }

    /// The one of them that is nearest to `rate`.
    #[must_use]
    pub fn nearest(self, rate: f64) -> f64 {
        rate.clamp(self.low, self.high)
    }

    /// Whether 0 is farther from them than 1.
    fn is_nearer_to_one(self) -> bool {
        f64::midpoint(self.low, self.high) >= 0.5
    }
}

/// `64.0 %`, or `1.6 %–26.0 %`: one word, since changes are said to be from one to another.
impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match [percent(self.low), percent(self.high)] {
            [low, high] if low != high => write!(f, "{low}–{high}"),
            [same, _] => f.write_str(&same),
        }
    }
}

/// The numbers of passed trials that a test calls a difference: the low ones and the high ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectionRegion {
    tried: u64,
    /// This many or fewer.
    few: Option<u64>,
    /// This many or more.
    many: Option<u64>,
}

/// What a test of this many trials can see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensitivity {
    /// Probability that the test calls a difference though there is none: its size, by summing its rejection region.
    pub false_alarm: f64,
    /// The highest rate that it tells, with 90 % probability, from the expected one; `None` where it can see no fall.
    pub fall_to: Option<f64>,
    /// The lowest rate that it tells from the expected one; `None` where it can see no rise.
    pub rise_to: Option<f64>,
}

impl Sensitivity {
    /// What it tells from what was expected: `a fall from 50 % to 20.1 % or a rise to 90.0 %`; `None` if not even a total change.
    #[must_use]
    pub fn change_from(&self, expected: &str) -> Option<String> {
        match (self.fall_to.map(percent), self.rise_to.map(percent)) {
            (Some(fall), Some(rise)) => Some(format!("a fall from {expected} to {fall} or a rise to {rise}")),
            (Some(fall), None) => Some(format!("a fall from {expected} to {fall}")),
            (None, Some(rise)) => Some(format!("a rise from {expected} to {rise}")),
            (None, None) => None,
        }
    }
}

impl RejectionRegion {
    /// The region of a test of `tried` trials. If a number is too few, so is every lower one; if it is too many, so is
    /// every higher one.
    #[must_use]
    pub fn new(tried: u64, too_few: impl Fn(u64) -> bool, too_many: impl Fn(u64) -> bool) -> Self {
        let few = first(tried + 1, |passed| !too_few(passed)).checked_sub(1);
        let many = Some(first(tried + 1, too_many)).filter(|first| *first <= tried);
        Self { tried, few, many }
    }

    /// The region of the exact two-sided binomial test: `rates` are refuted when each of them is, by less than half of
    /// `alpha` on either side.
    #[must_use]
    pub fn binomial(tried: u64, rates: Rates, alpha: f64) -> Self {
        let too_few = |passed| at_most(tried, rates.low, passed) < alpha / 2.0;
        let too_many = |passed| at_least(tried, rates.high, passed) < alpha / 2.0;
        Self::new(tried, too_few, too_many)
    }

    /// The region of the sequential test after this many trials: a bet against the one of `rates` that explains the trials
    /// best, and so wins least, has won what `alpha` is worth.
    #[must_use]
    pub fn sequential(tried: u64, rates: Rates, alpha: f64) -> Self {
        let share = |passed: u64| passed as f64 / tried as f64;
        let won = |passed| wager(Count { passed, tried }, rates.nearest(share(passed))) >= 1.0 / alpha;
        Self::new(
            tried,
            |passed| share(passed) < rates.low && won(passed),
            |passed| share(passed) > rates.high && won(passed),
        )
    }

    /// Whether this many passed trials are a difference.
    #[must_use]
    pub fn rejects(self, passed: u64) -> bool {
        self.few.is_some_and(|few| passed <= few) || self.many.is_some_and(|many| passed >= many)
    }

    /// Probability of a difference where a trial passes at this rate.
    #[must_use]
    pub fn probability(self, rate: f64) -> f64 {
        (self.falls(rate) + self.rises(rate)).min(1.0)
    }

    /// Whether a total change would be seen: from `rates` to never or always, whichever is farther.
    #[must_use]
    pub fn sees_total_change(self, rates: Rates) -> bool {
        if rates.is_nearer_to_one() { self.few.is_some() } else { self.many.is_some() }
    }

    /// What the test can see where a trial is expected to pass at these rates.
    #[must_use]
    pub fn sensitivity(self, rates: Rates) -> Sensitivity {
        // The worst that any rate between the two can do on either side.
        let false_alarm = (self.falls(rates.low) + self.rises(rates.high)).min(1.0);
        let fall_to = self.few.map(|_| edge(0.0, rates.low, |rate| self.falls(rate) >= POWER));
        let rise_to = self.many.map(|_| edge(1.0, rates.high, |rate| self.rises(rate) >= POWER));
        Sensitivity { false_alarm, fall_to, rise_to }
    }

    fn falls(self, rate: f64) -> f64 {
        self.few.map_or(0.0, |few| at_most(self.tried, rate, few))
    }

    fn rises(self, rate: f64) -> f64 {
        self.many.map_or(0.0, |many| at_least(self.tried, rate, many))
    }
}

/// The first number below `end` that is so, if those after it all are; else `end`.
fn first(end: u64, is_so: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_so(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The rate nearest to `unseen` at which something is still seen, which it is at `seen`.
fn edge(mut seen: f64, mut unseen: f64, is_seen: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..STEPS {
        let middle = f64::midpoint(seen, unseen);
        if is_seen(middle) { seen = middle } else { unseen = middle }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(tried: u64, rate: f64) -> RejectionRegion {
        RejectionRegion::binomial(tried, Rates::exactly(rate), 1e-5)
    }

    #[test]
    fn any_failure_refutes_certainty_and_that_is_never_a_false_alarm() {
        let certain = region(20, 1.0);
        assert!(certain.rejects(19) && !certain.rejects(20));
        let seen = certain.sensitivity(Rates::exactly(1.0));
        assert_eq!((seen.false_alarm, seen.rise_to), (0.0, None));
        // 1 - rate^20 = 0.9
        let rate = seen.fall_to.expect("a fall is seen");
        assert!((rate - 0.1_f64.powf(0.05)).abs() < 1e-9, "{rate}");
    }

    /// The region found by bisection is the one that testing every count finds, and its size the sum over it.
    #[test]
    fn sizes_are_sums_over_the_region() {
        for (tried, rate, alpha) in [(20, 0.5, 1e-2), (37, 0.26, 1e-3), (100, 0.9, 1e-5), (1, 0.5, 1e-5)] {
            let region = RejectionRegion::binomial(tried, Rates::exactly(rate), alpha);
            let exactly =
                |k: u64| at_most(tried, rate, k) - if k == 0 { 0.0 } else { at_most(tried, rate, k - 1) };
            let tail = |k| at_most(tried, rate, k).min(at_least(tried, rate, k));
            let rejected = || (0..=tried).filter(|k| tail(*k) < alpha / 2.0);
            assert!((0..=tried).all(|k| region.rejects(k) == rejected().any(|other| other == k)));
            let size: f64 = rejected().map(exactly).sum();
            let seen = region.sensitivity(Rates::exactly(rate));
            assert!((seen.false_alarm - size).abs() < 1e-12, "{tried} {rate}: {size} {seen:?}");
            assert!(size <= alpha);
        }
    }

    #[test]
    fn a_total_change_is_one_to_the_farther_end() {
        assert!(!region(4, 0.5).sees_total_change(Rates::exactly(0.5)));
        assert!(region(4, 0.001).sees_total_change(Rates::exactly(0.001)));
        assert!(region(20, 0.26).sees_total_change(Rates::exactly(0.26)));
        let anything = Rates { low: 0.0, high: 1.0 };
        assert!(!RejectionRegion::binomial(1000, anything, 1e-5).sees_total_change(anything));
    }

    #[test]
    fn an_interval_is_refuted_only_where_each_of_its_rates_is() {
        let rates = Rates { low: 0.2, high: 0.6 };
        let region = RejectionRegion::binomial(100, rates, 1e-5);
        for passed in 0..=100 {
            let each = (0..=40).all(|step| {
                let rate = 0.2 + f64::from(step) * 0.01;
                RejectionRegion::binomial(100, Rates::exactly(rate), 1e-5).rejects(passed)
            });
            assert_eq!(region.rejects(passed), each, "{passed}");
        }
    }
}
