//! Workflow commands of GitHub Actions: an annotation for each cell that differs or broke, a warning for what is
//! undecided or has no expectation. A job prints them on standard output.

use std::fmt::Write;

use crate::report::escape::harmless;
use crate::report::results::{CellDoc, OutcomeDoc, Results, VerdictDoc};

/// GitHub shows this many annotations of a level for a step, and drops the rest silently.
const SHOWN: usize = 10;

/// All annotations, one a line; nothing when all is as expected.
#[must_use]
pub fn text(results: &Results) -> String {
    let levels: [(&str, &[VerdictDoc]); 2] = [
        ("error", &[VerdictDoc::Differs, VerdictDoc::Error]),
        ("warning", &[VerdictDoc::Undecided, VerdictDoc::NoExpectation, VerdictDoc::Skipped]),
    ];
    let mut out = String::new();
    for (level, verdicts) in levels {
        let of = |verdict: VerdictDoc| results.cells.iter().filter(move |cell| cell.verdict() == verdict);
        let cells: Vec<&CellDoc> = verdicts.iter().copied().flat_map(of).collect();
        let hidden = cells.len().saturating_sub(SHOWN);
        // The last one shown tells of those that are not.
        let shown = if hidden > 0 { SHOWN - 1 } else { SHOWN };
        for cell in cells.iter().take(shown) {
            line(&mut out, level, &format!("{} {}", cell.id(), cell.verdict().words()), &message(cell));
        }
        if hidden > 0 {
            let more = cells.len() - shown;
            let words: Vec<&str> = verdicts.iter().map(|verdict| verdict.words()).collect();
            let title = format!("{more} more cells: {}", words.join(" or "));
            line(&mut out, level, &title, "see the job summary");
        }
    }
    out
}

fn line(out: &mut String, level: &str, title: &str, message: &str) {
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    // Writing to a string cannot fail.
    let _ = writeln!(out, "::{level} title={title}::{}", data(message));
}

/// The note of a cell, and an example of each cause.
fn message(cell: &CellDoc) -> String {
    let mut parts: Vec<String> =
        Some(cell.note().to_owned()).filter(|note| !note.is_empty()).into_iter().collect();
    if let Some(punch) = cell.as_punch() {
        for (cause, count) in &punch.causes {
            let failed = punch.each.iter().filter(|trial| trial.outcome == OutcomeDoc::Failed);
            let example =
                failed.filter(|trial| trial.how.as_ref() == Some(cause)).find_map(|t| t.detail.clone());
            parts.push(format!("{count} × {cause}: {}", example.unwrap_or_default()));
        }
    }
    parts.join("\n")
}

/// Text as GitHub reads it in a command; each line made harmless, line ends kept.
fn data(text: &str) -> String {
    let lines = text.lines().map(|line| harmless(line).replace('%', "%25"));
    lines.collect::<Vec<_>>().join("%0A")
}
