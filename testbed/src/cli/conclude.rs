//! How a run ends: the table, the comparison with the baseline, the exit code, and last the commands to go on with.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::args::Accepted;
use crate::cli::baseline::{self, KnownBaseline};
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, width};
use crate::report::exit_status::{ExitStatus, UndecidedReason};
use crate::report::recorder::RecordedRun;
use crate::report::results::Results;
use crate::report::terminal;
use crate::report::view::{Detail, RunView, Screen};

/// What is to be said of a run that is over.
#[derive(Debug)]
pub(super) struct Conclusion {
    /// How its command is to end.
    pub(super) status: ExitStatus,
    /// What came of it.
    pub(super) results: Results,
}

/// Prints the table, compares with what is known, and says why something is not decided and what one needs next.
///
/// # Errors
/// When something cannot be written.
pub(super) fn conclude(
    recorded: RecordedRun,
    known: Option<KnownBaseline>,
    accepted: &Accepted,
    detail: Detail,
) -> Result<Conclusion, CommandError> {
    let width = width();
    print(|out| terminal::write(&recorded.results, Screen { width, detail }, out))?;
    let folder = recorded.folder.as_path();
    let shown = RunView { run: folder, folder: Some(folder), width, detail };
    if let Some((message, help)) = recorded.losses.told(&folder.display().to_string()) {
        print(|out| terminal::next(&recorded.results, shown, out))?;
        return Err(CommandError::with_help(message, help));
    }
    let compared = known.map(|known| baseline::compare(&recorded, known)).transpose()?;
    let status = ExitStatus::of_run(&recorded.results, compared.as_ref());
    print(|out| {
        if status.has(UndecidedReason::NoExpectation) && detail != Detail::Brief {
            terminal::advice(&recorded.results, &recorded.folder, width, out)?;
        }
        if let Some(why) = status.explanation(&accepted.allow) {
            writeln!(out, "{why}")?;
        }
        terminal::next(&recorded.results, shown, out)
    })?;
    Ok(Conclusion { status, results: recorded.results })
}

/// The exit code of all runs of a command; of several, what each came to is printed again in a line.
///
/// # Errors
/// When it cannot be written.
pub(super) fn exit_code(runs: &[Conclusion], accepted: &Accepted) -> Result<ExitCode, CommandError> {
    let status = runs.iter().map(|run| &run.status).fold(None, |all: Option<ExitStatus>, one| match all {
        Some(all) => Some(all.and(one)),
        None => Some(one.clone()),
    });
    if runs.len() > 1 {
        let screen = Screen { width: width(), detail: Detail::Brief };
        print(|out| {
            writeln!(out)?;
            runs.iter().try_for_each(|run| terminal::write(&run.results, screen, out))
        })?;
    }
    Ok(ExitCode::from(status.unwrap_or_default().code(&accepted.allow)))
}
