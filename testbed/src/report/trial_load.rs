//! What each trial had of the machine, and trials that were not counted, as `results.json` has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
