//! Every cell as it opens: what was observed, what theory says, and its trials, those that ended alike together.

use std::collections::BTreeMap;
use std::path::Path;

use maud::{Markup, PreEscaped, html};

use crate::model::plural::counted;
use crate::model::statistics::{Rates, Sensitivity, percent};
use crate::report::artefacts::CAPTURE;
use crate::report::deviation::{main_cause, weight};
use crate::report::escape::{harmless, harmless_lines};
use crate::report::html::ladders::DrawnTrials;
use crate::report::html::{anchor, chart};
use crate::report::kept::is_inside;
use crate::report::origin::quoted;
use crate::report::results::{
    PunchCell, QuantilesDoc, RateDoc, Results, SensitivityDoc, TrialDoc, VerdictDoc,
};
use crate::report::sensitivity;
use crate::report::stderr_tail;

/// Trials of one group that are linked.
const LINKED: usize = 5;

/// All cells, with the bar that searches and filters them, which only a script can show.
pub(super) fn section(results: &Results, drawn: &DrawnTrials, run: Option<&Path>) -> Markup {
    html! {
        section id="cells" {
            h2 { "Cells" }
            @if results.punches().flat_map(|cell| &cell.each).any(|trial| trial.artefacts.is_some()) {
                p.quiet { "The packets and files of trials are links into the folder of this run. They work only as long as the page is in that folder." }
            }
            @if results.punches().any(|cell| drawn.leaves_out(&cell.id)) {
                p.quiet {
                    "Some trials are not drawn, to keep the page small. The command beside such a trial draws it if you start it in the folder of this run."
                }
            }
            form.filters role="search" aria-label="filter the cells" hidden {
                label { "search " input type="search" name="text" placeholder="part of a name or a cause"; }
                label { "verdict " select name="verdict" { option value="" { "any" } } }
                label { "cause " select name="cause" { option value="" { "any" } } }
                label { "NAT " select name="nat" { option value="" { "any" } } }
                label { "method " select name="method" { option value="" { "any" } } }
                label { "order " select name="order" {
                    option value="" { "of the suite" } option value="worst" { "worst first" }
                    option value="rate" { "least passed first" } option value="time" { "slowest first" }
                    option value="name" { "name" }
                } }
                button type="reset" { "clear" }
                output aria-live="polite" {}
            }
            div.cells { @for cell in results.punches() { (one(cell, drawn, run)) } }
        }
    }
}

/// One cell. Its data attributes are what the script filters and sorts by.
fn one(cell: &PunchCell, drawn: &DrawnTrials, run: Option<&Path>) -> Markup {
    let cause = match cell.verdict {
        VerdictDoc::AsExpected => cell.causes.iter().max_by_key(|(_, n)| **n).map(|(cause, _)| cause.clone()),
        _ => Some(main_cause(cell)).filter(|cause| !cause.is_empty()),
    };
    let nats = cell.axes.iter().filter(|(key, _)| key.as_str() != "method" && is_nat(key));
    let nats: Vec<&str> = nats.map(|(_, value)| value.as_str()).collect();
    html! {
        details.cell
            data-verdict=(cell.verdict.words())
            data-cause=(harmless(&cause.unwrap_or_default()))
            data-nat=(harmless(&nats.join(" ")))
            data-method=[cell.axes.get("method").map(|method| harmless(method))]
            data-rate=(format!("{:.4}", cell.observed.map_or(0.0, |seen| seen.probability)))
            data-time=(format!("{:.1}", cell.established_ms.map_or(0.0, |q| q.median)))
            data-worst=(weight(cell.verdict)) {
            summary {
                span class={ "badge " (cell.verdict.class()) } { (cell.verdict.words()) } " "
                (harmless(&cell.id)) " " span.quiet { (cell.passed) "/" (cell.trials) }
            }
            div.body id={ "cell-" (anchor(&cell.id)) } { (body(cell, drawn, run)) }
        }
    }
}

/// Whether an axis may hold names of NATs: those that are not quantities and conditions are called after nodes.
fn is_nat(key: &str) -> bool {
    ["nat", "inner", "outer", "middle", "home", "cgn"].iter().any(|start| key.starts_with(start))
}

fn body(cell: &PunchCell, drawn: &DrawnTrials, run: Option<&Path>) -> Markup {
    let times: Vec<f64> = cell.each.iter().filter_map(|trial| trial.established_ms).collect();
    let told = cell.each.iter().filter(|_| cell.verdict != VerdictDoc::AsExpected);
    let said =
        run.map(|run| told.map(|trial| stderr_tail::of_trial(run, trial)).find(|said| !said.is_empty()));
    html! {
        @if !cell.note.is_empty() { p.note.lines { (harmless_lines(&cell.note)) } }
        dl {
            dt { "observed" } dd { (observed(cell)) }
            dt { "theory" }
            dd {
                @match &cell.expected {
                    Some(e) => { (e.rates().to_string()) ": " (harmless(&e.because)) },
                    None => "theory says nothing of this cell",
                }
            }
            @for (name, value) in facts(cell) { dt { (name) } dd { (value) } }
            @for words in said.flatten().into_iter().flatten() {
                dt { (harmless(&words.program)) " said" }
                dd { @for line in &words.lines { code { (harmless(line)) } br; } }
            }
        }
        @if let Some(strip) = chart::strip(&times) {
            figure { (PreEscaped(strip)) figcaption { "ms until both ends were established; the line is the median" } }
        }
        (trials(cell))
        @for picture in worst_first(cell).into_iter().filter_map(|trial| SequenceDiagram::of(cell, trial, drawn)) {
            (ladder(&picture, Fold::Closed))
        }
        @if drawn.leaves_out(&cell.id) {
            p.quiet { "not drawn: " code { "testbed explain . " (quoted(&harmless(&cell.id))) } }
        }
    }
}

