//! What is not as expected, the worst last: cells with the same fault together.

use std::io::{self, Write};

use crate::model::plural::counted;
use crate::report::deviation::{self, Deviation};
use crate::report::escape::{harmless, harmless_lines};
use crate::report::lines::{cut, length, wrapped, write_behind};
use crate::report::results::{KernelCell, OutcomeDoc, ProofCell, PunchCell, Results, VerdictDoc};
use crate::report::terminal::palette::{DIM, verdict_style};
use crate::report::view::{Detail, Screen};

/// Cells of a group that are named, unless everything is wanted, and groups that are shown.
const NAMED: usize = 5;
const GROUPS: usize = 8;

/// Writes all of it.
///
/// # Errors
/// What the writer says.
pub(super) fn write(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let mut problems = deviation::of_run(results);
    let hidden = match screen.detail {
        Detail::Everything => 0,
        Detail::Usual | Detail::Brief => problems.len().saturating_sub(GROUPS),
    };
    problems.truncate(problems.len() - hidden);
    problems.reverse();
    if hidden > 0 {
        writeln!(out, "\n{DIM}{} more of less weight: -v shows them{DIM:#}", counted(hidden, "kind"))?;
    }
    for problem in &problems {
        writeln!(out)?;
        match problem {
            Deviation::Proof { proof, cells } => unproved(proof, cells.len(), screen, out)?,
            Deviation::Kernel(check) => kernel_check(check, screen, out)?,
            Deviation::Cells { verdict, cause, cells } => group((*verdict, cause), cells, screen, out)?,
        }
    }
    Ok(())
}

/// A NAT that does something else than it declares: expected and observed one above the other.
fn unproved(proof: &ProofCell, cells: usize, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let style = verdict_style(proof.verdict);
    let name = harmless(&proof.nat);
    let agrees = proof.rows.iter().all(|row| row.agrees);
    let not_run = match cells {
        0 => String::new(),
        cells => format!("; not run: {}", counted(cells, "cell")),
    };
    // The note comes last: it may go on in lines that point at columns.
    let note = harmless_lines(&proof.note);
    let said = match (proof.verdict, agrees) {
        (VerdictDoc::Skipped, _) => format!("NAT \"{name}\" cannot be made on this machine{not_run}: {note}"),
        (_, true) => format!("NAT \"{name}\" could not be proved{not_run}: {note}"),
        (_, false) => format!("NAT \"{name}\" does not behave as declared{not_run}"),
    };
    let words = proof.verdict.words();
    write!(out, "{style}{words}{style:#} ")?;
    write_behind(words.len() + 1, &said, "  ", screen.width, out)?;
    for row in proof.rows.iter().filter(|row| !row.agrees) {
        for (word, value) in [("expected", &row.expected), ("observed", &row.observed)] {
            write!(out, "  ")?;
            let text = format!("{word} {}: {}", harmless(&row.axis), harmless(value));
            write_behind(2, &text, "    ", screen.width, out)?;
        }
    }
    Ok(())
}

fn kernel_check(check: &KernelCell, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let style = verdict_style(check.verdict);
    writeln!(out, "{style}{}{style:#} {}", check.verdict.words(), harmless(&check.id))?;
    for text in [
        harmless_lines(&check.note).into_owned(),
        format!("asked: {}", harmless(&check.asks)),
        format!("sent: {}", harmless(&check.packets)),
    ] {
        write!(out, "  ")?;
        write_behind(2, &text, "    ", screen.width, out)?;
    }
    Ok(())
}

fn group(
    (verdict, cause): (VerdictDoc, &str),
    cells: &[&PunchCell],
    screen: Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    let style = verdict_style(verdict);
    let cause = if cause.is_empty() { String::new() } else { format!(": {}", harmless(cause)) };
    let head = format!("{}, {}", verdict.words_of(cells.len()), counted(cells.len(), "cell"));
    writeln!(out, "{style}{head}{style:#}{}", cut(&cause, screen.width.saturating_sub(head.len())))?;
    let named = if screen.detail == Detail::Everything { cells.len() } else { NAMED };
    for (number, cell) in cells.iter().take(named).enumerate() {
        let id = harmless(&cell.id);
        let expected = cell.expected.as_ref().map(|e| format!(", theory {}", e.rates())).unwrap_or_default();
        let figure = format!("{}/{} passed{expected}", cell.passed, cell.trials);
        // A name stays whole, so that it can be copied.
        let indent = if 2 + length(&id) > screen.width { "" } else { "  " };
        write!(out, "{indent}{id}")?;
        if 2 + length(&id) + 2 + length(&figure) > screen.width {
            let figures = wrapped(&figure, "", screen.width.saturating_sub(4));
            figures.iter().try_for_each(|line| write!(out, "\n    {DIM}{line}{DIM:#}"))?;
        } else {
            write!(out, "  {DIM}{figure}{DIM:#}")?;
        }
        writeln!(out)?;
        if number == 0 || screen.detail == Detail::Everything {
            details(cell, screen, out)?;
        }
    }
    match cells.len().saturating_sub(named) {
        0 => Ok(()),
        more => writeln!(out, "  {DIM}and {more} more: -v names them{DIM:#}"),
    }
}

/// The note of a cell, the causes of its failures, and where to look.
fn details(cell: &PunchCell, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    if !cell.note.is_empty() {
        write!(out, "    ")?;
        write_behind(4, &harmless_lines(&cell.note), "    ", screen.width, out)?;
    }
    if !matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::NoExpectation) {
        return Ok(());
    }
    for (cause, count) in &cell.causes {
        let is_it =
            |outcome, how: &Option<String>| outcome == OutcomeDoc::Failed && how.as_ref() == Some(cause);
        let example = cell.each.iter().find(|trial| is_it(trial.outcome, &trial.how));
        let detail = example.and_then(|trial| trial.detail.as_deref()).unwrap_or_default();
        write!(out, "    ")?;
        let text = format!("{count} × {}: {}", harmless(cause), harmless(detail));
        write_behind(4, &text, "      ", screen.width, out)?;
    }
    Ok(())
}
