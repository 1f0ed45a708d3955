//! What a suite would run and what theory expects, before anything runs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use serde::Serialize;

use crate::model::outcome::{Expectation, NoExpectation};
use crate::model::plural::counted;
use crate::model::suite::{Cell, Suite};
use crate::report::convert::axes;
use crate::report::escape::harmless;
use crate::report::lines::{length, write_behind};
use crate::report::results::ExpectedDoc;

/// Version of the plan's schema.
const SCHEMA: u32 = 1;

/// Columns that a reason needs beside the other columns.
const LEAST_REASON: usize = 30;

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
    /// Writes a line for each cell with the probability and the reason, in so many columns.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, width: usize, out: &mut impl Write) -> io::Result<()> {
        let Suite { name, summary, .. } = self.suite;
        heading(name, summary, out)?;
        let rows: Vec<Row> = self
            .cells
            .iter()
            .map(|(cell, expected)| match expected {
                Ok(e) => Row::new(&cell.id, e.rates().to_string(), &e.because),
                Err(none) => Row::new(&cell.id, "?".to_owned(), &none.because),
            })
            .collect();
        write_rows(&rows, width, out)?;
        let trials: u64 = self.cells.iter().map(|(cell, _)| u64::from(self.suite.part(cell).trials)).sum();
        let trials = counted(usize::try_from(trials).unwrap_or(usize::MAX), "trial");
        writeln!(out, "\n{}, {trials}", counted(self.cells.len(), "cell"))
    }

    /// The same for programs.
    ///
    /// # Panics
    /// Never: plain data has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let cells = self.cells.iter().map(|(cell, expected)| PlannedDoc {
            id: &cell.id,
            part: &cell.part.name,
            topology: &cell.part.topology,
            trials: self.suite.part(cell).trials,
            axes: axes(cell),
            expected: expected.as_ref().ok().map(ExpectedDoc::from),
        });
        let doc = PlanDoc {
            schema: SCHEMA,
            suite: &self.suite.name,
            trials_per_cell: self.suite.trials_at_most(),
            cells: cells.collect(),
        };
        serde_json::to_value(doc).expect("plain data has a JSON form")
    }
}

/// What would be asked of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelPlan {
    /// The name of the suite.
    pub suite: String,
    /// What it is.
    #[serde(skip)]
    pub summary: String,
    /// The release of the kernel that runs.
    pub kernel: String,
    /// The checks in their order.
    pub checks: Vec<PlannedCheck>,
}

/// A check of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedCheck {
    /// What it is called.
    pub id: String,
    /// What it asks.
    pub asks: String,
    /// The packets that are sent.
    pub packets: String,
    /// What this kernel is expected to do.
    pub expected: String,
    /// The first release that does so, if older ones do something else.
    pub since: Option<String>,
}

impl KernelPlan {
    /// Writes a line for each check, with what this kernel is expected to do.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, width: usize, out: &mut impl Write) -> io::Result<()> {
        heading(&self.suite, &format!("{}, expected of kernel {}", self.summary, self.kernel), out)?;
        let since = |check: &PlannedCheck| check.since.as_ref().map(|first| format!(" (since {first})"));
        let row = |check: &PlannedCheck| {
            let why = format!("{}{}", check.asks, since(check).unwrap_or_default());
            Row::new(&check.id, check.expected.clone(), &why)
        };
        let rows: Vec<Row> = self.checks.iter().map(row).collect();
        write_rows(&rows, width, out)?;
        writeln!(out, "\n{}", counted(self.checks.len(), "check"))
    }

    /// The same for programs.
    ///
    /// # Panics
    /// Never: plain data has a JSON form.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut doc = serde_json::to_value(self).expect("plain data has a JSON form");
        doc["schema"] = SCHEMA.into();
        doc
    }
}

fn heading(name: &str, summary: &str, out: &mut impl Write) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(out, "{bold}{}{bold:#}  {}", harmless(name), harmless(summary))
}

/// One line of a plan.
struct Row {
    id: String,
    figure: String,
    why: String,
}

impl Row {
    fn new(id: &str, figure: String, why: &str) -> Self {
        Self { id: harmless(id).into_owned(), figure, why: harmless(why).into_owned() }
    }
}

/// Writes rows in three columns; where the reason has too little room beside the others, it goes below.
fn write_rows(rows: &[Row], width: usize, out: &mut impl Write) -> io::Result<()> {
    let widest = |text: fn(&Row) -> &str| rows.iter().map(|row| length(text(row))).max().unwrap_or(0);
    let (id, figure) = (widest(|row| &row.id), widest(|row| &row.figure));
    let before = 2 + id + 2 + figure + 2;
    for Row { id: name, figure: value, why } in rows {
        write!(out, "  {name:id$}  {value:>figure$}")?;
        if before + LEAST_REASON <= width {
            write!(out, "  ")?;
            write_behind(before, why, &" ".repeat(before), width, out)?;
        } else {
            write!(out, "\n      ")?;
            write_behind(6, why, "      ", width, out)?;
        }
    }
    Ok(())
}
