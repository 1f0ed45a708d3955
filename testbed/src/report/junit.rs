//! JUnit XML: a test case for each cell, for the CI systems that read it.
//!
//! A cell that differs is a failure, a broken one an error. One that is undecided or has no expectation is skipped, with
//! the reason: nothing was found to be wrong, and nothing to be right.

use std::fmt::Write;
use std::path::Path;

use crate::report::escape::{harmless, xml_lines as escape};
use crate::report::results::{CellDoc, Results, VerdictDoc};
use crate::report::stderr_tail;

/// The whole document, with what programs said in the artefacts below `run`.
#[must_use]
pub fn text(results: &Results, run: Option<&Path>) -> String {
    let count = |wanted| results.cells.iter().filter(|cell| cell.verdict() == wanted).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"testbed\">\n");
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escape(&results.suite),
        results.cells.len(),
        count(VerdictDoc::Differs),
        count(VerdictDoc::Error),
        count(VerdictDoc::Skipped) + count(VerdictDoc::Undecided) + count(VerdictDoc::NoExpectation),
        results.took_ms / 1e3,
    );
    for cell in &results.cells {
        case(&mut out, &results.suite, cell, run);
    }
    out + "  </testsuite>\n</testsuites>\n"
}

fn case(out: &mut String, suite: &str, cell: &CellDoc, run: Option<&Path>) {
    let (kind, took_ms) = match cell {
        CellDoc::Punch(cell) => ("punch", cell.each.iter().map(|trial| trial.took_ms).sum::<f64>()),
        CellDoc::Proof(proof) => ("proof", proof.took_ms),
        CellDoc::Kernel(check) => ("kernel", check.took_ms),
    };
    let (name, class) = (escape(cell.id()), escape(&format!("{suite}.{kind}")));
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{:.3}\"", took_ms / 1e3);
    let message = escape(&message(cell));
    let body = match cell.verdict() {
        VerdictDoc::AsExpected => String::new(),
        VerdictDoc::Differs => {
            format!("<failure message=\"{message}\">{}</failure>{}", escape(&details(cell)), said(cell, run))
        }
        VerdictDoc::Error => {
            format!("<error message=\"{message}\">{}</error>{}", escape(&details(cell)), said(cell, run))
        }
        VerdictDoc::Skipped => format!("<skipped message=\"{message}\"/>"),
        verdict @ (VerdictDoc::Undecided | VerdictDoc::NoExpectation) => {
            format!("<skipped message=\"{}: {message}\"/>", verdict.words())
        }
    };
    let _ = if body.is_empty() { writeln!(out, "/>") } else { writeln!(out, ">{body}</testcase>") };
}

/// What the programs said last on standard error, in the first trial of which that was kept.
fn said(cell: &CellDoc, run: Option<&Path>) -> String {
    let (CellDoc::Punch(cell), Some(run)) = (cell, run) else { return String::new() };
    let tails = cell.each.iter().map(|trial| stderr_tail::of_trial(run, trial));
    let tails = tails.into_iter().find(|tails| !tails.is_empty()).unwrap_or_default();
    let lines =
        tails.iter().flat_map(|tail| tail.lines.iter().map(move |line| format!("{}: {line}", tail.program)));
    let lines: Vec<String> = lines.map(|line| harmless(&line).into_owned()).collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!("<system-err>{}</system-err>", escape(&lines.join("\n")))
    }
}

/// The note, with the causes of failure.
pub(super) fn message(cell: &CellDoc) -> String {
    let causes = match cell {
        CellDoc::Punch(cell) => cell.causes.iter().map(|(cause, n)| format!("{n} × {cause}")).collect(),
        CellDoc::Proof(_) | CellDoc::Kernel(_) => Vec::new(),
    };
    let note = Some(cell.note().to_owned()).filter(|note| !note.is_empty());
    note.into_iter().chain(causes).collect::<Vec<_>>().join("; ")
}

/// A line for each trial that did not pass, or for each axis that does not agree.
pub(super) fn details(cell: &CellDoc) -> String {
    let lines: Vec<String> = match cell {
        CellDoc::Punch(cell) => {
            let told =
                cell.each.iter().filter_map(|trial| trial.detail.as_ref().map(|why| (trial.number, why)));
            told.map(|(number, why)| format!("trial {number}: {}", harmless(why))).collect()
        }
        CellDoc::Proof(proof) => {
            let wrong = proof.rows.iter().filter(|row| !row.agrees);
            wrong
                .map(|r| format!("{}: expected {}, observed {}", r.axis, r.expected, harmless(&r.observed)))
                .collect()
        }
        CellDoc::Kernel(check) => vec![format!("{} Sent: {}", check.asks, check.packets)],
    };
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn what_a_program_said_stands_beside_its_error_with_its_line_breaks() {
        let run = tempfile::tempdir().expect("a folder");
        let results = results();
        let wrong =
            results.punches().filter(|cell| matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error));
        let kept = wrong.flat_map(|cell| &cell.each).find_map(|trial| trial.artefacts.as_deref());
        let folder = run.path().join(kept.expect("a kept trial"));
        std::fs::create_dir_all(&folder).expect("room on the disk");
        std::fs::write(folder.join("peer-a.stderr"), "  raise X\nX: <no>\n").expect("room on the disk");
        let text = text(&results, Some(run.path()));
        let said = "<system-err>peer-a:   raise X\npeer-a: X: &lt;no&gt;</system-err></testcase>";
        assert!(text.contains(said), "{text}");
        assert!(!super::text(&results, None).contains("system-err"));
    }
}
