//! What needs attention: everything that is not as expected, the worst first, each with its cause and a ladder.

use std::path::Path;

use maud::{Markup, html};

use crate::report::deviation::Deviation;
use crate::report::escape::{harmless, harmless_lines};
use crate::report::html::cells::{self, SequenceDiagram};
use crate::report::html::ladders::DrawnTrials;
use crate::report::html::{anchor, class, link_to};
use crate::report::plural::counted;
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
                    Deviation::Proof(proof) => (of_nat(proof)),
                    Deviation::Kernel(check) => (of_kernel(check)),
                    Deviation::Cells { verdict, cause, cells } => (of_cells(*verdict, cause, cells, (drawn, run))),
                }
            }
            @if hidden > 0 { p.quiet { "and " (counted(hidden, "kind")) " more, in the list of cells" } }
        }
    }
}

fn of_nat(proof: &ProofCell) -> Markup {
    let wrong = proof.rows.iter().filter(|row| !row.agrees);
    html! {
        article class={ "problem " (class(proof.verdict)) } {
            h3 {
                span class={ "badge " (class(proof.verdict)) } { (proof.verdict.words()) } " NAT "
                a href={ "#nat-" (anchor(&proof.nat)) } { (harmless(&proof.nat)) }
            }
            @if !proof.note.is_empty() { p.lines { (harmless_lines(&proof.note)) } }
            dl { @for row in wrong {
                dt { "expected " (harmless(&row.axis)) } dd { (harmless(&row.expected)) }
                dt { "observed" } dd { (harmless(&row.observed)) }
            } }
        }
    }
}

fn of_kernel(check: &KernelCell) -> Markup {
    html! {
        article class={ "problem " (class(check.verdict)) } {
            h3 { span class={ "badge " (class(check.verdict)) } { (check.verdict.words()) } " " (harmless(&check.id)) }
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
        article class={ "problem " (class(verdict)) } {
            h3 {
                span class={ "badge " (class(verdict)) } { (cells.len()) " " (verdict.words_of(cells.len())) } " "
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
            @if !others.is_empty() {
                details.others open[others.len() <= FEW] {
                    summary { (counted(others.len(), "more cell")) " of this kind" }
                    p {
                        @for cell in others.iter().take(LINKED) {
                            a href=(link_to(&cell.id)) { (harmless(&cell.id)) } " "
                        }
                        @if others.len() > LINKED { span.quiet { "and " (others.len() - LINKED) " more" } }
                    }
                }
            }
        }
    }
}

/// What came of a cell, and why that is not as expected.
fn sentence(cell: &PunchCell) -> String {
    let count = format!("{} of {}", cell.passed, cell.trials);
    let note = harmless_lines(&cell.note);
    match note.is_empty() || note.contains(&count) {
        true => note.into_owned(),
        false => format!("{count} passed. {note}"),
    }
}

/// The trial that shows best what went wrong: one that can be drawn, errors before failures.
fn example_trial<'a>(cell: &'a PunchCell, drawn: &DrawnTrials) -> Option<&'a TrialDoc> {
    let is_red = matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error);
    let bad = cell.each.iter().filter(|trial| is_red && trial.outcome != OutcomeDoc::Passed);
    bad.min_by_key(|trial| (cells::outcome_weight(trial.outcome), drawn.of(&cell.id, trial.number).is_none()))
}
