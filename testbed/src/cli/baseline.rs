//! `testbed run --baseline`, `testbed baseline update` and `testbed diff`: what a run found against what another found.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::args::{BaselineUpdateArgs, DiffArgs};
use crate::cli::command_error::CommandError;
use crate::cli::output::print;
use crate::cli::stored_run::read_run;
use crate::kernel::user_file;
use crate::model::plural::counted;
use crate::report::baseline::Baseline;
use crate::report::compare::text;
use crate::report::compare::{Comparison, Shortage};
use crate::report::exit_status::ExitStatus;
use crate::report::recorder::RecordedRun;
use crate::report::results::{EndingDoc, VerdictDoc};

/// The comparison with a baseline, in the folder of a run.
const COMPARISON: &str = "comparison.md";

/// A baseline and where it came from.
#[derive(Debug)]
pub struct KnownBaseline {
    baseline: Baseline,
    file: PathBuf,
    extent: SuiteCoverage,
}

/// How much of a suite was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuiteCoverage {
    /// All of it: a cell that is not there is lost.
    Whole,
    /// Some cells: what is not there was not asked for.
    Narrowed,
}

/// Reads a baseline that must be of this suite.
///
/// # Errors
/// When it cannot be read, is damaged, or is of another suite.
pub fn of_suite(file: &Path, suite: &str) -> Result<KnownBaseline, CommandError> {
    let baseline = read(file)?;
    if baseline.suite != suite {
        let message = format!(
            "cannot compare the suite \"{suite}\" with \"{}\": that is of the suite \"{}\"",
            file.display(),
            baseline.suite
        );
        return Err(CommandError::with_help(message, "testbed baseline update RUN FILE writes one"));
    }
    Ok(KnownBaseline { baseline, file: file.to_owned(), extent: SuiteCoverage::Whole })
}

impl KnownBaseline {
    /// The same, for a run of so much of the suite.
    #[must_use]
    pub fn for_run_of(self, extent: SuiteCoverage) -> Self {
        Self { extent, ..self }
    }
}

/// Compares a run with what is known, prints it, and writes it beside the run's results.
///
/// # Errors
/// When it cannot be written.
pub fn compare(recorded: &RecordedRun, known: KnownBaseline) -> Result<Comparison, CommandError> {
    let KnownBaseline { mut baseline, file, extent } = known;
    let now = Baseline::from(&recorded.results);
    if extent == SuiteCoverage::Narrowed {
        baseline.cells.retain(|id, _| now.cells.contains_key(id));
        baseline.checks.retain(|id, _| now.checks.contains_key(id));
    }
    let compared = Comparison::new(&baseline, &now);
    let with = file.display().to_string();
    print(|out| {
        writeln!(out)?;
        text::write(&compared, &with, out)
    })?;
    write(&recorded.folder.join(COMPARISON), &text::markdown(&compared, &with))?;
    Ok(compared)
}

/// `testbed diff`: exit code 0 when nothing changed, 1 when something did, 2 when something broke in either run, 3 when
/// the comparison is blind or a run was interrupted, 4 when they have nothing in common.
///
/// # Errors
/// When a run cannot be read, or they are of different suites.
pub fn diff(args: &DiffArgs) -> Result<ExitCode, CommandError> {
    let (before, now) = (run_or_baseline(&args.before)?, run_or_baseline(&args.now)?);
    if before.suite != now.suite {
        let message = format!(
            "cannot compare \"{}\" with \"{}\": they are of the suites \"{}\" and \"{}\"",
            args.before.display(),
            args.now.display(),
            before.suite,
            now.suite
        );
        return Err(CommandError::new(message));
    }
    let compared = Comparison::new(&before, &now);
    let with = args.before.display().to_string();
    let (status, allowed) = (ExitStatus::of_comparison(&compared), &args.accepted.allow);
    print(|out| match args.markdown {
        true => out.write_all(text::markdown(&compared, &with).as_bytes()),
        false => {
            text::write(&compared, &with, out)?;
            status.explanation(allowed).map_or(Ok(()), |why| writeln!(out, "{why}"))
        }
    })?;
    Ok(ExitCode::from(status.code(allowed)))
}

/// `testbed baseline update`.
///
/// # Errors
/// When the run cannot be read, was not complete, or the file cannot be written.
pub fn update(args: &BaselineUpdateArgs) -> Result<ExitCode, CommandError> {
    let results = read_run(&args.run)?;
    let run = args.run.display();
    let broken = results.cells.iter().filter(|cell| cell.verdict() == VerdictDoc::Error).count();
    if broken > 0 {
        let message = format!("cannot take \"{run}\" for a baseline: {broken} of its cells broke");
        return Err(CommandError::with_help(message, "see which with: testbed report RUN"));
    }
    if results.ending == EndingDoc::Interrupted {
        let message = format!("cannot take \"{run}\" for a baseline: the run was interrupted");
        return Err(CommandError::with_help(
            message,
            "the trials that end first are no fair sample: run it again",
        ));
    }
    let once = Baseline::from(&results);
    let mut found = once.clone();
    if args.add {
        found = of_suite(&args.file, &once.suite)?.baseline;
        found.add(once.clone());
    }
    write(&args.file, &found.to_text())?;
    let (cells, checks) = (found.cells.len(), found.checks.len());
    let shortage = Shortage::of(&found, &once);
    print(|out| {
        let (cells, checks) = (counted(cells, "cell"), counted(checks, "check"));
        writeln!(out, "{}: {cells}, {checks}", args.file.display())?;
        shortage.map_or(Ok(()), |shortage| writeln!(out, "{shortage}"))
    })
}

/// A run, or what is already a baseline.
fn run_or_baseline(path: &Path) -> Result<Baseline, CommandError> {
    if path.extension().is_some_and(|ending| ending == "toml") {
        return read(path);
    }
    read_run(path).map(|results| Baseline::from(&results))
}

fn read(file: &Path) -> Result<Baseline, CommandError> {
    let name = file.display().to_string();
    let text = user_file::read(file).map_err(|why| {
        let message = format!("cannot read the baseline \"{name}\": {why}");
        CommandError::with_help(message, "testbed baseline update RUN FILE writes one")
    })?;
    Ok(Baseline::parse(&name, &text)?)
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(file, text).map_err(|why| {
        CommandError::new(format!("cannot write \"{}\": {}", file.display(), user_file::words(&why)))
    })
}
