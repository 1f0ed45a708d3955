//! The formats that a run can be shown in: the one list of them, and which of them a run's folder has as files.

use std::io;

use crate::model::words::words;
use crate::report::results::Results;
use crate::report::view::{Detail, RunView, Screen};
use crate::report::{csv, expect, github, html, junit, ktap, markdown, svg, terminal};

/// The file in a run's folder that holds everything about the run.
pub const RESULTS: &str = "results.json";

/// The file that holds what is finished while the run goes on: the run on the first line, then a cell on each.
pub const CELLS: &str = "cells.jsonl";

/// What a run can be shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Tables for people.
    Terminal,
    /// The whole of `results.json`.
    Json,
    /// For CI systems.
    Junit,
    /// As the kernel's own tests.
    Ktap,
    /// For job summaries.
    Markdown,
    /// Annotations for GitHub Actions.
    Github,
    /// One page that needs nothing else.
    Html,
    /// The matrix as a picture.
    Svg,
    /// A line for each cell.
    Csv,
    /// Expectations for later runs of the suite.
    Expect,
}

words!(Format {
    Terminal => "terminal",
    Json => "json",
    Junit => "junit",
    Ktap => "ktap",
    Markdown => "markdown",
    Github => "github",
    Html => "html",
    Svg => "svg",
    Csv => "csv",
    Expect => "expect",
});

impl Format {
    /// For `--help`: one sentence without a full stop.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Terminal => "Tables for people",
            Self::Json => "The whole of `results.json`",
            Self::Junit => "For CI systems",
            Self::Ktap => "KTAP, as the kernel's own tests print it",
            Self::Markdown => "For job summaries",
            Self::Github => "Annotations for GitHub Actions: a line for each cell that is not as expected",
            Self::Html => "One page that needs nothing else",
            Self::Svg => "The matrix as a picture of its own, for READMEs",
            Self::Csv => "A line for each cell",
            Self::Expect => {
                "Entries to paste into the suite, [[expect]]: what later runs are to find in cells of which theory says nothing"
            }
        }
    }

    /// The file in a run's folder that holds the results in this format, if one does.
    #[must_use]
    pub const fn file(self) -> Option<&'static str> {
        match self {
            Self::Json => Some(RESULTS),
            Self::Junit => Some("junit.xml"),
            Self::Markdown => Some("summary.md"),
            Self::Html => Some(html::PAGE),
            Self::Terminal | Self::Ktap | Self::Github | Self::Svg | Self::Csv | Self::Expect => None,
        }
    }

    /// Writes the results.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(self, results: &Results, shown: RunView<'_>, out: &mut impl io::Write) -> io::Result<()> {
        let text = match self {
            Self::Terminal => {
                let screen = Screen { width: shown.width, detail: shown.detail };
                terminal::write(results, screen, out)?;
                if shown.detail != Detail::Brief {
                    terminal::advice(results, shown.run, shown.width, out)?;
                }
                return terminal::next(results, shown, out);
            }
            Self::Json => results.to_json(),
            Self::Junit => junit::text(results, shown.folder),
            Self::Ktap => ktap::text(results),
            Self::Markdown => markdown::text(results),
            Self::Github => github::text(results),
            Self::Html => html::text(results, shown.folder),
            Self::Svg => svg::text(results),
            Self::Csv => csv::text(results),
            Self::Expect => expect::text(results),
        };
        out.write_all(text.as_bytes())
    }
}
