//! One trial: a clean lab, the programs of the cell, what they and the kernel say, the judgement.
//!
//! `placeholders` fills the command templates; `running`, `services` and `programs` start the programs and wait for them;
//! `evidence` plays the trial, `judging` has it judged, `machine` says whether it counts, and `artefacts` keeps what people want
//! to look at.

mod artefacts;
mod evidence;
mod judging;
mod machine;
mod placeholders;
mod programs;
mod running;
mod services;

use std::time::Duration;

use crate::judge::reference::Findings;
use crate::model::event::Artefacts;
use crate::model::kernel_rules::KernelRules;
use crate::model::outcome::{Cause, Outcome, Trial, TrialLoad, VoidTrial};
use crate::run::pool::{LabPool, PooledLab};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::RunRequest;
use crate::run::seed::TrialSeed;
use crate::run::throttle::TrialPermit;
use crate::run::trial::evidence::TrialRecord;
use crate::run::trial::judging::{TrialFacts, Voided};
use crate::run::trial::machine::Measured;
use crate::run::trouble;

pub(super) use programs::GRACE;

/// What a trial is made of.
#[derive(Debug, Clone, Copy)]
struct TrialSetup<'a> {
    request: &'a RunRequest,
    prepared: &'a PreparedCell,
    seed: &'a TrialSeed,
    permit: &'a TrialPermit,
    /// What the kernel does where kernels differ.
    kernel: KernelRules,
}

/// A trial that was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) trial: Trial,
    /// Why it does not count, if so. `trial` says then that it is an error.
    pub(super) void: Option<VoidTrial>,
    /// What is kept of it.
    pub(super) artefacts: Option<Artefacts>,
    /// What the reference says of each NAT.
    pub(super) findings: Vec<Findings>,
}

/// Runs one trial of a cell in a lab of the pool, and tells its permit when it may only be waiting.
pub(super) async fn run_trial(
    request: &RunRequest,
    pool: &LabPool,
    prepared: &PreparedCell,
    number: u32,
    permit: &TrialPermit,
) -> Played {
    let seed = TrialSeed::new(request.seed, &prepared.cell.id, number);
    let setup = TrialSetup { request, prepared, seed: &seed, permit, kernel: pool.kernel() };
    let broken = |why: String| {
        let outcome = Outcome::Error(Cause::LabError.because(why));
        let (took, load) = (Duration::ZERO, TrialLoad::default());
        let trial = Trial { number, seed: seed.number(), outcome, took, load, artefacts: None };
        Played { trial, void: None, artefacts: None, findings: Vec::new() }
    };
    let pooled = match pool.take(&prepared.setting).await {
        Ok(pooled) => pooled,
        Err(error) => return broken(error.to_string()),
    };
    // A lab in which something went wrong is dropped.
    let record = match evidence::play(setup, &pooled.lab, pool).await {
        Ok(record) => record,
        Err(error) => return broken(error.to_string()),
    };
    let usable = record.fault.is_none() && !trouble::spoils_lab(prepared);
    let concluded = conclude(setup, (pool, &pooled), record, number).await;
    if usable {
        pooled.give_back();
    }
    concluded
}

/// Has the trial judged, and collects what is to be kept of it.
async fn conclude(
    setup: TrialSetup<'_>,
    (pool, pooled): (&LabPool, &PooledLab<'_>),
    record: TrialRecord,
    number: u32,
) -> Played {
    let TrialRecord { mut evidence, peers, server, programs, measured, fault } = record;
    let mut logs = Vec::new();
    for running in programs {
        logs.push(running.log().await);
    }
    let (plan, machine) = (pooled.lab.plan(), &measured);
    let known = TrialFacts { plan, evidence: &mut evidence, logs: &logs, peers, server, fault, machine };
    let (mut judgement, void) = judging::judgement_of(setup, known);
    let findings = std::mem::take(&mut judgement.reference);
    let outcome = judgement.outcome.clone();
    let kept = artefacts::are_kept(setup.request.keep, &outcome, &setup.prepared.pass_kept);
    let artefacts = kept.then(|| Artefacts::folder(&setup.prepared.cell.id, number));
    let Measured { took, load, .. } = measured;
    let voided = |Voided { why, paused, ended }| VoidTrial { number, why, paused, ended, load: load.clone() };
    let void = void.map(voided);
    let trial = Trial { number, seed: setup.seed.number(), outcome, took, load, artefacts };
    let kept = kept.then(|| artefacts::collect((pool, pooled), setup.prepared, judgement, (logs, evidence)));
    Played { trial, void, artefacts: kept, findings }
}
