//! Holding frames back and watching for them, so that an order is exact and does not depend on chance: what the engine
//! keeps. [`crate::lab::wire::held`] is its owner's side.

use std::fmt;

use tokio::sync::{oneshot, watch};

use crate::lab::wire::queue::Pending;
use crate::model::evidence::{Direction, Nanos};
use crate::model::packet::Packet;

/// Chooses frames by what they say.
pub(super) type Select = Box<dyn Fn(&Packet) -> bool + Send>;

/// In which order held frames go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOrder {
    /// As they were caught.
    AsCaught,
    /// The last one caught first.
    Reversed,
    /// By their numbers, the first one caught being 0; those not named follow as they were caught.
    By(Vec<usize>),
}

/// A hold, as the engine keeps it.
pub(super) struct Hold {
    pub(super) id: u64,
    direction: Direction,
    select: Select,
    count: watch::Sender<usize>,
    held: Vec<HeldFrame>,
}

/// A frame that is held, and how long it takes once released.
#[derive(Debug)]
struct HeldFrame {
    transit: Nanos,
    pending: Pending,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("direction", &self.direction).field("held", &self.held).finish()
    }
}

impl Hold {
    pub(super) fn new(id: u64, direction: Direction, select: Select, count: watch::Sender<usize>) -> Self {
        Self { id, direction, select, count, held: Vec::new() }
    }

    /// Whether it wants such a frame.
    pub(super) fn wants(&self, direction: Direction, packet: &Packet) -> bool {
        direction == self.direction && (self.select)(packet)
    }

    /// Takes a frame that entered at `entered`.
    pub(super) fn catch(&mut self, pending: Pending, entered: Nanos) {
        self.held.push(HeldFrame { transit: pending.due.saturating_sub(entered), pending });
        self.count.send_replace(self.held.len());
    }

    /// Gives all frames back, in order, to leave as if they entered `now`.
    pub(super) fn release(self, order: &ReleaseOrder, now: Nanos) -> Vec<Pending> {
        arrange(self.held, order)
            .into_iter()
            .map(|held| Pending { due: now + held.transit, ..held.pending })
            .collect()
    }
}

fn arrange<T>(caught: Vec<T>, order: &ReleaseOrder) -> Vec<T> {
    let mut slots: Vec<Option<T>> = caught.into_iter().map(Some).collect();
    let numbers: Vec<usize> = match order {
        ReleaseOrder::AsCaught => Vec::new(),
        ReleaseOrder::Reversed => (0..slots.len()).rev().collect(),
        ReleaseOrder::By(numbers) => numbers.clone(),
    };
    let mut arranged: Vec<T> =
        numbers.into_iter().filter_map(|n| slots.get_mut(n).and_then(Option::take)).collect();
    arranged.extend(slots.into_iter().flatten());
    arranged
}

/// Somebody who waits for a frame to leave a wire, as the engine keeps it.
pub(super) struct Watcher {
    direction: Direction,
    select: Select,
    tell: oneshot::Sender<Nanos>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Watcher {
    pub(super) fn new(direction: Direction, select: Select, tell: oneshot::Sender<Nanos>) -> Self {
        Self { direction, select, tell }
    }

    pub(super) fn wants(&self, direction: Direction, packet: &Packet) -> bool {
        direction == self.direction && (self.select)(packet)
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.tell.is_closed()
    }

    pub(super) fn saw(self, left: Nanos) {
        // Nobody to tell is no harm.
        let _ = self.tell.send(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_arranged_as_asked_and_none_is_forgotten() {
        let arranged = |order| arrange(vec!['a', 'b', 'c'], &order);
        assert_eq!(arranged(ReleaseOrder::AsCaught), ['a', 'b', 'c']);
        assert_eq!(arranged(ReleaseOrder::Reversed), ['c', 'b', 'a']);
        assert_eq!(arranged(ReleaseOrder::By(vec![1])), ['b', 'a', 'c']);
        assert_eq!(arranged(ReleaseOrder::By(vec![2, 2, 7, 0])), ['c', 'a', 'b']);
    }
}
