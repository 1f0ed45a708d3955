//! The cells of a run as tables: NAT-a down, NAT-b across, a table for each combination of the other axes.
//!
//! Only the layout is decided here; terminal, Markdown and HTML draw it.

use crate::report::results::{PunchCell, Results};

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<'a> {
    /// What all its cells have in common and other tables have not: `method=auto, skew=5ms`.
    pub title: String,
    /// The axis that runs down, if there is one.
    pub down: String,
    /// The axis that runs across, if there is one.
    pub across: String,
    /// Its values, in the order of the suite.
    pub columns: Vec<&'a str>,
    /// The rows.
    pub rows: Vec<Row<'a>>,
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<'a> {
    /// The value of the axis that runs down.
    pub name: &'a str,
    /// A cell for each column; `None` where the filter left it out or the run did not come so far.
    pub cells: Vec<Option<&'a PunchCell>>,
}

/// All tables of a run.
#[must_use]
pub fn tables(results: &Results) -> Vec<Table<'_>> {
    let cells: Vec<&PunchCell> = results.punches().collect();
    let (down, across) = main_axes(&cells);
    let mut titles: Vec<String> = Vec::new();
    for cell in &cells {
        let title = title(cell, down, across);
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles.into_iter().map(|title| table(&cells, title, down, across)).collect()
}

fn table<'a>(cells: &[&'a PunchCell], wanted: String, down: &str, across: &str) -> Table<'a> {
    let here: Vec<_> = cells.iter().copied().filter(|cell| title(cell, down, across) == wanted).collect();
    let columns = values(&here, across);
    let row = |name: &'a str| {
        let at = |column: &&str| {
            here.iter().copied().find(|cell| value(cell, down) == name && value(cell, across) == *column)
        };
        Row { name, cells: columns.iter().map(at).collect() }
    };
    let rows = values(&here, down).into_iter().map(row).collect();
    Table { title: wanted, down: down.to_owned(), across: across.to_owned(), columns, rows }
}

/// The axes that run down and across: the two NATs, else whatever axes there are.
fn main_axes<'a>(cells: &[&'a PunchCell]) -> (&'a str, &'a str) {
    let Some(first) = cells.first() else { return ("", "") };
    let keys: Vec<&str> = first.axes.keys().map(String::as_str).collect();
    let pick = |wanted: &str| keys.iter().copied().find(|key| *key == wanted);
    let down = pick("nat-a").or_else(|| keys.first().copied()).unwrap_or_default();
    let others = || keys.iter().copied().find(|key| *key != down && *key != "method");
    (down, pick("nat-b").filter(|key| *key != down).or_else(others).unwrap_or_default())
}

fn title(cell: &PunchCell, down: &str, across: &str) -> String {
    let others = cell.axes.iter().filter(|(key, _)| *key != down && *key != across);
    others.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn value<'a>(cell: &'a PunchCell, axis: &str) -> &'a str {
    cell.axes.get(axis).map_or("", String::as_str)
}

/// The values of an axis, in the order in which they occur.
fn values<'a>(cells: &[&'a PunchCell], axis: &str) -> Vec<&'a str> {
    let mut values = Vec::new();
    for cell in cells.iter().copied() {
        let value = value(cell, axis);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}
