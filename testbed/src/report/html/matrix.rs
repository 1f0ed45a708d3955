//! The matrix: small cells under tilted heads where there are many, figures and times where there is room.

use maud::{Markup, html};

use crate::report::escape::harmless;
use crate::report::html::link_to;
use crate::report::results::{PunchCell, VerdictDoc};
use crate::report::table::{Row, Table, dense_figure};

/// What the colours, frames and marks mean, of all verdicts that occur.
pub(super) fn legend(tables: &[Table<'_>]) -> Markup {
    let cells = || tables.iter().flat_map(|table| &table.rows).flat_map(|row| row.cells.iter().flatten());
    let marks = [
        VerdictDoc::Differs,
        VerdictDoc::Undecided,
        VerdictDoc::NoExpectation,
        VerdictDoc::Error,
        VerdictDoc::Skipped,
    ];
    let seen = marks.into_iter().filter(|verdict| cells().any(|cell| cell.verdict == *verdict));
    html! {
        p.legend {
            span { span.key style="--rate:1" { "●" } " all trials passed" }
            span { span.key style="--rate:.5" { "50" } " half of them, in %" }
            span { span.key style="--rate:0" { "·" } " none" }
            @for verdict in seen {
                span { span class={ "key " (verdict.class()) } style="--rate:0" { (verdict.mark()) } " " (verdict.words()) }
            }
        }
    }
}

/// One table.
pub(super) fn table(table: &Table<'_>) -> Markup {
    let dense = table.is_dense();
    let longest = table.columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let title =
        if table.title.is_empty() { "all cells".to_owned() } else { harmless(&table.title).into_owned() };
    let corner = [table.down.as_str(), table.across.as_str()];
    let corner: Vec<&str> = corner.into_iter().filter(|name| !name.is_empty()).collect();
    html! {
        figure.frame.dense[dense] {
            @if !table.title.is_empty() { figcaption { (title) } }
            div.scroll {
                table.matrix style={ "--columns:" (table.columns.len()) ";--head:" (longest) } {
                    caption.unseen { (title) }
                    thead {
                        tr {
                            td.corner { span { (harmless(&corner.join(" \\ "))) } }
                            @for name in &table.columns { th scope="col" { div { span { (harmless(name)) } } } }
                        }
                    }
                    tbody { @for row in &table.rows { (line(row, table, dense)) } }
                }
            }
        }
    }
}

fn line(row: &Row<'_>, table: &Table<'_>, dense: bool) -> Markup {
    html! {
        tr {
            th scope="row" { span { (harmless(row.name)) } }
            @for (found, column) in row.cells.iter().zip(&table.columns) {
                @match found {
                    Some(cell) => (entry(cell, (row.name, column), dense)),
                    None => td.none {},
                }
            }
        }
    }
}

fn entry(cell: &PunchCell, (row, column): (&str, &str), dense: bool) -> Markup {
    let rate = cell.observed.map_or(0.0, |seen| seen.probability);
    let place = if column.is_empty() {
        harmless(row).into_owned()
    } else {
        harmless(&format!("{row} / {column}")).into_owned()
    };
    let said = format!("{place}: {} of {} passed, {}", cell.passed, cell.trials, cell.verdict.words());
    let roomy_time = cell.established_ms.filter(|_| !dense);
    let roomy_theory = cell.expected.as_ref().filter(|_| !dense);
    html! {
        td class=(cell.verdict.class()) style={ "--rate:" (short(rate)) } {
            a href=(link_to(&cell.id)) aria-label=(said) title=(said) {
                b { (if dense { dense_figure(cell) } else { format!("{}/{}", cell.passed, cell.trials) }) }
                @if !dense && cell.verdict != VerdictDoc::AsExpected { span { strong { (cell.verdict.words()) } } }
                @if let Some(q) = roomy_time { span { (format!("{:.1} ms", q.median)) } }
                @if let Some(expected) = roomy_theory { span.quiet { "theory " (expected.rates().to_string()) } }
            }
        }
    }
}

/// A share in few digits.
fn short(rate: f64) -> String {
    let text = format!("{rate:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
