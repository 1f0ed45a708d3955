//! `testbed report`: an old run, shown in any format.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::args::ReportArgs;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, terminal_width};
use crate::report::folder;
use crate::report::format::RunView;

/// `testbed report`.
///
/// # Errors
/// When the run cannot be read, or standard output cannot be written.
pub fn report(args: &ReportArgs) -> Result<ExitCode, CommandError> {
    let results = folder::read(&args.run).map_err(CommandError::new)?;
    let shown = RunView { run: &args.run, folder: run_folder(&args.run), width: terminal_width() };
    print(|out| args.format.write(&results, shown, out))
}

/// The folder in which a run's artefacts lie, from the folder itself or its `results.json`.
pub(super) fn run_folder(run: &Path) -> Option<&Path> {
    if run.is_dir() { Some(run) } else { run.parent() }
}
