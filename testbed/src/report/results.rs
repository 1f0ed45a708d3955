//! `results.json`: the versioned schema that every other format is made from. Times are milliseconds.
//!
//! The schema stands in `docs/results.schema.json`. A change that an old reader would misunderstand raises [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::plain_words::of_json;
use crate::model::statistics::{Rates, Sensitivity};
use crate::report::origin::Origin;
pub use crate::report::totals::{PacketsDoc, Totals, VerdictDoc};
pub use crate::report::trial_docs::{EndedDoc, LoadDoc, OutcomeDoc, TrialDoc, VoidDoc};

/// Version of the schema.
pub const SCHEMA: u32 = 2;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Version of the schema.
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// The suite in one sentence.
    #[serde(default)]
    pub summary: String,
    /// Where the run came from.
    #[serde(default)]
    pub origin: Origin,
    /// Version of testbed.
    pub testbed: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of nftables.
    pub nft: String,
    /// How rights were had.
    pub rights: String,
    /// Number of processors that could be used.
    pub processors: usize,
    /// How the wire's thread was scheduled.
    pub wire_scheduling: String,
    /// Seed of the run.
    pub seed: u64,
    /// Which part of a run this is.
    pub part: PartDoc,
    /// Trials asked for in each cell; the most, where parts of the suite differ.
    pub trials_per_cell: u32,
    /// Trials at the same time.
    pub jobs: usize,
    /// How the run ended.
    pub ending: EndingDoc,
    /// Of a run that was interrupted, the cells that it did not reach; missing where an older testbed wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreached: Option<Vec<String>>,
    /// How long the run took.
    pub took_ms: f64,
    /// How many cells came to which verdict.
    pub totals: Totals,
    /// What the user should know and what changed no result.
    pub warnings: Vec<String>,
    /// How many packets at the NATs were held against the reference NAT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<PacketsDoc>,
    /// Every finished cell: proofs first, then the cells of the suite in its order.
    pub cells: Vec<CellDoc>,
}

/// A share of a run that is split over several machines, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartDoc {
    /// Which share, from 1.
    pub shard: u32,
    /// Of how many.
    pub of: u32,
    /// Cells of the whole run.
    pub cells: usize,
    /// The same in all parts of a run: a digest of the names of its cells and of how often each is tried.
    pub plan: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingDoc {
    /// Every trial ran.
    Complete,
    /// The user stopped it, or it broke: only finished cells are here.
    Interrupted,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CellDoc {
    /// Punching across a combination.
    Punch(Box<PunchCell>),
    /// Whether a NAT does what it declares.
    Proof(ProofCell),
    /// What the kernel's NAT does.
    Kernel(KernelCell),
}

/// Punching across a combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PunchCell {
    /// The name of the cell.
    pub id: String,
    /// Its position among all cells of the suite, before any filter or shard.
    pub index: usize,
    /// The part of the suite; empty where it has only one.
    #[serde(default)]
    pub part: String,
    /// The wiring.
    #[serde(default)]
    pub topology: String,
    /// The value of every axis.
    pub axes: BTreeMap<String, String>,
    /// One way from peer to peer.
    pub trip_ms: f64,
    /// The cells that it is like: those with the same class of NATs and the same method.
    pub group: String,
    /// Trials that were asked for; fewer were judged when the run was interrupted.
    pub asked: usize,
    /// Trials that were judged.
    pub trials: usize,
    /// Those that passed.
    pub passed: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were errors.
    pub error: usize,
    /// Those that were skipped.
    pub skipped: usize,
    /// What theory says, if it knows the method.
    pub expected: Option<ExpectedDoc>,
    /// What was seen, if a trial passed or failed.
    pub observed: Option<RateDoc>,
    /// What the trials could have shown, if they were compared with theory.
    pub sensitivity: Option<SensitivityDoc>,
    /// The judgement.
    pub verdict: VerdictDoc,
    /// In which way it differs from theory, if it does.
    pub difference: Option<DifferenceDoc>,
    /// Why it is not as expected; empty when it is.
    pub note: String,
    /// How often each cause of failure was seen.
    pub causes: BTreeMap<String, usize>,
    /// How often each way of winning was seen.
    pub won_by: BTreeMap<String, usize>,
    /// From the first punching SYN until both ends were established.
    pub established_ms: Option<QuantilesDoc>,
    /// From the first punching SYN until each side had received payload.
    pub authenticated_ms: Option<QuantilesDoc>,
    /// Every trial, in order.
    pub each: Vec<TrialDoc>,
    /// Those that were played and not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub void: Vec<VoidDoc>,
}

