//! From the values of the model to those of `results.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::event::{Environment, KernelCheck, ProofResult, ProofRow};
use crate::model::outcome::{
    CellResult, ClaimedEnd, Difference, Expectation, Outcome, Quantiles, Rate, Trial, TrialLoad, Verdict,
    VoidTrial,
};
use crate::model::shard::Shard;
use crate::model::statistics::Sensitivity;
use crate::model::suite::Cell;
use crate::report::results::{
    DifferenceDoc, EndedDoc, ExpectedDoc, KernelCell, LoadDoc, OutcomeDoc, PartDoc, ProofCell, ProofRowDoc,
    PunchCell, QuantilesDoc, RateDoc, Results, SensitivityDoc, TrialDoc, VerdictDoc, VoidDoc,
};

/// A duration in milliseconds, to the microsecond.
#[must_use]
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl From<Verdict> for VerdictDoc {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::AsExpected => Self::AsExpected,
            Verdict::Differs => Self::Differs,
            Verdict::Undecided => Self::Undecided,
            Verdict::NoExpectation => Self::NoExpectation,
            Verdict::Error => Self::Error,
            Verdict::Skipped => Self::Skipped,
        }
    }
}

impl From<Shard> for PartDoc {
    fn from(Shard { shard, cells, plan }: Shard) -> Self {
        Self { shard: shard.index, of: shard.of, cells, plan: format!("{plan:016x}") }
    }
}

impl From<Difference> for DifferenceDoc {
    fn from(difference: Difference) -> Self {
        match difference {
            Difference::Broken => Self::Broken,
            Difference::Flaky => Self::Flaky,
            Difference::Worse => Self::Worse,
            Difference::Better => Self::Better,
        }
    }
}

impl From<&Expectation> for ExpectedDoc {
    fn from(expected: &Expectation) -> Self {
        let Expectation { probability, low, high, because } = expected.clone();
        let end = |end: f64| (!expected.is_exact()).then_some(end);
        Self { probability, low: end(low), high: end(high), because }
    }
}

impl From<Rate> for RateDoc {
    fn from(Rate { probability, low, high }: Rate) -> Self {
        Self { probability, low, high }
    }
}

impl From<Sensitivity> for SensitivityDoc {
    fn from(Sensitivity { false_alarm, fall_to, rise_to }: Sensitivity) -> Self {
        Self { false_alarm, fall_to, rise_to }
    }
}

impl From<Quantiles> for QuantilesDoc {
    fn from(q: Quantiles) -> Self {
        Self { min: millis(q.min), median: millis(q.median), p95: millis(q.p95), max: millis(q.max) }
    }
}

impl From<&ProofResult> for ProofCell {
    fn from(proof: &ProofResult) -> Self {
        let row = |row: &ProofRow| ProofRowDoc {
            axis: row.axis.clone(),
            expected: row.expected.clone(),
            observed: row.observed.clone(),
            agrees: row.agrees,
        };
        Self {
            id: format!("proof/{}", proof.nat),
            nat: proof.nat.clone(),
            verdict: match (&proof.unsupported, proof.holds()) {
                (Some(_), _) => VerdictDoc::Skipped,
                (None, true) => VerdictDoc::AsExpected,
                (None, false) => VerdictDoc::Error,
            },
            note: proof
                .unsupported
                .clone()
                .or_else(|| proof.error.clone())
                .or_else(|| disagreement(proof))
                .unwrap_or_default(),
            rows: proof.rows.iter().map(row).collect(),
            took_ms: millis(proof.took),
        }
    }
}

impl From<&KernelCheck> for KernelCell {
    fn from(check: &KernelCheck) -> Self {
        let expected = check.expected.join(" or ");
        let as_expected = check.is_as_expected();
        let (verdict, note) = match (&check.error, &check.unsupported) {
            (Some(why), _) => (VerdictDoc::Error, why.clone()),
            (None, Some(why)) => (VerdictDoc::Skipped, format!("this kernel cannot make the check: {why}")),
            (None, None) if as_expected => (VerdictDoc::AsExpected, String::new()),
            (None, None) => {
                let KernelCheck { observed, detail, .. } = check;
                (VerdictDoc::Differs, format!("expected {expected}, observed {observed} ({detail})"))
            }
        };
        Self {
            id: format!("kernel/{}", check.id),
            asks: check.asks.clone(),
            packets: check.packets.clone(),
            since: check.since.clone(),
            expected,
            observed: check.observed.clone(),
            detail: check.detail.clone(),
            verdict,
            note,
            took_ms: millis(check.took),
        }
    }
}

