//! Cells that are not run, and why: a NAT that does something else than it declares, a program that is not there, too little room.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kernel::limits;
use crate::model::event::ProofResult;
use crate::model::outcome::{Outcome, Trial, TrialLoad};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::{RunError, RunRequest};
use crate::run::seed::TrialSeed;
use crate::run::{capacity, first_words, scripts};

/// Cells that cannot be run, by index, with the reason.
pub(super) type Refused = BTreeMap<usize, NotRun>;

/// Why a cell is not run.
#[derive(Debug, Clone)]
pub(super) enum NotRun {
    /// Something is wrong with the lab: an error.
    Broken(String),
    /// This machine cannot have such a NAT: nothing is wrong.
    Unsupported(String),
}

impl NotRun {
    /// Trials that were not run, for cells that are skipped.
    pub(super) fn trials(&self, request: &RunRequest, cell: &str, asked: u32) -> Vec<Trial> {
        let Self::Unsupported(why) = self else { return Vec::new() };
        let trial = |number| Trial {
            number,
            seed: TrialSeed::new(request.seed, cell, number).number(),
            outcome: Outcome::Skipped(why.clone()),
            took: Duration::ZERO,
            load: TrialLoad::default(),
            artefacts: None,
        };
        (1..=asked).map(trial).collect()
    }

    /// The reason of an error.
    pub(super) fn error(self) -> Option<String> {
        match self {
            Self::Broken(why) => Some(why),
            Self::Unsupported(_) => None,
        }
    }
}

/// Cells whose programs cannot be executed.
pub(super) fn without_program(cells: &[PreparedCell], request: &RunRequest) -> Refused {
    let mut of_parts = BTreeMap::new();
    let mut obstacle = |cell: &PreparedCell| {
        let folder = request.suite.folder.as_deref();
        let program = &cell.part.program;
        let found = || {
            let first = first_words::obstacle(program, Some(&request.puncher));
            first.or_else(|| scripts::obstacle(program, folder))
        };
        of_parts.entry(cell.cell.part.number).or_insert_with(found).clone()
    };
    let broken = |(at, cell)| Some((at, NotRun::Broken(obstacle(cell)?)));
    cells.iter().enumerate().filter_map(broken).collect()
}

/// Cells whose programs may not have what their budget promises, or whose NATs could not remember what it allows.
pub(super) fn short_of_room(cells: &[PreparedCell], request: &RunRequest) -> Result<Refused, RunError> {
    let ceilings = limits::ceilings()?;
    let why = |cell: &PreparedCell| {
        capacity::shortage_of_programs(cell, &ceilings)
            .or_else(|| capacity::shortage_of_sets(&cell.part, &cell.cell, &request.catalogue))
    };
    let short = |(at, cell)| Some((at, NotRun::Broken(why(cell)?)));
    Ok(cells.iter().enumerate().filter_map(short).collect())
}

/// The first difference between what a NAT declares and what it does.
pub(super) fn why_not(proof: &ProofResult) -> NotRun {
    if let Some(why) = &proof.unsupported {
        return NotRun::Unsupported(format!("this machine cannot have the NAT \"{}\": {why}", proof.nat));
    }
    let differs = proof.rows.iter().find(|row| !row.agrees);
    NotRun::Broken(match (&proof.error, differs) {
        (Some(error), _) => format!("NAT \"{}\" could not be proved: {error}", proof.nat),
        (None, Some(row)) => format!(
            "NAT \"{}\" does not behave as declared, so the cell was not run: expected {}: {}; observed: {}",
            proof.nat, row.axis, row.expected, row.observed
        ),
        (None, None) => String::new(),
    })
}