/// Whether a NAT does what it declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProofCell {
    /// `proof/` and the name of the NAT.
    pub id: String,
    /// Name of the NAT.
    pub nat: String,
    /// As expected, or an error.
    pub verdict: VerdictDoc,
    /// Why nothing or not all could be measured; empty otherwise.
    pub note: String,
    /// What was measured.
    pub rows: Vec<ProofRowDoc>,
    /// How long it took.
    pub took_ms: f64,
}

/// What the kernel's NAT does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelCell {
    /// `kernel/` and the name of the check.
    pub id: String,
    /// What it asks.
    pub asks: String,
    /// The packets that are sent.
    pub packets: String,
    /// The first kernel that does what is expected, where older ones do something else.
    pub since: Option<String>,
    /// What this kernel is expected to do.
    pub expected: String,
    /// What it did.
    pub observed: String,
    /// The figures behind it.
    pub detail: String,
    /// The judgement.
    pub verdict: VerdictDoc,
    /// Why it is not as expected; empty when it is.
    pub note: String,
    /// How long it took.
    pub took_ms: f64,
}

/// One axis of a NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRowDoc {
    /// The axis.
    pub axis: String,
    /// What is declared.
    pub expected: String,
    /// What was measured.
    pub observed: String,
    /// Whether they agree.
    pub agrees: bool,
}

/// What theory says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedDoc {
    /// Probability that a trial passes.
    pub probability: f64,
    /// The least probability that theory holds possible, if it knows no single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// The largest, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The reason.
    pub because: String,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateDoc {
    /// Passed over passed and failed.
    pub probability: f64,
    /// Lower end of the exact 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What a cell's trials could have shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitivityDoc {
    /// Probability that the cell is said to differ though theory is right.
    pub false_alarm: f64,
    /// The highest rate that is told from the expected one with 90 % probability; null where no fall can be seen.
    pub fall_to: Option<f64>,
    /// The lowest rate that is told from it; null where no rise can be seen.
    pub rise_to: Option<f64>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantilesDoc {
    /// Smallest.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
}

/// In which way a cell contradicts theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceDoc {
    /// It never passes, and should.
    Broken,
    /// It passes sometimes, and always should.
    Flaky,
    /// It passes less often than it should.
    Worse,
    /// It passes more often than it should.
    Better,
}

impl Totals {
    /// Counts the verdicts.
    #[must_use]
    pub fn of(cells: &[CellDoc]) -> Self {
        let mut totals = Self::default();
        for cell in cells {
            match cell {
                CellDoc::Proof(proof) => {
                    totals.proofs += 1;
                    totals.proofs_failed += usize::from(proof.verdict == VerdictDoc::Error);
                }
                CellDoc::Punch(cell) => totals.count(cell.verdict),
                CellDoc::Kernel(cell) => totals.count(cell.verdict),
            }
        }
        totals
    }
}

