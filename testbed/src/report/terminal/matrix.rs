//! A table of cells in as many columns as there are: names and figures where they fit, else numbered heads over
//! shorter figures, at last one glyph a cell. What is too wide even then is cut into blocks side by side.

use std::io::{self, Write};

use anstyle::Style;

use crate::model::plural::counted;
use crate::report::escape::harmless;
use crate::report::lines::{TIE, cut, length, wrapped};
use crate::report::results::{PunchCell, VerdictDoc};
use crate::report::table::Table;
use crate::report::terminal::palette::{BOLD, DIM, Share, glyph, style, tells_share};

/// Columns of a row's name: fewer than the least are not worth cutting it for, more than the most waste a line.
const LEAST_NAME: usize = 10;
const MOST_NAME: usize = 26;

/// What is told of a cell, the longest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Figure {
    /// `20/20! 20.6 ms`
    Counts,
    /// `100! 20.6`
    PercentAndTime,
    /// `● 21`
    GlyphAndTime,
    /// `100!`
    Percent,
    /// `●`
    Glyph,
}

/// What stands over the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heads {
    Names,
    Numbers,
}

/// The ways to show a table, the best first.
const WAYS: [(Heads, Figure); 6] = [
    (Heads::Names, Figure::Counts),
    (Heads::Numbers, Figure::Counts),
    (Heads::Numbers, Figure::PercentAndTime),
    (Heads::Numbers, Figure::GlyphAndTime),
    (Heads::Numbers, Figure::Percent),
    (Heads::Numbers, Figure::Glyph),
];

impl Figure {
    fn text(self, cell: &PunchCell) -> String {
        match (cell.verdict, cell.trials) {
            (VerdictDoc::Skipped, _) | (_, 0) if self != Self::Counts => return glyph(cell).to_owned(),
            (VerdictDoc::Skipped, _) => return "- skipped".to_owned(),
            (_, 0) => return format!("{} not run", cell.verdict.mark()),
            _ => (),
        }
        let mark = cell.verdict.mark();
        let time = |text: fn(f64) -> String| cell.established_ms.map_or_else(String::new, |q| text(q.median));
        match self {
            Self::Counts => {
                format!("{}/{}{mark}{}", cell.passed, cell.trials, time(|ms| format!(" {ms:.1} ms")))
            }
            Self::PercentAndTime => {
                format!("{}{mark}{}", percent(cell), time(|ms| format!(" {}", short(ms))))
            }
            Self::GlyphAndTime => format!("{}{}", glyph(cell), time(|ms| format!(" {ms:.0}"))),
            Self::Percent => format!("{}{mark}", percent(cell)),
            Self::Glyph => glyph(cell).to_owned(),
        }
    }

    /// What the figures and marks of these cells mean, in parts.
    pub(super) fn legend(self, cells: &[&PunchCell]) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        if matches!(self, Self::Glyph | Self::GlyphAndTime) {
            let seen =
                |share: &Share| cells.iter().any(|cell| tells_share(cell) && Share::of(cell) == *share);
            let shares = [Share::All, Share::Some, Share::None].into_iter().filter(seen);
            said.extend(shares.map(|share| format!("{} {}", share.glyph(), share.words())));
        }
        said.extend(match self {
            Self::Counts => vec!["passed/trials".to_owned()],
            Self::PercentAndTime | Self::Percent => vec!["trials passed, in %".to_owned()],
            Self::GlyphAndTime | Self::Glyph => Vec::new(),
        });
        let timed = cells.iter().any(|cell| cell.established_ms.is_some());
        if timed && !matches!(self, Self::Percent | Self::Glyph) {
            let unit = if self == Self::Counts { "" } else { " in ms" };
            said.push(format!("median time{unit} until both ends were established"));
        }
        let marks = [
            VerdictDoc::Differs,
            VerdictDoc::Undecided,
            VerdictDoc::NoExpectation,
            VerdictDoc::Error,
            VerdictDoc::Skipped,
        ];
        let of = |verdict: VerdictDoc| cells.iter().filter(move |cell| cell.verdict == verdict);
        for verdict in marks.into_iter().filter(|verdict| of(*verdict).next().is_some()) {
            let words = verdict.words();
            let by_share = matches!(self, Self::Glyph | Self::GlyphAndTime);
            said.push(match of(verdict).filter(|cell| by_share && tells_share(cell)).count() {
                0 => format!("{} {words}", verdict.mark()),
                count => format!("{words} of {count} of {}", counted(cells.len(), "cell")),
            });
        }
        said
    }
}

