//! `testbed explain`: a kept trial of an old run as a sequence diagram, with its cause.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::args::ExplainArgs;
use crate::cli::cells;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, print_data, width};
use crate::cli::report::run_folder;
use crate::cli::stored_run::read_run;
use crate::kernel::user_file;
use crate::model::plural::counted;
use crate::report::artefacts::{CAPTURE, LADDER};
use crate::report::escape::{harmless, harmless_lines};
use crate::report::kept;
use crate::report::ladder::{Ladder, text};
use crate::report::origin::quoted;
use crate::report::results::{EndingDoc, OutcomeDoc, PunchCell, Results, TrialDoc};
use crate::report::stderr_tail::{self, StderrTail};
use crate::report::terminal;

/// The word that lists what can be explained, in the place of a cell.
const LIST: &str = "list";

/// Columns beyond which a wide terminal is of no use.
const MOST_COLUMNS: usize = 140;

/// `testbed explain`.
///
/// # Errors
/// When the run, the cell or the trial cannot be found or read.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, CommandError> {
    let results = read_run(&args.run)?;
    let folder = run_folder(&args.run).unwrap_or(Path::new(""));
    if args.cell == LIST {
        return print(|out| terminal::kept(&results, out));
    }
    let cell = find(&results, &args.cell, &args.run)?;
    let trial = trial(&results, cell, args)?;
    let path = kept::inside(folder, trial.artefacts.as_deref().unwrap_or_default()).ok_or_else(|| {
        CommandError::new(format!(
            "trial {} of \"{}\" names a folder outside of the run",
            trial.number, cell.id
        ))
    })?;
    let ladder = read(&path.join(LADDER))?;
    let capture = path.join(CAPTURE);
    if args.json {
        let said = stderr_tail::of_trial(folder, trial);
        return print_data(|out| {
            Explanation { cell: &cell.id, trial, ladder: &ladder, said, capture: &capture }.write(out)
        });
    }
    let width = width().min(MOST_COLUMNS);
    print(|out| {
        text::write(&ladder, width, out)?;
        for words in stderr_tail::of_trial(folder, trial) {
            for line in &words.lines {
                writeln!(out, "{} said: {}", harmless(&words.program), harmless(line))?;
            }
        }
        writeln!(out, "packets: {}", capture.display())
    })
}

/// A trial, for programs.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    /// The name of its cell.
    cell: &'a str,
    /// What `results.json` says of it.
    trial: &'a TrialDoc,
    /// What happened at each node, in the form of `ladder.json`.
    ladder: &'a Ladder,
    /// What its programs last wrote to standard error.
    said: Vec<StderrTail>,
    /// Where its packets are.
    capture: &'a Path,
}

impl Explanation<'_> {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

fn read(path: &Path) -> Result<Ladder, CommandError> {
    let refuse = |why: String| CommandError::new(format!("cannot read \"{}\": {why}", path.display()));
    user_file::read(path).and_then(|text| Ladder::from_json(&text)).map_err(refuse)
}

/// The cell that is meant.
fn find<'a>(results: &'a Results, wanted: &str, run: &Path) -> Result<&'a PunchCell, CommandError> {
    let help = list_command(run);
    let cells: Vec<&PunchCell> = results.punches().collect();
    let place = match results.ending {
        EndingDoc::Complete => format!("\"{}\"", run.display()),
        EndingDoc::Interrupted => format!("\"{}\", which was interrupted,", run.display()),
    };
    cells::pick(&cells, |cell| cell.id.as_str(), wanted, (&place, &help)).copied()
}

fn list_command(run: &Path) -> String {
    format!("list the cells with: testbed explain {} {LIST}", quoted(&run.display().to_string()))
}

/// The trial of that number, or the one that is most worth a look: the first that did not pass, else the first.
fn trial<'a>(
    results: &Results,
    cell: &'a PunchCell,
    args: &ExplainArgs,
) -> Result<&'a TrialDoc, CommandError> {
    let kept: Vec<&TrialDoc> = cell.each.iter().filter(|trial| trial.artefacts.is_some()).collect();
    let found = match args.trial {
        Some(wanted) => kept.iter().find(|trial| trial.number == wanted),
        None => kept.iter().find(|trial| trial.outcome != OutcomeDoc::Passed).or(kept.first()),
    };
    found.copied().ok_or_else(|| {
        let again = results.origin.command_that_keeps(&cell.id);
        let again = again.unwrap_or_else(|| "testbed run SUITE --keep all".to_owned());
        let help = match cell.each.is_empty() {
            true => list_command(&args.run),
            false => format!("run the cell again and keep its trials: {again}"),
        };
        CommandError::with_help(why_not(cell, args.trial, &kept), help)
    })
}

/// Why a trial of a cell cannot be explained, and which can.
fn why_not(cell: &PunchCell, wanted: Option<u32>, kept: &[&TrialDoc]) -> String {
    let id = harmless(&cell.id);
    if cell.each.is_empty() {
        let why =
            if cell.note.is_empty() { String::new() } else { format!(": {}", harmless_lines(&cell.note)) };
        return format!("no trial of \"{id}\" was run{why}");
    }
    let numbers: Vec<String> = kept.iter().map(|trial| trial.number.to_string()).collect();
    let that_were = match numbers.as_slice() {
        [] => "; no trial of this cell was".to_owned(),
        [one] => format!("; trial {one} was"),
        several => format!("; these were: {}", several.join(", ")),
    };
    match wanted.map(|wanted| (wanted, cell.each.iter().find(|trial| trial.number == wanted))) {
        None => format!("no trial of \"{id}\" was kept"),
        Some((wanted, None)) => {
            format!("\"{id}\" has no trial {wanted}: it has {}", counted(cell.each.len(), "trial"))
        }
        Some((wanted, Some(trial))) => {
            format!("trial {wanted} of \"{id}\" ({}) was not kept{that_were}", trial.outcome.name())
        }
    }
}
