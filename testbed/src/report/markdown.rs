//! Markdown, for the job summary of a CI run.

use std::fmt::Write;

use crate::model::plural::counted;
use crate::report::escape::{harmless, markdown as escape};
use crate::report::kernels;
use crate::report::results::{CellDoc, EndingDoc, PunchCell, Results, VerdictDoc};
use crate::report::sensitivity;
use crate::report::table::{Table, tables};
use crate::report::void::VoidSummary;

/// The whole page.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut out = format!("## testbed: {}\n\n{}\n", escape(&results.suite), totals(results));
    for table in tables(results) {
        matrix(&mut out, &table);
    }
    out.push_str(&kernels::table(&[results]));
    let could_have_shown = sensitivity::of_run(results, sensitivity::MANY);
    if !could_have_shown.is_empty() {
        out.push('\n');
    }
    for line in could_have_shown {
        let _ = writeln!(out, "- {}", escape(&line));
    }
    unexpected(&mut out, results);
    if let Some(void) = VoidSummary::of(results) {
        let said = void.suspicion().map_or_else(|| void.sentence(), |why| format!("**error** {why}"));
        let _ = writeln!(out, "\n{said}.");
    }
    let _ = writeln!(
        out,
        "\nkernel {}, nft {}, testbed {}, {}, seed {}",
        escape(&results.kernel),
        escape(&results.nft),
        escape(&results.testbed),
        escape(&results.rights),
        results.seed,
    );
    out
}

/// The totals as one sentence.
fn totals(results: &Results) -> String {
    let t = results.totals;
    let parts = [
        (t.as_expected, "as expected"),
        (t.differs, "differ"),
        (t.undecided, "undecided"),
        (t.no_expectation, "without expectation"),
        (t.error, "broken"),
        (t.skipped, "skipped"),
    ];
    let named = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("**{n}** {what}"));
    let ending = if results.ending == EndingDoc::Interrupted { " The run was interrupted." } else { "" };
    format!("{}: {}.{ending}", counted(t.cells, "cell"), named.collect::<Vec<_>>().join(", "))
}

fn matrix(out: &mut String, table: &Table<'_>) {
    if !table.title.is_empty() {
        let _ = write!(out, "\n### {}\n", escape(&table.title));
    }
    let _ = write!(out, "\n| {} \\ {} |", escape(&table.down), escape(&table.across));
    for column in &table.columns {
        let _ = write!(out, " {} |", escape(column));
    }
    let _ = write!(out, "\n|---|{}\n", "---|".repeat(table.columns.len()));
    for row in &table.rows {
        let _ = write!(out, "| **{}** |", escape(row.name));
        for cell in &row.cells {
            let _ = write!(out, " {} |", cell.map_or_else(|| " ".to_owned(), figure));
        }
        out.push('\n');
    }
}

/// `20/20, 20.6 ms`, with the mark of its verdict.
fn figure(cell: &PunchCell) -> String {
    let mark = match cell.verdict {
        VerdictDoc::AsExpected => "",
        VerdictDoc::Differs => "❌ ",
        VerdictDoc::Undecided => "❔ ",
        VerdictDoc::NoExpectation => "➖ ",
        VerdictDoc::Error => "💥 ",
        VerdictDoc::Skipped => return "skipped".to_owned(),
    };
    let time = cell.established_ms.map_or_else(String::new, |q| format!(", {:.1} ms", q.median));
    format!("{mark}{}/{}{time}", cell.passed, cell.trials)
}

/// A list of everything that is not as expected.
fn unexpected(out: &mut String, results: &Results) {
    let wrong: Vec<&CellDoc> =
        results.cells.iter().filter(|c| c.verdict() != VerdictDoc::AsExpected).collect();
    if !wrong.is_empty() {
        out.push('\n');
    }
    for cell in wrong {
        let _ = write!(out, "- **{}** `{}`", cell.verdict().words(), harmless(cell.id()).replace('`', "'"));
        if !cell.note().is_empty() {
            let _ = write!(out, ": {}", escape(cell.note()));
        }
        if let Some(punch) = cell.as_punch().filter(|punch| !punch.causes.is_empty()) {
            let causes = punch.causes.iter().map(|(cause, n)| format!("{n} × {cause}"));
            let _ = write!(out, " ({})", causes.collect::<Vec<_>>().join(", "));
        }
        out.push('\n');
    }
}
