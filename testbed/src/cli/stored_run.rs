//! Runs that have ended: where they are put, and how they are read again.

use std::path::{Path, PathBuf};

use crate::cli::command_error::CommandError;
use crate::report::folder;
use crate::report::format::RESULTS;
use crate::report::results::Results;

/// Where runs are put that are not told where to go.
pub(super) const RUNS: &str = "testbed-runs";

/// The results of a run, from its folder or its `results.json`.
///
/// # Errors
/// When they cannot be read; the help says where runs are, if that is none.
pub(super) fn read_run(run: &Path) -> Result<Results, CommandError> {
    folder::read(run).map_err(|why| {
        if !run.exists() {
            return CommandError::with_help(why, where_runs_are());
        }
        if run.is_dir() && !run.join(RESULTS).exists() {
            let message = format!("\"{}\" is not the folder of a run: it has no {RESULTS}", run.display());
            return CommandError::with_help(message, where_runs_are());
        }
        CommandError::new(why)
    })
}

/// Where somebody who names no run finds one: the latest of this folder, if there is any.
fn where_runs_are() -> String {
    let found = std::fs::read_dir(RUNS).into_iter().flatten().flatten();
    let runs = found.map(|entry| entry.path()).filter(|run| run.join(RESULTS).is_file());
    let written = |run: &PathBuf| run.join(RESULTS).metadata().and_then(|about| about.modified()).ok();
    let rule = format!("runs are in {RUNS}/ of the folder they were started in, or where --out put them");
    match runs.max_by_key(written) {
        Some(latest) => format!("{rule}; the latest here is {}", latest.display()),
        None => rule,
    }
}
