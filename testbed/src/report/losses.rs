//! What of a run could not be written to its folder: told at the end, with what is left.

use std::collections::BTreeSet;
use std::io;

use crate::kernel::user_file;
use crate::model::plural::counted;
use crate::report::format::{CELLS, Format, RESULTS};
use crate::report::results::{CellDoc, Results};

/// What could not be written, and the first reason.
#[derive(Debug, Default)]
pub struct Losses {
    why: Option<String>,
    /// Trials of which nothing could be kept, by cell and number.
    trials: BTreeSet<(String, u32)>,
    /// Finished cells that could not be noted while the run went on.
    cells: usize,
    /// Files of the run's folder.
    files: Vec<&'static str>,
    /// Whether finished cells were noted while the run went on.
    has_notes: bool,
    of: Work,
}

/// What had to be written down, and so would be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Work {
    /// A run.
    #[default]
    Run,
    /// The parts of one, joined.
    Merge,
}

impl Losses {
    /// None yet, of a run whose parts are joined.
    pub(super) fn of_merge() -> Self {
        Self { of: Work::Merge, ..Self::default() }
    }

    /// Whether finished cells were noted while the run went on, so that something is left without its results.
    pub(super) fn has_notes(&self) -> bool {
        self.has_notes
    }

    /// Whether everything was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.why.is_none()
    }

    /// What the file system said first.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Nothing was kept of this trial.
    pub(super) fn trial(&mut self, cell: &str, number: u32, why: &io::Error) {
        self.trials.insert((cell.to_owned(), number));
        self.because(why);
    }

    /// A finished cell was noted, or not. The proof of a NAT is none of those that somebody would miss.
    pub(super) fn cell(&mut self, cell: &CellDoc, noted: io::Result<()>) {
        let is_proof = matches!(cell, CellDoc::Proof(_));
        match noted {
            Ok(()) => self.has_notes |= !is_proof,
            Err(why) => {
                self.cells += usize::from(!is_proof);
                self.because(&why);
            }
        }
    }

    /// This file was not written.
    pub(super) fn file(&mut self, name: &'static str, why: &io::Error) {
        self.files.push(name);
        self.because(why);
    }

    fn because(&mut self, why: &io::Error) {
        self.why.get_or_insert_with(|| user_file::words(why));
    }

    /// Takes the folders of these trials out of results, so that nothing is looked for that is not there.
    pub(super) fn forget(&self, results: &mut Results) {
        results.forget_artefacts(|cell, trial| self.trials.contains(&(cell.to_owned(), trial.number)));
    }

    /// What is lost and why, and what is left; nothing where nothing is lost.
    #[must_use]
    pub fn told(&self, folder: &str) -> Option<(String, String)> {
        let why = self.why.as_ref()?;
        let has_results = !self.files.contains(&RESULTS);
        let mut lost = Vec::new();
        if !self.trials.is_empty() {
            lost.push(format!("the packets and logs of {}", counted(self.trials.len(), "trial")));
        }
        // `results.json` has all of them.
        if self.cells > 0 && !has_results {
            lost.push(counted(self.cells, "finished cell"));
        }
        lost.extend(self.files.iter().map(|name| (*name).to_owned()));
        let lost = if lost.is_empty() { "nothing in the end".to_owned() } else { lost.join(", ") };
        let help = match (has_results, self.files.is_empty()) {
            (true, true) => format!("everything else is in \"{folder}\""),
            (true, false) => format!(
                "the results are in \"{folder}/{RESULTS}\"; make the other files elsewhere: testbed report {folder} --format html"
            ),
            (false, _) if !self.has_notes => self.advice(folder),
            (false, _) => format!(
                "the other finished cells are in \"{folder}/{CELLS}\", as of an interrupted run; show them with: testbed report {folder}"
            ),
        };
        Some((format!("cannot write to \"{folder}\": {why}; lost: {lost}"), help))
    }

    /// How to get what is lost where neither the results nor notes of cells are left.
    fn advice(&self, folder: &str) -> String {
        let files = Format::ALL.iter().filter_map(|format| format.file());
        let left: Vec<&str> = files.filter(|name| *name != RESULTS && !self.files.contains(name)).collect();
        let (what, again) = match self.of {
            Work::Run => {
                ("this run", "run it again where there is room, with --out; --keep none needs the least")
            }
            Work::Merge => (
                "the whole run, but its parts are unchanged",
                "merge them again where there is room, with --out",
            ),
        };
        match left.as_slice() {
            [] => format!("nothing is kept of {what}: {again}"),
            left => format!("only {} in \"{folder}\" is kept of {what}: {again}", left.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help_of(losses: &Losses) -> String {
        losses.told("run").expect("a loss").1
    }

    #[test]
    fn no_file_is_named_that_is_not_there() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let mut losses = Losses::default();
        let cells = crate::report::sample::results().cells;
        let proof = cells.iter().find(|cell| cell.as_punch().is_none()).expect("a proof");
        let punch = cells.iter().find(|cell| cell.as_punch().is_some()).expect("a cell");
        losses.cell(proof, Ok(()));
        losses.cell(punch, Err(full()));
        losses.file(RESULTS, &full());
        let (mut joined, mut some) = (Losses::of_merge(), Losses::default());
        joined.file(RESULTS, &full());
        some.file(RESULTS, &full());
        for name in Format::ALL.iter().filter_map(|format| format.file()).filter(|name| *name != RESULTS) {
            losses.file(name, &full());
            joined.file(name, &full());
            if name != "summary.md" {
                some.file(name, &full());
            }
        }
        assert!(help_of(&losses).starts_with("nothing is kept of this run: run it"), "{}", help_of(&losses));
        assert!(
            help_of(&joined)
                .ends_with("parts are unchanged: merge them again where there is room, with --out")
        );
        assert!(help_of(&some).starts_with("only summary.md in \"run\" is kept of this run: run it"));
        losses.cell(punch, Ok(()));
        assert!(help_of(&losses).contains("run/cells.jsonl"), "{}", help_of(&losses));
    }

    #[test]
    fn a_trial_that_was_not_kept_is_not_named_by_the_results() {
        let mut results = crate::report::sample::results();
        let mut losses = Losses::default();
        let mut all = Vec::new();
        for cell in results.punches() {
            all.extend(cell.each.iter().map(|trial| (cell.id.clone(), trial.number)));
        }
        for (cell, number) in &all {
            losses.trial(cell, *number, &io::Error::from(io::ErrorKind::StorageFull));
        }
        if let Some(CellDoc::Punch(cell)) = results.cells.iter_mut().find(|cell| cell.as_punch().is_some()) {
            cell.each[0].artefacts = Some("cells/x/trial-1".to_owned());
        }
        losses.forget(&mut results);
        assert!(results.punches().flat_map(|cell| &cell.each).all(|trial| trial.artefacts.is_none()));
        let (message, _) = losses.told("run").expect("a loss");
        assert!(help_of(&losses).contains("everything else is in"));
        assert!(
            message.contains(&format!("lost: the packets and logs of {} trials", all.len())),
            "{message}"
        );
    }
}
