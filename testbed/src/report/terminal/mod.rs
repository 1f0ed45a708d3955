//! The result of a run for people: the matrix, then what is not as expected, then the totals, and last the commands to go
//! on with.
//!
//! Colours are written as ANSI sequences; the caller's writer decides whether they stay. Each colour has a mark
//! beside it, so that nothing is lost without them.

mod matrix;
mod next;
mod palette;
mod problems;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

use crate::model::plural::counted;
use crate::report::escape::harmless;
use crate::report::expect;
use crate::report::lines::{TIE, cut, length, wrapped};
use crate::report::origin::quoted;
use crate::report::results::{EndingDoc, KernelCell, PacketsDoc, PunchCell, Results, VerdictDoc};
use crate::report::sensitivity;
use crate::report::table::tables;
use crate::report::terminal::palette::{BOLD, DIM, verdict_style};
use crate::report::view::{Detail, RunView, Screen};
use crate::report::void::VoidSummary;

/// Bytes of a part of the legend that is not broken.
const LONGEST_TIED: usize = 24;

/// Columns that are worth a detail.
const LEAST_DETAIL: usize = 8;

/// Writes the result up to the totals.
///
/// # Errors
/// What the writer says.
pub fn write(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    if screen.detail == Detail::Brief {
        suspicion(results, screen, out)?;
        return totals(results, screen, out);
    }
    heading(results, screen, out)?;
    for table in tables(results) {
        writeln!(out)?;
        let figure = matrix::write(&table, screen.width, out)?;
        let cells: Vec<&PunchCell> =
            table.rows.iter().flat_map(|row| row.cells.iter().copied().flatten()).collect();
        // A mark and its word stay together.
        let tied = |part: &String| {
            if part.len() > LONGEST_TIED { part.clone() } else { part.replace(' ', "\u{a0}") }
        };
        let legend: Vec<String> = figure.legend(&cells).iter().map(tied).collect();
        dimmed(&legend.join(", "), screen, out)?;
    }
    kernel_checks(results, screen, out)?;
    sensitivity_lines(results, screen, out)?;
    problems::write(results, screen, out)?;
    void(results, screen, out)?;
    writeln!(out)?;
    totals(results, screen, out)?;
    packets(results, screen, out)
}

/// Trials that were played and not counted.
fn void(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let Some(void) = VoidSummary::of(results) else { return Ok(()) };
    writeln!(out)?;
    dimmed(&void.sentence(), screen, out)?;
    suspicion(results, screen, out)
}

/// That it depends on how a trial ended whether it counts, if so.
fn suspicion(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let Some(why) = VoidSummary::of(results).and_then(|void| void.suspicion()) else { return Ok(()) };
    let style = verdict_style(VerdictDoc::Error);
    writeln!(out, "{style}error{style:#}")?;
    wrapped(&why, "", screen.width.saturating_sub(2)).iter().try_for_each(|line| writeln!(out, "  {line}"))
}

/// How many packets were held against the reference NAT; without details only where many of them prove nothing.
fn packets(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let is_told = |packets: &&PacketsDoc| screen.detail == Detail::Everything || packets.are_often_unproven();
    match results.packets.as_ref().filter(is_told).and_then(PacketsDoc::sentence) {
        Some(text) => wrapped(&text, "  ", screen.width).iter().try_for_each(|line| writeln!(out, "{line}")),
        None => Ok(()),
    }
}

/// Writes what one needs next: the worst cell, its cause, the command that explains it, and where the report is.
///
/// # Errors
/// What the writer says.
pub fn next(results: &Results, shown: RunView<'_>, out: &mut impl Write) -> io::Result<()> {
    next::write(results, shown, out)
}

/// Text that is not the point, in lines.
fn dimmed(text: &str, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let lines = wrapped(text, "", screen.width.saturating_sub(2));
    lines.iter().try_for_each(|line| writeln!(out, "  {DIM}{line}{DIM:#}"))
}

