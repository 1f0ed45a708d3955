//! `testbed report`: an old run, shown in any format.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::args::{Format, ReportArgs};
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, terminal_width};
use crate::report::{csv, folder, github, html, junit, markdown, terminal};

/// `testbed report`.
///
/// # Errors
/// When the run cannot be read, or standard output cannot be written.
pub fn report(args: &ReportArgs) -> Result<ExitCode, CommandError> {
    let results = folder::read(&args.run).map_err(CommandError::new)?;
    print(|out| match args.format {
        Format::Terminal => {
            terminal::write(&results, terminal_width(), out)?;
            terminal::hint(&results, &args.run, out)
        }
        Format::Json => out.write_all(results.to_json().as_bytes()),
        Format::Junit => out.write_all(junit::text(&results).as_bytes()),
        Format::Markdown => out.write_all(markdown::text(&results).as_bytes()),
        Format::Github => out.write_all(github::text(&results).as_bytes()),
        Format::Html => out.write_all(html::text(&results, run_folder(&args.run)).as_bytes()),
        Format::Csv => out.write_all(csv::text(&results).as_bytes()),
    })
}

/// The folder in which a run's artefacts lie, from the folder itself or its `results.json`.
pub(super) fn run_folder(run: &Path) -> Option<&Path> {
    if run.is_dir() { Some(run) } else { run.parent() }
}
