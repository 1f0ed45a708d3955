//! How a command ends, the same for all that judge: a run, a merge, a comparison.
//!
//! Nothing ends with 0 by silence. What was not decided is a gap, and each kind of gap has a name by which `--allow`
//! accepts it.

use std::collections::BTreeMap;

use crate::model::words::words;
use crate::report::compare::Comparison;
use crate::report::results::{EndingDoc, Results, VerdictDoc};
use crate::report::void::VoidSummary;

/// Why something that was run is not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UndecidedReason {
    /// A cell had too few trials.
    Undecided,
    /// Theory says nothing of a cell, and no baseline was compared that could have shown a change of it.
    NoExpectation,
    /// A run was stopped.
    Interrupted,
    /// A comparison could not have shown a total change of a cell.
    Blind,
    /// This machine cannot run a cell.
    Skipped,
}

words!(UndecidedReason {
    Undecided => "undecided",
    NoExpectation => "no-expectation",
    Interrupted => "interrupted",
    Blind => "blind",
    Skipped => "skipped",
});

impl UndecidedReason {
    /// For `--help`: what is accepted, without a full stop.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Undecided => "Cells with too few trials to tell",
            Self::NoExpectation => "Cells about which theory says nothing, without a baseline",
            Self::Interrupted => "A run that was stopped before its end",
            Self::Blind => {
                "Cells with so few trials that the comparison with a baseline could not have shown any change"
            }
            Self::Skipped => "Cells that this machine cannot run",
        }
    }
}

/// What there is to be said of a run or of a comparison, all together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitStatus {
    /// Something was an error.
    broken: bool,
    /// Some cell differs from theory, or changed.
    changed: bool,
    /// Nothing was run or compared.
    empty: bool,
    /// What is not decided, with the number of cells.
    gaps: BTreeMap<UndecidedReason, usize>,
}

impl ExitStatus {
    /// Of a run, and of its comparison with a baseline where one was made.
    #[must_use]
    pub fn of_run(results: &Results, comparison: Option<&Comparison>) -> Self {
        let totals = &results.totals;
        let judged = |id: &str| comparison.is_some_and(|compared| compared.sees(id));
        let unknown = results.punches().filter(|cell| cell.verdict == VerdictDoc::NoExpectation);
        let compared = comparison.map(Self::of_comparison).unwrap_or_default();
        let void_by_outcome = VoidSummary::of(results).is_some_and(|void| void.depends_on_outcome());
        // More shards than cells leave some without any, and that is no fault.
        let spare = results.part.of > 1 && totals.cells == 0;
        let mut status = Self {
            broken: totals.error + totals.proofs_failed > 0 || void_by_outcome || compared.broken,
            changed: totals.differs > 0 || compared.changed,
            empty: totals.cells == totals.skipped && !spare,
            gaps: compared.gaps,
        };
        // A baseline that has none of the cells could not have shown anything.
        let foreign = comparison.is_some_and(|compared| compared.compared == 0);
        status.note(UndecidedReason::Blind, if foreign { totals.cells } else { 0 });
        status.note(UndecidedReason::Undecided, totals.undecided);
        status.note(UndecidedReason::NoExpectation, unknown.filter(|cell| !judged(&cell.id)).count());
        status.note(UndecidedReason::Interrupted, usize::from(results.ending == EndingDoc::Interrupted));
        status.note(UndecidedReason::Skipped, totals.skipped);
        status
    }

    /// Of a comparison of two runs.
    #[must_use]
    pub fn of_comparison(compared: &Comparison) -> Self {
        let mut status = Self {
            broken: !compared.broken.is_empty(),
            changed: !compared.is_unchanged(),
            empty: compared.compared == 0,
            gaps: BTreeMap::new(),
        };
        status.note(UndecidedReason::Blind, compared.blind().count());
        status.note(UndecidedReason::Interrupted, compared.interrupted.len());
        status
    }

    /// Of this and another run or comparison together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.broken |= other.broken;
        self.changed |= other.changed;
        self.empty &= other.empty;
        other.gaps.iter().for_each(|(gap, cells)| self.note(*gap, *cells));
        self
    }

    /// Whether something was an error, differs or changed.
    #[must_use]
    pub fn is_red(&self) -> bool {
        self.broken || self.changed
    }

    /// Whether there is such a gap.
    #[must_use]
    pub fn has(&self, gap: UndecidedReason) -> bool {
        self.gaps.contains_key(&gap)
    }

    fn note(&mut self, gap: UndecidedReason, cells: usize) {
        if cells > 0 {
            *self.gaps.entry(gap).or_default() += cells;
        }
    }

    /// 0 every cell as expected, 1 some cell differs or changed, 2 some error, 3 none of these, but something is not
    /// decided that is not `allowed`, 4 nothing ran.
    #[must_use]
    pub fn code(&self, allowed: &[UndecidedReason]) -> u8 {
        match self {
            Self { broken: true, .. } => 2,
            Self { changed: true, .. } => 1,
            Self { empty: true, .. } => 4,
            _ if self.gaps.keys().all(|gap| allowed.contains(gap)) => 0,
            _ => 3,
        }
    }

    /// Why it ends with 3, and what would accept that; `None` where it ends otherwise.
    #[must_use]
    pub fn explanation(&self, allowed: &[UndecidedReason]) -> Option<String> {
        if self.code(allowed) != 3 {
            return None;
        }
        let gaps: Vec<(&UndecidedReason, &usize)> =
            self.gaps.iter().filter(|(gap, _)| !allowed.contains(gap)).collect();
        let said: Vec<String> = gaps
            .iter()
            .map(|(gap, cells)| match gap {
                UndecidedReason::Interrupted => "interrupted".to_owned(),
                _ => format!("{cells} {}", gap.name().replace('-', " ")),
            })
            .collect();
        let names: Vec<&str> = gaps.iter().map(|(gap, _)| gap.name()).collect();
        Some(format!(
            "not decided: {} (exit code 3; --allow {} accepts this)",
            said.join(", "),
            names.join(",")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(parts: [bool; 3], gaps: &[UndecidedReason]) -> ExitStatus {
        let [broken, changed, empty] = parts;
        ExitStatus { broken, changed, empty, gaps: gaps.iter().map(|gap| (*gap, 2)).collect() }
    }

    #[test]
    fn the_worst_decides() {
        for (parts, gaps, code) in [
            ([false, false, false], &[][..], 0),
            ([false, false, false], &[UndecidedReason::Blind], 3),
            ([false, false, true], &[UndecidedReason::Interrupted], 4),
            ([false, true, false], &[UndecidedReason::Undecided], 1),
            ([true, true, true], &[UndecidedReason::Undecided], 2),
        ] {
            assert_eq!(status(parts, gaps).code(&[]), code, "{parts:?} {gaps:?}");
            assert_eq!(
                status(parts, gaps).code(UndecidedReason::ALL),
                if code == 3 { 0 } else { code },
                "{parts:?}"
            );
        }
    }

    #[test]
    fn only_what_is_allowed_is_accepted() {
        let both = status([false; 3], &[UndecidedReason::Blind, UndecidedReason::NoExpectation]);
        assert_eq!(
            (
                both.code(&[UndecidedReason::Blind]),
                both.code(&[UndecidedReason::Blind, UndecidedReason::NoExpectation])
            ),
            (3, 0)
        );
        assert_eq!(
            both.explanation(&[UndecidedReason::Blind]).as_deref(),
            Some("not decided: 2 no expectation (exit code 3; --allow no-expectation accepts this)")
        );
        assert_eq!(both.explanation(UndecidedReason::ALL), None);
    }
}
