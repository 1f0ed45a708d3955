//! The proof finds that every NAT does what it declares, and names the axis of one that does not.

use testbed::model::catalogue::Catalogue;
use testbed::model::event::ProofResult;
use testbed::run::prove::{Depth, Subject, prove};

use super::covering::covering_sample;
use super::lab_is_possible;

fn proved(subject: Subject, depth: Depth) -> ProofResult {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(prove(subject, depth))
}

/// The proof as a table, for a test that fails.
fn table(result: &ProofResult) -> String {
    let mut text = format!("{} took {:?} {:?}\n", result.nat, result.took, result.error);
    for row in &result.rows {
        let mark = if row.agrees { ' ' } else { '!' };
        text += &format!("{mark} {:<20} {:<36} {}\n", row.axis, row.expected, row.observed);
    }
    text
}

#[test]
fn every_profile_of_the_catalogue_does_what_it_declares() {
    if !lab_is_possible() {
        return;
    }
    for profile in Catalogue::embedded().profiles() {
        let subject = Subject::generated(&profile.name, &profile.behavior);
        let result = proved(subject, Depth::Full);
        assert!(result.holds(), "{}", table(&result));
    }
}

#[test]
fn every_two_behaviours_that_go_together_do_what_they_declare() {
    if !lab_is_possible() {
        return;
    }
    let mut wrong = Vec::new();
    for (number, behavior) in covering_sample().iter().enumerate() {
        let result = proved(Subject::generated(format!("sample {number}"), behavior), Depth::Full);
        if !result.holds() {
            wrong.push(format!("{}{behavior:?}\n", table(&result)));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
