//! The frames under way on all wires, soonest first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::lab::wire::tap::RecordId;
use crate::model::evidence::{Direction, Nanos};

/// A frame under way.
#[derive(Debug)]
pub(super) struct Pending {
    /// When it is to leave.
    pub(super) due: Nanos,
    /// Which wire it is on.
    pub(super) line: u64,
    /// Since which epoch of that wire.
    pub(super) epoch: u64,
    /// Which way it goes.
    pub(super) direction: Direction,
    /// Its place in the tap.
    pub(super) record: Option<RecordId>,
    /// Virtio header and frame.
    pub(super) bytes: Box<[u8]>,
}

/// Frames in the order of `due`; those due at the same moment in the order they were put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, pending: Pending) {
        self.sequence += 1;
        self.heap.push(Entry { sequence: self.sequence, pending });
    }

    /// When the first frame is due.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.heap.peek().map(|entry| entry.pending.due)
    }

    /// The first frame, if it is due by now.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<Pending> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.pending)
    }
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    pending: Pending,
}

impl Ord for Entry {
    /// The soonest is the greatest, because a `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.pending.due, other.sequence).cmp(&(self.pending.due, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(due: Nanos, line: u64) -> Pending {
        let (epoch, direction) = (0, Direction::Up);
        Pending { due, line, epoch, direction, record: None, bytes: Box::default() }
    }

    #[test]
    fn frames_come_out_when_due_and_ties_in_the_order_they_went_in() {
        let mut queue = Queue::default();
        for (due, line) in [(30, 1), (10, 2), (20, 3), (10, 4), (10, 5)] {
            queue.push(pending(due, line));
        }
        assert_eq!(queue.next_due(), Some(10));
        let mut out = Vec::new();
        while let Some(next) = queue.pop_due(20) {
            out.push(next.line);
        }
        assert_eq!(out, [2, 4, 5, 3]);
        assert_eq!(queue.next_due(), Some(30));
    }
}
