//! Which kept trials the page draws: of each cell the first of each cause, and one that passed, as long as the page stays
//! of a size that a phone can hold. Cells that somebody will ask about come first; the page says of the others how to see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::kernel::user_file;
use crate::report::artefacts::LADDER;
use crate::report::deviation::weight;
use crate::report::kept;
use crate::report::ladder::{Ladder, svg};
use crate::report::results::{OutcomeDoc, PunchCell, Results, TrialDoc};

/// Ladders of one cell, and bytes of those of the whole page.
const OF_CELL: usize = 3;
const OF_PAGE: usize = 1_200_000;

/// No drawing of a trial is smaller.
const SMALLEST: usize = 1_000;

/// Bytes of the page around a drawing: its title and the link to its packets.
const AROUND: usize = 500;

/// Trials that are drawn, by cell and number.
#[derive(Debug, Default)]
pub(super) struct DrawnTrials {
    pictures: BTreeMap<(String, u32), String>,
    /// Cells of which a drawing is left out.
    left_out: BTreeSet<String>,
}

impl DrawnTrials {
    /// Reads what was kept below the folder of a run, as much as fits into so many bytes of the page; what cannot be read is not
    /// drawn.
    pub(super) fn read(results: &Results, run: Option<&Path>, room: usize) -> Self {
        let mut drawn = Self::default();
        let Some(run) = run else { return drawn };
        let mut rest = room.min(OF_PAGE);
        for (cell, trial) in most_wanted(results) {
            let Some(file) = ladder_of(run, trial) else { continue };
            if rest < SMALLEST {
                drawn.left_out.extend(file.exists().then(|| cell.id.clone()));
                continue;
            }
            let ladder = user_file::read(&file).ok().and_then(|text| Ladder::from_json(&text).ok());
            let Some(picture) = ladder.map(|ladder| svg::text(&ladder)) else { continue };
            match rest.checked_sub(picture.len() + AROUND) {
                Some(left) => {
                    rest = left;
                    drawn.pictures.insert((cell.id.clone(), trial.number), picture);
                }
                None => drop(drawn.left_out.insert(cell.id.clone())),
            }
        }
        drawn
    }

    /// Whether nothing is left out.
    pub(super) fn are_all(&self) -> bool {
        self.left_out.is_empty()
    }

    /// The picture of a trial, if there is one.
    pub(super) fn of(&self, cell: &str, trial: u32) -> Option<&String> {
        self.pictures.get(&(cell.to_owned(), trial))
    }

    /// Whether something of this cell could be drawn and is left out.
    pub(super) fn leaves_out(&self, cell: &str) -> bool {
        self.left_out.contains(cell)
    }
}

/// The trials that are worth a drawing: the worst cells first, and of cells with the same verdict what did not pass first; among
/// these the first of every cell before the second of any.
fn most_wanted(results: &Results) -> Vec<(&PunchCell, &TrialDoc)> {
    let of_cell = |cell| chosen(cell).into_iter().enumerate().map(move |(place, trial)| (cell, place, trial));
    let mut all: Vec<(&PunchCell, usize, &TrialDoc)> = results.punches().flat_map(of_cell).collect();
    let has_passed = |trial: &TrialDoc| trial.outcome == OutcomeDoc::Passed;
    all.sort_by_key(|(cell, place, trial)| (weight(cell.verdict), has_passed(trial), *place));
    all.into_iter().map(|(cell, _, trial)| (cell, trial)).collect()
}

/// The first kept trial of each way in which trials of a cell ended, the worst first.
fn chosen(cell: &PunchCell) -> Vec<&TrialDoc> {
    let mut seen = BTreeSet::new();
    let kept = cell.each.iter().filter(|trial| trial.artefacts.is_some());
    let mut chosen: Vec<_> =
        kept.filter(|trial| seen.insert((trial.outcome.name(), trial.how.clone()))).collect();
    chosen.sort_by_key(|trial| trial.outcome.weight());
    chosen.truncate(OF_CELL);
    chosen
}

