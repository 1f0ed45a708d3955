//! What a machine can and cannot do, for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::kernel::preflight::{Finding, State};
use crate::report::escape::harmless;
use crate::report::lines;

/// Whether labs can be built on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabsHere {
    /// Yes, with the rights at hand.
    Possible,
    /// Not with the rights at hand, but in a user namespace: that was tried.
    OnlyRootless,
    /// Neither way.
    Impossible,
}

impl LabsHere {
    fn sentence(self) -> &'static str {
        match self {
            Self::Possible => "labs can be built here",
            Self::OnlyRootless => "labs cannot be built here as this user; with --rootless they can",
            Self::Impossible => "labs cannot be built here",
        }
    }
}

/// Writes each finding, the help below it, and the conclusion last, in so many columns. An error that several have is
/// written once.
///
/// # Errors
/// What the writer says.
pub fn write(findings: &[Finding], labs: LabsHere, columns: usize, out: &mut impl Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
    for (index, finding) in findings.iter().enumerate() {
        let same =
            findings[..index].iter().find(|other| other.state != State::Works && other.seen == finding.seen);
        let seen = match same {
            Some(other) => format!("the same error as for {}", other.what),
            None => harmless(&finding.seen).into_owned(),
        };
        let style = style(finding.state);
        let state = finding.state.to_string();
        let what = format!("{style}{state:9}{style:#}  {:width$}", finding.what);
        let column = 11 + width;
        lines::columns(&what, (column, &seen), columns, out)?;
        if finding.state != State::Works {
            lines::columns("", (column, &format!("needed for {}", finding.needed_for)), columns, out)?;
        }
        if let (Some(help), None) = (&finding.help, same) {
            lines::columns("", (column, &format!("help: {}", harmless(help))), columns, out)?;
        }
    }
    writeln!(out)?;
    lines::write_behind(0, labs.sentence(), "  ", columns, out)
}

fn style(state: State) -> Style {
    match state {
        State::Works => AnsiColor::Green.on_default(),
        State::Limited | State::Absent => AnsiColor::Yellow.on_default(),
        State::Missing => AnsiColor::Red.on_default().bold(),
        State::Untried => Style::new().dimmed(),
    }
}
