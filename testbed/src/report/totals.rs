//! How many cells of a run came to which verdict.

use serde::{Deserialize, Serialize};

use crate::report::results::{CellDoc, VerdictDoc};

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
    /// Those whose method theory does not know.
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

    /// Counts the verdicts.
    #[must_use]
    pub fn of(cells: &[CellDoc]) -> Self {
        let mut totals = Self::default();
        for cell in cells {
            match cell {
                CellDoc::Proof(proof) => {
                    totals.proofs += 1;
                    totals.proofs_failed += usize::from(proof.verdict == VerdictDoc::Error);
                }
                CellDoc::Punch(cell) => totals.count(cell.verdict),
                CellDoc::Kernel(cell) => totals.count(cell.verdict),
            }
        }
        totals
    }

    fn count(&mut self, verdict: VerdictDoc) {
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