fn heading(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let Results { suite, kernel, nft, seed, trials_per_cell, .. } = results;
    let (suite, kernel, nft) = (harmless(suite), harmless(kernel), harmless(nft));
    let trials = counted(*trials_per_cell as usize, "trial");
    let text = format!("{suite}{TIE} {trials} a cell, kernel {kernel}, nft {nft}, seed {seed}");
    for (number, line) in wrapped(&text, "  ", screen.width).iter().enumerate() {
        match line.strip_prefix(suite.as_ref()) {
            Some(rest) if number == 0 => writeln!(out, "{BOLD}{suite}{BOLD:#}{rest}")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// What the kernel did in each check. The other formats also say what was asked.
fn kernel_checks(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let checks: Vec<&KernelCell> = results.kernel_checks().collect();
    let Some(names) = checks.iter().map(|check| length(&check.id)).max() else { return Ok(()) };
    writeln!(out)?;
    let said = |check: &KernelCell| {
        let is_error = check.verdict == VerdictDoc::Error;
        let word = if is_error { "error".into() } else { harmless(&check.observed).into_owned() };
        format!("{word}{}", check.verdict.mark())
    };
    let words = checks.iter().map(|check| length(&said(check))).max().unwrap_or(0);
    let fits = 2 + names + 2 + words <= screen.width;
    for check in checks {
        let style = verdict_style(check.verdict);
        let (id, word) = (harmless(&check.id), said(check));
        let used = if fits { 2 + names + 2 } else { 4 } + length(&word);
        if fits {
            write!(out, "  {id:names$}  {style}{word}{style:#}")?;
        } else {
            write!(out, "  {id}\n    {style}{word}{style:#}")?;
        }
        let room = screen.width.saturating_sub(used + 2);
        if room < LEAST_DETAIL || check.detail.is_empty() {
            writeln!(out)?;
        } else {
            writeln!(out, "  {DIM}{}{DIM:#}", cut(&harmless(&check.detail), room))?;
        }
    }
    Ok(())
}

/// What the trials could have shown: of most cells, or of all kinds.
fn sensitivity_lines(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let is_whole = screen.detail == Detail::Everything;
    let lines = sensitivity::of_run(results, if is_whole { sensitivity::MANY } else { sensitivity::FEW });
    let Some((first, others)) = lines.split_first() else { return Ok(()) };
    writeln!(out)?;
    let more = if others.is_empty() || is_whole { "" } else { "; -v shows other cells" };
    dimmed(&format!("{first}{more}"), screen, out)?;
    others.iter().filter(|_| is_whole).try_for_each(|line| dimmed(line, screen, out))
}

fn totals(results: &Results, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let t = results.totals;
    let named = t.by_verdict().map(|(verdict, count)| {
        let style = verdict_style(verdict);
        format!("{style}{count} {}{style:#}", verdict.words_of(count))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let nats = match (t.proofs, t.proofs_failed) {
        (0, _) => String::new(),
        (all, 0) => format!("; {} proved", counted(all, "NAT")),
        (all, failed) => format!("; {} of {} proved", all - failed, counted(all, "NAT")),
    };
    let ending = if results.ending == EndingDoc::Interrupted { ", interrupted" } else { "" };
    let what = if results.kernel_checks().next().is_some() { "check" } else { "cell" };
    let cells = match t.cells {
        0 => format!("no {what} was finished"),
        all => format!("{}: {named}", counted(all, what)),
    };
    let suite = match screen.detail {
        Detail::Brief => format!("{BOLD}{}{BOLD:#}{TIE} ", harmless(&results.suite)),
        Detail::Usual | Detail::Everything => String::new(),
    };
    let text = format!("{suite}{cells}{nats}; {:.1}{TIE}s{ending}", results.took_ms / 1e3);
    wrapped(&text, "  ", screen.width).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Writes what to do where nothing says what to expect; `run` is the folder of the run.
///
/// # Errors
/// What the writer says.
pub fn advice(results: &Results, run: &Path, width: usize, out: &mut impl Write) -> io::Result<()> {
    let cells = match results.totals.no_expectation {
        0 => return Ok(()),
        1 => "1 cell has".to_owned(),
        cells => format!("{cells} cells have"),
    };
    let supports = expect::supports_any(results);
    let entries = if supports {
        "; the entries that this run supports:"
    } else {
        ". This run has too few trials to support an entry"
    };
    let text = format!(
        "{cells} no expectation, because theory is silent there. Compare with an earlier run (--baseline FILE), or let \
         the suite say what to expect ([[expect]]){entries}"
    );
    wrapped(&text, "", width).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if !supports {
        return Ok(());
    }
    writeln!(out, "  testbed report {} --format expect", quoted(&run.display().to_string()))
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
    let kept = || results.punches().flat_map(|cell| &cell.each).filter(|trial| trial.artefacts.is_some());
    for (side, other) in [("a", "b"), ("b", "a")] {
        let late = format!("{side} late");
        if kept().any(|trial| trial.how.as_ref() == Some(&late)) {
            writeln!(
                out,
                "{DIM}{late}: the first SYN of {other} was refused or lost, because {side} had not sent its own yet{DIM:#}"
            )?;
        }
    }
    Ok(())
}
