//! Which kept trials the page draws: of each cell the first of each cause, and one that passed, as long as the page stays
//! of a size that a phone can hold. Cells that somebody will ask about come first; the page says of the others how to see them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::kernel::user_file;
use crate::report::artefacts::LADDER;
use crate::report::kept;
use crate::report::ladder::{Ladder, svg};
use crate::report::results::{OutcomeDoc, PunchCell, Results, TrialDoc, VerdictDoc};

/// Ladders of one cell, and bytes of those of the whole page.
const OF_CELL: usize = 3;
const OF_PAGE: usize = 1_200_000;

/// No drawing of a trial is smaller.
const SMALLEST: usize = 1_000;

/// Trials that are drawn, by cell and number.
#[derive(Debug, Default)]
pub(super) struct DrawnTrials {
    /// Drawings and where they belong, the most wanted first.
    pictures: Vec<((String, u32), String)>,
    /// Where each of them is among the pictures.
    places: BTreeMap<(String, u32), usize>,
    /// Cells of which a drawing is left out.
    left_out: BTreeSet<String>,
}

impl DrawnTrials {
    /// Reads what was kept below the folder of a run; what cannot be read is not drawn.
    pub(super) fn read(results: &Results, run: Option<&Path>) -> Self {
        let mut drawn = Self::default();
        let Some(run) = run else { return drawn };
        let mut rest = OF_PAGE;
        for (cell, trial) in most_wanted(results) {
            let Some(file) = ladder_of(run, trial) else { continue };
            if rest < SMALLEST {
                drawn.left_out.extend(file.exists().then(|| cell.id.clone()));
                continue;
            }
            let ladder = user_file::read(&file).ok().and_then(|text| Ladder::from_json(&text).ok());
            let Some(picture) = ladder.map(|ladder| svg::text(&ladder)) else { continue };
            if picture.len() > rest {
                drawn.left_out.insert(cell.id.clone());
                continue;
            }
            rest -= picture.len();
            let key = (cell.id.clone(), trial.number);
            drawn.places.insert(key.clone(), drawn.pictures.len());
            drawn.pictures.push((key, picture));
        }
        drawn
    }

    /// Leaves out drawings of so many bytes, the least wanted first; `false` where there is none.
    pub(super) fn leave_out(&mut self, bytes: usize) -> bool {
        let mut gone = 0;
        while gone < bytes {
            let Some(((cell, trial), picture)) = self.pictures.pop() else { break };
            gone += picture.len();
            self.places.remove(&(cell.clone(), trial));
            self.left_out.insert(cell);
        }
        gone > 0
    }

    /// The picture of a trial, if there is one.
    pub(super) fn of(&self, cell: &str, trial: u32) -> Option<&String> {
        self.places.get(&(cell.to_owned(), trial)).map(|place| &self.pictures[*place].1)
    }

    /// Whether something of this cell could be drawn and is left out.
    pub(super) fn leaves_out(&self, cell: &str) -> bool {
        self.left_out.contains(cell)
    }
}

/// The trials that are worth a drawing: those of cells that differ, of errors, of undecided cells, failures as expected, the
/// rest; among these the first of every cell before the second of any.
fn most_wanted(results: &Results) -> Vec<(&PunchCell, &TrialDoc)> {
    let of_cell = |cell| chosen(cell).into_iter().enumerate().map(move |(place, trial)| (cell, place, trial));
    let mut all: Vec<(&PunchCell, usize, &TrialDoc)> = results.punches().flat_map(of_cell).collect();
    all.sort_by_key(|(cell, place, trial)| (urgency(cell.verdict, trial.outcome), *place));
    all.into_iter().map(|(cell, _, trial)| (cell, trial)).collect()
}

/// How much a trial is asked about: the smallest is the most.
fn urgency(verdict: VerdictDoc, outcome: OutcomeDoc) -> u8 {
    match (verdict, outcome) {
        (VerdictDoc::Differs, _) => 0,
        (VerdictDoc::Error, _) => 1,
        (VerdictDoc::Undecided | VerdictDoc::NoExpectation, _) => 2,
        (_, OutcomeDoc::Passed) => 4,
        _ => 3,
    }
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
    use crate::report::results::CellDoc;
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

    #[test]
    fn cells_that_fail_are_drawn_first_and_the_others_say_how_to_see_them() {
        let run = tempfile::tempdir().expect("a folder");
        for trial in 1..=3 {
            let folder = run.path().join(format!("cells/one/trial-{trial}"));
            std::fs::create_dir_all(&folder).expect("room");
            std::fs::write(folder.join(LADDER), ladder()).expect("room");
        }
        let results = large();
        let page = html::text(&results, Some(run.path()));
        assert!(page.len() <= 3_000_000, "{}", page.len());
        let last_good = &results.punches().nth(CELLS - FAILING - 1).expect("a cell").id;
        assert!(page.contains(&format!("not drawn: <code>testbed explain . {last_good}</code>")));
        assert!(page.contains("they need the whole folder"));
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
    fn the_least_wanted_are_left_out_first() {
        let results = results();
        let ids = results.punches().map(|cell| (cell.id.clone(), 1)).collect::<Vec<_>>();
        let mut drawn = DrawnTrials::default();
        for (place, id) in ids.iter().enumerate() {
            drawn.places.insert(id.clone(), place);
            drawn.pictures.push((id.clone(), "<svg/>".to_owned()));
        }
        assert!(drawn.leave_out(7));
        for (place, (cell, trial)) in ids.iter().enumerate() {
            assert_eq!(drawn.of(cell, *trial).is_some(), place < 2, "{cell}");
            assert_eq!(drawn.leaves_out(cell), place >= 2, "{cell}");
        }
        assert!(drawn.leave_out(100) && !drawn.leave_out(100));
        assert!(ids.iter().all(|(cell, trial)| drawn.of(cell, *trial).is_none() && drawn.leaves_out(cell)));
    }
}
