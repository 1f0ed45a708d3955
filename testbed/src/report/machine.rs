//! What a machine can and cannot do, for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::kernel::preflight::{Finding, State, is_sufficient};
use crate::report::escape::harmless;
use crate::report::lines;

/// Writes each finding, the help below it, and the conclusion last, in so many columns.
///
/// # Errors
/// What the writer says.
pub fn write(findings: &[Finding], columns: usize, out: &mut impl Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
    for finding in findings {
        let style = style(finding.state);
        let state = finding.state.to_string();
        let what = format!("{style}{state:9}{style:#}  {:width$}", finding.what);
        let column = 11 + width;
        lines::columns(&what, (column, &harmless(&finding.seen)), columns, out)?;
        if finding.state != State::Works {
            lines::columns("", (column, &format!("needed for {}", finding.needed_for)), columns, out)?;
        }
        if let Some(help) = &finding.help {
            lines::columns("", (column, &format!("help: {}", harmless(help))), columns, out)?;
        }
    }
    match is_sufficient(findings) {
        true => writeln!(out, "\nlabs can be built here"),
        false => writeln!(out, "\nlabs cannot be built here"),
    }
}

fn style(state: State) -> Style {
    match state {
        State::Works => AnsiColor::Green.on_default(),
        State::Limited | State::Absent => AnsiColor::Yellow.on_default(),
        State::Missing => AnsiColor::Red.on_default().bold(),
        State::Untried => Style::new().dimmed(),
    }
}
