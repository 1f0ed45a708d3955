//! What came of a trial and of a cell, and how outcomes merge.

use std::collections::BTreeMap;
use std::time::Duration;

pub use crate::model::cause::{Cause, Failure, How};
pub use crate::model::expectation::{Expectation, NoExpectation};
use crate::model::statistics::{Count, Sensitivity};
use crate::model::suite::Cell;
pub use crate::model::trial_load::{ClaimedEnd, ProgramLoad, TrialLoad, VoidTrial};

/// What came of one trial.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Both programs said so, and the evidence bears them out.
    Passed(Success),
    /// There was no connection, for this reason.
    Failed(Failure),
    /// The lab or a program broke: nothing can be concluded about the NATs.
    Error(Failure),
    /// This machine cannot run it.
    Skipped(String),
}

/// How a trial succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// The method that won, as the program named it; the suite's own for programs that name none.
    pub method: String,
    /// How the connection came about, from the wire.
    pub how: How,
    /// From the first punching SYN on the wire until both ends were established.
    pub established: Duration,
    /// From the first punching SYN on the wire until each side had received payload from the other.
    pub authenticated: Duration,
}

/// One trial, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number in the cell, from 1.
    pub number: u32,
    /// Its seed, from the run's seed, the cell and the number.
    pub seed: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// Time from the start of the first program to the end of the last.
    pub took: Duration,
    /// What its programs had of the machine.
    pub load: TrialLoad,
    /// The folder of its artefacts below the run's, if they were kept.
    pub artefacts: Option<String>,
}

/// What is to be said of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The trials agree with theory, and there were enough of them to tell.
    AsExpected,
    /// The trials contradict theory.
    Differs,
    /// Too few trials to tell.
    Undecided,
    /// Theory says nothing of it.
    NoExpectation,
    /// At least one trial, the proof or the control was an error.
    Error,
    /// Nothing of it could run here.
    Skipped,
}

/// In which way a cell contradicts theory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Difference {
    /// It never passed, and theory says that it does, or mostly does.
    Broken,
    /// It passed sometimes, and theory says that it always does.
    Flaky,
    /// It passed less often than theory says.
    Worse,
    /// It passed more often than theory says.
    Better,
}

impl Difference {
    /// The name in `results.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Flaky => "flaky",
            Self::Worse => "worse",
            Self::Better => "better",
        }
    }
}

/// A rate with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Passed over passed and failed.
    pub probability: f64,
    /// Lower end of the exact (Clopper-Pearson) 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One cell, finished.
#[derive(Debug, Clone, PartialEq)]
pub struct CellResult {
    /// Which cell.
    pub cell: Cell,
    /// Its trials, in the order of their numbers; fewer than asked for when the run was interrupted.
    pub trials: Vec<Trial>,
    /// The trials that were asked for.
    pub asked: u32,
    /// Trials that were played and not counted, in the order in which they ended.
    pub void: Vec<VoidTrial>,
    /// The cells that it is like: those with the same class of NATs and the same method.
    pub group: String,
    /// What theory says; `None` for a method that theory does not know.
    pub expected: Option<Expectation>,
    /// One way from peer to peer.
    pub trip: Duration,
    /// What was seen; `None` when no trial passed or failed.
    pub observed: Option<Rate>,
    /// What the trials could have shown; `None` where they were not compared with theory.
    pub sensitivity: Option<Sensitivity>,
    /// The judgement.
    pub verdict: Verdict,
    /// In which way it differs, if it does.
    pub difference: Option<Difference>,
    /// Why it is not as expected: one sentence. Empty when it is.
    pub note: String,
}

/// Quantiles of a set of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// Smallest.
    pub min: Duration,
    /// Middle; the mean of the two middle ones of an even number.
    pub median: Duration,
    /// 95th percentile (nearest rank).
    pub p95: Duration,
    /// Largest.
    pub max: Duration,
}

impl Quantiles {
    /// The quantiles of `values`; `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<Duration>) -> Option<Self> {
        values.sort_unstable();
        let last = values.len().checked_sub(1)?;
        let median = (values[last / 2] + values[last.div_ceil(2)]) / 2;
        let p95 = values[(values.len() * 95).div_ceil(100).saturating_sub(1)];
        Some(Self { min: values[0], median, p95, max: values[last] })
    }
}

impl CellResult {
    /// How many trials passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.successes().count()
    }

    /// How many trials failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.trials.iter().filter(|t| matches!(t.outcome, Outcome::Failed(_))).count()
    }

    /// How many trials were errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.trials.iter().filter(|t| matches!(t.outcome, Outcome::Error(_))).count()
    }

    /// How many trials were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.trials.iter().filter(|t| matches!(t.outcome, Outcome::Skipped(_))).count()
    }

    /// Whether it has not had all its trials.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.trials.len() < self.asked as usize
    }

    /// Whether more trials would tell whether theory is right.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.verdict == Verdict::Undecided
    }

    /// Passed, of those that passed or failed.
    #[must_use]
    pub fn count(&self) -> Count {
        Count { passed: self.passed() as u64, tried: (self.passed() + self.failed()) as u64 }
    }

    /// The successes, in order.
    pub fn successes(&self) -> impl Iterator<Item = &Success> {
        self.trials.iter().filter_map(|t| match &t.outcome {
            Outcome::Passed(success) => Some(success),
            _ => None,
        })
    }

    /// How often each cause was seen.
    #[must_use]
    pub fn causes(&self) -> BTreeMap<Cause, usize> {
        let mut causes = BTreeMap::new();
        for trial in &self.trials {
            if let Outcome::Failed(failure) = &trial.outcome {
                *causes.entry(failure.cause).or_insert(0) += 1;
            }
        }
        causes
    }

    /// How often each way of winning was seen: `method: how`.
    #[must_use]
    pub fn won_by(&self) -> BTreeMap<String, usize> {
        let mut ways = BTreeMap::new();
        for success in self.successes() {
            *ways.entry(format!("{}: {}", success.method, success.how.name())).or_insert(0) += 1;
        }
        ways
    }

    /// Quantiles of the time until both ends were established.
    #[must_use]
    pub fn established(&self) -> Option<Quantiles> {
        Quantiles::of(self.successes().map(|s| s.established).collect())
    }

    /// Quantiles of the time until each side had received payload from the other.
    #[must_use]
    pub fn authenticated(&self) -> Option<Quantiles> {
        Quantiles::of(self.successes().map(|s| s.authenticated).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_values() {
        let ms = |values: &[u64]| Quantiles::of(values.iter().map(|v| Duration::from_millis(*v)).collect());
        assert_eq!(ms(&[]), None);
        let one = ms(&[7]).expect("one value");
        assert_eq!((one.min, one.median, one.p95, one.max), {
            let seven = Duration::from_millis(7);
            (seven, seven, seven, seven)
        });
        let four = ms(&[4, 1, 3, 2]).expect("four values");
        assert_eq!(four.median, Duration::from_micros(2500));
        assert_eq!(four.p95, Duration::from_millis(4));
    }
}
