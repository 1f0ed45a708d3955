//! How a success came about: provoked as the causes are.

use testbed::model::cause::How;
use testbed::model::outcome::Outcome;

use super::{Kept, act, all_are_proved, repeats, suite, trials};
use crate::lab::lab_is_possible;

const PLAIN: [&str; 2] = ["port-preserving", "port-preserving"];

#[track_caller]
fn all_came_about(kept: &[Kept], wanted: impl Fn(How) -> bool) {
    for Kept { trial, .. } in kept {
        let Outcome::Passed(success) = &trial.outcome else { panic!("{:?}", trial.outcome) };
        assert!(wanted(success.how), "{}", success.how);
    }
    all_are_proved(kept);
}

/// Both dial while the other's SYN takes a trip of 600 ms.
#[test]
fn syns_crossed() {
    if lab_is_possible() {
        let kept = act(PLAIN, ["dial; talk"; 2], "delay = [\"300ms\"]\n");
        all_came_about(&kept, |how| how == How::SynsCrossed);
    }
}

#[test]
fn one_side_late() {
    if lab_is_possible() {
        all_came_about(&act(PLAIN, ["dial; talk", "at 800; dial; talk"], ""), |how| how == How::BLate);
        all_came_about(&act(PLAIN, ["at 800; dial; talk", "dial; talk"], ""), |how| how == How::ALate);
    }
}

/// b opens a mapping for everybody and listens behind it.
#[test]
fn accepted_by_a_listener() {
    if lab_is_possible() {
        let b = "listen; dial server=13; talk";
        let kept = act(["port-preserving", "full-cone"], ["at 500; dial; talk", b], "");
        all_came_about(&kept, |how| how == How::Accepted);
    }
}

#[test]
fn through_a_hole_by_a_low_ttl() {
    if lab_is_possible() {
        let kept = trials(suite(["reset", "reset"], repeats(), "[axes]\nmethod = [\"low-ttl\"]\n"));
        all_came_about(&kept, |how| matches!(how, How::HoleByA | How::HoleByB));
    }
}

#[test]
fn by_spraying() {
    if lab_is_possible() {
        let kept =
            trials(suite(["random-range", "port-preserving"], repeats(), "[axes]\nmethod = [\"spray\"]\n"));
        all_came_about(&kept, |how| match how {
            How::Sprayed { a: (a, of_a), b: (b, of_b) } => {
                (1..=of_a).contains(&a) && (1..=of_b).contains(&b) && of_a.max(of_b) >= 16
            }
            _ => false,
        });
    }
}
