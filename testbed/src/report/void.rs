//! Trials that were played and not counted, and whether that depends on how a trial ended.

use crate::model::statistics::{Count, PooledTest};
use crate::report::results::{EndedDoc, PunchCell, Results, VoidDoc};

/// Probability that a run in which the machine alone decides which trials count is said to be one in which their outcome does.
pub const FALSE_SUSPICION: f64 = 1e-3;

/// The trials of a run that were not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoidSummary {
    /// How many.
    pub void: Count,
    /// Those of them that are held against the trials that count: of a machine that was paused nobody asks why.
    held: Count,
    /// Trials of the same cells that count.
    counted: Count,
    /// How likely it is that those that had connected are not counted as often as the others by chance alone.
    pub chance: f64,
}

impl VoidSummary {
    /// Of a run; `None` if all its trials count.
    #[must_use]
    pub fn of(results: &Results) -> Option<Self> {
        let cells: Vec<_> = results.punches().filter(|cell| !cell.void.is_empty()).collect();
        let held = |cell: &PunchCell| count(cell.void.iter().filter(|void| !void.paused));
        let counted = |cell: &PunchCell| Count {
            passed: cell.passed as u64,
            tried: (cell.passed + cell.failed) as u64,
        };
        let sum = |of: &dyn Fn(&PunchCell) -> Count| {
            let add = |sum: Count, one: Count| Count {
                passed: sum.passed + one.passed,
                tried: sum.tried + one.tried,
            };
            cells.iter().map(|cell| of(cell)).fold(Count { passed: 0, tried: 0 }, add)
        };
        let chance = PooledTest::new(cells.iter().map(|cell| (counted(cell), held(cell)))).chance();
        let void = sum(&|cell| count(cell.void.iter()));
        (void.tried > 0).then(|| Self { void, held: sum(&held), counted: sum(&counted), chance })
    }

    /// Whether it depends on how a trial ended whether it counts.
    #[must_use]
    pub fn depends_on_outcome(&self) -> bool {
        self.chance < FALSE_SUSPICION
    }

    /// How many there were, and how they had ended.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Count { passed, tried } = self.void;
        let (trials, them) = match tried {
            1 => ("1 trial was".to_owned(), "it"),
            several => (format!("{several} trials were"), "them"),
        };
        format!(
            "{trials} repeated because the machine was too slow for {them}: {passed} had connected, {} had not",
            tried - passed
        )
    }

    /// What is wrong, if it depends on how a trial ended whether it counts.
    #[must_use]
    pub fn suspicion(&self) -> Option<String> {
        let Self { held, counted, chance, .. } = self;
        self.depends_on_outcome().then(|| {
            format!(
                "whether a trial counts depends on how it ended: {} of {} that were not counted had connected, and {} of {} that \
                 were; by chance alone that happens with a probability of {chance:.1e}. Either the programs fail because the \
                 machine is slow, or they make it slow when they fail: run this on a quieter machine",
                held.passed, held.tried, counted.passed, counted.tried
            )
        })
    }
}

fn count<'a>(void: impl Iterator<Item = &'a VoidDoc>) -> Count {
    let mut count = Count { passed: 0, tried: 0 };
    for one in void {
        count.tried += 1;
        count.passed += u64::from(one.ended == EndedDoc::Connected);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::{CellDoc, LoadDoc};
    use crate::report::sample::results;

    /// The sample with so many trials that counted and were void in its first cell: those that connected, and all.
    fn with(counted: (usize, usize), void: (u32, u32), paused: bool) -> Results {
        let mut results = results();
        let cell = results.cells.iter_mut().find_map(|cell| match cell {
            CellDoc::Punch(cell) => Some(cell),
            _ => None,
        });
        let cell = cell.expect("the sample has cells");
        (cell.passed, cell.failed) = (counted.0, counted.1 - counted.0);
        let ended = |number| if number <= void.0 { EndedDoc::Connected } else { EndedDoc::NotConnected };
        let load = LoadDoc::default();
        let one = |number| VoidDoc {
            number,
            why: "busy".to_owned(),
            paused,
            ended: ended(number),
            load: load.clone(),
        };
        cell.void = (1..=void.1).map(one).collect();
        results
    }

    #[test]
    fn a_run_without_void_trials_has_nothing_to_say_of_them() {
        assert_eq!(VoidSummary::of(&results()), None);
    }

    #[test]
    fn trials_that_are_not_counted_because_they_failed_are_found() {
        let hidden = VoidSummary::of(&with((20, 20), (0, 4), false)).expect("void trials");
        assert!(hidden.depends_on_outcome(), "{hidden:?}");
        let said = hidden.suspicion().expect("a suspicion");
        assert!(
            said.contains("0 of 4 that were not counted had connected, and 20 of 20 that were"),
            "{said}"
        );
        // Those that would have failed anyway.
        let fair = VoidSummary::of(&with((1, 20), (0, 4), false)).expect("void trials");
        assert_eq!((fair.depends_on_outcome(), fair.suspicion()), (false, None));
        assert_eq!(
            fair.sentence(),
            "4 trials were repeated because the machine was too slow for them: 0 had connected, 4 had not"
        );
    }

    #[test]
    fn a_pause_of_the_machine_is_no_suspicion() {
        let paused = VoidSummary::of(&with((20, 20), (0, 9), true)).expect("void trials");
        assert_eq!((paused.void.tried, paused.depends_on_outcome()), (9, false));
    }

    /// Which trials are void is drawn by lot here, and never by how they ended: the test is wrong as often as it says.
    #[test]
    fn it_is_wrong_as_rarely_as_it_says() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(18);
        let runs = 2000;
        let mut wrong = 0;
        for _ in 0..runs {
            let mut cells = Vec::new();
            for rate in [1.0, 0.5, 0.9, 0.02] {
                let (mut counted, mut void) = (Count { passed: 0, tried: 0 }, Count { passed: 0, tried: 0 });
                for _ in 0..30 {
                    let group = if random.random_bool(0.3) { &mut void } else { &mut counted };
                    group.tried += 1;
                    group.passed += u64::from(random.random_bool(rate));
                }
                cells.push((counted, void));
            }
            wrong += u64::from(PooledTest::new(cells).chance() < FALSE_SUSPICION);
        }
        // Two are expected at most; eleven or more come with a probability below 1e-5.
        assert!(wrong <= 10, "{wrong} of {runs}");
    }
}
