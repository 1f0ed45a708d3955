//! A whole run: NATs proved, controls made, trials run side by side, cells concluded as they finish.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};

use crate::judge::verdict::{FinishedCell, conclude};
use crate::lab::WireEngine;
use crate::model::catalogue::Profile;
use crate::model::event::{Event, ProofResult, RunEnd, RunInfo};
use crate::model::kernel_rules::KernelRules;
use crate::model::nat_class;
use crate::model::outcome::{Failure, Outcome, Trial, Verdict, VoidTrial};
use crate::probe::kernel_checks::kernel_rules;
use crate::probe::prove::{Depth, Subject, prove};
use crate::run::capacity;
use crate::run::control::control;
use crate::run::cost;
use crate::run::environment::environment;
use crate::run::full_proofs::FullProofs;
use crate::run::nat_watch::NatWatch;
use crate::run::not_run::{NotRun, Refused, short_of_room, why_not, without_program};
use crate::run::pool::LabPool;
use crate::run::prepared_cell::{LabSpec, PreparedCell};
use crate::run::queue::{Demand, FreeLab, Queue, Task};
use crate::run::replay::{MOST_AGAIN, calm_jobs};
use crate::run::request::{Cancel, RunError, RunRequest};
use crate::run::throttle::{Throttle, TrialPermit};
use crate::run::trial::{Played, run_trial};

/// What all workers share.
#[derive(Debug)]
struct Shared {
    request: RunRequest,
    cells: Vec<PreparedCell>,
    pool: LabPool,
    queue: Mutex<Queue>,
}

/// Makes a run and tells of it by `tell`, from the first event to the last.
///
/// # Errors
/// When nothing can be run at all; what goes wrong later is told in the events.
pub async fn run(
    mut request: RunRequest,
    mut cancel: Cancel,
    mut tell: impl FnMut(Event),
) -> Result<RunEnd, RunError> {
    let began = Instant::now();
    let crowded = capacity::fit(&mut request)?;
    let ready = |cell| PreparedCell::new(&request.suite, &request.catalogue, cell);
    let cells = request.cells.iter().map(ready).collect::<Result<Vec<_>, _>>()?;
    let engine =
        WireEngine::start().map_err(|e| crate::kernel::Error::other("start the wires", e.to_string()))?;
    let started = Event::RunStarted(info(&request, &cells, &engine));
    let pool = LabPool::new(engine, kernel_of(&cells).await?, &request)?;
    tell(started);
    crowded.map(Event::Warning).into_iter().for_each(&mut tell);
    let mut refused = tokio::select! {
        refused = prove_nats(&request, &cells, &mut tell) => refused,
        () = cancel.wanted() => return Ok(finish(&mut tell, RunEnd::Interrupted, began)),
    };
    refused.extend(without_program(&cells, &request));
    refused.extend(short_of_room(&cells, &request)?);
    let mut queue = Queue::new(&demands(&cells), request.jobs);
    tokio::select! {
        () = make_controls(&request, (&pool, &cells), &mut refused, &mut tell) => {}
        () = cancel.wanted() => return Ok(finish(&mut tell, RunEnd::Interrupted, began)),
    }
    refused.keys().for_each(|cell| queue.drop_cell(*cell));
    request.mutation.clone().into_iter().for_each(|mutation| pool.mutate(mutation));
    let shared = Arc::new(Shared { request, cells, pool, queue: Mutex::new(queue) });
    let ending = play(&shared, refused, cancel, &mut tell).await;
    Ok(finish(&mut tell, ending, began))
}

/// What the kernel does where kernels differ, if there are NATs. Without any NAT in the kernel there is nothing to be measured,
/// and the proofs say so.
async fn kernel_of(cells: &[PreparedCell]) -> Result<KernelRules, RunError> {
    if cells.iter().all(|cell| cell.setting.nats.is_empty()) {
        return Ok(KernelRules::default());
    }
    match kernel_rules().await {
        Err(error) if error.may_be_unsupported() => Ok(KernelRules::default()),
        measured => Ok(measured?),
    }
}

fn finish(tell: &mut impl FnMut(Event), ending: RunEnd, began: Instant) -> RunEnd {
    tell(Event::RunFinished { ending, took: began.elapsed() });
    ending
}