/// The first axis on which a NAT does something else than it declares.
fn disagreement(proof: &ProofResult) -> Option<String> {
    let row = proof.rows.iter().find(|row| !row.agrees)?;
    Some(format!("{}: expected {}, observed {}", row.axis, row.expected, row.observed))
}

impl From<&CellResult> for PunchCell {
    fn from(result: &CellResult) -> Self {
        Self {
            id: result.cell.id.clone(),
            index: result.cell.index,
            part: result.cell.part.name.clone(),
            topology: result.cell.part.topology.clone(),
            axes: axes(&result.cell),
            trip_ms: millis(result.trip),
            group: result.group.clone(),
            asked: result.asked as usize,
            trials: result.trials.len(),
            passed: result.passed(),
            failed: result.failed(),
            error: result.errors(),
            skipped: result.skipped(),
            expected: result.expected.as_ref().map(ExpectedDoc::from),
            observed: result.observed.map(RateDoc::from),
            sensitivity: result.sensitivity.map(SensitivityDoc::from),
            verdict: result.verdict.into(),
            difference: result.difference.map(DifferenceDoc::from),
            note: result.note.clone(),
            causes: result.causes().into_iter().map(|(cause, n)| (cause.name().to_owned(), n)).collect(),
            won_by: result.won_by(),
            established_ms: result.established().map(QuantilesDoc::from),
            authenticated_ms: result.authenticated().map(QuantilesDoc::from),
            each: result.trials.iter().map(TrialDoc::from).collect(),
            void: result.void.iter().map(VoidDoc::from).collect(),
        }
    }
}

impl From<&VoidTrial> for VoidDoc {
    fn from(VoidTrial { number, why, paused, ended, load }: &VoidTrial) -> Self {
        let ended = match ended {
            ClaimedEnd::Connected => EndedDoc::Connected,
            ClaimedEnd::NotConnected => EndedDoc::NotConnected,
        };
        Self { number: *number, why: why.clone(), paused: *paused, ended, load: LoadDoc::from(load) }
    }
}

impl From<&TrialLoad> for LoadDoc {
    fn from(TrialLoad { used, gap, programs }: &TrialLoad) -> Self {
        let waited = programs.iter().map(|program| (program.name.clone(), millis(program.waited)));
        Self { used_ms: millis(*used), gap_ms: millis(*gap), waited_ms: waited.collect() }
    }
}

/// The value of every axis by its name.
#[must_use]
pub(super) fn axes(cell: &Cell) -> BTreeMap<String, String> {
    cell.values.iter().map(|(key, value)| (key.to_string(), value.clone())).collect()
}

impl From<&Trial> for TrialDoc {
    fn from(trial: &Trial) -> Self {
        let mut doc = Self {
            number: trial.number,
            seed: trial.seed,
            outcome: OutcomeDoc::Passed,
            method: None,
            how: None,
            detail: None,
            established_ms: None,
            authenticated_ms: None,
            took_ms: millis(trial.took),
            load: LoadDoc::from(&trial.load),
            artefacts: trial.artefacts.clone(),
        };
        match &trial.outcome {
            Outcome::Passed(success) => {
                doc.method = Some(success.method.clone());
                doc.how = Some(success.how.name().to_owned());
                doc.detail = success.how.detail();
                doc.established_ms = Some(millis(success.established));
                doc.authenticated_ms = Some(millis(success.authenticated));
            }
            Outcome::Failed(failure) => {
                doc.outcome = OutcomeDoc::Failed;
                doc.how = Some(failure.cause.name().to_owned());
                doc.detail = Some(failure.detail.clone());
            }
            Outcome::Error(failure) => {
                doc.outcome = OutcomeDoc::Error;
                doc.how = Some(failure.cause.name().to_owned());
                doc.detail = Some(failure.detail.clone());
            }
            Outcome::Skipped(why) => (doc.outcome, doc.detail) = (OutcomeDoc::Skipped, Some(why.clone())),
        }
        doc
    }
}

/// The machine that a run was made on, as [`Results`] carry it.
impl Results {
    pub(super) fn set_environment(&mut self, environment: &Environment) {
        let Environment { kernel, nft, testbed, rights, processors, wire_scheduling } = environment.clone();
        self.kernel = kernel;
        self.nft = nft;
        self.testbed = testbed;
        self.rights = rights;
        self.processors = processors;
        self.wire_scheduling = wire_scheduling;
    }
}