/// Writes a table in so many columns, and says what it told of each cell.
///
/// # Errors
/// What the writer says.
pub(super) fn write(table: &Table<'_>, width: usize, out: &mut impl Write) -> io::Result<Figure> {
    if !table.title.is_empty() {
        for line in wrapped(&harmless(&table.title), "", width) {
            writeln!(out, "{BOLD}{line}{BOLD:#}")?;
        }
    }
    let drawing = WAYS.into_iter().find_map(|way| Drawing::new(table, way, width));
    let drawing = drawing.unwrap_or_else(|| Drawing::narrow(table));
    let room = width.saturating_sub(2 + drawing.name);
    for block in drawing.blocks(room) {
        drawing.block(block, out)?;
    }
    drawing.column_names(width, out)?;
    Ok(drawing.figure)
}

/// A table with the way in which it is shown.
struct Drawing<'a> {
    table: &'a Table<'a>,
    heads: Heads,
    figure: Figure,
    /// Columns of a row's name, with its number.
    name: usize,
    /// Columns of each column, with the gap before it.
    columns: Vec<usize>,
}

impl<'a> Drawing<'a> {
    /// The table shown that way, if it fits.
    fn new(table: &'a Table<'a>, (heads, figure): (Heads, Figure), width: usize) -> Option<Self> {
        let columns = columns(table, heads, figure);
        let wanted = name_width(table, heads);
        let room = width.checked_sub(2 + columns.iter().sum::<usize>())?;
        let least = wanted.min(if figure == Figure::Glyph { LEAST_NAME + 3 } else { MOST_NAME });
        let name = wanted.min(room);
        (name >= least).then_some(Self { table, heads, figure, name, columns })
    }

    /// The table as narrow as it can be, whatever the terminal.
    fn narrow(table: &'a Table<'a>) -> Self {
        let (heads, figure) = (Heads::Numbers, Figure::Glyph);
        let name = name_width(table, heads).min(LEAST_NAME + 3);
        Self { table, heads, figure, name, columns: columns(table, heads, figure) }
    }

    /// The columns that stand side by side; at least one, however narrow the terminal.
    fn blocks(&self, room: usize) -> Vec<std::ops::Range<usize>> {
        let (mut blocks, mut start, mut used) = (Vec::new(), 0, 0);
        for (column, width) in self.columns.iter().enumerate() {
            if column > start && used + width > room {
                blocks.push(start..column);
                (start, used) = (column, 0);
            }
            used += width;
        }
        blocks.push(start..self.columns.len());
        blocks
    }