fn info(request: &RunRequest, cells: &[PreparedCell], engine: &WireEngine) -> RunInfo {
    let nats: BTreeSet<&String> = cells.iter().flat_map(|cell| cell.setting.nats.values()).collect();
    RunInfo {
        suite: request.suite.name.clone(),
        summary: request.suite.summary.clone(),
        cells: request.cells.clone(),
        part: request.part,
        trials: request.suite.trials_at_most(),
        trials_in_all: request.cells.iter().map(|cell| u64::from(request.suite.part(cell).trials)).sum(),
        trial_times: cells.iter().map(cost::expected_time_of_one).collect(),
        nats: nats.len(),
        jobs: request.jobs,
        seed: request.seed,
        environment: environment(Some(engine)),
    }
}

/// The trials of each cell.
fn trials(cells: &[PreparedCell]) -> Vec<u32> {
    cells.iter().map(|cell| cell.part.trials).collect()
}

/// What the queue has to know of each cell.
fn demands(cells: &[PreparedCell]) -> Vec<Demand> {
    let settings: BTreeSet<&LabSpec> = cells.iter().map(|cell| &cell.setting).collect();
    let labs: BTreeMap<&LabSpec, usize> = settings.into_iter().zip(0..).collect();
    let demand = |cell: &PreparedCell| Demand {
        trials: cell.part.trials,
        lab: labs[&cell.setting],
        patience: cost::patience(cell),
        expected: cost::expected_time_of_one(cell),
    };
    cells.iter().map(demand).collect()
}

/// How many proofs or controls are made at a time. They do not only wait, and with too many side by side an answer could be late.
fn at_once(request: &RunRequest) -> usize {
    /// For each processor.
    const MOST: usize = 16;
    request.jobs.min(MOST * std::thread::available_parallelism().map_or(1, usize::from))
}

/// Proves each NAT of the run once; cells with one that does not behave as declared are refused.
async fn prove_nats(request: &RunRequest, cells: &[PreparedCell], tell: &mut impl FnMut(Event)) -> Refused {
    let names: BTreeSet<&String> = cells.iter().flat_map(|c| c.setting.nats.values()).collect();
    let profiles = names.into_iter().filter_map(|name| request.catalogue.get(name));
    let proof = |profile: &Profile| {
        let (name, subject) = (profile.name.clone(), Subject::of(profile));
        async move {
            match subject {
                Ok(subject) => prove(subject, Depth::Quick).await,
                Err(error) => {
                    ProofResult { nat: name, error: Some(error.to_string()), ..ProofResult::default() }
                }
            }
        }
    };
    // Each takes some tens of milliseconds, nearly all of it waiting.
    let mut proofs = stream::iter(profiles.map(proof)).buffer_unordered(at_once(request));
    let mut refused = Refused::new();
    while let Some(proof) = proofs.next().await {
        if !proof.holds() {
            let why = why_not(&proof);
            let with_it =
                |cell: &&(usize, &PreparedCell)| cell.1.setting.nats.values().any(|n| *n == proof.nat);
            for (at, _) in cells.iter().enumerate().filter(|c| with_it(&c)) {
                // An error of one NAT outweighs that the machine cannot have the other.
                if matches!(why, NotRun::Broken(_)) || !refused.contains_key(&at) {
                    refused.insert(at, why.clone());
                }
            }
        }
        tell(Event::NatProved(proof));
    }
    refused
}

/// Makes the negative control of each setting once.
async fn make_controls(
    request: &RunRequest,
    (pool, cells): (&LabPool, &[PreparedCell]),
    refused: &mut Refused,
    tell: &mut impl FnMut(Event),
) {
    let mut by_setting: BTreeMap<&LabSpec, Vec<usize>> = BTreeMap::new();
    for (at, cell) in cells.iter().enumerate().filter(|(at, _)| !refused.contains_key(at)) {
        by_setting.entry(&cell.setting).or_default().push(at);
    }
    let one =
        |members: Vec<usize>| async move { (control(pool, request, &cells[members[0]]).await, members) };
    let of = by_setting.len();
    let controls = stream::iter(by_setting.into_values().map(one)).buffer_unordered(at_once(request));
    let mut controls = controls.enumerate();
    while let Some((before, (wrong, members))) = controls.next().await {
        tell(Event::ControlMade { made: before + 1, of });
        if let Some(why) = wrong {
            refused.extend(members.into_iter().map(|at| (at, NotRun::Broken(why.clone()))));
        }
    }
}

/// What the workers send.
#[derive(Debug)]
enum Message {
    Started { cell: usize, number: u32 },
    Finished { cell: usize, played: Box<Played> },
}

