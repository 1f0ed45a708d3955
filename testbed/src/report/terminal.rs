//! The result of a run for people: tables with rates and times, then what is not as expected, then one line of totals.
//!
//! Colours are written as ANSI sequences; the caller's writer decides whether they stay. Each colour has a mark
//! beside it, so that nothing is lost without them.

use std::io::{self, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};

use crate::report::escape::harmless;
use crate::report::results::{EndingDoc, OutcomeDoc, ProofCell, PunchCell, Results, VerdictDoc};
use crate::report::sensitivity;
use crate::report::table::{Table, tables};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Cells that are named in full when many have the same fault.
const NAMED: usize = 5;

/// Writes the result; `width` is that of the terminal in columns, `None` if there is no limit.
///
/// # Errors
/// What the writer says.
pub fn write(results: &Results, width: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    heading(results, out)?;
    for table in tables(results) {
        writeln!(out)?;
        matrix(&table, width, out)?;
    }
    kernel_checks(results, out)?;
    legend(results, out)?;
    sensitivity_lines(results, out)?;
    unexpected(results, out)?;
    totals(results, out)
}

fn heading(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let Results { suite, kernel, nft, seed, trials_per_cell, .. } = results;
    let (suite, kernel, nft) = (harmless(suite), harmless(kernel), harmless(nft));
    writeln!(
        out,
        "{BOLD}{suite}{BOLD:#}  {trials_per_cell} trials a cell, kernel {kernel}, nft {nft}, seed {seed}"
    )
}

/// What the kernel did in each check; the other formats say what was asked.
fn kernel_checks(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let width = results.kernel_checks().map(|check| length(&check.id)).max().unwrap_or(0);
    if width > 0 {
        writeln!(out)?;
    }
    for check in results.kernel_checks() {
        let style = verdict_style(check.verdict);
        let (id, word) = (harmless(&check.id), harmless(&check.observed));
        let word = if check.verdict == VerdictDoc::Error { "error".into() } else { word };
        let mark = mark(check.verdict);
        write!(out, "  {id:width$}  {style}{word}{mark}{style:#}")?;
        writeln!(out, "  {DIM}{}{DIM:#}", harmless(&check.detail))?;
    }
    for check in results.kernel_checks().filter(|check| !check.note.is_empty()) {
        let style = verdict_style(check.verdict);
        writeln!(out, "{style}{}{style:#} {}", check.verdict.words(), harmless(&check.id))?;
        writeln!(out, "  {}\n  asked: {}\n  sent: {}", harmless(&check.note), check.asks, check.packets)?;
    }
    Ok(())
}

fn matrix(table: &Table<'_>, width: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    if !table.title.is_empty() {
        writeln!(out, "{BOLD}{}{BOLD:#}", harmless(&table.title))?;
    }
    let corner = match (table.down.as_str(), table.across.as_str()) {
        (down, "") => down.to_owned(),
        (down, across) => format!("{down} \\ {across}"),
    };
    let names = table.rows.iter().map(|row| length(row.name));
    let first = names.chain([length(&corner)]).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..table.columns.len()).map(|column| column_width(table, column)).collect();
    let whole = 2 + first + widths.iter().map(|width| width + 2).sum::<usize>();
    if width.is_some_and(|limit| whole > limit) {
        return list(table, out);
    }
    widths.insert(0, first);
    let mut header = vec![(DIM, corner)];
    header.extend(table.columns.iter().map(|name| (Style::new(), harmless(name).into_owned())));
    line(&header, &widths, out)?;
    for row in &table.rows {
        let mut items = vec![(Style::new(), harmless(row.name).into_owned())];
        items.extend(row.cells.iter().map(|cell| match cell {
            Some(cell) => (style(cell), figure(cell)),
            None => (Style::new(), String::new()),
        }));
        line(&items, &widths, out)?;
    }
    Ok(())
}

/// One line of a table: every item but the last as wide as its column.
fn line(items: &[(Style, String)], widths: &[usize], out: &mut impl Write) -> io::Result<()> {
    let mut gap = 0;
    for ((style, text), width) in items.iter().zip(widths) {
        write!(out, "{:gap$}  {style}{text}{style:#}", "")?;
        gap = width.saturating_sub(text.chars().count());
    }
    writeln!(out)
}

/// The same, one cell a line, where the terminal is too narrow for a table.
fn list(table: &Table<'_>, out: &mut impl Write) -> io::Result<()> {
    for row in &table.rows {
        for (column, cell) in table.columns.iter().zip(&row.cells) {
            let Some(cell) = cell else { continue };
            let style = style(cell);
            let across = if column.is_empty() { String::new() } else { format!(" / {}", harmless(column)) };
            writeln!(out, "  {}{across}\n    {style}{}{style:#}", harmless(row.name), figure(cell))?;
        }
    }
    Ok(())
}

