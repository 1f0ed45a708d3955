//! `report.html`: one file that needs nothing else, for browsers, phones and paper.
//!
//! What needs attention comes first, then the matrix, then everything else. All of it is there without scripts; the one
//! small script of the page searches, filters and sorts. Every text is escaped by the macro that makes the elements.

mod attention;
mod cells;
mod chart;
mod ladders;
mod matrix;
mod sweep;

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::model::plural::counted;
use crate::report::deviation;
use crate::report::escape::{harmless, harmless_lines};
use crate::report::html::ladders::DrawnTrials;
use crate::report::results::{EndingDoc, KernelCell, PacketsDoc, ProofCell, Results, VerdictDoc};
use crate::report::table::tables;
use crate::report::void::VoidSummary;

/// The file in a run's folder that holds the page.
pub const PAGE: &str = "report.html";

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Bytes that the page has at most, if its drawings are all that is too much.
const LARGEST: usize = 3_000_000;

/// The whole page; `run` is the folder of the run, from which kept trials are drawn.
#[must_use]
pub fn text(results: &Results, run: Option<&Path>) -> String {
    let nothing = DrawnTrials::read(results, run, 0);
    let bare = page(results, &nothing, run).into_string();
    if nothing.are_all() {
        return bare;
    }
    // A drawing is shown among what needs attention, too.
    let room = LARGEST.saturating_sub(bare.len()) / 2;
    page(results, &DrawnTrials::read(results, run, room), run).into_string()
}