impl CellDoc {
    /// The name of the cell.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Punch(cell) => &cell.id,
            Self::Proof(cell) => &cell.id,
            Self::Kernel(cell) => &cell.id,
        }
    }

    /// The judgement.
    #[must_use]
    pub fn verdict(&self) -> VerdictDoc {
        match self {
            Self::Punch(cell) => cell.verdict,
            Self::Proof(cell) => cell.verdict,
            Self::Kernel(cell) => cell.verdict,
        }
    }

    /// Why it is not as expected; empty when it is.
    #[must_use]
    pub fn note(&self) -> &str {
        match self {
            Self::Punch(cell) => &cell.note,
            Self::Proof(cell) => &cell.note,
            Self::Kernel(cell) => &cell.note,
        }
    }

    /// The cell, if punching was tried in it.
    #[must_use]
    pub fn as_punch(&self) -> Option<&PunchCell> {
        match self {
            Self::Punch(cell) => Some(cell),
            Self::Proof(_) | Self::Kernel(_) => None,
        }
    }
}

impl Results {
    /// The cells in which punching was tried.
    pub fn punches(&self) -> impl Iterator<Item = &PunchCell> {
        self.cells.iter().filter_map(CellDoc::as_punch)
    }

    /// Names no folder of the trials that are gone, which are told by their cell's id and themselves.
    pub(super) fn forget_artefacts(&mut self, is_gone: impl Fn(&str, &TrialDoc) -> bool) {
        for cell in &mut self.cells {
            let CellDoc::Punch(cell) = cell else { continue };
            let PunchCell { id, each, .. } = cell.as_mut();
            for trial in each.iter_mut().filter(|trial| is_gone(id, trial)) {
                trial.artefacts = None;
            }
        }
    }

    /// The proofs of NATs.
    pub fn proofs(&self) -> impl Iterator<Item = &ProofCell> {
        self.cells.iter().filter_map(|cell| match cell {
            CellDoc::Proof(proof) => Some(proof),
            CellDoc::Punch(_) | CellDoc::Kernel(_) => None,
        })
    }

    /// The checks of the kernel.
    pub fn kernel_checks(&self) -> impl Iterator<Item = &KernelCell> {
        self.cells.iter().filter_map(|cell| match cell {
            CellDoc::Kernel(check) => Some(check),
            CellDoc::Punch(_) | CellDoc::Proof(_) => None,
        })
    }

    /// Reads `results.json`.
    ///
    /// # Errors
    /// What is wrong with the text, that another schema is needed, or which of its counts contradict each other.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let version: serde_json::Value = serde_json::from_str(text).map_err(|why| of_json(&why))?;
        match version.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => (),
            Some(other) => {
                return Err(format!(
                    "it has schema {other}, and this testbed reads schema {SCHEMA}: run the suite again, or use the \
                     testbed that wrote it"
                ));
            }
            None => return Err("it names no schema".to_owned()),
        }
        let results: Self = serde_json::from_str(text).map_err(|why| of_json(&why))?;
        match results.contradiction() {
            Some(what) => Err(what),
            None => Ok(results),
        }
    }

    /// Counts that cannot be: somebody has changed them by hand, or a writer was wrong.
    fn contradiction(&self) -> Option<String> {
        for cell in self.punches() {
            let outcomes = [cell.passed, cell.failed, cell.error, cell.skipped];
            if outcomes.into_iter().try_fold(0_usize, usize::checked_add) != Some(cell.trials) {
                return Some(format!("the outcomes of cell {:?} do not add up to its trials", cell.id));
            }
        }
        (self.totals != Totals::of(&self.cells)).then(|| "its totals are not those of its cells".to_owned())
    }

    /// The text of `results.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("the schema has neither maps with odd keys nor failing writers") + "\n"
    }
}

impl From<SensitivityDoc> for Sensitivity {
    fn from(SensitivityDoc { false_alarm, fall_to, rise_to }: SensitivityDoc) -> Self {
        Self { false_alarm, fall_to, rise_to }
    }
}

impl ExpectedDoc {
    /// The rates that theory leaves possible.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates { low: self.low.unwrap_or(self.probability), high: self.high.unwrap_or(self.probability) }
    }
}
