//! Simulated runs: trials drawn at a known rate, to count how often a test is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{FinishedCell, Standard, TestDesign, conclude};
use crate::model::outcome::{
    Cause, Expectation, How, NoExpectation, Outcome, Success, Trial, TrialLoad, Verdict,
};
use crate::model::statistics::{at_least, at_most};
use crate::model::suite::{Cell, SectionRef};

/// This many trials that passed, then this many that failed.
pub(super) fn trials(passed: u32, failed: u32) -> Vec<Trial> {
    let success = Success {
        method: "auto".to_owned(),
        how: How::SynsCrossed,
        established: Duration::from_millis(20),
        authenticated: Duration::from_millis(30),
    };
    let trial = |number: u32| Trial {
        number,
        seed: 0,
        outcome: match number <= passed {
            true => Outcome::Passed(success.clone()),
            false => Outcome::Failed(Cause::Filtered.because("closed")),
        },
        took: Duration::from_millis(50),
        load: TrialLoad::default(),
        artefacts: None,
    };
    (1..=passed + failed).map(trial).collect()
}

/// Why theory says nothing.
pub(super) fn unknown() -> NoExpectation {
    NoExpectation { because: "theory does not know this method".to_owned() }
}

/// A cell with these trials, of which theory says nothing.
pub(super) fn cell(trials: Vec<Trial>) -> FinishedCell {
    let part = SectionRef { number: 0, name: String::new(), topology: "pair".to_owned() };
    FinishedCell {
        cell: Cell { index: 0, part, values: BTreeMap::new(), id: "a/b/m".to_owned() },
        asked: u32::try_from(trials.len()).expect("few"),
        trials,
        void: Vec::new(),
        group: String::new(),
        expected: Err(unknown()),
        trip: Duration::from_millis(10),
        refused: None,
    }
}

/// Runs that are simulated, and the error rate that they are judged at: so high that false alarms occur.
const RUNS: u64 = 1000;
const FALSE_ALARMS: f64 = 1e-2;

/// The cells of each run: theory's rate, and trials.
const CELLS: [(f64, u32); 8] =
    [(1.0, 20), (0.0, 20), (0.5, 40), (0.26, 20), (0.9, 60), (0.016, 100), (0.97, 24), (0.5, 200)];

/// In 1,000 runs in which theory is right everywhere, as many report a difference as the sizes of the tests add up to.
#[test]
fn false_alarms_are_as_rare_as_computed() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let standard = Standard { cells: CELLS.len(), testing: TestDesign::Fixed, false_alarms: FALSE_ALARMS };
    let (mut alarms, mut sizes) = (0, 0.0);
    for _ in 0..RUNS {
        let mut alarm = false;
        sizes = 0.0;
        for (rate, tried) in CELLS {
            let passed = (0..tried).filter(|_| random.random::<f64>() < rate).count() as u32;
            let expected = Ok(Expectation::exactly(rate, ""));
            let result =
                conclude(FinishedCell { expected, ..cell(trials(passed, tried - passed)) }, standard);
            sizes += result.sensitivity.expect("theory knows it").false_alarm;
            alarm |= result.verdict == Verdict::Differs;
        }
        alarms += u64::from(alarm);
    }
    assert!(sizes <= FALSE_ALARMS && sizes > FALSE_ALARMS / 5.0, "{sizes}");
    // The sum of the sizes is the rate of alarms but for runs with two, which are rarer than one in 10,000.
    assert!(at_least(RUNS, sizes, alarms) > 1e-6, "{alarms} of {RUNS}, computed {sizes}");
    assert!(at_most(RUNS, sizes, alarms) > 1e-6, "{alarms} of {RUNS}, computed {sizes}");
}

/// Where theory is wrong by what the verdict names as the smallest change, nine runs in ten see it.
#[test]
fn the_smallest_change_is_seen_nine_times_in_ten() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let standard = Standard::of_run(8, TestDesign::Fixed);
    let (expected, tried) = (Ok(Expectation::exactly(0.5, "")), 60);
    let judged = |passed: u32| {
        let finished = FinishedCell { expected: expected.clone(), ..cell(trials(passed, tried - passed)) };
        conclude(finished, standard)
    };
    let rate = judged(30).sensitivity.and_then(|seen| seen.fall_to).expect("a fall is seen");
    let mut seen = 0;
    for _ in 0..RUNS {
        let passed = (0..tried).filter(|_| random.random::<f64>() < rate).count() as u32;
        seen += u64::from(judged(passed).verdict == Verdict::Differs);
    }
    assert!(at_most(RUNS, 0.9, seen).min(at_least(RUNS, 0.9, seen)) > 1e-6, "{seen} of {RUNS} at {rate}");
}
