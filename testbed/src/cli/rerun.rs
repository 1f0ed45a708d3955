//! `--rerun`: only the cells that were not as expected in an earlier run.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::command_error::CommandError;
use crate::cli::select::Selected;
use crate::cli::stored_run::read_run;
use crate::report::results::{EndingDoc, VerdictDoc};

/// Leaves the cells that were not as expected in that run, and, where it was interrupted, those it did not come to.
///
/// # Errors
/// When the run cannot be read, is of another suite, or no such cell is left.
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
    let of_run = |as_expected: bool| -> BTreeSet<&str> {
        let cells = results.punches().filter(|cell| (cell.verdict == VerdictDoc::AsExpected) == as_expected);
        cells.map(|cell| cell.id.as_str()).collect()
    };
    let (good, bad) = (of_run(true), of_run(false));
    // A run that was interrupted has nothing of the cells that it did not come to.
    let missing = |id: &str| results.ending == EndingDoc::Interrupted && !good.contains(id);
    let wanted = |id: &str| bad.contains(id) || missing(id);
    let cells: Vec<_> = cells.into_iter().filter(|cell| wanted(&cell.id)).collect();
    if cells.is_empty() {
        let message =
            format!("nothing to run: every cell of \"{}\" that is asked for was as expected", run.display());
        return Err(CommandError::NothingToRun { message, help: None });
    }
    Ok(Selected { suite, cells })
}
