//! Which trial is next. Pure.
//!
//! Trials that most likely wait for their deadline come first: the sooner they begin, the less is left to wait for at the end.
//! They may not take all places, so that those which work never have to wait for them. Within both kinds a cell goes on
//! where a lab of its NATs is free, and else a cell begins of which the fewest trials are under way: a lab serves many trials.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

/// One trial to be run: the index of its cell in the run, and its number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Task {
    /// Index into the run's cells.
    pub(super) cell: usize,
    /// Number of the trial in its cell.
    pub(super) number: u32,
}

/// What to know of a cell to find its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Number of its trials.
    pub(super) trials: u32,
    /// Which kind of lab it needs: cells with equal numbers share labs. Kinds are counted from 0.
    pub(super) lab: usize,
    /// What its trials do most of the time.
    pub(super) patience: Patience,
    /// How long one of them is expected to take.
    pub(super) expected: Duration,
}

/// What the trials of a cell do most of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Patience {
    /// They wait for their deadline.
    Waits,
    /// They end soon, or work until the end.
    Works,
}

/// Whether a lab that nobody uses has a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FreeLab {
    /// Trials are left that need such a one.
    Wanted,
    /// None is, unless trials are added.
    Superfluous,
}

/// The trials that have not begun.
#[derive(Debug)]
pub(super) struct Queue {
    cells: Vec<Waiting>,
    labs: Vec<Labs>,
    /// Labs that have cells with trials left, by [`Patience`].
    kinds: [Candidates; 2],
    /// Trials of [`Patience::Waits`] that are under way, and how many may be.
    patient: usize,
    most_patient: usize,
    left: usize,
}

/// The place of a cell among others: the longest first, and those that are alike in the order of the suite.
type Rank = (Reverse<Duration>, usize);

/// What is left of a cell.
#[derive(Debug)]
struct Waiting {
    numbers: Numbers,
    lab: usize,
    patience: Patience,
    rank: Rank,
}

/// Numbers of trials, in the order in which they come: ranges, because there may be millions.
#[derive(Debug, Default)]
struct Numbers(VecDeque<RangeInclusive<u32>>);

impl Numbers {
    fn up_to(last: u32) -> Self {
        let mut numbers = Self::default();
        numbers.add(1..=last);
        numbers
    }

    fn add(&mut self, numbers: RangeInclusive<u32>) {
        if !numbers.is_empty() {
            self.0.push_back(numbers);
        }
    }

    fn take(&mut self) -> Option<u32> {
        let first = self.0.front_mut()?;
        let number = first.next();
        if first.is_empty() {
            self.0.pop_front();
        }
        number
    }

    fn len(&self) -> usize {
        self.0.iter().map(|range| (range.end() - range.start()) as usize + 1).sum()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The labs of one kind.
#[derive(Debug, Default)]
struct Labs {
    in_use: usize,
    /// The most that were ever in use: this many there are, unless some were given up.
    made: usize,
    /// The cells that use them and have trials left, by [`Patience`].
    cells: [BTreeSet<Rank>; 2],
}

/// Kinds of labs whose cells have trials left.
#[derive(Debug, Default)]
struct Candidates {
    /// Those of which a lab is free, by their first cell.
    free: BTreeSet<Rank>,
    /// The others, those first of which the fewest are in use.
    busy: BTreeSet<(usize, Rank)>,
}

impl Candidates {
    fn first(&self) -> Option<usize> {
        let rank = self.free.first().or_else(|| self.busy.first().map(|(_, rank)| rank));
        rank.map(|(_, cell)| *cell)
    }

    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.busy.is_empty()
    }
}

/// The share of all places that trials which wait may take: three quarters.
const SHARE: (usize, usize) = (3, 4);

impl Queue {
    /// All trials of the cells, of which `most` may be under way at a time.
    #[must_use]
    pub(super) fn new(demands: &[Demand], most: usize) -> Self {
        let count = demands.iter().map(|demand| demand.lab + 1).max().unwrap_or(0);
        let cell = |(at, demand): (usize, &Demand)| Waiting {
            numbers: Numbers::up_to(demand.trials),
            lab: demand.lab,
            patience: demand.patience,
            rank: (Reverse(demand.expected), at),
        };
        let mut queue = Self {
            cells: demands.iter().enumerate().map(cell).collect(),
            labs: std::iter::repeat_with(Labs::default).take(count).collect(),
            kinds: Default::default(),
            patient: 0,
            most_patient: share_of(most),
            left: demands.iter().map(|demand| demand.trials as usize).sum(),
        };
        (0..demands.len()).for_each(|cell| queue.update(cell, |_| ()));
        queue
    }

