//! Trials, as `results.json` has them: what came of each, what it had of the machine, and those that were not counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialDoc {
    /// Its number in the cell, from 1.
    pub number: u32,
    /// Its seed.
    pub seed: u64,
    /// What came of it.
    pub outcome: OutcomeDoc,
    /// The method that won, of a trial that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How a success came about, or the cause of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// One sentence that proves the cause, or says what broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// From the first punching SYN until both ends were established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub established_ms: Option<f64>,
    /// From the first punching SYN until each side had received payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated_ms: Option<f64>,
    /// The time from the start of the first program to the end of the last.
    pub took_ms: f64,
    /// What its programs had of the machine.
    #[serde(default)]
    pub load: LoadDoc,
    /// Its folder below the run's, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artefacts: Option<String>,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeDoc {
    /// Both programs said so, and the evidence bears them out.
    Passed,
    /// There was no connection.
    Failed,
    /// The lab or a program broke.
    Error,
    /// This machine cannot run it.
    Skipped,
}

impl OutcomeDoc {
    /// How bad an outcome is: the smallest is the worst.
    pub(crate) fn weight(self) -> u8 {
        match self {
            Self::Error => 0,
            Self::Failed => 1,
            Self::Skipped => 2,
            Self::Passed => 3,
        }
    }
}

impl OutcomeDoc {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// A trial that was played and not counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidDoc {
    /// Its number in the cell, from 1.
    pub number: u32,
    /// Why it is not counted.
    pub why: String,
    /// Whether the whole machine was paused.
    pub paused: bool,
    /// How it had ended, by what its programs said.
    pub ended: EndedDoc,
    /// What its programs had of the machine.
    pub load: LoadDoc,
}

/// How a trial that is not counted had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedDoc {
    /// Both programs claimed a connection.
    Connected,
    /// At least one did not.
    NotConnected,
}

/// What the programs of a trial had of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadDoc {
    /// For how long they ran, on all processors together, with all that they started.
    pub used_ms: f64,
    /// The longest time for which a thread that has something to do every 20 ms did nothing.
    pub gap_ms: f64,
    /// For how long each waited for a processor: its first thread.
    pub waited_ms: BTreeMap<String, f64>,
}