fn column_width(table: &Table<'_>, column: usize) -> usize {
    let cells = table.rows.iter().filter_map(|row| row.cells[column]).map(|cell| length(&figure(cell)));
    cells.chain([length(table.columns[column])]).max().unwrap_or(0)
}

/// `20/20 20.6 ms`, with the mark of its verdict.
fn figure(cell: &PunchCell) -> String {
    let mark = mark(cell.verdict);
    match (cell.verdict, cell.trials) {
        (VerdictDoc::Skipped, _) => return format!("{mark} skipped"),
        (_, 0) => return format!("{mark} not run"),
        _ => (),
    }
    let time = cell.established_ms.map_or_else(String::new, |q| format!(" {:.1} ms", q.median));
    format!("{}/{}{mark}{time}", cell.passed, cell.trials)
}

fn mark(verdict: VerdictDoc) -> &'static str {
    match verdict {
        VerdictDoc::AsExpected => "",
        VerdictDoc::Differs => "!",
        VerdictDoc::Undecided => "?",
        VerdictDoc::NoExpectation => "*",
        VerdictDoc::Error => "E",
        VerdictDoc::Skipped => "-",
    }
}

fn style(cell: &PunchCell) -> Style {
    match cell.verdict {
        VerdictDoc::AsExpected if cell.passed == 0 => Style::new(),
        verdict => verdict_style(verdict),
    }
}

fn verdict_style(verdict: VerdictDoc) -> Style {
    let colour = |colour: AnsiColor| colour.on_default();
    match verdict {
        VerdictDoc::AsExpected => colour(AnsiColor::Green),
        VerdictDoc::Differs => colour(AnsiColor::Red).bold(),
        VerdictDoc::Undecided | VerdictDoc::NoExpectation => colour(AnsiColor::Yellow),
        VerdictDoc::Error => colour(AnsiColor::Magenta).bold(),
        VerdictDoc::Skipped => DIM,
    }
}

/// What the figures and marks in the tables mean.
fn legend(results: &Results, out: &mut impl Write) -> io::Result<()> {
    if results.punches().next().is_none() {
        return Ok(());
    }
    let marks = [
        VerdictDoc::Differs,
        VerdictDoc::Undecided,
        VerdictDoc::NoExpectation,
        VerdictDoc::Error,
        VerdictDoc::Skipped,
    ];
    let seen = marks.into_iter().filter(|verdict| results.punches().any(|cell| cell.verdict == *verdict));
    let named: String = seen.map(|verdict| format!(", {} {}", mark(verdict), verdict.words())).collect();
    writeln!(out, "\n  {DIM}passed/trials, median time until both ends were established{named}{DIM:#}")
}

/// What the trials could have shown.
fn sensitivity_lines(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let lines = sensitivity::of_run(results);
    if !lines.is_empty() {
        writeln!(out, "  {DIM}the smallest changes that would have shown, nine times in ten:{DIM:#}")?;
    }
    lines.iter().try_for_each(|line| writeln!(out, "    {DIM}{line}{DIM:#}"))
}

/// Everything that is not as expected; cells with the same fault together.
fn unexpected(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let wrong = |proof: &&ProofCell| proof.verdict != VerdictDoc::AsExpected;
    for proof in results.proofs().filter(wrong) {
        writeln!(out)?;
        unproved(proof, out)?;
    }
    let mut groups: Vec<(VerdictDoc, &str, Vec<&PunchCell>)> = Vec::new();
    for cell in results.punches().filter(|cell| cell.verdict != VerdictDoc::AsExpected) {
        match groups.iter_mut().find(|(verdict, note, _)| *verdict == cell.verdict && *note == cell.note) {
            Some((_, _, cells)) => cells.push(cell),
            None => groups.push((cell.verdict, &cell.note, vec![cell])),
        }
    }
    groups.sort_by_key(|(verdict, _, _)| *verdict != VerdictDoc::Differs && *verdict != VerdictDoc::Error);
    for (verdict, note, cells) in groups {
        writeln!(out)?;
        group(verdict, note, &cells, out)?;
    }
    Ok(())
}

/// A NAT that does something else than it declares: expected and observed one above the other.
fn unproved(proof: &ProofCell, out: &mut impl Write) -> io::Result<()> {
    let style = verdict_style(proof.verdict);
    write!(out, "{style}{}{style:#} NAT \"{}\"", proof.verdict.words(), harmless(&proof.nat))?;
    match (proof.verdict, proof.rows.iter().all(|row| row.agrees)) {
        (VerdictDoc::Skipped, _) => {
            writeln!(out, " cannot be made on this machine: {}", harmless(&proof.note))?
        }
        (_, true) => writeln!(out, " could not be proved: {}", harmless(&proof.note))?,
        (_, false) => writeln!(out, " does not behave as declared, so its cells were not run")?,
    }
    for row in proof.rows.iter().filter(|row| !row.agrees) {
        writeln!(out, "  expected {}: {}", harmless(&row.axis), harmless(&row.expected))?;
        writeln!(out, "  observed {}: {}", harmless(&row.axis), harmless(&row.observed))?;
    }
    Ok(())
}