    /// Adds trials of a cell behind its others.
    pub(super) fn add(&mut self, cell: usize, numbers: RangeInclusive<u32>) {
        let before = self.cells[cell].numbers.len();
        self.cells[cell].numbers.add(numbers);
        self.left += self.cells[cell].numbers.len() - before;
        self.update(cell, |_| ());
    }

    /// The next one; it counts as under way until [`Queue::done`].
    pub(super) fn take(&mut self) -> Option<Task> {
        let [waits, works] = &self.kinds;
        let room = self.patient < self.most_patient || works.is_empty();
        let patient = if room { waits.first() } else { None };
        let cell = patient.or_else(|| works.first())?;
        let found = &mut self.cells[cell];
        let number = found.numbers.take()?;
        self.patient += usize::from(found.patience == Patience::Waits);
        self.left -= 1;
        self.update(cell, |labs| {
            labs.in_use += 1;
            labs.made = labs.made.max(labs.in_use);
        });
        Some(Task { cell, number })
    }

    /// Hears that a trial of a cell is over, and says whether another trial will want a lab as it had.
    pub(super) fn done(&mut self, cell: usize) -> FreeLab {
        self.patient -= usize::from(self.cells[cell].patience == Patience::Waits);
        self.update(cell, |labs| labs.in_use -= 1);
        let labs = &mut self.labs[self.cells[cell].lab];
        if labs.cells.iter().any(|cells| !cells.is_empty()) {
            return FreeLab::Wanted;
        }
        labs.made = labs.in_use;
        FreeLab::Superfluous
    }

    /// Forgets the trials of a cell that have not begun.
    pub(super) fn drop_cell(&mut self, cell: usize) {
        self.left -= std::mem::take(&mut self.cells[cell].numbers).len();
        self.update(cell, |_| ());
    }

