//! One trial: a clean lab, the programs of the cell, what they and the kernel say, the judgement.
//!
//! `placeholders` fills the command templates, `running`, `services` and `programs` start what they say
//! and wait for it, `evidence`
//! plays the trial, `judging` has it judged, and `artefacts` keeps what people want to look at.

mod artefacts;
mod evidence;
mod judging;
mod placeholders;
mod programs;
mod running;
mod services;

use std::time::Duration;

use crate::judge::reference::Findings;
use crate::model::event::Artefacts;
use crate::model::outcome::{Cause, Outcome, Trial};
use crate::run::pool::{LabPool, PooledLab};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::RunRequest;
use crate::run::seed::TrialSeed;
use crate::run::throttle::TrialPermit;
use crate::run::trial::evidence::TrialRecord;
use crate::run::trial::judging::TrialFacts;
use crate::run::trouble;

/// What a trial is made of.
#[derive(Debug, Clone, Copy)]
struct TrialSetup<'a> {
    request: &'a RunRequest,
    prepared: &'a PreparedCell,
    seed: &'a TrialSeed,
    permit: &'a TrialPermit,
}

/// Runs one trial of a cell in a lab of the pool, and tells its permit when it may only be waiting.
pub(super) async fn run_trial(
    request: &RunRequest,
    pool: &LabPool,
    prepared: &PreparedCell,
    number: u32,
    permit: &TrialPermit,
) -> (Trial, Option<Artefacts>, Vec<Findings>) {
    let seed = TrialSeed::new(request.seed, &prepared.cell.id, number);
    let setup = TrialSetup { request, prepared, seed: &seed, permit };
    let broken = |why: String| {
        let outcome = Outcome::Error(Cause::LabError.because(why));
        Trial { number, seed: seed.number(), outcome, took: Duration::ZERO, artefacts: None }
    };
    let pooled = match pool.take(&prepared.setting).await {
        Ok(pooled) => pooled,
        Err(error) => return (broken(error.to_string()), None, Vec::new()),
    };
    // A lab in which something went wrong is dropped.
    let record = match evidence::play(setup, &pooled.lab, pool).await {
        Ok(record) => record,
        Err(error) => return (broken(error.to_string()), None, Vec::new()),
    };
    let concluded = conclude(setup, (pool, &pooled), record, number).await;
    if !trouble::spoils_lab(prepared) {
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
) -> (Trial, Option<Artefacts>, Vec<Findings>) {
    let TrialRecord { evidence, peers, server, programs, took, fault } = record;
    let mut logs = Vec::new();
    for running in programs {
        logs.push(running.log().await);
    }
    let known =
        TrialFacts { plan: pooled.lab.plan(), evidence: &evidence, logs: &logs, peers, server, fault };
    let mut judgement = judging::judgement_of(setup, known);
    let findings = std::mem::take(&mut judgement.reference);
    let outcome = judgement.outcome.clone();
    let kept = artefacts::are_kept(setup.request.keep, &outcome, &setup.prepared.pass_kept);
    let artefacts = kept.then(|| Artefacts::folder(&setup.prepared.cell.id, number));
    let trial = Trial { number, seed: setup.seed.number(), outcome, took, artefacts };
    let kept = kept.then(|| artefacts::collect((pool, pooled), setup.prepared, judgement, (logs, evidence)));
    (trial, kept, findings)
}
