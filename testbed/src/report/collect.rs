//! Gathers the events of a run into [`Results`].

use std::collections::{HashMap, HashSet};

use crate::model::event::{Event, RunEnd, RunInfo};
use crate::report::convert::millis;
use crate::report::origin::Origin;
use crate::report::results::{
    CellDoc, EndingDoc, KernelCell, PacketsDoc, PartDoc, ProofCell, PunchCell, Results, SCHEMA, Totals,
};

/// Gathers what a run tells.
#[derive(Debug)]
pub struct ResultsBuilder {
    results: Results,
    /// Where each cell of the suite stands, by its id.
    places: HashMap<String, usize>,
}

impl Default for ResultsBuilder {
    fn default() -> Self {
        let results = Results {
            schema: SCHEMA,
            suite: String::new(),
            summary: String::new(),
            origin: Origin::default(),
            testbed: String::new(),
            kernel: String::new(),
            nft: String::new(),
            rights: String::new(),
            processors: 0,
            wire_scheduling: String::new(),
            seed: 0,
            part: PartDoc::default(),
            trials_per_cell: 0,
            jobs: 0,
            ending: EndingDoc::Interrupted,
            unreached: None,
            took_ms: 0.0,
            totals: Totals::default(),
            warnings: Vec::new(),
            packets: None,
            cells: Vec::new(),
        };
        Self { results, places: HashMap::new() }
    }
}

impl ResultsBuilder {
    /// Gathers a run of this origin.
    #[must_use]
    pub fn of(origin: Origin) -> Self {
        let mut builder = Self::default();
        builder.results.origin = origin;
        builder
    }

    /// Takes an event, and hands back the cell that it finished, if it did.
    pub fn event(&mut self, event: &Event) -> Option<&CellDoc> {
        match event {
            Event::RunStarted(info) => self.start(info),
            Event::NatProved(proof) => return self.finished(CellDoc::Proof(ProofCell::from(proof))),
            Event::CellFinished(cell) => {
                return self.finished(CellDoc::Punch(Box::new(PunchCell::from(cell))));
            }
            Event::KernelChecked(check) => return self.finished(CellDoc::Kernel(KernelCell::from(check))),
            Event::Warning(text) => self.results.warnings.push(text.clone()),
            Event::PacketsJudged(count) => self.results.packets = Some(PacketsDoc::from(count)),
            Event::RunFinished { ending, took } => {
                self.results.took_ms = millis(*took);
                self.results.ending = match ending {
                    RunEnd::Complete => EndingDoc::Complete,
                    RunEnd::Interrupted => EndingDoc::Interrupted,
                };
            }
            Event::ControlMade { .. }
            | Event::FullProofs { .. }
            | Event::TrialStarted { .. }
            | Event::TrialKept { .. }
            | Event::TrialsRepeated { .. }
            | Event::TrialFinished { .. } => (),
        }
        None
    }

    /// Everything so far; a run whose end was never told counts as interrupted.
    #[must_use]
    pub fn results(&self) -> Results {
        let mut results = self.results.clone();
        // Proofs finish in any order.
        results.cells.sort_by_cached_key(|cell| match cell {
            CellDoc::Proof(proof) => (0, proof.id.clone()),
            // They are told in their order.
            CellDoc::Kernel(_) => (1, String::new()),
            CellDoc::Punch(cell) => {
                (1 + self.places.get(&cell.id).copied().unwrap_or(usize::MAX - 1), String::new())
            }
        });
        results.totals = Totals::of(&results.cells);
        results.unreached = (results.ending == EndingDoc::Interrupted).then(|| self.unreached());
        results
    }

    /// The cells that have not finished, in the order of the suite.
    fn unreached(&self) -> Vec<String> {
        let finished: HashSet<&str> = self.results.punches().map(|cell| cell.id.as_str()).collect();
        let mut unreached: Vec<_> =
            self.places.iter().filter(|(id, _)| !finished.contains(id.as_str())).collect();
        unreached.sort_unstable_by_key(|(_, place)| **place);
        unreached.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn start(&mut self, info: &RunInfo) {
        self.results.suite = info.suite.clone();
        self.results.summary = info.summary.clone();
        self.results.seed = info.seed;
        self.results.part = PartDoc::from(info.part);
        self.results.trials_per_cell = info.trials;
        self.results.jobs = info.jobs;
        self.results.set_environment(&info.environment);
        self.places = info.cells.iter().enumerate().map(|(place, cell)| (cell.id.clone(), place)).collect();
    }

    fn finished(&mut self, cell: CellDoc) -> Option<&CellDoc> {
        self.results.cells.push(cell);
        self.results.cells.last()
    }
}
