//! What needs attention: everything that is not as expected, the worst first, each with its cause and a ladder.

use std::path::Path;

use maud::{Markup, html};

use crate::model::plural::counted;
use crate::report::deviation::Deviation;
use crate::report::escape::{harmless, harmless_lines};
use crate::report::html::cells::{self, SequenceDiagram};
use crate::report::html::ladders::DrawnTrials;
use crate::report::html::{anchor, link_to};
use crate::report::results::{KernelCell, OutcomeDoc, ProofCell, PunchCell, TrialDoc, VerdictDoc};
use crate::report::stderr_tail;

/// Groups that are shown with all they have, and cells of a group that are linked.
const SHOWN: usize = 24;
const LINKED: usize = 60;

/// So few links are shown at once.
const FEW: usize = 6;

/// The section.
pub(super) fn section(problems: &[Deviation<'_>], drawn: &DrawnTrials, run: Option<&Path>) -> Markup {
    let hidden = problems.len().saturating_sub(SHOWN);
    html! {
        section id="attention" {
            h2 { "Needs attention" }
            @for problem in problems.iter().take(SHOWN) {
                @match problem {
                    Deviation::Proof { proof, cells } => (of_nat(proof, cells)),
                    Deviation::Kernel(check) => (of_kernel(check)),
                    Deviation::Cells { verdict, cause, cells } => (of_cells(*verdict, cause, cells, (drawn, run))),
                }
            }
            @if hidden > 0 { p.quiet { "and " (counted(hidden, "kind")) " more, in the list of cells" } }
        }
    }
}

fn of_nat(proof: &ProofCell, cells: &[&PunchCell]) -> Markup {
    let wrong = proof.rows.iter().filter(|row| !row.agrees);
    html! {
        article class={ "problem " (proof.verdict.class()) } {
            h3 {
                span class={ "badge " (proof.verdict.class()) } { (proof.verdict.words()) } " NAT "
                a href={ "#nat-" (anchor(&proof.nat)) } { (harmless(&proof.nat)) }
            }
            @if wrong.clone().next().is_none() { p.lines { (harmless_lines(&proof.note)) } }
            dl { @for row in wrong {
                dt { "expected " (harmless(&row.axis)) } dd { (harmless(&row.expected)) }
                dt { "observed" } dd { (harmless(&row.observed)) }
            } }
            (linked(cells, &format!("{} not run", counted(cells.len(), "cell"))))
        }
    }
}

/// Links to cells, as something that opens; nothing where there are none.
fn linked(cells: &[&PunchCell], title: &str) -> Markup {
    html! {
        @if !cells.is_empty() {
            details.others open[cells.len() <= FEW] {
                summary { (title) }
                p {
                    @for cell in cells.iter().take(LINKED) {
                        a href=(link_to(&cell.id)) { (harmless(&cell.id)) } " "
                    }
                    @if cells.len() > LINKED { span.quiet { "and " (cells.len() - LINKED) " more" } }
                }
            }
        }
    }
}

fn of_kernel(check: &KernelCell) -> Markup {
    html! {
        article class={ "problem " (check.verdict.class()) } {
            h3 { span class={ "badge " (check.verdict.class()) } { (check.verdict.words()) } " " (harmless(&check.id)) }
            p.lines { (harmless_lines(&check.note)) }
            dl {
                dt { "asked" } dd { (harmless(&check.asks)) }
                dt { "sent" } dd { (harmless(&check.packets)) }
            }
        }
    }
}

fn of_cells(
    verdict: VerdictDoc,
    cause: &str,
    cells: &[&PunchCell],
    (drawn, run): (&DrawnTrials, Option<&Path>),
) -> Markup {
    let example = cells[0];
    let trial = example_trial(example, drawn);
    let said = run.zip(trial).map(|(run, trial)| stderr_tail::of_trial(run, trial)).unwrap_or_default();
    let others = &cells[1..];
    html! {
        article class={ "problem " (verdict.class()) } {
            h3 {
                span class={ "badge " (verdict.class()) } { (cells.len()) " " (verdict.words_of(cells.len())) } " "
                @if cause.is_empty() { a href=(link_to(&example.id)) { (harmless(&example.id)) } }
                @else { (harmless(cause)) }
            }
            @if !cause.is_empty() { p { a href=(link_to(&example.id)) { (harmless(&example.id)) } } }
            p.lines { (sentence(example)) }
            @if let Some(detail) = trial.and_then(|trial| trial.detail.as_deref()).filter(|d| !example.note.contains(d)) {
                p { (harmless(detail)) }
            }
            @for words in &said {
                p.said {
                    (harmless(&words.program)) " said: "
                    @for line in &words.lines { code { (harmless(line)) } " " }
                }
            }
            @if let Some(picture) = trial.and_then(|trial| SequenceDiagram::of(example, trial, drawn)) {
                (cells::ladder(&picture, cells::Fold::Open))
            }
            (linked(others, &format!("{} of this kind", counted(others.len(), "more cell"))))
        }
    }
}

/// What came of a cell, and why that is not as expected.
fn sentence(cell: &PunchCell) -> String {
    let count = format!("{} of {}", cell.passed, cell.trials);
    let note = harmless_lines(&cell.note);
    match note.is_empty() || note.contains(&count) {
        true => note.into_owned(),
        false => format!("{count} passed; {note}"),
    }
}

/// The trial that shows best what went wrong: one that can be drawn, errors before failures.
fn example_trial<'a>(cell: &'a PunchCell, drawn: &DrawnTrials) -> Option<&'a TrialDoc> {
    let has_cause =
        matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error | VerdictDoc::NoExpectation);
    let bad = cell.each.iter().filter(|trial| has_cause && trial.outcome != OutcomeDoc::Passed);
    bad.min_by_key(|trial| (trial.outcome.weight(), drawn.of(&cell.id, trial.number).is_none()))
}
