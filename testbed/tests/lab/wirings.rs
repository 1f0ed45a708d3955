//! Punching over every wiring that comes with testbed: what came of it, and how.

use testbed::model::outcome::{CellResult, How, Outcome, Verdict};

use crate::lab::lab_is_possible;
use crate::lab::run::{cells_of, parsed, puncher};

/// How the one trial of a cell was won; `None` if it was lost.
fn won(cell: &CellResult) -> Option<How> {
    let Some(trial) = cell.trials.first() else {
        panic!("{}: {}; repeated: {:?}", cell.cell.id, cell.note, cell.void);
    };
    match &trial.outcome {
        Outcome::Passed(success) => Some(success.how),
        Outcome::Failed(_) => None,
        other => panic!("{}: {other:?}", cell.cell.id),
    }
}

/// Cells that cannot pass: nothing turns their packets round, or a port is drawn that nobody can know.
const LOST: &[&str] = &[
    "same-nat/port-preserving/hairpin",
    "lan/port-preserving/hairpin",
    "layers/port-preserving/port-block/hash-eim/hash-symmetric/simultaneous-open",
    "same-cgn/port-preserving/sequential/port-block/simultaneous-open",
];

#[test]
fn every_wiring_does_what_theory_says() {
    if !lab_is_possible() {
        return;
    }
    let suite = parsed("wirings.toml", include_str!("../suites/wirings.toml"));
    let wanted = suite.cells().len();
    let cells = cells_of(suite, puncher());
    assert_eq!(cells.len(), wanted);
    for cell in &cells {
        let id = cell.cell.id.as_str();
        let expected = cell.expected.as_ref().unwrap_or_else(|| panic!("{id}: theory knows it"));
        assert_eq!(expected.probability > 0.5, !LOST.contains(&id), "{id}: {}", expected.because);
        // A lucky guess among a thousand ports is in order, and one trial cannot decide against it.
        let certain = [0.0, 1.0].contains(&expected.probability);
        assert!(!certain || won(cell).is_some() != LOST.contains(&id), "{id}: {:?}", cell.trials[0].outcome);
        assert!(matches!(cell.verdict, Verdict::AsExpected | Verdict::Undecided), "{id}: {}", cell.note);
    }
    let how = |id: &str| won(cells.iter().find(|cell| cell.cell.id == id).expect("it was run"));
    assert_eq!(
        how("order/port-preserving/sequential/simultaneous-open/order=crossing"),
        Some(How::SynsCrossed)
    );
    assert_eq!(how("skew/port-preserving/sequential/simultaneous-open/skew=600ms"), Some(How::BLate));
    assert_eq!(how("skew/port-preserving/sequential/simultaneous-open/skew=-600ms"), Some(How::ALate));
    assert_eq!(how("public/none/random/simultaneous-open"), Some(How::Accepted));
}
