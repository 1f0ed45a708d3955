//! `--rerun`: only the cells that were not as expected in an earlier run.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::command_error::CommandError;
use crate::cli::output::print_error;
use crate::cli::select::Selected;
use crate::cli::stored_run::read_run;
use crate::model::plural::counted;
use crate::model::shard::Shard;
use crate::model::suite::{Cell, Suite};
use crate::report::escape::harmless;
use crate::report::results::{EndingDoc, PartDoc, Results, VerdictDoc};

/// Cells that a message names before it says how many more there are.
const NAMED: usize = 3;

/// Leaves the cells that were not as expected in that run, and those that it did not reach.
///
/// # Errors
/// When the run cannot be read, is of another suite or of other NATs, or no such cell is left.
pub(super) fn only_unexpected(selected: Selected, run: &Path) -> Result<Selected, CommandError> {
    let results = read_run(run)?;
    let Selected { suite, cells } = selected;
    if results.suite != suite.name {
        let message = format!(
            "cannot run again what was not as expected in \"{}\": it is of the suite \"{}\", not of \"{}\"",
            run.display(),
            results.suite,
            suite.name
        );
        return Err(CommandError::new(message));
    }
    let earlier = EarlierRun { path: run, results: &results };
    let wanted = earlier.wanted(&suite, &cells)?;
    let cells: Vec<_> = cells.iter().filter(|cell| wanted.contains(cell.id.as_str())).cloned().collect();
    if cells.is_empty() {
        let message =
            format!("nothing to run: every cell of \"{}\" that is asked for was as expected", run.display());
        return Err(CommandError::NothingToRun { message, help: None });
    }
    Ok(Selected { suite, cells })
}

/// The run whose cells are run again.
struct EarlierRun<'a> {
    path: &'a Path,
    results: &'a Results,
}

impl EarlierRun<'_> {
    /// The names of the cells to run again.
    ///
    /// # Errors
    /// When the suite has none of them, or they cannot be told.
    fn wanted<'a>(&'a self, suite: &Suite, asked: &'a [Cell]) -> Result<BTreeSet<&'a str>, CommandError> {
        let mut wanted: BTreeSet<&str> = self.cells(|verdict| verdict != VerdictDoc::AsExpected).collect();
        wanted.extend(self.results.unreached.iter().flatten().map(String::as_str));
        self.tell_missing(&wanted, suite)?;
        if self.results.ending == EndingDoc::Interrupted && self.results.unreached.is_none() {
            self.refuse_other_cells(suite, asked)?;
            let good: BTreeSet<&str> = self.cells(|verdict| verdict == VerdictDoc::AsExpected).collect();
            wanted.extend(asked.iter().map(|cell| cell.id.as_str()).filter(|id| !good.contains(id)));
        }
        Ok(wanted)
    }

    /// The names of its cells with such verdicts.
    fn cells(&self, has: impl Fn(VerdictDoc) -> bool) -> impl Iterator<Item = &str> {
        self.results.punches().filter(move |cell| has(cell.verdict)).map(|cell| cell.id.as_str())
    }

    /// Warns of the cells to run again that this suite does not have as it is asked for, with any filter.
    ///
    /// # Errors
    /// When it has none of them: then it is not what was run.
    fn tell_missing(&self, wanted: &BTreeSet<&str>, suite: &Suite) -> Result<(), CommandError> {
        let all = suite.cells();
        let known: BTreeSet<&str> = all.iter().map(|cell| cell.id.as_str()).collect();
        let missing: Vec<&str> = wanted.difference(&known).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (run, names, of) = (self.path.display(), named(&missing), counted(wanted.len(), "cell"));
        let which = match (wanted.len(), self.results.unreached.is_some()) {
            (1, false) => "was not as expected",
            (_, false) => "were not as expected",
            (1, true) => "was not as expected or not reached",
            (_, true) => "were not as expected or not reached",
        };
        if missing.len() == wanted.len() {
            let message = format!(
                "cannot run again what was not as expected in \"{run}\": of its {of} that {which}, none is in \
                 this suite with these NATs and methods: {names}"
            );
            return Err(CommandError::with_help(message, self.what_to_give()));
        }
        print_error(&format!(
            "testbed: warning: {gone} of the {of} that {which} in \"{run}\" {are} not in this suite with these NATs \
             and methods, and left out: {names}\n  help: {help}",
            gone = missing.len(),
            are = if missing.len() == 1 { "is" } else { "are" },
            help = self.what_to_give(),
        ));
        Ok(())
    }

    /// What an older testbed wrote does not say which cells it did not reach: they can be told only where the same cells are asked for.
    fn refuse_other_cells(&self, suite: &Suite, asked: &[Cell]) -> Result<(), CommandError> {
        let same = Shard::whole(asked.iter().map(|cell| (cell, suite.part(cell).trials)));
        if PartDoc::from(same) == self.results.part {
            return Ok(());
        }
        let message = format!(
            "cannot tell which cells \"{}\" did not reach: it was interrupted and does not name them, and this \
             command asks for other cells or trials than it had",
            self.path.display(),
        );
        Err(CommandError::with_help(message, self.what_to_give()))
    }

    /// How to ask for the same cells as that run.
    fn what_to_give(&self) -> String {
        let give = "give the same NATs, --method, --filter and --trials as that run had";
        match self.results.origin.command_line().as_str() {
            "" => give.to_owned(),
            command => format!("{give}; it was: {}", harmless(command)),
        }
    }
}

