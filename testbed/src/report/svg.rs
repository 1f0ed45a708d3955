//! The matrix as a picture of its own, for READMEs: SVG that follows light and dark and needs no font of ours.

use std::fmt::Write as _;

use crate::model::plural::counted;
use crate::report::escape::xml as escape;
use crate::report::results::{PunchCell, Results, VerdictDoc};
use crate::report::table::{Table, dense_figure, tables};

/// Places, in pixels.
const MARGIN: f64 = 16.0;
const GAP: f64 = 28.0;
const ROW: f64 = 24.0;
const HEAD: f64 = 64.0;
const LEGEND: f64 = 30.0;
/// Tables stand side by side as long as the picture stays this narrow.
const WIDE: f64 = 920.0;
/// A character of the usual fonts at 12 pixels, about.
const CHARACTER: f64 = 6.9;
/// Heads are tilted by 55 degrees.
const TILT: (f64, f64) = (0.574, 0.819);

const STYLE: &str = "\
text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1c1e21}.title{font-size:17px;font-weight:600}\
.quiet{fill:#5a6068}.cool{fill:#eceef1}.good{fill:#6cc287}.paper{fill:#fff}\
.mid{text-anchor:middle}.end{text-anchor:end}\
.differs{stroke:#b71c1c}.undecided,.no_expectation{stroke:#7a5800}.error{stroke:#6f35a8}.skipped{stroke:#9aa1a9;stroke-dasharray:3 2}\
@media(prefers-color-scheme:dark){text{fill:#e9ebee}.quiet{fill:#a3aab2}.cool{fill:#24282d}.good{fill:#256b3b}.paper{fill:#16181b}\
.differs{stroke:#ff8a80}.undecided,.no_expectation{stroke:#e3b341}.error{stroke:#cf9df0}}";

/// The picture.
#[must_use]
pub fn text(results: &Results) -> String {
    let tables = tables(results);
    let drawings: Vec<Drawing<'_>> = tables.iter().map(Drawing::new).collect();
    let (places, width, height) = arrange(&drawings);
    let said = summary(results);
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" aria-label="{}"><style>{STYLE}</style><rect class="paper" width="100%" height="100%"/>"#,
        escape(&format!("{}: {said}", results.suite)),
    );
    let _ = write!(
        out,
        r#"<text class="title" x="{MARGIN}" y="30">{}</text><text class="quiet" x="{MARGIN}" y="50">{}</text>"#,
        escape(&results.suite),
        escape(&said)
    );
    for (drawing, (x, y)) in drawings.iter().zip(places) {
        drawing.draw(&mut out, x, y);
    }
    legend(&mut out, results, height - 14.0);
    out + "</svg>\n"
}

