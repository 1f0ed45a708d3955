//! The last lines of a run: the worst error, the cell that differs most, the cause of each,
//! and the command that explains it.

use std::io::{self, Write};

use crate::report::deviation::{self, Deviation};
use crate::report::escape::{harmless, harmless_lines};
use crate::report::html;
use crate::report::lines::write_behind;
use crate::report::origin::quoted;
use crate::report::results::{OutcomeDoc, PunchCell, Results, TrialDoc, VerdictDoc};
use crate::report::stderr_tail;
use crate::report::terminal::palette::{BOLD, verdict_style};
use crate::report::view::{Detail, RunView};

/// Columns of what stands before each line.
const LABEL: usize = 8;

/// Writes them.
///
/// # Errors
/// What the writer says.
pub(super) fn write(results: &Results, shown: RunView<'_>, out: &mut impl Write) -> io::Result<()> {
    if shown.detail != Detail::Brief {
        writeln!(out)?;
    }
    let mut lines = Lines { width: shown.width, out };
    let deviations = deviation::of_run(results);
    // An error outranks a difference in the exit code, so the error comes first; a difference does not hide behind it.
    let mut told = false;
    for (label, verdict) in [("error", VerdictDoc::Error), ("worst", VerdictDoc::Differs)] {
        if let Some(worst) = deviations.iter().find(|deviation| deviation.verdict() == verdict) {
            tell(label, worst, (results, shown), &mut lines)?;
            told = true;
        }
    }
    if let Some(lost) = deviations.iter().find(|deviation| !told && is_lost(deviation)) {
        tell("worst", lost, (results, shown), &mut lines)?;
    }
    let page = shown.folder.map(|folder| folder.join(html::PAGE));
    match page.filter(|page| page.is_file()) {
        Some(page) => lines.line("report", &page.display().to_string()),
        None => Ok(()),
    }
}

fn tell(
    label: &str,
    deviation: &Deviation<'_>,
    (results, shown): (&Results, RunView<'_>),
    lines: &mut Lines<'_, impl Write>,
) -> io::Result<()> {
    let style = verdict_style(deviation.verdict());
    match deviation {
        Deviation::Cells { cells, .. } => cell(label, cells[0], shown, lines),
        Deviation::Proof { proof, .. } => {
            lines.line(label, &format!("{style}NAT {}{style:#}", harmless(&proof.nat)))?;
            lines.line("cause", &harmless_lines(&proof.note))?;
            let from = nats_file(results).map(|file| format!(" --nats {}", word(file))).unwrap_or_default();
            let prove = format!("testbed nat prove {}{from}", word(&proof.nat));
            lines.line("explain", &format!("{BOLD}{prove}{BOLD:#}"))
        }
        Deviation::Kernel(check) => {
            lines.line(label, &format!("{style}{}{style:#}", harmless(&check.id)))?;
            lines.line("cause", &harmless(&check.note))
        }
    }
}

/// The file of the user's own NATs, as the run was told it.
pub(super) fn nats_file(results: &Results) -> Option<&str> {
    let command = &results.origin.command;
    let after = |at: usize| command.get(at + 1).map(String::as_str);
    command.iter().enumerate().find_map(|(at, argument)| match argument.strip_prefix("--nats")? {
        "" => after(at),
        value => value.strip_prefix('='),
    })
}

/// Whether nobody said what to expect, and trials failed: that is what the author of a program looks for.
fn is_lost(deviation: &Deviation<'_>) -> bool {
    matches!(deviation, Deviation::Cells { verdict: VerdictDoc::NoExpectation, cells, .. } if cells[0].failed > 0)
}

fn cell(
    label: &str,
    cell: &PunchCell,
    shown: RunView<'_>,
    lines: &mut Lines<'_, impl Write>,
) -> io::Result<()> {
    let style = verdict_style(cell.verdict);
    lines.line(label, &format!("{style}{}{style:#}", harmless(&cell.id)))?;
    let example = example(cell);
    let count = |trial: &TrialDoc| {
        let alike = |other: &&TrialDoc| other.outcome == trial.outcome && other.how == trial.how;
        cell.each.iter().filter(alike).count()
    };
    match example.and_then(|trial| Some((trial, trial.how.as_ref()?))) {
        Some((trial, how)) => {
            let detail = trial.detail.as_deref().map(|detail| format!(": {}", harmless(detail)));
            lines.line(
                "cause",
                &format!("{} × {}{}", count(trial), harmless(how), detail.unwrap_or_default()),
            )?;
        }
        None => lines.line("cause", &harmless_lines(&cell.note))?,
    }
    if let (Some(run), Some(trial)) = (shown.folder, example) {
        for said in stderr_tail::of_trial(run, trial) {
            let last = said.lines.last().map(|line| harmless(line).into_owned()).unwrap_or_default();
            lines.line("said", &format!("{}: {last}", harmless(&said.program)))?;
        }
    }
    if cell.each.iter().any(|trial| trial.artefacts.is_some()) {
        let run = word(&shown.run.display().to_string());
        lines.line("explain", &format!("{BOLD}testbed explain {run} {}{BOLD:#}", word(&cell.id)))?;
    }
    Ok(())
}

/// The trial that `explain` shows: the first kept one that did not pass; else any that did not pass.
fn example(cell: &PunchCell) -> Option<&TrialDoc> {
    let wanted = match cell.verdict {
        VerdictDoc::Error => OutcomeDoc::Error,
        _ => OutcomeDoc::Failed,
    };
    let mut bad = cell.each.iter().filter(|trial| trial.outcome == wanted);
    let kept = bad.clone().find(|trial| trial.artefacts.is_some());
    kept.or_else(|| bad.next())
}

/// A word of a command that can be typed.
fn word(text: &str) -> String {
    quoted(&harmless(text))
}

/// Lines with a label before each.
struct Lines<'a, W> {
    width: usize,
    out: &'a mut W,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, label: &str, text: &str) -> io::Result<()> {
        write!(self.out, "{label:LABEL$}")?;
        write_behind(LABEL, text, &" ".repeat(LABEL), self.width, self.out)
    }
}
