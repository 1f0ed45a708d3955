//! In which order trials run: many cells side by side, each cell's own trials in the order of their numbers. Pure.
//!
//! Trials mostly wait, and labs are reused most cheaply for the NATs they already have. So cells are taken in groups,
//! and within a group the trials of all its cells take turns: a group needs few kinds of labs, and the cells that wait
//! for their deadline do so beside the ones that do not.

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

    /// The next one.
    pub(super) fn take(&mut self) -> Option<Task> {
        self.waiting.pop_front()
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
        while let Some(task) = queue.take() {
            seen[task.cell].push(task.number);
        }
        assert!(seen.iter().all(|numbers| numbers == &[1, 2, 3]), "{seen:?}");
    }

    #[test]
    fn cells_with_more_trials_go_on_alone() {
        let mut queue = Queue::new(&[1, 3]);
        let cells: Vec<_> = std::iter::from_fn(|| queue.take()).map(|t| (t.cell, t.number)).collect();
        assert_eq!(cells, [(0, 1), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn what_is_added_comes_last() {
        let mut queue = Queue::new(&[1; 2]);
        queue.add(0, 2..=3);
        let tasks: Vec<_> = std::iter::from_fn(|| queue.take()).map(|t| (t.cell, t.number)).collect();
        assert_eq!(tasks, [(0, 1), (1, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_dropped_cell_does_not_come_again() {
        let mut queue = Queue::new(&[2, 1, 2]);
        queue.drop_cell(1);
        let cells: Vec<_> = std::iter::from_fn(|| queue.take()).map(|t| t.cell).collect();
        assert_eq!(cells, [0, 2, 0, 2]);
    }
}
