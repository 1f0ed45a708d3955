//! The verdicts of cells as results tell them, and how many cells of a run came to which.

use serde::{Deserialize, Serialize};

/// What is to be said of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDoc {
    /// The trials agree with theory.
    AsExpected,
    /// They contradict it.
    Differs,
    /// Too few to tell.
    Undecided,
    /// Theory says nothing of it.
    NoExpectation,
    /// The lab or a program broke.
    Error,
    /// This machine cannot run it.
    Skipped,
}

impl VerdictDoc {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AsExpected => "as expected",
            Self::Differs => "differs",
            Self::Undecided => "undecided",
            Self::NoExpectation => "no expectation",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// How many cells of the suite came to which verdict; proofs are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// All finished cells of the suite.
    pub cells: usize,
    /// Those that agree with theory.
    pub as_expected: usize,
    /// Those that contradict it.
    pub differs: usize,
    /// Those with too few trials to tell.
    pub undecided: usize,
    /// Those of which theory says nothing.
    pub no_expectation: usize,
    /// Those where the lab or a program broke.
    pub error: usize,
    /// Those that this machine cannot run.
    pub skipped: usize,
    /// NATs that were proved.
    pub proofs: usize,
    /// NATs that do not behave as declared.
    pub proofs_failed: usize,
}

impl Totals {
    /// The verdicts that cells came to, best first, each with how many did.
    pub fn by_verdict(&self) -> impl Iterator<Item = (VerdictDoc, usize)> {
        let all = [
            (VerdictDoc::AsExpected, self.as_expected),
            (VerdictDoc::Differs, self.differs),
            (VerdictDoc::Undecided, self.undecided),
            (VerdictDoc::NoExpectation, self.no_expectation),
            (VerdictDoc::Error, self.error),
            (VerdictDoc::Skipped, self.skipped),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Counts one more cell.
    pub(super) fn count(&mut self, verdict: VerdictDoc) {
        self.cells += 1;
        *match verdict {
            VerdictDoc::AsExpected => &mut self.as_expected,
            VerdictDoc::Differs => &mut self.differs,
            VerdictDoc::Undecided => &mut self.undecided,
            VerdictDoc::NoExpectation => &mut self.no_expectation,
            VerdictDoc::Error => &mut self.error,
            VerdictDoc::Skipped => &mut self.skipped,
        } += 1;
    }
}
