//! NATs that forget everything at regular intervals: some that do as they declare, and some that do something else.

use std::time::Duration;

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{Behavior, Timeouts};
use testbed::model::outcome::Outcome;
use testbed::probe::prove::{Depth, Subject, site};

use super::absolute_timeouts::{kinds, outcomes};
use super::lab_is_possible;
use super::nat_proof::{names, prove_all, table};

/// The same NAT, which forgets everything every so many seconds, or never.
fn flushed(behavior: Behavior, seconds: Option<u64>) -> Behavior {
    let timeouts = Timeouts { flush_every: seconds.map(Duration::from_secs), ..behavior.timeouts };
    Behavior { timeouts, ..behavior }
}

/// Each with an absolute timeout as well, or without one.
fn with_and_without_absolute(behavior: Behavior) -> [Behavior; 2] {
    let timeouts = Timeouts { absolute: Some(Duration::from_secs(60)), ..behavior.timeouts };
    [behavior, Behavior { timeouts, ..behavior }]
}

#[test]
fn nats_that_forget_everything_at_any_interval_do_what_they_declare() {
    if !lab_is_possible() {
        return;
    }
    let intervals = [1, 10, 2_000_000];
    let all = kinds().into_iter().flat_map(|kind| intervals.map(|seconds| flushed(kind, Some(seconds))));
    let one_place = Behavior { quota: Some(1), ..Behavior::port_preserving() };
    let all = all.flat_map(with_and_without_absolute).chain([flushed(one_place, Some(10))]);
    let subjects = all.map(|declared| Subject::generated(format!("{declared:?}"), &declared)).collect();
    for result in prove_all(subjects, Depth::Full) {
        assert!(result.holds(), "{}", table(&result));
        assert!(result.rows.iter().any(|row| row.axis == "flush"), "{}", table(&result));
    }
}

#[test]
fn a_wrong_interval_is_found_by_the_quick_proof() {
    if !lab_is_possible() {
        return;
    }
    let lies = [(None, Some(10)), (Some(10), None), (Some(10), Some(11)), (Some(86_400), Some(86_000))];
    let lie = |kind, (declares, does)| Subject {
        name: format!("declares {declares:?}, does {does:?}: {kind:?}"),
        declared: flushed(kind, declares),
        config: render(&flushed(kind, does), &site()),
    };
    let subjects = kinds().into_iter().flat_map(|kind| lies.map(|both| lie(kind, both))).collect();
    for result in prove_all(subjects, Depth::Quick) {
        assert!(names(&result, NatAxis::Timeouts), "{}", table(&result));
    }
}

#[test]
fn a_nat_that_forgets_otherwise_than_it_declares_is_contradicted_by_a_trial() {
    if !lab_is_possible() {
        return;
    }
    for (declares, does, what) in [
        ("flushed-often", "port-preserving", "it forgot nothing for "),
        ("flushed-often", "flushed-seldom", "it forgot nothing for "),
        ("flushed-seldom", "flushed-often", "it forgot everything again after 1."),
        ("port-preserving", "flushed-often", "before its time"),
    ] {
        for outcome in outcomes(declares, does) {
            let Outcome::Error(failure) = &outcome else {
                panic!("{declares} that is {does}: {outcome:?}");
            };
            let axis = "does not do what it declares (timeouts;";
            assert!(failure.detail.contains(axis) && failure.detail.contains(what), "{failure}");
        }
    }
    for honest in ["flushed-often", "flushed-seldom"] {
        for outcome in outcomes(honest, honest) {
            assert!(!matches!(outcome, Outcome::Error(_)), "{honest}: {outcome:?}");
        }
    }
}
