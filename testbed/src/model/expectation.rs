//! What theory expects of a cell.

/// What theory says of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Probability that a trial passes, 0 to 1: theory's best figure, within the interval.
    pub probability: f64,
    /// The least probability that theory holds possible.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// The reason, as one sentence.
    pub because: String,
}

impl Expectation {
    /// A probability that theory knows exactly.
    #[must_use]
    pub fn exactly(probability: f64, because: impl Into<String>) -> Self {
        Self { probability, low: probability, high: probability, because: because.into() }
    }

    /// A probability that theory knows to lie between two others, which may come in any order.
    #[must_use]
    pub fn between(probability: f64, ends: [f64; 2], because: impl Into<String>) -> Self {
        let [one, other] = ends;
        let (low, high) = (one.min(other), one.max(other));
        Self { probability: probability.clamp(low, high), low, high, because: because.into() }
    }

    /// Whether it is one probability.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.low >= self.high
    }
}

/// Why theory says nothing of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoExpectation {
    /// One sentence.
    pub because: String,
}
