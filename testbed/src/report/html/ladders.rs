//! Which kept trials the page draws: of each cell the first of each cause, and one that passed, as long as the page stays
//! of a size that a phone can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::kernel::user_file;
use crate::report::artefacts::LADDER;
use crate::report::kept;
use crate::report::ladder::{Ladder, svg};
use crate::report::results::{PunchCell, Results, TrialDoc, VerdictDoc};

/// Ladders of one cell, and bytes of those of the whole page.
const OF_CELL: usize = 3;
const OF_PAGE: usize = 1_200_000;

/// Trials that are drawn, by cell and number.
#[derive(Debug, Default)]
pub(super) struct DrawnTrials(BTreeMap<(String, u32), String>);

impl DrawnTrials {
    /// Reads what was kept below the folder of a run; what cannot be read is not drawn.
    pub(super) fn read(results: &Results, run: Option<&Path>) -> Self {
        let Some(run) = run else { return Self::default() };
        let mut cells: Vec<&PunchCell> = results.punches().collect();
        // Those that somebody will ask about come first.
        cells.sort_by_key(|cell| !matches!(cell.verdict, VerdictDoc::Differs | VerdictDoc::Error));
        let chosen =
            cells.iter().flat_map(|cell| chosen(cell).into_iter().map(|trial| (cell.id.clone(), trial)));
        let picture = |(cell, trial): (String, &TrialDoc)| {
            let folder = kept::inside(run, trial.artefacts.as_deref()?)?;
            let text = user_file::read(&folder.join(LADDER)).ok()?;
            Some(((cell, trial.number), svg::text(&Ladder::from_json(&text).ok()?)))
        };
        let mut bytes = 0;
        let fits = |(_, svg): &((String, u32), String)| {
            bytes += svg.len();
            bytes <= OF_PAGE
        };
        Self(chosen.filter_map(picture).take_while(fits).collect())
    }

    /// The picture of a trial, if there is one.
    pub(super) fn of(&self, cell: &str, trial: u32) -> Option<&String> {
        self.0.get(&(cell.to_owned(), trial))
    }
}

/// The first kept trial of each way in which trials of a cell ended.
fn chosen(cell: &PunchCell) -> Vec<&TrialDoc> {
    let mut seen = BTreeSet::new();
    let kept = cell.each.iter().filter(|trial| trial.artefacts.is_some());
    kept.filter(|trial| seen.insert((trial.outcome.name(), trial.how.clone()))).take(OF_CELL).collect()
}
