//! What the machine gave to a trial, and trials for which it did not give enough.

use std::time::Duration;

/// What the programs of a trial had of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrialLoad {
    /// For how long they ran, on all processors together, with all that they started.
    pub used: Duration,
    /// The longest time for which a thread that has something to do every 20 ms did nothing.
    pub gap: Duration,
    /// What each program had of the processors, peers first.
    pub programs: Vec<ProgramLoad>,
}

/// What one program of a trial had of the processors: its first thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramLoad {
    /// Who it was: `peer-a`, `peer-b`, `rendezvous`.
    pub name: String,
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready to run and had no processor.
    pub waited: Duration,
}

/// A trial that was played and not counted, because the machine could not give it what it needed. That is decided without a
/// look at how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidTrial {
    /// Its number in the cell.
    pub number: u32,
    /// Why it is not counted.
    pub why: String,
    /// Whether the whole machine was paused, which no program can cause.
    pub paused: bool,
    /// How it had ended.
    pub ended: ClaimedEnd,
    /// What its programs had of the machine.
    pub load: TrialLoad,
}

/// How a trial ended, by what the programs said, true or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimedEnd {
    /// Both claimed a connection.
    Connected,
    /// At least one did not.
    NotConnected,
}
