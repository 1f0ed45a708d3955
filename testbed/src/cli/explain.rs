//! `testbed explain`: a kept trial of an old run as a sequence diagram, with its cause.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::args::ExplainArgs;
use crate::cli::cells;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, width};
use crate::cli::report::run_folder;
use crate::report::artefacts::{CAPTURE, LADDER};
use crate::report::escape::harmless;
use crate::report::kept;
use crate::report::ladder::{Ladder, text};
use crate::report::results::{OutcomeDoc, PunchCell, Results, TrialDoc};
use crate::report::stderr_tail;
use crate::report::{folder, terminal};

/// The word that lists what can be explained, in the place of a cell.
const LIST: &str = "list";

/// Columns beyond which a wide terminal is of no use.
const MOST_COLUMNS: usize = 140;

/// `testbed explain`.
///
/// # Errors
/// When the run, the cell or the trial cannot be found or read.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, CommandError> {
    let results = folder::read(&args.run).map_err(CommandError::new)?;
    let folder = run_folder(&args.run).unwrap_or(Path::new(""));
    if args.cell == LIST {
        return print(|out| terminal::kept(&results, out));
    }
    let cell = find(&results, &args.cell, &args.run)?;
    let trial = trial(cell, args.trial, &args.run)?;
    let path = kept::inside(folder, trial.artefacts.as_deref().unwrap_or_default()).ok_or_else(|| {
        CommandError::new(format!(
            "trial {} of \"{}\" names a folder outside of the run",
            trial.number, cell.id
        ))
    })?;
    let ladder = read(&path.join(LADDER))?;
    let width = width().min(MOST_COLUMNS);
    print(|out| {
        text::write(&ladder, width, out)?;
        for words in stderr_tail::of_trial(folder, trial) {
            for line in &words.lines {
                writeln!(out, "{} said: {}", harmless(&words.program), harmless(line))?;
            }
        }
        writeln!(out, "packets: {}", path.join(CAPTURE).display())
    })
}

fn read(path: &PathBuf) -> Result<Ladder, CommandError> {
    let refuse = |why: String| CommandError::new(format!("cannot read \"{}\": {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|why| refuse(why.to_string()))?;
    Ladder::from_json(&text).map_err(refuse)
}

/// The cell that is meant.
fn find<'a>(results: &'a Results, wanted: &str, run: &Path) -> Result<&'a PunchCell, CommandError> {
    let help = format!("list the cells with: testbed explain {} {LIST}", run.display());
    let cells: Vec<&PunchCell> = results.punches().collect();
    let place = format!("\"{}\"", run.display());
    cells::pick(&cells, |cell| cell.id.as_str(), wanted, (&place, &help)).copied()
}

/// The trial of that number, or the one that is most worth a look: the first that did not pass, else the first.
fn trial<'a>(cell: &'a PunchCell, wanted: Option<u32>, run: &Path) -> Result<&'a TrialDoc, CommandError> {
    let kept: Vec<&TrialDoc> = cell.each.iter().filter(|trial| trial.artefacts.is_some()).collect();
    let help = "keep more with: testbed run SUITE --keep all";
    if kept.is_empty() {
        let message = format!("nothing was kept of \"{}\" in \"{}\"", cell.id, run.display());
        return Err(CommandError::with_help(message, help));
    }
    let Some(wanted) = wanted else {
        let bad = kept.iter().find(|trial| trial.outcome != OutcomeDoc::Passed);
        return Ok(bad.unwrap_or(&kept[0]));
    };
    kept.iter().find(|trial| trial.number == wanted).copied().ok_or_else(|| {
        let numbers: Vec<String> = kept.iter().map(|trial| trial.number.to_string()).collect();
        let message =
            format!("trial {wanted} of \"{}\" was not kept; these were: {}", cell.id, numbers.join(", "));
        CommandError::with_help(message, help)
    })
}
