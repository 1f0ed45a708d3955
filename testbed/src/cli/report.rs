//! `testbed report`: an old run, shown in any format.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::args::ReportArgs;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, print_data, width};
use crate::cli::stored_run::read_run;
use crate::report::format::Format;
use crate::report::view::RunView;

/// `testbed report`.
///
/// # Errors
/// When the run cannot be read, or standard output cannot be written.
pub fn report(args: &ReportArgs) -> Result<ExitCode, CommandError> {
    let results = read_run(&args.run)?;
    let (folder, detail) = (run_folder(&args.run), args.verbosity.detail());
    let shown = RunView { run: &args.run, folder, width: width(), detail };
    match args.format {
        Format::Terminal => print(|out| args.format.write(&results, shown, out)),
        _ => print_data(|out| args.format.write(&results, shown, out)),
    }
}

/// The folder in which a run's artefacts lie, from the folder itself or its `results.json`.
pub(super) fn run_folder(run: &Path) -> Option<&Path> {
    if run.is_dir() { Some(run) } else { run.parent() }
}