    fn block(&self, block: std::ops::Range<usize>, out: &mut impl Write) -> io::Result<()> {
        self.head(block.clone(), out)?;
        for (number, row) in self.table.rows.iter().enumerate() {
            let name = cut(&self.numbered(number, row.name), self.name);
            write!(out, "  {name}")?;
            let mut gap = self.name - length(&name);
            for column in block.clone() {
                let (look, text) = row.cells[column].map_or_else(
                    || (Style::new(), String::new()),
                    |cell| (style(cell), self.figure.text(cell)),
                );
                let before = self.before(column);
                write!(out, "{:1$}{look}{text}{look:#}", "", gap + before)?;
                gap = self.columns[column] - before - length(&text);
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The line over the columns: names, numbers, or numbers that are too wide for their columns and stand upright.
    fn head(&self, block: std::ops::Range<usize>, out: &mut impl Write) -> io::Result<()> {
        let label = |column: usize| match self.heads {
            Heads::Names => harmless(self.table.columns[column]).into_owned(),
            Heads::Numbers if self.table.columns[column].is_empty() => String::new(),
            Heads::Numbers => (column + 1).to_string(),
        };
        let upright = block.clone().any(|column| length(&label(column)) >= self.columns[column]);
        let lines: Vec<Vec<String>> = match upright {
            false => vec![block.clone().map(label).collect()],
            true => {
                let digits = block.clone().map(|column| length(&label(column))).max().unwrap_or(1);
                let digit = |line: usize, column: usize| {
                    format!("{:>digits$}", label(column)).chars().skip(line).take(1).collect()
                };
                (0..digits).map(|line| block.clone().map(|column| digit(line, column)).collect()).collect()
            }
        };
        for (number, line) in lines.iter().enumerate() {
            let corner =
                if number + 1 == lines.len() { cut(&self.corner(), self.name) } else { String::new() };
            write!(out, "  {DIM}{corner}{DIM:#}")?;
            let mut gap = self.name - length(&corner);
            for (column, text) in block.clone().zip(line) {
                if text.trim().is_empty() {
                    gap += self.columns[column];
                    continue;
                }
                let before = self.before(column);
                write!(out, "{:1$}{text}", "", gap + before)?;
                gap = self.columns[column] - before - length(text);
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// The gap before a column.
    fn before(&self, column: usize) -> usize {
        if self.columns[column] > 2 { 2 } else { 1 }
    }

    fn corner(&self) -> String {
        match (self.table.down.as_str(), self.table.across.as_str()) {
            (down, "") => down.to_owned(),
            (down, across) => format!("{down} \\ {across}"),
        }
    }

    fn numbered(&self, row: usize, name: &str) -> String {
        match self.heads {
            Heads::Numbers if self.shares_names() => format!("{:>2} {}", row + 1, harmless(name)),
            _ => harmless(name).into_owned(),
        }
    }

    /// Whether the rows have the same names as the columns, so that their numbers say what the columns are.
    fn shares_names(&self) -> bool {
        shares_names(self.table)
    }

    /// What the numbers over the columns stand for, where the rows do not say it.
    fn column_names(&self, width: usize, out: &mut impl Write) -> io::Result<()> {
        if self.heads == Heads::Names || self.shares_names() || self.table.across.is_empty() {
            return Ok(());
        }
        let names = self.table.columns.iter().enumerate();
        let names = names.map(|(at, name)| format!("{}{TIE}{}", at + 1, harmless(name)));
        let text = format!("{}: {}", harmless(&self.table.across), names.collect::<Vec<_>>().join(", "));
        for line in wrapped(&text, "  ", width.saturating_sub(2)) {
            writeln!(out, "  {DIM}{line}{DIM:#}")?;
        }
        Ok(())
    }
}

fn shares_names(table: &Table<'_>) -> bool {
    table.rows.iter().map(|row| row.name).eq(table.columns.iter().copied())
}

/// Columns of the names of rows: all of them, or what is enough to tell them apart where heads are numbers.
fn name_width(table: &Table<'_>, heads: Heads) -> usize {
    let number = if heads == Heads::Numbers && shares_names(table) { 3 } else { 0 };
    let names = table.rows.iter().map(|row| length(&harmless(row.name)) + number);
    let corner = match table.across.as_str() {
        "" => length(&table.down),
        across => length(&table.down) + 3 + length(across),
    };
    names.chain([corner]).max().unwrap_or(0)
}

/// The width of each column, with the gap before it.
fn columns(table: &Table<'_>, heads: Heads, figure: Figure) -> Vec<usize> {
    let widest = |column: usize| {
        let cells = table.rows.iter().filter_map(|row| row.cells[column]);
        cells.map(|cell| length(&figure.text(cell))).max().unwrap_or(0)
    };
    let all = 0..table.columns.len();
    match (heads, figure) {
        (Heads::Names, _) => all.map(|at| 2 + widest(at).max(length(&harmless(table.columns[at])))).collect(),
        // Numbers stand upright over single glyphs.
        (Heads::Numbers, Figure::Glyph) => vec![2; all.len()],
        (Heads::Numbers, _) => {
            let digits = table.columns.len().to_string().len();
            vec![2 + all.clone().map(widest).max().unwrap_or(0).max(digits); all.len()]
        }
    }
}

/// The share of passed trials, never rounded to all or none.
fn percent(cell: &PunchCell) -> String {
    match cell.passed * 100 / cell.trials.max(1) {
        0 if cell.passed > 0 => "<1".to_owned(),
        whole => whole.to_string(),
    }
}

/// Milliseconds in few characters.
fn short(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}
