//! A whole run: NATs proved, controls made, trials run side by side, cells concluded as they finish.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, stream};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};

use crate::kernel::processors;
use crate::lab::WireEngine;
use crate::model::catalogue::Profile;
use crate::model::event::{Event, ProofResult, RunEnd, RunInfo};
use crate::model::kernel_rules::KernelRules;
use crate::probe::kernel_checks::kernel_rules;
use crate::probe::prove::{Depth, Subject, prove};
use crate::run::capacity;
use crate::run::collector::{Collector, Message};
use crate::run::control::control;
use crate::run::cost::{self, Places};
use crate::run::environment::environment;
use crate::run::not_judged::{beyond_judging, without_one_address};
use crate::run::not_run::{NotRun, Refused, short_of_room, why_not, without_program};
use crate::run::pool::LabPool;
use crate::run::prepared_cell::{LabSpec, PreparedCell};
use crate::run::queue::{Demand, FreeLab, Queue, Task};
use crate::run::request::{Cancel, RunError, RunRequest};
use crate::run::throttle::{Throttle, TrialPermit};
use crate::run::trial::run_trial;

/// What all workers share.
#[derive(Debug)]
struct Shared {
    request: RunRequest,
    cells: Vec<PreparedCell>,
    pool: LabPool,
    queue: Mutex<Queue>,
}

impl Shared {
    /// What is still to be played.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
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
    let (kernel, unmeasured) = kernel_of(&cells).await;
    let pool = LabPool::new(engine, kernel, &request)?;
    tell(started);
    crowded.map(Event::Warning).into_iter().for_each(&mut tell);
    let mut refused = tokio::select! {
        refused = prove_nats(&request, &cells, &mut tell) => refused,
        () = cancel.wanted() => return Ok(finish(&mut tell, RunEnd::Interrupted, began)),
    };
    refused.extend(without_program(&cells, &request));
    refused.extend(short_of_room(&cells, &request)?);
    refused.extend(beyond_judging(&cells, &request.catalogue));
    refused.extend(without_one_address(&cells));
    for (at, _) in cells.iter().enumerate().filter(|(_, cell)| !cell.setting.nats.is_empty()) {
        if let Some(why) = &unmeasured {
            refused.entry(at).or_insert_with(|| why.clone());
        }
    }
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

/// What the kernel does where kernels differ, if there are NATs, and why no cell with one can be judged, if that could not be
/// measured. Without any NAT in the kernel there is nothing to be measured, and the proofs say so.
async fn kernel_of(cells: &[PreparedCell]) -> (KernelRules, Option<NotRun>) {
    let usual = KernelRules::default();
    if cells.iter().all(|cell| cell.setting.nats.is_empty()) {
        return (usual, None);
    }
    match kernel_rules().await {
        Ok(measured) => (measured, None),
        Err(error) if error.may_be_unsupported() => (usual, None),
        Err(error) => {
            let why = format!("what this kernel does with stray packets could not be measured: {error}");
            (usual, Some(NotRun::Broken(why)))
        }
    }
}

fn finish(tell: &mut impl FnMut(Event), ending: RunEnd, began: Instant) -> RunEnd {
    tell(Event::RunFinished { ending, took: began.elapsed() });
    ending
}

fn info(request: &RunRequest, cells: &[PreparedCell], engine: &WireEngine) -> RunInfo {
    let nats: BTreeSet<&String> = cells.iter().flat_map(|cell| cell.setting.nats.values()).collect();
    let environment = environment(Some(engine));
    let places = Places { trials: request.jobs, processors: environment.processors };
    RunInfo {
        suite: request.suite.name.clone(),
        summary: request.suite.summary.clone(),
        cells: request.cells.clone(),
        part: request.part,
        trials: request.suite.trials_at_most(),
        trials_in_all: request.cells.iter().map(|cell| u64::from(request.suite.part(cell).trials)).sum(),
        forecast: cost::forecast(cells, places),
        nats: nats.len(),
        jobs: request.jobs,
        seed: request.seed,
        environment,
    }
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
    request.jobs.min(MOST * processors::count())
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

/// Runs all trials; returns when the last cell is told, or soon after the user wants to stop.
async fn play(
    shared: &Arc<Shared>,
    refused: Refused,
    mut cancel: Cancel,
    tell: &mut impl FnMut(Event),
) -> RunEnd {
    let mut collector = Collector::new(&shared.request, &shared.cells, &shared.queue, refused);
    collector.conclude_refused(tell);
    let mut working = shared.request.jobs;
    let ending = loop {
        let round = Round { working, cancel: &mut cancel };
        if play_round(shared, &mut collector, round, tell).await == RunEnd::Interrupted {
            break RunEnd::Interrupted;
        }
        match collector.next_round(tell) {
            Some(next) => working = next,
            None => break RunEnd::Complete,
        }
    };
    tell(Event::PacketsJudged(std::mem::take(&mut collector.watch.packets)));
    ending
}

/// One pass through the queue.
struct Round<'a> {
    /// How many trials work at a time.
    working: usize,
    /// What ends it before its time.
    cancel: &'a mut Cancel,
}

/// Runs all trials that are in the queue. Beside those that work others wait, up to the number of trials that the run may have at a
/// time.
async fn play_round(
    shared: &Arc<Shared>,
    collector: &mut Collector<'_>,
    Round { working, cancel }: Round<'_>,
    tell: &mut impl FnMut(Event),
) -> RunEnd {
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
