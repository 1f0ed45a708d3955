//! The cells of a run as tables, part by part: NAT-a down, NAT-b across, a table for each combination of the other axes.
//! Where a NAT does not vary, an axis that does takes its place.
//!
//! Only the layout is decided here; terminal, Markdown and HTML draw it.

use crate::report::results::{PunchCell, Results, VerdictDoc};

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<'a> {
    /// What all its cells have in common and other tables have not: `homes on layers: method=auto, skew=5ms`.
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

/// More columns than this make a dense table, with a figure of few characters a cell.
pub const ROOMY: usize = 7;

impl Table<'_> {
    /// Whether there is no room for more than a few characters a cell.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        self.columns.len() > ROOMY
    }
}

/// A cell in at most four characters: how much passed, with the mark of the verdict.
#[must_use]
pub fn dense_figure(cell: &PunchCell) -> String {
    let mark = cell.verdict.mark();
    if matches!(cell.verdict, VerdictDoc::Skipped | VerdictDoc::Error) {
        return mark.to_owned();
    }
    let share = match ((cell.passed * 100).checked_div(cell.trials), cell.passed) {
        (None, _) => String::new(),
        (Some(100), _) => "●".to_owned(),
        (Some(0), 0) => "·".to_owned(),
        (Some(0), _) => "<1".to_owned(),
        (Some(percent), _) => percent.to_string(),
    };
    share + mark
}

/// All tables of a run.
#[must_use]
pub fn tables(results: &Results) -> Vec<Table<'_>> {
    parts(results).iter().flat_map(|cells| tables_of(cells)).collect()
}

/// The cells of each part of the suite.
#[must_use]
pub fn parts(results: &Results) -> Vec<Vec<&PunchCell>> {
    let mut parts: Vec<Vec<&PunchCell>> = Vec::new();
    for cell in results.punches() {
        match parts.iter_mut().find(|part| part[0].part == cell.part) {
            Some(part) => part.push(cell),
            None => parts.push(vec![cell]),
        }
    }
    parts
}

/// The tables of one part.
fn tables_of<'a>(cells: &[&'a PunchCell]) -> Vec<Table<'a>> {
    let (down, across) = main_axes(cells);
    let mut groups: Vec<(String, Vec<&PunchCell>)> = Vec::new();
    for cell in cells.iter().copied() {
        let title = title(cell, down, across);
        match groups.iter_mut().find(|(other, _)| *other == title) {
            Some((_, group)) => group.push(cell),
            None => groups.push((title, vec![cell])),
        }
    }
    groups.into_iter().map(|(title, here)| table(&here, title, down, across)).collect()
}

fn table<'a>(here: &[&'a PunchCell], title: String, down: &str, across: &str) -> Table<'a> {
    let columns = values(here, across);
    let row = |name: &'a str| {
        let at = |column: &&str| {
            here.iter().copied().find(|cell| value(cell, down) == name && value(cell, across) == *column)
        };
        Row { name, cells: columns.iter().map(at).collect() }
    };
    let rows = values(here, down).into_iter().map(row).collect();
    Table { title, down: down.to_owned(), across: across.to_owned(), columns, rows }
}

/// The axes that run down and across: the first two that vary, the NATs before the others and the method last.
fn main_axes<'a>(cells: &[&'a PunchCell]) -> (&'a str, &'a str) {
    let Some(first) = cells.first() else { return ("", "") };
    let mut keys: Vec<&str> = first.axes.keys().map(String::as_str).collect();
    let rank = |key: &str| ["nat-a", "nat-b"].iter().position(|main| *main == key).unwrap_or(2);
    keys.sort_by_key(|key| (values(cells, key).len() == 1, *key == "method", rank(key)));
    let down = keys.first().copied().unwrap_or_default();
    let across = keys.get(1).copied().filter(|key| *key != "method" || values(cells, key).len() > 1);
    (down, across.unwrap_or_default())
}

fn title(cell: &PunchCell, down: &str, across: &str) -> String {
    let others = cell.axes.iter().filter(|(key, _)| *key != down && *key != across);
    let others = others.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ");
    match (cell.part.as_str(), others.as_str()) {
        ("", _) => others,
        (part, "") => format!("{part} on {}", cell.topology),
        (part, _) => format!("{part} on {}: {others}", cell.topology),
    }
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
