//! Probabilities of a number of successes, exact also where success is certain or impossible.

use statrs::distribution::{Binomial, DiscreteCDF};

/// P(X <= k) for X binomial.
#[must_use]
pub fn at_most(n: u64, p: f64, k: u64) -> f64 {
    match certain(p) {
        Some(always) => f64::from(u8::from(!always || k >= n)),
        None => Binomial::new(p, n).map_or(f64::NAN, |b| b.cdf(k)),
    }
}

/// P(X >= k) for X binomial.
#[must_use]
pub fn at_least(n: u64, p: f64, k: u64) -> f64 {
    match (certain(p), k.checked_sub(1)) {
        (_, None) => 1.0,
        (Some(always), Some(_)) => f64::from(u8::from(always && k <= n)),
        (None, Some(below)) => Binomial::new(p, n).map_or(f64::NAN, |b| b.sf(below)),
    }
}

/// Whether a probability is that of a certain (`true`) or an impossible (`false`) event.
fn certain(p: f64) -> Option<bool> {
    (p <= 0.0).then_some(false).or((p >= 1.0).then_some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_exact() {
        assert!((at_most(3, 0.5, 1) - 0.5).abs() < 1e-12);
        assert!((at_least(3, 0.5, 3) - 0.125).abs() < 1e-12);
        assert!((at_most(4, 0.25, 2) - at_most(4, 0.25, 1) - 0.210_937_5).abs() < 1e-9);
    }

    #[test]
    fn what_is_certain_has_no_tails() {
        assert_eq!((at_most(5, 1.0, 4), at_least(5, 1.0, 5)), (0.0, 1.0));
        assert_eq!((at_most(5, 0.0, 0), at_least(5, 0.0, 1)), (1.0, 0.0));
    }
}
