//! The verdicts of cells as results tell them, how many cells of a run came to which, and how many packets were judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::doubt::Doubt;
use crate::model::event::PacketCount;
use crate::model::statistics::percent;

/// What is to be said of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDoc {
    /// The trials agree with theory.
    AsExpected,
    /// They contradict it.
    Differs,
    /// Too few to tell.
    Undecided,
    /// Theory says nothing of it.
    NoExpectation,
    /// The lab or a program broke.
    Error,
    /// This machine cannot run it.
    Skipped,
}

impl VerdictDoc {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AsExpected => "as expected",
            Self::Differs => "differs",
            Self::Undecided => "undecided",
            Self::NoExpectation => "no expectation",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    /// Its mark beside a figure, so that nothing is lost without colours; as expected has none.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::AsExpected => "",
            Self::Differs => "!",
            Self::Undecided => "?",
            Self::NoExpectation => "*",
            Self::Error => "E",
            Self::Skipped => "-",
        }
    }

    /// Its class in the style sheets of the page and of the picture.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::AsExpected => "as_expected",
            Self::Differs => "differs",
            Self::Undecided => "undecided",
            Self::NoExpectation => "no_expectation",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    /// For people, of so many cells: `1 differs`, `2 differ`.
    #[must_use]
    pub fn words_of(self, cells: usize) -> &'static str {
        match self {
            Self::Differs if cells != 1 => "differ",
            Self::Error if cells != 1 => "errors",
            _ => self.words(),
        }
    }
}

/// How many cells of the suite came to which verdict; proofs are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// All finished cells of the suite.
    pub cells: usize,
    /// Those that agree with theory.
    pub as_expected: usize,
    /// Those that contradict it.
    pub differs: usize,
    /// Those with too few trials to tell.
    pub undecided: usize,
    /// Those of which theory says nothing.
    pub no_expectation: usize,
    /// Those where the lab or a program broke.
    pub error: usize,
    /// Those that this machine cannot run.
    pub skipped: usize,
    /// NATs that were proved.
    pub proofs: usize,
    /// NATs that do not behave as declared.
    pub proofs_failed: usize,
}

impl Totals {
    /// The verdicts that cells came to, best first, each with how many did.
    pub fn by_verdict(&self) -> impl Iterator<Item = (VerdictDoc, usize)> {
        let all = [
            (VerdictDoc::AsExpected, self.as_expected),
            (VerdictDoc::Differs, self.differs),
            (VerdictDoc::Undecided, self.undecided),
            (VerdictDoc::NoExpectation, self.no_expectation),
            (VerdictDoc::Error, self.error),
            (VerdictDoc::Skipped, self.skipped),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Counts one more cell.
    pub(super) fn count(&mut self, verdict: VerdictDoc) {
        self.cells += 1;
        *match verdict {
            VerdictDoc::AsExpected => &mut self.as_expected,
            VerdictDoc::Differs => &mut self.differs,
            VerdictDoc::Undecided => &mut self.undecided,
            VerdictDoc::NoExpectation => &mut self.no_expectation,
            VerdictDoc::Error => &mut self.error,
            VerdictDoc::Skipped => &mut self.skipped,
        } += 1;
    }
}

/// How many packets came to the NATs, by what the reference NAT says of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketsDoc {
    /// Those that the NAT had to handle in one way, and did.
    pub judged: u64,
    /// Those that it could handle in more than one way, and handled in one of them.
    pub either: u64,
    /// Those of which the reference cannot tell.
    pub not_judged: u64,
    /// Those that it could handle in more than one way, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub either_by_reason: BTreeMap<String, u64>,
    /// Those of which the reference cannot tell, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_judged_by_reason: BTreeMap<String, u64>,
}

impl From<&PacketCount> for PacketsDoc {
    fn from(PacketCount { judged, either, not_judged }: &PacketCount) -> Self {
        let named = |counts: &BTreeMap<Doubt, u64>| {
            counts.iter().map(|(doubt, count)| (doubt.to_string(), *count)).collect()
        };
        Self {
            judged: *judged,
            either: either.values().sum(),
            not_judged: not_judged.values().sum(),
            either_by_reason: named(either),
            not_judged_by_reason: named(not_judged),
        }
    }
}

/// The share of packets that may prove nothing of a NAT without a word on the terminal (`docs/judging.md`).
const USUALLY_UNPROVEN: f64 = 0.01;

impl PacketsDoc {
    /// Whether more of the packets than usual could be handled in more than one way, or were not judged.
    #[must_use]
    pub fn are_often_unproven(&self) -> bool {
        let unproven = self.either + self.not_judged;
        unproven as f64 > USUALLY_UNPROVEN * (self.judged + unproven) as f64
    }

    /// For people; nothing where there were no packets.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let all = self.judged + self.either + self.not_judged;
        let share = |some: u64| percent(some as f64 / all as f64);
        let (either, not_judged) = (share(self.either), share(self.not_judged));
        let most = self.not_judged_by_reason.iter().max_by_key(|(_, count)| **count);
        let why = most.and_then(|(reason, _)| reason.parse::<Doubt>().ok());
        let why = why.map(|doubt| format!(", mostly because {}", doubt.because())).unwrap_or_default();
        (all > 0).then(|| {
            format!(
                "{all} packets at NATs judged: {either} could be handled either way, {not_judged} not judged{why}"
            )
        })
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let both = |mut own: BTreeMap<String, u64>, other: BTreeMap<String, u64>| {
            other.into_iter().for_each(|(reason, count)| *own.entry(reason).or_default() += count);
            own
        };
        Self {
            judged: self.judged + other.judged,
            either: self.either + other.either,
            not_judged: self.not_judged + other.not_judged,
            either_by_reason: both(self.either_by_reason, other.either_by_reason),
            not_judged_by_reason: both(self.not_judged_by_reason, other.not_judged_by_reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_of_where_more_than_one_in_a_hundred_proves_nothing() {
        let packets =
            |judged, either, not_judged| PacketsDoc { judged, either, not_judged, ..PacketsDoc::default() };
        assert!(!packets(0, 0, 0).are_often_unproven());
        assert!(!packets(990, 6, 4).are_often_unproven());
        assert!(packets(990, 6, 5).are_often_unproven());
    }
}
