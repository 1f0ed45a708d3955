//! KTAP, what the kernel's own tests print (Documentation/dev-tools/ktap.rst): a result line for each cell.
//!
//! A cell that differs is `not ok`, a broken one too, with the directive ERROR. One that is skipped, undecided or without an
//! expectation is `ok` with SKIP and the reason, as nothing was found to be wrong, and nothing to be right.

use std::fmt::Write;

use crate::report::escape::harmless;
use crate::report::junit::{details, message};
use crate::report::results::{CellDoc, Results, VerdictDoc};

/// The whole document.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut out = format!("KTAP version 1\n# suite {}\n1..{}\n", plain(&results.suite), results.cells.len());
    for (number, cell) in (1..).zip(&results.cells) {
        case(&mut out, number, cell);
    }
    out
}

/// The diagnostic lines of a cell, and its result line.
fn case(out: &mut String, number: usize, cell: &CellDoc) {
    let verdict = cell.verdict();
    let word = if matches!(verdict, VerdictDoc::Differs | VerdictDoc::Error) { "not ok" } else { "ok" };
    if word == "not ok" {
        for line in details(cell).lines().filter(|line| !line.is_empty()) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# {}", harmless(line));
        }
    }
    let reason = plain(&message(cell));
    let directive = match verdict {
        VerdictDoc::AsExpected => String::new(),
        VerdictDoc::Differs => format!(" # {reason}"),
        VerdictDoc::Error => format!(" # ERROR {reason}"),
        VerdictDoc::Skipped => format!(" # SKIP {reason}"),
        VerdictDoc::Undecided | VerdictDoc::NoExpectation => format!(" # SKIP {}: {reason}", verdict.words()),
    };
    let _ = writeln!(out, "{word} {number} {}{}", plain(cell.id()), directive.trim_end());
}

/// The text on one line, without the sign that begins a directive.
fn plain(text: &str) -> String {
    harmless(text).replace('#', "no.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    /// A result line as the kernel's documentation has it: `<result> <number> [<description>][ # [<directive>] [<diagnostic>]]`.
    struct TestLine<'a> {
        passed: bool,
        number: usize,
        description: &'a str,
        directive: Option<&'a str>,
    }

    /// Reads a document of one level: its plan, and its results in order.
    fn read(text: &str) -> (usize, Vec<TestLine<'_>>) {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("KTAP version 1"));
        let mut plan = None;
        let mut results = Vec::new();
        for line in lines.filter(|line| !line.starts_with('#')) {
            if let Some(count) = line.strip_prefix("1..") {
                assert!(plan.replace(count.parse().expect("a count")).is_none(), "two plans");
                continue;
            }
            let (passed, rest) = match line.strip_prefix("not ok ") {
                Some(rest) => (false, rest),
                None => (true, line.strip_prefix("ok ").expect("a result line")),
            };
            let (number, rest) = rest.split_once(' ').expect("a number and a description");
            let (description, after) = rest.split_once(" # ").map_or((rest, None), |(d, a)| (d, Some(a)));
            let directive = after.and_then(|after| after.split_whitespace().next());
            let number = number.parse().expect("a number");
            results.push(TestLine { passed, number, description, directive });
        }
        (plan.expect("a plan"), results)
    }

    #[test]
    fn every_cell_is_a_result_line_that_a_reader_of_ktap_understands() {
        let (results, text) = (results(), text(&results()));
        let (plan, lines) = read(&text);
        assert_eq!((plan, lines.len()), (results.cells.len(), results.cells.len()), "{text}");
        for (n, (line, cell)) in lines.iter().zip(&results.cells).enumerate() {
            assert_eq!((line.number, line.description), (n + 1, cell.id()), "{text}");
            let expected = match cell.verdict() {
                VerdictDoc::AsExpected => (true, None),
                VerdictDoc::Differs => (false, line.directive),
                VerdictDoc::Error => (false, Some("ERROR")),
                VerdictDoc::Skipped | VerdictDoc::Undecided | VerdictDoc::NoExpectation => {
                    (true, Some("SKIP"))
                }
            };
            assert_eq!((line.passed, line.directive), expected, "{text}");
        }
        assert!(!text.contains('\u{1b}'), "what programs print stays harmless");
    }
}
