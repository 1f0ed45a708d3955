//! In which order trials run: many cells side by side, each cell's own trials in the order of their numbers. Pure.
//!
//! Trials mostly wait, and labs are reused most cheaply for the NATs they already have. So cells are taken in groups,
//! and within a group the trials of all its cells take turns: a group needs few kinds of labs, and the cells that wait
//! for their deadline do so beside the ones that do not. Whoever has played a trial goes on with the same cell for a while,
//! as its lab is there.

use std::collections::VecDeque;

/// One trial to be run: the index of its cell in the run, and its number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    /// Index into the run's cells.
    pub(super) cell: usize,
    /// Number of the trial in its cell.
    pub(super) number: u32,
}

/// The trials that have not begun.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Task>,
}

/// How many cells take turns.
const GROUP: usize = 24;

/// How far ahead of the others of its group a cell may get: eight turns.
const NEAR: usize = 8 * GROUP;

impl Queue {
    /// All trials of the cells, each with its number of trials.
    #[must_use]
    pub(super) fn new(trials: &[u32]) -> Self {
        let mut waiting = VecDeque::new();
        for (group, of_group) in trials.chunks(GROUP).enumerate() {
            let cells = || (group * GROUP..).zip(of_group);
            for number in 1..=of_group.iter().copied().max().unwrap_or_default() {
                let turn = cells().filter(|(_, trials)| number <= **trials);
                waiting.extend(turn.map(|(cell, _)| Task { cell, number }));
            }
        }
        Self { waiting }
    }

    /// Adds trials of a cell behind all others.
    pub(super) fn add(&mut self, cell: usize, numbers: std::ops::RangeInclusive<u32>) {
        self.waiting.extend(numbers.map(|number| Task { cell, number }));
    }

    /// The next one: of the cell `last` if one of the next few is, else the first.
    pub(super) fn take(&mut self, last: Option<usize>) -> Option<Task> {
        let near = last.and_then(|cell| self.waiting.iter().take(NEAR).position(|task| task.cell == cell));
        self.waiting.remove(near.unwrap_or(0))
    }

    /// Forgets the trials of a cell that have not begun.
    pub(super) fn drop_cell(&mut self, cell: usize) {
        self.waiting.retain(|t| t.cell != cell);
    }

    /// How many wait.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_comes_once_and_each_cells_in_order() {
        let mut queue = Queue::new(&[3; 30]);
        let mut seen = vec![Vec::new(); 30];
        while let Some(task) = queue.take(None) {
            seen[task.cell].push(task.number);
        }
        assert!(seen.iter().all(|numbers| numbers == &[1, 2, 3]), "{seen:?}");
    }

    #[test]
    fn cells_with_more_trials_go_on_alone() {
        let mut queue = Queue::new(&[1, 3]);
        let cells: Vec<_> = std::iter::from_fn(|| queue.take(None)).map(|t| (t.cell, t.number)).collect();
        assert_eq!(cells, [(0, 1), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn what_is_added_comes_last() {
        let mut queue = Queue::new(&[1; 2]);
        queue.add(0, 2..=3);
        let tasks: Vec<_> = std::iter::from_fn(|| queue.take(None)).map(|t| (t.cell, t.number)).collect();
        assert_eq!(tasks, [(0, 1), (1, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_cell_goes_on_and_does_not_get_far_ahead() {
        let mut queue = Queue::new(&[20; GROUP]);
        let first = queue.take(None).expect("a trial");
        let mut numbers = vec![first.number];
        while let Some(task) = queue.take(Some(first.cell)).filter(|task| task.cell == first.cell) {
            numbers.push(task.number);
        }
        assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    }

    #[test]
    fn a_dropped_cell_does_not_come_again() {
        let mut queue = Queue::new(&[2, 1, 2]);
        queue.drop_cell(1);
        let cells: Vec<_> = std::iter::from_fn(|| queue.take(None)).map(|t| t.cell).collect();
        assert_eq!(cells, [0, 2, 0, 2]);
    }
}
