//! One row of a proof: what is declared on an axis, and what was seen.

use crate::model::axis::NatAxis;
use crate::model::behavior::Behavior;
use crate::model::event::ProofRow;

/// A measured axis, or something else that was measured beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::probe) struct Finding {
    /// What was measured.
    pub(in crate::probe) subject: String,
    /// What was to be expected.
    pub(in crate::probe) expected: String,
    /// What was seen.
    pub(in crate::probe) observed: String,
    /// Whether they agree.
    pub(in crate::probe) agrees: bool,
    /// Whether anything was measured at all.
    pub(in crate::probe) looked_at: bool,
}

impl Finding {
    /// An axis, which agrees if what was seen reads like what is declared.
    pub(in crate::probe) fn of(axis: NatAxis, declared: &Behavior, observed: String) -> Self {
        Self::new(axis.name(), declared.value(axis), observed)
    }

    /// Anything with a name.
    pub(in crate::probe) fn new(
        subject: &str,
        expected: impl Into<String>,
        observed: impl Into<String>,
    ) -> Self {
        let (expected, observed) = (expected.into(), observed.into());
        let agrees = expected == observed;
        Self { subject: subject.to_owned(), expected, observed, agrees, looked_at: true }
    }

    /// What could not be looked at, and why: it agrees with whatever is declared, and says so.
    pub(in crate::probe) fn not_looked_at(subject: &str, why: &str) -> Self {
        let observed = format!("not looked at: {why}");
        let (subject, expected) = (subject.to_owned(), observed.clone());
        Self { subject, expected, observed, agrees: true, looked_at: false }
    }
}

impl From<Finding> for ProofRow {
    fn from(finding: Finding) -> Self {
        let Finding { subject, expected, observed, agrees, looked_at: _ } = finding;
        Self { axis: subject, expected, observed, agrees }
    }
}