/// Runs all trials; returns when the last cell is told, or soon after the user wants to stop.
async fn play(
    shared: &Arc<Shared>,
    refused: Refused,
    mut cancel: Cancel,
    tell: &mut impl FnMut(Event),
) -> RunEnd {
    let mut collector = Collector::new(shared, refused);
    collector.conclude_refused(tell);
    let mut jobs = shared.request.jobs;
    let ending = loop {
        if play_round(&mut collector, jobs, &mut cancel, tell).await == RunEnd::Interrupted {
            break RunEnd::Interrupted;
        }
        match collector.next_round(tell) {
            Some(next) => jobs = next,
            None => break RunEnd::Complete,
        }
    };
    tell(Event::PacketsJudged(std::mem::take(&mut collector.watch.packets)));
    ending
}

/// Runs all trials that are in the queue. At most `working` of them work at a time; others wait beside them, up to the number of
/// trials that the run may have at a time.
async fn play_round(
    collector: &mut Collector<'_>,
    working: usize,
    cancel: &mut Cancel,
    tell: &mut impl FnMut(Event),
) -> RunEnd {
    let shared = collector.shared;
    let (sender, mut receiver) = unbounded_channel();
    let mut workers = JoinSet::new();
    let throttle = Throttle::new(working);
    workers.spawn(begin_trials(Arc::clone(shared), Arc::clone(&throttle), sender));
    let ending = tokio::select! {
        () = collector.receive(&mut receiver, tell) => RunEnd::Complete,
        never = throttle.watch() => match never {},
        () = cancel.wanted() => RunEnd::Interrupted,
    };
    match ending {
        RunEnd::Interrupted => {
            workers.shutdown().await;
            collector.full_proofs.give_up().await;
            collector.receive(&mut receiver, tell).await;
            collector.conclude_unfinished(tell);
        }
        RunEnd::Complete => drop(workers.join_all().await),
    }
    ending
}

/// Begins trials as long as there are any and as the throttle lets them, and waits for the last.
async fn begin_trials(shared: Arc<Shared>, throttle: Arc<Throttle>, sender: UnboundedSender<Message>) {
    let mut under_way = JoinSet::new();
    loop {
        if under_way.len() >= shared.request.jobs
            && let Some(ended) = under_way.join_next().await
        {
            played(ended);
        }
        let permit = throttle.permit().await;
        while under_way.try_join_next().map(played).is_some() {}
        // What is next is decided when there is room for it.
        let Some(task) = shared.queue().take() else { break };
        let _ = sender.send(Message::Started { cell: task.cell, number: task.number });
        under_way.spawn(work(Arc::clone(&shared), task, permit, sender.clone()));
    }
    while under_way.join_next().await.map(played).is_some() {}
}

/// Goes on with a panic: the trial would be missing otherwise, and nobody would know.
fn played(ended: Result<(), JoinError>) {
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        resume_unwind(panic);
    }
}

async fn work(shared: Arc<Shared>, task: Task, permit: TrialPermit, sender: UnboundedSender<Message>) {
    let Task { cell, number } = task;
    let played = run_trial(&shared.request, &shared.pool, &shared.cells[cell], number, &permit).await;
    let free = shared.queue().done(cell);
    if free == FreeLab::Superfluous {
        shared.pool.give_up(&shared.cells[cell].setting);
    }
    drop(permit);
    let _ = sender.send(Message::Finished { cell, played: Box::new(played) });
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
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
struct Collector<'a> {
    shared: &'a Arc<Shared>,
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
    watch: NatWatch,
    /// Cells that differ, each with the number of trials that had started by then: when all of these are done, it is known whether
    /// the ports of its NATs were drawn by chance.
    doubtful: Vec<(usize, usize)>,
    full_proofs: FullProofs,
}

impl<'a> Collector<'a> {
    fn new(shared: &'a Arc<Shared>, refused: Refused) -> Self {
        let cells = shared.cells.len();
        let wanted = trials(&shared.cells);
        Self {
            shared,
            trials: vec![Vec::new(); cells],
            wanted,
            unsure: Vec::new(),
            void: Vec::new(),
            voided: vec![Vec::new(); cells],
            again: 0,
            refused,
            watch: NatWatch::default(),
            doubtful: Vec::new(),
            full_proofs: FullProofs::default(),
        }
    }

