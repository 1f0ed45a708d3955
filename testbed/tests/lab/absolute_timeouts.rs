//! Connections that end however busy they are: NATs that do as they declare, and some that do something else.

use std::time::Duration;

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{Allocation, Behavior, Filtering, Mapping, Overloading, Timeouts};
use testbed::model::catalogue::Catalogue;
use testbed::model::event::{Event, RunEnd};
use testbed::model::outcome::{Cause, Outcome};
use testbed::probe::prove::{Depth, Subject, site};
use testbed::run::{Cancel, Mutation, RunRequest, run};

use super::causes::{MET, acted, program};
use super::lab_is_possible;
use super::nat_proof::{names, prove_all, table};
use super::run::{puncher, request};

/// The name of the row about busy connections.
const ROW: &str = "absolute timeout";

/// The same NAT with an absolute timeout of so many seconds, or with none.
fn limited(behavior: Behavior, seconds: Option<u64>) -> Behavior {
    let timeouts = Timeouts { absolute: seconds.map(Duration::from_secs), ..behavior.timeouts };
    Behavior { timeouts, ..behavior }
}

/// NATs that remember mappings in different ways.
pub(crate) fn kinds() -> [Behavior; 4] {
    let plain = Behavior::port_preserving();
    let draws = Behavior { allocation: Allocation::Random, ..plain };
    [
        plain,
        Behavior { mapping: Mapping::AddressAndPortDependent, ..draws },
        Behavior { filtering: Filtering::EndpointIndependent, overloading: Overloading::Off, ..draws },
        Behavior::firewall(),
    ]
}

#[test]
fn nats_with_an_absolute_timeout_of_any_length_do_what_they_declare() {
    if !lab_is_possible() {
        return;
    }
    let lengths = [1, 60, 86_400, 2_000_000];
    let all = kinds().into_iter().flat_map(|kind| lengths.map(|seconds| limited(kind, Some(seconds))));
    let subjects = all.map(|declared| Subject::generated(format!("{declared:?}"), &declared)).collect();
    for result in prove_all(subjects, Depth::Full) {
        assert!(result.holds(), "{}", table(&result));
        assert!(result.rows.iter().any(|row| row.axis == ROW), "{}", table(&result));
    }
}

#[test]
fn a_wrong_absolute_timeout_is_found_by_the_quick_proof() {
    if !lab_is_possible() {
        return;
    }
    let lies = [(None, Some(60)), (Some(60), None), (Some(60), Some(62)), (Some(86_400), Some(86_000))];
    let lie = |kind, (declares, does)| Subject {
        name: format!("declares {declares:?}, does {does:?}: {kind:?}"),
        declared: limited(kind, declares),
        config: render(&limited(kind, does), &site()),
    };
    let subjects = kinds().into_iter().flat_map(|kind| lies.map(|both| lie(kind, both))).collect();
    for result in prove_all(subjects, Depth::Quick) {
        assert!(names(&result, NatAxis::Timeouts), "{}", table(&result));
    }
}

/// A program that forgets everything every three seconds, under rules that declare nothing of the kind.
#[test]
fn a_program_that_ends_busy_connections_is_found_by_the_full_proof() {
    if !lab_is_possible() {
        return;
    }
    let text = format!(
        "[nat.forgetful]\nsummary = \"forgets\"\ncommand = [\"/usr/bin/python3\", \"{}\"]\n",
        program("forgetful_nat.py")
    );
    let file = program("nats.toml");
    let catalogue = Catalogue::parse(&text, &file).unwrap_or_else(|problems| panic!("{problems:?}"));
    let profile = catalogue.get("forgetful").expect("it is there");
    let subject = Subject::of(profile).expect("no file is read");
    for result in prove_all(vec![subject.clone()], Depth::Quick) {
        assert!(result.holds(), "{}", table(&result));
    }
    for result in prove_all(vec![subject], Depth::Full) {
        let row =
            result.rows.iter().find(|row| row.axis == ROW).unwrap_or_else(|| panic!("{}", table(&result)));
        assert!(!row.agrees && row.observed.contains("ended within"), "{}", table(&result));
    }
}

/// What came of trials in which a connection of a's stands for longer than two seconds; its NAT declares `declares` and does what
/// `does` declares.
pub(crate) fn outcomes(declares: &str, does: &str) -> Vec<Outcome> {
    let script = "dial server=31000; at 3700; fail";
    let (suite, catalogue) = acted([declares, "port-preserving"], [script, script], MET);
    let node = testbed::NodeName::new("nat-a").expect("a good name");
    let mutation = (declares != does).then(|| Mutation { node, rules_of: does.to_owned() });
    let cells = suite.cells();
    let request = RunRequest { cells, catalogue, mutation, ..request(suite, puncher()) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let (mut outcomes, mut notes) = (Vec::new(), Vec::new());
    let (_stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| match event {
        Event::TrialFinished { trial, .. } => outcomes.push(trial.outcome),
        Event::CellFinished(cell) => notes.push(cell.note),
        _ => {}
    }));
    assert_eq!(ending.expect("a run"), RunEnd::Complete);
    assert!(!outcomes.is_empty(), "no trial ran: {notes:?}");
    outcomes.retain(
        |outcome| !matches!(outcome, Outcome::Error(failure) if failure.cause == Cause::MachineTooSlow),
    );
    outcomes
}

#[test]
fn a_nat_that_ends_connections_otherwise_than_it_declares_is_contradicted_by_a_trial() {
    if !lab_is_possible() {
        return;
    }
    for (declares, does, what) in [
        ("two-seconds", "port-preserving", "had to end before it was 3."),
        ("port-preserving", "two-seconds", "was forgotten 2."),
        ("absolute-timeout", "two-seconds", "was forgotten 2."),
    ] {
        for outcome in outcomes(declares, does) {
            let Outcome::Error(failure) = &outcome else {
                panic!("{declares} that is {does}: {outcome:?}");
            };
            let axis = "does not do what it declares (timeouts;";
            assert!(failure.detail.contains(axis) && failure.detail.contains(what), "{failure}");
        }
    }
    // The kernel tells of the end of an idle connection only when something looks for its entry.
    for honest in ["two-seconds", "one-idle-second", "absolute-timeout", "port-preserving"] {
        for outcome in outcomes(honest, honest) {
            assert!(!matches!(outcome, Outcome::Error(_)), "{honest}: {outcome:?}");
        }
    }
}
