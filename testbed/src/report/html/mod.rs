//! `report.html`: one file that needs nothing else, for browsers, phones and paper. No script runs in it.
//!
//! The page is the template `page.html`; here its values are made from the results. The template escapes all text.

mod chart;
mod ladders;
mod sweep;

use std::path::Path;

use minijinja::Environment;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use crate::model::statistics::{Sensitivity, percent};
use crate::report::artefacts::CAPTURE;
use crate::report::escape::harmless;
use crate::report::html::ladders::DrawnTrials;
use crate::report::html::sweep::Sweep;
use crate::report::kept::is_inside;
use crate::report::results::{
    EndingDoc, OutcomeDoc, ProofCell, ProofRowDoc, PunchCell, QuantilesDoc, RateDoc, Results, Totals,
    TrialDoc, VerdictDoc,
};
use crate::report::sensitivity;
use crate::report::table::{Table, tables};

/// Trials that a cell lists at most; the rest are in `results.json`.
const LISTED: usize = 50;

/// The whole page; `run` is the folder of the run, from which kept trials are drawn.
///
/// # Panics
/// Never: the template is a constant, and a test fills in every part of it.
#[must_use]
pub fn text(results: &Results, run: Option<&Path>) -> String {
    let mut environment = Environment::new();
    environment.add_template("page.html", include_str!("page.html")).expect("the template is a constant");
    let page = environment.get_template("page.html").expect("it was just added");
    page.render(Value::from(Serde(Page::of(results, &DrawnTrials::read(results, run)))))
        .expect("every value of the template is given")
}

/// Everything that the template shows.
#[derive(Serialize)]
struct Page<'a> {
    style: &'static str,
    run: Header<'a>,
    totals: Totals,
    parts: Vec<TotalsPart>,
    interrupted: bool,
    took: String,
    tables: Vec<Grid>,
    sweeps: Vec<Sweep>,
    cells: Vec<Detail>,
    proofs: Vec<Proof>,
}

impl<'a> Page<'a> {
    fn of(results: &'a Results, drawn: &DrawnTrials) -> Self {
        let t = results.totals;
        let part = |(class, count): (VerdictDoc, usize)| TotalsPart { class, words: class.words(), count };
        Self {
            style: include_str!("style.css"),
            run: Header::of(results),
            totals: t,
            parts: t.by_verdict().map(part).collect(),
            interrupted: results.ending == EndingDoc::Interrupted,
            took: format!("{:.1} s", results.took_ms / 1e3),
            tables: tables(results).iter().map(|table| Grid::of(table, results)).collect(),
            sweeps: sweep::sweeps(results),
            cells: results
                .punches()
                .enumerate()
                .map(|(index, cell)| Detail::of(index, cell, drawn))
                .collect(),
            proofs: results.proofs().map(Proof::of).collect(),
        }
    }
}

/// One of the totals.
#[derive(Serialize)]
struct TotalsPart {
    class: VerdictDoc,
    words: &'static str,
    count: usize,
}

/// The run without its cells.
#[derive(Serialize)]
struct Header<'a> {
    suite: String,
    testbed: &'a str,
    kernel: String,
    nft: String,
    rights: &'a str,
    processors: usize,
    wire_scheduling: &'a str,
    seed: u64,
    jobs: usize,
    warnings: Vec<String>,
}

impl<'a> Header<'a> {
    fn of(results: &'a Results) -> Self {
        Self {
            suite: harmless(&results.suite).into_owned(),
            testbed: &results.testbed,
            kernel: harmless(&results.kernel).into_owned(),
            nft: harmless(&results.nft).into_owned(),
            rights: &results.rights,
            processors: results.processors,
            wire_scheduling: &results.wire_scheduling,
            seed: results.seed,
            jobs: results.jobs,
            warnings: results.warnings.iter().map(|text| harmless(text).into_owned()).collect(),
        }
    }
}

/// A table as the template draws it.
#[derive(Serialize)]
struct Grid {
    title: String,
    corner: String,
    columns: Vec<String>,
    rows: Vec<GridRow>,
}

#[derive(Serialize)]
struct GridRow {
    name: String,
    cells: Vec<Option<GridCell>>,
}

#[derive(Serialize)]
struct GridCell {
    class: VerdictDoc,
    anchor: String,
    figure: String,
    /// The verdict in words, where it is not as expected.
    mark: Option<&'static str>,
    rate: f64,
    time: Option<String>,
    expected: Option<String>,
    title: String,
}

impl Grid {
    fn of(table: &Table<'_>, results: &Results) -> Self {
        let corner = [table.down.as_str(), table.across.as_str()];
        let place = |cell: &PunchCell| results.punches().position(|other| other.id == cell.id).unwrap_or(0);
        let cell = |cell: &PunchCell| GridCell {
            class: cell.verdict,
            anchor: anchor(place(cell)),
            figure: figure(cell),
            mark: Some(cell.verdict.words()).filter(|_| cell.verdict != VerdictDoc::AsExpected),
            rate: cell.observed.map_or(0.0, |seen| seen.probability),
            time: cell.established_ms.map(|q| format!("{:.1} ms", q.median)),
            expected: cell.expected.as_ref().map(|e| e.rates().to_string()),
            title: format!("{}: {}", harmless(&cell.id), observed(cell)),
        };
        let row = |row: &crate::report::table::Row<'_>| GridRow {
            name: harmless(row.name).into_owned(),
            cells: row.cells.iter().map(|found| found.map(cell)).collect(),
        };
        Self {
            title: harmless(&table.title).into_owned(),
            corner: corner.iter().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>().join(" \\ "),
            columns: table.columns.iter().map(|name| harmless(name).into_owned()).collect(),
            rows: table.rows.iter().map(row).collect(),
        }
    }
}