    async fn receive(&mut self, receiver: &mut UnboundedReceiver<Message>, tell: &mut impl FnMut(Event)) {
        let mut open = true;
        while open || self.full_proofs.are_under_way() {
            tokio::select! {
                message = receiver.recv(), if open => match message {
                    Some(message) => self.take(message, tell),
                    None => open = false,
                },
                () = self.full_proofs.next(), if self.full_proofs.are_under_way() => {}
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
        self.watch.has_played(trials) && self.full_proofs.know(&self.shared.cells[cell].setting)
    }

    /// Why no trial with the NATs of a cell counts, if so.
    fn refutes(&self, cell: usize) -> Option<Failure> {
        let setting = &self.shared.cells[cell].setting;
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
        self.shared.cells[cell].cell.id.clone()
    }

    fn conclude(&mut self, at: usize, finality: Finality, tell: &mut impl FnMut(Event)) {
        let ready = &self.shared.cells[at];
        let mut trials = std::mem::take(&mut self.trials[at]);
        trials.sort_by_key(|t| t.number);
        let refused = self.refused.remove(&at);
        if let Some(failure) = self.refutes(at) {
            trials.iter_mut().for_each(|trial| trial.outcome = Outcome::Error(failure.clone()));
        }
        let request = &self.shared.request;
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
        let mut result = conclude(finished, self.shared.request.standard());
        let limit = self.shared.request.until_sure.unwrap_or(0);
        if finality == Finality::MayGoOn && result.is_unsure() && self.wanted[at] < limit {
            self.trials[at] = result.trials;
            self.unsure.push(at);
        } else if finality == Finality::MayGoOn && result.verdict == Verdict::Differs {
            self.trials[at] = result.trials;
            self.doubtful.push((at, self.watch.started()));
            self.full_proofs.begin(&ready.setting, &self.shared.request.catalogue);
        } else {
            if result.verdict == Verdict::Differs && !self.knows_nats(at, 0) {
                result.verdict = Verdict::Undecided;
                result.note.push_str("; the run ended before its NATs were proved in full");
            }
            tell(Event::CellFinished(result));
        }
    }

    /// Queues what is still to be played; how many trials at a time, or `None` when all is done.
    fn next_round(&mut self, tell: &mut impl FnMut(Event)) -> Option<usize> {
        let jobs = self.shared.request.jobs;
        if self.void.is_empty() {
            self.again = 0;
            return self.ask_for_more().then_some(jobs);
        }
        self.again += 1;
        let void = std::mem::take(&mut self.void);
        let calm = calm_jobs(self.again).min(jobs);
        tell(Event::TrialsRepeated { count: void.len(), at_a_time: calm });
        let mut queue = self.shared.queue();
        void.into_iter().for_each(|task| queue.add(task.cell, task.number..=task.number));
        Some(calm)
    }

    /// Queues as many trials again for each cell that needs more; whether there is any.
    fn ask_for_more(&mut self) -> bool {
        let limit = self.shared.request.until_sure.unwrap_or(0);
        let mut queue = self.shared.queue();
        for cell in std::mem::take(&mut self.unsure) {
            let made = self.wanted[cell];
            self.wanted[cell] = made.saturating_mul(2).min(limit);
            queue.add(cell, made + 1..=self.wanted[cell]);
        }
        queue.len() > 0
    }

    fn conclude_refused(&mut self, tell: &mut impl FnMut(Event)) {
        let cells: Vec<_> = self.refused.keys().copied().collect();
        cells.into_iter().for_each(|cell| self.conclude(cell, Finality::Final, tell));
    }

    /// Concludes the cells that differ and of whose NATs all is known by now.
    fn conclude_doubtful(&mut self, tell: &mut impl FnMut(Event)) {
        let (known, doubtful): (Vec<_>, Vec<_>) = std::mem::take(&mut self.doubtful)
            .into_iter()
            .partition(|(at, trials)| self.knows_nats(*at, *trials));
        self.doubtful = doubtful;
        known.into_iter().for_each(|(at, _)| self.conclude(at, Finality::Final, tell));
    }

    /// Concludes the cells of which some trials are known.
    fn conclude_unfinished(&mut self, tell: &mut impl FnMut(Event)) {
        self.watch.give_up_unfinished();
        for cell in 0..self.trials.len() {
            if !self.trials[cell].is_empty() {
                self.conclude(cell, Finality::Final, tell);
            }
        }
    }
}
