//! One row of a proof: what is declared on an axis, and what was seen.

use crate::model::axis::NatAxis;
use crate::model::behavior::Behavior;
use crate::model::event::ProofRow;

/// A measured axis, or something else that was measured beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was measured.
    pub(super) subject: String,
    /// What was to be expected.
    pub(super) expected: String,
    /// What was seen.
    pub(super) observed: String,
    /// Whether they agree.
    pub(super) agrees: bool,
}

impl Finding {
    /// An axis, which agrees if what was seen reads like what is declared.
    pub(super) fn of(axis: NatAxis, declared: &Behavior, observed: String) -> Self {
        Self::new(axis.name(), declared.value(axis), observed)
    }

    /// Anything with a name.
    pub(super) fn new(subject: &str, expected: impl Into<String>, observed: impl Into<String>) -> Self {
        let (expected, observed) = (expected.into(), observed.into());
        let agrees = expected == observed;
        Self { subject: subject.to_owned(), expected, observed, agrees }
    }
}

impl From<Finding> for ProofRow {
    fn from(finding: Finding) -> Self {
        let Finding { subject, expected, observed, agrees } = finding;
        Self { axis: subject, expected, observed, agrees }
    }
}