/// `121 cells: 118 as expected, 3 differ; kernel 6.18`
fn summary(results: &Results) -> String {
    let counts = results.totals.by_verdict().map(|(verdict, n)| format!("{n} {}", verdict.words_of(n)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let cells = counted(results.totals.cells, "cell");
    format!(
        "{cells}: {counts}; {} a cell, kernel {}",
        counted(results.trials_per_cell as usize, "trial"),
        results.kernel
    )
}

/// Places the tables in rows, and says how large the picture is.
fn arrange(drawings: &[Drawing<'_>]) -> (Vec<(f64, f64)>, f64, f64) {
    let (mut x, mut y, mut row_height) = (MARGIN, HEAD, 0.0_f64);
    let (mut places, mut width) = (Vec::new(), 560.0_f64);
    for drawing in drawings {
        if x > MARGIN && x + drawing.width() + MARGIN > WIDE {
            (x, y, row_height) = (MARGIN, y + row_height + GAP, 0.0);
        }
        places.push((x, y));
        width = width.max(x + drawing.width() + MARGIN);
        row_height = row_height.max(drawing.height());
        x += drawing.width() + GAP;
    }
    (places, width, y + row_height + LEGEND + MARGIN)
}

/// A table with its measures.
struct Drawing<'a> {
    table: &'a Table<'a>,
    /// Room of the rows' names, of the heads, and the width of a column.
    names: f64,
    heads: f64,
    column: f64,
}

impl<'a> Drawing<'a> {
    fn new(table: &'a Table<'a>) -> Self {
        let longest = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| name.chars().count()).max().unwrap_or(0) as f64 * CHARACTER
        };
        let names = longest(&mut table.rows.iter().map(|row| row.name)) + 10.0;
        let heads = longest(&mut table.columns.iter().copied());
        let column = if table.is_dense() { 27.0 } else { 54.0 };
        Self { table, names, heads, column }
    }

    fn title_height(&self) -> f64 {
        if self.table.title.is_empty() { 0.0 } else { 22.0 }
    }

    fn head_height(&self) -> f64 {
        self.heads * TILT.1 + 12.0
    }

    fn width(&self) -> f64 {
        let title = self.table.title.chars().count() as f64 * CHARACTER;
        let columns = self.names + self.column * self.table.columns.len() as f64;
        title.max(columns + (self.heads * TILT.0 - self.column / 2.0).max(0.0))
    }

    fn height(&self) -> f64 {
        self.title_height() + self.head_height() + ROW * self.table.rows.len() as f64
    }

    fn draw(&self, out: &mut String, x: f64, y: f64) {
        let _ = match self.table.title.as_str() {
            "" => Ok(()),
            title => write!(out, r#"<text x="{x}" y="{:.1}">{}</text>"#, y + 12.0, escape(title)),
        };
        let top = y + self.title_height() + self.head_height();
        for (number, name) in self.table.columns.iter().enumerate() {
            let (x, y) = (x + self.names + self.column * (number as f64 + 0.5), top - 6.0);
            let name = escape(name);
            let _ = write!(out, r#"<text transform="translate({x:.1} {y:.1}) rotate(-55)">{name}</text>"#);
        }
        for (number, row) in self.table.rows.iter().enumerate() {
            let y = top + ROW * number as f64;
            let (end, base) = (x + self.names - 6.0, y + 16.0);
            let _ =
                write!(out, r#"<text class="end" x="{end:.1}" y="{base:.1}">{}</text>"#, escape(row.name));
            for (column, cell) in row.cells.iter().enumerate() {
                let x = x + self.names + self.column * column as f64;
                cell.iter().for_each(|cell| self.cell(out, cell, (x, y)));
            }
        }
    }

    fn cell(&self, out: &mut String, cell: &PunchCell, (x, y): (f64, f64)) {
        let rate = cell.observed.map_or(0.0, |seen| seen.probability);
        let said =
            format!("{}: {} of {} passed, {}", cell.id, cell.passed, cell.trials, cell.verdict.words());
        let figure = match self.table.is_dense() {
            true => dense_figure(cell),
            false => format!("{}/{}{}", cell.passed, cell.trials, cell.verdict.mark()),
        };
        let _ = write!(out, "<g><title>{}</title>", escape(&said));
        key(out, (x, y, self.column), rate, cell.verdict, &figure);
        out.push_str("</g>");
    }
}

/// A coloured box with a sign.
fn key(out: &mut String, (x, y, width): (f64, f64, f64), rate: f64, verdict: VerdictDoc, sign: &str) {
    let (left, top, wide, high) = (x + 1.5, y + 1.5, width - 3.0, ROW - 3.0);
    let place = format!(r#"x="{left:.1}" y="{top:.1}" width="{wide:.1}" height="{high:.1}" rx="3""#);
    let _ = write!(out, r#"<rect class="cool" {place}/>"#);
    if rate > 0.0 {
        let _ = write!(out, r#"<rect class="good" fill-opacity="{rate:.2}" {place}/>"#);
    }
    if verdict != VerdictDoc::AsExpected {
        let class = verdict.class();
        let _ = write!(out, r#"<rect class="{class}" fill="none" stroke-width="2" {place}/>"#);
    }
    let (middle, base) = (x + width / 2.0, y + 16.0);
    let _ = write!(out, r#"<text class="mid" x="{middle:.1}" y="{base:.1}">{}</text>"#, escape(sign));
}

fn legend(out: &mut String, results: &Results, y: f64) {
    let mut x = MARGIN;
    let mut entry = |rate: f64, verdict: VerdictDoc, sign: &str, words: &str| {
        key(out, (x, y - 16.0, 27.0), rate, verdict, sign);
        let _ = write!(out, r#"<text class="quiet" x="{:.1}" y="{y:.1}">{words}</text>"#, x + 33.0);
        x += 33.0 + words.chars().count() as f64 * CHARACTER + 16.0;
    };
    entry(1.0, VerdictDoc::AsExpected, "●", "all passed");
    entry(0.5, VerdictDoc::AsExpected, "50", "in %");
    entry(0.0, VerdictDoc::AsExpected, "·", "none");
    for (verdict, _) in results.totals.by_verdict().filter(|(verdict, _)| *verdict != VerdictDoc::AsExpected)
    {
        entry(0.0, verdict, verdict.mark(), verdict.words());
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::report::sample::results;

    #[test]
    fn the_picture_has_every_cell_and_nothing_active() {
        let picture = text(&results());
        for part in
            ["even/odd/auto: 2 of 3 passed, differs", "4 cells: 1 as expected", ">2/3!<", "rotate(-55)"]
        {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
        for active in ["<script", "javascript:", "href", "url(", "@import"] {
            assert!(!picture.contains(active), "{active}");
        }
        assert_eq!(picture.matches("<svg").count(), 1);
    }
}
