//! All that a run can tell, while it runs: the seam between `run` and `report`.
//!
//! `run` hands these to one callback and never formats; `report` turns them into text and never runs anything.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use fnv::FnvHasher;

use crate::model::doubt::Doubt;
use crate::model::evidence::{Evidence, Nanos};
use crate::model::outcome::{CellResult, Expectation, NoExpectation, Trial};
use crate::model::shard::Shard;
use crate::model::suite::Cell;

/// What is known of a run before its first trial.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// Name of the suite.
    pub suite: String,
    /// The suite in one sentence.
    pub summary: String,
    /// The cells that will run, after the filter.
    pub cells: Vec<Cell>,
    /// Which part of the run these are.
    pub part: Shard,
    /// Trials a cell: the most that any has.
    pub trials: u32,
    /// Trials of all cells together.
    pub trials_in_all: u64,
    /// How long they are expected to take.
    pub forecast: Forecast,
    /// NATs that are proved before the first trial.
    pub nats: usize,
    /// Trials at the same time.
    pub jobs: usize,
    /// The seed of the run.
    pub seed: u64,
    /// The machine and its tools.
    pub environment: Environment,
}

/// How long a run takes if theory is right and nothing else keeps the processors busy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forecast {
    /// One trial of each cell, in the order of the cells; empty where nobody can say.
    pub trials: Vec<TrialForecast>,
    /// The work of all trials together.
    pub work: Duration,
    /// From the begin of the first trial to the end of the last.
    pub takes: Duration,
}

/// How long one trial takes, and how much of the run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialForecast {
    /// From its begin to its end.
    pub takes: Duration,
    /// Its time divided by the number of trials at the same time, and its processor time divided by the number of processors, together.
    pub work: Duration,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofResult {
    /// Name of the NAT.
    pub nat: String,
    /// What was measured, in a fixed order.
    pub rows: Vec<ProofRow>,
    /// Why nothing or not all could be measured, if so.
    pub error: Option<String>,
    /// Why this machine cannot have such a NAT, if so.
    pub unsupported: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl ProofResult {
    /// Whether the NAT does what it declares.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.error.is_none() && self.unsupported.is_none() && self.rows.iter().all(|r| r.agrees)
    }
}

/// One check of what the kernel's NAT does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelCheck {
    /// What it is called.
    pub id: String,
    /// What it asks.
    pub asks: String,
    /// The packets that are sent.
    pub packets: String,
    /// The first kernel that does what is expected, if older ones do something else.
    pub since: Option<String>,
    /// What this kernel is expected to do: one of these words.
    pub expected: Vec<String>,
    /// What it did.
    pub observed: String,
    /// The figures behind it.
    pub detail: String,
    /// Why nothing could be measured, if so.
    pub error: Option<String>,
    /// What this kernel lacks that the check needs, if so.
    pub unsupported: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl KernelCheck {
    /// Whether the kernel did what is expected of it.
    #[must_use]
    pub fn is_as_expected(&self) -> bool {
        self.expected.contains(&self.observed)
    }
}

/// Bytes of a cell's id that its folder is called by; file systems take 255.
const LONGEST_NAME: usize = 200;

/// All that was seen of a trial and said in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Artefacts {
    /// What the wire and connection tracking saw.
    pub evidence: Evidence,
    /// Nanoseconds from the evidence's clock to the time since 1970.
    pub unix_offset: Nanos,
    /// Which nodes each link of the evidence joins, by its index.
    pub links: Vec<LinkRecord>,
    /// The nodes' addresses: of a NAT, the external one.
    pub addresses: Vec<(String, Ipv4Addr)>,
    /// What the programs said.
    pub programs: Vec<ProgramLog>,
    /// What the NATs were: their rules and settings.
    pub nats: Vec<NatRecord>,
    /// How the trial was judged, in a sentence.
    pub judgement: String,
    /// The packets that the judgement rests on, by their index in the evidence, and what each shows.
    pub marks: Vec<(usize, String)>,
    /// What theory expects of the cell, or why it says nothing.
    pub expected: Result<Expectation, NoExpectation>,
}

/// The two ends of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkRecord {
    /// The node further from the core.
    pub lower: String,
    /// The node nearer to the core.
    pub upper: String,
}

impl Default for Artefacts {
    /// Those of a trial of which nothing is known.
    fn default() -> Self {
        Self {
            evidence: Evidence::default(),
            unix_offset: 0,
            links: Vec::new(),
            addresses: Vec::new(),
            programs: Vec::new(),
            nats: Vec::new(),
            judgement: String::new(),
            marks: Vec::new(),
            expected: Err(NoExpectation { because: "nothing is known of it".to_owned() }),
        }
    }
}

impl Artefacts {
    /// Below the run's folder, where all artefacts lie.
    pub const FOLDER: &str = "cells";

