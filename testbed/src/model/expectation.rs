//! What theory expects of a cell.

/// What theory says of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Probability that a trial passes, 0 to 1.
    pub probability: f64,
    /// The reason, as one sentence.
    pub because: String,
}
