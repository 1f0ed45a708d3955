//! What the workers of a run share, and what they tell of their trials.

use parking_lot::{Mutex, MutexGuard};

use crate::run::pool::LabPool;
use crate::run::prepared_cell::PreparedCell;
use crate::run::queue::Queue;
use crate::run::request::RunRequest;
use crate::run::trial::Played;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) request: RunRequest,
    pub(super) cells: Vec<PreparedCell>,
    pub(super) pool: LabPool,
    pub(super) queue: Mutex<Queue>,
}

impl Shared {
    /// What is still to be played.
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

/// What the workers send.
#[derive(Debug)]
pub(super) enum Message {
    Started { cell: usize, number: u32 },
    Finished { cell: usize, played: Box<Played> },
}
