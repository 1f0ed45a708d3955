//! What a run is asked to do, and the errors that keep it from beginning.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::judge::verdict::{Standard, TestDesign};
use crate::kernel;
use crate::model::catalogue::Catalogue;
use crate::model::shard::Shard;
use crate::model::suite::{Cell, Suite};
use crate::model::topology::NodeName;

/// A run to be made.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The suite; its number of trials is the one to run.
    pub suite: Suite,
    /// Its cells after any filter.
    pub cells: Vec<Cell>,
    /// The NATs by name.
    pub catalogue: Catalogue,
    /// Which part of the run these cells are.
    pub part: Shard,
    /// Add trials until a sequential test is sure of a cell, up to this many; `None` to make as many as the suite says.
    pub until_sure: Option<u32>,
    /// Trials at the same time, at least 1.
    pub jobs: usize,
    /// The seed of all our randomness.
    pub seed: u64,
    /// Our puncher, for commands that say `{puncher}`.
    pub puncher: PathBuf,
    /// Which trials' artefacts are handed out.
    pub keep: Keep,
    /// A NAT that gets the rules of another one once all NATs are proved and all controls made: it is not what it was proved to
    /// be. For tests of the judge; a run of a user's has none.
    pub mutation: Option<Mutation>,
}

/// A NAT with the rules of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// Its node.
    pub node: NodeName,
    /// The profile whose rules it gets.
    pub rules_of: String,
}

impl RunRequest {
    /// How its cells are judged.
    #[must_use]
    pub(super) fn standard(&self) -> Standard {
        let testing = if self.until_sure.is_some() { TestDesign::Sequential } else { TestDesign::Fixed };
        Standard::of_run(self.part.cells, testing)
    }
}

/// Which trials' artefacts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Keep {
    /// All.
    All,
    /// Those that did not pass, and the first of each cell that did.
    #[default]
    Failed,
    /// None.
    None,
}

/// The user's wish to stop.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// A wish and the way to make it: send `true`.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until stopping is wanted; for ever if nobody can want it any more.
    pub async fn wanted(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The kernel or the machine refused.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Not even one trial fits into what this process may have.
    #[error("cannot run a single trial: {0}")]
    NoRoom(String),
    /// The topology has no place for a peer.
    #[error("the topology \"{topology}\" has no host \"{peer}\" to run a peer on")]
    NoPeer {
        /// The topology.
        topology: String,
        /// The missing host.
        peer: &'static str,
    },
    /// A cell names a NAT that the catalogue does not have.
    #[error("unknown NAT \"{0}\"")]
    UnknownNat(String),
}
