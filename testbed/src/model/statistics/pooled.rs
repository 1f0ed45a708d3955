//! One test over many cells: do they pass as often as before, taken together?
//!
//! What passed is summed over the cells, and the sum is compared with its exact distribution where each cell has, for
//! itself, one rate before and now: a sum of independent hypergeometric draws, one a cell. Each cell is compared with
//! itself only, so that cells of different rates with different numbers of trials cannot make a change out of nothing
//! (Simpson's paradox), as they would if their trials were poured together.

use crate::model::statistics::{Count, Draw};

/// Ends of a distribution that hold no more than this are cut off, so that long sums stay short. What is cut off counts
/// as if it were more extreme than what was seen.
const NEGLIGIBLE: f64 = 1e-24;

/// How the sum of what passed now is distributed if nothing changed.
#[derive(Debug, Clone, PartialEq)]
pub struct PooledTest {
    /// What the first probability is of.
    lowest: u64,
    probabilities: Vec<f64>,
    /// What was cut off.
    lost: f64,
    passed: u64,
}

impl PooledTest {
    /// The test of these cells, each with what was and what is.
    #[must_use]
    pub fn new(cells: impl IntoIterator<Item = (Count, Count)>) -> Self {
        let mut test = Self { lowest: 0, probabilities: vec![1.0], lost: 0.0, passed: 0 };
        for (before, now) in cells {
            test.passed += now.passed;
            test.add(Draw::of(before, now));
        }
        test
    }

    /// How likely a sum is that is at least as extreme (twice the smaller tail), if nothing changed.
    #[must_use]
    pub fn chance(&self) -> f64 {
        let [low, high] = self.tails();
        (2.0 * (low.min(high) + self.lost)).min(1.0)
    }

    /// Whether less passed than was to be expected.
    #[must_use]
    pub fn fell(&self) -> bool {
        let [low, high] = self.tails();
        low < high
    }

    /// Probabilities of at most, and of at least, as many as passed.
    fn tails(&self) -> [f64; 2] {
        let Some(offset) = self.passed.checked_sub(self.lowest) else { return [0.0, 1.0] };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = self.probabilities.len();
        let sum = |range: std::ops::Range<usize>| self.probabilities[range].iter().sum();
        [sum(0..at.saturating_add(1).min(end)), sum(at.min(end)..end)]
    }

    /// Probability that it calls a difference at this error rate although nothing changed, by summing its rejection
    /// region.
    #[must_use]
    pub fn size(&self, alpha: f64) -> f64 {
        let end = |values: &mut dyn Iterator<Item = &f64>| {
            let mut sum = 0.0;
            for value in values {
                if 2.0 * (sum + value + self.lost) >= alpha {
                    break;
                }
                sum += value;
            }
            sum
        };
        end(&mut self.probabilities.iter()) + end(&mut self.probabilities.iter().rev()) + self.lost
    }

    fn add(&mut self, draw: Draw) {
        let (low, chances) = draw.distribution();
        let mut sums = vec![0.0; self.probabilities.len() + chances.len() - 1];
        for (at, probability) in self.probabilities.iter().enumerate() {
            for (more, chance) in chances.iter().enumerate() {
                sums[at + more] += probability * chance;
            }
        }
        let (mut cut, mut first, mut last) = (0.0, 0, sums.len());
        while last - first > 1 && cut + sums[first] < NEGLIGIBLE {
            cut += sums[first];
            first += 1;
        }
        while last - first > 1 && cut + sums[last - 1] < 2.0 * NEGLIGIBLE {
            cut += sums[last - 1];
            last -= 1;
        }
        self.lost += cut;
        self.lowest += low + first as u64;
        self.probabilities = sums[first..last].to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::statistics::same_rate;

    fn count(passed: u64, tried: u64) -> Count {
        Count { passed, tried }
    }

    #[test]
    fn of_one_cell_it_is_fisher_s_test() {
        for (before, now) in
            [(count(4, 4), count(0, 4)), (count(20, 40), count(3, 20)), (count(9, 9), count(9, 9))]
        {
            let pooled = PooledTest::new([(before, now)]).chance();
            assert!((pooled - same_rate(before, now)).abs() < 1e-12, "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_small_loss_everywhere_is_seen_though_no_cell_shows_it() {
        let (before, now) = (count(40, 40), count(38, 40));
        assert!(same_rate(before, now) > 0.1);
        assert!(PooledTest::new(std::iter::repeat_n((before, now), 40)).chance() < 1e-12);
    }

    /// No cell changed, but what was tried often before is tried rarely now. Poured together, 105 of 110 passed before and
    /// 15 of 110 now.
    #[test]
    fn cells_that_did_not_change_cannot_make_a_change_together() {
        let cells = [(count(100, 100), count(10, 10)), (count(1, 10), count(10, 100))];
        assert!(same_rate(count(101, 110), count(20, 110)) < 1e-20);
        assert!(PooledTest::new(cells).chance() > 0.5);
    }

    /// Of all ways to deal out what passed within each cell, the share that the test claims is as extreme.
    #[test]
    fn it_is_exact_by_counting() {
        let (cells, choose) = ([(2_u64, 3_u64, 2_u64), (1, 2, 3)], |n: u64, k: u64| -> f64 {
            (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
        });
        // Each: passed in all 4 and 3 of before 3, now 4 and before 4, now 3 trials.
        let [one, two] = [(count(3, 3), count(1, 4)), (count(0, 4), count(3, 3))];
        let law = |marked: u64, drawn: u64, k: u64| {
            choose(marked, k) * choose(7 - marked, drawn - k) / choose(7, drawn)
        };
        let mut sums = [0.0; 8];
        for a in 0..=4_u64 {
            for b in 0..=3_u64 {
                sums[(a + b) as usize] += law(4, 4, a) * law(3, 3, b);
            }
        }
        let (low, high): (f64, f64) = (sums[..=4].iter().sum(), sums[4..].iter().sum());
        let expected = (2.0 * low.min(high)).min(1.0);
        assert!((PooledTest::new([one, two]).chance() - expected).abs() < 1e-12, "{cells:?}");
    }

    #[test]
    fn its_size_is_below_what_is_asked_and_not_far_below() {
        let test = PooledTest::new(std::iter::repeat_n((count(30, 40), count(31, 40)), 20));
        for alpha in [1e-2, 1e-4, 1e-6] {
            let size = test.size(alpha);
            assert!(size <= alpha && size > alpha / 4.0, "{alpha}: {size}");
        }
    }
}
