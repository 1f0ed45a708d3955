//! `testbed run --baseline`, `testbed baseline update` and `testbed diff`: what a run found against what another found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::args::{BaselineUpdateArgs, DiffArgs};
use crate::cli::command_error::CommandError;
use crate::cli::output::print;
use crate::report::baseline::Baseline;
use crate::report::compare::Comparison;
use crate::report::recorder::RecordedRun;
use crate::report::{comparison, folder};

/// The comparison with a baseline, in the folder of a run.
const COMPARISON: &str = "comparison.md";

/// A baseline and where it came from.
#[derive(Debug)]
pub struct KnownBaseline {
    baseline: Baseline,
    file: PathBuf,
    extent: Extent,
}

/// How much of a suite was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
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
    Ok(KnownBaseline { baseline, file: file.to_owned(), extent: Extent::Whole })
}

impl KnownBaseline {
    /// The same, for a run of so much of the suite.
    #[must_use]
    pub fn for_run_of(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }
}

/// Compares a run with what is known, prints it, and writes it beside the run's results; 1 when something changed.
///
/// # Errors
/// When it cannot be written.
pub fn compare(recorded: &RecordedRun, known: KnownBaseline) -> Result<u8, CommandError> {
    let KnownBaseline { mut baseline, file, extent } = known;
    let now = Baseline::from(&recorded.results);
    if extent == Extent::Narrowed {
        baseline.cells.retain(|id, _| now.cells.contains_key(id));
        baseline.checks.retain(|id, _| now.checks.contains_key(id));
    }
    let compared = Comparison::new(&baseline, &now);
    let with = file.display().to_string();
    print(|out| comparison::write(&compared, &with, out))?;
    write(&recorded.folder.join(COMPARISON), &comparison::markdown(&compared, &with))?;
    Ok(u8::from(!compared.is_unchanged()))
}

/// `testbed diff`: exit code 0 when nothing changed, else 1.
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
    print(|out| match args.markdown {
        true => std::io::Write::write_all(out, comparison::markdown(&compared, &with).as_bytes()),
        false => comparison::write(&compared, &with, out),
    })?;
    Ok(ExitCode::from(u8::from(!compared.is_unchanged())))
}

/// `testbed baseline update`.
///
/// # Errors
/// When the run cannot be read, was not complete, or the file cannot be written.
pub fn update(args: &BaselineUpdateArgs) -> Result<ExitCode, CommandError> {
    let results = folder::read(&args.run).map_err(CommandError::new)?;
    let broken = results.punches().filter(|cell| cell.error > 0).count();
    if broken > 0 {
        let message =
            format!("cannot take \"{}\" for a baseline: {broken} of its cells broke", args.run.display());
        return Err(CommandError::with_help(message, "see which with: testbed report RUN"));
    }
    let mut found = Baseline::from(&results);
    if args.add {
        let mut known = of_suite(&args.file, &found.suite)?.baseline;
        known.add(found);
        found = known;
    }
    write(&args.file, &found.to_text())?;
    let (cells, checks) = (found.cells.len(), found.checks.len());
    print(|out| {
        std::io::Write::write_fmt(
            out,
            format_args!("{}: {cells} cells, {checks} checks\n", args.file.display()),
        )
    })
}

/// A run, or what is already a baseline.
fn run_or_baseline(path: &Path) -> Result<Baseline, CommandError> {
    if path.extension().is_some_and(|ending| ending == "toml") {
        return read(path);
    }
    folder::read(path).map(|results| Baseline::from(&results)).map_err(CommandError::new)
}

fn read(file: &Path) -> Result<Baseline, CommandError> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|why| {
        let message = format!("cannot read the baseline \"{name}\": {why}");
        CommandError::with_help(message, "testbed baseline update RUN FILE writes one")
    })?;
    Ok(Baseline::parse(&name, &text)?)
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(file, text)
        .map_err(|why| CommandError::new(format!("cannot write \"{}\": {why}", file.display())))
}