/// The first of some cells, and how many more there are.
fn named(ids: &[&str]) -> String {
    let first: Vec<String> = ids.iter().take(NAMED).map(|id| format!("\"{}\"", harmless(id))).collect();
    match ids.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::select;
    use crate::model::catalogue::Catalogue;
    use crate::model::outcome::Verdict;
    use crate::report::sample::interrupted;

    use Verdict::{AsExpected, Differs};

    fn suite() -> Suite {
        select::suite("full", &Catalogue::embedded()).expect("an embedded suite")
    }

    /// The names of some cells of the suite.
    fn ids(cells: &[Cell]) -> Vec<String> {
        cells.iter().map(|cell| cell.id.clone()).collect()
    }

    /// What is run of these cells if that run is run again.
    fn rerun(results: &Results, cells: &[Cell]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("run.json");
        fs::write(&run, results.to_json()).expect("room on the disk");
        let selected = Selected { suite: suite(), cells: cells.to_vec() };
        let left = only_unexpected(selected, &run).map(|left| ids(&left.cells));
        left.map_err(|why| why.to_string().replace(&run.display().to_string(), "run.json"))
    }

    /// What a testbed wrote that did not name the cells it did not reach.
    fn older(results: Results) -> Results {
        Results { unreached: None, ..results }
    }

    #[test]
    fn a_rerun_that_was_interrupted_is_run_again() {
        let all = suite().cells();
        // Fifty cells of the first run were bad; the rerun came to three of them.
        let first =
            interrupted(&suite(), &all, &[vec![Differs; 50], vec![AsExpected; all.len() - 50]].concat());
        let again = rerun(&first, &all).expect("bad cells");
        assert_eq!(again, ids(&all[..50]));
        let second = interrupted(&suite(), &all[..50], &[AsExpected, Differs, AsExpected]);
        assert_eq!(rerun(&second, &all), Ok(ids(&[&all[1..2], &all[3..50]].concat())));
    }

    #[test]
    fn cells_that_the_run_did_not_have_are_not_run() {
        let all = suite().cells();
        let run = interrupted(&suite(), &all[..50], &[AsExpected, Differs]);
        for results in [run.clone(), older(run.clone())] {
            let refused = rerun(&results, &all[50..90]).expect_err("none of its cells");
            assert!(!refused.contains("cannot run again"), "{refused}");
        }
        assert_eq!(rerun(&run, &all[40..90]), Ok(ids(&all[40..50])));
    }

    #[test]
    fn an_older_run_is_run_again_where_the_same_cells_are_asked_for() {
        let all = suite().cells();
        let run = older(interrupted(&suite(), &all[..50], &[AsExpected, Differs]));
        assert_eq!(rerun(&run, &all[..50]), Ok(ids(&all[1..50])));
        for other in [&all[..49], &all[1..51], &all[..]] {
            let refused = rerun(&run, other).expect_err("other cells");
            assert!(
                refused.starts_with(
                    "testbed: cannot tell which cells \"run.json\" did not reach: it was interrupted and does not name \
                     them, and this command asks for other cells or trials than it had\n  help: give the same NATs,"
                ),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_run_of_other_nats_is_not_run_again_as_the_whole_suite() {
        let all = suite().cells();
        let mine = |cells: &[Cell]| -> Vec<Cell> {
            cells.iter().map(|cell| Cell { id: format!("mine/{}", cell.id), ..cell.clone() }).collect()
        };
        let mut run = interrupted(&suite(), &mine(&all[..4]), &[AsExpected, Differs]);
        run.origin.command = ["testbed", "run", "full", "--nat-a", "mine"].map(str::to_owned).to_vec();
        let help = "\n  help: give the same NATs, --method, --filter and --trials as that run had; it was: testbed run \
                    full --nat-a mine";
        let names = |range: std::ops::Range<usize>| {
            all[range].iter().map(|cell| format!("\"mine/{}\"", cell.id)).collect::<Vec<_>>().join(", ")
        };
        let refused = rerun(&run, &all).expect_err("none of its cells");
        let message = "testbed: cannot run again what was not as expected in \"run.json\": of its 3 cells that were \
                       not as expected or not reached, none is in this suite with these NATs and methods: ";
        assert_eq!(refused, format!("{message}{}{help}", names(1..4)));
        let refused = rerun(&older(run), &all).expect_err("none of its cells");
        let message = "testbed: cannot run again what was not as expected in \"run.json\": of its 1 cell that was not \
                       as expected, none is in this suite with these NATs and methods: ";
        assert_eq!(refused, format!("{message}{}{help}", names(1..2)));
        // Of a run that has some of them, those are run.
        let half =
            interrupted(&suite(), &[mine(&all[..2]), all[2..4].to_vec()].concat(), &[Differs, Differs]);
        assert_eq!(rerun(&half, &all), Ok(ids(&all[2..4])));
    }
}