    /// The folder of a trial's artefacts, below the run's: the cell's id made a file name, and the number. It cannot
    /// lead out of the run's folder, and no two cells have the same.
    #[must_use]
    pub fn folder(cell: &str, number: u32) -> String {
        let kept = |c: char| c.is_ascii_alphanumeric() || "-+=._".contains(c);
        let harmless: String = cell.chars().map(|c| if kept(c) { c } else { '~' }).collect();
        let name = harmless.trim_start_matches('.');
        // Slashes become tildes in every id; whatever else changes could make two ids alike.
        let changed = cell.chars().any(|c| !kept(c) && c != '/') || name.len() != cell.len();
        if changed || name.len() > LONGEST_NAME || name.is_empty() {
            // FNV-1a.
            let mut hasher = FnvHasher::default();
            hasher.write(cell.as_bytes());
            let hash = hasher.finish();
            return format!("cells/{}~{hash:016x}/trial-{number}", &name[..name.len().min(LONGEST_NAME)]);
        }
        format!("cells/{name}/trial-{number}")
    }
}

/// What one program of a trial said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramLog {
    /// Who it was: `rendezvous`, `peer-a`, `peer-b`.
    pub name: String,
    /// The command, program first.
    pub command: Vec<String>,
    /// Standard output; cut off after a mebibyte.
    pub stdout: Vec<u8>,
    /// Standard error; cut off likewise.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub ended: String,
}

/// What one NAT of a trial was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatRecord {
    /// The node.
    pub node: String,
    /// The name of its profile.
    pub profile: String,
    /// Its nftables rules.
    pub ruleset: String,
    /// The settings that it pins, `key = value`.
    pub sysctls: Vec<String>,
}

/// How a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunEnd {
    /// Every trial ran.
    Complete,
    /// The user stopped it: what was finished is reported.
    Interrupted,
}

/// How many packets came to the NATs of a run, by what the reference NAT says of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketCount {
    /// Those that the NAT had to handle in one way, and did.
    pub judged: u64,
    /// Those that it could handle in more than one way, and handled in one of them, by the reason.
    pub either: BTreeMap<Doubt, u64>,
    /// Those of which the reference cannot tell, by the reason.
    pub not_judged: BTreeMap<Doubt, u64>,
}

/// One thing that a run tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run begins.
    RunStarted(RunInfo),
    /// A NAT was proved, or was not.
    NatProved(ProofResult),
    /// A check of the kernel was made.
    KernelChecked(KernelCheck),
    /// A negative control was made, the last step before the first trial.
    ControlMade {
        /// Controls that were made so far.
        made: usize,
        /// All that are wanted.
        of: usize,
    },
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
    /// What is kept of a trial; comes before the trial is reported as finished.
    TrialKept {
        /// Id of the cell.
        cell: String,
        /// Number of the trial, from 1.
        number: u32,
        /// What is kept.
        artefacts: Box<Artefacts>,
    },
    /// All trials of a cell are done.
    CellFinished(CellResult),
    /// NATs of cells that would differ are proved in full before the run says so. Told whenever one of the two numbers changes.
    FullProofs {
        /// How many full proofs the run has made so far.
        made: usize,
        /// How many it has wanted so far.
        of: usize,
    },
    /// The machine was too slow for some trials, which are played again. The results say so of each of them.
    TrialsRepeated {
        /// How many.
        count: usize,
        /// How many of them run at the same time.
        at_a_time: usize,
    },
    /// Something that the user should know and that changes no result.
    Warning(String),
    /// How many packets at the NATs were held against the reference.
    PacketsJudged(PacketCount),
    /// The run is over.
    RunFinished {
        /// How it ended.
        ending: RunEnd,
        /// How long it took.
        took: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_of_a_cell_leads_out_of_the_run() {
        assert_eq!(Artefacts::folder("a/b/auto", 3), "cells/a~b/auto/trial-3".replace("b/auto", "b~auto"));
        let ids = ["..", "../../etc", "/etc", "a~b", "a/b", "", ".", "a\0b", "ü/x", "\u{1b}[2J", "CON:x"];
        let long = ["x".repeat(300), "x".repeat(301)];
        let folders: Vec<String> = ids
            .into_iter()
            .chain(long.iter().map(String::as_str))
            .map(|id| Artefacts::folder(id, 1))
            .collect();
        for folder in &folders {
            let parts: Vec<&str> = folder.split('/').collect();
            assert_eq!((parts.len(), parts[0], parts[2]), (3, "cells", "trial-1"), "{folder}");
            assert!(!parts[1].starts_with('.') && !parts[1].is_empty() && parts[1].len() < 255, "{folder}");
            assert!(folder.chars().all(|c| c.is_ascii_graphic() && c != ':'), "{folder}");
        }
        let different: std::collections::BTreeSet<_> = folders.iter().collect();
        assert_eq!(different.len(), folders.len(), "{folders:?}");
    }
}
