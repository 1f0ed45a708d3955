//! Where the trials of all cells come together: each cell is concluded when it has its trials, and once all is known of its NATs if
//! it differs.

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::judge::verdict::{FinishedCell, conclude};
use crate::model::event::Event;
use crate::model::nat_class;
use crate::model::outcome::{Failure, Outcome, Trial, Verdict, VoidTrial};
use crate::run::full_proofs::FullProofs;
use crate::run::nat_watch::NatWatch;
use crate::run::not_run::{NotRun, Refused};
use crate::run::prepared_cell::PreparedCell;
use crate::run::queue::{Queue, Task};
use crate::run::replay::{MOST_AGAIN, calm_jobs};
use crate::run::request::RunRequest;
use crate::run::trial::Played;

#[cfg(test)]
mod tests;

/// What the workers send.
#[derive(Debug)]
pub(super) enum Message {
    Started { cell: usize, number: u32 },
    Finished { cell: usize, played: Box<Played> },
}

/// Whether a cell can have more trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finality {
    /// If it is not sure yet.
    MayGoOn,
    /// What there is must do.
    Final,
}

/// Where the trials of all cells come together.
pub(super) struct Collector<'a> {
    request: &'a RunRequest,
    cells: &'a [PreparedCell],
    queue: &'a Mutex<Queue>,
    trials: Vec<Vec<Trial>>,
    /// The number of trials after which each cell is judged.
    wanted: Vec<u32>,
    /// Cells that need more trials.
    unsure: Vec<usize>,
    /// Trials that do not count and are to be played again.
    void: Vec<Task>,
    /// Those of each cell that were, and how they had ended.
    voided: Vec<Vec<VoidTrial>>,
    /// How often in a row such trials have been played again.
    again: u32,
    refused: Refused,
    pub(super) watch: NatWatch,
    /// Cells that differ, each with the number of trials that had started by then: when all of these are done, it is known whether
    /// the ports of its NATs were drawn by chance.
    doubtful: Vec<(usize, usize)>,
    pub(super) full_proofs: FullProofs,
}

impl<'a> Collector<'a> {
    /// For these cells, whose trials come from this queue.
    pub(super) fn new(
        request: &'a RunRequest,
        cells: &'a [PreparedCell],
        queue: &'a Mutex<Queue>,
        refused: Refused,
    ) -> Self {
        Self {
            request,
            cells,
            queue,
            trials: vec![Vec::new(); cells.len()],
            wanted: cells.iter().map(|cell| cell.part.trials).collect(),
            unsure: Vec::new(),
            void: Vec::new(),
            voided: vec![Vec::new(); cells.len()],
            again: 0,
            refused,
            watch: NatWatch::default(),
            doubtful: Vec::new(),
            full_proofs: FullProofs::default(),
        }
    }

    pub(super) async fn receive(
        &mut self,
        receiver: &mut UnboundedReceiver<Message>,
        tell: &mut impl FnMut(Event),
    ) {
        let mut open = true;
        while open || self.full_proofs.are_under_way() {
            tokio::select! {
                message = receiver.recv(), if open => match message {
                    Some(message) => self.take(message, tell),
                    None => open = false,
                },
                () = self.full_proofs.next(), if self.full_proofs.are_under_way() => {
                    tell(self.full_proofs.progress());
                }
            }
            self.conclude_doubtful(tell);
        }
    }

    fn take(&mut self, message: Message, tell: &mut impl FnMut(Event)) {
        match message {
            Message::Started { cell, number } => {
                self.watch.start(Task { cell, number });
                tell(Event::TrialStarted { cell: self.id(cell), number });
            }
            Message::Finished { cell, mut played } => {
                let findings = std::mem::take(&mut played.findings);
                self.watch.finish(Task { cell, number: played.trial.number }, findings);
                self.finish(cell, *played, tell);
            }
        }
    }

    /// Whether all is known of the NATs of a cell after so many trials of the run.
    fn knows_nats(&self, cell: usize, trials: usize) -> bool {
        self.watch.has_played(trials) && self.full_proofs.know(&self.cells[cell].setting)
    }

    /// Why no trial with the NATs of a cell counts, if so.
    fn refutes(&self, cell: usize) -> Option<Failure> {
        let setting = &self.cells[cell].setting;
        self.watch.refutes(setting).or_else(|| self.full_proofs.refute(setting))
    }

    /// A trial is done. Where a NAT is known by now not to draw its ports by chance, no trial with it counts.
    fn finish(&mut self, cell: usize, played: Played, tell: &mut impl FnMut(Event)) {
        let Played { mut trial, void, artefacts, .. } = played;
        if let Some(void) = void
            && self.again < MOST_AGAIN
        {
            self.void.push(Task { cell, number: trial.number });
            self.voided[cell].push(void);
            return;
        }
        if let Some(failure) = self.refutes(cell) {
            trial.outcome = Outcome::Error(failure);
        }
        if let Some(artefacts) = artefacts.map(Box::new) {
            tell(Event::TrialKept { cell: self.id(cell), number: trial.number, artefacts });
        }
        tell(Event::TrialFinished { cell: self.id(cell), trial: trial.clone() });
        self.trials[cell].push(trial);
        if self.trials[cell].len() == self.wanted[cell] as usize {
            self.conclude(cell, Finality::MayGoOn, tell);
        }
    }