fn group(verdict: VerdictDoc, note: &str, cells: &[&PunchCell], out: &mut impl Write) -> io::Result<()> {
    let style = verdict_style(verdict);
    for cell in cells.iter().take(NAMED) {
        writeln!(out, "{style}{}{style:#} {}", verdict.words(), harmless(&cell.id))?;
        failures(cell, out)?;
    }
    if cells.len() > NAMED {
        writeln!(out, "{style}{}{style:#} and {} more cells", verdict.words(), cells.len() - NAMED)?;
    }
    if note.is_empty() { Ok(()) } else { writeln!(out, "  {}", harmless(note)) }
}

/// The causes of a cell's failures, and where to look.
fn failures(cell: &PunchCell, out: &mut impl Write) -> io::Result<()> {
    if cell.verdict != VerdictDoc::Differs {
        return Ok(());
    }
    for (cause, count) in &cell.causes {
        let example =
            cell.each.iter().find(|t| t.outcome == OutcomeDoc::Failed && t.how.as_ref() == Some(cause));
        let detail = example.and_then(|trial| trial.detail.as_deref()).unwrap_or_default();
        writeln!(out, "  {count} × {}: {}", harmless(cause), harmless(detail))?;
        if let Some(folder) = example.and_then(|trial| trial.artefacts.as_deref()) {
            writeln!(out, "      {DIM}{}{DIM:#}", harmless(folder))?;
        }
    }
    Ok(())
}

fn totals(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let t = results.totals;
    let named = t.by_verdict().map(|(verdict, count)| {
        let style = verdict_style(verdict);
        format!("{style}{count} {}{style:#}", verdict.words())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let nats = match (t.proofs, t.proofs_failed) {
        (0, _) => String::new(),
        (all, 0) => format!("; {all} NATs proved"),
        (all, failed) => format!("; {} of {all} NATs proved", all - failed),
    };
    let ending = if results.ending == EndingDoc::Interrupted { ", interrupted" } else { "" };
    let cells = match t.cells {
        0 => "no cell was finished".to_owned(),
        all => format!("{all} cells: {named}"),
    };
    writeln!(out, "\n{cells}{nats}; {:.1} s{ending}", results.took_ms / 1e3)?;
    let packets = results.packets.unwrap_or_default();
    let all = packets.judged + packets.either + packets.not_judged;
    if all == 0 {
        return Ok(());
    }
    let share = |some: u64| some as f64 / all as f64 * 100.0;
    let (either, not_judged) = (share(packets.either), share(packets.not_judged));
    writeln!(
        out,
        "{all} packets at NATs judged: {either:.2} % could be handled either way, {not_judged:.2} % not judged"
    )
}

/// Writes what to do where nothing says what to expect; `run` is the folder of the run.
///
/// # Errors
/// What the writer says.
pub fn advice(results: &Results, run: &Path, out: &mut impl Write) -> io::Result<()> {
    let cells = match results.totals.no_expectation {
        0 => return Ok(()),
        1 => "1 cell has".to_owned(),
        cells => format!("{cells} cells have"),
    };
    writeln!(
        out,
        "{cells} no expectation, because theory is silent there. Compare with an earlier run (--baseline FILE), or let the \
         suite\nsay what to expect ([[expect]]); the entries that this run supports:\n  testbed report {} --format expect",
        run.display()
    )
}

/// Writes the command that shows the packets of the first cell that is red, if any of it was kept.
///
/// # Errors
/// What the writer says.
pub fn hint(results: &Results, run: &Path, out: &mut impl Write) -> io::Result<()> {
    let red = |cell: &&PunchCell| matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error);
    let kept = |cell: &&PunchCell| cell.each.iter().any(|trial| trial.artefacts.is_some());
    match results.punches().filter(red).find(kept) {
        Some(cell) => writeln!(out, "packets: testbed explain {} {}", run.display(), harmless(&cell.id)),
        None => Ok(()),
    }
}

/// Writes which trials of each cell were kept, with the cause of each.
///
/// # Errors
/// What the writer says.
pub fn kept(results: &Results, out: &mut impl Write) -> io::Result<()> {
    for cell in results.punches() {
        let style = verdict_style(cell.verdict);
        let (id, words) = (harmless(&cell.id), cell.verdict.words());
        writeln!(out, "{id}  {}/{}  {style}{words}{style:#}", cell.passed, cell.trials)?;
        for trial in cell.each.iter().filter(|trial| trial.artefacts.is_some()) {
            let words: Vec<_> = [&trial.method, &trial.how, &trial.detail]
                .into_iter()
                .flatten()
                .map(|w| harmless(w))
                .collect();
            writeln!(out, "  {DIM}trial {}{DIM:#} {}", trial.number, words.join(": "))?;
        }
    }
    Ok(())
}

/// Columns that a text takes.
fn length(text: &str) -> usize {
    harmless(text).chars().count()
}
