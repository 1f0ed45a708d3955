//! What of a run is not as expected, the worst first: cells with the same fault together, and the command that leads on.

use std::cmp::Reverse;

use crate::report::results::{KernelCell, OutcomeDoc, ProofCell, PunchCell, Results, VerdictDoc};

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Deviation<'a> {
    /// A NAT that does not behave as declared, or that this machine cannot have.
    Proof {
        /// What was measured.
        proof: &'a ProofCell,
        /// The cells that were not run for it.
        cells: Vec<&'a PunchCell>,
    },
    /// A check of the kernel.
    Kernel(&'a KernelCell),
    /// Cells with the same verdict for the same reason, the worst first; at least one.
    Cells {
        /// Their verdict.
        verdict: VerdictDoc,
        /// The cause of most of what went wrong, in a few words; empty where there is none to name.
        cause: String,
        /// The cells.
        cells: Vec<&'a PunchCell>,
    },
}

impl Deviation<'_> {
    /// The verdict of all that it is made of.
    #[must_use]
    pub fn verdict(&self) -> VerdictDoc {
        match self {
            Self::Proof { proof, .. } => proof.verdict,
            Self::Kernel(check) => check.verdict,
            Self::Cells { verdict, .. } => *verdict,
        }
    }
}

/// Everything that is not as expected, the worst first.
#[must_use]
pub fn of_run(results: &Results) -> Vec<Deviation<'_>> {
    let wrong = |verdict| verdict != VerdictDoc::AsExpected;
    let mut problems: Vec<Deviation<'_>> = Vec::new();
    let unproved: Vec<&ProofCell> = results.proofs().filter(|proof| wrong(proof.verdict)).collect();
    problems
        .extend(unproved.iter().map(|proof| Deviation::Proof { proof, cells: not_run_for(proof, results) }));
    problems.extend(results.kernel_checks().filter(|check| wrong(check.verdict)).map(Deviation::Kernel));
    problems.extend(groups(results, &unproved));
    problems.sort_by_key(|problem| weight(problem.verdict()));
    problems
}

/// The cells that were not run because this NAT is not what it declares, or cannot be.
fn not_run_for<'a>(proof: &ProofCell, results: &'a Results) -> Vec<&'a PunchCell> {
    results.punches().filter(|cell| is_not_run_for(proof, cell)).collect()
}

fn is_not_run_for(proof: &ProofCell, cell: &PunchCell) -> bool {
    let names_it = cell.axes.values().any(|value| *value == proof.nat);
    names_it && cell.verdict == proof.verdict && cell.trials == cell.skipped
}

/// Cells with the same fault, without those that their NAT's proof explains.
fn groups<'a>(results: &'a Results, unproved: &[&ProofCell]) -> Vec<Deviation<'a>> {
    let mut groups: Vec<(VerdictDoc, String, Vec<&PunchCell>)> = Vec::new();
    let explained = |cell: &PunchCell| unproved.iter().any(|proof| is_not_run_for(proof, cell));
    let wrong = |cell: &&PunchCell| cell.verdict != VerdictDoc::AsExpected && !explained(cell);
    for cell in results.punches().filter(wrong) {
        let cause = main_cause(cell);
        match groups.iter_mut().find(|(verdict, known, _)| *verdict == cell.verdict && *known == cause) {
            Some((_, _, cells)) => cells.push(cell),
            None => groups.push((cell.verdict, cause, vec![cell])),
        }
    }
    for (_, _, cells) in &mut groups {
        cells.sort_by(|a, b| gap(b).total_cmp(&gap(a)));
    }
    // Of groups with the same verdict the one furthest from what was expected comes first, then the largest.
    groups.sort_by(|(_, _, a), (_, _, b)| gap(b[0]).total_cmp(&gap(a[0])).then(b.len().cmp(&a.len())));
    groups.into_iter().map(|(verdict, cause, cells)| Deviation::Cells { verdict, cause, cells }).collect()
}

/// How bad a verdict is: the smallest is the worst.
#[must_use]
pub fn weight(verdict: VerdictDoc) -> u8 {
    match verdict {
        VerdictDoc::Differs => 0,
        VerdictDoc::Error => 1,
        VerdictDoc::Undecided => 2,
        VerdictDoc::NoExpectation => 3,
        VerdictDoc::Skipped => 4,
        VerdictDoc::AsExpected => 5,
    }
}

/// How far what was seen is from what was expected, or from always where nothing is, from 0 to 1.
fn gap(cell: &PunchCell) -> f64 {
    match (&cell.observed, &cell.expected) {
        (Some(seen), Some(expected)) => {
            let rates = expected.rates();
            (rates.low - seen.probability).max(seen.probability - rates.high).max(0.0)
        }
        (Some(seen), None) => 1.0 - seen.probability,
        (None, _) => 0.0,
    }
}

/// The cause of most of what went wrong in a cell.
#[must_use]
pub fn main_cause(cell: &PunchCell) -> String {
    let of_outcome = |wanted: OutcomeDoc| {
        let mut counts: Vec<(&String, usize)> = Vec::new();
        for how in
            cell.each.iter().filter(|trial| trial.outcome == wanted).filter_map(|trial| trial.how.as_ref())
        {
            match counts.iter_mut().find(|(known, _)| *known == how) {
                Some((_, count)) => *count += 1,
                None => counts.push((how, 1)),
            }
        }
        // The first of those that are equally frequent.
        counts.into_iter().min_by_key(|(_, count)| Reverse(*count)).map(|(how, _)| how.clone())
    };
    match cell.verdict {
        VerdictDoc::Differs | VerdictDoc::NoExpectation => of_outcome(OutcomeDoc::Failed).unwrap_or_default(),
        // A cell that was not run has no trial to say why.
        VerdictDoc::Error => of_outcome(OutcomeDoc::Error).unwrap_or_else(|| cell.note.clone()),
        VerdictDoc::Skipped => cell.note.clone(),
        VerdictDoc::AsExpected | VerdictDoc::Undecided => String::new(),
    }
}