/// Where the ladder of a trial is kept.
fn ladder_of(run: &Path, trial: &TrialDoc) -> Option<std::path::PathBuf> {
    Some(kept::inside(run, trial.artefacts.as_deref()?)?.join(LADDER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html;
    use crate::report::ladder::{Lane, Leg, LegEnd, SCHEMA, Step, StepKind, Tone};
    use crate::report::results::{CellDoc, VerdictDoc};
    use crate::report::sample::results;

    const CELLS: usize = 1_500;
    const FAILING: usize = 12;

    /// A ladder of as many steps as a usual trial has.
    fn ladder() -> String {
        let leg = |from, to| Leg { from, to, ports: "37912→19440".to_owned() };
        let what = StepKind::Packet {
            tone: Tone::Syn,
            text: "SYN".to_owned(),
            legs: vec![leg(0, 1), leg(1, 2), leg(2, 3)],
            end: LegEnd::Arrived,
        };
        let step = Step { at_ms: 20.125, until_ms: None, count: 1, what, marks: Vec::new() };
        let ladder = Ladder {
            schema: SCHEMA,
            title: "a cell".to_owned(),
            judgement: "failed".to_owned(),
            theory: None,
            lanes: ["peer-a", "nat-a", "nat-b", "peer-b"]
                .map(|name| Lane { name: name.to_owned(), address: None })
                .into(),
            steps: vec![step; 20],
            elsewhere: 0,
        };
        ladder.to_json()
    }

    /// A run of many cells that are as expected and, at the end of the suite, some that are not.
    fn large() -> Results {
        let mut results = results();
        let of = |verdict| {
            let cells = results.punches().find(|cell| cell.verdict == verdict);
            cells.expect("the sample has one of each").clone()
        };
        let (good, verdicts) =
            (of(VerdictDoc::AsExpected), [VerdictDoc::Differs, VerdictDoc::Error, VerdictDoc::Undecided]);
        let bad = verdicts.map(of);
        let cell = |number: usize| {
            let like = if number < CELLS - FAILING { &good } else { &bad[number % 3] };
            let mut cell = like.clone();
            cell.id = format!("a-nat-of-some-name/another/simultaneous-open/{number}");
            for trial in &mut cell.each {
                trial.artefacts = Some(format!("cells/one/trial-{}", trial.number));
            }
            CellDoc::Punch(Box::new(cell))
        };
        results.cells = (0..CELLS).map(cell).collect();
        results
    }

    /// The folder of a run that kept three trials of a cell.
    fn kept_run() -> tempfile::TempDir {
        let run = tempfile::tempdir().expect("a folder");
        for trial in 1..=3 {
            let folder = run.path().join(format!("cells/one/trial-{trial}"));
            std::fs::create_dir_all(&folder).expect("room");
            std::fs::write(folder.join(LADDER), ladder()).expect("room");
        }
        run
    }

    #[test]
    fn cells_that_fail_are_drawn_first_and_the_others_say_how_to_see_them() {
        let run = kept_run();
        let results = large();
        let page = html::text(&results, Some(run.path()));
        assert!(page.len() <= 3_000_000, "{}", page.len());
        let last_good = &results.punches().nth(CELLS - FAILING - 1).expect("a cell").id;
        assert!(page.contains(&format!("not drawn: <code>testbed explain . {last_good}</code>")));
        assert!(page.contains("as long as the page is in that folder"));
        let shown = |cell: &PunchCell| {
            let (_, rest) =
                page.split_once(&format!("id=\"cell-{}\"", cell.id)).expect("every cell is on the page");
            let own = rest.split("id=\"cell-").next().unwrap_or_default();
            (own.contains("class=\"ladder\""), own.contains("not drawn: "))
        };
        for cell in results.punches().take(CELLS - FAILING) {
            let (drawn, left_out) = shown(cell);
            assert!(drawn != left_out, "{}: {drawn}", cell.id);
        }
        for cell in results.punches().skip(CELLS - FAILING) {
            assert_eq!(shown(cell), (true, false), "{}", cell.id);
        }
    }

    #[test]
    fn the_worst_cells_are_drawn_first_and_what_failed_before_what_passed() {
        let mut results = large();
        if let CellDoc::Punch(cell) = &mut results.cells[1_000] {
            cell.each[0].outcome = OutcomeDoc::Failed;
        }
        let wanted = most_wanted(&results);
        let verdicts: Vec<_> = wanted.iter().map(|(cell, _)| weight(cell.verdict)).collect();
        assert!(verdicts.is_sorted() && verdicts[0] == 0 && verdicts[verdicts.len() - 1] == 5);
        let mut as_expected = wanted.iter().filter(|(cell, _)| cell.verdict == VerdictDoc::AsExpected);
        let (cell, trial) = as_expected.next().expect("most of them are");
        assert!(cell.id.ends_with("/1000") && trial.outcome == OutcomeDoc::Failed, "{}", cell.id);
    }

    #[test]
    fn no_more_is_drawn_than_there_is_room_for() {
        let run = kept_run();
        let results = large();
        let of = |room| DrawnTrials::read(&results, Some(run.path()), room);
        assert!(of(0).pictures.is_empty() && !of(0).are_all());
        let drawn = of(100_000);
        let bytes: usize = drawn.pictures.values().map(String::len).sum();
        assert!((50_000..100_000).contains(&bytes), "{bytes}");
    }
}
