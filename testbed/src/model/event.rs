//! All that a run can tell, while it runs: the seam between `run` and `report`.
//!
//! `run` hands these to one callback and never formats; `report` turns them into text and never runs anything.

use std::time::Duration;

use crate::model::outcome::{CellResult, Trial};
use crate::model::suite::Cell;

/// What is known of a run before its first trial.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// Name of the suite.
    pub suite: String,
    /// The cells that will run, after the filter.
    pub cells: Vec<Cell>,
    /// Trials a cell.
    pub trials: u32,
    /// Trials at the same time.
    pub jobs: usize,
    /// The seed of the run.
    pub seed: u64,
    /// The machine and its tools.
    pub environment: Environment,
}

/// The machine and its tools, as far as results depend on them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Release of the kernel, as `uname -r` says.
    pub kernel: String,
    /// Version of nftables.
    pub nft: String,
    /// Version of testbed.
    pub testbed: String,
    /// How rights were had: `root` or `user namespace`.
    pub rights: String,
    /// Number of processors that may be used.
    pub processors: usize,
    /// How the wire's thread is scheduled: `SCHED_FIFO` or `SCHED_OTHER`.
    pub wire_scheduling: String,
}

/// One axis of a NAT, declared and measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRow {
    /// The axis: `mapping`, `allocation`, …
    pub axis: String,
    /// What is declared.
    pub expected: String,
    /// What was measured.
    pub observed: String,
    /// Whether they agree.
    pub agrees: bool,
}

/// The proof of one NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofResult {
    /// Name of the NAT.
    pub nat: String,
    /// What was measured, in a fixed order.
    pub rows: Vec<ProofRow>,
    /// Why nothing or not all could be measured, if so.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl ProofResult {
    /// Whether the NAT does what it declares.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.error.is_none() && self.rows.iter().all(|r| r.agrees)
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Every trial ran.
    Complete,
    /// The user stopped it: what was finished is reported.
    Interrupted,
}

/// One thing that a run tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins.
    RunStarted(RunInfo),
    /// A NAT was proved, or was not.
    NatProved(ProofResult),
    /// A trial begins.
    TrialStarted {
        /// Id of the cell.
        cell: String,
        /// Number of the trial, from 1.
        number: u32,
    },
    /// A trial was judged.
    TrialFinished {
        /// Id of the cell.
        cell: String,
        /// The trial.
        trial: Trial,
    },
    /// All trials of a cell are done.
    CellFinished(CellResult),
    /// Something that the user should know and that changes no result.
    Warning(String),
    /// The run is over.
    RunFinished {
        /// How it ended.
        ending: Ending,
        /// How long it took.
        took: Duration,
    },
}