    /// How many have not begun.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// Changes what is known of the labs of a cell, and finds their places among the candidates again.
    fn update(&mut self, cell: usize, change: impl FnOnce(&mut Labs)) {
        let Waiting { ref numbers, lab, patience, rank } = self.cells[cell];
        let labs = &mut self.labs[lab];
        for (kind, candidates) in labs.cells.iter().zip(&mut self.kinds) {
            let Some(first) = kind.first() else { continue };
            candidates.free.remove(first);
            candidates.busy.remove(&(labs.in_use, *first));
        }
        change(labs);
        let own = &mut labs.cells[patience as usize];
        if numbers.is_empty() {
            own.remove(&rank)
        } else {
            own.insert(rank)
        };
        for (kind, candidates) in labs.cells.iter().zip(&mut self.kinds) {
            let Some(first) = kind.first() else { continue };
            if labs.in_use < labs.made {
                candidates.free.insert(*first);
            } else {
                candidates.busy.insert((labs.in_use, *first));
            }
        }
    }
}

fn share_of(most: usize) -> usize {
    let (part, whole) = SHARE;
    (most * part / whole).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(trials: u32, lab: usize, patience: Patience) -> Demand {
        Demand { trials, lab, patience, expected: Duration::from_secs(1) }
    }

    /// Cells that work, each with labs of its own.
    fn working(trials: &[u32]) -> Vec<Demand> {
        (0..).zip(trials).map(|(lab, trials)| demand(*trials, lab, Patience::Works)).collect()
    }

    fn take_cells(queue: &mut Queue, count: usize) -> Vec<usize> {
        std::iter::from_fn(|| queue.take()).take(count).map(|task| task.cell).collect()
    }

    #[test]
    fn every_trial_comes_once_and_each_cells_in_order() {
        let mut queue = Queue::new(&working(&[3; 30]), 8);
        let mut seen = vec![Vec::new(); 30];
        let mut under_way = VecDeque::new();
        while let Some(task) = queue.take() {
            seen[task.cell].push(task.number);
            under_way.push_back(task.cell);
            if under_way.len() == 5 {
                under_way.pop_front().map(|cell| queue.done(cell));
            }
        }
        assert!(seen.iter().all(|numbers| numbers == &[1, 2, 3]), "{seen:?}");
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_cell_goes_on_where_its_lab_is_free_and_else_another_begins() {
        let mut queue = Queue::new(&working(&[3, 3, 3]), 8);
        assert_eq!(take_cells(&mut queue, 2), [0, 1]);
        queue.done(1);
        assert_eq!(take_cells(&mut queue, 2), [1, 2]);
        assert_eq!(take_cells(&mut queue, 1), [0], "all have one under way");
    }

    #[test]
    fn cells_with_the_same_nats_share_labs() {
        let mut demands = working(&[1, 1, 2]);
        demands[2].lab = 0;
        let mut queue = Queue::new(&demands, 8);
        assert_eq!(take_cells(&mut queue, 1), [0]);
        queue.done(0);
        assert_eq!(take_cells(&mut queue, 1), [2], "the lab of cell 0 is free");
    }

    #[test]
    fn a_lab_is_wanted_as_long_as_trials_are_left_that_need_it() {
        let mut demands = working(&[1, 1, 1]);
        demands[2].lab = 0;
        let mut queue = Queue::new(&demands, 8);
        assert_eq!(take_cells(&mut queue, 2), [0, 1]);
        assert_eq!([queue.done(0), queue.done(1)], [FreeLab::Wanted, FreeLab::Superfluous]);
        assert_eq!(take_cells(&mut queue, 1), [2]);
        assert_eq!(queue.done(2), FreeLab::Superfluous);
        queue.add(0, 2..=2);
        assert_eq!(take_cells(&mut queue, 1), [0]);
    }

    #[test]
    fn those_that_wait_come_first_and_leave_a_quarter_of_the_places() {
        let mut demands = working(&[9, 9]);
        demands[1].patience = Patience::Waits;
        let mut queue = Queue::new(&demands, 8);
        assert_eq!(take_cells(&mut queue, 8), [1, 1, 1, 1, 1, 1, 0, 0]);
        queue.done(1);
        assert_eq!(take_cells(&mut queue, 2), [1, 0]);
        for _ in 0..5 {
            queue.done(1);
        }
        assert_eq!(take_cells(&mut queue, 3), [1, 1, 0], "there are no more that wait");
    }

    #[test]
    fn those_that_wait_may_take_all_places_where_nothing_else_is_left() {
        let mut queue = Queue::new(&[demand(5, 0, Patience::Waits)], 2);
        assert_eq!(take_cells(&mut queue, 9), [0; 5]);
    }

    #[test]
    fn the_longest_of_a_kind_come_first() {
        let mut demands = working(&[1, 1, 1]);
        demands[2].expected = Duration::from_secs(3);
        demands[1].expected = Duration::from_secs(2);
        assert_eq!(take_cells(&mut Queue::new(&demands, 8), 9), [2, 1, 0]);
    }

    #[test]
    fn what_is_added_comes_after_the_others_of_its_cell() {
        let mut queue = Queue::new(&working(&[1; 2]), 4);
        queue.add(0, 2..=3);
        assert_eq!(queue.len(), 4);
        let tasks: Vec<_> = std::iter::from_fn(|| queue.take()).map(|t| (t.cell, t.number)).collect();
        assert_eq!(tasks, [(0, 1), (1, 1), (0, 2), (0, 3)], "the one with fewer trials under way first");
    }

    #[test]
    fn trials_that_have_not_begun_take_no_room() {
        let mut queue = Queue::new(&working(&[u32::MAX; 100]), 4);
        assert_eq!(queue.len(), 100 * u32::MAX as usize);
        queue.add(7, 3..=3);
        queue.drop_cell(0);
        let ranges = queue.cells.iter().map(|cell| cell.numbers.0.len()).sum::<usize>();
        assert_eq!((queue.len(), ranges), (99 * u32::MAX as usize + 1, 100));
    }

    #[test]
    fn a_dropped_cell_does_not_come_again() {
        let mut queue = Queue::new(&working(&[2, 1, 2]), 4);
        queue.drop_cell(1);
        assert_eq!(queue.len(), 4);
        assert_eq!(take_cells(&mut queue, 9), [0, 2, 0, 2]);
    }
}