    fn id(&self, cell: usize) -> String {
        self.cells[cell].cell.id.clone()
    }

    fn conclude(&mut self, at: usize, finality: Finality, tell: &mut impl FnMut(Event)) {
        let ready = &self.cells[at];
        let mut trials = std::mem::take(&mut self.trials[at]);
        trials.sort_by_key(|t| t.number);
        let refused = self.refused.remove(&at);
        if let Some(failure) = self.refutes(at) {
            trials.iter_mut().for_each(|trial| trial.outcome = Outcome::Error(failure.clone()));
        }
        let request = self.request;
        trials.extend(refused.iter().flat_map(|why| why.trials(request, &ready.cell.id, self.wanted[at])));
        let (cell, expected) = (ready.cell.clone(), ready.expected.clone());
        let group = nat_class::group(&ready.a, &ready.b, cell.method());
        let asked = self.wanted[at];
        let finished = FinishedCell {
            cell,
            trials,
            asked,
            void: self.voided[at].clone(),
            group,
            expected,
            trip: ready.trip,
            refused: refused.and_then(NotRun::error),
        };
        let mut result = conclude(finished, self.request.standard());
        let limit = self.request.until_sure.unwrap_or(0);
        if finality == Finality::MayGoOn && result.is_unsure() && self.wanted[at] < limit {
            self.trials[at] = result.trials;
            self.unsure.push(at);
        } else if finality == Finality::MayGoOn && result.verdict == Verdict::Differs {
            self.trials[at] = result.trials;
            self.doubtful.push((at, self.watch.started()));
            self.full_proofs.begin(&ready.setting, &self.request.catalogue);
            tell(self.full_proofs.progress());
        } else {
            if result.verdict == Verdict::Differs && !self.knows_nats(at, 0) {
                (result.verdict, result.difference) = (Verdict::Undecided, None);
                result.note.push_str("; the run ended before its NATs were proved in full");
            }
            tell(Event::CellFinished(result));
        }
    }

    /// Queues what is still to be played; how many trials at a time, or `None` when all is done.
    pub(super) fn next_round(&mut self, tell: &mut impl FnMut(Event)) -> Option<usize> {
        let jobs = self.request.jobs;
        if self.void.is_empty() {
            self.again = 0;
            return self.ask_for_more().then_some(jobs);
        }
        self.again += 1;
        let void = std::mem::take(&mut self.void);
        let calm = calm_jobs(self.again).min(jobs);
        tell(Event::TrialsRepeated { count: void.len(), at_a_time: calm });
        let mut queue = self.queue.lock();
        void.into_iter().for_each(|task| queue.add(task.cell, task.number..=task.number));
        Some(calm)
    }

    /// Queues as many trials again for each cell that needs more; whether there is any.
    fn ask_for_more(&mut self) -> bool {
        let limit = self.request.until_sure.unwrap_or(0);
        let mut queue = self.queue.lock();
        for cell in std::mem::take(&mut self.unsure) {
            let made = self.wanted[cell];
            self.wanted[cell] = made.saturating_mul(2).min(limit);
            queue.add(cell, made + 1..=self.wanted[cell]);
        }
        queue.len() > 0
    }

    pub(super) fn conclude_refused(&mut self, tell: &mut impl FnMut(Event)) {
        let cells: Vec<_> = self.refused.keys().copied().collect();
        cells.into_iter().for_each(|cell| self.conclude(cell, Finality::Final, tell));
    }

    /// Concludes the cells that differ and of whose NATs all is known by now.
    fn conclude_doubtful(&mut self, tell: &mut impl FnMut(Event)) {
        let (known, doubtful): (Vec<_>, Vec<_>) = std::mem::take(&mut self.doubtful)
            .into_iter()
            .partition(|(at, trials)| self.knows_nats(*at, *trials));
        self.doubtful = doubtful;
        for (at, _) in known {
            if let Some(why) = self.full_proofs.lacks(&self.cells[at].setting) {
                self.trials[at].iter_mut().for_each(|trial| trial.outcome = Outcome::Error(why.clone()));
            }
            self.conclude(at, Finality::Final, tell);
        }
    }

    /// Concludes the cells of which some trials are known.
    pub(super) fn conclude_unfinished(&mut self, tell: &mut impl FnMut(Event)) {
        self.watch.give_up_unfinished();
        for cell in 0..self.trials.len() {
            if !self.trials[cell].is_empty() {
                self.conclude(cell, Finality::Final, tell);
            }
        }
    }
}