/// A cell as it opens.
#[derive(Serialize)]
struct Detail {
    anchor: String,
    class: VerdictDoc,
    words: &'static str,
    id: String,
    figure: String,
    open: bool,
    note: String,
    observed: String,
    theory: String,
    facts: Vec<Fact>,
    times: Option<String>,
    trials: Vec<TrialLine>,
    ladders: Vec<SequenceDiagram>,
    more: Option<String>,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// A trial as a line.
#[derive(Serialize)]
struct TrialLine {
    number: u32,
    outcome: OutcomeDoc,
    why: String,
    link: Option<String>,
}

impl Detail {
    fn of(index: usize, cell: &PunchCell, drawn: &DrawnTrials) -> Self {
        let times: Vec<f64> = cell.each.iter().filter_map(|trial| trial.established_ms).collect();
        let hidden = cell.each.len().saturating_sub(LISTED);
        Self {
            anchor: anchor(index),
            class: cell.verdict,
            words: cell.verdict.words(),
            id: harmless(&cell.id).into_owned(),
            figure: figure(cell),
            open: matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error),
            note: harmless(&cell.note).into_owned(),
            observed: observed(cell),
            theory: cell.expected.as_ref().map_or_else(
                || "theory says nothing of this cell".to_owned(),
                |e| format!("{}: {}", e.rates(), harmless(&e.because)),
            ),
            facts: facts(cell),
            times: chart::strip(&times),
            trials: cell.each.iter().take(LISTED).map(TrialLine::of).collect(),
            ladders: cell.each.iter().filter_map(|trial| SequenceDiagram::of(cell, trial, drawn)).collect(),
            more: (hidden > 0).then(|| format!("{hidden} more trials are in results.json")),
        }
    }
}

/// A trial as a sequence diagram.
#[derive(Serialize)]
struct SequenceDiagram {
    title: String,
    svg: String,
    link: Option<String>,
}

impl SequenceDiagram {
    fn of(cell: &PunchCell, trial: &TrialDoc, drawn: &DrawnTrials) -> Option<Self> {
        let svg = drawn.of(&cell.id, trial.number)?.clone();
        let TrialLine { number, outcome, why, link } = TrialLine::of(trial);
        let title = format!("trial {number} {}: {why}", outcome.name());
        Some(Self { title, svg, link: link.map(|folder| format!("{folder}{CAPTURE}")) })
    }
}

impl TrialLine {
    fn of(trial: &TrialDoc) -> Self {
        let how =
            trial.method.iter().chain(&trial.how).map(|text| harmless(text)).collect::<Vec<_>>().join(": ");
        let time = trial.established_ms.map(|ms| format!("{ms:.1} ms"));
        let detail = trial.detail.as_deref().map(|text| harmless(text).into_owned());
        let said: Vec<String> =
            [Some(how), time, detail].into_iter().flatten().filter(|t| !t.is_empty()).collect();
        Self {
            number: trial.number,
            outcome: trial.outcome,
            why: said.join(", "),
            link: trial
                .artefacts
                .as_ref()
                .filter(|folder| is_inside(folder))
                .map(|folder| format!("{folder}/")),
        }
    }
}

fn anchor(index: usize) -> String {
    format!("cell-{}", index + 1)
}

fn figure(cell: &PunchCell) -> String {
    format!("{}/{}", cell.passed, cell.trials)
}

fn observed(cell: &PunchCell) -> String {
    cell.observed.map_or_else(
        || "no trial passed or failed".to_owned(),
        |seen| {
            let RateDoc { probability, low, high } = seen;
            format!("{}, 95 % interval {} to {}", percent(probability), percent(low), percent(high))
        },
    )
}

fn facts(cell: &PunchCell) -> Vec<Fact> {
    let counted = |counts: &std::collections::BTreeMap<String, usize>| {
        let each = counts.iter().map(|(what, n)| format!("{n} × {}", harmless(what)));
        each.collect::<Vec<_>>().join(", ")
    };
    let quantiles = |q: QuantilesDoc| {
        format!("median {:.1} ms, p95 {:.1} ms ({:.1} to {:.1} ms)", q.median, q.p95, q.min, q.max)
    };
    let could_have_shown = cell.sensitivity.zip(cell.expected.as_ref());
    let could_have_shown = could_have_shown
        .map(|(seen, expected)| sensitivity::sentence(expected.rates(), Sensitivity::from(seen)));
    let facts = [
        ("causes of failure", Some(counted(&cell.causes)).filter(|text| !text.is_empty())),
        ("won by", Some(counted(&cell.won_by)).filter(|text| !text.is_empty())),
        ("could have shown", could_have_shown),
        ("established", cell.established_ms.map(quantiles)),
        ("authenticated", cell.authenticated_ms.map(quantiles)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some(Fact { name, value: value? })).collect()
}

/// A proof as it opens.
#[derive(Serialize)]
struct Proof {
    class: VerdictDoc,
    words: &'static str,
    open: bool,
    nat: String,
    note: String,
    rows: Vec<ProofRowDoc>,
}

impl Proof {
    fn of(proof: &ProofCell) -> Self {
        let holds = proof.verdict == VerdictDoc::AsExpected;
        let row = |row: &ProofRowDoc| ProofRowDoc {
            axis: harmless(&row.axis).into_owned(),
            expected: harmless(&row.expected).into_owned(),
            observed: harmless(&row.observed).into_owned(),
            agrees: row.agrees,
        };
        Self {
            class: proof.verdict,
            words: if holds { "holds" } else { "does not hold" },
            open: !holds,
            nat: harmless(&proof.nat).into_owned(),
            note: harmless(&proof.note).into_owned(),
            rows: proof.rows.iter().map(row).collect(),
        }
    }
}
