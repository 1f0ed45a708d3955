//! `--rerun`: only the cells that were not as expected in an earlier run.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::command_error::CommandError;
use crate::cli::output::print_error;
use crate::cli::select::Selected;
use crate::cli::stored_run::read_run;
use crate::model::plural::counted;
use crate::model::suite::Suite;
use crate::report::escape::harmless;
use crate::report::results::{EndingDoc, Results, VerdictDoc};

/// Cells that a message names before it says how many more there are.
const NAMED: usize = 3;

/// Leaves the cells that were not as expected in that run, and, where it was interrupted, those it did not come to.
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
    let earlier = EarlierRun::new(&results, run);
    earlier.tell_missing(&suite)?;
    earlier.refuse_wider_selection(cells.len())?;
    let cells: Vec<_> = cells.into_iter().filter(|cell| earlier.is_wanted(&cell.id)).collect();
    if cells.is_empty() {
        let message =
            format!("nothing to run: every cell of \"{}\" that is asked for was as expected", run.display());
        return Err(CommandError::NothingToRun { message, help: None });
    }
    Ok(Selected { suite, cells })
}

/// The run whose cells are run again.
struct EarlierRun<'a> {
    results: &'a Results,
    path: &'a Path,
    /// The names of its cells that were as expected, and of those that were not.
    good: BTreeSet<&'a str>,
    bad: BTreeSet<&'a str>,
}

impl<'a> EarlierRun<'a> {
    fn new(results: &'a Results, path: &'a Path) -> Self {
        let of_run = |as_expected: bool| -> BTreeSet<&str> {
            let cells =
                results.punches().filter(|cell| (cell.verdict == VerdictDoc::AsExpected) == as_expected);
            cells.map(|cell| cell.id.as_str()).collect()
        };
        Self { results, path, good: of_run(true), bad: of_run(false) }
    }

    fn was_interrupted(&self) -> bool {
        self.results.ending == EndingDoc::Interrupted
    }

    /// Whether a cell was not as expected. A run that was interrupted has nothing of the cells that it did not come to.
    fn is_wanted(&self, id: &str) -> bool {
        self.bad.contains(id) || self.was_interrupted() && !self.good.contains(id)
    }

    /// Warns of the cells to run again that this suite does not have as it is asked for, with any filter.
    ///
    /// # Errors
    /// When it has none of them: then it is not what was run.
    fn tell_missing(&self, suite: &Suite) -> Result<(), CommandError> {
        let all = suite.cells();
        let there: BTreeSet<&str> = all.iter().map(|cell| cell.id.as_str()).collect();
        let run: BTreeSet<&str> = self.good.union(&self.bad).copied().collect();
        let (known, which) = match self.bad.is_empty() {
            false => (&self.bad, "not as expected"),
            // What an interrupted run came to shows which cells it had.
            true if self.was_interrupted() => (&run, "run"),
            true => return Ok(()),
        };
        let missing: Vec<&str> = known.difference(&there).copied().collect();
        let (run, names) = (self.path.display(), named(&missing));
        let of = counted(known.len(), "cell");
        match missing.len() {
            0 => Ok(()),
            gone if gone == known.len() => {
                let message = format!(
                    "cannot run again what was not as expected in \"{run}\": of its {of} that {verb} {which}, none is in \
                     this suite with these NATs and methods: {names}",
                    verb = if known.len() == 1 { "was" } else { "were" },
                );
                Err(CommandError::with_help(message, self.what_to_give()))
            }
            gone => {
                let warning = format!(
                    "{gone} of the {of} that were {which} in \"{run}\" {are} not in this suite with these NATs and methods, \
                     and left out: {names}\n  help: {help}",
                    are = if gone == 1 { "is" } else { "are" },
                    help = self.what_to_give(),
                );
                print_error(&format!("testbed: warning: {warning}"));
                Ok(())
            }
        }
    }

    /// Which cells an interrupted run did not come to, can be told only where no more are asked for than it had.
    fn refuse_wider_selection(&self, asked: usize) -> Result<(), CommandError> {
        let had = self.results.part.cells;
        if !self.was_interrupted() || asked <= had {
            return Ok(());
        }
        let message = format!(
            "cannot tell which cells \"{}\" did not come to: it was interrupted and had {}, and this command \
             asks for {asked}",
            self.path.display(),
            counted(had, "cell"),
        );
        Err(CommandError::with_help(message, self.what_to_give()))
    }

    /// How to ask for the same cells as that run.
    fn what_to_give(&self) -> String {
        let give = "give the same NATs, --method and --filter as that run had";
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
