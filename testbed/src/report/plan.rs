//! What a suite would run and what theory expects, before anything runs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use crate::model::outcome::{Expectation, NoExpectation};
use crate::model::statistics::percent_between;
use crate::model::suite::{Cell, Suite};
use crate::report::convert::axes;
use crate::report::escape::harmless;
use crate::report::results::ExpectedDoc;

/// Version of the plan's schema.
const SCHEMA: u32 = 1;

/// What would be run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The suite, with what the command line changed.
    pub suite: &'a Suite,
    /// Its cells after the filters, each with what theory says.
    pub cells: Vec<(&'a Cell, Result<Expectation, NoExpectation>)>,
}

#[derive(Serialize)]
struct PlanDoc<'a> {
    schema: u32,
    suite: &'a str,
    trials_per_cell: u32,
    cells: Vec<PlannedDoc<'a>>,
}

#[derive(Serialize)]
struct PlannedDoc<'a> {
    id: &'a str,
    part: &'a str,
    topology: &'a str,
    trials: u32,
    axes: BTreeMap<String, String>,
    expected: Option<ExpectedDoc>,
}

impl Plan<'_> {
    /// Writes a line for each cell, and below it the reasons.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let bold = Style::new().bold();
        let Suite { name, summary, .. } = self.suite;
        writeln!(out, "{bold}{}{bold:#}  {}", harmless(name), harmless(summary))?;
        let width = self.cells.iter().map(|(cell, _)| cell.id.chars().count()).max().unwrap_or(0);
        for (cell, expected) in &self.cells {
            let id = harmless(&cell.id);
            match expected {
                Ok(e) => {
                    let figures = percent_between((e.low, e.high));
                    writeln!(out, "  {id:width$}  {figures:>8}  {}", e.because)?;
                }
                Err(none) => writeln!(out, "  {id:width$}  {:>8}  {}", "?", none.because)?,
            }
        }
        let trials: u64 = self.cells.iter().map(|(cell, _)| u64::from(self.suite.part(cell).trials)).sum();
        writeln!(out, "\n{} cells, {trials} trials", self.cells.len())
    }

    /// Writes the same for programs.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let cells = self.cells.iter().map(|(cell, expected)| PlannedDoc {
            id: &cell.id,
            part: &cell.part.name,
            topology: &cell.part.topology,
            trials: self.suite.part(cell).trials,
            axes: axes(cell),
            expected: expected.as_ref().ok().map(ExpectedDoc::from),
        });
        let cells = cells.collect();
        let doc = PlanDoc {
            schema: SCHEMA,
            suite: &self.suite.name,
            trials_per_cell: self.suite.trials_at_most(),
            cells,
        };
        serde_json::to_writer_pretty(&mut *out, &doc)?;
        writeln!(out)
    }
}