fn page(results: &Results, drawn: &DrawnTrials, run: Option<&Path>) -> Markup {
    let problems = deviation::of_run(results);
    let tables = tables(results);
    let sweeps = sweep::sweeps(results);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // The page fetches nothing, whatever the results say.
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "testbed: " (harmless(&results.suite)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(results))
                main {
                    @if !problems.is_empty() { (attention::section(&problems, drawn, run)) }
                    @if !tables.is_empty() {
                        section id="matrix" {
                            h2 { "Matrix" }
                            (matrix::legend(&tables))
                            div.tables { @for table in &tables { (matrix::table(table)) } }
                        }
                    }
                    @if results.kernel_checks().next().is_some() { (kernel(results)) }
                    @if !sweeps.is_empty() { (sweep::section(&sweeps)) }
                    @if results.punches().next().is_some() { (cells::section(results, drawn, run)) }
                    @if results.proofs().next().is_some() { (nats(results)) }
                    (about(results))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Name, totals, origin and warnings.
fn header(results: &Results) -> Markup {
    let t = results.totals;
    let origin = &results.origin;
    let void = VoidSummary::of(results).map(|void| void.suspicion().unwrap_or_else(|| void.sentence()));
    let warnings: Vec<&String> = results.warnings.iter().chain(&void).collect();
    let what = if results.kernel_checks().next().is_some() { "check" } else { "cell" };
    html! {
        header {
            h1 { (harmless(&results.suite)) }
            @if !results.summary.is_empty() { p.summary { (harmless(&results.summary)) } }
            p.totals {
                strong { (counted(t.cells, what)) }
                @for (verdict, count) in t.by_verdict() {
                    " " span class={ "badge " (verdict.class()) } { (count) " " (verdict.words_of(count)) }
                }
                @if results.ending == EndingDoc::Interrupted { " " span.badge.error { "interrupted" } }
            }
            div.share aria-hidden="true" {
                @for (verdict, count) in t.by_verdict() {
                    i class=(verdict.class()) style={ "flex-grow:" (count) } {}
                }
            }
            dl.origin {
                @if !origin.started.is_empty() { div { dt { "started" } dd { (started(&origin.started)) } } }
                @if !origin.host.is_empty() { div { dt { "host" } dd { (harmless(&origin.host)) } } }
                div { dt { "took" } dd { (format!("{:.1} s", results.took_ms / 1e3)) } }
                div { dt { "kernel" } dd { (harmless(&results.kernel)) } }
                div { dt { "seed" } dd { (results.seed) } }
                @if !origin.command.is_empty() {
                    div.wide { dt { "command" } dd { code { (harmless(&origin.command_line())) } } }
                }
                @for program in &origin.programs {
                    div.wide {
                        dt { "program" }
                        dd { code { (harmless(&program.path)) } " " span.quiet { (harmless(&program.identity())) } }
                    }
                }
            }
            @if !warnings.is_empty() {
                div.warnings {
                    h2 { "Warnings" }
                    ul { @for warning in &warnings { li { (harmless(warning)) } } }
                }
            }
        }
    }
}

/// A time that a browser can read, and people too.
fn started(rfc3339: &str) -> Markup {
    let text = harmless(rfc3339).replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(harmless(rfc3339)) { (text) } }
}

/// What the kernel's own NAT did.
fn kernel(results: &Results) -> Markup {
    let row = |check: &KernelCell| {
        html! {
            tr class=(check.verdict.class()) {
                th scope="row" { (harmless(&check.id)) }
                td { span class={ "badge " (check.verdict.class()) } { (check.verdict.words()) } }
                td { (harmless(&check.observed)) }
                td { (harmless(&check.expected)) @if let Some(since) = &check.since { " (since " (harmless(since)) ")" } }
                td { (harmless(&check.asks)) " " span.quiet { (harmless(&check.detail)) } }
            }
        }
    };
    html! {
        section id="kernel" {
            h2 { "Checks of the kernel" }
            div.scroll tabindex="0" role="region" aria-label="checks of the kernel" {
                table.list {
                    thead { tr {
                        th scope="col" { "check" } th scope="col" { "verdict" } th scope="col" { "observed" }
                        th scope="col" { "expected" } th scope="col" { "asks" }
                    } }
                    tbody { @for check in results.kernel_checks() { (row(check)) } }
                }
            }
        }
    }
}

/// The proof of each NAT.
fn nats(results: &Results) -> Markup {
    html! {
        section id="nats" {
            h2 { "NATs, proved before use" }
            @for proof in results.proofs() { (nat(proof)) }
        }
    }
}

fn nat(proof: &ProofCell) -> Markup {
    let holds = proof.verdict == VerdictDoc::AsExpected;
    let words = match proof.verdict {
        VerdictDoc::AsExpected => "holds",
        VerdictDoc::Skipped => "skipped",
        _ => "does not hold",
    };
    html! {
        details open[!holds] {
            summary { span class={ "badge " (proof.verdict.class()) } { (words) } " " (harmless(&proof.nat)) }
            div.body id={ "nat-" (anchor(&proof.nat)) } {
                @if !proof.note.is_empty() { p.note.lines { (harmless_lines(&proof.note)) } }
                @if !proof.rows.is_empty() {
                    div.scroll tabindex="0" role="group" aria-label={ "proof of " (harmless(&proof.nat)) } {
                        table.list {
                            thead { tr {
                                th scope="col" { "axis" } th scope="col" { "declared" } th scope="col" { "measured" }
                            } }
                            tbody {
                                @for row in &proof.rows {
                                    tr.wrong[!row.agrees] {
                                        th scope="row" { (harmless(&row.axis)) }
                                        td { (harmless(&row.expected)) }
                                        td { (harmless(&row.observed)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Everything else that is known of the run.
fn about(results: &Results) -> Markup {
    let facts = [
        ("testbed", harmless(&results.testbed).into_owned()),
        ("kernel", harmless(&results.kernel).into_owned()),
        ("nft", harmless(&results.nft).into_owned()),
        ("rights", harmless(&results.rights).into_owned()),
        ("processors", results.processors.to_string()),
        ("wire", harmless(&results.wire_scheduling).into_owned()),
        ("at the same time", counted(results.jobs, "trial")),
        ("a cell", counted(results.trials_per_cell as usize, "trial")),
    ];
    html! {
        section id="about" {
            h2 { "Machine and files" }
            dl {
                @for (name, value) in &facts { dt { (name) } dd { (value) } }
                @for program in results.origin.programs.iter().filter(|program| !program.sha256.is_empty()) {
                    dt { "SHA-256" }
                    dd { code { (harmless(&program.sha256)) } " " (harmless(&program.path)) }
                }
                @if let Some(packets) = results.packets.as_ref().and_then(PacketsDoc::sentence) { dt { "packets" } dd { (packets) } }
                dt { "everything" } dd { a href="results.json" { "results.json" } ", the same for programs" }
            }
        }
    }
}

/// A name as the last part of an `id`: an `id` must have no blanks.
fn anchor(name: &str) -> String {
    harmless(name).chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect()
}

/// The link to a cell, which stays the same as long as the cell's name does.
fn link_to(cell: &str) -> String {
    let mut link = "#cell-".to_owned();
    for c in anchor(cell).chars() {
        match c {
            '%' | '"' | '<' | '>' | '#' | '\\' | '^' | '`' | '{' | '|' | '}' => {
                // All of these are a single byte.
                link += &format!("%{:02X}", u32::from(c));
            }
            c => link.push(c),
        }
    }
    link
}