/// The trials of a cell, errors before failures before those that passed.
fn worst_first(cell: &PunchCell) -> Vec<&TrialDoc> {
    let mut trials: Vec<&TrialDoc> = cell.each.iter().collect();
    trials.sort_by_key(|trial| trial.outcome.weight());
    trials
}

fn observed(cell: &PunchCell) -> String {
    let Some(RateDoc { probability, low, high }) = cell.observed else {
        return "no trial passed or failed".to_owned();
    };
    format!("{}, 95 % interval {}", percent(probability), Rates { low, high })
}

fn facts(cell: &PunchCell) -> Vec<(&'static str, String)> {
    let counted = |counts: &BTreeMap<String, usize>| {
        let each = counts.iter().map(|(what, n)| format!("{n} × {}", harmless(what)));
        each.collect::<Vec<_>>().join(", ")
    };
    let quantiles = |q: QuantilesDoc| {
        format!("median {:.1} ms, p95 {:.1} ms ({:.1} to {:.1} ms)", q.median, q.p95, q.min, q.max)
    };
    let could_have_shown = |(seen, expected): (SensitivityDoc, &crate::report::results::ExpectedDoc)| {
        sensitivity::of_cell(expected.rates(), Sensitivity::from(seen))
    };
    let facts = [
        ("causes of failure", Some(counted(&cell.causes)).filter(|text| !text.is_empty())),
        ("won by", Some(counted(&cell.won_by)).filter(|text| !text.is_empty())),
        ("would reveal", cell.sensitivity.zip(cell.expected.as_ref()).map(could_have_shown)),
        ("established", cell.established_ms.map(quantiles)),
        ("authenticated", cell.authenticated_ms.map(quantiles)),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Trials that ended alike.
struct TrialGroup<'a> {
    first: &'a TrialDoc,
    numbers: Vec<u32>,
    kept: Vec<(u32, &'a str)>,
}

fn alike(cell: &PunchCell) -> Vec<TrialGroup<'_>> {
    let mut groups: Vec<TrialGroup<'_>> = Vec::new();
    for trial in &cell.each {
        let same = |group: &&mut TrialGroup<'_>| {
            let first = group.first;
            (first.outcome, &first.method, &first.how) == (trial.outcome, &trial.method, &trial.how)
        };
        let kept = trial.artefacts.as_deref().filter(|folder| is_inside(folder)).map(|at| (trial.number, at));
        match groups.iter_mut().find(same) {
            Some(group) => {
                group.numbers.push(trial.number);
                group.kept.extend(kept);
            }
            None => groups.push(TrialGroup {
                first: trial,
                numbers: vec![trial.number],
                kept: kept.into_iter().collect(),
            }),
        }
    }
    groups.sort_by_key(|group| group.first.outcome.weight());
    groups
}

/// The trials of a cell, a line for each way in which they ended.
fn trials(cell: &PunchCell) -> Markup {
    let how = |trial: &TrialDoc| {
        let words: Vec<_> = trial.method.iter().chain(&trial.how).map(|text| harmless(text)).collect();
        words.join(": ")
    };
    html! {
        @if !cell.each.is_empty() {
            ul.trials {
                @for TrialGroup { first, numbers, kept } in alike(cell) {
                    li class=(first.outcome.name()) {
                        strong { (counted(numbers.len(), "trial")) " " (first.outcome.name()) }
                        " " (how(first))
                        @if let Some(detail) = &first.detail { ": " (harmless(detail)) }
                        " " span.quiet { "(" (ranges(&numbers)) ")" }
                        @for (number, folder) in kept.iter().take(LINKED) {
                            " " a href={ (folder) "/" } { "files of trial " (number) }
                        }
                    }
                }
            }
        }
    }
}

/// `1–12, 14` of sorted numbers.
fn ranges(numbers: &[u32]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if number == last.saturating_add(1) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let said = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}–{last}"),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A trial as a sequence diagram.
pub(super) struct SequenceDiagram<'a> {
    title: String,
    svg: &'a str,
    packets: Option<String>,
}

impl<'a> SequenceDiagram<'a> {
    /// The picture of a trial, if it was drawn.
    pub(super) fn of(cell: &PunchCell, trial: &TrialDoc, drawn: &'a DrawnTrials) -> Option<Self> {
        let svg = drawn.of(&cell.id, trial.number)?;
        let why = trial.how.as_deref().map(|how| format!(": {}", harmless(how))).unwrap_or_default();
        let folder = trial.artefacts.as_deref().filter(|folder| is_inside(folder));
        Some(Self {
            title: format!("trial {} {}{why}", trial.number, trial.outcome.name()),
            svg,
            packets: folder.map(|folder| format!("{folder}/{CAPTURE}")),
        })
    }
}

/// Whether something that opens is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    Open,
    Closed,
}

/// A ladder that opens.
pub(super) fn ladder(picture: &SequenceDiagram<'_>, fold: Fold) -> Markup {
    html! {
        details.ladder open[fold == Fold::Open] {
            summary { (picture.title) }
            div.scroll tabindex="0" role="group" aria-label={ "packets of " (picture.title) } {
                (PreEscaped(picture.svg))
            }
            @if let Some(packets) = &picture.packets {
                p.quiet { a href=(packets) { "the packets, for Wireshark" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(&[3, 1, 2, 7, 9, 10]), "1–3, 7, 9, 10");
        assert_eq!(ranges(&[u32::MAX]), u32::MAX.to_string());
    }
}
